package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/machine"
)

// written is an entry of the API server's audit log: a write that was done.
type written struct {
	User struct{ Username string }
	Verb string

	RequestURI     string
	ObjectRef      struct{ Resource, Subresource, Namespace, Name string }
	RequestObject  json.RawMessage
	StageTimestamp time.Time
	ResponseStatus struct{ Code int }
}

// cordons goes through the audit log: the gate was open whenever the daemon of the
// machine cordoned its Node. It is closed at first; opens says of an entry whether it
// opens or closes the gate. It returns how often the Node was cordoned.
func (b *bed) cordons(m *machine.Machine, opens func(w written) (open, is bool)) (n int) {
	b.Helper()
	log, err := os.ReadFile(shared.AuditLog)
	b.must(err)
	var all []written
	for line := range strings.Lines(string(log)) {
		var w written
		b.must(json.Unmarshal([]byte(line), &w))
		if w.ResponseStatus.Code < 300 && !strings.Contains(w.RequestURI, "dryRun=All") {
			all = append(all, w)
		}
	}
	slices.SortStableFunc(all, func(x, y written) int { return x.StageTimestamp.Compare(y.StageTimestamp) })
	isOpen, changes := false, 0
	for _, w := range all {
		if open, is := opens(w); is {
			isOpen = open
			changes++
		}
		if w.ObjectRef.Resource == "nodes" && w.ObjectRef.Name == m.Name && strings.HasPrefix(w.User.Username, "rebootd:") && strings.Contains(string(w.RequestObject), `"unschedulable":true`) {
			n++
			if !isOpen {
				b.Errorf("cordoned at %s while the gate was closed", w.StageTimestamp)
			}
		}
	}
	if changes == 0 {
		b.Error("the audit log does not know of the gate")
	}
	return n
}

// patches says of an entry whether it is a patch of the machine's Node with these words.
func patches(m *machine.Machine, w written, words string) bool {
	return w.ObjectRef.Resource == "nodes" && w.ObjectRef.Name == m.Name && w.Verb == "patch" && strings.Contains(string(w.RequestObject), words)
}

// kubectl is run as another user than the tests'.
func (b *bed) kubectl(args ...string) {
	b.Helper()
	program, err := shared.Kubectl()
	b.must(err)
	args = append([]string{"--kubeconfig=" + shared.Kubeconfig, "--as=ada", "--as-group=system:masters"}, args...)
	if out, err := exec.CommandContext(b.ctx, program, args...).CombinedOutput(); err != nil {
		b.Fatalf("kubectl %q: %v: %s", args, err, out)
	}
}

// says waits until the Node's condition has the reason and the words.
func (b *bed) says(m *machine.Machine, reason string, words ...string) *corev1.Node {
	b.Helper()
	return b.node(m, reason+": "+strings.Join(words, ", "), func(n *corev1.Node) bool {
		return condition(n).Reason == reason && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(condition(n).Message, w) })
	})
}

// A reboot waits until somebody approves it by the command that the condition has, is put
// back when the approval is withdrawn, and happens when it is given again. Who gave it is
// told by an Event.
func TestApproval(t *testing.T) {
	t.Parallel()
	b := newBed(t, 3*time.Minute)
	m := b.machine("--approval")
	before := m.BootID()
	b.must(m.Touch("x"))
	command := fmt.Sprintf("kubectl annotate node %s rebootd.dev/approval=", m.Name)
	n := b.says(m, "AwaitingApproval", "this reboot needs approval: "+command)
	_, id, _ := strings.Cut(condition(n).Message, command)
	if id != recordOf(n).ID {
		t.Errorf("people are told to approve %q, and the operation is %q", id, recordOf(n).ID)
	}
	b.kubectl("annotate", "node", m.Name, "rebootd.dev/approval=20200101T000000.000-abcdef01")
	b.says(m, "AwaitingApproval", "the annotation approves the operation 20200101T000000.000-abcdef01, and this one is "+id)
	b.kubectl("annotate", "node", m.Name, "rebootd.dev/approval="+id, "--overwrite")
	b.phase(m, "Draining")
	b.kubectl("annotate", "node", m.Name, "rebootd.dev/approval-")
	n = b.node(m, "put back", func(n *corev1.Node) bool { return !n.Spec.Unschedulable && condition(n).Reason == "AwaitingApproval" })
	if recordOf(n).ID != id {
		t.Errorf("the operation is %s, want %s", recordOf(n).ID, id)
	}
	b.released()
	b.kubectl("annotate", "node", m.Name, "rebootd.dev/approval="+id)
	b.rebooted(m, before)

	var approved []string
	list, err := shared.Client.CoreV1().Events(metav1.NamespaceDefault).List(b.ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + m.Name + ",reason=Approved"})
	b.must(err)
	for _, e := range list.Items {
		approved = append(approved, e.Message)
	}
	want := fmt.Sprintf("the operation %s is approved by the annotation rebootd.dev/approval=%s, which kubectl-annotate set at 20", id, id)
	if len(approved) != 2 || !strings.HasPrefix(approved[0], want) || !strings.HasPrefix(approved[1], want) {
		t.Errorf("the Events say %q, want %q twice", approved, want)
	}
	cordons := b.cordons(m, func(w written) (open, is bool) {
		is = patches(m, w, "rebootd.dev/approval") && !strings.HasPrefix(w.User.Username, "rebootd:")
		return strings.Contains(string(w.RequestObject), id), is
	})
	if cordons != 2 {
		t.Errorf("the Node was cordoned %d times, want 2", cordons)
	}
}

// A condition of the Node keeps it from being drained, and after the boot from being
// healthy.
func TestBlockingConditions(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	m := b.machine("--blocking-conditions=KernelDeadlock=True", "--drain=false")
	set := func(status string) {
		b.Helper()
		patch := fmt.Sprintf(`{"status":{"conditions":[{"type":"KernelDeadlock","status":%q,"reason":"DockerHung","message":"task 1 hangs","lastTransitionTime":%q}]}}`, status, time.Now().UTC().Format(time.RFC3339))
		_, err := shared.Client.CoreV1().Nodes().Patch(b.ctx, m.Name, "application/strategic-merge-patch+json", []byte(patch), metav1.PatchOptions{FieldManager: "node-problem-detector"}, "status")
		b.must(err)
	}
	set("True")
	before := m.BootID()
	b.must(m.Touch("x"))
	b.says(m, "ConditionBlocks", "the condition KernelDeadlock of the Node is True since ", "(DockerHung)", "KernelDeadlock says: task 1 hangs")
	m.Behave(machine.Behaviour{Delay: 2 * time.Second})
	set("False")
	b.phase(m, "Rebooting")
	set("Unknown")
	b.says(m, "Verifying", "waiting for the node to be healthy; the condition KernelDeadlock of the Node is Unknown since ")
	set("False")
	b.rebooted(m, before)
	cordons := b.cordons(m, func(w written) (open, is bool) {
		return patches(m, w, `"status":"False","reason":"DockerHung"`), patches(m, w, "KernelDeadlock") && !strings.HasPrefix(w.User.Username, "rebootd:")
	})
	if cordons != 1 {
		t.Errorf("the Node was cordoned %d times, want once", cordons)
	}
}

// A pod that blocks has the node give its slot up before it is cordoned, and the node
// reboots when the pod has gone.
func TestBlockingPods(t *testing.T) {
	t.Parallel()
	b := newBed(t, 4*time.Minute)
	m := b.machine("--blocking-pods=metadata.namespace="+b.Name+",app in (training, tuning)", "--drain=false")
	b.pod(m, "training")
	before := m.BootID()
	b.must(m.Touch("x"))
	n := b.says(m, "PodsBlock", "1 pod on this node blocks the reboot: "+b.prefix+"/training; next try at ")
	if n.Spec.Unschedulable || recordOf(n).Phase != "Waiting" {
		t.Errorf("the Node is cordoned: %t, and the record is %+v", n.Spec.Unschedulable, recordOf(n))
	}
	b.released()
	b.kubectl("--namespace="+b.prefix, "delete", "pod", "training")
	b.rebooted(m, before)
	cordons := b.cordons(m, func(w written) (open, is bool) {
		is = w.ObjectRef.Resource == "pods" && w.ObjectRef.Subresource == "" && w.ObjectRef.Namespace == b.prefix && (w.Verb == "delete" || w.Verb == "create")
		return w.Verb == "delete", is
	})
	if cordons != 1 {
		t.Errorf("the Node was cordoned %d times, want once", cordons)
	}
}

// After the boot the node is not healthy until the pod of its DaemonSet has been started
// again and is Ready; what the kubelet said of it before the boot does not count.
func TestWaitForDaemonSets(t *testing.T) {
	t.Parallel()
	b := newBed(t, 3*time.Minute)
	m := b.machine("--wait-for-daemonsets=app!=flaky", "--drain=false")
	b.Namespace(b.prefix)
	for _, app := range []string{"cni", "flaky"} {
		template := cluster.Template(app, map[string]string{"term-seconds": "0", "unhealthy": "true"}) // by the simulated kubelet; the test reports
		template.Spec.NodeSelector = map[string]string{corev1.LabelHostname: m.Name}
		_, err := shared.Client.AppsV1().DaemonSets(b.prefix).Create(b.ctx, &appsv1.DaemonSet{
			ObjectMeta: metav1.ObjectMeta{Name: app},
			Spec:       appsv1.DaemonSetSpec{Selector: &metav1.LabelSelector{MatchLabels: template.Labels}, Template: template},
		}, metav1.CreateOptions{})
		b.must(err)
	}
	var cni string
	b.must(shared.WaitPods(b.ctx, b.prefix, "two pods run", func(pods map[string]*corev1.Pod) bool {
		running := 0
		for name, p := range pods {
			if strings.HasPrefix(name, "cni-") {
				cni = name
			}
			if p.Status.Phase == corev1.PodRunning {
				running++
			}
		}
		return running == 2
	}))
	report := func(ready, state string) { // as the kubelet does
		b.Helper()
		patch := fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready","status":%q}],"containerStatuses":[{"name":"main","image":"x","imageID":"x","ready":%t,"restartCount":1,"state":%s}]}}`, ready, ready == "True", state)
		_, err := shared.Client.CoreV1().Pods(b.prefix).Patch(b.ctx, cni, "application/strategic-merge-patch+json", []byte(patch), metav1.PatchOptions{}, "status")
		b.must(err)
	}
	report("True", fmt.Sprintf(`{"running":{"startedAt":%q}}`, time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)))
	before := m.BootID()
	b.must(m.Touch("x"))
	b.says(m, "Verifying", "waiting for the node to be healthy; 1 DaemonSet pod is not Ready: "+b.prefix+"/"+cni+" (not started since the boot)")
	report("False", `{"waiting":{"reason":"CrashLoopBackOff"}}`)
	n := b.says(m, "Verifying", "waiting for the node to be healthy; 1 DaemonSet pod is not Ready: "+b.prefix+"/"+cni+" (CrashLoopBackOff in the container main)")
	if !n.Spec.Unschedulable {
		t.Error("the Node is uncordoned already")
	}
	report("True", fmt.Sprintf(`{"running":{"startedAt":%q}}`, time.Now().UTC().Format(time.RFC3339)))
	b.rebooted(m, before)
}
