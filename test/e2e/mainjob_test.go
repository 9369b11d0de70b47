package e2e

import (
	"slices"
	"testing"
	"time"

	"rebootd.dev/test/kit"
	"rebootd.dev/test/machine"
)

// Three nodes reboot one after the other, each once, and are as they were before.
func TestThreeNodesRebootInTurn(t *testing.T) {
	t.Parallel()
	b := newBed(t, 3*time.Minute)
	b.Namespace(b.prefix)
	var machines []*machine.Machine
	var before []string
	var names []string
	for range 3 {
		m := b.machine()
		machines, names = append(machines, m), append(names, m.Name)
		before = append(before, m.BootID())
	}
	b.must(shared.Deployment(b.ctx, b.prefix, "web", 6, map[string]string{"ready-seconds": "1", "term-seconds": "1"}, kit.On(names...)))
	b.must(shared.Budget(b.ctx, b.prefix, "web", 4))
	for _, m := range machines {
		b.must(m.Touch("kernel update"))
	}
	for i, m := range machines {
		b.rebooted(m, before[i])
	}
	b.released()
	if n := overlap(machines); n != 1 {
		t.Errorf("%d machines were down at the same time, want 1", n)
	}
	for _, m := range machines {
		if _, agreed := m.Orders(); agreed != 1 {
			t.Errorf("%s rebooted %d times, want once", m.Name, agreed)
		}
		b.eventually("the metrics of "+m.Name+" tell of its reboot, which their daemon has not seen ordered", func() bool {
			verified, drained := b.metric(m, `rebootd_operations_total{result="RebootVerified"}`), b.metric(m, "rebootd_drain_duration_seconds_count")
			return verified == "1" && drained == "1" && b.metric(m, "rebootd_last_reboot_timestamp_seconds") != "" && b.metric(m, "rebootd_last_drain_duration_seconds") != ""
		})
		want := []string{"RebootRequested", "Queued", "SlotAcquired", "Draining", "Drained", "Rebooting", "Verifying", "RebootVerified", "Uncordoned", "Released"}
		b.eventually("the Events of "+m.Name+" tell the story", func() bool {
			return slices.Equal(slices.Compact(onlyFirst(b.events(m), "DrainBlocked")), want)
		})
	}
}

// onlyFirst leaves out the reason, which may or may not come.
func onlyFirst(reasons []string, without string) []string {
	return slices.DeleteFunc(reasons, func(r string) bool { return r == without })
}
