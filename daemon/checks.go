package daemon

import (
	"context"
	"sync/atomic"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
)

// checkEvery lies between two rounds of the checks of a node that has booted.
const checkEvery = 5 * time.Second

// checksWorker has the node checked, again and again, from the boot until the operation
// is over, and knows since when it is healthy.
type checksWorker struct {
	bg     *background
	rounds checkRounds

	task    *task
	failing string // which of the checks, and why; known while task runs
	since   time.Time
	rests   bool // no round begins
}

func newChecksWorker(c Config, bg *background) *checksWorker {
	return &checksWorker{bg: bg, rounds: checkRounds{checks: c.Checks, stop: new(atomic.Bool), busy: new(atomic.Bool)}}
}

func (w *checksWorker) follow(s decided) bool {
	p := s.phase()
	wanted := len(w.rounds.checks) > 0 && s.obeyed && (p == api.PhaseVerifying || p == api.PhaseHalted)
	switch {
	case wanted && w.task == nil && !w.rests:
		w.failing = "the checks have not passed yet"
		w.task = start(w.bg, w.rounds.run, func(failing string) { w.failing = failing }, func(struct{}, bool) { w.task = nil })
	case !wanted && w.task != nil:
		w.task.cancel()
	}
	return true
}

// rest has no round of the checks begin while it is told so, and says whether one is being
// made: a hook may run in it.
func (w *checksWorker) rest(rests bool) (busy bool) {
	w.rests = rests
	w.rounds.stop.Store(rests)
	return w.rounds.busy.Load()
}

func (w *checksWorker) facts(f *decide.Facts) {
	switch {
	case len(w.rounds.checks) == 0:
	case w.task == nil:
		f.Node.Checks = "the checks have not started yet"
	default:
		f.Node.Checks = w.failing
	}
}

// healthySince notes whether the node is healthy, and returns since when; the zero time
// if it is not.
func (w *checksWorker) healthySince(ailing string, now time.Time) time.Time {
	switch {
	case ailing != "":
		w.since = time.Time{}
	case w.since.IsZero():
		w.since = now
	}
	return w.since
}

// checkRounds makes the checks, in the background.
type checkRounds struct {
	checks []func(ctx context.Context) error
	stop   *atomic.Bool // no round begins
	busy   *atomic.Bool // a round is being made, or about to be
}

func (r checkRounds) run(ctx context.Context, say func(failing string)) struct{} {
	for ctx.Err() == nil {
		// In this order: whoever says stop, and then sees that this is not busy, knows that no
		// round begins.
		r.busy.Store(true)
		if r.stop.Load() {
			r.busy.Store(false)
			return struct{}{}
		}
		failing := ""
		for _, check := range r.checks {
			if err := check(ctx); err != nil {
				failing = err.Error()
				break
			}
		}
		r.busy.Store(false)
		say(failing)
		t := time.NewTimer(checkEvery)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
	return struct{}{}
}
