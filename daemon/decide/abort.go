package decide

import (
	"fmt"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/printable"
)

// Abort is whether people give up what the node is about to do ([api.AbortAnnotation]),
// and why. Whatever the phase, the node is put back and its claims are given back, and the
// request counts as served: it requests nothing until somebody asks anew. Only a machine
// that is going down, or may be, is left to it.
type Abort struct {
	Asked bool
	Why   string
}

func (a Abort) words() string {
	if a.Why == "" {
		return "aborted by the annotation " + api.AbortAnnotation
	}
	return "aborted: " + printable.Line(a.Why, maxWhy)
}

// aborted is why a node is put back whose operation people have given up.
func aborted(f Facts) (api.Undo, bool) {
	return api.Undo{Reason: api.ReasonAborted, Message: f.Abort.words(), Ends: true}, f.Abort.Asked
}

// asAborted is the step that ends the operation, and has the request count as served: also
// what has come since the boot, or the node would be drained again at once.
func asAborted(r *api.Record, f Facts, s Step) Step {
	s.ClearAbort, s.ClearRequest = f.Abort.Asked, r.Annotated || f.Request.Annotated
	s.Served = f.Request.serve(f.Boot.ID, f.Now, f.Request.Files, "operation "+r.ID+" was aborted")
	return s
}

// abortRequest is the step of an idle node: there is at most a request to give up.
func abortRequest(f Facts) Step {
	s := Step{Do: DoWrite, Reason: api.ReasonAborted, ClearAbort: true, ClearRequest: f.Request.Annotated}
	s.Message = f.Abort.words() + "; there was nothing to abort"
	if f.Request.Wanted {
		s.Message = f.Abort.words() + "; the request counts as served: " + f.Request.Why
		s.Served = f.Request.serve(f.Boot.ID, f.Now, f.Request.Files, "it was aborted before an operation began")
	}
	return s
}

// abortUndisturbed is the step of an operation that has done nothing to the node yet.
func abortUndisturbed(r *api.Record, f Facts) Step {
	return asAborted(r, f, Step{Do: DoWrite, Reason: api.ReasonAborted, Message: f.Abort.words() + "; nothing had been done to the node"})
}

// abortOrdered is the step of an operation whose reboot was ordered: one that the machine
// has scheduled is cancelled; else the machine may go down at any moment.
func abortOrdered(p Policy, r *api.Record, f Facts, wait Step) Step {
	wait.Reason = api.ReasonAbortPending
	if r.Order.Accepted && scheduled(f) && f.Now.Add(cancelMargin).Before(r.Due) && r.Due.Equal(f.Shutdown.At) {
		wait.Do, wait.Until = DoRecall, time.Time{}
		wait.Message = fmt.Sprintf("%s; cancelling the %s that the machine has scheduled for %s", f.Abort.words(), f.Shutdown.Kind, r.Due.Format(time.RFC3339))
		return wait
	}
	from := r.Order.At
	if r.Due.After(from) {
		from = r.Due
	}
	wait.Message = fmt.Sprintf("%s; too late for this reboot, which was ordered at %s: the machine may go down at any moment; if it is still up at %s, the node is put back",
		f.Abort.words(), r.Order.At.UTC().Format(time.RFC3339), from.Add(p.RebootTimeout).UTC().Format(time.RFC3339))
	return wait
}

// abortHeld is the step of an operation that is after its reboot, or has waited for it in
// vain. After a boot there are no stages to undo.
func abortHeld(p Policy, r *api.Record, f Facts) (Step, bool) {
	undoing := r.Undoing()
	u, asked := aborted(f)
	switch {
	case startedOver(r, f) && !asked, !asked && undoing == nil:
		return Step{}, false
	case goingDown(f):
		return awaitBoot(Step{Asks: gate.BeforeUncordon}), true
	case startedOver(r, f):
		n := r.Clone()
		n.Undo = nil
		return rollBack(p, n, f, u), true
	default:
		return back(p, r, f, u), true // or continues
	}
}

// tooLate has an abort that has come too late to stop the reboot told and forgotten: what
// the machine has booted into is verified before the next node follows. Who gives that
// up, too, says so again.
func tooLate(f Facts, s Step) Step {
	if f.Abort.Asked && f.Refused.Do == "" { // else Next leaves the annotation, and it is obeyed
		s.ClearAbort = true
		s.Message += "; it was to be aborted, which came too late: set the annotation " + api.AbortAnnotation + " again to give up the verification"
	}
	return s
}

// Drop is the step for a record that api.ParseRecord refused and that people abort: it is
// removed. What it says of the node is not known: a cordon is removed only if the API
// server's account says that rebootd has set it, and no hook is undone.
func Drop(p Policy, err error, f Facts) Step {
	s := HandsOff(err)
	if !f.Abort.Asked || f.Boot.ID == "" {
		return s
	}
	s.Asks = gate.BeforeOrder // has logind asked
	switch {
	case f.Shutdown.Pending:
		s.Detail = askingLogind
		return s
	case goingDown(f):
		s.Detail = "the machine is going down; the abort waits for the boot"
		return s
	case f.Now.Before(f.Refused.Until):
		s.Detail = "the API server refuses the change of the Node: " + printable.Line(f.Refused.Words, maxWhy)
		s.Until = f.Refused.Until
		return s
	}
	s.Do, s.Reason, s.Uncordon = DoRestore, api.ReasonAborted, f.Node.Unschedulable && f.Node.Ours
	s.Message = f.Abort.words() + "; removed a record that could not be obeyed: " + printable.Line(err.Error(), maxWhy)
	if f.Node.Unschedulable && !s.Uncordon {
		s.Message += "; the node stays cordoned, since it is not known who has cordoned it: kubectl uncordon"
	}
	for i, k := range p.Stages {
		if k.Undoable && !f.Stages[i].Empty {
			s.Message += "; the hooks are not undone, since it is not known whether they ran: undo by hand what they did"
			break
		}
	}
	s.ClearRequest = f.Request.Annotated
	if f.Refused.Do == "" { // as in Next; the idle node sees to the rest
		s.ClearAbort, s.Served = true, f.Request.serve(f.Boot.ID, f.Now, f.Request.Files, "an operation was aborted")
	}
	return s
}
