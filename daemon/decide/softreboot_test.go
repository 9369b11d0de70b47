package decide

import (
	"testing"
	"time"

	"rebootd.dev/daemon/api"
)

// systemd could not be asked yet whether the machine has soft-rebooted, as an earlier
// start of the daemon has ordered: it is not rebooted once more.
func TestSystemdDoesNotAnswer(t *testing.T) {
	r := aRecord(api.PhaseRebooting, func(r *api.Record) { r.Order.By, r.Level, r.SoftReboots = "other", api.SoftReboot, new(int) })
	with := func(u Userspace, d time.Duration) Step {
		return base(r).but(func(s *situation) { s.f.Boot.Userspace, s.f.Now = u, t0.Add(d) }).step()
	}
	since := Userspace{Known: true, SoftReboots: 1, Since: t0.Add(time.Second)}
	if step := with(Userspace{Pending: true}, time.Minute); step.Do != DoWait || step.Reason != api.ReasonRebooting || step.Detail == "" {
		t.Errorf("a minute after: %+v", step)
	}
	if step := with(Userspace{Pending: true}, time.Hour); step.Do != DoWrite || step.Record.Phase != api.PhaseHalted {
		t.Errorf("after its time: %+v", step)
	}
	if step := with(since, time.Hour); step.Do != DoWrite || step.Record.Phase != api.PhaseVerifying || !step.Record.Soft {
		t.Errorf("once it answers: %+v", step)
	}
	if step := with(Userspace{Known: true}, time.Hour); step.Do != DoWrite || step.Record.Phase != api.PhaseDraining {
		t.Errorf("once it answers that there was none: %+v", step)
	}
}

// The sentinel of a soft reboot is neither obeyed nor forgotten as long as systemd has
// not said whether that has happened.
func TestSentinelWhileSystemdDoesNotAnswer(t *testing.T) {
	soft := Sentinel{SentinelFile: aSentinel("/run/reboot-needed", t0).SentinelFile, Content: "soft-reboot"}
	boot := Boot{ID: "boot-1", Time: t0.Add(-before), Userspace: Userspace{Pending: true}}
	q := RequestOf([]Sentinel{soft}, boot, "", nil, nil)
	if q.Wanted || !q.Pending || q.Spent != "" {
		t.Fatalf("%+v", q)
	}
	if q := RequestOf([]Sentinel{soft}, boot, api.RequestReboot, nil, nil); !q.Wanted || q.Pending {
		t.Errorf("with the annotation: %+v", q)
	}
	for _, phase := range []api.Phase{api.PhaseQueued, api.PhaseDraining, api.PhaseRebooting} {
		s := base(aRecord(phase)).but(func(s *situation) { s.f.Request, s.f.Boot.Userspace = q, Userspace{Pending: true} })
		if step := s.step(); step.Do != DoWait || step.Detail != whetherWanted {
			t.Errorf("%s: %+v", phase, step)
		}
	}
	waiting := base(aRecord(api.PhaseWaiting)).but(func(s *situation) { s.f.Request, s.slot.State, s.lease.State = q, ClaimFree, ClaimFree })
	if step := waiting.step(); step.Do != DoWait || step.Detail != whetherWanted {
		t.Errorf("waiting: %+v", step)
	}
}
