package daemon_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/sim"
	"rebootd.dev/drain"
)

// endingDrainer is a drain that ends by itself each 50 seconds, with pods left.
type endingDrainer struct{}

func (endingDrainer) Run(ctx context.Context, opts drain.Options, progress func(drain.Progress)) error {
	progress(drain.Progress{Listed: true, ClockStart: time.Now().Add(-opts.Ran)})
	select {
	case <-time.After(50 * time.Second):
	case <-ctx.Done():
	}
	return errors.New("something went wrong")
}

// What a drain has run counts also when it is started again before that was noted.
func TestADrainThatEndsByItself(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		bringTo(t, m, settings{change: func(c *daemon.Config, _ *sim.Process) {
			c.Stages = []daemon.Stage{daemon.Drain(endingDrainer{}, 10*time.Minute, decide.Rollback)}
		}}, api.PhaseDraining)
		pass(10*time.Minute - 30*time.Second)
		if r := w.Record("a"); r.Phase != api.PhaseDraining {
			t.Errorf("before its time is over: %+v", r)
		}
		pass(time.Minute)
		if r := w.Record("a"); r.Phase != api.PhaseWaiting || r.Failure == nil || !strings.Contains(r.Failure.Message, "not drained after 10m0s") {
			t.Errorf("after its time: %+v", r)
		}
	})
}
