package fleet

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/window"
)

// lengthUnknown is what is said of a node that works for nobody knows how long.
const lengthUnknown = "is under way, and how long that takes is not known"

// works takes in a node that has a slot.
func (c *course) works(n Node) {
	zone := ""
	if n.Status != nil {
		zone = n.Status.Zone
	}
	w := work{c: decide.Candidate{Node: n.Name, Phase: n.Record.Phase, ControlPlane: n.ControlPlane, Zone: zone}}
	step := Step{Node: n.Name, Lock: c.lock, Begin: n.began()}
	var what string
	switch r := n.Record; {
	case r.Phase == api.PhaseHalted:
		what, w.halt = "has halted, and keeps its slot until that is resolved: "+n.says(), true
	case r.Undoing() != nil:
		what = fmt.Sprintf("is being put back: %s: %s", r.Undo.Reason, r.Undo.Message)
	case r.Phase == api.PhaseQueued:
		what = c.hasSlot(n, &step)
	case n.State() == Blocked:
		what = "is draining, and pods cannot be evicted: " + n.says()
	default:
		what = c.underWay(n, &step)
	}
	w.end = step.End
	if w.end.IsZero() {
		w.why = n.Name + " " + what
	}
	c.at = append(c.at, w)
	if what == "" || what == lengthUnknown {
		c.out.Steps = append(c.out.Steps, step)
	} else {
		c.out.Unknown[n.Name] = "it " + what
	}
}

// unreadable is what is said of a node whose record cannot be read.
func (n Node) unreadable() string {
	if n.Newer() {
		return "has a record of a newer version, which this program cannot read"
	}
	return "has a record that cannot be read, and its daemon takes no action"
}

// keptBySlot takes in those that keep a slot, and say nothing of what they do.
func (c *course) keptBySlot() {
	for _, s := range c.f.Slots {
		if s.Lock != c.lock || s.Holder == "" {
			continue
		}
		n, there := c.f.Node(s.Holder)
		what := ""
		switch {
		case !there:
			continue // whoever comes next takes it
		case n.RecordErr != nil:
			what = n.unreadable()
		case n.Going:
			what = "is being deleted"
		case n.Record != nil:
			continue // at work
		default:
			_, why := c.f.Lingers(s)
			if why == "" || c.slots > 0 && s.Index >= c.slots {
				continue // about to release it, or it is a slot that nobody takes any more
			}
			what = "keeps one: " + why
		}
		c.at = append(c.at, work{
			c:   decide.Candidate{Node: n.Name, Phase: api.PhaseDraining, ControlPlane: n.ControlPlane, Zone: c.f.OpenZones[c.lock]},
			why: n.Name + " " + what,
		})
	}
}

// began is when the node was cordoned, or entered its phase.
func (n Node) began() time.Time {
	if t := n.Record.Times; t != nil && !t.Cordoned.IsZero() {
		return t.Cordoned
	}
	return n.Record.Since
}

// hasSlot foresees a node that has a slot in hand and has not begun.
func (c *course) hasSlot(n Node, step *Step) (what string) {
	w, never := c.waiter(n)
	if never == "" {
		never = w.look(c.f.At)
	}
	if never != "" {
		return "waits with its slot in hand: " + never
	}
	step.Begin, step.Why = w.from, w.why
	if w.takes == 0 {
		return lengthUnknown
	}
	step.End = w.from.Add(w.takes)
	return ""
}

// underWay foresees the end of a node that drains, reboots or is verified.
func (c *course) underWay(n Node, step *Step) (what string) {
	spell, r := c.took.of(n.Name), n.Record
	expected, since := spell.reboot, step.Begin
	switch {
	case r.Phase == api.PhaseDraining:
		expected, step.Why = spell.whole(), "draining"
	case r.Phase == api.PhaseVerifying:
		step.Why = "being verified"
	default:
		step.Why = "rebooting"
	}
	if r.Order != nil && r.Phase != api.PhaseDraining {
		since = r.Order.At
	}
	elapsed := max(0, c.f.At.Sub(since))
	switch {
	case spell.reboot == 0:
		return lengthUnknown
	case elapsed > 2*expected:
		return "takes longer than reboots did before"
	}
	step.End = c.f.At.Add(max(expected-elapsed, time.Minute))
	return ""
}

// calendar reads windows and freezes, each list of them once.
type calendar struct {
	load  func(string) (*time.Location, error)
	known map[string]read
}

type read struct {
	times window.Schedule
	err   error
}

func (c *calendar) read(specs []string) (window.Schedule, error) {
	key := strings.Join(specs, "\n")
	r, is := c.known[key]
	if !is {
		load := c.load
		if load == nil {
			load = func(name string) (*time.Location, error) {
				if name == "UTC" {
					return time.UTC, nil
				}
				return nil, errors.New("time zones are not known here")
			}
		}
		r.times, r.err = window.Parse(specs, load)
		if c.known == nil {
			c.known = map[string]read{}
		}
		c.known[key] = r
	}
	return r.times, r.err
}
