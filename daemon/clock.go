package daemon

import "time"

// clock is the wall clock as it was at the start plus the time that has passed since,
// so that a clock that is set in between moves no deadline. It is safe for concurrent
// use.
type clock struct{ start time.Time } // with its monotonic reading

func newClock() clock { return clock{time.Now()} }

func (c clock) now() time.Time { return c.start.Add(c.running()) }

// running is for how long this start of the daemon has run.
func (c clock) running() time.Duration { return time.Since(c.start) }

func sooner(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
