package decide

import (
	"fmt"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
)

// refused is the step in place of one that patches the Node, or that leads to nothing
// but such a patch, after the API server has refused one for good. What others wait for
// is given back: at once where nothing has been done to the node, else by putting it
// back, if it is not that which was refused.
func refused(p Policy, r *api.Record, f Facts, s Step) Step {
	why := "the API server refuses the change of the Node: " + printable.Line(f.Refused.Words, maxWhy)
	wait := Step{
		Do: DoWait, Reason: api.ReasonBlocked, Asks: s.Asks, KeepUp: s.KeepUp, Limit: s.Limit, Until: f.Refused.Until,
		Message: fmt.Sprintf("%s; next try at %s", why, f.Refused.Until.UTC().Format(time.RFC3339)),
	}
	switch {
	case undisturbed(r) && len(held(f)) > 0 && !goingDown(f):
		b := release(f)
		b.Reason, b.Message, b.Asks = api.ReasonBlocked, wait.Message, wait.Asks
		return b
	case undisturbed(r), s.Do == DoRestore, f.Refused.Do == DoRestore, !revocable(r, f):
		return wait
	}
	b := back(p, r, f, api.Undo{Reason: api.ReasonBlocked, Message: why, Failed: true})
	if b.Do == DoWrite {
		return wait // that the stages are undone cannot be written down either
	}
	return b
}

// revocable says whether a node that is cordoned may be put back: no reboot is under way
// or over.
func revocable(r *api.Record, f Facts) bool {
	if f.Boot.ID != r.BootID || goingDown(f) {
		return false
	}
	if r.Phase == api.PhaseRebooting {
		return !softRebooted(r, f) && (!spawned(r, f) || f.Child.of(r) == ChildFailed && r.Due.IsZero() && !scheduled(f))
	}
	return r.Phase == api.PhaseDraining
}
