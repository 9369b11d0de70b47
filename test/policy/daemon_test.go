package policy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/machine"
)

// machineWithToken is a machine whose daemon has the token in a file.
func (b *bed) machineWithToken(token string) (m *machine.Machine, tokenFile string) {
	b.Helper()
	m, err := machine.New(b.ctx, machine.Options{Cluster: shared, Name: b.own, Dir: b.TempDir(), Boot: 500 * time.Millisecond})
	b.must(err)
	b.Cleanup(func() {
		m.Stop()
		if b.Failed() {
			b.Logf("%s", m.Log())
		}
	})
	ca := shared.Config.CAData
	if len(ca) == 0 {
		ca, err = os.ReadFile(shared.Config.CAFile)
		b.must(err)
	}
	dir := b.TempDir()
	caFile, tokenFile := filepath.Join(dir, "ca.crt"), filepath.Join(dir, "token")
	b.must(os.WriteFile(caFile, ca, 0o600))
	b.must(os.WriteFile(tokenFile, []byte(token), 0o600))
	b.must(os.WriteFile(m.Kubeconfig, fmt.Appendf(nil, `
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q, certificate-authority: %q}}]
users: [{name: u, user: {tokenFile: %q}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
`, shared.Config.Host, caFile, tokenFile), 0o600))
	return m, tokenFile
}

// The token is revoked, since its pod was deleted, and some time later replaced by
// another pod's: the daemon says that it is refused, and goes on by itself.
func TestTokenIsRevokedAndReplaced(t *testing.T) {
	b := newBed(t, "revoked")
	m, tokenFile := b.machineWithToken(b.token(b.pod))
	b.must(m.StartDaemon())
	before := m.BootID()
	_, err := shared.Client.CoreV1().Nodes().Patch(b.ctx, b.own, types.MergePatchType, []byte(`{"metadata":{"annotations":{"rebootd.dev/hold":"x"}}}`), metav1.PatchOptions{})
	b.must(err)
	b.must(m.Touch("x"))
	_, err = shared.WaitNode(b.ctx, m.Name, "held", func(n *corev1.Node) bool { return strings.Contains(n.Annotations["rebootd.dev/operation"], "Waiting") })
	b.must(err)
	b.must(shared.Client.CoreV1().Pods(cluster.Namespace).Delete(b.ctx, b.pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
	// What the daemon does next needs a write: that is refused once the API server has
	// forgotten that the token was good.
	b.until("the token is refused", func() bool {
		_, err := b.client(b.read(tokenFile), nil).CoreV1().Nodes().Get(b.ctx, b.own, metav1.GetOptions{})
		return apierrors.IsUnauthorized(err)
	})
	_, err = shared.Client.CoreV1().Nodes().Patch(b.ctx, b.own, types.MergePatchType, []byte(`{"metadata":{"annotations":{"rebootd.dev/hold":null}}}`), metav1.PatchOptions{})
	b.must(err)
	b.until("the daemon says that it is refused", func() bool { return strings.Contains(m.Log(), "nauthorized") })
	b.must(os.WriteFile(tokenFile, []byte(b.token(b.pod2(b.pod.UID))), 0o600))
	_, err = shared.WaitNode(b.ctx, m.Name, "rebooted and idle", func(n *corev1.Node) bool {
		return n.Status.NodeInfo.BootID != before && n.Annotations["rebootd.dev/operation"] == "" && !n.Spec.Unschedulable
	})
	b.must(err)
	if _, agreed := m.Orders(); agreed != 1 {
		t.Errorf("the command was obeyed %d times", agreed)
	}
	b.released()
}

// released waits until nobody holds the slot any more.
func (b *bed) released() {
	b.Helper()
	b.until("the slot is released", func() bool {
		l, err := shared.Client.CoordinationV1().Leases(cluster.Namespace).Get(b.ctx, "rebootd-0", metav1.GetOptions{})
		b.must(err)
		return l.Spec.HolderIdentity == nil
	})
}

// pod2 is the DaemonSet's pod on the node that has come after another.
func (b *bed) pod2(was types.UID) (pod *corev1.Pod) {
	b.Helper()
	b.must(shared.WaitPods(b.ctx, cluster.Namespace, "there is another on "+b.own, func(pods map[string]*corev1.Pod) bool {
		for _, p := range pods {
			if p.Spec.NodeName == b.own && p.UID != was && p.DeletionTimestamp == nil {
				pod = p
				return true
			}
		}
		return false
	}))
	return pod
}

func (b *bed) read(path string) string {
	b.Helper()
	data, err := os.ReadFile(path)
	b.must(err)
	return string(data)
}

func (b *bed) until(what string, ok func() bool) {
	b.Helper()
	for !ok() {
		select {
		case <-b.ctx.Done():
			b.Fatalf("%s: not in time", what)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// A daemon says whether the policy keeps it to its own node: one whose user no policy
// names, as that of the systemd unit, is told apart from one with the DaemonSet's token.
func TestDaemonKnowsWhetherItIsConfined(t *testing.T) {
	b := newBed(t, "confined")
	b.effective(b.client(b.token(b.pod), nil))
	shipped, _ := b.machineWithToken(b.token(b.pod))
	b.must(shipped.StartDaemon())
	unit, err := machine.New(b.ctx, machine.Options{Cluster: shared, Name: b.ns + "-unit", Dir: b.TempDir()})
	b.must(err)
	t.Cleanup(unit.Stop)
	b.must(unit.StartDaemon())
	b.until("the one is kept to its node", func() bool {
		return strings.Contains(b.metrics(shipped), `rebootd_policy_enforced{policy="rebootd-own-node"} 1`)
	})
	b.until("the other is not", func() bool {
		return strings.Contains(b.metrics(unit), `rebootd_policy_enforced{policy="rebootd-own-node"} 0`)
	})
	const warning = "no admission policy keeps this daemon to its own node"
	if strings.Contains(shipped.Log(), warning) || !strings.Contains(unit.Log(), warning) {
		t.Errorf("the log of the one:\n%s\nof the other:\n%s", shipped.Log(), unit.Log())
	}
	for _, node := range []string{b.own, b.ns + "-unit"} {
		n, err := shared.Client.CoreV1().Nodes().Get(b.ctx, node, metav1.GetOptions{})
		b.must(err)
		if _, is := n.Labels["rebootd.dev/policy-probe"]; is {
			t.Errorf("%s was labelled", node)
		}
	}
}

// metrics is what a daemon serves, "" when it serves nothing.
func (b *bed) metrics(m *machine.Machine) string {
	b.Helper()
	resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", m.MetricsPort))
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	b.must(err)
	return string(body)
}

// The policies follow the installation: in another namespace, and under another name.
func TestInstalledElsewhere(t *testing.T) {
	b := newBed(t, "elsewhere")
	dir := b.TempDir()
	base, err := filepath.Rel(dir, filepath.Join(root(), "deploy", "base"))
	b.must(err)
	b.must(os.WriteFile(filepath.Join(dir, "kustomization.yaml"), fmt.Appendf(nil, "namespace: %s\nnamePrefix: acme-\nresources: [%s]\nimages: [{name: localhost/rebootd, newName: registry.example.org/rebootd, newTag: v1}]\n", b.ns, base), 0o644))
	kubectl, err := shared.Kubectl()
	b.must(err)
	// The namespace of the base is renamed; this one is there already.
	out, err := exec.CommandContext(b.ctx, kubectl, "kustomize", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, policy := range []string{"own-node", "own-leases", "own-pods"} {
		if !strings.Contains(string(out), "policyName: acme-rebootd-"+policy+"\n") {
			t.Errorf("no binding names the policy %s:\n%s", policy, out)
		}
	}
	if !strings.Contains(string(out), "image: registry.example.org/rebootd:v1\n") {
		t.Error("the overlay does not name the image")
	}
	b.kubectl(string(out), "apply", "-f", "-")
	t.Cleanup(func() { // two DaemonSets want one port of a node
		cmd := exec.Command(kubectl, "--kubeconfig", shared.Kubeconfig, "delete", "--wait=false", "-f", "-")
		cmd.Stdin = bytes.NewReader(out)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	sa := "acme-rebootd"
	pod := cluster.PodSpec()
	pod.NodeName, pod.ServiceAccountName = b.own, sa
	made, err := shared.Client.CoreV1().Pods(b.ns).Create(b.ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "thief"}, Spec: pod}, metav1.CreateOptions{})
	b.must(err)
	req := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "thief", UID: made.UID}}}
	token, err := shared.Client.CoreV1().ServiceAccounts(b.ns).CreateToken(b.ctx, sa, req, metav1.CreateOptions{})
	b.must(err)
	c := b.client(token.Status.Token, nil)
	b.must(patchNode("own", strategic, `{"spec":{"unschedulable":true}}`)(b, c))
	free := `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"acme-0"},"spec":{"holderIdentity":%q}}`
	slots := c.CoordinationV1().Leases(b.ns)
	_, err = slots.Patch(b.ctx, "acme-0", types.ApplyPatchType, fmt.Appendf(nil, free, b.own), metav1.PatchOptions{FieldManager: "rebootd/" + b.own})
	b.must(err)
	for what, err := range map[string]error{
		"cordon another node": patchNode("that", strategic, `{"spec":{"unschedulable":true}}`)(b, c),
		"take a slot in another's name": func() error {
			_, err := slots.Patch(b.ctx, "acme-0", types.MergePatchType, fmt.Appendf(nil, `{"spec":{"holderIdentity":%q}}`, b.that), metav1.PatchOptions{})
			return err
		}(),
		"delete a pod of another node": c.CoreV1().Pods(b.ns).Delete(b.ctx, b.that+"-b", metav1.DeleteOptions{}),
	} {
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// With what the manifests grant and no more, a node with the DaemonSet's token
// reboots.
func TestRebootWithTheManifests(t *testing.T) {
	b := newBed(t, "whole")
	m, _ := b.machineWithToken(b.token(b.pod))
	b.must(m.StartDaemon())
	before := m.BootID()
	b.must(m.Touch("x"))
	n, err := shared.WaitNode(b.ctx, m.Name, "rebooted and idle", func(n *corev1.Node) bool {
		return n.Status.NodeInfo.BootID != before && n.Annotations["rebootd.dev/operation"] == "" && !n.Spec.Unschedulable
	})
	b.must(err)
	if !strings.Contains(n.Annotations["rebootd.dev/report"], `"drained":2`) {
		t.Errorf("the report is %s", n.Annotations["rebootd.dev/report"])
	}
	if !strings.Contains(n.Annotations["rebootd.dev/history"], `"result":"RebootVerified"`) {
		t.Errorf("the history is %s", n.Annotations["rebootd.dev/history"])
	}
	b.released()
	if i := slices.IndexFunc(strings.Split(m.Log(), "\n"), func(l string) bool { return strings.Contains(l, "forbidden") && !strings.Contains(l, "medik8s") }); i >= 0 {
		t.Errorf("something was forbidden:\n%s", strings.Split(m.Log(), "\n")[i])
	}
}
