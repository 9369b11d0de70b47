package daemon

import (
	"context"
	"sync/atomic"
	"testing"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
)

// No round of the checks begins once that is forbidden, also none that was due just then.
func TestRestingChecks(t *testing.T) {
	made := 0
	w := &checksWorker{rounds: checkRounds{
		checks: []func(context.Context) error{func(context.Context) error { made++; return nil }},
		stop:   new(atomic.Bool), busy: new(atomic.Bool),
	}}
	if w.rest(true) {
		t.Error("busy")
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.rounds.run(ctx, func(string) { cancel() })
	if made != 0 || w.rest(true) {
		t.Errorf("%d checks, busy %t", made, w.rest(true))
	}
}

// A node that holds a slot, and has not begun, is not done with its lock before that is
// released.
func TestStanding(t *testing.T) {
	record := func(p api.Phase, lock string) *api.Record { return &api.Record{Phase: p, Lock: lock} }
	for name, c := range map[string]struct {
		record *api.Record
		slot   decide.ClaimState
		want   string
	}{
		"idle":                          {want: ""},
		"idle, not looked up yet":       {slot: decide.ClaimUnknown, want: ""},
		"idle, with a slot":             {slot: decide.ClaimHeld, want: "l"},
		"waiting":                       {record: record(api.PhaseWaiting, "before"), slot: decide.ClaimFree},
		"waiting, with a slot":          {record: record(api.PhaseWaiting, "l"), slot: decide.ClaimHeld, want: "l"},
		"queued":                        {record: record(api.PhaseQueued, "l"), slot: decide.ClaimFree},
		"queued, with a slot":           {record: record(api.PhaseQueued, "l"), slot: decide.ClaimHeld, want: "l"},
		"draining":                      {record: record(api.PhaseDraining, "before"), slot: decide.ClaimLost, want: "before"},
		"draining, by an older version": {record: record(api.PhaseDraining, ""), slot: decide.ClaimLost, want: "l"},
		"halted":                        {record: record(api.PhaseHalted, "before"), slot: decide.ClaimHeld, want: "before"},
	} {
		d := &Daemon{node: &nodeWorker{view: &nodeView{}, record: c.record}, slot: &slotWorker{state: c.slot}, policy: decide.Policy{Lock: "l"}}
		if got := d.standing().Lock; got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
