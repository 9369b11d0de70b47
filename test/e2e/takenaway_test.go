package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/machine"
	"rebootd.dev/test/proxy"
)

// people take the slot of this test's lock away from its holder: they delete its
// Lease, or write into it.
func (b *bed) people(patch string) {
	b.Helper()
	leases, slot := shared.Client.CoordinationV1().Leases(cluster.Namespace), b.lock+"-0"
	if patch == "" {
		b.must(leases.Delete(b.ctx, slot, metav1.DeleteOptions{}))
		return
	}
	_, err := leases.Patch(b.ctx, slot, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "person"})
	b.must(err)
}

// The slot is taken away from a node whose reboot was ordered, or that has halted:
// the next waits for it, and says so. Two machines are never off at once.
func TestSlotIsTakenAwayAfterTheOrder(t *testing.T) {
	for name, tc := range map[string]struct {
		patch  string
		halted bool
	}{
		"deleted": {"", false}, "cleared": {`{"spec":{"holderIdentity":null}}`, false}, "of one that has halted": {`{"spec":{"holderIdentity":null}}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, 2*time.Minute)
			first, second := b.machine("--drain=false", "--health-timeout=2s"), b.machine("--drain=false")
			before := []string{first.BootID(), second.BootID()}
			phase := "Rebooting"
			if tc.halted {
				phase = "Halted"
				first.StayUnhealthy(time.Now().Add(time.Hour))
			} else {
				first.Behave(machine.Behaviour{Delay: 5 * time.Second})
			}
			b.must(first.Touch("x"))
			b.phase(first, phase)
			b.eventually("the reboot is ordered", func() bool { _, agreed := first.Orders(); return agreed == 1 })
			if tc.patch != "" {
				b.must(second.Touch("x"))
				b.phase(second, "Queued")
			}
			b.people(tc.patch)
			if tc.patch == "" { // it has not seen the slot deleted, and does not leave it alone for that
				b.must(second.Touch("x"))
			}
			b.eventually("it waits for the other, and says so", func() bool {
				return strings.Contains(second.Log(), "waiting for "+first.Name+", rebooting without a slot")
			})
			b.phase(second, "Queued")
			first.StayUnhealthy(time.Now())
			b.rebooted(first, before[0])
			b.rebooted(second, before[1])
			one, two := first.Outages(), second.Outages()
			if len(one) != 1 || len(two) != 1 || two[0].From.Before(one[0].To) {
				t.Errorf("down: %v and %v", one, two)
			}
		})
	}
}

// A daemon that does not hear that its slot was taken away learns of it right before
// it orders the reboot, and does not.
func TestSlotIsConfirmedBeforeTheOrder(t *testing.T) {
	for name, patch := range map[string]string{"deleted": "", "cleared": `{"spec":{"holderIdentity":null}}`, "given": `{"spec":{"holderIdentity":"another"}}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, time.Minute)
			m := b.stopped()
			b.through(m).Faults(func(r *http.Request) proxy.Fault {
				if proxy.IsWatch(r, "leases") {
					return proxy.Fault{EventDelay: time.Hour}
				}
				return proxy.Fault{}
			})
			b.must(m.StartDaemon())
			b.blocked(m)
			b.must(m.Touch("x"))
			b.reason(m, "DrainBlocked")
			b.people(patch)
			b.must(shared.Client.PolicyV1().PodDisruptionBudgets(b.prefix).Delete(b.ctx, "web", metav1.DeleteOptions{}))
			b.reason(m, "SlotLost")
			if calls, _ := m.Orders(); calls != 0 {
				t.Errorf("the reboot command was called %d times", calls)
			}
		})
	}
}
