package decide

import (
	"testing"
	"time"

	"rebootd.dev/daemon/api"
)

// Claims are taken in order, and whoever has lost one is put back.
func TestClaims(t *testing.T) {
	all := newSteps(t)
	slot := func(state ClaimState) func(*situation) {
		return func(s *situation) { s.slot.State, s.slot.Note = state, "" }
	}
	lease := func(state ClaimState) func(*situation) {
		return func(s *situation) { s.lease.State, s.lease.Note = state, "" }
	}
	leaseFirst := func(s *situation) {
		s.next = func(p Policy, r *api.Record, f Facts) Step {
			f.Claims[0], f.Claims[1] = f.Claims[1], f.Claims[0]
			return Next(p, r, f)
		}
	}
	old := func(s *situation) { s.lease.At = s.f.Now.Add(-time.Minute) }
	lapsesNever := func(s *situation) { s.lease.Fresh, s.lease.At = 0, t0.Add(-time.Hour) }
	queued, draining, ordering, verifying := base(aRecord(api.PhaseQueued)), base(aRecord(api.PhaseDraining)), base(aRecord(api.PhaseRebooting)), base(aRecord(api.PhaseVerifying))
	with := func(change ...func(*situation)) []func(*situation) { return change }
	for name, tc := range map[string]struct {
		s      situation
		change []func(*situation)
		want   want
	}{
		"idle, both held":                {base(nil), nil, want{do: DoRelease, says: "released node lease and slot rebootd-0"}},
		"waiting, one held":              {base(aRecord(api.PhaseWaiting)), with(slot(ClaimFree)), want{do: DoRelease, says: "released node lease"}},
		"queued, not looked up":          {queued, with(slot(ClaimUnknown)), want{do: DoWait, says: "checking whether a slot is held"}},
		"queued, nothing held":           {queued, with(slot(ClaimFree), lease(ClaimFree)), want{do: DoClaim, what: "slot", reason: api.ReasonQueued}},
		"queued, the lease listed first": {queued, with(slot(ClaimFree), lease(ClaimFree), leaseFirst), want{do: DoClaim, what: "slot"}},
		"queued, the lease only":         {queued, with(slot(ClaimAnothers)), want{do: DoRelease, says: "node lease"}},
		"queued, the slot only":          {queued, with(lease(ClaimFree)), want{do: DoClaim, what: "node-lease"}},
		"queued, the lease is another's": {queued, with(lease(ClaimAnothers)), want{do: DoClaim, what: "node-lease"}},
		"queued, there is no lease":      {queued, with(lease(ClaimNone)), want{do: DoCordon}},
		"queued, the lease was lost":     {queued, with(lease(ClaimLost)), want{do: DoClaim, what: "node-lease"}},
		"queued, cordoned by an admin":   {queued, with(func(s *situation) { s.f.Node.Unschedulable = true }), want{do: DoCordon, says: "was cordoned already and will stay cordoned"}},
		"draining, not looked up":        {draining, with(slot(ClaimUnknown)), want{do: DoWait, reason: api.ReasonDraining}},
		"draining, slot lost":            {draining, with(slot(ClaimLost)), want{do: DoWrite, reason: api.ReasonSlotLost, says: "the slot rebootd-0 was taken away"}},
		"draining, slot another's":       {draining, with(slot(ClaimAnothers)), want{do: DoWrite, reason: api.ReasonSlotLost}},
		"draining, no slot":              {draining, with(slot(ClaimNone)), want{do: DoWrite, reason: api.ReasonSlotLost}},
		"draining, slot free":            {draining, with(slot(ClaimFree)), want{do: DoWrite, reason: api.ReasonSlotLost}},
		"draining, lease lost":           {draining, with(lease(ClaimLost), func(s *situation) { s.lease.Note = "the node lease is held by nm" }), want{do: DoWrite, reason: api.ReasonNodeLeaseLost, says: "the node lease is held by nm; undoing"}},
		"draining, lease free":           {draining, with(lease(ClaimFree)), want{do: DoClaim, what: "node-lease", reason: api.ReasonDraining}},
		"draining, no lease":             {draining, with(lease(ClaimNone), func(s *situation) { s.last = s.progress(StageNone) }), want{do: DoStage, what: "pre-reboot"}},
		"about to order, not looked up":  {ordering, with(slot(ClaimUnknown)), want{do: DoWait, reason: api.ReasonRebooting}},
		"about to order, slot lost":      {ordering, with(slot(ClaimLost)), want{do: DoWrite, reason: api.ReasonSlotLost}},
		"about to order, lease unknown":  {ordering, with(lease(ClaimUnknown)), want{do: DoClaim, what: "node-lease"}},
		"rebooted, lease free":           {verifying, with(lease(ClaimFree)), want{do: DoClaim, what: "node-lease", reason: api.ReasonVerifying}},
		"rebooted, lease another's, ill": {verifying, with(lease(ClaimAnothers), func(s *situation) { s.f.Node.Checks = "ill" }), want{do: DoWait, says: "ill"}},
		"healthy, lease another's":       {verifying, with(lease(ClaimAnothers)), want{do: DoClaim, what: "node-lease", says: "healthy"}},
		"healthy, lease old":             {verifying, with(old), want{do: DoClaim, what: "node-lease", says: "healthy"}},
		"healthy, lease never lapses":    {verifying, with(lapsesNever), want{do: DoRestore}},
		"healthy, no lease":              {verifying, with(lease(ClaimNone), old), want{do: DoRestore, says: "rebooted: boot boot-2 follows boot-1"}},
		"healthy, no slot any more":      {verifying, with(slot(ClaimLost)), want{do: DoRestore}},
		"somebody uncordoned":            {draining, with(func(s *situation) { s.f.Node.Unschedulable = false }), want{do: DoWrite, reason: api.ReasonCordonLost}},
		"and cordoned again":             {draining, with(func(s *situation) { s.f.Node.Foreign = true }), want{do: DoWrite, reason: api.ReasonCordonLost}},
		"an admin had cordoned":          {draining, with(func(s *situation) { s.r.Cordoned, s.f.Node.Foreign = false, true }), want{do: DoWrite, reason: api.ReasonDrained}},
		"uncordoned after the boot":      {verifying, with(func(s *situation) { s.f.Node.Unschedulable = false }), want{do: DoWrite, reason: api.ReasonUncordoned, phase: api.PhaseVerifying}},
		"an admin's cordon stays":        {verifying, with(func(s *situation) { s.r.Cordoned = false }), want{do: DoRestore}},
	} {
		tc.want.check(t, all, name, tc.s.but(tc.change...))
	}
	if step := base(aRecord(api.PhaseQueued)).but(func(s *situation) {
		s.f.Claims = nil
		s.next = func(p Policy, r *api.Record, f Facts) Step { f.Claims = nil; return Next(p, r, f) }
	}).step(); step.Do != DoWait {
		t.Errorf("there is nothing to queue for: %+v", step)
	}
}

func TestPause(t *testing.T) {
	all := newSteps(t)
	for failures, want := range map[int]time.Duration{1: time.Minute, 2: 2 * time.Minute, 5: 16 * time.Minute, 6: 30 * time.Minute, 100: 30 * time.Minute} {
		if got := Pause(failures); got != want {
			t.Errorf("after %d failures: %s, want %s", failures, got, want)
		}
	}
	failed := aRecord(api.PhaseWaiting, func(r *api.Record) { r.Attempts, r.NotBefore = 1, t0.Add(time.Minute) })
	free := func(s *situation) { s.slot.State, s.lease.State = ClaimFree, ClaimFree }
	want{do: DoWait, reason: api.ReasonBlocked, says: "next try at 2026-05-04T12:01:00Z", until: time.Minute}.check(t, all, "by an older version", base(failed).but(free))
	failed.Failure = &api.Failure{Reason: api.ReasonDrainTimedOut, Message: "not drained"}
	want{do: DoWait, reason: api.ReasonDrainTimedOut, says: "not drained; next try", until: time.Minute}.check(t, all, "the pause", base(failed).but(free))
	failed.Lock = "another lock, as was configured then"
	want{do: DoWrite, phase: api.PhaseQueued}.check(t, all, "after the pause", base(failed).but(free, func(s *situation) { s.f.Now = t0.Add(time.Minute) }))
	want{do: DoWrite, phase: api.PhaseQueued}.check(t, all, "the clock was set back", base(failed).but(free, func(s *situation) { s.f.Now = t0.Add(-30 * time.Minute) }))
}
