package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"rebootd.dev/cmd/kubectl-rebootd/client"
	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/daemon/others"
	"rebootd.dev/daemon/printable"
)

// target is a Node as it was read last before something is written to it.
type target struct {
	fleet.Node
	version string   // resourceVersion
	others  []string // who else is at work on it, in sentences
	program string   // how to call this program, for advice
}

func (e *env) target(n *corev1.Node) *target {
	t := &target{Node: fleet.NodeOf(n), version: n.ResourceVersion, program: e.program()}
	for _, found := range others.Check(n) {
		t.others = append(t.others, printable.Line(found.Words(time.Time{}), maxWhy))
	}
	return t
}

// deed is what is to be written to a node as it stands.
type deed struct {
	set    map[string]any // annotations; nil removes one. Empty: nothing is written
	result string         // "requested", or why nothing is written
	// idle says that there is nothing to do on the node. With a selector that is not told.
	idle bool
	err  error    // what was asked for cannot be
	warn []string // what people should know before
}

// act is a command that writes annotations of Nodes. It writes on the condition that the
// Node is as it was seen: if it has changed, it is read and judged again.
type act struct {
	e     *env
	doing string // for errors: "request a reboot of"
	judge func(t *target) deed
	// same says whether what people have decided on is still the same in a Node that has
	// changed; nil: whatever is there now is judged again.
	same func(was, is *target) bool
	// verdict says whether what was written has had its effect: with --wait.
	verdict func(w *waited, n *fleet.Node) verdict

	selector string
	all, yes bool
	wait     bool
	dryRun   string
	output   output
}

// flags adds the flags of an act.
func (a *act) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVarP(&a.selector, "selector", "l", "", "the nodes that this label selector selects")
	f.BoolVar(&a.all, "all", false, "all nodes")
	if a.verdict != nil {
		f.BoolVar(&a.wait, "wait", false, "wait until that is done; --timeout limits it")
	}
	writeFlags(c, &a.dryRun, &a.yes, &a.output)
	c.Args = func(c *cobra.Command, args []string) error {
		chosen := 0
		for _, is := range []bool{len(args) > 0, strings.TrimSpace(a.selector) != "", a.all} {
			if is {
				chosen++
			}
		}
		if chosen != 1 {
			return usagef("name nodes, or give -l or --all; see %s --help", c.CommandPath())
		}
		for _, arg := range args {
			if _, err := nodeNamed(arg); err != nil {
				return err
			}
		}
		return nil
	}
	c.RunE = func(c *cobra.Command, args []string) error { return a.run(c, args) }
}

// run does it.
func (a *act) run(c *cobra.Command, args []string) error {
	ctx := c.Context()
	api, err := a.e.connect()
	if err != nil {
		return err
	}
	var out changes
	targets, err := a.targets(ctx, api, args, &out)
	if err != nil {
		return err
	}
	var todo []*target
	for _, t := range targets {
		if d := a.judge(t); !d.idle || len(args) > 0 {
			todo = append(todo, t)
			out.warn(a.e, t, d.warn)
		}
	}
	if len(todo) == 0 && len(args) == 0 {
		a.e.sayf("there is nothing to do on any of %s", count(len(targets), "node"))
	}
	out.warned(a.e)
	if a.dryRun == "" {
		if err := a.e.sure(ctx, len(todo), a.doing, a.yes); err != nil {
			return err
		}
	}
	var waits []*waited
	for i, t := range todo {
		if ctx.Err() != nil {
			return out.end(a.e, a.output, a.dryRun != "", fmt.Errorf("interrupted: %d of %s are done", i, count(len(todo), "node")))
		}
		n, d := a.write(ctx, api, t, &out)
		c := out.add(a, "node/"+n.Name, d)
		if d.err == nil {
			waits = append(waits, newWaited(n, c, a.dryRun == "" && len(d.set) > 0))
		}
	}
	var waited error
	if a.wait && a.dryRun == "" && len(waits) > 0 {
		waited = a.e.await(c, api, waits, a.verdict)
	}
	return out.end(a.e, a.output, a.dryRun != "", waited)
}

// targets reads the nodes that are meant.
func (a *act) targets(ctx context.Context, api client.API, args []string, out *changes) ([]*target, error) {
	var found []*target
	seen := map[string]bool{}
	for _, arg := range args {
		name, _ := nodeNamed(arg)
		if seen[name] {
			continue
		}
		seen[name] = true
		limited, cancel := a.e.limited(ctx)
		n, err := api.Node(limited, name)
		cancel()
		if err != nil {
			out.add(a, "node/"+name, deed{err: fmt.Errorf("%s %s: %w", a.doing, name, explain(err))})
			continue
		}
		found = append(found, a.e.target(n))
	}
	if len(args) > 0 {
		return found, nil
	}
	limited, cancel := a.e.limited(ctx)
	defer cancel()
	if _, err := api.EachNode(limited, a.selector, func(n *corev1.Node) { found = append(found, a.e.target(n)) }); err != nil {
		return nil, explain(err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no node is selected by %q", a.selector)
	}
	return found, nil
}

// tries are how often a Node that keeps changing is read again.
const tries = 10

// write does one deed, and returns the node as it was last seen.
func (a *act) write(ctx context.Context, api client.API, t *target, out *changes) (*target, deed) {
	for try := 1; ; try++ {
		d := a.judge(t)
		out.warn(a.e, t, d.warn)
		if len(d.set) == 0 || d.err != nil {
			return t, d
		}
		n, err := a.patch(ctx, api, t, d)
		if err == nil {
			return a.e.target(n), d
		}
		if apierrors.IsConflict(err) && try < tries {
			limited, cancel := a.e.limited(ctx)
			n, err = api.Node(limited, t.Name)
			cancel()
			if err == nil {
				now := a.e.target(n)
				if now.UID != t.UID || a.same != nil && !a.same(t, now) {
					d.err = fmt.Errorf("%s %s: it has changed meanwhile, and nothing was written: %s", a.doing, t.Name, now.sentence())
					return now, d
				}
				t = now
				continue
			}
		}
		d.err = fmt.Errorf("%s %s: %w", a.doing, t.Name, explain(err))
		return t, d
	}
}

func (a *act) patch(ctx context.Context, api client.API, t *target, d deed) (*corev1.Node, error) {
	metadata := map[string]any{"annotations": d.set, "uid": t.UID, "resourceVersion": t.version}
	body, err := json.Marshal(map[string]any{"metadata": metadata})
	if err != nil {
		return nil, err
	}
	limited, cancel := a.e.limited(ctx)
	defer cancel()
	return api.PatchNode(limited, t.Name, body, a.dryRun != "")
}

// limited is a context for one request.
func (e *env) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if e.flags.timeout <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, e.flags.timeout)
}

// explain adds which right is missing to the error of the API server that says so.
func explain(err error) error {
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "cannot ") {
		return err
	}
	also := ", which has that right"
	if strings.Contains(err.Error(), `resource "leases"`) {
		also = " and, for Leases, the Role of that name, which have that right"
	}
	return fmt.Errorf("%w; ask for the ClusterRole rebootd-operator%s", err, also)
}

// sentence is what a node's daemon says last of it.
func (t *target) sentence() string { return sentenceOf(&t.Node) }

func sentenceOf(n *fleet.Node) string {
	switch {
	case n.RecordErr != nil:
		return "its record cannot be read: " + n.RecordErr.Error()
	case n.Condition != nil && n.Condition.Message != "":
		return n.Condition.Reason + ": " + n.Condition.Message
	case n.Record != nil:
		return string(n.Record.Phase)
	case n.State() == fleet.NoDaemon:
		return "no daemon has run there yet"
	default:
		return "no operation is under way"
	}
}
