package cli

import (
	"fmt"
	"slices"
	"strings"

	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
)

const (
	maxNotes    = 10 // nodes of which more is said below the table, on a terminal
	maxPodNotes = 5  // blocked pods of each
	barWidth    = 24
)

// lines are all that is shown: the verdict, the table, and below it what a person is to
// know of single nodes. On a terminal they have a width, and a height that they try to
// keep to.
func (v *view) lines(width, height int) []string {
	var out []string
	for _, line := range wrap(v.verdict(), width, "  ") {
		out = append(out, v.e.paint(v.verdictHue(), line))
	}
	if len(v.nodes) == 0 {
		return out
	}
	notes := v.notes(width, height)
	room := 0
	if height > 0 {
		room = max(height-len(out)-len(notes)-4, 1) // blank lines, the header, the prompt
	}
	shown, left := v.fold(room)
	if len(shown) > 0 {
		out = append(out, "")
		out = append(out, v.rows(shown, width)...)
	}
	out = append(out, left...)
	if len(notes) > 0 {
		out = append(out, "")
		out = append(out, notes...)
	}
	return out
}

// notes say of nodes that need a person, or are under way, what there is to know, and of
// the fleet what is odd.
func (v *view) notes(width, height int) (out []string) {
	said, more := 0, 0
	for _, n := range v.nodes {
		lines := v.note(n, height > 0)
		switch {
		case len(lines) == 0:
		case height > 0 && said == maxNotes:
			more++
		default:
			said++
			for _, line := range lines {
				out = append(out, wrap(line, width, "    ")...)
			}
		}
	}
	if more > 0 {
		out = append(out, fmt.Sprintf("... and of %s (-o wide says it)", count(more, "more node")))
	}
	for _, line := range slices.Concat(v.closed(height > 0), v.orphans(), v.versions()) {
		out = append(out, wrap(line, width, "    ")...)
	}
	return out
}

// note is what there is to know of a node, nil if the table says enough.
func (v *view) note(n fleet.Node, bar bool) []string {
	head := v.e.paint(bold, n.Name) + ": "
	switch n.State() {
	case fleet.Halted, fleet.Unreadable, fleet.Unknown:
		return []string{head + orDash(messageOf(n))}
	case fleet.Blocked, fleet.UnderWay:
	default:
		return nil
	}
	d := (*api.DrainStatus)(nil)
	if n.Status != nil && n.Record.Phase == api.PhaseDraining && n.Record.Undoing() == nil {
		d = n.Status.Drain
	}
	if d == nil {
		return []string{head + orDash(messageOf(n))}
	}
	if !bar && d.BlockedTotal == 0 {
		return nil // the verdict says it
	}
	gone := max(d.Total-d.Left, 0)
	line := fmt.Sprintf("%s%d of %s gone", head, gone, count(d.Total, "pod"))
	if bar && d.Total > 0 {
		full := min(gone*barWidth/d.Total, barWidth)
		line = fmt.Sprintf("%s[%s%s] %d of %s gone", head, v.e.paint(green, strings.Repeat("#", full)), strings.Repeat(".", barWidth-full), gone, count(d.Total, "pod"))
	}
	out := []string{line}
	for i, p := range d.Blocked {
		if i == maxPodNotes {
			break
		}
		out = append(out, v.pod(p))
	}
	if more := d.BlockedTotal - min(len(d.Blocked), maxPodNotes); more > 0 {
		out = append(out, fmt.Sprintf("  and %s", count(more, "more blocked pod")))
	}
	return out
}

// pod says why a pod is blocked.
func (v *view) pod(p api.BlockedPod) string {
	reason := printable.Line(string(p.Reason), 60)
	why := printable.Line(p.Message, 300)
	if why == "" {
		why = p.Reason.Info().Meaning
	}
	word := reason
	if p.Reason.Info().Permanent {
		word += ", needs a person"
	}
	if !p.Since.IsZero() {
		word += ", for " + ago(v.f.At.Sub(p.Since))
	}
	return fmt.Sprintf("  %s: %s (%s)", v.e.paint(red, printable.Line(p.Namespace+"/"+p.Name, 200)), why, word)
}

// closed says what keeps nodes waiting, once for all of whom the same is to be said. A pause
// and that slots are held are said already.
func (v *view) closed(bounded bool) (out []string) {
	waiting := map[string][]fleet.Node{}
	var order []string
	for _, n := range v.nodes {
		switch s := n.State(); {
		case s == fleet.Waiting, s == fleet.Needed:
		case s == fleet.Queued && reasonOf(n) != string(api.ReasonQueued) && reasonOf(n) != string(api.ReasonPaused):
		default:
			continue
		}
		m := messageOf(n)
		if waiting[m] == nil && m != "" {
			order = append(order, m)
		}
		waiting[m] = append(waiting[m], n)
	}
	for i, m := range order {
		if bounded && i == maxPodNotes {
			return append(out, fmt.Sprintf("... and %s to wait (-o wide says all)", count(len(order)-i, "more reason")))
		}
		out = append(out, v.e.paint(bold, someNodes(waiting[m], nameOf))+": "+m)
	}
	return out
}

// orphans says which slots are held by nodes that the cluster does not have.
func (v *view) orphans() (out []string) {
	for _, s := range v.f.Slots {
		if s.TooNew {
			out = append(out, fmt.Sprintf("slot %s was written by a newer version of rebootd", s.Name))
		}
		if _, there := v.f.Node(s.Holder); s.Holder != "" && !there {
			out = append(out, fmt.Sprintf("slot %s is held by %s, which is not a Node of this cluster", s.Name, s.Holder))
		}
	}
	return out
}

// versions says which versions of the daemon run, if there is more than one.
func (v *view) versions() []string {
	nodes := map[string][]fleet.Node{}
	var order []string
	for _, n := range v.nodes {
		version := n.Version()
		if version == "" {
			continue
		}
		if nodes[version] == nil {
			order = append(order, version)
		}
		nodes[version] = append(nodes[version], n)
	}
	if len(order) < 2 {
		return nil
	}
	slices.SortFunc(order, func(a, b string) int {
		if d := len(nodes[b]) - len(nodes[a]); d != 0 {
			return d
		}
		return strings.Compare(b, a)
	})
	var parts []string
	for i, version := range order {
		what := printable.Line(version, 60)
		if version == "?" {
			what = "a version that does not say which"
		}
		if i == 0 {
			parts = append(parts, fmt.Sprintf("%s on %s", what, count(len(nodes[version]), "node")))
			continue
		}
		slices.SortFunc(nodes[version], func(a, b fleet.Node) int { return strings.Compare(a.Name, b.Name) })
		parts = append(parts, what+" on "+someNodes(nodes[version], nameOf))
	}
	return []string{"daemons of different versions: " + strings.Join(parts, "; ")}
}
