package drain

import "time"

// apiClock is the API server's clock as this process knows it. The timestamps of
// objects are compared with it, not with the machine's clock, which may be wrong or may
// be set while the drain runs. The zero value takes the machine's clock for it.
type apiClock struct {
	api   time.Time // what the API server's clock showed
	local time.Time // at this moment
}

// slowAnswer is longer than any answer takes.
const slowAnswer = time.Minute

// read takes in by how much the machine's clock is ahead of the API server's. An answer
// that took long makes the API server's clock look late, so of two readings the later
// one counts, unless they are too far apart for that: then a clock was set.
func (c *apiClock) read(now time.Time, skew time.Duration) {
	api := now.Round(0).Add(-skew)
	if late := c.at(now).Sub(api); c.local.IsZero() || late < 0 || late > slowAnswer {
		*c = apiClock{api: api, local: now}
	}
}

// at is what the API server's clock shows at a moment.
func (c apiClock) at(now time.Time) time.Time {
	if c.local.IsZero() {
		return now
	}
	return c.api.Add(now.Sub(c.local))
}

// when is the moment at which the API server's clock shows t.
func (c apiClock) when(t time.Time) time.Time {
	if c.local.IsZero() || t == never {
		return t
	}
	return c.local.Add(t.Sub(c.api))
}

// startClock starts the drain's own clock, which shows for how long the drain has run,
// earlier runs included. It starts with the first list: before that, the pods are not
// known, and no time must be taken from them.
func (c *core) startClock(now time.Time) {
	c.clockStart = now.Add(-c.ran)
	if c.limit > 0 {
		c.deadline = c.clockStart.Add(c.limit)
	}
}
