package decide

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

// drive brings an operation on: each call has an hour pass, changes the situation, and takes
// the step that follows.
type drive struct {
	t    *testing.T
	s    situation
	last Step
}

func (d *drive) on(want Action, change ...func(*situation)) *api.Record {
	d.t.Helper()
	was := d.s
	d.s = base(was.r)
	d.s.p, d.s.f = was.p, was.f
	d.s.f.Now = was.f.Now.Add(time.Hour)
	d.s.healthySince = d.s.f.Now.Add(-time.Minute)
	d.s = d.s.but(change...)
	if d.last = d.s.step(); d.last.Do != want {
		d.t.Fatalf("%+v, want %s", d.last, want)
	}
	d.s.r = d.last.Record
	return d.s.r
}

// clock is so many hours after an operation began.
func clock(hours int) time.Time { return t0.Add(time.Duration(hours) * time.Hour) }

func newDrive(t *testing.T) *drive {
	d := &drive{t: t, s: base(nil)}
	d.s.f.Now = clock(-1)
	d.s.p.Stages = []Stage{drain}
	d.s.f.Node.Unschedulable, d.s.f.Node.Kernel = false, "6.12.1"
	return d
}

func free(s *situation)        { s.slot.State, s.lease.State = ClaimFree, ClaimFree }
func cordonedNow(s *situation) { s.f.Node.Unschedulable, s.f.Node.Ours = true, true }
func uncordoned(s *situation)  { s.f.Node.Unschedulable = false }
func closedNow(s *situation)   { s.f.Gates = []gate.Status{shutNow} }
func openNow(s *situation)     { s.f.Gates = nil }
func cannotDrain(s *situation) {
	s.drained.State, s.drained.Ran, s.drained.Summary = StageRunning, limit, "db-0"
}
func drainedFor(s *situation)   { s.drained.DoneFor = 10 * time.Minute }
func nextBoot(s *situation)     { s.f.Boot = Boot{ID: "boot-2", Time: s.f.Now.Add(-time.Minute)} }
func nextKernel(s *situation)   { s.f.Node.KubeletBoot, s.f.Node.Kernel = "boot-2", "6.12.2" }
func ails(s *situation)         { s.f.Node.Ready, s.f.Node.ReadyMessage = false, "PLEG" }
func recovers(s *situation)     { s.f.Node.Ready = true }
func withdrawnNow(s *situation) { s.f.Request = Request{} }

var shutNow = toy("hold", gate.BeforeQueue|gate.WhileDraining, gate.Verdict{State: gate.Closed, Why: "held: disk"})

// What the record notes of an operation that waits, fails to drain, waits again, reboots,
// does so late, is unhealthy, and healthy in the end; and what its summary is.
func TestTimesOfAnOperation(t *testing.T) {
	d := newDrive(t)
	want := api.Times{}
	check := func(r *api.Record) {
		t.Helper()
		want.Since = r.Since
		if diff := cmp.Diff(&want, r.Times); diff != "" {
			t.Errorf("%s (-want +got):\n%s", r.Phase, diff)
		}
	}
	check(d.on(DoWrite, free, closedNow))
	want.Queued = clock(1)
	check(d.on(DoWrite, free, openNow))
	check(d.on(DoWrite, free, closedNow))
	check(d.on(DoWrite, free, openNow))
	want.Cordoned = clock(4)
	check(d.on(DoCordon))
	r := d.on(DoRestore, cordonedNow, cannotDrain)
	want.Failure = &api.Failure{Reason: api.ReasonDrainTimedOut, Message: "not drained after 30m0s: db-0"}
	check(r)
	check(d.on(DoWrite, free, uncordoned))
	want.Cordoned = clock(7)
	check(d.on(DoCordon))
	want.Ordered, want.Drained = clock(8), clock(8).Add(-10*time.Minute)
	check(d.on(DoWrite, cordonedNow, drainedFor))
	want.Halted = clock(9)
	r = d.on(DoWrite, childIs(ChildSucceeded), func(s *situation) { s.r.Order.Accepted = true })
	want.Failure = r.Failure
	check(r)
	if r.Kernel != "6.12.1" {
		t.Errorf("the kernel is %q", r.Kernel)
	}
	want.Back = clock(10)
	check(d.on(DoWrite, nextBoot, ails))
	want.Halted = clock(11)
	r = d.on(DoWrite, nextKernel, ails)
	want.Failure = r.Failure
	if check(r); r.Failure.Reason != api.ReasonUnhealthy || r.Kernel != "6.12.1" {
		t.Errorf("%+v of kernel %s", r.Failure, r.Kernel)
	}
	d.on(DoRestore, recovers, func(s *situation) { s.f.ClockSet = 30 * time.Minute })
	got := d.last.Summary
	if diff := cmp.Diff(&api.Summary{
		ID: r.ID, Request: "kernel", Result: api.ReasonRebootVerified, Message: "rebooted: boot boot-2 follows boot-1, the node is healthy and back in service, 4h0m0s after the reboot was ordered",
		Requested: clock(0), Queued: want.Queued, Cordoned: want.Cordoned, Drained: want.Drained, Ordered: want.Ordered, Back: want.Back, Halted: want.Halted,
		Failure: want.Failure, Ended: clock(12).Add(30 * time.Minute), Attempts: 1, BootID: "boot-1", NewBootID: "boot-2", Kernel: "6.12.1", NewKernel: "6.12.2",
	}, got, cmp.AllowUnexported(api.Summary{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// The summary of an operation that is given up says what its last attempt came to, and of
// one that never had its turn, that it had none.
func TestSummaryOfWhatWasGivenUp(t *testing.T) {
	d := newDrive(t)
	d.on(DoWrite, free)
	d.on(DoWrite, free, withdrawnNow)
	if s := d.last.Summary; s.Result != api.ReasonCancelled || s.Touched() || s.Queued.IsZero() || !s.Ended.Equal(clock(1)) || s.NewBootID != "" || s.NewKernel != "6.12.1" {
		t.Errorf("%+v", s)
	}
	d = newDrive(t)
	d.on(DoWrite, free)
	if d.on(DoCordon); d.last.Summary != nil {
		t.Error("it has not ended")
	}
	d.on(DoRestore, cordonedNow, cannotDrain)
	d.on(DoWrite, free, uncordoned, withdrawnNow)
	if s := d.last.Summary; !s.Touched() || !s.Cordoned.Equal(clock(1)) || s.Attempts != 1 || s.Failure.Reason != api.ReasonDrainTimedOut || !s.Drained.IsZero() {
		t.Errorf("%+v", s)
	}
	if s := base(nil).but(free, func(s *situation) { s.f.Abort.Asked = true }).step().Summary; s != nil {
		t.Errorf("of no operation: %+v", s)
	}
}

// An attempt that failed after its order leaves nothing of that to the next.
func TestTimesOfTheNextAttempt(t *testing.T) {
	d := newDrive(t)
	d.on(DoWrite, free)
	d.on(DoCordon)
	d.on(DoWrite, cordonedNow)
	failed := d.on(DoRestore, childIs(ChildFailed), func(s *situation) { s.r.Order.Try = maxTries })
	if failed.Times.Ordered.IsZero() || failed.Times.Drained.IsZero() {
		t.Errorf("%+v", failed.Times)
	}
	d.on(DoWrite, free, uncordoned)
	if c := d.on(DoCordon).Times; !c.Ordered.IsZero() || !c.Drained.IsZero() || c.Failure == nil || !c.Queued.Equal(clock(0)) {
		t.Errorf("%+v", c)
	}
}

// A drain that was not needed, or has not come to its end, has not drained the node.
func TestOrderedWithoutADrain(t *testing.T) {
	for name, change := range map[string]func(*situation){
		"no drain": func(s *situation) { s.p.Stages = nil },
		"late":     func(s *situation) { s.p.Stages = []Stage{drainUntil(limit, Reboot)}; cannotDrain(s) },
	} {
		d := newDrive(t)
		d.on(DoWrite, free)
		d.on(DoCordon)
		if r := d.on(DoWrite, cordonedNow, change); r.Order == nil || !r.Times.Drained.IsZero() || !r.Times.Ordered.Equal(clock(2)) {
			t.Errorf("%s: %+v", name, r.Times)
		}
	}
}

// An older version keeps the times of an attempt that has failed, and makes another: what
// it has noted says nothing of that one.
func TestTimesAfterAnOlderVersion(t *testing.T) {
	d := newDrive(t)
	d.on(DoWrite, free)
	r := d.on(DoCordon)
	order := &api.Order{At: clock(9), By: "older", Try: 1, Accepted: true}
	for phase, want := range map[api.Phase]api.Times{
		api.PhaseWaiting:   {},
		api.PhaseQueued:    {},
		api.PhaseDraining:  {Cordoned: clock(8)},
		api.PhaseRebooting: {Ordered: clock(9)},
		api.PhaseVerifying: {Ordered: clock(9), Back: clock(8)},
	} {
		given := order
		if phase == api.PhaseWaiting || phase == api.PhaseQueued || phase == api.PhaseDraining {
			given = nil
		}
		got := asOlder(t, r, phase, clock(8), given).Came()
		want.Queued, want.Since = clock(0), clock(8)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", phase, diff)
		}
	}
	older := asOlder(t, r, api.PhaseVerifying, clock(8), order)
	step := base(older).but(ails, func(s *situation) { s.f.Now, s.f.Node.Kernel = clock(20), "6.12.2" }).step()
	if step.Record == nil || step.Record.Phase != api.PhaseHalted {
		t.Fatalf("%+v", step)
	}
	if n := step.Record; !n.Times.Cordoned.IsZero() || !n.Times.Back.Equal(clock(8)) || !n.Times.Halted.Equal(clock(20)) || n.Times.Failure == nil || n.Kernel != "6.12.1" {
		t.Errorf("%+v of kernel %s", n.Times, n.Kernel)
	}
	halted, err := api.ParseRecord([]byte(`{"v":1,"id":"a","phase":"Halted","since":"2026-05-04T12:00:00Z","bootID":"b","failure":{"reason":"Unhealthy"}}`))
	if err != nil {
		t.Fatal(err)
	}
	if came := halted.Came(); !came.Halted.Equal(halted.Since) || came.Failure.Reason != api.ReasonUnhealthy {
		t.Errorf("%+v", came)
	}
}

// A copy shares no failure with what it was made of.
func TestTimesAreCopied(t *testing.T) {
	r := aRecord(api.PhaseDraining)
	r.Times = &api.Times{Since: r.Since, Failure: &api.Failure{Message: "a"}}
	c, came := r.Clone(), r.Came()
	if r.Times.Failure.Message = "b"; c.Times.Failure.Message != "a" || came.Failure.Message != "a" {
		t.Errorf("%+v, %+v", c.Times, came)
	}
}

// A clock that was set back leaves no time before an earlier one, and as many as can be told
// beside each other.
func TestTimesOfAClockThatWasSet(t *testing.T) {
	for name, tc := range map[string]struct{ hours, want []float64 }{
		"not set":                      {[]float64{1, 2, 3, 4}, []float64{1, 2, 3, 4}},
		"no battery, right in the end": {[]float64{1, 2, 3, -9000, 4}, []float64{1, 2, 3, 0, 4}},
		"no battery until the end":     {[]float64{1, 2, 3, -9001, -9000}, []float64{0, 0, 0, -9001, -9000}},
		"set back in the middle":       {[]float64{5, 6, 3, 4, 7}, []float64{5, 6, 0, 0, 7}},
		"set back for good":            {[]float64{5, 6, 1, 2, 3}, []float64{0, 0, 1, 2, 3}},
		"some were not noted":          {[]float64{1, 0, 3, 0, 4}, []float64{1, 0, 3, 0, 4}},
		"by a second":                  {[]float64{1, 2, 2 - 1./3600, 3}, []float64{1, 2, 2, 3}},
	} {
		var come []*time.Time
		for _, h := range tc.hours {
			at := time.Time{}
			if h != 0 {
				at = t0.Add(time.Duration(h * float64(time.Hour))).Round(time.Second)
			}
			come = append(come, &at)
		}
		keepInOrder(come)
		for i, at := range come {
			if is := at.Sub(t0).Hours(); tc.want[i] == 0 && !at.IsZero() || tc.want[i] != 0 && is != tc.want[i] {
				t.Errorf("%s: time %d is %s", name, i, at)
			}
		}
	}
}

// Times are noted with what is to be written anyway.
func TestNothingIsWrittenForTimes(t *testing.T) {
	r := aRecord(api.PhaseQueued)
	r.Times = nil
	step := base(r).but(free).step()
	data, _ := json.Marshal(step)
	if step.Do.Writes() || step.Record != nil {
		t.Errorf("%s", data)
	}
}
