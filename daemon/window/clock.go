package window

import (
	"math"
	"time"
)

const day = 24 * 60 * 60 // in seconds

// instant is a time by its seconds since 1970.
func instant(sec int64) time.Time {
	d := floorDiv(sec, day)
	return time.Date(1970, time.January, 1+int(d), 0, 0, int(sec-d*day), 0, time.UTC)
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// clock is the local clock of a zone. What it shows, date included, is a wall time: the
// seconds from 1970-01-01 00:00 of that calendar. It remembers what lies between the two
// changes around the instant that it was read at last, so one is used by one goroutine.
type clock struct {
	loc         *time.Location
	known       bool
	from, until int64 // from the one change until before the next
	offset      int64 // wall time less instant, meanwhile
}

// read sets from, until and offset to those at an instant.
//
// They are of [time.Time.ZoneBounds]. [time.Date] would not do: in a gap and in a fold,
// which of two instants it chooses depends on the zone.
func (c *clock) read(sec int64) {
	if c.known && c.from <= sec && sec < c.until {
		return
	}
	t := instant(sec).In(c.loc)
	_, offset := t.Zone()
	from, until := t.ZoneBounds()
	c.known, c.offset, c.from, c.until = true, int64(offset), math.MinInt64, math.MaxInt64
	if !from.IsZero() {
		c.from = from.Unix()
	}
	if !until.IsZero() {
		c.until = until.Unix()
	}
	// Go 1.26 has leap years end a day early where it has a rule and no table of changes:
	// on their last day, on which no clock changes, until has passed.
	if c.until <= sec {
		c.until = (floorDiv(sec, day) + 1) * day
	}
}

// wall is what the clock shows at an instant.
func (c *clock) wall(sec int64) int64 {
	c.read(sec)
	return sec + c.offset
}

// first is the earliest instant at which the clock shows wall or later.
func (c *clock) first(wall int64) int64 {
	c.read(wall - day) // no clock is a day ahead of UTC, or behind it
	for {
		if t := max(c.from, wall-c.offset); t < c.until {
			return t
		}
		c.read(c.until)
	}
}

// last is the end of the last moment before an instant at which the clock shows a time
// before wall: from there to that instant it shows wall or later. It is the instant
// itself if the clock shows a time before wall until then.
func (c *clock) last(wall, before int64) int64 {
	c.read(before - 1)
	for {
		if t := min(c.until, wall-c.offset, before); t > c.from {
			return t
		}
		c.read(c.from - 1)
	}
}
