package decide

import (
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

// A hold begins the undo and goes again: from the first stage that is undone there is no
// way on but back, for this start of the daemon and the next.
func TestUndoingIsNotTurnedRound(t *testing.T) {
	for _, r := range []*api.Record{aRecord(api.PhaseDraining), aRecord(api.PhaseRebooting), aRecord(api.PhaseRebooting, func(r *api.Record) { r.Order.By = "other" })} {
		s := base(r).but(childIs(ChildFailed))
		hold := []gate.Status{toy("hold", gate.BeforeQueue|gate.WhileDraining, gate.Verdict{State: gate.Closed, Why: "held: disk"})}
		held := s.but(func(s *situation) { s.f.Gates = hold })
		step := held.step()
		if step.Do != DoWrite || step.Record.Phase != r.Phase || step.Record.Undoing() == nil || step.Reason != api.ReasonHeld {
			t.Fatalf("%s, held: %+v", r.Phase, step)
		}
		s.r = step.Record // and nobody holds it any more
		for _, stage := range []string{"pre-reboot", "pre-drain"} {
			if step := s.step(); step.Do != DoUndo || step.Stage != stage || !strings.Contains(step.Message, "held: disk") {
				t.Fatalf("%s, undoing %s: %+v", r.Phase, stage, step)
			} else {
				s.do(step)
				s = s.ready()
			}
		}
		step = s.step()
		if step.Do != DoRestore || !step.Uncordon || step.Record.Phase != api.PhaseWaiting || step.Record.Attempts != 0 || step.Record.Undo != nil {
			t.Fatalf("%s, undone: %+v", r.Phase, step)
		}
	}
}

// Whoever withdraws the request and asks again while hooks are undone gets a new
// operation, not the rest of this one.
func TestUndoKeepsWhatItIsFor(t *testing.T) {
	withdrawn := base(aRecord(api.PhaseDraining)).but(func(s *situation) { s.f.Request = Request{} }).step()
	if withdrawn.Do != DoWrite || !withdrawn.Record.Undo.Ends {
		t.Fatalf("%+v", withdrawn)
	}
	undone := func(s *situation) { s.hooks.Undone, s.last.Undone = true, true }
	if step := base(withdrawn.Record).but(undone).step(); step.Do != DoRestore || step.Record != nil || step.Reason != api.ReasonCancelled {
		t.Errorf("%+v", step)
	}
}

// Where no stage leaves anything behind, there is nothing to write down first.
func TestNothingToUndo(t *testing.T) {
	for name, change := range map[string]func(*situation){
		"no stage leaves anything": func(s *situation) { s.p.Stages = []Stage{drain} },
		"none has run":             func(s *situation) { s.r.Hooked = false },
	} {
		step := base(aRecord(api.PhaseDraining)).but(change, func(s *situation) { s.slot.State = ClaimLost }).step()
		if step.Do != DoRestore || step.Reason != api.ReasonSlotLost || step.Record.Attempts != 1 || step.Record.Failure.Message != "the slot rebootd-0 was taken away" {
			t.Errorf("%s: %+v", name, step)
		}
	}
}

// A soft reboot by other means does not turn it round either.
func TestSoftRebootWhileUndoing(t *testing.T) {
	soft := func(s *situation) { s.f.Boot.Userspace = Userspace{Known: true, SoftReboots: 1, Since: t0} }
	r := aRecord(api.PhaseRebooting, func(r *api.Record) {
		r.SoftReboots, r.Undo = new(int), &api.Undo{Since: r.DrainBegan(), Reason: api.ReasonHeld, Message: "held"}
	})
	if step := base(r).but(soft).step(); step.Do != DoUndo {
		t.Errorf("%+v", step)
	}
	r.Level = api.SoftReboot // that one was what was ordered
	if step := base(r).but(soft).step(); step.Do != DoWrite || step.Record.Phase != api.PhaseVerifying {
		t.Errorf("%+v", step)
	}
}

// A gate that goes to and fro has pods moved once a minute at the most: the pause counts
// from when the node was put back, it is told why, and it is no failure. A gate that was
// closed for longer has made it longer than that already.
func TestPauseAfterAGateHadItPutBack(t *testing.T) {
	shut := []gate.Status{toy("approval", gate.BeforeQueue|gate.WhileDraining, gate.Verdict{State: gate.Closed, Why: "nobody has approved it"})}
	shut[0].Reason = api.ReasonAwaitingApproval
	for name, change := range map[string]func(*api.Record){
		"the first attempt": func(*api.Record) {},
		"after failures": func(r *api.Record) {
			r.Attempts, r.Failure = 3, &api.Failure{Reason: api.ReasonDrainTimedOut, Message: "not drained"}
		},
	} {
		s := base(aRecord(api.PhaseDraining, func(r *api.Record) { r.Hooked = false; change(r) }))
		before := s.r.Attempts
		step := s.but(func(s *situation) { s.f.Gates = shut }).step()
		if step.Do != DoRestore || step.Record.Attempts != before || step.Record.Deferrals != 0 {
			t.Fatalf("%s: %+v", name, step)
		}
		s = base(step.Record).but(func(s *situation) { s.slot.State, s.lease.State = ClaimFree, ClaimFree })
		again := step.Record.NotBefore
		if pause := again.Sub(s.f.Now); pause <= 0 || pause > time.Minute {
			t.Errorf("%s: a pause of %s", name, pause)
		}
		open := s.step()
		if open.Do != DoWait || !open.Until.Equal(again) || open.Reason != api.ReasonBlocked ||
			!strings.HasPrefix(open.Message, "the node was put back: nobody has approved it; next try at ") {
			t.Errorf("%s, the gate is open again: %+v", name, open)
		}
		if step := s.but(func(s *situation) { s.f.Gates = shut }).step(); step.Message != "nobody has approved it" {
			t.Errorf("%s, closed still: %+v", name, step)
		}
		if step := s.but(func(s *situation) { s.f.Now = again }).step(); step.Record == nil || step.Record.Phase != api.PhaseQueued {
			t.Errorf("%s, a minute later: %+v", name, step)
		}
	}
}
