package decide

import "rebootd.dev/daemon/api"

var abortInvariants = []invariant{
	{"people who abort have nothing begun that leads to the reboot", func(s situation, step Step) bool {
		return !s.f.Abort.Asked || !s.advances(step) && step.Do != DoClaim
	}},
	{"people who abort have the operation ended, unless the machine is going down or may be, or has booted meanwhile", func(s situation, step Step) bool {
		down := s.leftAlone(step) || s.in(api.PhaseRebooting) && s.ordered() || s.rebooted() && !s.in(api.PhaseVerifying, api.PhaseHalted, api.PhaseWaiting, api.PhaseQueued)
		booted := step.Reason == api.ReasonVerifying && step.Do == DoWrite
		if !s.f.Abort.Asked || s.f.Boot.ID == "" || s.refused() || down || booted || s.softRebooted() || s.slot.State == ClaimUnknown || s.notes(step) {
			return true
		}
		ends := step.Reason == api.ReasonAborted && (step.Do.Writes() || step.Do == DoUndo)
		return ends || step.Do == DoRelease || s.undoing() && s.returns(step) || s.phase() == api.PhaseIdle && s.f.Request.Pending
	}},
	{"an operation that is aborted is over when its stages are undone, and its request counts as served", func(s situation, step Step) bool {
		if step.Reason != api.ReasonAborted || !step.Do.Writes() || step.Record != nil && s.returns(step) && step.Do == DoWrite {
			return true
		}
		return step.Record == nil && (step.ClearRequest || !s.f.Request.Annotated)
	}},
	{"an abort is forgotten only with the end of the operation, or when it is told that it came too late", func(s situation, step Step) bool {
		ends := step.Do.Writes() && step.Record == nil
		late := step.Record != nil && step.Record.Phase == api.PhaseVerifying && !s.in(api.PhaseVerifying)
		return !step.ClearAbort || s.f.Abort.Asked && (ends || late)
	}},
	{"an abort that has had its effect is forgotten with the same write", func(s situation, step Step) bool {
		ends := step.Reason == api.ReasonAborted && step.Do.Writes() && step.Record == nil
		return !ends || step.ClearAbort == s.f.Abort.Asked || s.f.Refused.Do != ""
	}},
	{"only the reboot that the machine has scheduled by this operation's order is recalled, in time, and only when people abort", func(s situation, step Step) bool {
		if step.Do != DoRecall {
			return true
		}
		ours := s.in(api.PhaseRebooting) && s.r.Order.Accepted && s.f.Shutdown.Kind != "" && s.f.Shutdown.At.Equal(s.r.Due)
		return s.f.Abort.Asked && ours && s.f.Now.Before(s.r.Due)
	}},
}

var abortFaults = map[string][]decision{
	"people who abort have nothing begun":       {given(func(_ *Policy, _ *api.Record, f *Facts) { f.Abort = Abort{} })},
	"people who abort have the operation ended": {given(func(_ *Policy, _ *api.Record, f *Facts) { f.Abort = Abort{} })},
	"an operation that is aborted is over": {altered(func(p Policy, r *api.Record, f Facts, s *Step) {
		if s.Reason == api.ReasonAborted && s.Do == DoRestore {
			s.Record = in(api.PhaseWaiting, r, f)
		}
	})},
	"an abort is forgotten only":       {altered(func(_ Policy, _ *api.Record, f Facts, s *Step) { s.ClearAbort = f.Abort.Asked })},
	"an abort that has had its effect": {altered(func(_ Policy, _ *api.Record, _ Facts, s *Step) { s.ClearAbort = false })},
	"only the reboot that the machine has scheduled": {altered(func(_ Policy, _ *api.Record, f Facts, s *Step) {
		if f.Abort.Asked && scheduled(f) {
			s.Do = DoRecall
		}
	})},
}
