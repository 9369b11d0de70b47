package daemon

import (
	"context"
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
}

func newChecksWorker(c Config, bg *background) *checksWorker {
	return &checksWorker{bg: bg, rounds: checkRounds{c.Checks}}
}

func (w *checksWorker) follow(s decided) bool {
	p := s.phase()
	wanted := len(w.rounds.checks) > 0 && s.obeyed && (p == api.PhaseVerifying || p == api.PhaseHalted)
	switch {
	case wanted && w.task == nil:
		w.failing = "the checks have not passed yet"
		w.task = start(w.bg, w.rounds.run, func(failing string) { w.failing = failing }, func(struct{}, bool) { w.task = nil })
	case !wanted && w.task != nil:
		w.task.cancel()
	}
	return true
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
}

func (r checkRounds) run(ctx context.Context, say func(failing string)) struct{} {
	for ctx.Err() == nil {
		failing := ""
		for _, check := range r.checks {
			if err := check(ctx); err != nil {
				failing = err.Error()
				break
			}
		}
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
