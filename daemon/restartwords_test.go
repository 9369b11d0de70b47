package daemon_test

import (
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/sim"
)

// A start of the daemon that has nothing new to say leaves what an earlier one has said:
// thousands wait, or are halted, while the DaemonSet is rolled out.
func TestARestartDoesNotChangeTheCondition(t *testing.T) {
	for _, phase := range []api.Phase{api.PhaseQueued, api.PhaseHalted} {
		t.Run(string(phase), func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				if phase == api.PhaseHalted {
					m.KubeletReports(false, "PLEG is not healthy")
				}
				p := bringTo(t, m, settings{}, phase)
				pass(2 * time.Minute)
				told := w.Condition("a", api.RebootRequired).Message
				if !strings.Contains(told, slot0) {
					t.Fatalf("%s", told)
				}
				p.Kill()
				p = start(t, m, settings{})
				pass(40 * time.Second)
				for _, r := range p.Link.Requests() {
					if r.Verb == "patch" && r.Resource == "nodes" && !r.DryRun {
						t.Errorf("it said %q; now: %s", told, r.Body)
					}
				}
			})
		})
	}
}
