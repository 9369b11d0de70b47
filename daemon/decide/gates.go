package decide

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/printable"
)

// closed is the first gate that is closed at one of the points, with words that fit
// into a message and a time that is to come.
func closed(f Facts, at gate.Points) (gate.Status, bool) {
	g, is := gate.FirstClosed(f.Gates, at)
	return told(g, f), is
}

// told is a gate with the words that people are told: why it is closed, and until when.
// Its Until is when to ask it again.
func told(g gate.Status, f Facts) gate.Status {
	g.Why = printable.Line(g.Why, maxWhy)
	now := f.Wall()
	if g.Until.After(now) {
		if until := ", until " + g.Until.UTC().Format(time.RFC3339); !strings.HasSuffix(g.Why, until) {
			g.Why += until
		}
	} else {
		g.Until = time.Time{}
	}
	if g.Again.After(now) && (g.Until.IsZero() || g.Again.Before(g.Until)) {
		g.Until = g.Again
	}
	if !g.Until.IsZero() {
		g.Until = f.due(g.Until)
	}
	return g
}

// unknown is the first gate that binds at one of the points and has not answered yet.
func unknown(f Facts, at gate.Points) (gate.Status, bool) {
	return gate.FirstUnknown(f.Gates, at)
}

// also is what is to be said besides of the gates while the node waits: those that are
// closed at one of the points and come after the first, and what any has to note.
func also(f Facts, at gate.Points) string {
	var parts []string
	if all := gate.AllClosed(f.Gates, at); len(all) > 1 {
		for _, g := range all[1:] {
			parts = append(parts, fmt.Sprintf("also %s: %s", g.Reason, told(g, f).Why))
		}
	}
	for _, g := range f.Gates {
		if g.Note != "" {
			parts = append(parts, printable.Line(g.Note, maxWhy))
		}
	}
	return strings.Join(parts, "; ")
}

// unsaid leaves out of what gates have to note what people are told already: the gate that
// was the cause of a pause may still see it.
func unsaid(f Facts, said string) Facts {
	f.Gates = slices.Clone(f.Gates)
	for i, g := range f.Gates {
		if g.Note != "" && strings.Contains(said, printable.Line(g.Note, maxWhy)) {
			f.Gates[i].Note = ""
		}
	}
	return f
}

// joined are sentences, one after the other.
func joined(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}
