package lock

import (
	"slices"
	"strconv"
	"time"
)

// DefaultZoneLimit is what Config.ZoneLimit is by default.
const DefaultZoneLimit = time.Hour

// line is the line that counts: that of the free slot which was given up last, by the
// API server's count of changes, without those that hold a slot already. What is left
// on other slots is from before: of those named there some have gone since, and who is
// not named may be the only one that waits.
func (v *view) line() Line {
	last, version := Line{}, uint64(0)
	for _, i := range v.free() {
		lease := v.leases[i]
		if lease == nil {
			continue
		}
		if n, err := strconv.ParseUint(lease.ResourceVersion, 10, 64); err != nil || n >= version {
			last, version = lineOf(lease), n
		}
	}
	return last.without(v.holders())
}

// without is a line without those that hold a slot.
func (l Line) without(holders []Holder) Line {
	l.Nodes = slices.DeleteFunc(slices.Clone(l.Nodes), func(node string) bool {
		return slices.ContainsFunc(holders, func(h Holder) bool { return h.Node == node })
	})
	return l
}

// isClosed says whether this node leaves free slots alone for the sake of one of
// another zone, and until when at the latest: it is of the zone that is open, and the
// other stands before it in the line. Else the zone would never be free.
func (v *view) isClosed(line Line, now time.Time) (until time.Time, is bool) {
	turn := slices.Index(line.Nodes, line.Turn)
	place := slices.Index(line.Nodes, v.lock.cfg.Node)
	if turn < 0 || place >= 0 && place <= turn || !v.isOpen() {
		v.closedSince, v.closedFor = time.Time{}, ""
		return time.Time{}, false
	}
	if v.closedFor != line.Turn {
		v.closedSince, v.closedFor = now, line.Turn
	}
	until = v.closedSince.Add(v.lock.cfg.ZoneLimit)
	return until, now.Before(until)
}

// isOpen says whether others hold slots in this node's zone.
func (v *view) isOpen() bool {
	for _, c := range v.lock.companions() {
		if !c.isHolder && v.companion(c) == c.value && !v.leftOver(c) {
			return true
		}
	}
	return false
}
