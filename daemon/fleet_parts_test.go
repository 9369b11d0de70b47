package daemon_test

import (
	"context"
	"errors"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/sim"
	"rebootd.dev/drain"
)

// decision is what decide.Next is.
type decision = func(decide.Policy, *api.Record, decide.Facts) decide.Step

// skewed is next on a machine whose clock is set wrong.
func skewed(next decision, by time.Duration) decision {
	if by == 0 {
		return next
	}
	shift := func(at time.Time) time.Time {
		if at.IsZero() {
			return at
		}
		return at.Add(by)
	}
	return func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		f.Now, f.HealthySince, f.Refused.Until, f.Child.Ended = shift(f.Now), shift(f.HealthySince), shift(f.Refused.Until), shift(f.Child.Ended)
		for i := range f.Claims { // facts are made anew for each decision
			f.Claims[i].At = shift(f.Claims[i].At)
		}
		for i := range f.Gates {
			f.Gates[i].Until = shift(f.Gates[i].Until)
		}
		s := next(p, r, f)
		if !s.Until.IsZero() {
			s.Until = s.Until.Add(-by)
		}
		return s
	}
}

// judgedDrainer drains a node under the judge's eyes.
type judgedDrainer struct {
	f *fleet
	n *fleetNode
	p *sim.Process
}

// Run implements daemon.Drainer.
func (d *judgedDrainer) Run(ctx context.Context, opts drain.Options, progress func(drain.Progress)) error {
	d.f.drainBegins(&d.n.truth, d.p.Dead())
	defer d.f.drainSays(&d.n.truth, drain.Progress{}, d.p.Dead())
	return d.p.Drainer().Run(ctx, opts, func(p drain.Progress) {
		if ctx.Err() == nil && d.f.drainSays(&d.n.truth, p, d.p.Dead()) {
			d.f.critical(d.n)
		}
		progress(p)
	})
}

// drainBegins judges whether pods may be evicted.
func (j *judge) drainBegins(t *truth, dead bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case dead:
	case !t.record.disturbed():
		j.violated(t.name, "pods are evicted, and its record is %q", t.record.Phase)
	case j.knows(t, t.uncordoned):
		j.violated(t.name, "pods are evicted from a node that is not cordoned")
	case j.knows(t, t.held):
		j.violated(t.name, "pods are evicted though the node is held")
	case j.knows(t, since{j.pausedAt}):
		j.violated(t.name, "pods are evicted though the lock is paused")
	}
}

// drainSays notes how far a drain has come, and says whether it has come to its end just
// now.
func (j *judge) drainSays(t *truth, p drain.Progress, dead bool) (done bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if dead {
		return false // the next one may run already
	}
	done = p.Drained && !t.drain.drained.is()
	if t.drain.drained.is() {
		t.drain.last = time.Now()
	}
	t.drain.drained.set(p.Drained)
	switch {
	case p.Listed && t.drain.listed.IsZero():
		t.drain.listed = time.Now()
	case !p.Listed && !t.drain.listed.IsZero():
		t.drain.ran, t.drain.listed = t.drain.total(), time.Time{}
	}
	return done
}

// Kind implements daemon.Stage.
func (h *hookStage) Kind() decide.Stage {
	return decide.Stage{Name: "pre-drain.d", Reason: api.ReasonDraining, Message: "running the hooks", Failed: api.ReasonHookFailed, Undoable: true}
}

// Empty implements daemon.Stage.
func (h *hookStage) Empty() bool { return false }

// Do implements daemon.Stage.
func (h *hookStage) Do(ctx context.Context) ([]api.HookOutcome, error) {
	if !h.begin(false) {
		return nil, context.Canceled
	}
	switch {
	case !h.run(ctx):
		return nil, errors.New("it was ended")
	case h.f.faulty() && h.f.chance(10):
		return nil, errHook
	}
	return nil, nil
}

// Undo implements daemon.Stage.
func (h *hookStage) Undo(ctx context.Context) ([]api.HookOutcome, error) {
	if !h.begin(true) {
		return nil, context.Canceled
	}
	if !h.run(ctx) {
		return nil, context.Canceled
	}
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	h.n.hooks.did = false
	return nil, nil
}
