package e2e

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/machine"
)

// asService gives a machine's daemon the account of the shipped manifests, which the
// policies of others know it by.
func (b *bed) asService(m *machine.Machine) {
	b.Helper()
	if err := shared.Install(b.ctx); errors.Is(err, cluster.ErrForeign) {
		b.Skip(err)
	} else {
		b.must(err)
	}
	n, err := m.Node(b.ctx)
	b.must(err)
	b.must(shared.ServiceKubeconfig(b.ctx, m.Name, n.UID, m.Kubeconfig))
}

// example applies a policy of deploy/examples under names of the test's own, for the nodes
// that selector selects, and waits until it denies the cordon of the machine.
func (b *bed) example(file string, change func(*admissionv1.ValidatingAdmissionPolicyBinding)) {
	b.Helper()
	data, err := os.ReadFile(filepath.Join(filepath.Dir(cluster.SourceDir()), "deploy", "examples", file))
	b.must(err)
	docs := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	read := func(into any) {
		doc, err := docs.Read()
		b.must(err)
		b.must(yaml.UnmarshalStrict(doc, into))
	}
	var policy admissionv1.ValidatingAdmissionPolicy
	var binding admissionv1.ValidatingAdmissionPolicyBinding
	read(&policy)
	read(&binding)
	if _, err := docs.Read(); !errors.Is(err, io.EOF) {
		b.Fatalf("%s has more than a policy and a binding", file)
	}
	policy.Name, binding.Name, binding.Spec.PolicyName = policy.Name+"-"+b.prefix, binding.Name+"-"+b.prefix, binding.Spec.PolicyName+"-"+b.prefix
	change(&binding)
	client := shared.Client.AdmissionregistrationV1()
	_, err = client.ValidatingAdmissionPolicies().Create(b.ctx, &policy, metav1.CreateOptions{})
	b.must(err)
	_, err = client.ValidatingAdmissionPolicyBindings().Create(b.ctx, &binding, metav1.CreateOptions{})
	b.must(err)
	b.Cleanup(func() {
		_ = client.ValidatingAdmissionPolicyBindings().Delete(b.Context(), binding.Name, metav1.DeleteOptions{})
		_ = client.ValidatingAdmissionPolicies().Delete(b.Context(), policy.Name, metav1.DeleteOptions{})
	})
}

// denied waits until the API server denies the machine's daemon the cordon.
func (b *bed) denied(m *machine.Machine, words string) {
	b.Helper()
	cfg, err := clientcmd.BuildConfigFromFlags("", m.Kubeconfig)
	b.must(err)
	as, err := kubernetes.NewForConfig(cfg)
	b.must(err)
	b.eventually("the API server obeys the policy", func() bool {
		_, err := as.CoreV1().Nodes().Patch(b.ctx, m.Name, types.StrategicMergePatchType, []byte(`{"spec":{"unschedulable":true}}`), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil && strings.Contains(err.Error(), words)
	})
}

// audited is an entry of the API server's audit log.
type audited struct {
	User                     struct{ Username string }
	UserAgent                string
	Verb, RequestURI         string
	ObjectRef                struct{ Resource, Subresource, Namespace, Name string }
	RequestObject            json.RawMessage
	RequestReceivedTimestamp time.Time
	ResponseStatus           struct{ Code int }
}

func (a audited) dryRun() bool { return strings.Contains(a.RequestURI, "dryRun=All") }

// audit are the entries of the audit log that keep says to keep.
func (b *bed) audit(keep func(audited) bool) (out []audited) {
	b.Helper()
	f, err := os.Open(shared.AuditLog)
	b.must(err)
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var a audited
		if json.Unmarshal(lines.Bytes(), &a) == nil && keep(a) { // the last line may be half written
			out = append(out, a)
		}
	}
	b.must(lines.Err())
	return out
}

// cordonsOf are the attempts of a machine's daemon to cordon it: those that were dry runs,
// and those that were not.
func (b *bed) cordonsOf(m *machine.Machine) (tried, done []audited) {
	b.Helper()
	for _, a := range b.audit(func(a audited) bool {
		return a.Verb == "patch" && a.ObjectRef.Resource == "nodes" && a.ObjectRef.Name == m.Name &&
			strings.HasPrefix(a.UserAgent, "rebootd") && bytes.Contains(a.RequestObject, []byte(`"unschedulable":true`))
	}) {
		if a.dryRun() {
			tried = append(tried, a)
		} else {
			done = append(done, a)
		}
	}
	return tried, done
}

// A node of the databases waits before the queue, without a slot and without a cordon, and
// says why in the policy's words; others reboot meanwhile. It goes on at once when its
// replica is safe.
func TestReplicaSafePolicy(t *testing.T) {
	t.Parallel()
	b := newBed(t, 3*time.Minute)
	db, web := b.stopped(), b.stopped()
	before := []string{db.BootID(), web.BootID()}
	b.patch(db, `{"metadata":{"labels":{"tier":"db"}}}`)
	b.example("policy-replica-safe.yaml", func(*admissionv1.ValidatingAdmissionPolicyBinding) {})
	for _, m := range []*machine.Machine{db, web} {
		b.asService(m)
		b.must(m.StartDaemon())
	}
	b.denied(db, "the condition ReplicaSafe is not True")
	b.must(db.Touch("x"))
	n := b.reason(db, "PolicyDenies")
	if c := condition(n); !strings.Contains(c.Message, "the condition ReplicaSafe is not True, so this database node is not drained") || recordOf(n).Phase != "Waiting" {
		t.Errorf("phase %s: %s", recordOf(n).Phase, c.Message)
	}
	b.must(web.Touch("x"))
	b.rebooted(web, before[1])
	b.released()
	n, err := db.Node(b.ctx)
	b.must(err)
	tried, done := b.cordonsOf(db)
	if n.Spec.Unschedulable || len(done) != 0 || len(tried) == 0 || len(tried) > 2 || recordOf(n).Phase != "Waiting" {
		t.Errorf("meanwhile: cordoned %t, cordons tried %d, done %d, phase %s", n.Spec.Unschedulable, len(tried), len(done), recordOf(n).Phase)
	}
	if b.metric(db, `rebootd_gate_closed{gate="policy"}`) != "1" {
		t.Error("the metric does not say that the gate is closed")
	}
	_, err = shared.Client.CoreV1().Nodes().Patch(b.ctx, db.Name, types.StrategicMergePatchType, []byte(`{"status":{"conditions":[{"type":"ReplicaSafe","status":"True","reason":"InSync"}]}}`), metav1.PatchOptions{}, "status")
	b.must(err)
	safe := time.Now()
	b.rebooted(db, before[0])
	b.released()
	tried, done = b.cordonsOf(db)
	if len(tried) > 3 || len(done) != 1 {
		t.Errorf("cordons tried %d, done %d", len(tried), len(done))
	} else if waited := done[0].RequestReceivedTimestamp.Sub(safe); waited > 20*time.Second {
		t.Errorf("cordoned %s after the replica was safe", waited)
	}
}

// Reboots are switched off by a ConfigMap, and begin when it is gone.
func TestKillSwitchPolicy(t *testing.T) {
	t.Parallel()
	b := newBed(t, 4*time.Minute)
	m := b.stopped()
	before := m.BootID()
	b.patch(m, `{"metadata":{"labels":{"switched":"`+b.prefix+`"}}}`)
	b.asService(m)
	b.must(shared.AddNamespace(b.ctx, b.prefix))
	switches := shared.Client.CoreV1().ConfigMaps(b.prefix)
	_, err := switches.Create(b.ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "rebootd-switch"}, Data: map[string]string{"stop": "the shop is on sale until Monday"}}, metav1.CreateOptions{})
	b.must(err)
	b.example("policy-kill-switch.yaml", func(x *admissionv1.ValidatingAdmissionPolicyBinding) {
		x.Spec.ParamRef.Namespace = b.prefix
		x.Spec.MatchResources = &admissionv1.MatchResources{ObjectSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"switched": b.prefix}}}
	})
	b.denied(m, "reboots are switched off")
	b.must(m.StartDaemon())
	b.must(m.Touch("x"))
	if c := condition(b.reason(m, "PolicyDenies")); !strings.Contains(c.Message, "reboots are switched off: the shop is on sale until Monday") {
		t.Error(c.Message)
	}
	b.must(switches.Delete(b.ctx, "rebootd-switch", metav1.DeleteOptions{}))
	b.rebooted(m, before)
	b.released()
	if tried, done := b.cordonsOf(m); len(tried) > 3 || len(done) != 1 {
		t.Errorf("cordons tried %d, done %d", len(tried), len(done))
	}
}
