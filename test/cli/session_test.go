package cli

import (
	"fmt"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/kit"
)

// TestRequest has a reboot requested, and waited for, and what was requested withdrawn.
func TestRequest(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	m := b.machine()
	b.reason(m, "NotRequired")
	before := m.BootID()
	b.ok("request "+m.Name+" --dry-run", "node/"+m.Name+" requested (server dry run)")
	if n, err := m.Node(b.Ctx); err != nil || n.Annotations["rebootd.dev/request"] != "" {
		t.Fatalf("a dry run has requested: %v, %v", n.Annotations, err)
	}
	b.ok("request "+m.Name+" --deadline 2d --wait --timeout 90s", "node/"+m.Name+" requested", m.Name+": done: ")
	n := b.Node(m.Name, "idle", kit.Idle)
	if m.BootID() == before || n.Annotations["rebootd.dev/request"] != "" || n.Spec.Unschedulable || n.Annotations["rebootd.dev/deadline"] == "" {
		t.Errorf("after the request: booted anew %t, %v", m.BootID() != before, n.Annotations)
	}
	b.ok("cancel "+m.Name, "nothing is requested")

	b.ok("hold "+m.Name+" --reason disk --wait --timeout 30s", m.Name+" held", "it is left alone")
	b.ok("request "+m.Name, "it is held (disk)", " unhold "+m.Name)
	b.reason(m, "Held")
	b.ends(3, "request "+m.Name+" --wait --timeout 2s", "is requested already", "not in time: Held: held: disk")
	b.ok("cancel "+m.Name, "request cancelled")
	b.Node(m.Name, "idle", kit.Idle)
	b.Must(m.Touch("kernel"))
	b.reason(m, "Held")
	b.ends(1, "cancel "+m.Name, "nothing was cancelled: its reboot is requested by /run/reboot-needed")
	b.ok("abort "+m.Name+" --wait --timeout 30s", "done: ")
	b.ok("unhold "+m.Name, "no longer held (it was: disk)")
	b.ok("abort "+m.Name, "there is nothing to abort")
	if n := b.Node(m.Name, "idle", kit.Idle); n.Annotations["rebootd.dev/hold"] != "" {
		t.Errorf("it is held still: %v", n.Annotations)
	}
	b.ends(1, "hold "+m.Name+" nowhere-"+b.Name, "node/"+m.Name+" held", `nodes "nowhere-`+b.Name+`" not found`)
}

// TestHalts has the program that waits for a reboot end with its own status when the node
// halts, and abort put that right.
func TestHalts(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	m := b.machine("--health-timeout=2s")
	m.StayUnhealthy(time.Now().Add(time.Hour))
	b.ends(4, "request "+m.Name+" --wait --timeout 90s", m.Name+": halted: Unhealthy: ")
	b.ok("abort "+m.Name+" --reason wrong_kernel --wait --timeout 30s", "it has rebooted, and is uncordoned without the verification", "done: ")
	if n := b.Node(m.Name, "idle", kit.Idle); n.Spec.Unschedulable || !strings.HasPrefix(kit.Condition(n).Message, "aborted: wrong kernel") {
		t.Errorf("unschedulable %t, %+v", n.Spec.Unschedulable, kit.Condition(n))
	}
}

// TestApprove has an approval of one operation serve no other.
func TestApprove(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	m := b.machine("--approval")
	b.reason(m, "NotRequired")
	b.ok("approve "+m.Name, "no reboot is under way that could be approved")
	b.Must(m.Touch("x"))
	b.reason(m, "AwaitingApproval")
	first := m.BootID()
	b.ok("approve "+m.Name+" --wait --timeout 60s", "approved the reboot ", m.Name+": done: ")
	b.Must(m.Touch("y"))
	b.reason(m, "AwaitingApproval")
	second := m.BootID()
	if second == first {
		t.Error("it was not rebooted")
	}
	b.ok("approve "+m.Name+" --until 4h", "approved until ")
	b.Node(m.Name, "rebooted again", func(n *corev1.Node) bool { return m.BootID() != second && kit.Idle(n) })
}

// TestPause has the lock paused before anybody has held a slot, by the program and on a
// slot as in older versions, and all of that ended.
func TestPause(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	b.ok("pause --lock "+b.Name+" --reason Black_Friday --for 2d --dry-run", "no daemon is known to use a lock "+b.Name, "paused until", "(server dry run)")
	leases := shared.Client.CoordinationV1().Leases(cluster.Namespace)
	if l, err := leases.Get(b.Ctx, b.Name+"-pause", metav1.GetOptions{}); err == nil {
		t.Errorf("a dry run has made the Lease: %v", l)
	}
	b.ok("pause --lock "+b.Name+" --reason Black_Friday --for 2d", "lease/"+b.Name+"-pause paused until")
	l, err := leases.Get(b.Ctx, b.Name+"-pause", metav1.GetOptions{})
	b.Must(err)
	until, err := time.Parse(time.RFC3339, l.Annotations["rebootd.dev/paused-until"])
	if err != nil || time.Until(until) < 47*time.Hour || l.Annotations["rebootd.dev/paused"] != "Black Friday" {
		t.Errorf("%v, %v", l.Annotations, err)
	}
	b.ends(1, "pause --lock "+b.Name+" --reason mine", "is paused already (Black Friday, until ")
	m := b.machine()
	before := m.BootID()
	b.ok("request "+m.Name, "node/"+m.Name+" requested")
	b.reason(m, "Paused")
	b.ok("pause --lock "+b.Name+" --reason incident --overwrite", "paused")
	_, err = leases.Create(b.Ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{
		Name: b.Name + "-zone", Annotations: map[string]string{"rebootd.dev/paused": "from before"},
	}}, metav1.CreateOptions{})
	b.Must(err)
	b.ok("resume --lock "+b.Name, "lease/"+b.Name+"-pause resumed (it was: incident)", "lease/"+b.Name+"-zone resumed (it was: from before)")
	b.Node(m.Name, "rebooted", func(n *corev1.Node) bool { return m.BootID() != before && kit.Idle(n) })
	b.ok("resume --lock "+b.Name, "nothing is paused")
}

// TestRelease has a slot taken away from one that will not give it back, and never from
// another.
func TestRelease(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	slot := b.Name + "-0"
	b.occupy("gone")
	m := b.machine()
	before := m.BootID()
	b.Must(m.Touch("x"))
	b.reason(m, "Queued")
	b.ends(2, "release "+slot+" --holder gone", "add --yes if you mean it")
	b.ends(1, "release "+slot+" --holder "+m.Name+" --yes", slot+" is held by gone and not by "+m.Name)
	b.ok("release "+slot+" --holder gone --dry-run", "released from gone (server dry run)")
	b.ok("release "+slot+" --holder gone --yes", "lease/"+slot+" released from gone", "there is no Node gone", "the next node is "+m.Name)
	b.Node(m.Name, "rebooted", func(n *corev1.Node) bool { return m.BootID() != before && kit.Idle(n) })
}

// occupy has the slot be held by somebody whose Node there is none of.
func (b *bed) occupy(holder string) {
	b.Helper()
	slot := b.Name + "-0"
	body := fmt.Sprintf(`{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":%q,"annotations":{"rebootd.dev/schema":"1"}},"spec":{"holderIdentity":%q}}`, slot, holder)
	_, err := shared.Client.CoordinationV1().Leases(cluster.Namespace).Patch(b.Ctx, slot, types.ApplyPatchType, []byte(body), metav1.PatchOptions{FieldManager: "rebootd/" + holder})
	b.Must(err)
}

// TestReaders runs every command that reads, in a fleet where something happens, and as a
// plugin of kubectl.
func TestReaders(t *testing.T) {
	b := newBed(t, 3*time.Minute)
	m, held := b.machine(), b.machine()
	b.ok("request "+m.Name+" --wait --timeout 90s", "done")
	b.ok("hold " + held.Name + " --reason disk")
	b.ok("request " + held.Name)
	b.reason(held, "Held")
	b.reads(m.Name, held.Name)
}

// reads runs every command that reads.
func (b *bed) reads(done, held string, flags ...string) {
	b.Helper()
	for _, line := range b.readers(done, held) {
		b.ok(strings.Join(append([]string{line}, flags...), " "))
	}
	// Whether the policies are in force is another test's.
	said := b.Program(append([]string{"doctor"}, flags...)...)
	if said.Status != 0 && said.Status != 4 || !strings.Contains(said.Out, "polic") || !strings.Contains(said.Out, "clocks") {
		b.Errorf("doctor ends with %d and says\n%s%s", said.Status, said.Out, said.Err)
	}
}

// readers are the command lines that read, of those commands that the program has.
func (b *bed) readers(done, held string) (out []string) {
	b.Helper()
	help := b.ok("help").Out
	report := b.TempDir() + "/roll.html"
	for _, line := range []string{
		"status", "status -o wide", "status -o json", "status -o name", "status " + done, "why " + held, "why " + done, "slots", "slots -o json", "plan", "plan -o json",
		"preflight " + done, "history", "history " + done + " -o json", "report --since 24h --html " + report, "version", "completion kubectl",
	} {
		if name, _, _ := strings.Cut(line, " "); strings.Contains(help, "\n  "+name+" ") {
			out = append(out, line)
		}
	}
	if len(out) == 0 {
		b.Fatalf("no command that reads in\n%s", help)
	}
	return out
}

// TestHoldWhileDraining has a node that drains be put back by a hold.
func TestHoldWhileDraining(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	m := b.machine()
	b.Pod(b.Name, "web", m.Name)
	second := cluster.Template("web", nil)
	second.Spec.NodeSelector = map[string]string{"nowhere": "x"}
	_, err := shared.Client.CoreV1().Pods(b.Name).Create(b.Ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-2", Labels: second.Labels}, Spec: second.Spec}, metav1.CreateOptions{})
	b.Must(err)
	b.Must(shared.Budget(b.Ctx, b.Name, "web", 1))
	b.ok("request " + m.Name)
	b.Node(m.Name, "draining", func(n *corev1.Node) bool { return kit.RecordOf(n).Phase == "Draining" })
	b.ok("hold "+m.Name+" --reason disk --wait --timeout 60s", "a reboot is under way there; the node is put back", "it is left alone")
	n, err := m.Node(b.Ctx)
	b.Must(err)
	if n.Spec.Unschedulable || kit.RecordOf(n).Phase != "Waiting" {
		t.Errorf("left alone, and unschedulable %t, %v", n.Spec.Unschedulable, n.Annotations)
	}
	b.ok("cancel " + m.Name)
	b.Node(m.Name, "idle", kit.Idle)
}

// TestPluginOfKubectl has kubectl find the program, and name nodes by a selector.
func TestPluginOfKubectl(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	var names []string
	for range 2 {
		m := b.machine()
		b.PatchNode(m.Name, `{"metadata":{"labels":{"pool":"`+b.Name+`"}}}`)
		names = append(names, m.Name)
	}
	said := b.kubectl("rebootd", "hold", "-l", "pool="+b.Name, "--reason=rack 7", "--wait", "--timeout=30s", "-o", "name")
	if want := fmt.Sprintf("node/%s\nnode/%s\n", names[0], names[1]); said.Status != 0 || said.Out != want {
		t.Errorf("%+v, want %s", said, want)
	}
	said = b.kubectl("get", "nodes", "-l", "pool="+b.Name, "-o", `jsonpath={.items[*].metadata.annotations.rebootd\.dev/hold}`)
	if said.Out != "rack 7 rack 7" {
		t.Errorf("%+v", said)
	}
	if said = b.kubectl("rebootd", "unhold", "-l", "pool="+b.Name); said.Status != 0 || strings.Count(said.Out, "no longer held") != 2 {
		t.Errorf("%+v", said)
	}
	if said = b.kubectl("rebootd", "unhold", "-l", "pool="+b.Name); said.Status != 0 || said.Err != "kubectl rebootd: there is nothing to do on any of 2 nodes\n" {
		t.Errorf("%+v", said)
	}
	if said = b.kubectl("rebootd", "unhold", "-l", "pool=none-"+b.Name); said.Status != 1 {
		t.Errorf("%+v", said)
	}
}
