package e2e

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/test/cluster"
)

// The next node is not cordoned before the interval has passed since the one before released
// the slot, by the audit log; it holds the slot meanwhile, and says until when.
func TestInterval(t *testing.T) {
	t.Parallel()
	const interval = 15 * time.Second
	b := newBed(t, 2*time.Minute)
	first, second := b.machine("--drain=false", "--interval="+interval.String()), b.machine("--drain=false", "--interval="+interval.String())
	before := []string{first.BootID(), second.BootID()}
	b.must(first.Touch("x"))
	b.rebooted(first, before[0])
	b.released()
	slot, err := shared.Client.CoordinationV1().Leases(cluster.Namespace).Get(b.ctx, b.lock+"-0", metav1.GetOptions{})
	b.must(err)
	at, err := time.Parse(time.RFC3339, slot.Annotations[api.VacatedAnnotation])
	b.must(err)
	b.must(second.Touch("x"))
	b.says(second, "CoolingDown", "cooling down after another node", "until "+at.Add(interval).UTC().Format(time.RFC3339), "keeping the slot")
	if held := b.holders(); held[b.lock+"-0"] != second.Name {
		t.Errorf("the slots are held by %v", held)
	}
	b.rebooted(second, before[1])
	_, done := b.cordonsOf(second)
	if len(done) != 1 || done[0].RequestReceivedTimestamp.Before(at.Add(interval)) {
		t.Errorf("the slot was vacated at %s, and the next node cordoned at %v", at, done)
	}
}

// A window that does not come is passed over once the deadline of a sentinel has.
func TestDeadline(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	day := time.Now().UTC().Add(72 * time.Hour).Weekday().String()[:3]
	m := b.machine("--drain=false", "--window="+day+" 10:00-11:00")
	before := m.BootID()
	touched := time.Now()
	b.must(m.Touch("security deadline=15s"))
	b.says(m, "OutsideWindow", "the deadline is ")
	b.rebooted(m, before)
	_, done := b.cordonsOf(m)
	if len(done) != 1 || done[0].RequestReceivedTimestamp.Before(touched.Add(15*time.Second)) {
		t.Errorf("touched at %s, cordoned at %v", touched, done)
	}
	if words := "has passed, so these were not waited for: OutsideWindow"; !strings.Contains(m.Log(), words) {
		t.Errorf("nobody is told that the deadline %s", words)
	}
}
