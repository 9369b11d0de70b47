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
	"rebootd.dev/lock"
)

// findLock finds no slot, and notes what it was asked.
type findLock struct {
	lock.Locker
	asked []lock.Claimant
}

func (l *findLock) Find(_ context.Context, ask lock.Claimant) (string, bool, error) {
	l.asked = append(l.asked, ask)
	return "l-0", false, nil
}

// What went with a slot that is lost is given up once, when the node is done: with
// the first look after that.
func TestSlotThatIsLostIsLookedUpAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		locks := &findLock{}
		bg, settle := testBackground(t)
		c := Config{NodeName: "n", Lock: locks, Log: zerolog.Nop(), Metrics: NewMetrics(prometheus.NewRegistry(), "")}
		w := newSlotWorker(c, bg, newClock(time.Now), &reach{log: c.Log, metrics: c.Metrics}, func(decide.Step) {})
		turns := func(phase api.Phase, begun ...bool) {
			t.Helper()
			s := decided{record: &api.Record{ID: "op", Phase: phase}, obeyed: true, node: &nodeView{}, step: decide.Step{Do: decide.DoWait}}
			if phase == api.PhaseIdle {
				s.record = nil
			}
			for range 3 {
				w.follow(s)
				settle()
			}
			if len(locks.asked) != len(begun) {
				t.Fatalf("%q: looks %+v", phase, locks.asked)
			}
			for i, b := range begun {
				if locks.asked[i].Begun != b {
					t.Errorf("%q: look %d says begun: %t", phase, i, !b)
				}
			}
		}
		turns(api.PhaseRebooting, true) // a start that finds none
		if w.state != decide.ClaimLost {
			t.Errorf("a node at work finds no slot: %v", w.state)
		}
		turns(api.PhaseVerifying, true)
		turns(api.PhaseIdle, true, false)
		if w.state != decide.ClaimFree {
			t.Errorf("a node that is done finds no slot: %v", w.state)
		}
		w.state = decide.ClaimLost
		turns(api.PhaseHalted, true, false)
		turns(api.PhaseWaiting, true, false, false)
	})
}
