package decide

import (
	"fmt"
	"time"
)

// order writes ahead that the reboot is about to be ordered.
func order(p Policy, r *Record, f Facts, reason Reason, message string) Step {
	n := r.in(Rebooting, f.Now)
	n.Due, n.Level, n.SoftReboots, n.DrainSince = time.Time{}, "", nil, r.drainSince()
	if l := p.level(f); l != FullReboot {
		n.Level = l
	}
	if u := f.Boot.Userspace; u.Known {
		n.SoftReboots = &u.SoftReboots
	}
	n.Order = &Order{At: f.Now.UTC(), UptimeMillis: f.Uptime.Milliseconds(), By: f.Instance, Try: 1}
	if r.Order != nil {
		n.Order.Try = r.Order.Try + 1
	}
	return Step{Do: Write, Reason: reason, Message: message, Record: n}
}

// inhibited says whether somebody keeps the machine from shutting down: a package
// manager at work, for instance. systemd before 257 lets root pass over that; we do not.
func inhibited(f Facts) (why string, is bool) {
	if f.Shutdown.Inhibited == "" {
		return "", false
	}
	return "a reboot is inhibited by " + cut(f.Shutdown.Inhibited, maxWhy), true
}

// orderUnlessInhibited orders the reboot of a node that is ready for it. Where that is
// inhibited it waits for as long as a drain may take, whatever is configured to come
// then, and the node is put back.
func orderUnlessInhibited(p Policy, r *Record, f Facts, reason Reason, message string) Step {
	drained := "drained"
	switch {
	case !p.Drain:
		drained = "not drained, as configured"
	case reason == DrainTimedOut:
		drained = "not drained in time"
	}
	s := Step{Do: Wait, Reason: Blocked, Message: drained + "; waits for logind to say what inhibits a reboot"}
	why, is := inhibited(f)
	switch {
	case f.Hooks.Key == r.DrainKey() && f.Hooks.Running == PreReboot:
		return runHooks(PreReboot, reason)
	case is:
		s.Message = drained + "; " + why
	case !f.Shutdown.Pending:
		if s, ok := hooksFirst(p, r, f, PreReboot, reason); ok {
			return s
		}
		return order(p, r, f, reason, message)
	default:
		return s // it takes logind some seconds, whatever the time is
	}
	if p.DrainTimeout == 0 {
		return s
	}
	s.Until = drainEnd(p, r)
	if f.Now.Before(s.Until) {
		return s
	}
	return putBack(r, f, Blocked, fmt.Sprintf("%s, still %s after the drain began", s.Message, p.DrainTimeout))
}

func rebooting(p Policy, r *Record, f Facts) Step {
	if f.Boot.ID != r.BootID {
		return booted(r, f, "the machine has booted")
	}
	if softRebooted(r, f) {
		return softBooted(r, f)
	}
	s := ordering(p, r, f)
	// A command that fails is tried again: the node has to be drained then, too.
	accepted := s.Do != Spawn && (r.Order.Accepted || f.Child.Key == r.OrderKey() && f.Child.State == ChildSucceeded)
	s.Draining = p.Drain && r.Order.By == f.Instance && !accepted && s.Do != Restore
	return s
}

// ordering orders the reboot, and sees to it that it happens.
func ordering(p Policy, r *Record, f Facts) Step {
	remains := left(p, r, f)
	wait := Step{Do: Wait, Reason: RebootOrdered, Message: "the reboot was ordered", Detail: underWay(r, f), Until: f.Now.Add(remains)}
	if !r.Due.IsZero() {
		wait.Message = "the reboot was ordered; the machine has scheduled it for " + r.Due.Format(time.RFC3339)
	}
	state := f.Child.State
	if f.Child.Key != r.OrderKey() {
		state = ChildNone
	}

	if r.Order.By == f.Instance && state == ChildNone {
		return aboutToOrder(p, r, f)
	}
	if state == ChildFailed {
		return commandFailed(p, r, f)
	}
	if s, ok := accepted(r, f, state); ok {
		return s
	}
	if cancelled(r, f) {
		return putBack(r, f, RebootFailed, fmt.Sprintf("somebody cancelled the reboot that was scheduled for %s", r.Due.Format(time.RFC3339)))
	}
	if remains > 0 {
		return wait
	}
	if !r.Order.Accepted && state == ChildNone && r.Order.Try < maxTries {
		// An earlier start of the daemon died between writing the order and
		// learning what became of it. Had the command run, the machine would be
		// down by now: drain what has come since and order anew.
		n := r.in(Draining, f.Now)
		n.DrainSince = time.Time{}
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
	if d := underWay(r, f); d != "" {
		n.Failure.Message += "; " + d
	}
	return Step{Do: Write, Reason: RebootOverdue, Message: n.Failure.Message, Record: n}
}

// aboutToOrder is the step when the order is on record and the command is not spawned
// yet: the last look at everything that speaks against it.
func aboutToOrder(p Policy, r *Record, f Facts) Step {
	if f.Slot.State == SlotUnknown {
		return Step{Do: Wait, Reason: RebootOrdered, Message: "about to order the reboot", Detail: "looks up its own slot"}
	}
	if s, ok := undo(p, r, f); ok {
		return s
	}
	if s, ok := takeLease(p, f, Step{Reason: RebootOrdered, Message: "about to order the reboot"}, false); ok {
		return s
	}
	if f.Hooks.Key == r.DrainKey() && f.Hooks.Undoing {
		return hooksUndone(r, f)
	}
	why, is := inhibited(f)
	if !is {
		why, is = undrained(p, r, f)
	}
	if is {
		n := r.in(Draining, f.Now)
		n.Since, n.DrainSince, n.Order = r.drainSince(), time.Time{}, nil
		if r.Order.Try > 1 { // this try was not made
			o := *r.Order
			o.Try--
			n.Order = &o
		}
		return Step{Do: Write, Reason: Blocked, Message: why + "; continuing the drain", Record: n}
	}
	return Step{Do: Spawn, Reason: RebootOrdered, Message: "orders the " + string(ordered(r)), Level: ordered(r)}
}

// undrained says whether pods have come since the node was drained for this order, or
// may have.
func undrained(p Policy, r *Record, f Facts) (why string, is bool) {
	if !p.Drain || f.Drain.Key != r.DrainKey() || f.Drain.Done {
		return "", false
	}
	if p.OnDrainTimeout != Rollback && p.DrainTimeout > 0 && !f.Now.Before(drainEnd(p, r)) {
		return "", false // ordered with what is left
	}
	return "the node is not drained any more, as far as is known", true
}

// ordered is the level that the record's order is for.
func ordered(r *Record) Level {
	if r.Level == "" {
		return FullReboot
	}
	return r.Level
}

// softBooted is the step for a machine whose userspace, and no more, was begun anew
// since the order.
func softBooted(r *Record, f Facts) Step {
	if ordered(r) == SoftReboot {
		s := booted(r, f, "the machine has soft-rebooted")
		s.Record.Soft = true
		s.ClearRequest = false // the annotation asks for more, and so has come since
		return s
	}
	message := fmt.Sprintf("a %s was ordered, and the machine has only soft-rebooted: its kernel is the same", ordered(r))
	if r.Order.Try >= maxTries {
		return putBack(r, f, RebootFailed, message)
	}
	n := r.in(Draining, f.Now)
	n.SoftReboots, n.Due, n.DrainSince = nil, time.Time{}, time.Time{}
	return Step{Do: Write, Reason: RebootFailed, Message: message + "; begins again with the drain", Record: n}
}

// accepted notes that the order was given, for starts of the daemon to come: the
// command succeeded, or the machine has a reboot scheduled.
func accepted(r *Record, f Facts, state ChildState) (Step, bool) {
	scheduled := f.Shutdown.Kind != "" && !r.Due.Equal(f.Shutdown.At)
	if r.Order.Accepted && !scheduled || state != ChildSucceeded && !scheduled {
		return Step{}, false
	}
	n := *r
	o := *r.Order
	o.Accepted = true
	n.Order = &o
	message := "the reboot command succeeded; waits for the machine to go down"
	if scheduled {
		n.Due = f.Shutdown.At
		message = fmt.Sprintf("the machine has scheduled its %s for %s", f.Shutdown.Kind, n.Due.Format(time.RFC3339))
	}
	return Step{Do: Write, Reason: RebootOrdered, Message: message, Record: &n}, true
}

// cancelMargin is how long before its time a scheduled reboot that is gone counts as
// cancelled: later it may be about to happen.
const cancelMargin = 10 * time.Second

// cancelled says whether a reboot that was scheduled is not any more.
func cancelled(r *Record, f Facts) bool {
	known := !f.Shutdown.Pending && f.Shutdown.Known
	return known && f.Shutdown.Kind == "" && !f.Shutdown.Preparing && f.Now.Add(cancelMargin).Before(r.Due)
}

// underWay says what the machine makes of the order.
func underWay(r *Record, f Facts) string {
	switch {
	case f.Shutdown.Preparing:
		return "the machine is preparing to go down, and waits for those who have asked it to"
	case f.Shutdown.Kind != "":
		return fmt.Sprintf("its %s is scheduled for %s", f.Shutdown.Kind, f.Shutdown.At.Format(time.RFC3339))
	case f.Shutdown.Known && r.Order.Accepted && r.Due.IsZero():
		return "logind knows of no reboot"
	default:
		return ""
	}
}

// left is how much is left of the time within which the machine must go down.
func left(p Policy, r *Record, f Facts) time.Duration {
	ordered := time.Duration(r.Order.UptimeMillis) * time.Millisecond
	remains := min(p.RebootTimeout, ordered+p.RebootTimeout-f.Uptime)
	if r.Due.IsZero() {
		return remains
	}
	// Its own schedule is kept by the clock, which may have been set: as long as it is
	// there the machine has not forgotten it.
	return max(remains, r.Due.Sub(f.Now)+p.RebootTimeout)
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
	return order(p, r, f, RebootFailed, message)
}
