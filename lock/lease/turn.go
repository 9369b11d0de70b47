package lease

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"rebootd.dev/lock"
)

// turn is when this node may try for a slot that is free.
type turn struct {
	at    time.Time
	line  []string // that counted when the turn was given
	tries int
}

const (
	// perPlace is how much longer each place in the line waits, by each waiter's own
	// clock.
	perPlace = time.Second
	// spreadOver is the time over which those spread that are not in the line.
	spreadOver = time.Second
	// mostTries bounds how that time grows when a slot seems to be free and is not.
	mostTries = 4
)

// steep makes few of the waiters early, however many there are: as multicast
// receivers do that must not all answer, each draws its time from a distribution
// that grows exponentially to the end of the spread. Of 5,000 the first goes after a
// few hundredths of it, and the others see the slot taken before it is their turn;
// one that waits alone goes before the end.
var steep = math.Log(5000) + 1

// spread draws this node's time.
func spread(tries int) time.Duration {
	over := spreadOver << min(tries, mostTries)
	return time.Duration(float64(over) / steep * math.Log1p(rand.Float64()*math.Expm1(steep)))
}

// plan gives this node its turns for the slots that it could take now, and takes
// back those for what it could not. A turn is counted from when the slot can be
// taken, not from when it became free, and is drawn once. It returns the first one.
func (v *view) plan(now time.Time) (first time.Time, any bool) {
	paused := v.paused()
	_, _, barred := v.barred()
	free, line := v.free(), v.line()
	reopens, closed := v.isClosed(line, now)
	if until, is := v.isUnsaid(now); is && !closed {
		reopens, closed = until, true
	}
	if paused != (lock.Pause{}) || barred || v.full() || closed {
		free = nil
	}
	for i := range v.turns {
		if !slices.Contains(free, i) {
			delete(v.turns, i)
		}
	}
	for _, i := range free {
		t, ok := v.turns[i]
		if !ok || !slices.Equal(t.line, line.Nodes) {
			t = turn{at: v.opens(i, now).Add(v.delay(line.Nodes)), line: line.Nodes}
			v.turns[i] = t
		}
		if !any || t.at.Before(first) {
			first, any = t.at, true
		}
	}
	if closed {
		first, any = reopens, true
	}
	if after, ends := v.lock.pauseEnds(paused); ends && (!any || now.Add(after).Before(first)) {
		first, any = now.Add(after), true
	}
	return first, any
}

// opens is from when a slot that could be taken now may be taken.
func (v *view) opens(i int, now time.Time) time.Time {
	if gone := v.goneUntil[i]; gone.After(now) {
		return gone
	}
	return now
}

// delay is how long this node leaves a slot to others.
func (v *view) delay(line []string) time.Duration {
	if place := slices.Index(line, v.lock.cfg.Node); place >= 0 {
		return time.Duration(place) * perPlace
	}
	return time.Duration(len(line))*perPlace + spread(0)
}

// due are the slots whose turn has come: those for which this node is in the line
// come first.
func (v *view) due(now time.Time) []int {
	var out []int
	for i, t := range v.turns {
		if !t.at.After(now) {
			out = append(out, i)
		}
	}
	slices.SortFunc(out, func(a, b int) int { return v.turns[a].at.Compare(v.turns[b].at) })
	return out
}

// refused has this node wait for its watch to tell why a slot could not be taken
// that seemed to be free, and look again in the end.
func (v *view) refused(i int, now time.Time) {
	t := v.turns[i]
	t.tries++
	t.at = now.Add(spread(t.tries))
	v.turns[i] = t
}
