package decide

import (
	"fmt"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
)

// The time of the drain is counted by its own clock, whatever the wall clock says: hooks
// that ran before it, a daemon that was away and a clock that was set are no drain.
func TestDrainIsTimedByItsOwnClock(t *testing.T) {
	for _, policy := range []TimeoutPolicy{Rollback, Force, Reboot} {
		end := map[TimeoutPolicy]time.Duration{Rollback: limit, Force: limit + 30*time.Second, Reboot: limit}[policy]
		for _, ran := range []time.Duration{0, end - time.Second, end} {
			for _, away := range []time.Duration{0, 24 * time.Hour} {
				t.Run(fmt.Sprintf("%s after %s, cordoned %s ago", policy, ran, away+ran), func(t *testing.T) {
					noted := func(r *api.Record) { r.DrainRan = &api.Ran{Since: t0, Seconds: int(ran.Seconds())} }
					s := base(aRecord(api.PhaseDraining, noted)).but(func(s *situation) {
						s.p.Stages = []Stage{preDrain, drainUntil(limit, policy)}
						s.f.Now = t0.Add(ran + away)
						s.drained = s.progress(StageRunning)
						s.drained.Ran = ran
					})
					step := s.step()
					switch {
					case ran < end && (step.Do != DoStage || step.Stage != "drain" || !step.Until.Equal(s.f.Now.Add(min(limit, end-ran)))):
						t.Errorf("%+v", step)
					case ran == end && policy == Rollback && (step.Do != DoWrite || step.Record.Undo == nil || step.Reason != api.ReasonDrainTimedOut):
						t.Errorf("%+v", step)
					case ran == end && policy != Rollback && (step.Do != DoWrite || step.Record.Order == nil || step.Reason != api.ReasonDrainTimedOut):
						t.Errorf("%+v", step)
					case (step.Limit == limit) != (policy == Force && step.KeepUp):
						t.Errorf("force is allowed after %s: %+v", step.Limit, step)
					}
				})
			}
		}
	}
}

// A drain that cannot even begin for its time ends nothing by force.
func TestDrainThatCannotBegin(t *testing.T) {
	for _, policy := range []TimeoutPolicy{Rollback, Force, Reboot} {
		s := base(aRecord(api.PhaseDraining)).but(func(s *situation) {
			s.p.Stages = []Stage{preDrain, drainUntil(limit, policy)}
			s.drained = s.progress(StageRunning)
			s.drained.Starting, s.drained.Detail = limit, "cannot list the pods"
		})
		if step := s.step(); step.Do != DoWrite || step.Record.Undo == nil || !step.Record.Undo.Failed || step.Record.Undo.Reason != api.ReasonDrainTimedOut {
			t.Errorf("%s: %+v", policy, step)
		}
	}
}

// Each minute it is written down for how long the drain has run, and nobody is told.
func TestDrainTimeIsNoted(t *testing.T) {
	s := base(aRecord(api.PhaseDraining)).but(func(s *situation) {
		s.drained = s.progress(StageRunning)
		s.drained.Ran, s.drained.Blocked, s.drained.Summary = time.Minute, true, "web is blocked"
	})
	step := s.step()
	if step.Do != DoWrite || !step.Silent || !step.KeepUp || step.Stage != "drain" || step.Record.DrainHasRun() != time.Minute {
		t.Fatalf("%+v", step)
	}
	if step.Reason != api.ReasonDrainBlocked || step.Message != "web is blocked" {
		t.Errorf("people are shown something else meanwhile: %s %s", step.Reason, step.Message)
	}
	s.r = step.Record
	if step := s.step(); step.Do != DoStage || step.Stage != "drain" {
		t.Errorf("once it is written: %+v", step)
	}
	s.drained.State = StageDone // and while it waits for something
	s.drained.Ran = 2 * time.Minute
	s = s.but(func(s *situation) { s.p.Stages, s.last = []Stage{preDrain, drain, preReboot}, s.progress(StageRunning) })
	if step := s.step(); step.Do != DoWrite || step.Record.DrainHasRun() != 2*time.Minute || step.Reason != preReboot.Reason {
		t.Errorf("while hooks run on the drained node: %+v", step)
	}
}

// An order that was not carried out at once does not spend the time of the reboot.
func TestOrderIsRenewedBeforeTheSpawn(t *testing.T) {
	waited := base(aRecord(api.PhaseRebooting)).but(func(s *situation) { s.f.Now = t0.Add(20 * time.Minute) })
	step := waited.step()
	if step.Do != DoWrite || !step.Silent || step.Record.Order.UptimeMillis != waited.f.Uptime.Milliseconds() || step.Record.Order.Try != 1 || !step.KeepUp {
		t.Fatalf("ordered 20 minutes ago: %+v", step)
	}
	waited.r = step.Record
	if step := waited.step(); step.Do != DoSpawn {
		t.Errorf("once renewed: %+v", step)
	}
	if step := base(aRecord(api.PhaseRebooting)).but(func(s *situation) { s.f.Now = t0.Add(59 * time.Second) }).step(); step.Do != DoSpawn {
		t.Errorf("ordered 59 s ago: %+v", step)
	}
}

// What people are told of a drain that is blocked, and of one whose time is over.
func TestWordsOfTheDrain(t *testing.T) {
	all := newSteps(t)
	of := func(limit time.Duration, policy TimeoutPolicy, now Progress) situation {
		return base(aRecord(api.PhaseDraining, func(r *api.Record) { r.DrainRan = &api.Ran{Since: t0, Seconds: int(now.Ran.Seconds())} })).but(func(s *situation) {
			s.p.Stages, s.drained = []Stage{drainUntil(limit, policy)}, now
			s.drained.Key, s.drained.State = s.drainKey, StageRunning
		})
	}
	blocked, over := Progress{Blocked: true, Summary: "web is blocked"}, Progress{Ran: limit, Summary: "web is blocked"}
	want{do: DoStage, reason: api.ReasonDrainBlocked, says: "web is blocked", without: "deleted", until: limit + 2*time.Second}.check(t, all, "blocked", of(limit, Rollback, blocked))
	want{do: DoStage, reason: api.ReasonDrainBlocked, says: "remaining pods are deleted so that they end when the drain has run for 30m0s"}.check(t, all, "to be forced", of(limit, Force, blocked))
	want{do: DoStage, reason: api.ReasonDrainBlocked, says: "web is blocked", without: "deleted", until: -1}.check(t, all, "no limit", of(0, Force, blocked))
	want{do: DoWrite, reason: api.ReasonDrainTimedOut, says: "not drained after 30m0s: web is blocked; rebooting with the remaining pods"}.check(t, all, "over", of(limit, Reboot, over))
	want{do: DoWrite, reason: api.ReasonDrainTimedOut, says: "not drained after 30m0s; rebooting with the remaining pods"}.check(t, all, "over, nothing to say", of(limit, Reboot, Progress{Ran: limit}))
}

// Nothing that others did ends pods: where the drain has run for longer than it may in
// earlier starts of the daemon, this one deletes what is left and waits for it before it
// reboots by force.
func TestForceTakesAPassOfItsOwn(t *testing.T) {
	after := func(here time.Duration, policy TimeoutPolicy) Step {
		return base(aRecord(api.PhaseDraining, func(r *api.Record) { r.DrainRan = &api.Ran{Since: t0, Seconds: 3600} })).but(func(s *situation) {
			s.p.Stages, s.drained = []Stage{drainUntil(limit, policy)}, s.progress(StageRunning)
			s.drained.Before, s.drained.Ran = time.Hour, time.Hour+here
		}).step()
	}
	for _, here := range []time.Duration{0, 29 * time.Second} {
		if step := after(here, Force); step.Do != DoStage || step.Limit != limit || !step.Until.Equal(t0.Add(2*time.Second+30*time.Second-here)) {
			t.Errorf("force, after %s here: %+v", here, step)
		}
	}
	if step := after(30*time.Second, Force); step.Do != DoWrite || step.Record.Order == nil {
		t.Errorf("force, after its pass: %+v", step)
	}
	if step := after(0, Reboot); step.Do != DoWrite || step.Record.Order == nil {
		t.Errorf("reboot with what is left: %+v", step)
	}
	if step := after(0, Rollback); step.Do != DoRestore || step.Record.Failure.Reason != api.ReasonDrainTimedOut {
		t.Errorf("rollback: %+v", step)
	}
}
