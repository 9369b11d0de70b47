package decide

import (
	"strings"
	"testing"

	"rebootd.dev/daemon/api"
)

// Whatever asks when people abort asks no more, also what has come since the boot: the
// node that they give up is not drained again at once.
func TestAbortServesAllThatAsks(t *testing.T) {
	for _, path := range []string{"/run/reboot-required", "/var/lib/reboot-needed"} {
		old, later := aSentinel(path, t0), aSentinel(path, t0.Add(before))
		sees := func(r *api.Record) { r.Files = []api.SentinelFile{old.SentinelFile} }
		for name, s := range map[string]situation{
			"verifying":        base(aRecord(api.PhaseVerifying, sees)),
			"soft-rebooted":    base(aRecord(api.PhaseVerifying, sees, func(r *api.Record) { r.Soft = true })),
			"halted":           base(aRecord(api.PhaseHalted, sees, func(r *api.Record) { r.Failure = &api.Failure{Reason: api.ReasonUnhealthy} })),
			"rebooted by hand": base(aRecord(api.PhaseQueued, sees)).but(func(s *situation) { s.f.Boot.ID = "boot-2" }),
			"draining":         base(aRecord(api.PhaseDraining, sees, func(r *api.Record) { r.Hooked = false })),
		} {
			s = s.but(func(s *situation) { s.f.Abort.Asked = true; asking(s, later) })
			step := s.step()
			if step.Reason != api.ReasonAborted || step.Record != nil || !step.ClearAbort {
				t.Errorf("%s: %+v", name, step)
				continue
			}
			if q := RequestOf([]Sentinel{later}, s.f.Boot, "", nil, step.Served); q.Wanted {
				t.Errorf("%s, %s: asks again: %+v", path, name, q)
			}
		}
	}
}

// A policy of the cluster's that is older than the annotations keeps no record that cannot
// be obeyed, and no cordon, on the node: the abort stands, and is seen to after that.
func TestDropIsRefused(t *testing.T) {
	s := base(nil).but(func(s *situation) {
		s.f.Abort.Asked, s.f.Node.Unschedulable, s.f.Node.Ours = true, true, true
		asking(s, onDisk)
	})
	first := Drop(s.p, api.ErrTooNew, s.f)
	if first.Do != DoRestore || !first.ClearAbort || first.Served == nil {
		t.Errorf("at first: %+v", first)
	}
	s.f.Refused = Refused{Do: DoRestore, Words: "no such annotation", Until: s.f.Now.Add(-1)}
	if again := Drop(s.p, api.ErrTooNew, s.f); again.Do != DoRestore || !again.Uncordon || again.ClearAbort || again.Served != nil {
		t.Errorf("after it was refused: %+v", again)
	}
}

// What hooks a record speaks of is not known where it cannot be obeyed: that they are not
// undone is told where there are any.
func TestDropSaysThatHooksAreNotUndone(t *testing.T) {
	for _, empty := range []bool{false, true} {
		s := base(nil).but(func(s *situation) {
			s.f.Abort.Asked, s.hooks.Empty, s.last.Empty = true, empty, empty
		})
		if step := Drop(s.p, api.ErrTooNew, s.f); strings.Contains(step.Message, "hooks") == empty {
			t.Errorf("without hooks %t: %s", empty, step.Message)
		}
	}
}

// After a refusal the abort may stay on the Node, and is obeyed then: nobody is told before
// that it was forgotten.
func TestTooLateIsRefused(t *testing.T) {
	s := base(aRecord(api.PhaseRebooting)).but(func(s *situation) { s.f.Boot.ID, s.f.Abort.Asked = "boot-2", true })
	if step := s.step(); !step.ClearAbort || !strings.Contains(step.Message, "too late") {
		t.Errorf("at first: %+v", step)
	}
	refused := s.but(func(s *situation) { s.f.Refused = Refused{Do: DoWrite, Words: "no roles yet", Until: s.f.Now.Add(-1)} })
	if step := refused.step(); step.Do != DoWrite || step.ClearAbort || strings.Contains(step.Message, "too late") {
		t.Errorf("after a refusal: %+v", step)
	}
}
