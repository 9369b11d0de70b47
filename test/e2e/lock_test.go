package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/machine"
)

// order is the order in which machines went down.
func order(machines ...*machine.Machine) string {
	var names []string
	for len(names) < len(machines) {
		var first *machine.Machine
		for _, m := range machines {
			if o := m.Outages(); len(o) > 0 && !strings.Contains(strings.Join(names, " "), m.Name) && (first == nil || o[0].From.Before(first.Outages()[0].From)) {
				first = m
			}
		}
		if first == nil {
			break
		}
		names = append(names, first.Name)
	}
	return strings.Join(names, " ")
}

// Of those that wait, the one that people prefer comes first, and control-plane
// nodes last.
func TestPriority(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	first, late, plane, preferred := b.machine(), b.machine(), b.machine(), b.machine()
	b.patch(plane, `{"metadata":{"labels":{"node-role.kubernetes.io/control-plane":""}}}`)
	b.patch(preferred, `{"metadata":{"annotations":{"rebootd.dev/priority":"5"}}}`)
	all := []*machine.Machine{first, late, plane, preferred}
	var before []string
	for i, m := range all {
		before = append(before, m.BootID())
		b.must(m.Touch("x"))
		b.phase(m, map[bool]string{true: "Draining", false: "Queued"}[i == 0])
	}
	for i, m := range all {
		b.rebooted(m, before[i])
	}
	if got, want := order(all...), strings.Join([]string{first.Name, preferred.Name, late.Name, plane.Name}, " "); got != want {
		t.Errorf("rebooted in the order %s, want %s", got, want)
	}
}

// People pause the whole cluster: a node that drains is put back, one that waits
// goes on waiting, and both say why; afterwards both reboot.
func TestPaused(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	drains, waits := b.machine(), b.machine()
	before := []string{drains.BootID(), waits.BootID()}
	b.must(drains.Touch("x"))
	b.phase(drains, "Draining")
	b.must(waits.Touch("x"))
	b.phase(waits, "Queued")
	pause := func(value string) {
		_, err := shared.Client.CoordinationV1().Leases("rebootd").Patch(b.ctx, b.lock+"-0", types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{"rebootd.dev/paused":%s}}}`, value), metav1.PatchOptions{})
		b.must(err)
	}
	pause(`"an outage"`)
	for _, m := range []*machine.Machine{drains, waits} {
		n := b.node(m, "paused and as it was", func(n *corev1.Node) bool {
			return condition(n).Reason == "Paused" && !n.Spec.Unschedulable && recordOf(n).Phase == "Queued"
		})
		if got := condition(n).Message; !strings.Contains(got, "an outage") {
			t.Errorf("%s says %q", m.Name, got)
		}
	}
	b.released()
	if calls, _ := drains.Orders(); calls != 0 {
		t.Errorf("the reboot command was called %d times", calls)
	}
	pause("null")
	b.rebooted(drains, before[0])
	b.rebooted(waits, before[1])
}

// Nodes of two zones: all of one zone, and only then the other's, two at a time.
func TestSame(t *testing.T) {
	t.Parallel()
	b := newBed(t, 3*time.Minute)
	var all []*machine.Machine
	var before []string
	for i := range 4 {
		m := b.stopped("--slots=2", "--same=zone")
		b.patch(m, fmt.Sprintf(`{"metadata":{"labels":{"zone":"z%d"}}}`, i%2))
		b.must(m.StartDaemon())
		all = append(all, m)
		before = append(before, m.BootID())
	}
	for _, m := range all {
		b.must(m.Touch("x"))
	}
	for i, m := range all {
		b.rebooted(m, before[i])
	}
	for i, m := range all {
		for j, o := range all {
			if i%2 != j%2 && m.Outages()[0].From.Before(o.Outages()[0].To) && o.Outages()[0].From.Before(m.Outages()[0].To) {
				t.Errorf("%s and %s, of two zones, were down at the same time", m.Name, o.Name)
			}
		}
	}
}

// A node at which another operator is at work is left alone: it is not in the
// queue, and when it drains already it is put back.
func TestOthersAtWork(t *testing.T) {
	t.Parallel()
	b := newBed(t, 3*time.Minute)
	m := b.machine()
	before := m.BootID()
	b.must(m.Touch("x"))
	b.phase(m, "Draining")
	b.patch(m, `{"spec":{"taints":[{"key":"medik8s.io/drain","effect":"NoSchedule"}]}}`)
	n := b.node(m, "put back and blocked", func(n *corev1.Node) bool {
		return condition(n).Reason == "Blocked" && recordOf(n).Phase == "Waiting" && !n.Spec.Unschedulable
	})
	if got := condition(n).Message; !strings.Contains(got, "Node Maintenance Operator") {
		t.Errorf("the condition says %q", got)
	}
	b.released()
	if calls, _ := m.Orders(); calls != 0 {
		t.Errorf("the reboot command was called %d times", calls)
	}
	b.patch(m, `{"spec":{"taints":null}}`)
	b.rebooted(m, before)
}

// unavailable is how many Nodes are.
func (b *bed) unavailable() (n int) {
	b.Helper()
	nodes, err := shared.Client.CoreV1().Nodes().List(b.ctx, metav1.ListOptions{})
	b.must(err)
	for _, node := range nodes.Items {
		if !cluster.Ready(&node) || node.Spec.Unschedulable {
			n++
		}
	}
	return n
}

// The limit of unavailable nodes keeps a node from going while another is
// unavailable for whatever reason. It keeps its slot, and goes as soon as there is
// room, or it is unavailable itself.
func TestMaxUnavailable(t *testing.T) {
	b := newBed(t, 3*time.Minute) // alone: it counts all Nodes
	limit := b.unavailable() + 1
	m, sick := b.machine(fmt.Sprintf("--max-unavailable=%d", limit)), b.stopped()
	b.patch(sick, `{"spec":{"unschedulable":true}}`)
	before := m.BootID()
	blocked := func() {
		b.Helper()
		b.must(m.Touch("x"))
		n := b.node(m, "blocked and as it was", func(n *corev1.Node) bool {
			return condition(n).Reason == "Blocked" && recordOf(n).Phase == "Queued" && !n.Spec.Unschedulable
		})
		if got := condition(n).Message; !strings.Contains(got, "already unavailable (") || !strings.Contains(got, fmt.Sprintf("the limit is %d", limit)) {
			t.Errorf("the condition says %q", got)
		}
	}
	blocked()
	b.must(m.Withdraw())
	b.released()
	blocked()
	b.patch(sick, `{"spec":{"unschedulable":null}}`)
	began := time.Now()
	b.node(m, "cordoned", func(n *corev1.Node) bool { return n.Spec.Unschedulable })
	if took := time.Since(began); took > time.Second {
		t.Errorf("went %s after there was room", took)
	}
	before = b.rebooted(m, before).Status.NodeInfo.BootID
	b.patch(sick, `{"spec":{"unschedulable":true}}`)
	blocked()
	b.patch(m, `{"spec":{"unschedulable":true}}`)
	b.node(m, "rebooted, and cordoned still", func(n *corev1.Node) bool {
		return n.Status.NodeInfo.BootID != before && n.Annotations["rebootd.dev/operation"] == "" && n.Spec.Unschedulable
	})
}

// Who can make no use of its slot gives way to one that is unavailable already, and
// has the slot again afterwards.
func TestGivesWayToOneThatIsUnavailable(t *testing.T) {
	b := newBed(t, 3*time.Minute) // alone: it counts all Nodes
	limit := fmt.Sprintf("--max-unavailable=%d", b.unavailable()+1)
	m, sick := b.machine(limit), b.stopped(limit)
	b.patch(sick, `{"spec":{"unschedulable":true}}`)
	before, sickBefore := m.BootID(), sick.BootID()
	b.must(m.Touch("x"))
	b.node(m, "blocked", func(n *corev1.Node) bool { return condition(n).Reason == "Blocked" && recordOf(n).Phase == "Queued" })
	b.must(sick.StartDaemon())
	b.must(sick.Touch("x"))
	b.node(sick, "rebooted, and cordoned still", func(n *corev1.Node) bool {
		return n.Status.NodeInfo.BootID != sickBefore && n.Annotations["rebootd.dev/operation"] == "" && n.Spec.Unschedulable
	})
	n := b.node(m, "blocked again", func(n *corev1.Node) bool { return condition(n).Reason == "Blocked" && recordOf(n).Phase == "Queued" })
	if n.Status.NodeInfo.BootID != before {
		t.Error("it was rebooted although there was no room")
	}
	b.patch(sick, `{"spec":{"unschedulable":null}}`)
	b.rebooted(m, before)
}

// While it is cordoned the node is protected from autoscalers, which take empty
// nodes away; what people had set for the same is left as it was.
func TestProtectedFromAutoscalers(t *testing.T) {
	t.Parallel()
	const autoscaler, karpenter = "cluster-autoscaler.kubernetes.io/scale-down-disabled", "karpenter.sh/do-not-disrupt"
	b := newBed(t, 2*time.Minute)
	m := b.machine()
	b.patch(m, fmt.Sprintf(`{"metadata":{"annotations":{%q:"true"}}}`, karpenter))
	before := m.BootID()
	b.must(m.Touch("x"))
	b.node(m, "cordoned and protected", func(n *corev1.Node) bool {
		if n.Spec.Unschedulable != (n.Annotations[autoscaler] == "true") {
			t.Errorf("cordoned %t, and protected %q", n.Spec.Unschedulable, n.Annotations[autoscaler])
		}
		return n.Spec.Unschedulable
	})
	n := b.rebooted(m, before)
	if _, ok := n.Annotations[autoscaler]; ok {
		t.Error("the protection that rebootd had set is left behind")
	}
	if n.Annotations[karpenter] != "true" {
		t.Error("the protection that people had set is gone")
	}
}

// The conditions by which all who disrupt nodes tell each other what they are about
// say what rebootd does, from the request to the end; another's are left alone.
func TestLifecycleConditions(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	holds, m := b.machine(), b.machine()
	_, err := shared.Client.CoreV1().Nodes().Patch(b.ctx, m.Name, types.StrategicMergePatchType, []byte(`{"status":{"conditions":[{"type":"MaintenancePlanned","status":"True","reason":"DiskReplacement"}]}}`), metav1.PatchOptions{}, "status")
	b.must(err)
	is := func(n *corev1.Node, want ...corev1.NodeConditionType) {
		t.Helper()
		for _, c := range n.Status.Conditions {
			switch c.Type {
			case corev1.NodeMaintenancePlanned, corev1.NodeDrainInProgress, corev1.NodeDrained, corev1.NodeMaintenanceInProgress:
			default:
				continue
			}
			foreign := n.Name == m.Name && c.Type == corev1.NodeMaintenancePlanned
			i := slices.Index(want, c.Type)
			if c.Status != corev1.ConditionTrue || !foreign && (c.Reason != "Rebootd" || i < 0) || foreign && c.Reason != "DiskReplacement" {
				t.Errorf("%s in phase %q: %s=%s, %s", n.Name, recordOf(n).Phase, c.Type, c.Status, c.Reason)
			}
			if i >= 0 {
				want = slices.Delete(want, i, i+1)
			}
		}
		if len(want) > 0 {
			t.Errorf("%s in phase %q lacks %v", n.Name, recordOf(n).Phase, want)
		}
	}
	before := []string{holds.BootID(), m.BootID()}
	b.must(holds.Touch("x"))
	is(b.node(holds, "draining, and saying so", func(n *corev1.Node) bool {
		return recordOf(n).Phase == "Draining" && condition(n).Reason == "Draining"
	}), corev1.NodeMaintenancePlanned, corev1.NodeDrainInProgress)
	b.must(m.Touch("x"))
	is(b.node(m, "queued", func(n *corev1.Node) bool { return recordOf(n).Phase == "Queued" }), corev1.NodeMaintenancePlanned)
	is(b.node(holds, "rebooting", func(n *corev1.Node) bool { return recordOf(n).Phase == "Rebooting" }), corev1.NodeDrained, corev1.NodeMaintenanceInProgress)
	is(b.rebooted(holds, before[0]))
	is(b.rebooted(m, before[1]), corev1.NodeMaintenancePlanned)
}
