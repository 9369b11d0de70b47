package fleet

import (
	"encoding/json"
	"fmt"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/window"
)

// waiter is a node that waits for its turn.
type waiter struct {
	c       decide.Candidate
	takes   time.Duration // 0: not known
	reserve time.Duration // as much as must be left of a window
	times   window.Schedule

	hard, soft       time.Time // not before, and not before unless the deadline has passed
	hardWhy, softWhy string
	deadline         time.Time // zero: none

	// from is when it can go, and before until it then can; why that is later than at
	// once, "" if it is not.
	from, until time.Time
	why         string
	looked      bool
}

// waits takes in a node that waits.
func (c *course) waits(n Node) {
	w, unknown := c.waiter(n)
	if unknown != "" {
		c.out.Unknown[n.Name] = unknown
		return
	}
	c.wait = append(c.wait, w)
}

// waiter is a node that waits, or why nothing can be said of it.
func (c *course) waiter(n Node) (w *waiter, unknown string) {
	r := n.Record
	spell := c.took.of(n.Name)
	w = &waiter{takes: spell.whole(), reserve: c.took.own[n.Name].last, deadline: r.Deadline, hard: c.f.At}
	switch {
	case n.Abort != nil:
		return nil, "its operation is being given up: " + *n.Abort
	case n.Hold != nil:
		return nil, "it is held: " + *n.Hold
	}
	if s := n.Status; s != nil {
		if why := w.gates(s.Gates, c.f.Unread == nil, c.f.At); why != "" {
			return nil, why
		}
		var err error
		if w.times, err = c.calendar.read(s.Windows); err != nil {
			return nil, "its maintenance windows cannot be read here: " + err.Error()
		}
	}
	if r.Phase == api.PhaseWaiting {
		next := r.NotBefore
		if n.Status != nil && !n.Status.Next.IsZero() {
			next = n.Status.Next
		}
		closed := !w.soft.IsZero() || w.hard.After(c.f.At)
		ready := n.Status != nil && (n.Status.Reason == api.ReasonRebootRequested || n.Status.Reason == api.ReasonQueued)
		switch {
		case next.After(c.f.At):
			why := "its pause ends"
			if r.Failure != nil {
				why = "its pause after " + string(r.Failure.Reason) + " ends"
			}
			w.notBefore(next, why)
		case !closed && !ready:
			return nil, "it waits: " + n.says()
		}
	}
	queued := r.Clone()
	queued.Phase, queued.Order = api.PhaseQueued, nil
	data, err := json.Marshal(queued)
	if err != nil {
		return nil, "its record cannot be read: " + err.Error()
	}
	zone := ""
	if n.Status != nil {
		zone = n.Status.Zone
	}
	w.c, _ = decide.CandidateOf(c.lock, n.Name, string(data), value(n.Priority), zone, n.ControlPlane)
	if w.c.Node == "" {
		return nil, "its record cannot be read"
	}
	if r.Phase == api.PhaseWaiting {
		w.c.Entered = c.f.At
	}
	return w, ""
}

// gates takes in the gates that are closed, or says why nothing can be said.
func (w *waiter) gates(gates []api.GateStatus, pausesKnown bool, now time.Time) (unknown string) {
	for _, g := range gates {
		if g.State != api.GateClosed || g.Name == "paused" && pausesKnown {
			continue // the Leases say until when the lock is paused
		}
		opens := "the gate " + g.Name + " opens"
		if g.Name == "window" {
			opens = "window opens"
		}
		late := g.Soft && !w.deadline.IsZero() && !now.Before(w.deadline)
		switch {
		case !g.Until.IsZero() && now.Sub(g.Until) > handover && !late:
			return fmt.Sprintf("waits for the gate %s, which was to open at %s, and its daemon has not said since that it did", g.Name, g.Until.UTC().Format(time.RFC3339))
		case g.Soft && g.Until.IsZero() && w.deadline.IsZero(), !g.Soft && g.Until.IsZero():
			return fmt.Sprintf("waits for the gate %s, and when that opens is not known: %s", g.Name, g.Why)
		case !g.Soft:
			w.notBefore(g.Until, opens)
		case g.Until.IsZero() || !w.deadline.IsZero() && w.deadline.Before(g.Until):
			w.softly(w.deadline, "its deadline passes")
		default:
			w.softly(g.Until, opens)
		}
	}
	return ""
}

func (w *waiter) notBefore(t time.Time, why string) {
	if t.After(w.hard) {
		w.hard, w.hardWhy, w.looked = t, why, false
	}
}

func (w *waiter) softly(t time.Time, why string) {
	if t.After(w.soft) {
		w.soft, w.softWhy = t, why
	}
}

// look finds out from when on the node can go, at now or later; why it never can, as far as
// is known.
func (w *waiter) look(now time.Time) (never string) {
	if w.looked && (now.Before(w.from) || w.until.IsZero() || now.Before(w.until)) {
		return ""
	}
	first := !w.looked
	w.looked, w.why, w.until = true, "", time.Time{}
	at := now
	reach := func(t time.Time, why string) {
		if t.After(at) {
			at, w.why = t, why
		}
	}
	reach(w.hard, w.hardWhy)
	reach(w.soft, w.softWhy)
	for end := now.Add(horizon); ; {
		if at.After(end) {
			return "its windows and freezes leave no time for a reboot"
		}
		was := at
		if freeze, _, soon := w.times.NextFreeze(at, at.Add(max(w.reserve, 1))); soon {
			reach(freeze.End, "freeze ends")
		}
		if w.times.HasWindows() {
			if why := w.window(at, reach); why != "" {
				return why
			}
		}
		if at.Equal(was) {
			break
		}
	}
	w.from = at
	w.until = w.lapses(at)
	if !first || at.After(now) {
		w.c.Entered = at // it leaves the queue, and comes back then
	}
	return ""
}

// window goes to when a window lets the node begin, or its deadline passes.
func (w *waiter) window(at time.Time, reach func(time.Time, string)) (never string) {
	span, open := w.times.Open(at)
	if open && !at.Add(w.reserve).After(span.End) {
		return ""
	}
	if !open {
		span, open = w.times.Next(at)
	} else {
		span, open = w.times.Next(span.Start)
	}
	for open && span.End.Sub(span.Start) < w.reserve && span.Start.Before(at.Add(horizon)) {
		span, open = w.times.Next(span.Start)
	}
	switch long := open && span.End.Sub(span.Start) >= w.reserve; {
	case !w.deadline.IsZero() && (!long || w.deadline.Before(span.Start)):
		reach(w.deadline, "its deadline passes")
	case long:
		reach(span.Start, "window opens")
	default:
		return "no maintenance window opens, or none is long enough"
	}
	return ""
}

// lapses is until when a node that can go at a time can; zero: no end is known.
func (w *waiter) lapses(at time.Time) (end time.Time) {
	if freeze, _, is := w.times.NextFreeze(at, at.Add(horizon)); is {
		end = freeze.Start.Add(-w.reserve)
	}
	late := !w.deadline.IsZero() && !at.Before(w.deadline)
	if span, open := w.times.Open(at); open && w.times.HasWindows() && !late {
		if last := span.End.Add(-w.reserve); end.IsZero() || last.Before(end) {
			end = last
		}
	}
	if !end.IsZero() && !end.After(at) {
		end = at.Add(1) // the last moment
	}
	return end
}
