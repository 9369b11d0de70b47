package decide

import (
	"testing"
	"time"

	"rebootd.dev/daemon/api"
)

// aRecord is one whose phase began at t0, an hour after the boot.
func aRecord(phase api.Phase, change ...func(*api.Record)) *api.Record {
	r := &api.Record{
		V: api.Schema, ID: "op", Phase: phase, Since: t0, BootID: "boot-1", Requested: t0, Request: "kernel", Lock: "rebootd",
		Began: &api.Began{Since: t0, UptimeMillis: before.Milliseconds()},
	}
	if !undisturbed(r) {
		r.Cordoned, r.Hooked = true, true
	}
	if phase == api.PhaseVerifying {
		r.Began.UptimeMillis = 60_000
	}
	if phase == api.PhaseRebooting {
		r.DrainSince, r.Order = t0.Add(-time.Minute), &api.Order{At: t0, UptimeMillis: before.Milliseconds(), By: "me", Try: 1}
	}
	for _, c := range change {
		c(r)
	}
	return r
}

func try(n int) func(*api.Record) { return func(r *api.Record) { r.Order.Try = n } }

func childIs(state ChildState) func(*situation) {
	return func(s *situation) {
		s.f.Child = Child{Key: s.orderKey, State: state, Ended: s.f.Now.Add(-time.Minute), Problem: "exit status 1: OperationInProgress"}
	}
}

func shutdownIs(sd Shutdown) func(*situation) { return func(s *situation) { s.f.Shutdown = sd } }

// An admin types reboot, a delay inhibitor holds it, and logind answers ours that there is
// one under way already: the node must stay cordoned and keep its slot.
func TestGoingDownIsAcceptedThoughTheCommandFailed(t *testing.T) {
	for name, sd := range map[string]Shutdown{
		"prepares to":  {Known: true, Preparing: true},
		"is scheduled": {Known: true, Kind: "reboot", At: t0.Add(5 * time.Minute)},
	} {
		for n := 1; n <= maxTries; n++ {
			step := base(aRecord(api.PhaseRebooting, try(n))).but(shutdownIs(sd), childIs(ChildFailed)).step()
			if step.Do != DoWrite || step.Record == nil || step.Record.Order == nil || !step.Record.Order.Accepted || !step.Record.Due.Equal(sd.At) {
				t.Errorf("%s, try %d: %+v", name, n, step)
				continue
			}
			if step = base(step.Record).but(shutdownIs(sd), childIs(ChildFailed)).step(); step.Do != DoWait {
				t.Errorf("%s, try %d, once accepted: %+v", name, n, step)
			}
		}
	}
}

// A reboot that was scheduled by somebody else takes its schedule back as it begins:
// for these moments the command that failed before is not judged either.
func TestScheduledRebootIsAboutToHappen(t *testing.T) {
	r := aRecord(api.PhaseRebooting, try(maxTries), func(r *api.Record) { r.Order.Accepted, r.Due = true, t0.Add(time.Minute) })
	at := func(d time.Duration) Step {
		return base(r).but(childIs(ChildFailed), func(s *situation) { s.f.Now = t0.Add(d) }).step()
	}
	if step := at(55 * time.Second); step.Do != DoWait {
		t.Errorf("5 s before its time: %+v", step)
	}
	if step := at(40 * time.Second); step.Do != DoWrite || step.Record.Undo == nil || step.Reason != api.ReasonRebootFailed {
		t.Errorf("20 s before its time nothing is scheduled any more: %+v", step)
	}
}

// A shutdown that was begun and came to nothing: the command that failed is tried again.
func TestCommandIsTriedAgainWhenTheShutdownCameToNothing(t *testing.T) {
	r := aRecord(api.PhaseRebooting, func(r *api.Record) { r.Order.Accepted = true })
	s := base(r).but(childIs(ChildFailed))
	step := s.step()
	if step.Do != DoWrite || step.Record.Order.Try != 2 || step.Record.Order.Accepted {
		t.Fatalf("%+v", step)
	}
	// What was drained then was not watched since.
	next := base(step.Record).but(func(s *situation) { s.drained = s.progress(StageNone) }).step()
	if next.Do != DoWrite || next.Record.Phase != api.PhaseDraining || !next.KeepUp {
		t.Errorf("nobody knows what has come to the node since, and: %+v", next)
	}
}

// While the machine goes down nothing is begun, undone, given back or spawned.
func TestNothingIsDoneWhileTheMachineGoesDown(t *testing.T) {
	all := newSteps(t)
	undo := func(r *api.Record) {
		r.Undo = &api.Undo{Since: r.DrainBegan(), Reason: api.ReasonHeld, Message: "held"}
	}
	for name, s := range map[string]situation{
		"idle, a slot in hand":  base(nil).but(func(s *situation) { s.f.Request = Request{} }),
		"idle, a reboot wanted": base(nil).but(func(s *situation) { s.slot.State, s.lease.State = ClaimFree, ClaimFree }),
		"waiting":               base(aRecord(api.PhaseWaiting)),
		"queued, with the slot": base(aRecord(api.PhaseQueued)),
		"draining":              base(aRecord(api.PhaseDraining)),
		"draining, slot lost":   base(aRecord(api.PhaseDraining)).but(func(s *situation) { s.slot.State = ClaimLost }),
		"undoing":               base(aRecord(api.PhaseDraining, undo)),
		"about to order":        base(aRecord(api.PhaseRebooting)),
		"undoing the order":     base(aRecord(api.PhaseRebooting, undo)),
		"healthy after a boot":  base(aRecord(api.PhaseVerifying)).but(func(s *situation) { s.f.Now = t0.Add(time.Hour) }),
	} {
		down := s.but(shutdownIs(Shutdown{Known: true, Preparing: true}))
		all.add(name+", going down", down, down.step())
		if step := down.step(); step.Do != DoWait || step.KeepUp || step.Reason != api.ReasonBlocked {
			t.Errorf("%s: %+v", name, step)
		}
		all.add(name, s, s.ready().step())
		if step := s.ready().step(); step.Do == DoWait {
			t.Errorf("%s, and the machine does not go down: %+v", name, step)
		}
	}
}

// While logind has not answered yet, nothing is given back: the machine may be going down.
func TestNothingIsGivenBackUnasked(t *testing.T) {
	pending := func(s *situation) { s.f.Shutdown = Shutdown{Pending: true} }
	undoing := func(r *api.Record) {
		r.Undo = &api.Undo{Since: r.DrainBegan(), Reason: api.ReasonHeld, Message: "held"}
	}
	for name, s := range map[string]situation{
		"hooks to be undone":      base(aRecord(api.PhaseDraining, undoing)),
		"a node to be put back":   base(aRecord(api.PhaseDraining)).but(func(s *situation) { s.slot.State = ClaimLost }),
		"a node to be uncordoned": base(aRecord(api.PhaseVerifying)),
		"claims to be released":   base(aRecord(api.PhaseWaiting)),
	} {
		if step := s.but().step(); step.Do.Lasts() && step.Do != DoUndo {
			t.Errorf("%s: asked, it does nothing: %+v", name, step)
		}
		if step := s.but(pending).step(); step.Do != DoWait {
			t.Errorf("%s: %+v", name, step)
		}
	}
}
