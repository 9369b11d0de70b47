package decide

import (
	"encoding/json"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

// asOlder is a record after the version before there were undo, drainSince, drainRan and
// began has entered a phase: it keeps them as they were.
func asOlder(t *testing.T, r *api.Record, p api.Phase, since time.Time, order *api.Order) *api.Record {
	t.Helper()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	fields["phase"], fields["since"], fields["order"] = p, since, order
	if data, err = json.Marshal(fields); err != nil {
		t.Fatal(err)
	}
	out, err := api.ParseRecord(data)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// The node is being put back after an order, an older version takes over, which knows of
// no way back, and orders the reboot: what it has ordered is waited for.
func TestOlderVersionOrdersInTheMiddleOfAnUndo(t *testing.T) {
	held := []gate.Status{toy("hold", gate.BeforeQueue|gate.WhileDraining, gate.Verdict{State: gate.Closed, Why: "held: disk"})}
	begun := base(aRecord(api.PhaseRebooting)).but(childIs(ChildFailed), func(s *situation) { s.f.Gates = held }).step()
	if begun.Do != DoWrite || begun.Record.Undoing() == nil {
		t.Fatalf("%+v", begun)
	}
	s := base(aRecord(api.PhaseRebooting))
	given := &api.Order{At: s.f.Now, UptimeMillis: s.f.Uptime.Milliseconds(), By: "older", Try: 2, Accepted: true}
	s.r = asOlder(t, begun.Record, api.PhaseRebooting, s.f.Now.Add(-time.Second), given)
	if step := s.step(); turnsBack(step) {
		t.Errorf("the reboot was ordered, and it is put back: %+v", step)
	}
}

// The drain began under a daemon without hooks, and the one that runs now has some: that
// they may have run is written down before the first of them does, so that they are undone.
func TestHooksThatCameDuringTheDrain(t *testing.T) {
	none := func(s *situation) { s.hooks, s.drained, s.last = Progress{}, Progress{}, Progress{} }
	s := base(aRecord(api.PhaseDraining)).but(none, func(s *situation) { s.r.Hooked = false })
	step := s.step()
	if step.Do != DoWrite || !step.Record.Hooked || step.Record.DrainKey() != s.r.DrainKey() {
		t.Fatalf("no hook may run before that is written down: %+v", step)
	}
	if step := base(step.Record).but(none).step(); step.Do != DoStage || step.Stage != "pre-drain" {
		t.Errorf("%+v", step)
	}
}
