package decide

import (
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
)

// An order is given, seen to, given again, and given up.
func TestOrder(t *testing.T) {
	all := newSteps(t)
	at := func(d time.Duration) func(*situation) { return func(s *situation) { s.f.Now = t0.Add(d) } }
	with := func(change ...func(*situation)) []func(*situation) { return change }
	by := func(r *api.Record) { r.Order.By = "other" }
	accepted := func(r *api.Record) { r.Order.Accepted = true }
	due := func(r *api.Record) { r.Order.Accepted, r.Due = true, t0.Add(time.Hour) }
	soft := func(r *api.Record) { r.SoftReboots = new(int) }
	once := func(s *situation) { s.f.Boot.Userspace = Userspace{Known: true, SoftReboots: 1, Since: t0} }
	scheduled := shutdownIs(Shutdown{Known: true, Kind: "reboot", At: t0.Add(time.Hour)})
	running := func(s *situation) { s.drained = s.progress(StageRunning) }
	late := func(s *situation) { s.drained.Ran = limit }
	policy := func(limit time.Duration, on TimeoutPolicy) func(*situation) {
		return func(s *situation) { s.p.Stages = []Stage{preDrain, drainUntil(limit, on), preReboot} }
	}
	undone := func(s *situation) { s.hooks.Undone, s.last.Undone = true, true }
	ends := func(r *api.Record) {
		r.Undo = &api.Undo{Since: r.DrainBegan(), Reason: api.ReasonCancelled, Message: "withdrawn", Ends: true}
	}
	full := func(r *api.Record) { // what an attempt may have left
		r.DrainRan, r.Level, r.SoftReboots = &api.Ran{Since: r.DrainBegan(), Seconds: 60}, api.Kexec, new(int)
		r.Failure, r.Due, r.Protected = &api.Failure{Reason: api.ReasonSlotLost, Message: "lost"}, time.Time{}, []string{"a"}
		r.Undo = &api.Undo{Since: t0.Add(-time.Hour), Reason: api.ReasonHeld}
	}
	scheduledNot := shutdownIs(Shutdown{})
	halted := base(aRecord(api.PhaseHalted, func(r *api.Record) { r.Failure = &api.Failure{Reason: api.ReasonUnhealthy, Message: "not healthy"} }))
	r := func(change ...func(*api.Record)) situation { return base(aRecord(api.PhaseRebooting, change...)) }
	for name, tc := range map[string]struct {
		s      situation
		change []func(*situation)
		want   want
	}{
		"about to":                             {r(), nil, want{do: DoSpawn, says: "ordering the reboot"}},
		"pods have come":                       {r(), with(running), want{do: DoWrite, phase: api.PhaseDraining, reason: api.ReasonBlocked, says: "pods may have arrived"}},
		"pods are left, as configured":         {r(), with(running, policy(limit, Reboot), late), want{do: DoSpawn}},
		"pods are left, and there is time":     {r(), with(running, policy(limit, Reboot)), want{do: DoWrite, phase: api.PhaseDraining}},
		"pods are left, to be put back":        {r(), with(running, policy(limit, Rollback), late), want{do: DoWrite, phase: api.PhaseDraining}},
		"pods are left, no limit":              {r(), with(running, policy(0, Reboot), late), want{do: DoWrite, phase: api.PhaseDraining}},
		"without a drain":                      {r(), with(func(s *situation) { s.p.Stages = nil }), want{do: DoSpawn}},
		"the command runs":                     {r(), with(childIs(ChildRunning)), want{do: DoWait, says: "ordering the reboot", until: 15 * time.Minute}},
		"it succeeded":                         {r(), with(childIs(ChildSucceeded)), want{do: DoWrite, phase: api.PhaseRebooting, says: "succeeded"}},
		"it failed just now":                   {r(), with(func(s *situation) { s.f.Child = Child{Key: s.orderKey, State: ChildFailed, Ended: s.f.Now} }), want{do: DoWait, reason: api.ReasonRebootFailed, until: 12 * time.Second}},
		"it failed for another order":          {r(), with(func(s *situation) { s.f.Child = Child{Key: "op earlier", State: ChildFailed} }), want{do: DoSpawn}},
		"it failed":                            {r(), with(childIs(ChildFailed)), want{do: DoWrite, phase: api.PhaseRebooting, reason: api.ReasonRebootFailed, says: "retrying"}},
		"it failed, and the slot is lost":      {r(), with(childIs(ChildFailed), func(s *situation) { s.slot.State = ClaimLost }), want{do: DoWrite, reason: api.ReasonSlotLost}},
		"it failed for the third time":         {r(try(3)), with(childIs(ChildFailed)), want{do: DoWrite, reason: api.ReasonRebootFailed, says: "failed 3 times"}},
		"accepted":                             {r(accepted), with(childIs(ChildSucceeded)), want{do: DoWait, says: "logind has no reboot scheduled or under way"}},
		"accepted, logind knows nothing":       {r(accepted), with(childIs(ChildSucceeded), shutdownIs(Shutdown{})), want{do: DoWait, without: "logind"}},
		"another's order":                      {r(by), nil, want{do: DoWait, says: "the reboot was ordered", without: "logind"}},
		"another's, to the end":                {r(by), with(at(15 * time.Minute)), want{do: DoWrite, phase: api.PhaseDraining, says: "did not happen; draining again"}},
		"another's, third try":                 {r(by, try(3)), with(at(15 * time.Minute)), want{do: DoWrite, phase: api.PhaseHalted}},
		"accepted, to the end":                 {r(accepted, by), with(at(15 * time.Minute)), want{do: DoWrite, phase: api.PhaseHalted, says: "still up after 15m0s; logind has no reboot scheduled or under way"}},
		"running, to the end":                  {r(), with(childIs(ChildRunning), at(15*time.Minute), shutdownIs(Shutdown{})), want{do: DoWrite, phase: api.PhaseHalted, says: "still up after 15m0s; the rollout is halted"}},
		"going down, to the end":               {r(accepted), with(childIs(ChildRunning), at(15*time.Minute), shutdownIs(Shutdown{Preparing: true})), want{do: DoWrite, phase: api.PhaseHalted, says: "preparing to go down"}},
		"going down":                           {r(accepted), with(childIs(ChildRunning), shutdownIs(Shutdown{Preparing: true})), want{do: DoWait, says: "preparing to go down"}},
		"scheduled":                            {r(), with(childIs(ChildRunning), scheduled), want{do: DoWrite, phase: api.PhaseRebooting, says: "for 2026-05-04T13:00:00Z"}},
		"scheduled, as is known":               {r(due), with(childIs(ChildSucceeded), scheduled), want{do: DoWait, says: "the machine has scheduled it for 2026-05-04T13:00:00Z; its reboot is scheduled", until: 75 * time.Minute}},
		"scheduled, for another time":          {r(due), with(childIs(ChildSucceeded), shutdownIs(Shutdown{Known: true, Kind: "reboot", At: t0.Add(2 * time.Hour)})), want{do: DoWrite, phase: api.PhaseRebooting}},
		"scheduled, and past":                  {r(due), with(childIs(ChildSucceeded), at(75*time.Minute), scheduled), want{do: DoWrite, phase: api.PhaseHalted, says: "its reboot is scheduled"}},
		"cancelled":                            {r(due), with(childIs(ChildSucceeded)), want{do: DoWrite, reason: api.ReasonRebootFailed, says: "somebody cancelled"}},
		"perhaps cancelled":                    {r(due), with(childIs(ChildSucceeded), shutdownIs(Shutdown{Pending: true})), want{do: DoWait}},
		"booted":                               {r(by), with(func(s *situation) { s.f.Boot.ID = "boot-2" }), want{do: DoWrite, phase: api.PhaseVerifying, says: "the machine has booted"}},
		"only soft-rebooted":                   {r(by, soft), with(once), want{do: DoWrite, phase: api.PhaseDraining, says: "only soft-rebooted"}},
		"only soft-rebooted, for the 3rd time": {r(by, soft, try(3)), with(once), want{do: DoWrite, phase: api.PhaseRebooting, says: "only soft-rebooted"}},
		"undone":                               {base(aRecord(api.PhaseDraining, ends)), with(undone), want{do: DoRestore, reason: api.ReasonCancelled}},
		"a stage has failed":                   {base(aRecord(api.PhaseDraining)), with(func(s *situation) { s.last = s.progress(StageFailed); s.last.Summary = "10-db: exit status 1" }), want{do: DoWrite, reason: api.ReasonHookFailed}},
		"a stage was undone":                   {base(aRecord(api.PhaseDraining)), with(func(s *situation) { s.last.Undone = true }), want{do: DoWrite, reason: api.ReasonHookFailed}},
		"hooks run":                            {base(aRecord(api.PhaseDraining)), with(func(s *situation) { s.hooks = s.progress(StageRunning); s.hooks.Detail = "10-db" }), want{do: DoStage, what: "pre-drain"}},
		"the drain cannot begin": {base(aRecord(api.PhaseDraining)), with(func(s *situation) {
			s.drained = s.progress(StageRunning)
			s.drained.Starting, s.drained.Detail = limit, "no answer"
		}), want{do: DoWrite, reason: api.ReasonDrainTimedOut}},
		"the drain is over":                 {base(aRecord(api.PhaseDraining)), with(func(s *situation) { s.drained = s.progress(StageRunning); s.drained.Ran = limit }), want{do: DoWrite, reason: api.ReasonDrainTimedOut}},
		"failed, to be put back at once":    {base(aRecord(api.PhaseRebooting, try(3), full)), with(childIs(ChildFailed), func(s *situation) { s.p.Stages = nil }), want{do: DoRestore, reason: api.ReasonRebootFailed}},
		"withdrawn":                         {base(aRecord(api.PhaseDraining)), with(func(s *situation) { s.f.Request = Request{} }), want{do: DoWrite, reason: api.ReasonCancelled}},
		"booted, the annotation was served": {r(by, full, func(r *api.Record) { r.Annotated = true }), with(func(s *situation) { s.f.Boot.ID = "boot-2" }), want{do: DoWrite, phase: api.PhaseVerifying}},
		"soft-rebooted, as was ordered":     {r(by, soft, func(r *api.Record) { r.Level, r.Annotated = api.SoftReboot, true }), with(once), want{do: DoWrite, phase: api.PhaseVerifying}},
		"the boot ID cannot be read":        {r(), with(func(s *situation) { s.f.Boot = Boot{Problem: "no such file"} }), want{do: DoWait, reason: api.ReasonBlocked}},
		"verified, by somebody's hand":      {base(aRecord(api.PhaseVerifying)), with(func(s *situation) { s.f.Boot.ID = "boot-1" }), want{do: DoWait, reason: api.ReasonRecordInvalid}},
		"halted, by somebody's hand":        {halted, with(func(s *situation) { s.f.Boot.ID = "boot-1" }), want{do: DoWait, reason: api.ReasonRecordInvalid}},
		"halted":                            {halted, with(func(s *situation) { s.f.Node.Checks = "a check fails" }), want{do: DoWait, reason: api.ReasonUnhealthy}},
		"halted, healthy again":             {halted, nil, want{do: DoRestore, reason: api.ReasonRebootVerified}},
		"all that is noted is forgotten":    {base(aRecord(api.PhaseDraining, full)), with(func(s *situation) { s.slot.State, s.p.Stages = ClaimLost, nil }), want{do: DoRestore}},
		"the order after another":           {base(aRecord(api.PhaseDraining, full)), nil, want{do: DoWrite, phase: api.PhaseRebooting}},
		"the boot after another order":      {r(by, full), with(at(15*time.Minute), scheduledNot), want{do: DoWrite, phase: api.PhaseDraining}},
		"soft-rebooted, as far as is known": {r(by), with(once), want{do: DoWait}},
	} {
		tc.want.check(t, all, name, tc.s.but(tc.change...))
	}
}

// The drain goes on until an order is accepted: the command may fail, and then the node
// has to be drained for the next try.
func TestDrainIsKeptUp(t *testing.T) {
	for name, tc := range map[string]struct {
		s      situation
		keepUp bool
		asks   bool
	}{
		"running":                {base(aRecord(api.PhaseRebooting)).but(childIs(ChildRunning)), true, true},
		"failed":                 {base(aRecord(api.PhaseRebooting)).but(childIs(ChildFailed)), true, true},
		"succeeded":              {base(aRecord(api.PhaseRebooting)).but(childIs(ChildSucceeded)), false, false},
		"accepted":               {base(aRecord(api.PhaseRebooting, func(r *api.Record) { r.Order.Accepted = true })).but(childIs(ChildRunning)), false, false},
		"accepted, and failed":   {base(aRecord(api.PhaseRebooting, func(r *api.Record) { r.Order.Accepted = true })).but(childIs(ChildFailed)), false, true},
		"another's":              {base(aRecord(api.PhaseRebooting, func(r *api.Record) { r.Order.By = "other" })), false, false},
		"nothing to be kept up":  {base(aRecord(api.PhaseRebooting)).but(childIs(ChildRunning), func(s *situation) { s.p.Stages = nil }), false, false},
		"failed, and given up":   {base(aRecord(api.PhaseRebooting, try(3))).but(childIs(ChildFailed)), false, true},
		"hooks before the drain": {base(aRecord(api.PhaseDraining)).but(func(s *situation) { s.hooks = s.progress(StageRunning) }), false, true},
		"hooks after the drain":  {base(aRecord(api.PhaseDraining)).but(func(s *situation) { s.last = s.progress(StageRunning) }), true, true},
	} {
		if step := tc.s.step(); step.KeepUp != tc.keepUp || (step.Asks != 0) != tc.asks {
			t.Errorf("%s: %+v", name, step)
		}
	}
}

// The level that is ordered, and what is noted for its proof.
func TestOrderedLevel(t *testing.T) {
	for name, tc := range map[string]struct {
		asked                   api.Level
		allowed, counts, loaded bool
		want                    api.Level
		told                    string
	}{
		"a reboot":                            {api.FullReboot, true, true, true, api.FullReboot, ""},
		"a soft reboot":                       {api.SoftReboot, true, true, false, api.SoftReboot, ""},
		"a soft reboot that is not allowed":   {api.SoftReboot, false, false, true, api.FullReboot, ""},
		"a soft reboot that cannot be proved": {api.SoftReboot, true, false, true, api.FullReboot, "; a soft reboot is requested, and systemd cannot say whether one has happened"},
		"kexec":                               {api.Kexec, true, false, true, api.Kexec, ""},
		"kexec that is not allowed":           {api.Kexec, false, true, false, api.FullReboot, ""},
		"kexec without a kernel":              {api.Kexec, true, true, false, api.FullReboot, "; a kexec is requested, and no kernel is loaded for one: rebooting instead"},
	} {
		asks := func(s *situation) {
			s.p.AllowSoftReboot, s.p.AllowKexec = tc.allowed, tc.allowed
			s.f.Request.Level, s.f.Boot.Userspace.Known, s.f.Boot.KexecLoaded = tc.asked, tc.counts, tc.loaded
		}
		step := base(aRecord(api.PhaseDraining)).but(asks).step()
		if step.Do != DoWrite || step.Record.Order == nil || ordered(step.Record) != tc.want || (step.Record.SoftReboots != nil) != tc.counts || (step.Record.Level == "") != (tc.want == api.FullReboot) {
			t.Errorf("%s: %+v, writes %+v", name, step, step.Record)
			continue
		}
		if !strings.Contains(step.Message, tc.told) || tc.told == "" && strings.Contains(step.Message, "instead") {
			t.Errorf("%s: people are told %q", name, step.Message)
		}
		if spawn := base(step.Record).but(asks).step(); spawn.Do != DoSpawn || spawn.Level != tc.want {
			t.Errorf("%s: %+v", name, spawn)
		}
	}
}

// A machine that was overdue goes down after all.
func TestOverdueMachineBoots(t *testing.T) {
	all := newSteps(t)
	halted := func(l api.Level) situation {
		return base(aRecord(api.PhaseHalted, func(r *api.Record) {
			r.Failure = &api.Failure{Reason: api.ReasonRebootOverdue, Message: "still up"}
			r.Order, r.Level, r.SoftReboots = &api.Order{At: t0, By: "other", Try: 1}, l, new(int)
		}))
	}
	soft := func(s *situation) { s.f.Boot.Userspace = Userspace{Known: true, SoftReboots: 1, Since: t0} }
	want{do: DoWait, reason: api.ReasonRebootOverdue, says: "still up"}.check(t, all, "still up", halted(""))
	want{do: DoWrite, phase: api.PhaseVerifying, says: "after all"}.check(t, all, "booted", halted("").but(func(s *situation) { s.f.Boot.ID = "boot-2" }))
	want{do: DoWrite, phase: api.PhaseVerifying, says: "soft-rebooted"}.check(t, all, "soft-rebooted", halted(api.SoftReboot).but(soft))
	want{do: DoWait}.check(t, all, "not soft-rebooted", halted(api.SoftReboot))
	want{do: DoWait}.check(t, all, "soft-rebooted, which was not what was ordered", halted("").but(soft))
	verified := base(aRecord(api.PhaseVerifying, func(r *api.Record) { r.Soft = true }))
	want{do: DoRestore, says: "soft-rebooted within boot boot-1"}.check(t, all, "verified", verified)
}

// Whether the annotation asks is noted before the boot, which serves it.
func TestAnnotationIsNoted(t *testing.T) {
	all := newSteps(t)
	annotated := func(s *situation) { s.f.Request.Annotated = true }
	s := base(aRecord(api.PhaseDraining)).but(annotated, func(s *situation) { s.drained = s.progress(StageRunning) })
	step := s.step()
	if step.Do != DoWrite || !step.Record.Annotated || !step.KeepUp || step.Asks == 0 || step.Reason != api.ReasonRebootRequested {
		t.Fatalf("%+v", step)
	}
	s.r = step.Record
	want{do: DoStage, what: "drain"}.check(t, all, "once noted", s)
	want{do: DoWrite}.check(t, all, "while what is left is ended by force", base(aRecord(api.PhaseDraining)).but(annotated, func(s *situation) {
		s.p.Stages, s.drained = []Stage{drainUntil(limit, Force)}, s.progress(StageRunning)
	}))
	want{do: DoWrite, phase: api.PhaseQueued}.check(t, all, "in the beginning", base(nil).but(annotated, func(s *situation) { s.slot.State, s.lease.State = ClaimFree, ClaimFree }))
	want{do: DoWrite, reason: api.ReasonDrained}.check(t, all, "withdrawn, with the sentinel left", base(aRecord(api.PhaseDraining)))
	want{do: DoWrite, reason: api.ReasonCancelled}.check(t, all, "withdrawn", s.but(func(s *situation) { s.f.Request = Request{} }))
	want{do: DoRestore}.check(t, all, "it comes after the boot", base(aRecord(api.PhaseVerifying)).but(annotated))
	want{do: DoWait, reason: api.ReasonNotRequired}.check(t, all, "nothing is wanted", base(nil).but(func(s *situation) {
		s.f.Request, s.slot.State, s.lease.State = Request{}, ClaimFree, ClaimFree
	}))
	for _, phase := range []api.Phase{api.PhaseWaiting, api.PhaseQueued} {
		other := base(aRecord(phase)).but(func(s *situation) { s.f.Boot.ID, s.slot.State, s.lease.State = "boot-2", ClaimFree, ClaimFree })
		want{do: DoWrite, reason: api.ReasonCancelled, says: "by other means"}.check(t, all, string(phase)+", booted", other)
		other = other.but(annotated, func(s *situation) { s.r.Annotated = true })
		want{do: DoWrite, reason: api.ReasonCancelled}.check(t, all, string(phase)+", booted, and served", other)
		other = other.but(func(s *situation) { s.f.Boot.ID, s.f.Request = "boot-1", Request{} })
		want{do: DoWrite, reason: api.ReasonCancelled}.check(t, all, string(phase)+", withdrawn", other)
	}
}

// A try that was not made, since pods have come, does not count.
func TestTryThatWasNotMade(t *testing.T) {
	for _, n := range []int{1, 2, 3} {
		step := base(aRecord(api.PhaseRebooting, try(n))).but(func(s *situation) { s.drained = s.progress(StageRunning) }).step()
		if step.Do != DoWrite || (step.Record.Order == nil) != (n == 1) || n > 1 && step.Record.Order.Try != n-1 || !step.Record.Since.Equal(t0.Add(-time.Minute)) {
			t.Errorf("try %d: %+v, writes %+v", n, step, step.Record)
		}
	}
}
