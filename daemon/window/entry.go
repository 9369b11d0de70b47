package window

import (
	"math"
	"time"
)

// Entry is a window or a freeze. It is not changed once it is made.
type Entry struct {
	text   string // canonical, with the zone
	loc    *time.Location
	freeze bool

	// A window.
	days       weekdays
	which      ordinals
	start, end int64 // seconds from 00:00 of the day on which it opens

	// A freeze: once, or every year.
	from, until int64
	every       yearly
}

// weekdays is a set, Monday in the lowest bit.
type weekdays uint8

// ordinals is a set: the bit n-1 is for the nth of a weekday in its month. 0 is every one.
type ordinals uint8

const last ordinals = 1 << 5

// String is the entry in its canonical form, which [Parse] reads as the same entry.
func (e Entry) String() string { return e.text }

// IsFreeze says whether the entry forbids.
func (e Entry) IsFreeze() bool { return e.freeze }

// Location is the zone of the entry.
func (e Entry) Location() *time.Location { return e.loc }

// openingsWithin is for how long [Entry.Openings] looks ahead for a window.
const openingsWithin = 10 * 366 * day

// Openings are the next n openings of a window that have not ended at from, each by
// itself, whatever other windows and freezes say, in UTC. Those of a freeze are the
// freeze, unless it is past, or the next n times that it comes.
func (e Entry) Openings(from time.Time, n int) []Span {
	var out []Span
	now := from.Unix()
	next := e.freezes(now, math.MaxInt64)
	if !e.freeze {
		next = e.openings(&clock{loc: e.loc}, now, now+openingsWithin)
	}
	for o := range next {
		if len(out) >= n {
			break
		}
		out = append(out, o.span())
	}
	return out
}

// Past says whether a freeze has ended and does not come again: it can be removed.
func (e Entry) Past(now time.Time) bool {
	return e.freeze && e.every == (yearly{}) && e.until <= now.Unix()
}

// opening is a Span in seconds since 1970.
type opening struct{ start, end int64 }

func (o opening) span() Span { return spanOf(o.start, o.end) }

// on is the opening of a window that belongs to a day, by its number since 1970.
func (e *Entry) on(c *clock, d int64) (opening, bool) {
	if !e.is(d) {
		return opening{}, false
	}
	end := c.first(d*day + e.end)
	o := opening{start: c.last(d*day+e.start, end), end: end}
	return o, o.start < o.end
}

// is says whether a day is one on which the window opens.
func (e *Entry) is(d int64) bool {
	if e.days>>((d+3)-floorDiv(d+3, 7)*7)&1 == 0 { // the first day was a Thursday
		return false
	}
	if e.which == 0 {
		return true
	}
	t := instant(d * day)
	nth := ordinals(1) << ((t.Day() - 1) / 7)
	return e.which&nth != 0 || e.which&last != 0 && t.AddDate(0, 0, 7).Month() != t.Month()
}

// at is the opening of a window that an instant is in. As the clock never shows a time
// outside the window while it is open, that belongs to the day that the clock shows, or
// to the one before.
func (e *Entry) at(c *clock, sec int64) (opening, bool) {
	today := floorDiv(c.wall(sec), day)
	for d := today; d >= today-1; d-- {
		if o, is := e.on(c, d); is && o.start <= sec && sec < o.end {
			return o, true
		}
	}
	return opening{}, false
}

// openings are those of a window that end after an instant and start before another, in
// their order.
func (e *Entry) openings(c *clock, after, before int64) func(yield func(opening) bool) {
	return func(yield func(opening) bool) {
		for d := floorDiv(c.wall(after), day) - 2; d*day < before+day; d++ {
			if o, is := e.on(c, d); is && o.end > after && (o.start >= before || !yield(o)) {
				return
			}
		}
	}
}
