package decide

import (
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

// want is what a test expects of a step; what is zero is not looked at.
type want struct {
	do      Action
	reason  api.Reason
	phase   api.Phase     // of the record that is written
	what    string        // the claim or the stage
	says    string        // in message or detail
	until   time.Duration // from t0; less than 0: never
	asks    gate.Points
	without string // not in the message
}

func (w want) check(t *testing.T, all steps, name string, s situation) {
	t.Helper()
	s = s.ready()
	step := s.step()
	all.add(name, s, step)
	ok := step.Do == w.do && (w.reason == "" || step.Reason == w.reason) && (w.what == "" || step.Claim+step.Stage == w.what) &&
		strings.Contains(joined(joined(step.Message, step.More), step.Detail), w.says) && (w.asks == 0 || step.Asks == w.asks) && (w.without == "" || !strings.Contains(step.Message, w.without))
	if w.phase != "" {
		ok = ok && step.Record != nil && step.Record.Phase == w.phase
	}
	if w.until < 0 {
		ok = ok && step.Until.IsZero()
	}
	if w.until > 0 {
		ok = ok && step.Until.Equal(t0.Add(w.until))
	}
	if !ok {
		t.Errorf("%s:\ngot  %+v\nwant %+v\nwrites %+v", name, step, w, step.Record)
	}
}

func gateAt(binds gate.Points, v gate.Verdict) func(*situation) {
	return func(s *situation) { s.f.Gates = []gate.Status{toy("toy", binds, v)} }
}

// What a gate does at each of its points, closed and before it has answered.
func TestGates(t *testing.T) {
	all := newSteps(t)
	shut := gate.Verdict{State: gate.Closed, Why: "not now", Until: t0.Add(time.Hour)}
	free := func(s *situation) { s.slot.State, s.lease.State = ClaimFree, ClaimFree }
	noLimit := func(s *situation) { s.p.OrderWait, s.p.Stages = 0, nil }
	undrained := func(s *situation) { s.drained, s.hooks = s.progress(StageNone), s.progress(StageNone) }
	lastNone := func(s *situation) { s.last = s.progress(StageNone) }
	waiting, queued, draining := base(aRecord(api.PhaseWaiting)), base(aRecord(api.PhaseQueued)), base(aRecord(api.PhaseDraining))
	ordering, verifying := base(aRecord(api.PhaseRebooting)), base(aRecord(api.PhaseVerifying))
	inQueue, draws := gate.BeforeQueue|gate.InQueue, gate.WhileDraining|gate.BeforeOrder
	for name, tc := range map[string]struct {
		s    situation
		at   gate.Points
		v    gate.Verdict
		more []func(*situation)
		want want
	}{
		"idle, open":      {base(nil), gate.BeforeQueue, gate.Verdict{State: gate.Open}, []func(*situation){free}, want{do: DoWrite, phase: api.PhaseQueued, asks: gate.BeforeQueue}},
		"idle, closed":    {base(nil), gate.BeforeQueue, shut, []func(*situation){free}, want{do: DoWrite, reason: api.ReasonRebootRequested, phase: api.PhaseWaiting}},
		"idle, unknown":   {base(nil), gate.BeforeQueue, gate.Verdict{}, []func(*situation){free}, want{do: DoWait, says: "waiting for the answer of gate toy", asks: gate.BeforeQueue}},
		"waiting, open":   {waiting, gate.BeforeQueue, gate.Verdict{State: gate.Open}, []func(*situation){free}, want{do: DoWrite, phase: api.PhaseQueued}},
		"waiting, closed": {waiting, gate.BeforeQueue, shut, []func(*situation){free}, want{do: DoWait, reason: api.ReasonBlocked, says: "not now", until: time.Hour, asks: gate.BeforeQueue}},
		"waiting, it should have opened": {
			waiting, gate.BeforeQueue,
			gate.Verdict{State: gate.Closed, Why: "not now", Until: t0},
			[]func(*situation){free, func(s *situation) { s.f.Now = t0 }},
			want{do: DoWait, says: "not now", until: -1},
		},
		"waiting, unknown":             {waiting, gate.BeforeQueue, gate.Verdict{}, []func(*situation){free}, want{do: DoWait, says: "waiting for the answer of gate toy"}},
		"queued, closed":               {queued, gate.BeforeQueue, shut, nil, want{do: DoWrite, reason: api.ReasonBlocked, phase: api.PhaseWaiting, says: "not now"}},
		"in the queue, closed":         {queued, gate.InQueue, shut, []func(*situation){free}, want{do: DoClaim, what: "slot", says: "not now", asks: inQueue, until: time.Hour}},
		"in the queue, slot in hand":   {queued, gate.InQueue, shut, nil, want{do: DoRelease, reason: api.ReasonBlocked, says: "not now"}},
		"in the queue, unknown":        {queued, gate.InQueue, gate.Verdict{}, nil, want{do: DoWait, says: "holding the slot rebootd-0, waiting for the answer of gate toy"}},
		"with the slot, closed":        {queued, gate.WithSlot, shut, nil, want{do: DoWait, reason: api.ReasonBlocked, says: "not now, until 2026-05-04T13:00:00Z; keeping the slot rebootd-0", until: time.Hour}},
		"with the slot, unknown":       {queued, gate.WithSlot, gate.Verdict{}, nil, want{do: DoWait, says: "waiting for the answer of gate toy", asks: inQueue | gate.WithSlot | gate.WhileDraining}},
		"with the slot, gives way":     {queued, gate.WithSlot, gate.Verdict{State: gate.Closed, GiveWay: "b"}, nil, want{do: DoRelease, says: "for b"}},
		"before the cordon":            {queued, gate.WhileDraining, shut, nil, want{do: DoWait, says: "not now, until 2026-05-04T13:00:00Z; keeping"}},
		"with the slot, open":          {queued, gate.All, gate.Verdict{State: gate.Open}, nil, want{do: DoCordon, phase: api.PhaseDraining, says: "cordoned by rebootd; draining under the slot rebootd-0", without: "already"}},
		"draining, closed":             {draining, gate.WhileDraining, shut, nil, want{do: DoWrite, phase: api.PhaseDraining, says: "not now, until 2026-05-04T13:00:00Z; undoing"}},
		"draining, unknown":            {draining, gate.WhileDraining, gate.Verdict{}, []func(*situation){undrained, lastNone}, want{do: DoWait, reason: api.ReasonDraining, says: "waiting for the answer of gate toy"}},
		"draining, no answer any more": {draining, gate.WhileDraining, gate.Verdict{}, []func(*situation){func(s *situation) { s.drained = s.progress(StageRunning) }}, want{do: DoStage, what: "drain", asks: draws}},
		"drained, closed":              {draining, gate.BeforeOrder, shut, nil, want{do: DoWait, says: "drained; not now", until: limit + 2*time.Second}},
		"drained, opens sooner": {
			draining, gate.BeforeOrder, gate.Verdict{State: gate.Closed, Until: t0.Add(time.Minute)}, nil, want{do: DoWait, until: time.Minute},
		},
		"drained, closed to the end": {
			draining, gate.BeforeOrder, shut,
			[]func(*situation){func(s *situation) { s.drained.Ran = limit }, func(s *situation) { s.r.DrainRan = &api.Ran{Since: t0, Seconds: 1800} }},
			want{do: DoWrite, phase: api.PhaseDraining, says: "still 30m0s after the drain began; undoing"},
		},
		"drained, unknown":                {draining, gate.BeforeOrder, gate.Verdict{}, nil, want{do: DoWait, says: "drained; waiting for the answer of gate toy"}},
		"the last hooks, closed":          {draining, gate.BeforeOrder, shut, []func(*situation){lastNone}, want{do: DoWait, says: "drained; not now"}},
		"the last hooks run, closed":      {draining, gate.BeforeOrder, shut, []func(*situation){func(s *situation) { s.last = s.progress(StageRunning) }}, want{do: DoStage, what: "pre-reboot"}},
		"the first hooks, closed":         {draining, gate.BeforeOrder, shut, []func(*situation){undrained, lastNone}, want{do: DoStage, what: "pre-drain"}},
		"not drained, closed":             {draining, gate.BeforeOrder, shut, []func(*situation){func(s *situation) { s.p.Stages = nil }}, want{do: DoWait, says: "not drained, as configured; not now", until: limit}},
		"not drained, closed to the end":  {draining, gate.BeforeOrder, shut, []func(*situation){func(s *situation) { s.p.Stages, s.f.Now = nil, t0.Add(limit) }}, want{do: DoRestore, says: "still 30m0s"}},
		"not drained, no limit":           {draining, gate.BeforeOrder, shut, []func(*situation){noLimit, func(s *situation) { s.f.Now = t0.Add(limit) }}, want{do: DoWait, until: time.Hour}},
		"about to order, closed":          {ordering, gate.BeforeOrder, shut, nil, want{do: DoWrite, phase: api.PhaseDraining, says: "not now, until 2026-05-04T13:00:00Z; continuing the drain"}},
		"about to order, unknown":         {ordering, gate.BeforeOrder, gate.Verdict{}, nil, want{do: DoWait, reason: api.ReasonRebooting, says: "waiting for the answer of gate toy"}},
		"about to order, to be put back":  {ordering, gate.WhileDraining, shut, nil, want{do: DoWrite, phase: api.PhaseRebooting, says: "not now, until 2026-05-04T13:00:00Z; undoing"}},
		"ordered, closed":                 {ordering.but(childIs(ChildRunning)), gate.All, shut, nil, want{do: DoWait, reason: api.ReasonRebooting, asks: draws}},
		"rebooted, closed":                {verifying, gate.BeforeUncordon, shut, nil, want{do: DoWait, reason: api.ReasonVerifying, says: "waiting for the node to be healthy; not now", asks: gate.BeforeUncordon}},
		"rebooted, unknown":               {verifying, gate.BeforeUncordon, gate.Verdict{}, nil, want{do: DoWait, says: "waiting for the answer of gate toy"}},
		"rebooted, closed somewhere else": {verifying, gate.All &^ gate.BeforeUncordon, shut, nil, want{do: DoRestore, reason: api.ReasonRebootVerified}},
	} {
		tc.want.check(t, all, name, tc.s.but(append(tc.more, gateAt(tc.at, tc.v))...))
	}
}

// What a gate says is kept short, and of several people are told of the first.
func TestGatesPrecedence(t *testing.T) {
	s := base(aRecord(api.PhaseQueued)).but(func(s *situation) {
		s.f.Gates = []gate.Status{
			toy("unknown", gate.All, gate.Verdict{}), toy("elsewhere", gate.BeforeUncordon, gate.Verdict{State: gate.Closed}),
			toy("first", gate.BeforeQueue, gate.Verdict{State: gate.Closed, Why: strings.Repeat("ä", maxWhy)}), toy("second", gate.BeforeQueue, gate.Verdict{State: gate.Closed}),
		}
	})
	if step := s.step(); len(step.Message) > maxWhy || !strings.HasPrefix(step.Message, "ää") || strings.ContainsRune(step.Message, '�') {
		t.Errorf("%+v", step)
	}
}
