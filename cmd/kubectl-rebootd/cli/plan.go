package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"rebootd.dev/cmd/kubectl-rebootd/fleet"
)

// planView is what -o json prints.
type planView struct {
	object
	Steps   []planStep    `json:"steps"`
	Unknown []planUnknown `json:"unknown,omitempty"`
	Done    time.Time     `json:"done,omitzero"`
	Halts   []string      `json:"halts,omitempty"`
	Notes   []string      `json:"notes,omitempty"`
}

// planStep is a turn.
type planStep struct {
	Node  string    `json:"node"`
	Lock  string    `json:"lock"`
	Begin time.Time `json:"begin"`
	End   time.Time `json:"end,omitzero"`
	Why   string    `json:"why,omitempty"`
}

// planUnknown is a node of which no time can be said.
type planUnknown struct {
	Node string `json:"node"`
	Why  string `json:"why"`
}

func newPlan(e *env) *cobra.Command {
	var (
		o        output
		selector string
	)
	c := &cobra.Command{
		Use: "plan", Short: "Say in which order nodes will reboot, and about when", Args: e.args(cobra.NoArgs),
		Long: `Say in which order nodes will reboot, and about when.

The order is the one that the daemons go by, as far as it is known now. Times come from how long
reboots of each node took before, from the slots, and from what the daemons say of windows, gates
and deadlines: they are about right at best. What cannot be known is said to be unknown.`,
		Example: "  " + e.name + " plan\n  " + e.name + " plan -l pool=db -o json",
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, cancel := e.limited(c.Context())
			defer cancel()
			a, err := e.connect()
			if err != nil {
				return err
			}
			f, err := e.read(ctx, a, "") // who goes before counts, whatever is selected
			if err != nil {
				return err
			}
			shown := func(string) bool { return true }
			if selector != "" {
				some, err := e.read(ctx, a, selector)
				if err != nil {
					return err
				}
				shown = func(name string) bool { _, is := some.Node(name); return is }
			}
			p := planOf(f.Forecast(), shown)
			if o != "" {
				return e.encode(o, p)
			}
			return e.printPlan(f, p)
		},
	}
	outputFlag(c, &o, "json", "yaml")
	c.Flags().StringVarP(&selector, "selector", "l", "", "show only nodes that this label selector selects")
	return c
}

// planOf is the part of a forecast that is shown.
func planOf(f fleet.Forecast, shown func(string) bool) planView {
	p := planView{object: kind("Plan"), Steps: []planStep{}, Halts: f.Halts, Notes: f.Notes}
	for _, s := range f.Steps {
		if !shown(s.Node) {
			continue
		}
		p.Steps = append(p.Steps, planStep(s))
		if s.End.After(p.Done) {
			p.Done = s.End
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.Unknown)) {
		if shown(name) {
			p.Unknown = append(p.Unknown, planUnknown{name, f.Unknown[name]})
		}
	}
	return p
}

func (e *env) printPlan(f fleet.Fleet, p planView) error {
	switch {
	case len(p.Steps)+len(p.Unknown) == 0:
		fmt.Fprintln(e.out, "No node needs a reboot.")
		return nil
	case !p.Done.IsZero():
		fmt.Fprintf(e.out, "%s; done at about %s, in about %s.\n", count(len(p.Steps), "reboot"), e.clock(p.Done), ago(p.Done.Sub(f.At)))
	case len(p.Steps) > 0:
		fmt.Fprintf(e.out, "%s can be foreseen; when all will be done is not known.\n", count(len(p.Steps), "reboot"))
	default:
		fmt.Fprintln(e.out, "No time is known.")
	}
	for _, h := range p.Halts {
		fmt.Fprintln(e.out, e.paint(red, capital(h)+"."))
	}
	if f.Unread != nil {
		fmt.Fprintln(e.out, "The Leases cannot be read: who holds slots is taken from the Nodes, and pauses are not known.")
	}
	if len(p.Steps) > 0 {
		rows := [][]string{{"#", "NODE", "BEGIN", "END", "WHY"}}
		for i, s := range p.Steps {
			end := "not known"
			if !s.End.IsZero() {
				end = e.clock(s.End)
			}
			row := []string{strconv.Itoa(i + 1), s.Node, e.clock(s.Begin), end, s.Why}
			if s.Why == "" {
				row[4] = "at once"
			}
			rows = append(rows, row)
		}
		fmt.Fprintln(e.out)
		if err := table(e.out, rows); err != nil {
			return err
		}
	}
	e.printUnknown(p)
	for _, n := range p.Notes {
		fmt.Fprintf(e.out, "\n%s.\n", capital(n))
	}
	return nil
}

// printUnknown prints the nodes of which no time can be said, those of one cause together.
func (e *env) printUnknown(p planView) {
	if len(p.Unknown) == 0 {
		return
	}
	var causes []string
	nodes := map[string][]string{}
	for _, u := range p.Unknown {
		if nodes[u.Why] == nil {
			causes = append(causes, u.Why)
		}
		nodes[u.Why] = append(nodes[u.Why], u.Node)
	}
	fmt.Fprintln(e.out, "\nNo time is known for:")
	for _, why := range causes {
		fmt.Fprintf(e.out, "  %s: %s\n", some(nodes[why], 6), why)
	}
}
