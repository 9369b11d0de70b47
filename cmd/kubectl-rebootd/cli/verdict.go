package cli

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
)

// maxNames bounds how many nodes or pods are named in one part of the verdict.
const maxNames = 3

// verdict is how the fleet stands, in a sentence.
func (v *view) verdict() string {
	by := map[fleet.State][]fleet.Node{}
	for _, n := range v.nodes {
		by[n.State()] = append(by[n.State()], n)
	}
	parts := []string{v.needs()}
	parts = append(parts, v.stopped(by)...)
	parts = append(parts, v.pauses()...)
	parts = append(parts, v.moving(slices.Concat(by[fleet.Blocked], by[fleet.UnderWay]))...)
	parts = append(parts, v.waiting(by)...)
	if len(by[fleet.Halted]) == 0 && len(v.nodes) > 1 && slices.ContainsFunc(v.nodes, fleet.Node.Needs) {
		parts = append(parts, "halted: none")
	}
	parts = append(parts, strangers(by)...)
	if t := v.nextWindow(); !t.IsZero() {
		parts = append(parts, "next window "+v.e.clock(t))
	}
	if left := v.forecast.Done.Sub(v.f.At); left > 0 && len(v.forecast.Halts) == 0 {
		text := "about " + ago(left) + " left"
		if n := len(v.forecast.Unknown); n > 0 {
			text += ", not counting " + count(n, "node")
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

// needs says how many nodes need a reboot.
func (v *view) needs() string {
	n := 0
	for _, node := range v.nodes {
		if node.Needs() {
			n++
		}
	}
	total := len(v.nodes)
	switch {
	case total == 0 && v.selected:
		return "no node is selected"
	case total == 0:
		return "the cluster has no nodes"
	case total == 1 && n == 1:
		return v.nodes[0].Name + " needs a reboot"
	case total == 1 && needed(v.nodes[0]) == "No":
		return v.nodes[0].Name + " needs no reboot"
	case total == 1:
		return "it is not known whether " + v.nodes[0].Name + " needs a reboot"
	case n == 0:
		return fmt.Sprintf("none of %d nodes needs a reboot", total)
	case n == 1:
		return fmt.Sprintf("1 of %d nodes needs a reboot", total)
	default:
		return fmt.Sprintf("%d of %d nodes need a reboot", n, total)
	}
}

// stopped says what does not continue without a person.
func (v *view) stopped(by map[fleet.State][]fleet.Node) (parts []string) {
	if halted := by[fleet.Halted]; len(halted) > 0 {
		parts = append(parts, "halted: "+someNodes(halted, func(n fleet.Node) string { return n.Name + " for " + v.since(n) }))
	}
	if bad := by[fleet.Unreadable]; len(bad) > 0 {
		records := "the record of "
		if len(bad) > 1 {
			records = "the records of "
		}
		parts = append(parts, records+someNodes(bad, nameOf)+" cannot be read")
	}
	return parts
}

// pauses says which locks are paused.
func (v *view) pauses() (parts []string) {
	for _, p := range v.f.Pauses {
		if !p.Over(v.f.At) {
			parts = append(parts, v.pause(p))
		}
	}
	return parts
}

// pause says that a lock is paused.
func (v *view) pause(p fleet.Pause) string {
	what := "paused"
	if len(v.f.Locks()) > 1 {
		what = "lock " + printable.Line(p.Lock, 60) + " is paused"
	}
	switch {
	case !p.Until.IsZero():
		what += " until " + v.e.clock(p.Until)
	case p.UntilText != "":
		what += fmt.Sprintf(" without an end, since %q is not a valid time", printable.Line(p.UntilText, 60))
	}
	if p.Why != "" {
		what += ": " + printable.Line(p.Why, 120)
	}
	return what
}

// moving says what those do that have a slot.
func (v *view) moving(nodes []fleet.Node) (parts []string) {
	for i, n := range nodes {
		if i == maxNames {
			return append(parts, fmt.Sprintf("%d more are under way", len(nodes)-i))
		}
		parts = append(parts, v.progress(n))
	}
	return parts
}

func (v *view) progress(n fleet.Node) string {
	for_ := v.since(n)
	switch {
	case n.Record.Undoing() != nil:
		return fmt.Sprintf("%s is being put back as it was (%s)", n.Name, printable.Line(string(n.Record.Undoing().Reason), 60))
	case n.Record.Phase == api.PhaseDraining:
		return fmt.Sprintf("%s has been draining for %s%s", n.Name, for_, pods(n))
	case n.Record.Phase == api.PhaseRebooting:
		return fmt.Sprintf("%s has been rebooting for %s", n.Name, for_)
	case n.Record.Phase == api.PhaseVerifying:
		return fmt.Sprintf("%s is back, and has been verifying that it is healthy for %s", n.Name, for_)
	}
	return fmt.Sprintf("%s has been %s for %s", n.Name, printable.Line(string(n.Record.Phase), 60), for_)
}

// pods says in brackets how far a drain has come, if that is known.
func pods(n fleet.Node) string {
	if n.Status == nil || n.Status.Drain == nil {
		if n.State() == fleet.Blocked {
			return " (pods are blocked)"
		}
		return ""
	}
	d := n.Status.Drain
	if d.BlockedTotal > 0 {
		names := make([]string, 0, maxNames)
		for _, p := range d.Blocked[:min(len(d.Blocked), maxNames)] {
			names = append(names, printable.Line(p.Namespace+"/"+p.Name, 120))
		}
		text := count(d.BlockedTotal, "pod") + " blocked"
		if len(names) > 0 {
			text += ": " + strings.Join(names, ", ")
			if more := d.BlockedTotal - len(names); more > 0 {
				text += fmt.Sprintf(" and %d more", more)
			}
		}
		return " (" + text + ")"
	}
	return fmt.Sprintf(" (%d of %s gone)", max(d.Total-d.Left, 0), count(d.Total, "pod"))
}

// waiting says who waits for a slot, and who for a gate.
func (v *view) waiting(by map[fleet.State][]fleet.Node) (parts []string) {
	queue, next, waits := 0, []string(nil), map[string]int{}
	for _, n := range by[fleet.Queued] {
		if s, holds := v.f.SlotOf(n.Name); holds {
			parts = append(parts, fmt.Sprintf("%s holds %s and waits (%s)", n.Name, s.Name, orDash(reasonOf(n))))
			continue
		}
		if v.places[n.Name] == 0 { // nobody counts on it: it is held, or is being deleted
			reason := orDash(reasonOf(n))
			if n.Hold != nil {
				reason = string(api.ReasonHeld)
			}
			waits[reason]++
			continue
		}
		if queue++; v.places[n.Name] == 1 {
			next = append(next, n.Name)
		}
	}
	switch {
	case queue == 1 && len(v.nodes) == 1 && v.places[v.nodes[0].Name] > 0:
		parts = append(parts, fmt.Sprintf("it is number %d in the queue", v.places[v.nodes[0].Name]))
	case queue > 0 && len(next) == 0:
		parts = append(parts, fmt.Sprintf("%d in the queue", queue))
	case queue > 0: // the first of each lock
		parts = append(parts, fmt.Sprintf("%d in the queue, next %s", queue, strings.Join(next[:min(len(next), maxNames)], " and ")))
	}
	for _, n := range by[fleet.Waiting] {
		waits[orDash(reasonOf(n))]++
	}
	if len(waits) > 0 {
		all := 0
		names := slices.SortedFunc(maps.Keys(waits), func(a, b string) int { return cmp.Or(cmp.Compare(waits[b], waits[a]), cmp.Compare(a, b)) })
		for _, n := range waits {
			all += n
		}
		var texts []string
		for i, name := range names {
			if i == maxNames {
				texts = append(texts, "and "+count(len(names)-i, "more reason"))
				break
			}
			texts = append(texts, fmt.Sprintf("%s %d", name, waits[name]))
		}
		parts = append(parts, fmt.Sprintf("%d waiting (%s)", all, strings.Join(texts, ", ")))
	}
	if n := by[fleet.Needed]; len(n) > 0 {
		parts = append(parts, fmt.Sprintf("%d not begun", len(n)))
	}
	return parts
}

// nextWindow is the first moment at which a window opens for a node that waits for one.
func (v *view) nextWindow() (next time.Time) {
	for _, n := range v.nodes {
		if n.Status == nil {
			continue
		}
		for _, g := range n.Status.Gates {
			if g.State == api.GateClosed && g.Reason == api.ReasonOutsideWindow && g.Until.After(v.f.At) && (next.IsZero() || g.Until.Before(next)) {
				next = g.Until
			}
		}
	}
	return next
}

// strangers says of which nodes nothing is known.
func strangers(by map[fleet.State][]fleet.Node) (parts []string) {
	if u := by[fleet.Unknown]; len(u) > 0 {
		parts = append(parts, "unknown: "+someNodes(u, func(n fleet.Node) string { return n.Name + " (" + orDash(reasonOf(n)) + ")" }))
	}
	if none := by[fleet.NoDaemon]; len(none) > 0 {
		parts = append(parts, "without a daemon: "+someNodes(none, nameOf))
	}
	return parts
}

func nameOf(n fleet.Node) string { return n.Name }

// someNodes names some of the nodes, and says how many more there are.
func someNodes(nodes []fleet.Node, say func(fleet.Node) string) string {
	var names []string
	for _, n := range nodes {
		names = append(names, say(n))
	}
	return some(names, maxNames)
}

// count is a number of things.
func count(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// verdictHue is the colour of the verdict.
func (v *view) verdictHue() hue {
	switch statusCode(v.nodes) {
	case exitOK:
		return green
	case exitStopped:
		return red
	default:
		return bold
	}
}
