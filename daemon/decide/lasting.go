package decide

import (
	"fmt"
	"slices"
	"time"

	"rebootd.dev/daemon/api"
)

// noteEvery is how much of a lasting stage's time may be forgotten when the daemon is
// killed.
const noteEvery = time.Minute

// forceMargin is how long after its limit a stage that ends by force may take to see
// that it has: kubelets say late that pods have ended.
const forceMargin = 30 * time.Second

// end is when, on its own clock, a stage has taken too long; 0 for never.
func (k Stage) end() time.Duration {
	if k.Limit > 0 && k.OnLimit == Force {
		return k.Limit + forceMargin
	}
	return k.Limit
}

// left is how much remains of a stage's time. A stage that ends by force is at work for
// the margin in this start of the daemon, too, whatever it has run before: its limit may
// have been shortened, and nothing has been ended by force then.
func (k Stage) left(now Progress) time.Duration {
	left := k.end() - now.Ran
	if k.OnLimit == Force {
		left = max(left, forceMargin-(now.Ran-now.Before))
	}
	return left
}

// lasting is the stage that goes on until the command is spawned.
func lasting(p Policy) (int, bool) {
	i := slices.IndexFunc(p.Stages, func(k Stage) bool { return k.Lasting })
	return i, i >= 0
}

// lastingStage is the step of the lasting stage; or what it has reached, when it is over.
// How long it may take is told by its own clock: nothing that others did, or did not do,
// counts as its time.
func lastingStage(p Policy, r *api.Record, f Facts, k Stage, now Progress) (Step, *reached) {
	if now.State == StageDone {
		return Step{}, &reached{api.ReasonDrained, now.Summary, "drained"}
	}
	for i, other := range p.Stages {
		if now := progress(r, f, i); !other.Lasting && now.State == StageRunning {
			return runOrNote(r, f, other, now), nil // what was begun when this one was done comes to its end
		}
	}
	switch {
	case k.Limit == 0, now.Starting < k.Limit && k.left(now) > 0:
		return runLasting(r, k, now, f), nil
	case now.Starting >= k.Limit:
		return back(p, r, f, api.Undo{Reason: k.TimedOut, Message: fmt.Sprintf("%s could not begin for %s: %s", k.Name, k.Limit, now.Detail), Failed: true}), nil
	}
	message := fmt.Sprintf("not drained after %s", k.Limit)
	if now.Summary != "" {
		message += ": " + now.Summary
	}
	if k.OnLimit == Rollback {
		return back(p, r, f, api.Undo{Reason: k.TimedOut, Message: message, Failed: true}), nil
	}
	return Step{}, &reached{k.TimedOut, message + "; rebooting with the remaining pods", "not drained in time"}
}

// runLasting is the step that runs a lasting stage, which has not come to its end.
func runLasting(r *api.Record, k Stage, now Progress, f Facts) Step {
	s := run(r, f, k, now)
	s.More = joined("since "+r.DrainBegan().UTC().Format(time.RFC3339), now.Numbers)
	if now.Blocked {
		s.More = "draining " + s.More
		s.Reason, s.Message = k.Blocked, now.Summary
		if k.Limit > 0 && k.OnLimit == Force {
			s.Message += fmt.Sprintf("; remaining pods are deleted so that they end when the drain has run for %s", k.Limit)
		}
	}
	if k.Limit > 0 {
		s.Until = f.Now.Add(min(k.left(now), k.Limit-now.Starting))
	}
	return s
}

// noteRan writes down for how long the lasting stage has run, while nothing else is to be
// written: the next start of the daemon goes on counting from there.
func noteRan(r *api.Record, k Stage, now Progress, s Step) Step {
	if !s.Do.Lasts() || k.Limit == 0 || now.Ran-r.DrainHasRun() < noteEvery {
		return s
	}
	s.Record = r.Clone()
	s.Record.DrainRan = &api.Ran{Since: r.DrainBegan(), Seconds: int(now.Ran / time.Second)}
	s.Do, s.Silent, s.Until = DoWrite, true, time.Time{} // a stage that runs is not disturbed
	return s
}
