package pods

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/backoff"
	"rebootd.dev/daemon/gate"
)

// settled is how long after the kubelet has reported the boot a pod is believed to be
// Ready of which it says that it was started before the boot. Until then that is what the
// kubelet of the boot before said last; later, the machine's clock has been set.
const settled = 2 * time.Minute

// DaemonSets is the gate of a node's own services after the boot: a node whose network
// plugin crashes is not healthy, though it is Ready.
type DaemonSets struct {
	API     API
	Node    string
	SelfUID types.UID // of the pod that the daemon runs in; it counts as Ready
	Which   *Selector // of their pods; nil: all
}

// Kind is what is to be known of the gate.
func (*DaemonSets) Kind() gate.Kind {
	return gate.Kind{
		Name: "daemonsets", Reason: api.ReasonPodsNotReady, Binds: gate.BeforeUncordon,
		Meaning: "`--wait-for-daemonsets`, and pods of DaemonSets on the node are not Ready after the boot, or cannot be watched",
	}
}

// Key has the pods looked at only when the kubelet has reported the boot: before, all that
// is known of them is from the boot before.
func (*DaemonSets) Key(v gate.View) string { return v.Node.BootID + " " + v.BootID }

// Run lists the pods of the node and watches them.
func (g *DaemonSets) Run(ctx context.Context, v gate.View, say func(gate.Verdict)) {
	if v.Node.BootID != v.BootID {
		say(gate.Verdict{State: gate.Closed, Why: "the kubelet has not reported this boot yet"})
		return
	}
	w := &readiness{DaemonSets: g, say: say, known: time.Now(), settled: time.Now().Add(settled), before: before(v)}
	var pauses backoff.Pauses
	for ctx.Err() == nil {
		began := time.Now()
		err := w.follow(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			if time.Since(began) > time.Second {
				pauses.Reset()
				continue
			}
		case apierrors.IsGone(err) || apierrors.IsResourceExpired(err):
			w.version = ""
		case apierrors.IsForbidden(err) || time.Since(w.known) >= patience:
			w.tell(gate.Verdict{State: gate.Closed, Why: cannot(err, "those of DaemonSets are Ready")})
		}
		pauses.Wait(ctx, err)
	}
}

// before is when what runs now had not been started yet: the boot, and the order to
// reboot, since a soft reboot is no boot.
func before(v gate.View) time.Time {
	at := v.Now.Add(-v.Uptime)
	if r := v.Record; r != nil && r.Order != nil && r.Order.At.After(at) {
		at = r.Order.At
	}
	return at.Truncate(time.Second) // as containers' times are
}
