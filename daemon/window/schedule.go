package window

import "time"

// horizon is how far [Schedule.Open] and [Schedule.Next] look: every window opens within
// a year, on whatever day it does.
const horizon = 400 * day

// Schedule is windows and freezes. The zero Schedule permits always. It is not changed
// once it is made, and may be used by several goroutines.
type Schedule struct{ entries []Entry }

// Span is a stretch of time.
type Span struct {
	Start time.Time // included
	End   time.Time // not included
}

func spanOf(start, end int64) Span { return Span{Start: instant(start), End: instant(end)} }

// IsZero says whether there is neither a window nor a freeze.
func (s Schedule) IsZero() bool { return len(s.entries) == 0 }

// HasWindows says whether there is a window. Without one, a reboot may begin at any time
// that is not frozen.
func (s Schedule) HasWindows() bool {
	for i := range s.entries {
		if !s.entries[i].freeze {
			return true
		}
	}
	return false
}

// Entries are the windows and freezes, in the order in which they were given.
func (s Schedule) Entries() []Entry { return append([]Entry(nil), s.entries...) }

// Open says whether a window is open, and is its span, in UTC. Windows that overlap, and
// those of which one opens when another closes, are one. Freezes are not looked at.
//
// Windows that join without end (00:00-24:00) are followed for 400 days in either
// direction: a span that ends 400 days from at, or later, is to be read as one without
// end. So is that of a schedule without windows.
func (s Schedule) Open(at time.Time) (Span, bool) {
	now := at.Unix()
	if !s.HasWindows() {
		return spanOf(now-horizon, now+horizon), true
	}
	o, is := s.union(s.clocks(), now)
	if !is {
		return Span{}, false
	}
	return o.span(), true
}

// Next is the next opening that starts after an instant, joined with others as [Schedule.Open]
// does, in UTC. It is false if none starts within 400 days. Freezes are not looked at.
func (s Schedule) Next(after time.Time) (Span, bool) {
	now := after.Unix()
	clocks := s.clocks()
	closed := now // a moment from which on nothing is open until the next
	if o, is := s.union(clocks, now); is {
		closed = o.end
	}
	if closed >= now+horizon {
		return Span{}, false
	}
	next := opening{start: now + horizon}
	for i := range s.entries {
		if s.entries[i].freeze {
			continue
		}
		for o := range s.entries[i].openings(&clocks[i], closed, next.start) {
			next = o
			break
		}
	}
	if next.start >= now+horizon {
		return Span{}, false
	}
	o, _ := s.union(clocks, next.start)
	return o.span(), true
}

// Frozen says whether an instant is in a freeze, until when, and names that freeze.
// Freezes that overlap, and those of which one begins when another ends, are one: until
// is the end of the last. Those that join without end are followed for 400 days: an until
// 400 days from at, or later, need not be the end.
func (s Schedule) Frozen(at time.Time) (until time.Time, why string, is bool) {
	now := at.Unix()
	end, e := s.frozen(now, now+horizon)
	if e == nil {
		return time.Time{}, "", false
	}
	return instant(end), e.text, true
}

// frozen is the end of the freezes around an instant, or one of those ends that is not
// before enough, and the first of the freezes that the instant is in.
func (s Schedule) frozen(sec, enough int64) (end int64, first *Entry) {
	end = sec
	for more := true; more; {
		more = false
		for i := range s.entries {
			e := &s.entries[i]
			if !e.freeze || first != nil && end >= enough {
				continue
			}
			for o := range e.freezes(end, end+1) {
				if first == nil {
					first = e
				}
				end, more = o.end, true
				break
			}
		}
	}
	return end, first
}

// NextFreeze is the freeze that begins first of those of which a part is between two
// times, and its entry, in UTC. It is not joined with others.
func (s Schedule) NextFreeze(from, to time.Time) (span Span, entry Entry, is bool) {
	// A part of a second is a part.
	before := to.Unix()
	if to.Nanosecond() > 0 {
		before++
	}
	first := opening{start: before}
	for i := range s.entries {
		if e := &s.entries[i]; e.freeze {
			for o := range e.freezes(from.Unix(), before) {
				if o.start < first.start {
					first, entry, is = o, *e, true
				}
				break
			}
		}
	}
	if !is {
		return Span{}, Entry{}, false
	}
	return first.span(), entry, true
}

// NeverOpen are the windows in which, because of the freezes, no reboot may begin within
// 400 days.
func (s Schedule) NeverOpen(now time.Time) []Entry {
	var out []Entry
	sec := now.Unix()
	for i := range s.entries {
		if e := &s.entries[i]; !e.freeze && !s.opens(e, sec) {
			out = append(out, *e)
		}
	}
	return out
}

// opens says whether a window has an opening of which not everything is frozen.
func (s Schedule) opens(e *Entry, now int64) bool {
	c := clock{loc: e.loc}
	for o := range e.openings(&c, now, now+horizon) {
		if end, _ := s.frozen(max(o.start, now), o.end); end < o.end {
			return true
		}
	}
	return false
}

// clocks are those of the entries.
func (s Schedule) clocks() []clock {
	out := make([]clock, len(s.entries))
	for i := range s.entries {
		out[i].loc = s.entries[i].loc
	}
	return out
}

// at is an opening that an instant is in.
func (s Schedule) at(clocks []clock, sec int64) (opening, bool) {
	for i := range s.entries {
		if s.entries[i].freeze {
			continue
		}
		if o, is := s.entries[i].at(&clocks[i], sec); is {
			return o, true
		}
	}
	return opening{}, false
}

// union is what openings make of the time around an instant that is in one.
func (s Schedule) union(clocks []clock, sec int64) (opening, bool) {
	o, is := s.at(clocks, sec)
	if !is {
		return opening{}, false
	}
	for o.end < sec+horizon {
		next, is := s.at(clocks, o.end)
		if !is {
			break
		}
		o.end = next.end
	}
	for o.start > sec-horizon {
		next, is := s.at(clocks, o.start-1)
		if !is {
			break
		}
		o.start = next.start
	}
	return o, true
}
