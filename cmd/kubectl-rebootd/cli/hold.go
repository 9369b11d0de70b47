package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/daemon/api"
)

func newHold(e *env) *cobra.Command {
	var why string
	var overwrite bool
	a := &act{e: e, doing: "hold", verdict: leftAlone, same: sameHold}
	a.judge = func(t *target) deed { return hold(t, why, overwrite) }
	c := &cobra.Command{
		Use: "hold NODE... | -l SELECTOR | --all", Short: "Have nodes left alone until unhold",
		Long: `Have nodes left alone: sets the annotation ` + api.HoldAnnotation + ` to the reason. A node that waits keeps waiting, one that drains is put back, and a reboot
that was ordered is finished. With --wait the command ends when nothing is done to the nodes any more.`,
		Example: "  " + e.name + ` hold node-7 --reason 'disk replacement, call Ada' --wait`,
	}
	a.flags(c)
	c.Flags().StringVar(&why, "reason", "", "why, for whoever finds the node held")
	c.Flags().BoolVar(&overwrite, "overwrite", false, "replace the reason of a node that is held already")
	prepare(c, func() (err error) { why, err = checkReason(why); return err }, nil)
	return c
}

func sameHold(was, is *target) bool {
	return (was.Hold == nil) == (is.Hold == nil) && (was.Hold == nil || *was.Hold == *is.Hold)
}

func hold(t *target, why string, overwrite bool) deed {
	d := deed{set: map[string]any{api.HoldAnnotation: why}, result: "held", warn: obeys(t)}
	switch {
	case t.Hold == nil:
	case *t.Hold == why:
		d.set, d.idle, d.result = nil, true, "is held already"
	case !overwrite:
		d.set, d.err = nil, fmt.Errorf("%s is held already (%s); its reason was not changed: --overwrite replaces it", t.Name, orNone(*t.Hold))
		return d
	}
	switch r := t.Record; {
	case r == nil:
	case afterBoot(r):
		d.warn = append(d.warn, fmt.Sprintf("it has rebooted and is %s, and a hold does not end that: %s", r.Phase, t.sentence()))
	case r.Order != nil:
		d.warn = append(d.warn, "its reboot was ordered, which a hold does not stop: "+t.sentence())
	case r.Phase == api.PhaseDraining:
		d.warn = append(d.warn, "a reboot is under way there; the node is put back: "+t.sentence())
	}
	return d
}

func newUnhold(e *env) *cobra.Command {
	a := &act{e: e, doing: "end the hold of", judge: unhold, same: sameHold}
	c := &cobra.Command{
		Use: "unhold NODE... | -l SELECTOR | --all", Short: "End the hold of nodes",
		Long:    `End the hold of nodes: removes the annotation ` + api.HoldAnnotation + `, and says what its reason was. A reboot that was requested continues.`,
		Example: "  " + e.name + " unhold node-7",
	}
	a.flags(c)
	return c
}

func unhold(t *target) deed {
	if t.Hold == nil {
		return deed{idle: true, result: "unchanged: it is not held"}
	}
	d := deed{set: map[string]any{api.HoldAnnotation: nil}, result: fmt.Sprintf("no longer held (it was: %s)", orNone(*t.Hold))}
	if t.Record != nil && t.State() == fleet.Waiting {
		d.warn = append(d.warn, "a reboot waits there, and continues")
	}
	return d
}

// leftAlone says whether nothing is done to a node that is held.
func leftAlone(w *waited, n *fleet.Node) verdict {
	switch {
	case n == nil:
		return verdict{outcomeFailed, "the Node is gone"}
	case n.UID != w.UID:
		return verdict{outcomeFailed, "the Node was deleted and created again"}
	case n.RecordErr != nil:
		return verdict{outcomeFailed, sentenceOf(n)}
	case n.Hold == nil:
		return verdict{outcomeFailed, "somebody has ended the hold: " + sentenceOf(n)}
	case n.Record == nil || n.Record.Phase == api.PhaseWaiting && !n.Record.Cordoned && n.Record.Undoing() == nil:
		return verdict{outcomeDone, "it is left alone"}
	case n.Record.Phase == api.PhaseHalted:
		return verdict{outcomeHalted, sentenceOf(n)}
	default:
		return verdict{}
	}
}
