// Package windows is the gates of maintenance windows and freezes. When those are is
// known to package window; this one knows what follows for a node: whether enough of a
// window is left for its reboot, what its own annotation says, and that not all nodes
// begin in the same second.
package windows

import (
	"fmt"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

// Settings are what the gates are configured with.
type Settings struct {
	// Entries are windows and freezes, as package window reads them. None: a reboot may
	// begin at any time, but for what the Node's annotation says.
	Entries []string
	// Zone finds a time zone by its name.
	Zone func(name string) (*time.Location, error)
	// PutBack says that a node which still drains when its window has closed, or a freeze
	// has begun, is put back. Otherwise what has begun is finished.
	PutBack bool
	// Reserve is how much of a window must be left for a reboot to begin. Auto: as much as
	// the last reboot of the node took, by what its Node says of the past, and at most
	// Longest; nothing where that is not known.
	Reserve time.Duration
	Auto    bool
	Longest time.Duration
}

// Window is the gate of the windows.
type Window struct{ *calendar }

// Freeze is the gate of the freezes.
type Freeze struct{ *calendar }

// New makes both gates. Entries that cannot be read keep the first one closed, which
// says why.
func New(s Settings) (Window, Freeze) {
	c := newCalendar(s)
	return Window{c}, Freeze{c}
}

// Kind is what is to be known of the gate. That a window is not long enough any more does
// not bind while draining, and nothing does unless PutBack.
func (Window) Kind() gate.Kind {
	return gate.Kind{
		Name: gate.Window, Reason: api.ReasonOutsideWindow, Binds: gate.BeforeQueue | gate.WhileDraining, Soft: true,
		Meaning: "no maintenance window (`--window`, or the annotation `rebootd.dev/windows`) is open, or not enough of it is left for a reboot. A drain that has begun is put back only with `--window-end=put-back`",
	}
}

// Kind is what is to be known of the gate.
func (Freeze) Kind() gate.Kind {
	return gate.Kind{
		Name: gate.Freeze, Reason: api.ReasonFrozen, Binds: gate.BeforeQueue | gate.WhileDraining,
		Meaning: "a freeze (`--window`, or the annotation `rebootd.dev/windows`) is in force, or would be before a reboot could end. A drain that has begun is put back only with `--window-end=put-back`",
	}
}

// Invalid says what is wrong with the node's own windows.
func (g Window) Invalid(n gate.Node) string {
	if _, own := n.Annotations[api.WindowsAnnotation]; !own {
		return ""
	}
	t := g.termsOf(gate.View{Node: n})
	if t.problem == "" {
		return ""
	}
	return t.problem + "; no reboot begins until then"
}

// Times are the windows of the node.
func (g Window) Times(n gate.Node) []string { return g.times(n, false) }

// Times are the freezes that count for the node.
func (g Freeze) Times(n gate.Node) []string { return g.times(n, true) }

// times are the windows or the freezes. While the windows cannot be read there are none.
func (c *calendar) times(n gate.Node, freezes bool) (out []string) {
	t := c.termsOf(gate.View{Node: n})
	for _, e := range t.schedule.Entries() {
		if e.IsFreeze() == freezes && (freezes || t.problem == "") {
			out = append(out, e.String())
		}
	}
	return out
}

// Look says whether a reboot of the node may begin by the windows.
func (g Window) Look(v gate.View) gate.Verdict {
	t := g.termsOf(v)
	closed := gate.Verdict{State: gate.Closed, At: gate.BeforeQueue}
	if t.problem != "" {
		closed.Why = t.problem
		return closed
	}
	if !t.schedule.HasWindows() {
		return gate.Verdict{State: gate.Open}
	}
	span, is := t.schedule.Open(v.Now)
	switch {
	case !is:
		closed.Why = "outside the maintenance windows"
		if g.PutBack {
			closed.At = 0
		}
	case v.Now.Before(t.begins(span)):
		closed.Why = "the maintenance window is open, and this node's turn in it begins a little later: not all nodes begin at once"
	case v.Now.Add(t.takes).After(span.End):
		closed.Why = fmt.Sprintf("the maintenance window closes at %s, and %s", span.End.Format(time.RFC3339), g.need(t))
	default:
		return gate.Verdict{State: gate.Open}
	}
	var longest time.Duration
	closed.Until, longest, is = t.first(v.Now)
	switch {
	case !closed.Until.IsZero():
	case longest > 0:
		closed.Why = fmt.Sprintf("no maintenance window is long enough: %s, and the longest of the next 400 days has %s", g.need(t), longest)
	case is:
		closed.Why += "; every window of the next 400 days is frozen"
	default:
		closed.Why += "; no window opens within 400 days"
	}
	return closed
}

// need is how much of a window must be left, in words.
func (c *calendar) need(t terms) string {
	if c.Auto {
		return fmt.Sprintf("a reboot of this node takes about %s", t.takes)
	}
	return fmt.Sprintf("%s must be left of it (--window-reserve)", t.takes)
}

// Look says whether a reboot of the node may begin by the freezes.
func (g Freeze) Look(v gate.View) gate.Verdict {
	t := g.termsOf(v)
	f, is := t.freezeBy(v.Now)
	if !is {
		return gate.Verdict{State: gate.Open}
	}
	closed := gate.Verdict{State: gate.Closed, At: gate.BeforeQueue, Until: t.thaws(v.Now)}
	switch {
	case f.Start.After(v.Now) && g.Auto:
		closed.Why = fmt.Sprintf("a freeze (%s) begins at %s, and a reboot of this node takes about %s", f.text(), f.Start.Format(time.RFC3339), t.takes)
	case f.Start.After(v.Now):
		closed.Why = fmt.Sprintf("a freeze (%s) begins at %s, and no reboot may begin in the %s before it (--window-reserve)", f.text(), f.Start.Format(time.RFC3339), t.takes)
	default:
		closed.Why = fmt.Sprintf("a freeze is in force (%s)", f.text())
		if g.PutBack {
			closed.At = 0
		}
	}
	if closed.Until.IsZero() {
		closed.Why += "; the freezes leave no time for a reboot within 400 days"
	}
	return closed
}
