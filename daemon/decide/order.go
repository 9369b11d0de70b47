package decide

import (
	"cmp"
	"fmt"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

const (
	// maxTries is how often a reboot command that fails is tried in one attempt.
	maxTries = 3
	// tryPause lies between two tries.
	tryPause = 10 * time.Second
	// orderAge is how old an order may be when its command is spawned: the time within
	// which the machine must go down counts from the order.
	orderAge = time.Minute
)

// order writes ahead that the reboot is about to be ordered.
func order(p Policy, r *api.Record, f Facts, reason api.Reason, message string) Step {
	n := in(api.PhaseRebooting, r, f)
	n.Due, n.Level, n.SoftReboots, n.DrainSince = time.Time{}, "", nil, r.DrainBegan()
	l, more := p.level(f)
	if l != api.FullReboot {
		n.Level = l
	}
	if more != "" {
		message += "; " + more
	}
	if u := f.Boot.Userspace; u.Known {
		n.SoftReboots = &u.SoftReboots
	}
	n.Order = newOrder(f, 1)
	if r.Order != nil {
		n.Order.Try = r.Order.Try + 1
	}
	return Step{Do: DoWrite, Reason: reason, Message: message, Record: n}
}

func newOrder(f Facts, try int) *api.Order {
	return &api.Order{At: f.Now.UTC(), UptimeMillis: f.Uptime.Milliseconds(), By: f.Instance, Try: try}
}

// spawned says whether the command for the record's order may have been spawned.
func spawned(r *api.Record, f Facts) bool {
	return r.Order.By != f.Instance || f.Child.of(r) != ChildNone
}

func rebooting(p Policy, r *api.Record, f Facts) Step {
	if f.Boot.ID != r.BootID {
		return booted(r, f, false, "")
	}
	if softRebooted(r, f) && ordered(r) == api.SoftReboot {
		return softBooted(r, f)
	}
	undoing := r.Undoing() != nil
	if goingDown(f) && (undoing || !spawned(r, f) || softRebooted(r, f)) {
		return awaitBoot(Step{Asks: gate.WhileDraining | gate.BeforeOrder})
	}
	if undoing {
		return rollBack(p, r, f, *r.Undoing())
	}
	if softRebooted(r, f) {
		return onlySoftBooted(p, r, f)
	}
	if !spawned(r, f) {
		return aboutToOrder(p, r, f)
	}
	s := orderGiven(p, r, f)
	// A command that fails is tried again: the node has to be drained then, too.
	_, drains := lasting(p)
	accepted := r.Order.Accepted || f.Child.of(r) == ChildSucceeded
	s.KeepUp = drains && r.Order.By == f.Instance && !accepted && !turnsBack(s)
	if s.KeepUp || f.Child.of(r) == ChildFailed {
		s.Asks = gate.WhileDraining | gate.BeforeOrder
	}
	return s
}

// orderGiven sees to it that a reboot that was ordered happens. That the machine goes
// down, or is going to, is accepted before anything that speaks against it is judged:
// a command may fail because somebody else's was first.
func orderGiven(p Policy, r *api.Record, f Facts) Step {
	remains, state := left(p, r, f), f.Child.of(r)
	wait := Step{Do: DoWait, Reason: api.ReasonRebooting, Message: orderedWords(r), Detail: underWay(r, f), Until: f.Now.Add(remains)}
	if !r.Order.Accepted && r.Order.By == f.Instance {
		wait.Message = orderingWords(r)
	}
	if f.Abort.Asked {
		wait = abortOrdered(p, r, f, wait)
	}
	switch {
	case goingDown(f) && !r.Order.Accepted:
		return accepted(r, "the machine is going down")
	case goingDown(f) && remains > 0:
		return wait
	case scheduled(f) && (!r.Order.Accepted || !r.Due.Equal(f.Shutdown.At)):
		n := r.Clone()
		n.Due = f.Shutdown.At
		return accepted(n, fmt.Sprintf("the machine has scheduled its %s for %s", f.Shutdown.Kind, f.Shutdown.At.Format(time.RFC3339)))
	case cancelled(r, f) && f.Abort.Asked:
		u, _ := aborted(f)
		return back(p, r, f, u)
	case cancelled(r, f):
		return back(p, r, f, api.Undo{Reason: api.ReasonRebootFailed, Message: fmt.Sprintf("somebody cancelled the reboot that was scheduled for %s", r.Due.Format(time.RFC3339)), Failed: true})
	case state == ChildFailed && r.Due.IsZero() && !goingDown(f):
		return commandFailed(p, r, f)
	case state == ChildSucceeded && !r.Order.Accepted:
		return accepted(r, "the reboot command succeeded")
	case remains > 0:
		return wait
	case !r.Order.Accepted && state == ChildNone && r.Order.Try < maxTries && !mayBeSoftRebooted(r, f):
		// An earlier start of the daemon died between writing the order and
		// learning what became of it. Had the command run, the machine would be
		// down by now: drain what has come since and order anew.
		return drainAgain(r, f, api.ReasonDraining, fmt.Sprintf("the reboot ordered at %s did not happen; draining again", r.Order.At.UTC().Format(time.RFC3339)))
	}
	n := in(api.PhaseHalted, r, f)
	n.Failure = &api.Failure{
		Reason:  api.ReasonRebootOverdue,
		Message: fmt.Sprintf("the reboot was ordered at %s and the machine is still up after %s", r.Order.At.UTC().Format(time.RFC3339), p.RebootTimeout),
	}
	if d := underWay(r, f); d != "" {
		n.Failure.Message += "; " + d
	}
	s := halts(p, f, *n.Failure)
	s.Do, s.Record = DoWrite, n
	return s
}

// accepted notes that the order was given, for starts of the daemon to come.
func accepted(r *api.Record, by string) Step {
	n := r.Clone()
	n.Order.Accepted = true
	return Step{Do: DoWrite, Reason: api.ReasonRebooting, Message: orderedWords(n), Detail: by, Record: n}
}

// orderingWords and orderedWords are what people are told until the order is accepted, and
// from then on.
func orderingWords(r *api.Record) string { return "ordering the " + string(ordered(r)) }

func orderedWords(r *api.Record) string {
	if !r.Due.IsZero() {
		return fmt.Sprintf("the %s was ordered; the machine has scheduled it for %s", ordered(r), r.Due.Format(time.RFC3339))
	}
	return fmt.Sprintf("the %s was ordered; waiting for the machine to go down", ordered(r))
}

// drainAgain goes back to the drain, as if it had not been done.
func drainAgain(r *api.Record, f Facts, reason api.Reason, message string) Step {
	n := in(api.PhaseDraining, r, f)
	n.SoftReboots, n.Due, n.DrainSince, n.DrainRan, n.Undo = nil, time.Time{}, time.Time{}, nil, nil
	return Step{Do: DoWrite, Reason: reason, Message: message, Record: n, Asks: gate.WhileDraining | gate.BeforeOrder}
}

// aboutToOrder is the step when the order is on record and the command is not spawned
// yet: the last look at everything that speaks against it.
func aboutToOrder(p Policy, r *api.Record, f Facts) Step {
	about := Step{Do: DoWait, Reason: api.ReasonRebooting, Message: "the reboot is about to be ordered", Asks: gate.WhileDraining | gate.BeforeOrder}
	_, about.KeepUp = lasting(p)
	if s, ok := lookingUp(f, about); ok {
		return s
	}
	if u, ok := objection(r, f); ok {
		return back(p, r, f, u)
	}
	if s, ok := claimRest(f, about, notHeld); ok {
		return s
	}
	reason := api.ReasonBlocked
	why, again := undrained(p, r, f)
	if g, is := closed(f, gate.BeforeOrder); is {
		reason, why, again = g.Reason, g.Why, true
	}
	g, unsure := unknown(f, gate.WhileDraining|gate.BeforeOrder)
	level, more := p.level(f)
	s := about
	switch {
	case again:
		n := in(api.PhaseDraining, r, f)
		n.Since, n.DrainSince, n.Order = r.DrainBegan(), time.Time{}, nil
		if r.Order.Try > 1 { // this try was not made
			n.Order = r.Clone().Order
			n.Order.Try--
		}
		s.Do, s.Reason, s.Message, s.Record = DoWrite, reason, why+"; continuing the drain", n
	case !f.Request.Wanted:
		s.Detail = whetherWanted
	case unsure:
		s.Detail = "waiting for the answer of gate " + g.Name
	case higher(ordered(r), level) != ordered(r):
		n := r.Clone()
		n.Order, n.Level = newOrder(f, r.Order.Try), level
		if level == api.FullReboot {
			n.Level = ""
		}
		s.Do, s.Reason, s.Message, s.Record = DoWrite, api.ReasonRebootRequested, cmp.Or(more, fmt.Sprintf("a %s was about to be ordered, and a %s is requested by now; ordering that", ordered(r), level)), n
	case f.Uptime-time.Duration(r.Order.UptimeMillis)*time.Millisecond >= orderAge:
		n := r.Clone()
		n.Order = newOrder(f, r.Order.Try)
		s.Do, s.Message, s.Record, s.Silent = DoWrite, "the order could not be carried out at once; renewing it", n, true
	default:
		s.Do, s.Message, s.Level = DoSpawn, orderingWords(r), ordered(r)
	}
	return s
}

// undrained says whether what the lasting stage had reached for this order is lost, or
// may be.
func undrained(p Policy, r *api.Record, f Facts) (why string, is bool) {
	i, ok := lasting(p)
	if !ok {
		return "", false
	}
	k, now := p.Stages[i], progress(r, f, i)
	switch {
	case now.State == StageDone:
		return "", false
	case k.OnLimit != Rollback && k.Limit > 0 && now.Ran >= k.end():
		return "", false // ordered with what is left
	}
	return "pods may have arrived since the node was drained", true
}

// softBooted is the step for a machine whose userspace, and no more, has started over,
// as was ordered.
func softBooted(r *api.Record, f Facts) Step {
	s := booted(r, f, true, "")
	s.ClearRequest = false // the annotation asks for more, and so has come since
	return s
}

// onlySoftBooted is the step for a machine that has soft-rebooted where more was ordered.
func onlySoftBooted(p Policy, r *api.Record, f Facts) Step {
	message := fmt.Sprintf("a %s was ordered, and the machine has only soft-rebooted: its kernel is the same", ordered(r))
	if r.Order.Try >= maxTries {
		return back(p, r, f, api.Undo{Reason: api.ReasonRebootFailed, Message: message, Failed: true})
	}
	return drainAgain(r, f, api.ReasonRebootFailed, message+"; draining again")
}

func commandFailed(p Policy, r *api.Record, f Facts) Step {
	if u, ok := aborted(f); ok {
		return back(p, r, f, u)
	}
	if r.Order.Try >= maxTries {
		return back(p, r, f, api.Undo{Reason: api.ReasonRebootFailed, Message: fmt.Sprintf("the reboot command failed %d times: %s", r.Order.Try, f.Child.Problem), Failed: true})
	}
	message := fmt.Sprintf("the reboot command failed: %s; retrying", f.Child.Problem)
	if again := f.Child.Ended.Add(tryPause); f.Now.Before(again) {
		return Step{Do: DoWait, Reason: api.ReasonRebootFailed, Message: message, Until: again}
	}
	if u, ok := objection(r, f); ok {
		return back(p, r, f, u)
	}
	return order(p, r, f, api.ReasonRebootFailed, message)
}
