package windows

import (
	"encoding/binary"
	"hash/fnv"
	"time"

	"rebootd.dev/daemon/window"
)

const (
	// horizon is how far is looked ahead.
	horizon = 400 * 24 * time.Hour
	// mostSpread and leastSpread bound the time in which nodes begin after a window has
	// opened, which is a tenth of it. One that would be shorter is none.
	mostSpread, leastSpread = 10 * time.Minute, time.Minute
)

// begins is from when on the node may begin in a window. It is the same whenever it is asked,
// and another one in each window.
func (t terms) begins(span window.Span) time.Time {
	end := span.End
	if f, is := t.freezeIn(span.Start, span.End); is && f.Start.After(span.Start) {
		end = f.Start
	}
	length := end.Sub(span.Start)
	spread := min(length/10, mostSpread, length-t.takes)
	if spread < leastSpread {
		return span.Start
	}
	h := fnv.New64a()
	_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(span.Start.Unix())))
	_, _ = h.Write([]byte(t.node))
	return span.Start.Add(time.Duration(h.Sum64() % uint64(spread)).Truncate(time.Second))
}

// first is the first moment from now on at which the node may begin, by windows and
// freezes; zero if there is none. Then longest is how long the longest stretch of a window
// is that is not frozen, and opens whether there is a window at all.
func (t terms) first(now time.Time) (at time.Time, longest time.Duration, opens bool) {
	span, is := t.schedule.Open(now)
	if !is {
		span, is = t.schedule.Next(now)
	}
	for is && span.Start.Before(now.Add(horizon)) {
		opens = true
		at := later(now, t.begins(span))
		for at.Before(span.End) {
			f, frozen := t.freezeIn(at, span.End)
			end := span.End
			if frozen {
				end = f.Start
			}
			length := end.Sub(at)
			if length > 0 && length >= t.takes {
				return at, 0, true
			}
			longest = max(longest, length)
			if !frozen {
				break
			}
			at = f.End
		}
		span, is = t.schedule.Next(span.End)
	}
	return time.Time{}, longest, opens
}

// freezeIn is the first freeze of which a part is between two times.
func (t terms) freezeIn(from, to time.Time) (freeze, bool) {
	span, e, is := t.schedule.NextFreeze(from, to)
	return freeze{span, e}, is
}

// freezeBy is the freeze that a reboot which begins at a time would be in.
func (t terms) freezeBy(at time.Time) (freeze, bool) {
	return t.freezeIn(at, at.Add(max(t.takes, 1)))
}

// thaws is when the freezes let a reboot begin, zero if they do not within the time that is
// looked ahead: those that come every year can follow each other without end.
func (t terms) thaws(now time.Time) time.Time {
	at := now
	for f, is := t.freezeBy(at); is; f, is = t.freezeBy(at) {
		if !at.Before(now.Add(horizon)) {
			return time.Time{}
		}
		at = f.End
	}
	return at
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
