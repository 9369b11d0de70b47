package daemon

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"rebootd.dev/daemon/decide"
	"rebootd.dev/lock"
)

// findLock finds no slot, and notes what it was asked.
type findLock struct {
	Locker
	asked []lock.Ask
}

func (l *findLock) Find(_ context.Context, ask lock.Ask) (string, bool, error) {
	l.asked = append(l.asked, ask)
	return "", false, nil
}

// What went with a slot that is lost is given up once, when the node is done: with
// the first look after that.
func TestSlotThatIsLostIsLookedUpAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		locks := &findLock{}
		var wg sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		defer wg.Wait()
		defer cancel()
		d := &Daemon{Config: Config{NodeName: "n", Lock: locks, Log: zerolog.Nop(), Metrics: NewMetrics(prometheus.NewRegistry(), "")}, inbox: make(chan func(), 16)}
		d.bg = background{wg: &wg, tasks: ctx, steps: ctx}
		d.node = &nodeView{}
		turns := func(phase decide.Phase, begun ...bool) {
			t.Helper()
			d.record = &decide.Record{ID: "op", Phase: phase}
			if phase == decide.Idle {
				d.record = nil
			}
			for range 3 {
				d.keepSlotTask(decide.Step{Do: decide.Wait})
				synctest.Wait()
				d.drainInbox()
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
		turns(decide.Rebooting, true) // a start that finds none
		turns(decide.Verifying, true)
		turns(decide.Idle, true, false)
		d.slot = decide.Slot{State: decide.SlotGone}
		turns(decide.Halted, true, false)
		turns(decide.Waiting, true, false, false)
	})
}
