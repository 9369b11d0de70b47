package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/test/machine"
)

// abort gives the operation up as a person would.
func (b *bed) abort(m *machine.Machine, why string) {
	b.Helper()
	b.patch(m, `{"metadata":{"annotations":{"rebootd.dev/abort":"`+why+`"}}}`)
}

// clean says whether nothing of an operation is left on the Node, nor what
// people have asked for.
func clean(n *corev1.Node) bool {
	for k := range n.Annotations {
		if slices.Contains([]string{"rebootd.dev/operation", "rebootd.dev/abort", "karpenter.sh/do-not-disrupt", "cluster-autoscaler.kubernetes.io/scale-down-disabled"}, k) {
			return false
		}
	}
	return !n.Spec.Unschedulable
}

// Given up in any phase, by the command, the node is put back, its slot and its node lease are released,
// and what had requested the reboot, which is still there, does not request it again, also
// not of the next start of the daemon. A machine that goes down already is left to it.
func TestAbortInEachPhase(t *testing.T) {
	for _, p := range phases {
		t.Run(p.phase, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, 2*time.Minute)
			b.Namespace(b.prefix)
			m := b.stopped(p.args...)
			p.prepare(b, m)
			b.must(m.StartDaemon())
			before := m.BootID()
			b.must(m.Touch("x"))
			b.phase(m, p.phase)
			if p.phase == "Rebooting" {
				b.eventually("the command runs", func() bool { calls, _ := m.Orders(); return calls > 0 })
			}
			if said := b.Program("abort", m.Name, "--reason=wrong kernel", "--wait", "--timeout=100s"); said.Status != p.abortEnds {
				t.Errorf("the command ended with %d: %s", said.Status, said.Err)
			}
			if p.phase == "Rebooting" {
				n := b.rebooted(m, before)
				if !clean(n) || !slices.Contains(b.events(m), "AbortPending") {
					t.Errorf("annotations %v, Events %v", n.Annotations, b.events(m))
				}
				return
			}
			n := b.node(m, "aborted", func(n *corev1.Node) bool { return clean(n) && condition(n).Reason == "Aborted" })
			if c := condition(n); c.Status != corev1.ConditionFalse || !strings.HasPrefix(c.Message, "aborted: wrong kernel") {
				t.Errorf("the condition is %+v", c)
			}
			if p.phase != "Queued" { // where another holds it
				b.released()
			}
			b.leaseReleased(m)
			b.eventually("an Event says so", func() bool { return slices.Contains(b.events(m), "Aborted") })
			m.StopDaemon()
			b.must(m.StartDaemon())
			b.eventually("the daemon has found that nothing is requested", func() bool {
				log := m.Log()
				return strings.Contains(log[strings.LastIndex(log, "rebootd is starting"):], "aborted: wrong kernel")
			})
			if n := b.node(m, "idle", idle); !clean(n) {
				t.Errorf("after a restart: %v", n.Annotations)
			}
			if ordered := m.BootID() != before; ordered != (p.phase == "Verifying" || p.phase == "Halted") {
				t.Errorf("the machine has rebooted: %t", ordered)
			}
		})
	}
}

// With nothing to do the annotation is removed, and that is told. What an operation has
// left that somebody has ended by hand is removed with the next.
func TestAbortOfNothingAndWhatIsLeft(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	b.Namespace(b.prefix)
	m := b.machine()
	b.blocked(m)
	b.abort(m, "what for")
	b.node(m, "without the annotation", func(n *corev1.Node) bool { _, there := n.Annotations["rebootd.dev/abort"]; return !there })
	b.eventually("an Event says so", func() bool { return slices.Contains(b.events(m), "Aborted") })

	b.must(m.Touch("x"))
	b.phase(m, "Draining")
	m.StopDaemon() // it would put the node back itself
	b.must(m.Withdraw())
	b.patch(m, `{"metadata":{"annotations":{"rebootd.dev/operation":null}},"spec":{"unschedulable":null}}`)
	b.must(m.StartDaemon())
	b.node(m, "protected still, by nobody", func(n *corev1.Node) bool { return idle(n) && !clean(n) })
	before := m.BootID()
	b.must(shared.Client.PolicyV1().PodDisruptionBudgets(b.prefix).Delete(b.ctx, "web", metav1.DeleteOptions{}))
	b.must(m.Touch("y"))
	if n := b.rebooted(m, before); !clean(n) {
		t.Errorf("left behind: %v", n.Annotations)
	}
}
