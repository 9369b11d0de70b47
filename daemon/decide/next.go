package decide

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/printable"
)

// Next decides what is to be done. r is the record on the Node, nil when there
// is none.
func Next(p Policy, r *api.Record, f Facts) Step {
	if f.Boot.ID == "" {
		return Step{Do: DoWait, Reason: api.ReasonBlocked, Message: "the boot ID cannot be read: " + f.Boot.Problem}
	}
	f, passed := override(p, r, f)
	s := announce(p, r, f, passed, next(p, r, f))
	if f.Refused.Do != "" && (r != nil || !s.ClearAbort) {
		// A policy that is older than their annotations refuses the whole patch for them. An
		// idle node keeps both: the abort forgotten alone would have it rebooted after all.
		s.Served, s.ClearAbort = nil, false
	}
	if f.Now.Before(f.Refused.Until) && (s.Do.Writes() || s.Do == DoClaim && undisturbed(r)) {
		s = refused(p, r, f, s)
	}
	noteTimes(p, r, f, s)
	s.Summary = summary(r, f, s)
	return askFirst(r, f, s)
}

func next(p Policy, r *api.Record, f Facts) Step {
	if r == nil {
		return idle(p, f)
	}
	return noteRequest(p, r, f, inPhase(p, r, f))
}

func inPhase(p Policy, r *api.Record, f Facts) Step {
	switch r.Phase {
	case api.PhaseWaiting:
		return waiting(p, r, f)
	case api.PhaseQueued:
		return queued(p, r, f)
	case api.PhaseDraining:
		return draining(p, r, f)
	case api.PhaseRebooting:
		return rebooting(p, r, f)
	case api.PhaseVerifying:
		return verifying(p, r, f)
	default:
		return halted(p, r, f)
	}
}

// in is a copy of the record that enters a phase.
func in(p api.Phase, r *api.Record, f Facts) *api.Record {
	n := r.Clone()
	n.Phase, n.Since = p, f.Now.UTC()
	n.Began = &api.Began{Since: n.Since, UptimeMillis: f.Uptime.Milliseconds(), BootID: f.Boot.ID}
	return n
}

// age is how long the phase has lasted: by the machine's uptime, which no setting of the
// clock moves, where that was noted and on the boot that runs. A machine that crashes
// and boots, again and again, is as old as the clock says.
func age(r *api.Record, f Facts) time.Duration {
	if b := r.Entered(); b != nil && (b.BootID == "" || b.BootID == f.Boot.ID) {
		began := time.Duration(b.UptimeMillis) * time.Millisecond
		if f.Uptime < began { // another boot
			began = 0
		}
		return f.Uptime - began
	}
	return max(0, f.Now.Sub(r.Since))
}

func idle(p Policy, f Facts) Step {
	switch {
	case goingDown(f) && (len(held(f)) > 0 || f.Request.Wanted):
		return awaitBoot(Step{})
	case len(held(f)) > 0:
		return release(f)
	case f.Abort.Asked && (f.Request.Wanted || !f.Request.Pending):
		return abortRequest(f)
	case !f.Request.Wanted:
		s := Step{Do: DoWait, Reason: api.ReasonNotRequired, Message: "no reboot is requested", More: printable.Line(strings.Join(slices.Concat(f.Request.Problems, f.Notices), "; "), 2*maxWhy)}
		if s.More == "" {
			s.Detail = f.Request.Spent
		}
		if served := f.Request.found(f); served != nil && f.Refused.Do == "" {
			s.Do, s.Served, s.Silent = DoWrite, served, true
		}
		return s
	}
	s := Step{Reason: api.ReasonRebootRequested, Message: "reboot requested: " + f.Request.Why, Asks: gate.BeforeQueue}
	phase := api.PhaseQueued
	if _, is := closed(f, gate.BeforeQueue); is {
		phase = api.PhaseWaiting
	} else if g, is := unknown(f, gate.BeforeQueue); is {
		s.Do, s.Detail, s.Silent = DoWait, "waiting for the answer of gate "+g.Name, true
		return s
	}
	s.Do, s.Record = DoWrite, in(phase, &api.Record{
		V: api.Schema, ID: operationID(f), BootID: f.Boot.ID, Requested: f.Wall().UTC(), Request: f.Request.Why, Annotated: f.Request.Annotated, Lock: p.Lock,
	}, f)
	seeRequest(p, s.Record, f)
	return s
}

// operationID names an operation: unique to the node, since one node starts no
// two operations in one instant, and in the order of time for people.
func operationID(f Facts) string {
	boot := f.Boot.ID
	return fmt.Sprintf("%s-%s", f.Now.UTC().Format("20060102T150405.000"), boot[:min(8, len(boot))])
}

func waiting(p Policy, r *api.Record, f Facts) Step {
	inQueue := Step{Do: DoWait, Reason: api.ReasonQueued, Message: "waiting for a slot", Asks: gate.BeforeQueue}
	switch {
	case goingDown(f):
		return awaitBoot(inQueue)
	case len(held(f)) > 0:
		return release(f)
	}
	if s, ok := overtaken(r, f, inQueue); ok {
		return s
	}
	if g, is := closed(f, gate.BeforeQueue); is {
		return Step{Do: DoWait, Reason: g.Reason, Message: g.Why, More: also(f, gate.BeforeQueue), Asks: gate.BeforeQueue, Until: g.Until}
	}
	if end := pauseEnds(p, r, f); inPause(r, end, f) {
		s := Step{
			Do: DoWait, Reason: api.ReasonBlocked, Message: "next try at " + end.UTC().Format(time.RFC3339),
			Asks: gate.BeforeQueue, Until: end,
		}
		said := ""
		if r.Failure != nil {
			said = r.Failure.Message
			s.Reason, s.Message = r.Failure.Reason, said+"; "+s.Message
		}
		s.More = also(unsaid(f, said), gate.BeforeQueue)
		return s
	}
	if g, is := unknown(f, gate.BeforeQueue); is {
		inQueue.Detail, inQueue.Silent = "waiting for the answer of gate "+g.Name, true
		return inQueue
	}
	n := in(api.PhaseQueued, r, f)
	n.Lock = p.Lock
	inQueue.Do, inQueue.Record = DoWrite, n
	return inQueue
}

// inPause says whether the pause after a failed attempt lasts. One that would last for
// longer than any does was written before the clock was set back.
func inPause(r *api.Record, end time.Time, f Facts) bool {
	remains := end.Sub(f.Now)
	return remains > 0 && remains <= max(Pause(r.Attempts), Pause(r.Deferrals))
}

// overtaken ends an operation for which nothing has been done yet, where the machine has
// been rebooted without it, or nothing asks for a reboot any more.
func overtaken(r *api.Record, f Facts, wait Step) (Step, bool) {
	switch {
	case f.Abort.Asked:
		return abortUndisturbed(r, f), true
	case f.Boot.ID != r.BootID:
		return Step{
			Do: DoWrite, Reason: api.ReasonCancelled, ClearRequest: r.Annotated, Served: servedBy(r, f, "the machine has been rebooted since, by other means"),
			Message: "the machine has been rebooted by other means",
		}, true
	case f.Request.Wanted:
		return Step{}, false
	case f.Request.Pending:
		wait.Do, wait.Detail = DoWait, whetherWanted
		return wait, true
	default:
		return Step{Do: DoWrite, Reason: api.ReasonCancelled, Message: withdrawn(f), Served: f.Request.found(f)}, true
	}
}

// whetherWanted is what a node waits for while that is not known.
const whetherWanted = "asking systemd whether the machine has soft-rebooted"

func queued(p Policy, r *api.Record, f Facts) Step {
	inQueue := Step{Do: DoWait, Reason: api.ReasonQueued, Message: "waiting for a slot", Asks: gate.BeforeQueue | gate.InQueue}
	if goingDown(f) {
		return awaitBoot(inQueue)
	}
	if s, ok := overtaken(r, f, inQueue); ok {
		return s
	}
	if g, is := closed(f, gate.BeforeQueue); is {
		return Step{Do: DoWrite, Reason: g.Reason, Message: g.Why, Record: in(api.PhaseWaiting, r, f), Asks: gate.BeforeQueue}
	}
	if s, ok := lookingUp(f, inQueue); ok {
		return s
	}
	mine := slot(f)
	shut, is := closed(f, gate.InQueue)
	switch {
	case mine.State == ClaimHeld && !is:
		return withSlot(p, r, f, mine, inQueue)
	case mine.State == ClaimHeld:
		return Step{Do: DoRelease, Reason: shut.Reason, Message: shut.Why, Asks: inQueue.Asks}
	case len(held(f)) > 0:
		// Nobody else could work on the node for as long as it waits.
		s := release(f)
		s.Asks = inQueue.Asks
		return s
	}
	inQueue.Do, inQueue.Claim, inQueue.Detail, inQueue.More = DoClaim, mine.Name, mine.Note, mine.Others
	if is {
		inQueue.LookOnly, inQueue.Reason, inQueue.Message, inQueue.Until = true, shut.Reason, shut.Why, shut.Until
		inQueue.Detail, inQueue.More = "", also(f, gate.InQueue)
	} else {
		inQueue.More = joined(inQueue.More, also(f, 0))
	}
	return inQueue
}

// withSlot is the step of a node that holds a slot and has nothing done to it yet.
func withSlot(p Policy, r *api.Record, f Facts, mine Claim, inQueue Step) Step {
	inQueue.Asks |= gate.WithSlot | gate.WhileDraining
	if g, is := closed(f, gate.WithSlot|gate.WhileDraining); is { // it would be put back at once
		if g.GiveWay != "" {
			return Step{
				Do: DoRelease, Reason: api.ReasonReleased, GiveWay: g.GiveWay, Asks: inQueue.Asks,
				Message: fmt.Sprintf("released the %s for %s, which can make use of it; %s", mine.Title, g.GiveWay, g.Why),
			}
		}
		inQueue.Reason, inQueue.Message, inQueue.Until = g.Reason, g.Why+"; keeping the "+mine.Title, g.Until
		inQueue.More = also(f, gate.WithSlot|gate.WhileDraining)
		return inQueue
	}
	if _, is := unknown(f, inQueue.Asks); !is {
		inQueue.Asks |= gate.OnTurn
	}
	if _, is := closed(f, gate.OnTurn); is {
		return deferred(p, r, f, inQueue)
	}
	if g, is := unknown(f, inQueue.Asks); is {
		inQueue.Detail = fmt.Sprintf("holding the %s, waiting for the answer of gate %s", mine.Title, g.Name)
		return inQueue
	}
	if s, ok := claimRest(f, inQueue, notHeld); ok {
		return s
	}
	n := in(api.PhaseDraining, r, f)
	n.Deferrals = 0
	n.Cordoned, n.Protected, n.Hooked = !f.Node.Unschedulable, f.Node.Unprotected, leaves(p, n, f)
	return Step{Do: DoCordon, Reason: api.ReasonDraining, Message: drainWords(n, f), Record: n, Asks: inQueue.Asks}
}

// deferred is the step of a node that has its turn and cannot make use of it: the slot,
// which is given back next, is for whoever can.
func deferred(p Policy, r *api.Record, f Facts, inQueue Step) Step {
	g, _ := closed(f, gate.OnTurn)
	n := in(api.PhaseWaiting, r, f)
	n.Deferrals++
	pause := Pause(n.Deferrals)
	if !g.Until.IsZero() {
		// Not sooner: a gate that is always about to open would have the slot handed round.
		pause = min(pause, max(firstPause, g.Until.Sub(f.Now)))
	}
	if by := due(p, r, f); g.Soft && !by.IsZero() {
		pause = min(pause, f.due(by).Sub(f.Now)) // from then on it does not count any more
	}
	n.NotBefore = f.Now.Add(pause).UTC().Truncate(time.Second)
	n.Failure = &api.Failure{Reason: g.Reason, Message: g.Why}
	return Step{
		Do: DoWrite, Reason: g.Reason, Message: fmt.Sprintf("%s; giving the slot up; next try at %s", g.Why, n.NotBefore.Format(time.RFC3339)),
		More: also(f, gate.OnTurn), Record: n, Asks: inQueue.Asks,
	}
}

// undisturbed says whether nothing has been done to the node by its record.
func undisturbed(r *api.Record) bool {
	return r == nil || r.Phase == api.PhaseWaiting || r.Phase == api.PhaseQueued
}
