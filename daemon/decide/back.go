package decide

import (
	"cmp"
	"slices"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/printable"
)

const (
	// The pause after a failed attempt doubles from firstPause to lastPause, so
	// that a node that cannot be drained does not keep moving its pods about. After a gate
	// has had the node put back it is firstPause, but for a hold and a pause of the lock.
	firstPause = time.Minute
	lastPause  = 30 * time.Minute
)

// Pause is how long is waited after the given number of failures in a row.
func Pause(failures int) time.Duration {
	d := firstPause
	for range failures - 1 {
		if d *= 2; d >= lastPause {
			return lastPause
		}
	}
	return d
}

// ourCordon says whether the node has the cordon that the operation has set: one
// that was removed and set again by somebody else is theirs.
func ourCordon(r *api.Record, f Facts) bool {
	return r.Cordoned && f.Node.Unschedulable && !f.Node.Foreign
}

// objection is why a node that is cordoned and not rebooted is to be put back.
func objection(r *api.Record, f Facts) (api.Undo, bool) {
	c, isLost := lost(f)
	g, isClosed := closed(f, gate.WhileDraining)
	abort, isAborted := aborted(f)
	switch {
	case isAborted:
		return abort, true
	case isLost:
		return api.Undo{Reason: c.Lost, Message: cmp.Or(c.Note, "the "+c.Title+" was taken away"), Failed: true}, true
	case !f.Request.Wanted && !f.Request.Pending:
		return api.Undo{Reason: api.ReasonCancelled, Message: withdrawn(f), Ends: true}, true
	case isClosed:
		return api.Undo{Reason: g.Reason, Message: g.Why}, true
	case !f.Node.Unschedulable, r.Cordoned && !ourCordon(r, f):
		return api.Undo{Reason: api.ReasonCordonLost, Message: "somebody uncordoned the node", Failed: true}, true
	}
	return api.Undo{}, false
}

// undoable says whether there are stages that leave something behind that has to be
// undone.
func undoable(p Policy) bool {
	return slices.ContainsFunc(p.Stages, func(k Stage) bool { return k.Undoable })
}

// leaves says whether a stage is going to leave something behind that has to be undone.
func leaves(p Policy, r *api.Record, f Facts) bool {
	for i, k := range p.Stages {
		if k.Undoable && !progress(r, f, i).Empty {
			return true
		}
	}
	return false
}

// back begins to put the node back, or continues. Where stages have to be undone for
// that, it is written down before the first of them is: whatever is known then, the node
// is put back.
func back(p Policy, r *api.Record, f Facts, u api.Undo) Step {
	if begun := r.Undoing(); begun != nil {
		return rollBack(p, r, f, *begun)
	}
	u.Since, u.Message = r.DrainBegan(), printable.Line(u.Message, 4*maxWhy)
	if r.Hooked && undoable(p) {
		n := r.Clone()
		n.Undo = &u
		return Step{Do: DoWrite, Reason: u.Reason, Message: u.Message + "; undoing the hooks", Record: n, Asks: gate.WhileDraining | gate.BeforeOrder}
	}
	return rollBack(p, r, f, u)
}

// turnsBack says whether a step leads away from the reboot: it begins to put the node
// back, or does.
func turnsBack(s Step) bool {
	return s.Do == DoUndo || s.Do == DoRestore || s.Do == DoWrite && s.Record != nil && s.Record.Undoing() != nil
}

// puttingBack is what people are told while a node is put back, besides why, and wasPutBack
// when the operation has ended so.
const puttingBack, wasPutBack = "; putting the node back", "; the node was put back"

// rollBack undoes the stages, the last one first, and puts the node back.
func rollBack(p Policy, r *api.Record, f Facts, u api.Undo) Step {
	s := Step{Reason: u.Reason, Message: u.Message + puttingBack, Asks: gate.WhileDraining | gate.BeforeOrder}
	if r.Hooked && r.Undoing() != nil {
		for i, k := range slices.Backward(p.Stages) {
			if k.Undoable && !progress(r, f, i).Undone {
				s.Do, s.Stage, s.Detail = DoUndo, k.Name, "undoing "+k.Name+" first"
				return s
			}
		}
	}
	s.Do, s.Uncordon = DoRestore, ourCordon(r, f)
	if u.Reason == api.ReasonAborted {
		s.Message = u.Message + wasPutBack
		return asAborted(r, f, s)
	}
	if u.Ends {
		s.Message = u.Message + wasPutBack
		s.Served = f.Request.found(f)
		return s
	}
	n := in(api.PhaseWaiting, r, f)
	forgetAttempt(n)
	switch {
	case u.Failed:
		n.Attempts++
		n.NotBefore = f.Now.Add(Pause(n.Attempts)).UTC().Truncate(time.Second)
		n.Failure = &api.Failure{Reason: u.Reason, Message: u.Message}
	case !byHand(u):
		// A gate that goes to and fro must not keep moving pods about.
		n.NotBefore = f.Now.Add(firstPause).UTC().Truncate(time.Second)
		n.Failure = &api.Failure{Reason: api.ReasonBlocked, Message: "the node was put back: " + u.Message}
	}
	s.Record = n
	return s
}

// byHand says whether people have had the node put back on the spot: it continues as soon
// as they let it.
func byHand(u api.Undo) bool { return u.Reason == api.ReasonHeld || u.Reason == api.ReasonPaused }

// forgetAttempt is for a record of a node that is put back.
func forgetAttempt(r *api.Record) {
	r.Cordoned, r.Protected, r.Hooked, r.Undo, r.DrainRan = false, nil, false, nil, nil
	r.Order, r.DrainSince, r.Due, r.Level, r.SoftReboots = nil, time.Time{}, time.Time{}, "", nil
}

func draining(p Policy, r *api.Record, f Facts) Step {
	if f.Boot.ID != r.BootID {
		return booted(r, f, false, "")
	}
	asks := gate.WhileDraining | gate.BeforeOrder
	working := Step{Do: DoWait, Reason: api.ReasonDraining, Message: drainWords(r, f), Asks: asks}
	if goingDown(f) {
		return awaitBoot(working)
	}
	if u := r.Undoing(); u != nil {
		return rollBack(p, r, f, *u)
	}
	if s, ok := lookingUp(f, working); ok {
		return s
	}
	if u, ok := objection(r, f); ok {
		return back(p, r, f, u)
	}
	if s, ok := unsure(p, r, f, working); ok {
		return s
	}
	if s, ok := claimRest(f, working, notHeld); ok {
		return s
	}
	return forward(p, r, f)
}

// unsure waits while it is not known whether something speaks against the reboot. A gate
// that does not answer any more stops nothing that has begun.
func unsure(p Policy, r *api.Record, f Facts, s Step) (Step, bool) {
	g, is := unknown(f, gate.WhileDraining)
	switch {
	case !f.Request.Wanted:
		s.Detail = whetherWanted
	case is && !begun(p, r, f):
		s.Detail = "waiting for the answer of gate " + g.Name
	default:
		return s, false
	}
	return s, true
}
