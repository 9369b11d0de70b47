package cli

import (
	"math"
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
)

// TestHostileNumbers: whoever may edit one Node can neither crash the commands nor have them
// print without end.
func TestHostileNumbers(t *testing.T) {
	for _, n := range []int{math.MinInt, -1, 1 << 60, math.MaxInt} {
		f := newFake()
		f.draining("node-1", time.Minute, 4, 2)
		f.queued("node-2", time.Minute, "", took(6*time.Minute, 4*time.Minute))
		f.queued("node-3", time.Minute, "", took(6*time.Minute, 4*time.Minute))
		f.slot(0, "node-1", time.Minute)
		for _, name := range []string{"node-1", "node-2"} {
			f.change(name, statusIs(func(s *api.Status) {
				s.Slots = n
				if s.Drain != nil {
					s.Drain.Total, s.Drain.Left, s.Drain.BlockedTotal = n, 0, n
				}
			}))
		}
		for _, line := range []string{"status", "status -o json", "why node-1", "why node-2", "plan", "slots", "history", "report"} {
			r := runIn(f, strings.Fields(line), onTerminal(100, 30))
			if r.status != exitOK || len(r.out) > 100_000 {
				t.Errorf("%d: %s: status %d, %d bytes: %s", n, line, r.status, len(r.out), r.err)
			}
		}
	}
}
