package decide

import (
	"time"

	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/printable"
)

// closed is the first gate that is closed at one of the points, with words that fit
// into a message and a time that is to come.
func closed(f Facts, at gate.Points) (gate.Status, bool) {
	g, is := gate.FirstClosed(f.Gates, at)
	g.Why = printable.Line(g.Why, maxWhy)
	if !g.Until.After(f.Now) {
		g.Until = time.Time{}
	}
	return g, is
}

// unknown is the first gate that binds at one of the points and has not answered yet.
func unknown(f Facts, at gate.Points) (gate.Status, bool) {
	return gate.FirstUnknown(f.Gates, at)
}
