package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"

	"rebootd.dev/cmd/kubectl-rebootd/fleet"
)

// The exit statuses of status --exit-code: the highest that any node asked for calls for.
const (
	exitNeeded   = 10 // a reboot is needed, or whether one is cannot be told
	exitWaiting  = 11 // ... and a gate is closed
	exitUnderWay = 12 // a node is drained, rebooted or verified
	exitStopped  = 13 // a node has halted, or its record cannot be read
)

type statusOptions struct {
	names    []string
	selector string
	output   output
	watch    bool
	exitCode bool
}

func newStatus(e *env) *cobra.Command {
	var o statusOptions
	c := &cobra.Command{
		Use:   "status [NODE...]",
		Short: "Show which nodes need a reboot, and how far each has come",
		Long: `Show which nodes need a reboot, and how far each has come: a verdict first, then a line a
node, sorted by what needs a person. On a terminal, what would not fit on it is folded.

With --exit-code, the status is the highest that applies to any of the nodes: 0 no reboot is
needed, 10 one is needed, 11 a gate keeps it waiting, 12 a node is drained, rebooted or
verified, 13 a node has halted or its record cannot be read.`,
		Example: fmt.Sprintf("  %[1]s status\n  %[1]s status -w\n  %[1]s status -l pool=gpu -o wide\n  %[1]s status node-7 --exit-code", e.name),
		RunE: func(c *cobra.Command, args []string) error {
			for _, arg := range args {
				name, err := nodeNamed(arg)
				if err != nil {
					return err
				}
				o.names = append(o.names, name)
			}
			return e.status(c.Context(), o)
		},
	}
	outputFlag(c, &o.output, "wide", "json", "yaml", "name")
	c.Flags().StringVarP(&o.selector, "selector", "l", "", "only nodes with these labels")
	c.Flags().BoolVarP(&o.watch, "watch", "w", false, "on a terminal, keep showing the present state, until q or Ctrl-C; else print a line a change")
	c.Flags().BoolVar(&o.exitCode, "exit-code", false, "exit with 0, 10, 11, 12 or 13 by what the nodes need; see above")
	return c
}

func (e *env) status(ctx context.Context, o statusOptions) error {
	wanted, err := labels.Parse(o.selector)
	switch {
	case err != nil:
		return usagef("the selector %q is not valid: %v", o.selector, err)
	case o.watch && o.exitCode:
		return usagef("--watch ends only when you end it: it cannot be combined with --exit-code")
	case o.watch && o.output != "" && o.output != "wide":
		return usagef("--watch cannot be combined with -o %s", o.output)
	}
	api, err := e.connect()
	if err != nil {
		return err
	}
	if o.watch {
		return e.watch(ctx, api, o, wanted)
	}
	ctx, cancel := context.WithTimeout(ctx, e.flags.timeout)
	defer cancel()
	f, err := e.read(ctx, api, "")
	if err != nil {
		return e.cannotRead(ctx, err)
	}
	if f.Unread != nil {
		e.sayf("showing less, since Leases cannot be read: which slots are held, and whether the lock is paused, is not known: %v", f.Unread)
	}
	v := e.view(f, o, wanted)
	if err := e.show(v, o); err != nil {
		return err
	}
	if missing := v.missing(o.names); len(missing) > 0 {
		return errors.New(strings.Join(missing, "\n"))
	}
	if o.exitCode {
		if status := statusCode(v.nodes); status != exitOK {
			return &exit{status: status}
		}
	}
	return nil
}

// cannotRead says what is to be done about an error of reading Nodes.
func (e *env) cannotRead(ctx context.Context, err error) error {
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w; the ClusterRole rebootd-viewer has the permissions that this takes", err)
	case ctx.Err() != nil && errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer of the API server within %s (--timeout): %w", e.flags.timeout, err)
	}
	return err
}

// view is what is shown of a fleet.
type view struct {
	e        *env
	f        fleet.Fleet
	nodes    []fleet.Node // asked for, by need
	places   map[string]int
	forecast fleet.Forecast // of the whole fleet; none if not all of it was asked for
	selected bool           // not all nodes were asked for
	wide     bool
}

func (e *env) view(f fleet.Fleet, o statusOptions, wanted labels.Selector) *view {
	v := &view{e: e, f: f, places: f.Places(), selected: len(o.names) > 0 || !wanted.Empty(), wide: o.output == "wide"}
	for _, n := range f.Nodes {
		if (len(o.names) == 0 || slices.Contains(o.names, n.Name)) && wanted.Matches(labels.Set(n.Labels)) {
			v.nodes = append(v.nodes, n)
		}
	}
	if !v.selected {
		v.forecast = f.Forecast()
	}
	slices.SortFunc(v.nodes, func(a, b fleet.Node) int {
		return cmp.Or(cmp.Compare(a.State(), b.State()), cmp.Compare(v.place(a), v.place(b)), cmp.Compare(a.Name, b.Name))
	})
	return v
}

// place orders the queue; who has no place in it comes after those that have one.
func (v *view) place(n fleet.Node) int {
	if p, ok := v.places[n.Name]; ok {
		return p
	}
	return len(v.f.Nodes) + 1
}

func (e *env) show(v *view, o statusOptions) error {
	switch o.output {
	case "json", "yaml":
		return e.encode(o.output, v.object())
	case "name":
		for _, n := range v.nodes {
			if _, err := fmt.Fprintln(e.out, "node/"+n.Name); err != nil {
				return err
			}
		}
		return nil
	}
	width, height, _ := e.terminal()
	if v.wide || len(o.names) > 0 {
		height = 0
	}
	_, err := fmt.Fprintln(e.out, strings.Join(v.lines(width, height), "\n"))
	return err
}

// missing says of each name that there is no such Node, or that the selector does not
// select it.
func (v *view) missing(names []string) (out []string) {
	for _, name := range names {
		if slices.ContainsFunc(v.nodes, func(n fleet.Node) bool { return n.Name == name }) {
			continue
		}
		if _, there := v.f.Node(name); there {
			out = append(out, fmt.Sprintf("the Node %q does not have the labels asked for", name))
		} else if like := v.like(name); like != "" {
			out = append(out, fmt.Sprintf("there is no Node %q; is %s meant?", name, like))
		} else {
			out = append(out, fmt.Sprintf("there is no Node %q", name))
		}
	}
	return out
}

// like is the Node whose name is most like a mistyped one, "" if none is like it.
func (v *view) like(name string) string {
	best, least := "", 3
	for _, n := range v.f.Nodes {
		if d := distance(name, n.Name); d < least {
			best, least = n.Name, d
		}
	}
	return best
}

// statusCode is the exit status of --exit-code.
func statusCode(nodes []fleet.Node) int {
	status := exitOK
	for _, n := range nodes {
		status = max(status, codeOf(n))
	}
	return status
}

func codeOf(n fleet.Node) int {
	switch n.State() {
	case fleet.Halted, fleet.Unreadable:
		return exitStopped
	case fleet.Blocked, fleet.UnderWay:
		return exitUnderWay
	case fleet.Waiting:
		return exitWaiting
	case fleet.Queued, fleet.Needed, fleet.Unknown:
		if closed, _ := n.Closed(); len(closed) > 0 {
			return exitWaiting
		}
		return exitNeeded
	}
	return exitOK
}
