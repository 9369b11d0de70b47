package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/daemon/printable"
)

// column is a column of status. On a terminal that is too narrow for all, those with the
// highest drop are left out first.
type column struct {
	title string
	drop  int
	cell  func(*view, fleet.Node) string
}

var statusColumns = []column{
	{"NODE", 0, func(_ *view, n fleet.Node) string { return n.Name }},
	{"NEEDED", 5, func(_ *view, n fleet.Node) string { return needed(n) }},
	{"PHASE", 0, func(v *view, n fleet.Node) string { return v.e.paint(stateHue(n.State()), phaseOf(n)) }},
	{"REASON", 1, func(_ *view, n fleet.Node) string { return orDash(reasonOf(n)) }},
	{"SINCE", 2, (*view).since},
	{"GATES", 3, func(_ *view, n fleet.Node) string { return gatesOf(n) }},
	{"SLOT", 0, (*view).slot},
	{"ATTEMPTS", 6, func(_ *view, n fleet.Node) string { return attempts(n) }},
	{"DAEMON", 7, func(_ *view, n fleet.Node) string { return orDash(printable.Line(n.Version(), 60)) }},
	{"KERNEL", 8, func(_ *view, n fleet.Node) string { return orDash(printable.Line(n.Kernel, 60)) }},
}

var wideColumns = append(statusColumns[:len(statusColumns):len(statusColumns)],
	column{"BOOT", 0, func(_ *view, n fleet.Node) string { return orDash(printable.Line(n.BootID, 60)) }},
	column{"CONDITION", 0, func(_ *view, n fleet.Node) string { return nodeCondition(n) }},
	column{"POOL", 0, func(_ *view, n fleet.Node) string { return poolOf(n) }},
	column{"ZONE", 0, func(_ *view, n fleet.Node) string { return zoneOf(n) }},
	column{"MESSAGE", 0, func(_ *view, n fleet.Node) string { return orDash(messageOf(n)) }},
)

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func needed(n fleet.Node) string {
	switch s := n.State(); {
	case s == fleet.NoDaemon:
		return "-"
	case n.Needs():
		return "Yes"
	case s == fleet.Unreadable, s == fleet.Unknown:
		return "Unknown"
	default:
		return "No"
	}
}

// phaseOf is the record's phase, or what is to be said where there is none.
func phaseOf(n fleet.Node) string {
	switch s := n.State(); {
	case n.Record != nil:
		return string(n.Record.Phase)
	case s == fleet.Needed:
		return "-" // the daemon has not begun
	default:
		return s.String()
	}
}

func reasonOf(n fleet.Node) string {
	if n.Condition != nil {
		return n.Condition.Reason
	}
	return ""
}

// messageOf is what the daemon says. Where it does not say that it cannot read its record,
// and this program cannot, that is said, too.
func messageOf(n fleet.Node) string {
	message := ""
	if n.Condition != nil {
		message = n.Condition.Message
	}
	if n.RecordErr != nil && (n.Condition == nil || n.Condition.Status != "Unknown") {
		if message != "" {
			message += "; "
		}
		message += "this program cannot read the record: " + printable.Line(n.RecordErr.Error(), 500)
	}
	return message
}

// sinceOf is when the phase began, or the condition came to its status.
func sinceOf(n fleet.Node) time.Time {
	switch {
	case n.Record != nil:
		return n.Record.Since
	case n.Condition != nil:
		return n.Condition.Since
	}
	return time.Time{}
}

func (v *view) since(n fleet.Node) string {
	t := sinceOf(n)
	if t.IsZero() {
		return "-"
	}
	return ago(v.f.At.Sub(t))
}

func gatesOf(n fleet.Node) string {
	closed, known := n.Closed()
	switch {
	case len(closed) > 0:
		return printable.Line(strings.Join(closed, ","), 200)
	case !known && n.Record != nil:
		return "?" // its daemon does not say
	}
	return "-"
}

// slot is the slot that the node holds, or its place in the queue.
func (v *view) slot(n fleet.Node) string {
	if s, ok := v.f.SlotOf(n.Name); ok {
		return s.Name
	}
	if p, ok := v.places[n.Name]; ok {
		return "queue " + strconv.Itoa(p)
	}
	if s := n.State(); v.f.Unread != nil && (s == fleet.Halted || s == fleet.Blocked || s == fleet.UnderWay) {
		return "?" // it has one; Leases cannot be read
	}
	return "-"
}

func attempts(n fleet.Node) string {
	if n.Record == nil || n.Record.Attempts == 0 {
		return "-"
	}
	return strconv.Itoa(n.Record.Attempts)
}

// nodeCondition is as kubectl get nodes has it.
func nodeCondition(n fleet.Node) string {
	s := "NotReady"
	if n.Ready {
		s = "Ready"
	}
	if n.Cordoned {
		s += ",SchedulingDisabled"
	}
	if n.Going {
		s += ",Deleting"
	}
	return s
}

func poolOf(n fleet.Node) string {
	if n.Daemon == nil {
		return "-"
	}
	return orDash(printable.Line(n.Daemon.Pool, 60))
}

func zoneOf(n fleet.Node) string {
	if n.Status == nil {
		return "-"
	}
	return orDash(printable.Line(n.Status.Zone, 100))
}

func stateHue(s fleet.State) hue {
	switch s {
	case fleet.Halted, fleet.Unreadable, fleet.Blocked:
		return red
	case fleet.UnderWay, fleet.Unknown:
		return yellow
	case fleet.Queued, fleet.Waiting, fleet.Needed:
		return cyan
	case fleet.NoDaemon, fleet.Idle:
		return dim
	}
	return plain
}

// rows are the table of these nodes, its header included. With a width, columns are left
// out until it fits.
func (v *view) rows(nodes []fleet.Node, width int) []string {
	columns := statusColumns
	if v.wide {
		columns = wideColumns
	}
	cells := make([][]string, len(nodes)+1)
	for _, c := range columns {
		cells[0] = append(cells[0], v.e.paint(bold, c.title))
		for i, n := range nodes {
			cells[i+1] = append(cells[i+1], c.cell(v, n))
		}
	}
	drops := make([]int, len(columns))
	for i, c := range columns {
		drops[i] = c.drop
	}
	if width <= 0 || v.wide {
		return layout(cells)
	}
	return layout(fit(cells, drops, width))
}

// fold chooses the nodes that are shown in a table of so many lines, and says what is left
// out. What needs a person, or is under way, is never left out; room 0 leaves out nothing.
func (v *view) fold(room int) (shown []fleet.Node, left []string) {
	if room <= 0 || len(v.nodes) <= room {
		return v.nodes, nil
	}
	by := map[fleet.State][]fleet.Node{}
	for _, n := range v.nodes {
		by[n.State()] = append(by[n.State()], n)
	}
	queued, waiting, needed, none, idle := by[fleet.Queued], by[fleet.Waiting], by[fleet.Needed], by[fleet.NoDaemon], by[fleet.Idle]
	room -= len(v.nodes) - len(queued) - len(waiting) - len(needed) - len(none) - len(idle) + foldedLines
	q := keep(len(queued), max(room-min(room/3, len(waiting)+len(needed)), 3))
	w := keep(len(waiting), max(room-q-min(3, len(needed)), 3))
	u := keep(len(needed), max(room-q-w, 3))
	skipped := map[string]bool{}
	for _, part := range [][]fleet.Node{queued[q:], waiting[w:], needed[u:], none, idle} {
		for _, n := range part {
			skipped[n.Name] = true
		}
	}
	for _, n := range v.nodes {
		if !skipped[n.Name] {
			shown = append(shown, n)
		}
	}
	for _, part := range []struct {
		n         int
		one, many string
	}{
		{len(queued) - q, "1 more node is in the queue", "%d more nodes are in the queue"},
		{len(waiting) - w, "1 more node waits", "%d more nodes wait"},
		{len(needed) - u, "1 more node needs a reboot", "%d more nodes need a reboot"},
		{len(none), "1 node has no daemon", "%d nodes have no daemon"},
		{len(idle), "1 node is idle", "%d nodes are idle"},
	} {
		switch {
		case part.n == 1:
			left = append(left, part.one)
		case part.n > 1:
			left = append(left, fmt.Sprintf(part.many, part.n))
		}
	}
	return shown, []string{v.e.paint(dim, "... "+strings.Join(left, "; ")+" (-o wide shows every node)")}
}

// foldedLines is how many lines it takes to say what is left out.
const foldedLines = 1

// keep is how many of n are shown where there is room for so many.
func keep(n, room int) int { return min(n, room) }
