package daemon

import "time"

// clock is the wall clock as it was at the start plus the time that has passed since,
// so that a clock that is set in between moves no deadline. It is safe for concurrent
// use.
type clock struct {
	start time.Time // with its monotonic reading
	wall  time.Time // the machine's clock then
}

func newClock(machine func() time.Time) clock { return clock{time.Now(), machine()} }

func (c clock) now() time.Time { return c.wall.Add(c.running()) }

// running is for how long this start of the daemon has run.
func (c clock) running() time.Duration { return time.Since(c.start) }

func sooner(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
