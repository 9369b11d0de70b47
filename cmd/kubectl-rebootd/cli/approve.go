package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/daemon/api"
)

func newApprove(e *env) *cobra.Command {
	var text string
	var until time.Time
	a := &act{e: e, doing: "approve the reboot of", same: func(was, is *target) bool { return !until.IsZero() || recordID(was) == recordID(is) }}
	a.judge = func(t *target) deed { return approve(t, until, e.now()) }
	a.verdict = func(w *waited, n *fleet.Node) verdict {
		if w.id == "" {
			return verdict{outcomeDone, "no operation is under way that could be waited for"}
		}
		return rebooted(w, n, false)
	}
	c := &cobra.Command{
		Use: "approve NODE... | -l SELECTOR | --all", Short: "Approve the reboots that wait for approval",
		Long: `Approve reboots where rebootd runs with --approval: sets the annotation ` + api.ApprovalAnnotation + `.

Without --until the operation is approved that is under way on the node, by its ID, and no later one. With --until everything
is that begins before then, and it may be approved ahead. With --wait the command ends when the approved operations have ended:
exit status 0 if the nodes have rebooted, 3 if --timeout has passed before, 4 if a node halts or is not rebooted.`,
		Example: "  " + e.name + " approve node-7\n  " + e.name + " approve -l pool=db --until 4h",
	}
	a.flags(c)
	c.Flags().StringVar(&text, "until", "", "approve what begins before then: a duration such as 4h, or a time by RFC 3339")
	prepare(c, func() (err error) {
		if text != "" {
			until, err = e.future("until", text)
		}
		return err
	}, nil)
	return c
}

func approve(t *target, until, now time.Time) deed {
	d := deed{warn: obeys(t)}
	var value string
	switch {
	case !until.IsZero():
		value = "until " + until.Format(time.RFC3339)
		d.result = "approved " + value
	case t.RecordErr != nil:
		d.err = fmt.Errorf("%s: nothing was approved: %s", t.Name, t.sentence())
		return d
	case t.Record == nil:
		d.idle, d.warn, d.result = true, nil, "unchanged: no reboot is under way that could be approved; --until approves ahead"
		return d
	default:
		value = t.Record.ID
		d.result = "approved the reboot " + value
	}
	if t.Approval != nil && strings.TrimSpace(*t.Approval) == value {
		d.idle, d.result = true, "is approved already"
		return d
	}
	if r := t.Record; until.IsZero() && r.Order != nil {
		d.idle, d.warn, d.result = true, nil, "unchanged: its reboot was ordered already"
		return d
	}
	d.set = map[string]any{api.ApprovalAnnotation: value}
	if t.Approval != nil && stillApproves(*t.Approval, until, now) {
		d.warn = append(d.warn, fmt.Sprintf("this replaces its approval %q", *t.Approval))
	}
	switch {
	case t.Status != nil && !slices.ContainsFunc(t.Status.Gates, func(g api.GateStatus) bool { return g.Name == "approval" }):
		d.warn = append(d.warn, "its daemon does not ask for approval: it reboots without")
	case t.Record != nil && t.Record.Phase != api.PhaseWaiting && t.Record.Phase != api.PhaseQueued:
		d.warn = append(d.warn, "its reboot has begun already: "+t.sentence())
	}
	return d
}

// stillApproves says whether an approval may be lost that is worth more than the new one:
// one until a time that is later.
func stillApproves(value string, until, now time.Time) bool {
	text, is := strings.CutPrefix(strings.TrimSpace(value), "until ")
	t, err := time.Parse(time.RFC3339, strings.TrimSpace(text))
	return is && err == nil && t.After(now) && t.After(until)
}
