package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/daemon/api"
)

func newRelease(e *env) *cobra.Command {
	var holder, dryRun string
	var yes bool
	var o output
	c := &cobra.Command{
		Use: "release SLOT --holder NODE", Short: "Take a slot away from a node that cannot give it back",
		Long: `Take a slot away: clears the holder of the Lease SLOT, if that is still NODE. It asks for the holder's name, since another node may go down
then while the first one is. A node whose daemon runs gives its slot back by itself: use abort there.

A former holder whose daemon runs puts its node back, unless the reboot was ordered. The next node waits as long as the
former holder's record says that it is at work.`,
		Example: "  " + e.name + " release rebootd-0 --holder node-7",
		Args:    e.args(cobra.ExactArgs(1)),
	}
	c.Flags().StringVar(&holder, "holder", "", "the node that holds the slot; required")
	writeFlags(c, &dryRun, &yes, &o)
	c.RunE = func(c *cobra.Command, args []string) error {
		if holder == "" {
			return usagef("--holder is required: name the node whose slot is to be taken away")
		}
		node, err := nodeNamed(holder)
		if err != nil {
			return err
		}
		return e.release(c, args[0], node, dryRun != "", yes, o)
	}
	return c
}

func (e *env) release(c *cobra.Command, slot, holder string, dryRun, yes bool, o output) error {
	client, err := e.connect()
	if err != nil {
		return err
	}
	ctx, cancel := e.limited(c.Context())
	f, err := e.read(ctx, client, "")
	var leases []coordinationv1.Lease
	if err == nil {
		leases, _, err = client.Leases(ctx)
	}
	cancel()
	if err != nil {
		return explain(err)
	}
	i := slices.IndexFunc(leases, func(l coordinationv1.Lease) bool { return l.Name == slot })
	at := slices.IndexFunc(f.Slots, func(s fleet.Slot) bool { return s.Name == slot })
	switch {
	case i < 0 || at < 0:
		return fmt.Errorf("%s is not a slot in the namespace %s; see slots", slot, e.flags.namespace)
	case f.Slots[at].TooNew:
		return fmt.Errorf("%s was taken by a newer version of rebootd; use that version's program to release it", slot)
	}
	lease, s := leases[i], f.Slots[at]
	var out changes
	has := ""
	if lease.Spec.HolderIdentity != nil {
		has = *lease.Spec.HolderIdentity
	}
	switch has {
	case holder:
	case "":
		out.addTo(e, o, dryRun, "lease/"+slot, deed{result: "unchanged: nobody holds it"})
		return out.end(e, o, dryRun, nil)
	default:
		return fmt.Errorf("%s is held by %s and not by %s; nothing was changed", slot, s.Holder, holder)
	}
	for _, w := range releaseWarnings(f, s) {
		e.sayf("warning: %s", w)
	}
	if err := e.sureOf(c.Context(), slot, holder, yes || dryRun); err != nil {
		return err
	}
	d := deed{result: "released from " + holder, set: map[string]any{}}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": lease.UID, "resourceVersion": lease.ResourceVersion},
		"spec":     map[string]any{"holderIdentity": nil},
	})
	if err != nil {
		return err
	}
	ctx, cancel = e.limited(c.Context())
	defer cancel()
	switch _, err = client.PatchLease(ctx, slot, body, dryRun); {
	case apierrors.IsConflict(err):
		d.err = fmt.Errorf("%s has changed since it was looked at: its daemon has renewed it, so that it runs, or another node has it; nothing was changed", slot)
	case err != nil:
		d.err = fmt.Errorf("release %s: %w", slot, explain(err))
	default:
		d.set["holderIdentity"] = nil
	}
	out.addTo(e, o, dryRun, "lease/"+slot, d)
	return out.end(e, o, dryRun, nil)
}

// sureOf has people type the name of the node whose slot is taken away.
func (e *env) sureOf(ctx context.Context, slot, holder string, yes bool) error {
	if yes {
		return nil
	}
	if !e.interactive() {
		return usagef("releasing %s may have two nodes down at once; nobody can be asked here: add --yes if you mean it", slot)
	}
	answer, err := e.ask(ctx, "type the name of the node whose slot is to be taken away: ")
	if err == nil && answer != holder {
		err = fmt.Errorf("%q is not %s; nothing was changed", answer, holder)
	}
	return err
}

// releaseWarnings are what may break.
func releaseWarnings(f fleet.Fleet, s fleet.Slot) []string {
	out := holderWarnings(f, s)
	if queue := f.Queue(s.Lock); len(queue) > 0 {
		out = append(out, "the next node is "+queue[0])
	}
	return out
}

func holderWarnings(f fleet.Fleet, s fleet.Slot) (out []string) {
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	n, there := f.Node(s.Holder)
	if !there {
		add("there is no Node %s: its slot is freed by itself unless it was deleted with --cascade=orphan", s.Holder)
		return out
	}
	since := ""
	if !s.Since.IsZero() {
		since = " for " + ago(f.At.Sub(s.Since))
	}
	switch r := n.Record; {
	case n.RecordErr != nil:
		add("%s has held it%s, and its record cannot be read (%v): nobody knows how far it is. The next node waits while that record is there; if its daemon runs, use abort instead", s.Holder, since, n.RecordErr)
	case r == nil:
		add("%s has held it%s, and has no operation under way: if its daemon runs, it releases it by itself", s.Holder, since)
	case r.Phase == api.PhaseWaiting || r.Phase == api.PhaseQueued:
		add("%s has held it%s, and nothing was done to the node yet (%s)", s.Holder, since, r.Phase)
	default:
		add("%s has held it%s and is %s: %s", s.Holder, since, r.Phase, sentenceOf(&n))
		add("the next node goes only when the record of that operation is gone. If the daemon there runs, use abort instead. If the machine is down for good, and nobody boots it: kubectl annotate node %s %s-", s.Holder, api.OperationAnnotation)
	}
	if !n.Ready {
		add("%s is not Ready: its machine may be down, and then two nodes are down", s.Holder)
	}
	if n.ControlPlane {
		add("%s is a control-plane node: it may hold the Lease %s, too, which only its deletion frees", s.Holder, api.ControlPlaneName(s.Lock))
	}
	return out
}
