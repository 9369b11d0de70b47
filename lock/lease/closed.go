package lease

import (
	"context"
	"slices"
	"strconv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"rebootd.dev/daemon/api"
)

// DefaultZoneLimit is what Config.ZoneLimit is by default.
const DefaultZoneLimit = time.Hour

// line is the line that counts: that of the free slot which was given up last, by the
// API server's count of changes, without those that hold a slot already. What is left
// on other slots is from before: of those named there some have gone since, and who is
// not named may be the only one that waits.
func (v *view) line() api.Line {
	last, version := api.Line{}, uint64(0)
	for _, i := range v.free() {
		lease := v.leases[i]
		if lease == nil {
			continue
		}
		if n, err := strconv.ParseUint(lease.ResourceVersion, 10, 64); err != nil || n >= version {
			last, version = lineOf(lease), n
		}
	}
	return last.Without(v.holds)
}

// isClosed says whether this node leaves free slots alone for the sake of one of
// another zone, and until when at the latest: it is of the zone that is open, and the
// other stands before it in the line. Else the zone would never be free.
func (v *view) isClosed(line api.Line, now time.Time) (until time.Time, is bool) {
	turn := slices.IndexFunc(line.Nodes, func(node string) bool {
		return slices.Contains(line.Turn, node) && !now.Before(v.passed[node])
	})
	place := slices.Index(line.Nodes, v.lock.cfg.Node)
	if turn < 0 || place >= 0 && place <= turn || !v.isOpen() {
		v.closedSince, v.closedFor = time.Time{}, ""
		return time.Time{}, false
	}
	if v.closedFor != line.Nodes[turn] {
		v.closedSince, v.closedFor = now, line.Nodes[turn]
	}
	until = v.closedSince.Add(v.lock.cfg.ZoneLimit)
	return until, now.Before(until)
}

// saysWithin is for how long one that has just taken a slot, or is about to release it, is
// waited for to say of which zone it is, or that it is gone.
const saysWithin = 2 * time.Second

// isUnsaid says whether others hold slots and none says of which zone it is, and until when
// that is waited for: who takes a slot in between may close the zone to the one before it,
// whose turn it is.
func (v *view) isUnsaid(now time.Time) (until time.Time, is bool) {
	for _, c := range v.lock.constraints() {
		if !c.isHolder && v.constraint(c) == "" && !v.leftOver(c) {
			if v.unsaid.IsZero() {
				v.unsaid = now
			}
			until = v.unsaid.Add(saysWithin)
			return until, now.Before(until)
		}
	}
	v.unsaid = time.Time{}
	return time.Time{}, false
}

// seeZone takes in who says what of the zone. Whose turn it was, and who has let it
// pass while the zone was free, is not waited for again for a while: its daemon does
// not run.
func (v *view) seeZone(was, lease *coordinationv1.Lease) {
	now := time.Now()
	switch {
	case holderOf(lease) == "":
		v.zoneFree = now
		return
	case was == nil || holderOf(was) != "" || v.zoneFree.IsZero():
		return
	}
	line := v.line()
	for place, node := range line.Nodes {
		if slices.Contains(line.Turn, node) && now.Sub(v.zoneFree) >= time.Duration(place+1)*perPlace {
			v.passed[node] = now.Add(v.lock.cfg.ZoneLimit)
		}
	}
}

// endTurn has nobody wait for this node's turn any more, now that it has come: it may
// be on record on another slot that was handed on, for as long as nobody takes that.
func (l *Lock) endTurn(ctx context.Context, v *view, slot string) {
	self := func(node string) bool { return node == l.cfg.Node }
	for _, i := range v.free() {
		lease := v.leases[i]
		line := lineOf(lease)
		if lease == nil || lease.Name == slot || !slices.ContainsFunc(line.Turn, self) || !isClean(lease) || !l.handedOn(lease) {
			continue
		}
		line.Nodes, line.Turn = slices.DeleteFunc(line.Nodes, self), slices.DeleteFunc(line.Turn, self)
		annotations := map[string]any{}
		err := annotate(annotations, line)
		if err == nil {
			_, err = l.empty(ctx, lease, annotations, nil)
		}
		if err != nil && !isGone(err) && ctx.Err() == nil {
			l.cfg.Log("the Lease %s still says that it is this node's turn; nodes of another zone may leave it alone for a while: %v", lease.Name, err)
		}
	}
}

// isOpen says whether others hold slots in this node's zone.
func (v *view) isOpen() bool {
	for _, c := range v.lock.constraints() {
		if !c.isHolder && v.constraint(c) == c.value && !v.leftOver(c) {
			return true
		}
	}
	return false
}
