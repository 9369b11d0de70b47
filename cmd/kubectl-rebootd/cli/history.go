package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/cmd/kubectl-rebootd/client"
	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/cmd/kubectl-rebootd/roll"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
)

func newHistory(e *env) *cobra.Command {
	var selector, since string
	var o output
	c := &cobra.Command{
		Use:   "history [NODE...]",
		Short: "Show what the last reboots came to",
		Long: `Show what the last reboots came to, the latest first, a line each.

Each node remembers its last ten operations, those that were cancelled included. Operations
that are under way come first. Of a node with an older version of the daemon only the last
drain is known. "-" says that something is not known.

WAITED is from the request until the cordon, DRAIN from there until the node was drained,
DOWN from the order to reboot until the daemon ran in the next boot, TOTAL from the request
until the node was put back. PODS have left the node.`,
		Example: `  # What did last night do?
  {} history --since 12h
  # All that a node remembers, with boot IDs and why:
  {} history node-7 -o wide`,
		RunE: func(c *cobra.Command, args []string) error {
			from, err := parseSince(since, e.now(), e.zone)
			if err != nil {
				return err
			}
			r, err := e.roll(c.Context(), args, selector, from)
			if err != nil {
				return err
			}
			return e.printHistory(r, o)
		},
	}
	c.Example = strings.ReplaceAll(c.Example, "{}", e.name)
	rollFlags(c, &selector, &since, "")
	outputFlag(c, &o, "wide", "json", "yaml")
	return c
}

// rollFlags are those that say of which nodes and of which time.
func rollFlags(c *cobra.Command, selector, since *string, usual string) {
	c.Flags().StringVarP(selector, "selector", "l", "", "only nodes with these labels")
	c.Flags().StringVar(since, "since", usual, "only what is under way or has ended since then: 24h, 7d, a date (2026-11-27) or a time (RFC 3339)")
}

// maxSince is how far back can be asked for: longer than anything is remembered.
const maxSince = 100 * 365 * 24 * time.Hour

// parseSince reads since when: "" is the zero time, which is before everything.
func parseSince(text string, now time.Time, zone *time.Location) (time.Time, error) {
	bad := func() (time.Time, error) {
		return time.Time{}, usagef("--since %q is not valid; use for instance 24h, 7d, 2026-11-27 or 2026-11-27T22:00:00Z", text)
	}
	if text == "" {
		return time.Time{}, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.Atoi(days)
		if err != nil || n <= 0 || n > int(maxSince.Hours()/24) {
			return bad()
		}
		return now.In(zone).AddDate(0, 0, -n), nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		if d <= 0 || d > maxSince {
			return bad()
		}
		return now.Add(-d), nil
	}
	t, err := time.ParseInLocation(time.DateOnly, text, zone)
	if err != nil {
		t, err = time.Parse(time.RFC3339, text)
	}
	if err != nil {
		return bad()
	}
	if t.After(now) {
		return time.Time{}, usagef("--since %s is in the future", text)
	}
	return t, nil
}

// roll reads what the operations of nodes came to: of those that are named, or of all that
// a selector selects.
func (e *env) roll(ctx context.Context, names []string, selector string, since time.Time) (roll.Roll, error) {
	if len(names) > 0 && selector != "" {
		return roll.Roll{}, usagef("name nodes, or give -l, and not both")
	}
	a, err := e.connect()
	if err != nil {
		return roll.Roll{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, e.flags.timeout)
	defer cancel()
	nodes, err := e.chosen(ctx, a, names, selector)
	if err != nil {
		return roll.Roll{}, err
	}
	r := roll.Build(nodes, since, e.now())
	for _, u := range r.Unread {
		e.sayf("the history of %s cannot be read: %s", u.Node, u.Why)
	}
	return r, nil
}

func (e *env) chosen(ctx context.Context, a client.API, names []string, selector string) (nodes []fleet.Node, err error) {
	if len(names) == 0 {
		_, err = a.EachNode(ctx, selector, func(n *corev1.Node) { nodes = append(nodes, fleet.NodeOf(n)) })
		return nodes, err
	}
	read := map[string]bool{}
	var failed []error
	for _, name := range names {
		name = strings.TrimPrefix(strings.TrimPrefix(name, "nodes/"), "node/")
		if read[name] {
			continue
		}
		read[name] = true
		n, err := a.Node(ctx, name)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		nodes = append(nodes, fleet.NodeOf(n))
	}
	return nodes, errors.Join(failed...)
}

func (e *env) printHistory(r roll.Roll, o output) error {
	if o == "json" || o == "yaml" {
		return e.encode(o, historyObject(r))
	}
	if len(r.Operations) == 0 {
		e.sayf("no operation is known of %s%s", counted(r.Nodes, "node"), map[bool]string{true: " in this time"}[!r.Since.IsZero()])
		return nil
	}
	head := []string{"NODE", "ENDED", "RESULT", "WAITED", "DRAIN", "DOWN", "TOTAL", "PODS", "KERNEL"}
	if o == "wide" {
		head = append(head, "REQUESTED", "QUEUED", "VERIFY", "OUT", "ATTEMPTS", "LEVEL", "BOOT", "WHY")
	}
	rows := [][]string{head}
	for _, op := range r.Operations {
		ended := e.clock(op.Ended)
		if op.UnderWay {
			ended = "under way"
		}
		row := []string{
			op.Node, ended, e.paint(hueOf(op), op.ResultLine()), roll.Took(op.Span(roll.Waited)), roll.Took(op.Span(roll.Drain)),
			roll.Took(op.Span(roll.Down)), roll.Took(op.Span(roll.Total)), op.PodsLine(), op.KernelLine(),
		}
		if o == "wide" {
			row = append(row, e.clock(op.Requested), roll.Took(op.Span(roll.InQueue)), roll.Took(op.Span(roll.Verify)), roll.Took(op.Span(roll.Out)),
				fmt.Sprint(op.Attempts), orDash(string(op.Level)), bootLine(op), orDash(whyLine(op)))
		}
		rows = append(rows, row)
	}
	return table(e.out, rows)
}

func hueOf(o roll.Operation) hue {
	switch {
	case o.IsHalted():
		return red
	case o.UnderWay, o.HasHalted():
		return yellow
	case o.Rebooted():
		return green
	}
	return plain
}

// bootLine is the boot IDs before and after, short.
func bootLine(o roll.Operation) string {
	short := func(id string) string { return printable.Line(id, 13) }
	switch {
	case o.BootID == "":
		return "-"
	case o.NewBootID == "" || o.NewBootID == o.BootID:
		return short(o.BootID)
	}
	return short(o.BootID) + " → " + short(o.NewBootID)
}

// whyLine is what went wrong or why the operation ended as it did, and the pods that were
// stopped by force or failed; else why it was requested.
func whyLine(o roll.Operation) string {
	var parts []string
	switch {
	case o.Failure != nil:
		parts = append(parts, string(o.Failure.Reason)+": "+o.Failure.Message)
	case !o.Rebooted() && o.Message != "":
		parts = append(parts, o.Message)
	}
	for _, p := range o.Pods {
		parts = append(parts, fmt.Sprintf("%s/%s %s (%s)", p.Namespace, p.Name, p.Outcome, p.Reason))
	}
	if len(parts) == 0 {
		return o.Request
	}
	return strings.Join(parts, "; ")
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// historyList is what -o json and -o yaml print.
type historyList struct {
	object
	Since  time.Time         `json:"since,omitzero"`
	At     time.Time         `json:"at"`
	Items  []historyItem     `json:"items"`
	Unread map[string]string `json:"unread,omitempty"` // by node, why
}

// historyItem is an operation: what the daemon has written, and what follows from it. Times
// that cannot be true are left out.
type historyItem struct {
	Node     string    `json:"node"`
	UnderWay bool      `json:"underWay,omitempty"`
	Phase    api.Phase `json:"phase,omitempty"`
	Older    bool      `json:"older,omitempty"` // an older version has left this much
	// Operation is as in the annotation rebootd.dev/history, also of one that is under way.
	Operation api.Summary    `json:"operation"`
	Seconds   map[string]int `json:"seconds"` // how long what took, as far as is known
}

func historyObject(r roll.Roll) historyList {
	list := historyList{object: kind("History"), Since: r.Since, At: r.At, Items: []historyItem{}}
	for _, o := range r.Operations {
		item := historyItem{Node: o.Node, UnderWay: o.UnderWay, Phase: o.Phase, Older: o.Older, Operation: o.Summary, Seconds: map[string]int{}}
		for name, s := range map[string]roll.Span{
			"waited": roll.Waited, "inQueue": roll.InQueue, "drain": roll.Drain, "down": roll.Down, "verify": roll.Verify, "outOfService": roll.Out, "total": roll.Total,
		} {
			if d := o.Span(s); d != roll.Unknown {
				item.Seconds[name] = int(d.Seconds())
			}
		}
		list.Items = append(list.Items, item)
	}
	for _, u := range r.Unread {
		if list.Unread == nil {
			list.Unread = map[string]string{}
		}
		list.Unread[u.Node] = u.Why
	}
	return list
}
