package daemon

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/lock/nodelease"
)

// freeLease is a node lease that nobody holds.
type freeLease struct{ NodeLeaser }

func (freeLease) Find(context.Context) (nodelease.Status, error) { return nodelease.Status{}, nil }

// Whatever the phase in which the node lease was lost: where its gate is asked and nothing
// else takes the lease, it is looked up. Otherwise the node would wait for ever.
func TestNodeLeaseThatIsLostIsLookedUp(t *testing.T) {
	for _, phase := range []api.Phase{api.PhaseIdle, api.PhaseWaiting, api.PhaseQueued, api.PhaseHalted} {
		synctest.Test(t, func(t *testing.T) {
			bg, settle := testBackground(t)
			c := Config{NodeName: "n", NodeLease: freeLease{}, Log: zerolog.Nop(), Metrics: NewMetrics(prometheus.NewRegistry(), "")}
			w := newLeaseWorker(c, bg, newClock(time.Now), &reach{log: c.Log, metrics: c.Metrics})
			s := decided{
				record: &api.Record{ID: "op", Phase: phase}, obeyed: true, node: &nodeView{uid: "uid"},
				step: decide.Step{Do: decide.DoWait, Reason: api.ReasonQueued, Asks: gate.BeforeQueue},
			}
			if phase == api.PhaseIdle {
				s.record = nil
			}
			w.uid, w.state = "uid", decide.ClaimLost
			w.follow(s)
			settle()
			if w.state != decide.ClaimFree || w.freeVerdict().State != gate.Open {
				t.Errorf("%q: %v, and its gate %+v", phase, w.state, w.freeVerdict())
			}
		})
	}
}
