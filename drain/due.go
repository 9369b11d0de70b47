package drain

import (
	"math"
	"time"
)

// due returns the requests that are to be sent now, and counts them as sent.
func (c *core) due(now time.Time) []request {
	var out []request
	turn := c.turn()
	for _, t := range c.order {
		if c.inFlight >= maxInFlight {
			break
		}
		c.checkDeadline(t, now)
		at, ok := c.dueAt(t, turn, now)
		if !ok || now.Before(at) {
			continue
		}
		r := request{pod: t.podInfo}
		if left := c.graceLeft(now); t.dueByDeadline && (t.deleting() || left < int64(t.grace/time.Second)) {
			r.grace = left
		}
		// Even when it is due by the deadline its eviction is tried once, within its budget.
		r.remove = t.dueByDeadline && (t.refusal.reason != "" || t.deleting() || !t.acceptedAt.IsZero())
		t.state, t.requested, t.unconfirmed = evicting, true, false
		c.inFlight++
		out = append(out, r)
	}
	return out
}

// checkDeadline has a pod go, whatever its order and its budget, from the moment at which
// its grace period has to begin to end by the deadline.
func (c *core) checkDeadline(t *tracked, now time.Time) {
	if t.dueByDeadline || t.state == done || c.deadline.IsZero() || now.Before(c.dueByDeadlineAt(t, now)) {
		return
	}
	t.dueByDeadline, t.tries, t.retryAt = true, 0, now
	if t.state == terminating && !t.deleting() {
		t.retryAt = t.acceptedAt.Add(patientRetry) // its deletion may be on its way
	}
}

func (c *core) dueByDeadlineAt(t *tracked, now time.Time) time.Time {
	if t.deleting() {
		if c.endsTooLate(t, now) {
			return now
		}
		return never
	}
	return c.deadline.Add(-t.grace)
}

// endsTooLate says whether the grace of a pod that is being deleted ends after the
// deadline. Timestamps have whole seconds.
func (c *core) endsTooLate(t *tracked, now time.Time) bool {
	return c.apiClock.when(t.graceEnds).After(later(c.deadline, now).Add(2 * time.Second))
}

var never = time.Unix(1<<40, 0)

// graceLeft is the grace in seconds that ends by the deadline; at least 1, since 0
// would leave the containers behind.
func (c *core) graceLeft(now time.Time) int64 {
	return max(1, int64(c.deadline.Sub(now)/time.Second))
}

// turn is the lowest rank of the pods that are still there: the one whose turn it is.
func (c *core) turn() rank {
	r := rank{order: math.MaxInt, tier: controlPath} // none is after it
	for _, t := range c.order {
		if t.state != done && t.rank.compare(r) < 0 {
			r = t.rank
		}
	}
	return r
}

// dueAt is when the eviction or deletion of a pod may be sent, if it may be at all.
func (c *core) dueAt(t *tracked, turn rank, now time.Time) (time.Time, bool) {
	switch {
	case t.state == terminating && t.deleting():
		return t.retryAt, t.dueByDeadline && c.endsTooLate(t, now) // only to shorten its grace period
	case t.state == terminating:
		return t.retryAt, true // accepted, but not deleted
	case t.state != pending:
		return time.Time{}, false
	case t.dueByDeadline:
		return t.retryAt, true
	case t.rank != turn:
		return time.Time{}, false
	}
	if end, held := c.waitsUntil(t); held {
		return later(end, t.retryAt), end != never
	}
	return t.retryAt, true
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// waitsUntil is until when a pod is waited for instead of evicted.
func (c *core) waitsUntil(t *tracked) (time.Time, bool) {
	if t.wait == "" {
		return time.Time{}, false
	}
	end := never
	if c.completion > 0 {
		end = c.clockStart.Add(c.completion)
	}
	if !t.waitEnds.IsZero() {
		if own := c.apiClock.when(t.waitEnds); own.Before(end) {
			end = own
		}
	}
	return end, true
}

// nextWake is when the result of due, drained or progress changes if nothing happens
// before; zero: never.
func (c *core) nextWake(now time.Time) time.Time {
	at := never
	sooner := func(t time.Time) {
		if t.Before(at) {
			at = t
		}
	}
	turn := c.turn()
	left := 0
	for _, t := range c.order {
		if t.state == done {
			continue
		}
		left++
		if c.inFlight < maxInFlight {
			if due, ok := c.dueAt(t, turn, now); ok {
				sooner(due)
			}
			if !c.deadline.IsZero() && !t.dueByDeadline && t.state != evicting {
				sooner(c.dueByDeadlineAt(t, now))
			}
		}
		if at, l := c.lookupFor(t); l.budget != "" {
			sooner(at)
		}
		for _, notableAt := range []time.Time{c.apiClock.when(t.graceEnds).Add(overdueAfter), t.refusedSince.Add(patience), t.acceptedAt.Add(patience)} {
			if now.Before(notableAt) { // zero times are long past
				sooner(notableAt)
			}
		}
	}
	if left == 0 && c.listed && !c.blind { // otherwise the next list will wake it
		sooner(c.quietAt())
	}
	if at == never {
		return time.Time{}
	}
	return at
}
