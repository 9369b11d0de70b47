package daemon

import "time"

// clock is the wall clock as it was at the start plus the time that has passed since,
// so that a clock that is set in between moves no deadline. It is safe for concurrent
// use.
type clock struct {
	start   time.Time // with its monotonic reading
	wall    time.Time // the machine's clock then
	machine func() time.Time
}

func newClock(machine func() time.Time) clock { return clock{time.Now(), machine(), machine} }

func (c clock) now() time.Time { return c.wall.Add(c.running()) }

// clockJitter is what two readings of one clock may differ by without its having been set.
const clockJitter = 2 * time.Second

// set is by how much the machine's clock has been set since the start, or has gone on
// while the machine was suspended. before is what that was the last time: it stays the same
// while the clock is not set again.
func (c clock) set(before time.Duration) time.Duration {
	by := c.machine().Round(0).Sub(c.now().Round(0))
	if (by - before).Abs() < clockJitter {
		return before
	}
	return by
}

// calendar is the machine's clock as it is set at present: what is named by the calendar is
// compared with it.
func (c clock) calendar() time.Time { return c.machine().Round(0) }

// running is for how long this start of the daemon has run.
func (c clock) running() time.Duration { return time.Since(c.start) }

func sooner(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
