package e2e

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A Node is deleted while its daemon lives, and does not come back: the daemon holds on
// to nothing, and whoever waits for the slot gets it.
func TestNodeOfALivingDaemonIsDeleted(t *testing.T) {
	t.Parallel()
	b := newBed(t, 3*time.Minute)
	first, second := b.machine(), b.machine()
	b.blocked(first)
	b.must(first.Touch("x"))
	b.reason(first, "DrainBlocked")
	before := second.BootID()
	b.must(second.Touch("x"))
	b.phase(second, "Queued")
	b.must(shared.Client.CoreV1().Nodes().Delete(b.ctx, first.Name, metav1.DeleteOptions{}))
	b.eventually("the daemon knows", func() bool { return strings.Contains(first.Log(), "the Node is gone from the cluster") })
	b.rebooted(second, before) // after the minute for which the slot of a deleted Node is left alone
	if !first.Running() {
		t.Error("the daemon has ended")
	}
	for slot, holder := range b.holders() {
		if holder == first.Name {
			t.Errorf("%s is held by %s, whose Node is gone", slot, holder)
		}
	}
}
