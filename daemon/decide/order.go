package decide

import (
	"fmt"
	"time"
)

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
		if s, ok := undo(p, r, f); ok {
			return s
		}
		if s, ok := takeLease(p, f, Step{Reason: RebootOrdered, Message: "about to order the reboot"}, false); ok {
			return s
		}
		return Step{Do: Spawn, Reason: RebootOrdered, Message: "orders the reboot"}
	}
	if state == ChildFailed {
		return commandFailed(p, r, f)
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

func commandFailed(p Policy, r *Record, f Facts) Step {
	if r.Order.Try >= maxTries {
		return putBack(r, f, RebootFailed, fmt.Sprintf("the reboot command failed %d times: %s", r.Order.Try, f.Child.Problem))
	}
	message := fmt.Sprintf("the reboot command failed: %s; tries again", f.Child.Problem)
	if again := f.Child.Ended.Add(tryPause); f.Now.Before(again) {
		return Step{Do: Wait, Reason: RebootFailed, Message: message, Until: again}
	}
	if s, ok := undo(p, r, f); ok {
		return s
	}
	return order(r, f, RebootFailed, message)
}
