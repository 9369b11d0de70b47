package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/daemon/api"
)

func newAbort(e *env) *cobra.Command {
	var why string
	a := &act{e: e, doing: "abort the reboot of", verdict: givenUp, same: sameOperation}
	a.judge = func(t *target) deed { return abort(t, why) }
	c := &cobra.Command{
		Use: "abort NODE... | -l SELECTOR | --all", Short: "Give up the operations of nodes, whatever their phase and whatever has requested them",
		Long: `Give up operations: sets the annotation ` + api.AbortAnnotation + `, which the daemon removes when it is done. The node is put back as it was found, its slot is
released, and the request counts as served: the sentinel that is still there, or the annotation, does not request it again.

A node that has rebooted, halted included, is uncordoned as it is, without the verification. A reboot that was ordered may be too late
to stop. Only a running daemon can do all this. With --wait the command ends when it is done: exit status 3 if --timeout has passed
before, 4 if it came too late.`,
		Example: "  " + e.name + ` abort node-7 --reason 'wrong kernel' --wait`,
	}
	a.flags(c)
	c.Flags().StringVar(&why, "reason", "", "why, for whoever asks later")
	prepare(c, func() (err error) { why, err = checkReason(why); return err }, nil)
	return c
}

func abort(t *target, why string) deed {
	d := deed{set: map[string]any{api.AbortAnnotation: why}, result: "abort requested"}
	warn := func(format string, args ...any) { d.warn = append(d.warn, fmt.Sprintf(format, args...)) }
	switch {
	case t.Abort != nil:
		d.set, d.idle, d.result = nil, true, "is being aborted already"
	case t.Record == nil && t.RecordErr == nil && t.Request == nil && t.State() != fleet.Needed:
		d.set, d.idle, d.result = nil, true, "unchanged: there is nothing to abort"
		return d
	}
	switch {
	case t.Going:
		warn("the Node is being deleted")
	case t.State() == fleet.NoDaemon:
		warn("no daemon of rebootd has run there yet: nobody obeys until one does")
	case t.Daemon == nil:
		warn("its daemon does not say which version it is: older ones do not know %s, and continue", api.AbortAnnotation)
	}
	if !t.Going && !t.Ready {
		warn("the node is not Ready: if its machine is down, nothing happens until it has booted; for a machine that does not come back: %s release --help", t.program)
	}
	r := t.Record
	switch {
	case t.RecordErr != nil:
		warn("its record cannot be read (%v): the daemon removes it, releases the slot, and uncordons the node only if the API server's account says that rebootd has cordoned it; hooks are not undone", t.RecordErr)
	case r == nil:
	case afterBoot(r):
		warn("it has rebooted, and is uncordoned without the verification; the next node goes: %s", t.sentence())
	case r.Phase == api.PhaseRebooting && r.Order != nil:
		warn("its reboot was ordered, which may be too late to stop: %s", t.sentence())
	}
	return d
}

// givenUp says whether an abort has had its effect.
func givenUp(w *waited, n *fleet.Node) verdict {
	switch {
	case n == nil:
		return verdict{outcomeFailed, "the Node is gone"}
	case n.UID != w.UID:
		return verdict{outcomeFailed, "the Node was deleted and created again"}
	case n.Abort != nil || n.RecordErr != nil:
		return verdict{}
	}
	if n.Record != nil && n.Record.ID == w.id {
		if n.Record.Undo != nil && n.Record.Undo.Reason == api.ReasonAborted {
			return verdict{}
		}
		return verdict{outcomeFailed, "it came too late, or somebody has withdrawn it: " + sentenceOf(n)}
	}
	if s, ok := ended(w, n); ok && w.id != "" {
		v := judged(s)
		if s.Result != api.ReasonRebootVerified {
			return verdict{outcomeDone, v.said}
		}
		return verdict{outcomeFailed, "it came too late: " + v.said}
	}
	if n.Condition != nil && n.Condition.Reason == string(api.ReasonRebootVerified) && w.id != "" {
		return verdict{outcomeFailed, "it came too late: " + sentenceOf(n)}
	}
	return verdict{outcomeDone, "nothing is left of the operation"}
}
