package drain

import (
	"math"
	"time"
)

// due returns what is to be asked for now, and counts it as asked.
func (c *core) due(now time.Time) []request {
	var out []request
	turn := c.turn()
	for _, t := range c.order {
		if c.inFlight >= maxInFlight {
			break
		}
		c.press(t, now)
		at, ok := c.dueAt(t, turn, now)
		if !ok || now.Before(at) {
			continue
		}
		r := request{pod: t.podInfo}
		if left := c.graceLeft(now); t.pressed && (t.deleting() || left < int64(t.grace/time.Second)) {
			r.grace = left
		}
		// Even under the deadline it is asked to go within its budget first.
		r.remove = t.pressed && (t.block.reason != "" || t.deleting() || !t.asked.IsZero())
		t.state, t.sent, t.doubted = evicting, true, false
		c.inFlight++
		out = append(out, r)
	}
	return out
}

// press has a pod go, whatever its order and its budget say, from the moment at
// which its grace period would just end by the deadline.
func (c *core) press(t *tracked, now time.Time) {
	if t.pressed || t.state == done || c.deadline.IsZero() || now.Before(c.pressAt(t, now)) {
		return
	}
	t.pressed, t.tries, t.retryAt = true, 0, now
	if t.state == terminating && !t.deleting() {
		t.retryAt = t.asked.Add(patientRetry) // its deletion may be on its way
	}
}

func (c *core) pressAt(t *tracked, now time.Time) time.Time {
	if t.deleting() {
		if c.tooLong(t, now) {
			return now
		}
		return never
	}
	return c.deadline.Add(-t.grace)
}

// tooLong says whether the grace of a pod that is being deleted ends after the
// deadline. Timestamps have whole seconds.
func (c *core) tooLong(t *tracked, now time.Time) bool {
	return t.deletedAt.After(later(c.deadline, now).Add(2 * time.Second))
}

var never = time.Unix(1<<40, 0)

// graceLeft is the grace in seconds that ends by the deadline; at least 1, since 0
// would leave the containers behind.
func (c *core) graceLeft(now time.Time) int64 {
	return max(1, int64(c.deadline.Sub(now)/time.Second))
}

// turn is the least rank of the pods that are still there: those whose turn it is.
func (c *core) turn() rank {
	r := rank{order: math.MaxInt, tier: controlPath} // none is after it
	for _, t := range c.order {
		if t.state != done && t.rank.compare(r) < 0 {
			r = t.rank
		}
	}
	return r
}

// dueAt is when a pod may be asked to go, if it is to be asked at all.
func (c *core) dueAt(t *tracked, turn rank, now time.Time) (time.Time, bool) {
	switch {
	case t.state == terminating && t.deleting():
		return t.retryAt, t.pressed && c.tooLong(t, now) // only to have less time
	case t.state == terminating:
		return t.retryAt, true // accepted, and then nothing happened
	case t.state != pending:
		return time.Time{}, false
	case t.pressed:
		return t.retryAt, true
	case t.rank != turn:
		return time.Time{}, false
	}
	if end, held := c.heldUntil(t); held {
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

// heldUntil is until when a pod is waited for instead of evicted.
func (c *core) heldUntil(t *tracked) (time.Time, bool) {
	if t.hold == "" {
		return time.Time{}, false
	}
	end := never
	if c.completion > 0 {
		end = c.since.Add(c.completion)
	}
	if !t.holdEnds.IsZero() && t.holdEnds.Before(end) {
		end = t.holdEnds
	}
	return end, true
}

// wake is when due, drained or the text has something new to say if nothing
// happens before; zero: never.
func (c *core) wake(now time.Time) time.Time {
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
			if !c.deadline.IsZero() && !t.pressed && t.state != evicting {
				sooner(c.pressAt(t, now))
			}
		}
		if at, l := c.lookupFor(t); l.budget != "" {
			sooner(at)
		}
		for _, told := range []time.Time{t.deletedAt.Add(overdueAfter), t.blocked.Add(patience), t.asked.Add(patience)} {
			if now.Before(told) { // zero times are long past
				sooner(told)
			}
		}
	}
	if left == 0 && c.listed && !c.blind { // else it is the list that is waited for
		sooner(c.quietAt())
	}
	if at == never {
		return time.Time{}
	}
	return at
}
