package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"rebootd.dev/daemon/printable"
)

// health is what a check comes to.
type health string

// The verdicts, the worst first.
const (
	healthWrong   health = "wrong"     // something does not do what it is there for
	healthWarning health = "warning"   // somebody should know
	healthUnknown health = "not known" // it could not be looked at, for want of rights for instance
	healthOK      health = "ok"
)

var healths = []health{healthWrong, healthWarning, healthUnknown, healthOK}

// finding is what a check has found, with what to do.
type finding struct {
	Check   string `json:"check"`
	Verdict health `json:"verdict"`
	Message string `json:"message"`
	Do      string `json:"do,omitempty"`
}

// diagnosis is what doctor -o json prints.
type diagnosis struct {
	object   `json:",inline"`
	Verdict  health    `json:"verdict"` // the worst
	Findings []finding `json:"findings"`
}

// check looks at one thing. It finds nothing where all is well, and then says well.
type check struct {
	name string
	look func(p *patient) (found []finding, well string)
}

// checks are all that doctor looks at.
var checks = []check{
	{"rights", (*patient).rights},
	{"policies", (*patient).policies},
	{"daemonset", (*patient).daemonSet},
	{"daemons", (*patient).daemons},
	{"versions", (*patient).versions},
	{"settings", (*patient).settings},
	{"nodes", (*patient).halted},
	{"slots", (*patient).slots},
	{"pauses", (*patient).pauses},
	{"annotations", (*patient).annotations},
	{"clocks", (*patient).clocks},
	{"kured", (*patient).kured},
	{"others", (*patient).others},
	{"metrics", (*patient).metrics},
}

func newDoctor(e *env) *cobra.Command {
	var o output
	c := &cobra.Command{
		Use: "doctor", Short: "Check the installation: rights, policies, daemons, clocks, left-overs",
		Long: `Check the installation: what you may do, the admission policies, the DaemonSet and the daemons' versions and settings, halted nodes, slots, pauses,
clocks, what other programs that reboot nodes have left, and the metrics. Every problem comes with what to do about it.

Nothing is changed. What you have no right to look at is not known, and never wrong. The exit status is 4 when something is wrong, and 0 otherwise.`,
		Example: fmt.Sprintf("  %[1]s doctor\n  %[1]s doctor -o json | jq -r '.findings[] | select(.verdict == \"wrong\").message'", e.name),
		Args:    e.args(cobra.NoArgs),
	}
	outputFlag(c, &o, "json", "yaml")
	c.RunE = func(c *cobra.Command, _ []string) error { return e.doctor(c.Context(), o) }
	return c
}

func (e *env) doctor(ctx context.Context, o output) error {
	api, err := e.connect()
	if err != nil {
		return err
	}
	ctx, stop := e.limited(ctx)
	defer stop()
	p, err := e.examine(ctx, api)
	if err != nil {
		return explain(err)
	}
	d := p.diagnose()
	if o != "" {
		err = e.encode(o, d)
	} else {
		err = e.printDiagnosis(d)
	}
	if err == nil && d.Verdict == healthWrong {
		err = &exit{exitHalted, nil}
	}
	return err
}

// diagnose runs all checks.
func (p *patient) diagnose() diagnosis {
	d := diagnosis{object: kind("Diagnosis"), Verdict: healthOK}
	for _, c := range checks {
		found, well := c.look(p)
		if len(found) == 0 {
			found = []finding{{Verdict: healthOK, Message: well}}
		}
		for _, f := range found {
			f.Check, f.Message, f.Do = c.name, printable.Line(f.Message, 2*maxWhy), printable.Line(p.e.sameCluster(f.Do), 2*maxWhy)
			d.Findings = append(d.Findings, f)
		}
	}
	worse := func(a, b finding) int {
		return cmp.Compare(slices.Index(healths, a.Verdict), slices.Index(healths, b.Verdict))
	}
	slices.SortStableFunc(d.Findings, worse)
	d.Verdict = d.Findings[0].Verdict
	if d.Verdict == healthUnknown {
		d.Verdict = healthOK // as far as is known
	}
	return d
}

func (e *env) printDiagnosis(d diagnosis) error {
	n := map[health]int{}
	for _, f := range d.Findings {
		n[f.Verdict]++
	}
	var parts []string
	if w := n[healthWrong]; w > 0 {
		parts = append(parts, e.paint(red, count(w, "problem")))
	}
	if w := n[healthWarning]; w > 0 {
		parts = append(parts, e.paint(yellow, count(w, "warning")))
	}
	switch {
	case n[healthWrong]+n[healthWarning] > 0:
	case n[healthUnknown] > 0:
		parts = append(parts, "no problem found")
	default:
		parts = append(parts, e.paint(green, "all is well"))
	}
	if u := n[healthUnknown]; u > 0 {
		parts = append(parts, fmt.Sprintf("%d not known", u))
	}
	parts = append(parts, fmt.Sprintf("%d ok", n[healthOK]))
	if _, err := fmt.Fprintf(e.out, "%s\n\n", strings.Join(parts, ", ")); err != nil {
		return err
	}
	hues := map[health]hue{healthWrong: red, healthWarning: yellow, healthUnknown: dim, healthOK: green}
	for _, f := range d.Findings {
		pad := strings.Repeat(" ", len(healthUnknown)-len(f.Verdict))
		if _, err := fmt.Fprintf(e.out, "%s%s   %-11s   %s\n", e.paint(hues[f.Verdict], string(f.Verdict)), pad, f.Check, f.Message); err != nil {
			return err
		}
		if f.Do != "" {
			if _, err := fmt.Fprintf(e.out, "%26s-> %s\n", "", f.Do); err != nil {
				return err
			}
		}
	}
	return nil
}

// unread is the finding of what could not be looked at.
func unread(what string, err error) []finding {
	if apierrors.IsForbidden(err) {
		return []finding{{Verdict: healthUnknown, Message: "you may not read " + what}}
	}
	return []finding{{Verdict: healthUnknown, Message: fmt.Sprintf("%s could not be read: %v", what, err)}}
}

// few is how many nodes a sentence names.
const few = 5
