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
	held  bool
}

func (l *findLock) Find(_ context.Context, ask lock.Ask) (string, bool, error) {
	l.asked = append(l.asked, ask)
	return "l-0", l.held, nil
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

// What was found about room with a slot that was given up is not believed of the next
// one, however that was come by: a node would give way to the same one again.
func TestRoomIsForgottenWithTheSlot(t *testing.T) {
	record := &decide.Record{ID: "op", Phase: decide.Queued}
	d := &Daemon{Config: Config{NodeName: "n", Lock: &findLock{held: true}, Log: zerolog.Nop(), Metrics: NewMetrics(prometheus.NewRegistry(), "")}}
	d.record, d.node = record, &nodeView{}
	d.room = decide.Room{Key: record.DrainKey(), Way: []string{"other"}}
	d.find(t.Context(), d.ask())()
	if d.slot.State != decide.SlotHeld || d.giveWay() != "" {
		t.Errorf("slot %+v, room %+v", d.slot, d.room)
	}
}
