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
	if f.Boot.ID == r.BootID && r.Annotated != f.Request.Annotated && f.Request.Wanted {
		n := *r
		n.Annotated = f.Request.Annotated
		return Step{Do: Write, Reason: RebootRequested, Message: "a reboot is asked for: " + f.Request.Why, Record: &n}
	}
	s := inPhase(p, r, f)
	if s.Do == Restore {
		s.Uncordon = ourCordon(r, f)
		if s.Record != nil {
			s.Record.Protected = nil
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
	case f.Slot.State == SlotHeld:
		return Step{Do: Release, Reason: Released, Message: "gave up " + f.Slot.Name}
	case f.Request.Wanted:
		r := &Record{
			V: Schema, ID: operationID(f), Phase: Queued, Since: f.Now.UTC(),
			BootID: f.Boot.ID, Requested: f.Now.UTC(), Request: f.Request.Why, Annotated: f.Request.Annotated, Lock: p.Lock,
		}
		if _, _, ok := closed(f); ok {
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
	reason, why, shut := closed(f)
	switch {
	case f.Slot.State == SlotHeld:
		return Step{Do: Release, Reason: Released, Message: "gave up " + f.Slot.Name}
	case f.Boot.ID != r.BootID:
		return rebootedOtherwise(r)
	case !f.Request.Wanted:
		return Step{Do: Write, Reason: Cancelled, Message: "the request for a reboot was withdrawn"}
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
	default:
		n := r.in(Queued, f.Now)
		n.Lock = p.Lock
		return Step{Do: Write, Reason: InQueue, Message: "waits for a slot", Record: n}
	}
}

func queued(p Policy, r *Record, f Facts) Step {
	reason, why, shut := closed(f)
	switch {
	case f.Boot.ID != r.BootID:
		return rebootedOtherwise(r)
	case !f.Request.Wanted:
		return Step{Do: Write, Reason: Cancelled, Message: "the request for a reboot was withdrawn"}
	case shut:
		return Step{Do: Write, Reason: reason, Message: why, Record: r.in(Waiting, f.Now)}
	case f.Slot.State == SlotUnknown:
		return Step{Do: Wait, Reason: InQueue, Message: "waits for a slot", Detail: "looks up its own slot"}
	case f.Slot.State == SlotHeld && f.Slot.Paused != "":
		return Step{Do: Release, Reason: Paused, Message: pausedMessage(f)}
	case f.Slot.Paused != "":
		return Step{Do: Acquire, Reason: Paused, Message: pausedMessage(f)}
	case f.Slot.State != SlotHeld:
		return Step{Do: Acquire, Reason: InQueue, Message: "waits for a slot", Detail: f.Slot.Note}
	case p.MaxUnavailable.IsSet() && f.Room.Key != r.DrainKey():
		return Step{Do: Count, Reason: InQueue, Message: "waits for a slot", Detail: "holds one, counts the nodes that are unavailable"}
	case p.MaxUnavailable.IsSet() && !f.Room.OK:
		// The slot is given up meanwhile: another node may be allowed to go.
		n := r.in(Waiting, f.Now)
		n.NotBefore = f.Now.Add(firstPause).UTC().Truncate(time.Second)
		n.Failure = &Failure{Reason: Blocked, Message: cut(f.Room.Why, maxWhy)}
		return Step{Do: Write, Reason: Blocked, Message: f.Room.Why, Record: n}
	default:
		n := r.in(Draining, f.Now)
		n.Cordoned = !f.Node.Unschedulable
		n.Protected = f.Node.Unprotected
		m := "cordoned by rebootd"
		if !n.Cordoned {
			m = "was cordoned already and will stay so"
		}
		return Step{Do: Cordon, Reason: DrainStarted, Message: m + "; draining under " + f.Slot.Name, Record: n}
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

// closed says whether a gate of the node's own is closed: people want it left
// alone, or others are at work on it.
func closed(f Facts) (reason Reason, why string, shut bool) {
	switch {
	case f.Held && f.Hold == "":
		return Held, "held by the annotation rebootd.dev/hold", true
	case f.Held:
		return Held, "held: " + cut(f.Hold, maxWhy), true
	case f.Others != "":
		return Blocked, cut(f.Others, maxWhy), true
	default:
		return "", "", false
	}
}

func pausedMessage(f Facts) string { return "paused: " + cut(f.Slot.Paused, maxWhy) }

// undo puts the node back if the operation has to be given up for a reason that
// the drain and the order to reboot share.
func undo(r *Record, f Facts) (Step, bool) {
	reason, why, shut := closed(f)
	switch {
	case f.Slot.State == SlotNone || f.Slot.State == SlotGone:
		m := "the slot was taken away"
		if f.Slot.Note != "" {
			m += ": " + f.Slot.Note
		}
		return putBack(r, f, SlotLost, m), true
	case !f.Request.Wanted:
		return Step{Do: Restore, Reason: Cancelled, Message: "the request for a reboot was withdrawn; the node is put back"}, true
	case shut:
		n := r.in(Waiting, f.Now)
		n.Cordoned, n.Order = false, nil
		return Step{Do: Restore, Reason: reason, Message: why + "; the node is put back", Record: n}, true
	case f.Slot.Paused != "":
		n := r.in(Waiting, f.Now)
		n.Cordoned, n.Order = false, nil
		return Step{Do: Restore, Reason: Paused, Message: pausedMessage(f) + "; the node is put back", Record: n}, true
	case !f.Node.Unschedulable, r.Cordoned && !ourCordon(r, f):
		return putBack(r, f, CordonLost, "somebody uncordoned the node"), true
	}
	return Step{}, false
}

// putBack undoes a failed attempt and has it tried again after a pause.
func putBack(r *Record, f Facts, reason Reason, message string) Step {
	n := r.in(Waiting, f.Now)
	n.Cordoned, n.Order = false, nil
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
	if s, ok := undo(r, f); ok {
		return s
	}
	ours := f.Drain.Key == r.DrainKey()
	if !p.Drain {
		return order(r, f, Drained, "not drained, as configured")
	}
	if ours && f.Drain.Done {
		return order(r, f, Drained, f.Drain.Summary)
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
	end := r.Since.Add(p.DrainTimeout)
	if p.OnDrainTimeout == Force {
		s.Deadline = end
		end = end.Add(forceMargin)
	}
	if f.Now.Before(end) {
		s.Until = end
		if s.Reason == DrainBlocked && !s.Deadline.IsZero() {
			s.Message += "; what is left is deleted so as to end by " + s.Deadline.UTC().Format(time.RFC3339)
		}
		return s
	}
	message := fmt.Sprintf("not drained after %s", p.DrainTimeout)
	if ours && f.Drain.Summary != "" {
		message += ": " + f.Drain.Summary
	}
	switch p.OnDrainTimeout {
	case Reboot:
		return order(r, f, DrainTimedOut, message+"; reboots with what is left")
	case Force:
		return order(r, f, DrainTimedOut, message+"; some pods did not end even when deleted; reboots with them")
	default:
		return putBack(r, f, DrainTimedOut, message)
	}
}

// order writes ahead that the reboot is about to be ordered.
func order(r *Record, f Facts, reason Reason, message string) Step {
	n := r.in(Rebooting, f.Now)
	n.Order = &Order{At: f.Now.UTC(), UptimeMillis: f.Uptime.Milliseconds(), By: f.Instance, Try: 1}
	if r.Order != nil {
		n.Order.Try = r.Order.Try + 1
	}
	return Step{Do: Write, Reason: reason, Message: message, Record: n}
}

func rebooting(p Policy, r *Record, f Facts) Step {
	if f.Boot.ID != r.BootID {
		return booted(r, f, "the machine has booted")
	}
	remains := left(p, r, f)
	wait := Step{Do: Wait, Reason: RebootOrdered, Message: "the reboot was ordered", Until: f.Now.Add(remains)}
	state := f.Child.State
	if f.Child.Key != r.OrderKey() {
		state = ChildNone
	}

	if r.Order.By == f.Instance && state == ChildNone {
		if f.Slot.State == SlotUnknown {
			return Step{Do: Wait, Reason: RebootOrdered, Message: "about to order the reboot", Detail: "looks up its own slot"}
		}
		if s, ok := undo(r, f); ok {
			return s
		}
		return Step{Do: Spawn, Reason: RebootOrdered, Message: "orders the reboot"}
	}
	if state == ChildFailed {
		return commandFailed(r, f)
	}
	if state == ChildSucceeded && !r.Order.Accepted {
		n := *r
		o := *r.Order
		o.Accepted = true
		n.Order = &o
		return Step{Do: Write, Reason: RebootOrdered, Message: "the reboot command succeeded; waits for the machine to go down", Record: &n}
	}
	if remains > 0 {
		return wait
	}
	if !r.Order.Accepted && state == ChildNone && r.Order.Try < maxTries {
		// An earlier start of the daemon died between writing the order and
		// learning what became of it. Had the command run, the machine would be
		// down by now: drain what has come since and order anew.
		n := r.in(Draining, f.Now)
		return Step{
			Do: Write, Reason: DrainStarted, Record: n,
			Message: fmt.Sprintf("the order of %s came to nothing; begins again with the drain", r.Order.At.UTC().Format(time.RFC3339)),
		}
	}
	n := r.in(Halted, f.Now)
	n.Failure = &Failure{
		Reason:  RebootOverdue,
		Message: fmt.Sprintf("the reboot was ordered at %s and the machine is still up after %s", r.Order.At.UTC().Format(time.RFC3339), p.RebootTimeout),
	}
	return Step{Do: Write, Reason: RebootOverdue, Message: n.Failure.Message, Record: n}
}

// left is how much is left of the time within which the machine must go down.
func left(p Policy, r *Record, f Facts) time.Duration {
	ordered := time.Duration(r.Order.UptimeMillis) * time.Millisecond
	return min(p.RebootTimeout, ordered+p.RebootTimeout-f.Uptime)
}

func commandFailed(r *Record, f Facts) Step {
	if r.Order.Try >= maxTries {
		return putBack(r, f, RebootFailed, fmt.Sprintf("the reboot command failed %d times: %s", r.Order.Try, f.Child.Problem))
	}
	message := fmt.Sprintf("the reboot command failed: %s; tries again", f.Child.Problem)
	if again := f.Child.Ended.Add(tryPause); f.Now.Before(again) {
		return Step{Do: Wait, Reason: RebootFailed, Message: message, Until: again}
	}
	if s, ok := undo(r, f); ok {
		return s
	}
	return order(r, f, RebootFailed, message)
}

// booted begins the verification: the boot ID of the record is no longer the
// machine's.
func booted(r *Record, f Facts, message string) Step {
	n := r.in(Verifying, f.Now)
	n.Failure, n.Annotated = nil, false
	return Step{
		Do: Write, Reason: VerifyStarted, Record: n, ClearRequest: r.Annotated,
		Message: fmt.Sprintf("%s: boot %s; waits for the node to be healthy", message, f.Boot.ID),
	}
}

func verifying(p Policy, r *Record, f Facts) Step {
	if f.Boot.ID == r.BootID {
		return sameBoot()
	}
	if s, ok := passed(p, r, f); ok {
		return s
	}
	limit := bootTime(r, f).Add(p.HealthTimeout)
	if !f.Now.Before(limit) {
		n := r.in(Halted, f.Now)
		n.Failure = &Failure{Reason: Unhealthy, Message: fmt.Sprintf("not healthy %s after the boot: %s", p.HealthTimeout, ailing(f))}
		return Step{Do: Write, Reason: Unhealthy, Message: n.Failure.Message, Record: n}
	}
	s := Step{Do: Wait, Reason: VerifyStarted, Message: "waits for the node to be healthy", Detail: ailing(f), Until: limit}
	if !f.HealthySince.IsZero() {
		s.Message = fmt.Sprintf("healthy; must stay so for %s", p.Settle)
		s.Until = earlier(limit, f.HealthySince.Add(p.Settle))
	}
	return s
}

// sameBoot is the step for a record of what comes after a boot, on the boot from
// before: only somebody's hand can have written it.
func sameBoot() Step {
	return Step{Do: Wait, Reason: RecordInvalid, Message: "the record says that the machine has been rebooted, and its boot ID says that it has not: hands off"}
}

// passed ends the operation when the node is and stays healthy.
func passed(p Policy, r *Record, f Facts) (Step, bool) {
	if r.Cordoned && !ourCordon(r, f) {
		// The cordon is gone, so it is no longer ours to remove; one that comes
		// later is somebody else's.
		n := *r
		n.Cordoned = false
		return Step{Do: Write, Reason: Uncordoned, Message: "somebody uncordoned the node", Record: &n}, true
	}
	if f.HealthySince.IsZero() || f.Now.Before(f.HealthySince.Add(p.Settle)) {
		return Step{}, false
	}
	return Step{Do: Restore, Reason: RebootVerified, Message: fmt.Sprintf("rebooted: boot %s follows %s, the node is healthy", f.Boot.ID, r.BootID)}, true
}

// bootTime is when the boot that is verified began; the clock may have been
// wrong then, and in that case it is when we noticed.
func bootTime(r *Record, f Facts) time.Time {
	if f.Boot.Time.After(f.Now) || r.Order != nil && f.Boot.Time.Before(r.Order.At.Truncate(time.Second)) {
		return r.Since
	}
	return f.Boot.Time
}

func ailing(f Facts) string {
	if f.HealthySince.IsZero() {
		return f.Ailing
	}
	return "healthy, but not for long enough"
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func halted(p Policy, r *Record, f Facts) Step {
	if r.Failure.Reason == RebootOverdue {
		if f.Boot.ID != r.BootID {
			return booted(r, f, "the machine has booted at last")
		}
		return Step{Do: Wait, Reason: RebootOverdue, Message: r.Failure.Message}
	}
	if f.Boot.ID == r.BootID {
		return sameBoot()
	}
	if s, ok := passed(p, r, f); ok {
		return s
	}
	s := Step{Do: Wait, Reason: Unhealthy, Message: r.Failure.Message, Detail: ailing(f)}
	if !f.HealthySince.IsZero() {
		s.Until = f.HealthySince.Add(p.Settle)
	}
	return s
}
