package decide

import (
	"fmt"
	"time"
)

const (
	// maxTries is how often a reboot command that fails is tried in one attempt.
	maxTries = 3
	// tryPause lies between two tries.
	tryPause = 10 * time.Second
	// The pause after a failed attempt doubles from firstPause to lastPause, so
	// that a node that cannot be drained does not keep moving its pods about.
	firstPause = time.Minute
	lastPause  = 30 * time.Minute
	// forceMargin is how long after a forced drain's time limit, by which every
	// grace period is over, kubelets may take to say that the pods have ended.
	forceMargin = 30 * time.Second
)

// Next decides what is to be done. r is the record on the Node, nil when there
// is none.
func Next(p Policy, r *Record, f Facts) Step {
	if f.Boot.ID == "" {
		return Step{Do: Wait, Reason: Blocked, Message: "the boot ID cannot be read: " + f.Boot.Problem}
	}
	if r == nil {
		return idle(p, f)
	}
	if !anew(r, f) && r.Annotated != f.Request.Annotated && f.Request.Wanted {
		n := *r
		n.Annotated = f.Request.Annotated
		return Step{Do: Write, Reason: RebootRequested, Message: "a reboot is asked for: " + f.Request.Why, Record: &n}
	}
	s := inPhase(p, r, f)
	if s.Do == Restore {
		s = undoHooksFirst(p, r, f, s)
	}
	if s.Do == Restore {
		s.Uncordon = ourCordon(r, f)
		if s.Record != nil {
			s.Record.Protected, s.Record.Hooked = nil, false
		}
	}
	return s
}

func inPhase(p Policy, r *Record, f Facts) Step {
	switch r.Phase {
	case Waiting:
		return waiting(p, r, f)
	case Queued:
		return queued(p, r, f)
	case Draining:
		return draining(p, r, f)
	case Rebooting:
		return rebooting(p, r, f)
	case Verifying:
		return verifying(p, r, f)
	default:
		return halted(p, r, f)
	}
}

// ourCordon says whether the node has the cordon that the operation has set: one
// that was removed and set again by somebody else is theirs.
func ourCordon(r *Record, f Facts) bool {
	return r.Cordoned && f.Node.Unschedulable && !f.Node.Foreign
}

func idle(p Policy, f Facts) Step {
	switch {
	case holds(f):
		return giveUp(f)
	case f.Request.Wanted:
		r := &Record{
			V: Schema, ID: operationID(f), Phase: Queued, Since: f.Now.UTC(),
			BootID: f.Boot.ID, Requested: f.Now.UTC(), Request: f.Request.Why, Annotated: f.Request.Annotated, Lock: p.Lock,
		}
		if _, _, ok := closed(p, f); ok {
			r.Phase = Waiting
		}
		return Step{Do: Write, Reason: RebootRequested, Message: "a reboot is asked for: " + f.Request.Why, Record: r}
	default:
		return Step{Do: Wait, Reason: NotRequired, Message: "no reboot is asked for"}
	}
}

// operationID names an operation: unique to the node, since one node starts no
// two operations in one instant, and in the order of time for people.
func operationID(f Facts) string {
	boot := f.Boot.ID
	return fmt.Sprintf("%s-%s", f.Now.UTC().Format("20060102T150405.000"), boot[:min(8, len(boot))])
}

func waiting(p Policy, r *Record, f Facts) Step {
	reason, why, shut := closed(p, f)
	_, barred := leaseBars(p, f)
	switch {
	case holds(f):
		return giveUp(f)
	case f.Boot.ID != r.BootID:
		return rebootedOtherwise(r)
	case !f.Request.Wanted:
		return Step{Do: Write, Reason: Cancelled, Message: "the request for a reboot was withdrawn"}
	case barred && !f.Held && f.Others == "":
		return lookAgain(f, Step{Do: Wait, Reason: reason, Message: why})
	case shut:
		return Step{Do: Wait, Reason: reason, Message: why}
	case f.Now.Before(r.NotBefore):
		s := Step{
			Do: Wait, Reason: Blocked, Message: "tries again at " + r.NotBefore.UTC().Format(time.RFC3339),
			Until: r.NotBefore,
		}
		if r.Failure != nil {
			s.Reason, s.Message = r.Failure.Reason, r.Failure.Message+"; "+s.Message
		}
		return s
	case p.NodeLease.inUse() && f.NodeLease.State == LeaseLost:
		return Step{Do: Look, Reason: InQueue, Message: "waits for a slot", Detail: "looks first who has the node now"}
	default:
		n := r.in(Queued, f.Now)
		n.Lock = p.Lock
		return Step{Do: Write, Reason: InQueue, Message: "waits for a slot", Record: n}
	}
}

func queued(p Policy, r *Record, f Facts) Step {
	reason, why, shut := closed(p, f)
	inQueue := Step{Do: Wait, Reason: InQueue, Message: "waits for a slot"}
	switch {
	case f.Boot.ID != r.BootID:
		return rebootedOtherwise(r)
	case !f.Request.Wanted:
		return Step{Do: Write, Reason: Cancelled, Message: "the request for a reboot was withdrawn"}
	case shut:
		return Step{Do: Write, Reason: reason, Message: why, Record: r.in(Waiting, f.Now)}
	case f.Slot.State == SlotUnknown:
		return Step{Do: Wait, Reason: InQueue, Message: "waits for a slot", Detail: "looks up its own slot"}
	case f.Slot.State != SlotHeld && f.NodeLease.State == LeaseHeld:
		// Nobody else could work on the node for as long as it waits.
		return giveUp(f)
	case f.Slot.State == SlotHeld && f.Slot.Paused != "":
		return Step{Do: Release, Reason: Paused, Message: pausedMessage(f)}
	case f.Slot.Paused != "":
		return Step{Do: Acquire, Reason: Paused, Message: pausedMessage(f)}
	case f.Slot.State == SlotHeld && f.Shutdown.Pending:
		return Step{Do: Wait, Reason: InQueue, Message: "waits for a slot", Detail: "holds one, asks logind what inhibits a reboot"}
	case f.Slot.State != SlotHeld:
		return Step{Do: Acquire, Reason: InQueue, Message: "waits for a slot", Detail: f.Slot.Note}
	case p.MaxUnavailable.IsSet():
		if s, ok := awaitRoom(r, f); ok {
			return s
		}
	}
	if s, ok := takeLease(p, f, inQueue, false); ok {
		return s
	}
	n := r.in(Draining, f.Now)
	n.Cordoned = !f.Node.Unschedulable
	n.Protected, n.Hooked = f.Node.Unprotected, p.Hooks
	m := "cordoned by rebootd"
	if !n.Cordoned {
		m = "was cordoned already and will stay so"
	}
	return Step{Do: Cordon, Reason: DrainStarted, Message: m + "; draining under " + f.Slot.Name, Record: n}
}

// roomAge is for how long it is believed that there is room.
const roomAge = 10 * time.Second

// awaitRoom is the step of a node that holds a slot as long as the limit of
// unavailable nodes is not known to leave room for it. It keeps the slot: it goes on as
// soon as there is room, and others would find none either. But it gives way to one
// that is unavailable already, and so needs none.
func awaitRoom(r *Record, f Facts) (Step, bool) {
	counted := f.Room.Key == r.DrainKey()
	switch {
	case !counted || f.Room.OK && !f.Now.Before(f.Room.At.Add(roomAge)):
		return Step{Do: Count, Reason: InQueue, Message: "waits for a slot", Detail: "holds one, counts the nodes that are unavailable"}, true
	case f.Room.OK:
		return Step{}, false
	case len(f.Room.Way) > 0:
		return Step{Do: Release, Reason: Released, Message: fmt.Sprintf("gave %s to %s, which is unavailable already; %s", f.Slot.Name, f.Room.Way[0], f.Room.Why)}, true
	default:
		return Step{Do: Count, Reason: Blocked, Message: f.Room.Why + "; keeps " + f.Slot.Name + " meanwhile"}, true
	}
}

// rebootedOtherwise ends an operation that another reboot has overtaken before
// anything was done for it.
func rebootedOtherwise(r *Record) Step {
	return Step{
		Do: Write, Reason: Cancelled, ClearRequest: r.Annotated,
		Message: "the machine has been rebooted by other means",
	}
}

// closed says whether a node that has nothing done to it is to be left alone: a gate
// of its own is closed, or the machine would refuse to reboot.
func closed(p Policy, f Facts) (reason Reason, why string, shut bool) {
	if reason, why, shut = gates(p, f); shut {
		return reason, why, shut
	}
	why, shut = inhibited(f)
	return Blocked, why, shut
}

// gates says whether a gate of the node's own is closed: people want it left alone, or
// others are at work on it.
func gates(p Policy, f Facts) (reason Reason, why string, shut bool) {
	lease, barred := leaseBars(p, f)
	switch {
	case f.Held && f.Hold == "":
		return Held, "held by the annotation rebootd.dev/hold", true
	case f.Held:
		return Held, "held: " + cut(f.Hold, maxWhy), true
	case f.Others != "":
		return Blocked, cut(f.Others, maxWhy), true
	case barred:
		return Blocked, cut(lease, maxWhy), true
	default:
		return "", "", false
	}
}

func pausedMessage(f Facts) string { return "paused: " + cut(f.Slot.Paused, maxWhy) }

// undo puts the node back if the operation has to be given up for a reason that
// the drain and the order to reboot share.
func undo(p Policy, r *Record, f Facts) (Step, bool) {
	reason, why, shut := gates(p, f)
	switch {
	case f.Slot.State == SlotNone || f.Slot.State == SlotGone:
		m := "the slot was taken away"
		if f.Slot.Note != "" {
			m += ": " + f.Slot.Note
		}
		return putBack(r, f, SlotLost, m), true
	case p.NodeLease.inUse() && (f.NodeLease.State == LeaseLost || f.NodeLease.State == LeaseForeign):
		return putBack(r, f, NodeLeaseLost, f.NodeLease.Why), true
	case !f.Request.Wanted:
		return Step{Do: Restore, Reason: Cancelled, Message: "the request for a reboot was withdrawn; the node is put back"}, true
	case shut:
		n := r.in(Waiting, f.Now)
		n.forgetOrder()
		return Step{Do: Restore, Reason: reason, Message: why + "; the node is put back", Record: n}, true
	case f.Slot.Paused != "":
		n := r.in(Waiting, f.Now)
		n.forgetOrder()
		return Step{Do: Restore, Reason: Paused, Message: pausedMessage(f) + "; the node is put back", Record: n}, true
	case !f.Node.Unschedulable, r.Cordoned && !ourCordon(r, f):
		return putBack(r, f, CordonLost, "somebody uncordoned the node"), true
	}
	return Step{}, false
}

// forgetOrder is for a record of a node that is put back.
func (r *Record) forgetOrder() {
	r.Cordoned, r.Order, r.DrainSince, r.Due, r.Level, r.SoftReboots = false, nil, time.Time{}, time.Time{}, "", nil
}

// putBack undoes a failed attempt and has it tried again after a pause.
func putBack(r *Record, f Facts, reason Reason, message string) Step {
	n := r.in(Waiting, f.Now)
	n.forgetOrder()
	n.Attempts++
	n.NotBefore = f.Now.Add(pause(n.Attempts)).UTC().Truncate(time.Second)
	n.Failure = &Failure{Reason: reason, Message: cut(message, 4*maxWhy)}
	return Step{Do: Restore, Reason: reason, Message: message + "; the node is put back", Record: n}
}

func pause(attempts int) time.Duration {
	d := firstPause
	for range attempts - 1 {
		if d *= 2; d >= lastPause {
			return lastPause
		}
	}
	return d
}

func draining(p Policy, r *Record, f Facts) Step {
	if f.Boot.ID != r.BootID {
		return booted(r, f, "the machine has been rebooted during the drain")
	}
	if f.Slot.State == SlotUnknown {
		return Step{Do: Wait, Reason: DrainStarted, Message: "draining", Detail: "looks up its own slot"}
	}
	if s, ok := undo(p, r, f); ok {
		return s
	}
	if s, ok := takeLease(p, f, Step{Reason: DrainStarted, Message: "draining"}, false); ok {
		return s
	}
	if s, ok := hooksFirst(p, r, f, PreDrain, DrainStarted); ok {
		return s
	}
	if !p.Drain {
		return orderUnlessInhibited(p, r, f, Drained, "not drained, as configured")
	}
	s := drainOrOrder(p, r, f)
	if s.Do != Restore {
		// Until the order pods may come: what was drained minutes ago may not be any more.
		s.Draining = true
		if p.OnDrainTimeout == Force && p.DrainTimeout > 0 {
			s.Deadline = r.drainSince().Add(p.DrainTimeout)
		}
	}
	return s
}

// drainOrOrder drains the node, and orders the reboot when it is drained.
func drainOrOrder(p Policy, r *Record, f Facts) Step {
	ours := f.Drain.Key == r.DrainKey()
	overdue := p.DrainTimeout > 0 && !f.Now.Before(drainEnd(p, r))
	switch {
	case ours && f.Drain.Done:
		return orderUnlessInhibited(p, r, f, Drained, f.Drain.Summary)
	case f.Hooks.Key == r.DrainKey() && f.Hooks.Running == PreReboot && overdue:
		return runHooks(PreReboot, DrainTimedOut)
	case f.Hooks.Key == r.DrainKey() && f.Hooks.Running == PreReboot:
		return runHooks(PreReboot, DrainStarted)
	}
	s := Step{Do: Evict, Reason: DrainStarted, Message: "draining"}
	if ours {
		s.Detail = f.Drain.Detail
	}
	if ours && f.Drain.Blocked > 0 {
		s.Reason, s.Message = DrainBlocked, f.Drain.Summary
	}
	if p.DrainTimeout == 0 {
		return s
	}
	if !overdue {
		s.Until = drainEnd(p, r)
		if s.Reason == DrainBlocked && p.OnDrainTimeout == Force {
			s.Message += "; what is left is deleted so as to end by " + r.drainSince().Add(p.DrainTimeout).UTC().Format(time.RFC3339)
		}
		return s
	}
	message := fmt.Sprintf("not drained after %s", p.DrainTimeout)
	if ours && f.Drain.Summary != "" {
		message += ": " + f.Drain.Summary
	}
	switch p.OnDrainTimeout {
	case Reboot:
		return orderUnlessInhibited(p, r, f, DrainTimedOut, message+"; reboots with what is left")
	case Force:
		return orderUnlessInhibited(p, r, f, DrainTimedOut, message+"; some pods did not end even when deleted; reboots with them")
	default:
		return putBack(r, f, DrainTimedOut, message)
	}
}

// drainEnd is when a drain has taken too long.
func drainEnd(p Policy, r *Record) time.Time {
	end := r.drainSince().Add(p.DrainTimeout)
	if p.OnDrainTimeout == Force {
		end = end.Add(forceMargin)
	}
	return end
}
