package lock

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"
)

// DefaultReclaimGrace is a time in which a Node that was deleted by mistake can be
// made anew by its kubelet.
const DefaultReclaimGrace = time.Minute

// deadCheck is in how long a waiter next looks whether holders of which nothing
// was heard are gone. Many may wait: they do not all ask at the same time.
func (l *Lock) deadCheck() time.Duration { return l.cfg.Duration/2 + rand.N(l.cfg.Duration/2) }

// reclaim takes the slot of a holder whose Node is gone from the cluster: of one
// that has not renewed for long, and has no Node of its name and UID, now and
// after a grace. A holder that is only slow, off or cut off keeps its slot: its
// Node is there. It returns in how long it wants to look again.
func (l *Lock) reclaim(ctx context.Context, v *view) (name string, again time.Duration, err error) {
	again = l.deadCheck()
	if l.cfg.NodeUID == nil || l.cfg.DryRun {
		return "", again, nil
	}
	for _, i := range v.indexes() {
		lease := v.leases[i]
		if holderOf(lease) == "" || tooNew(lease) || time.Since(v.heard[i]) < l.cfg.Duration/2 {
			continue
		}
		uid, err := l.cfg.NodeUID(ctx, holderOf(lease))
		if err != nil {
			return "", 0, fmt.Errorf("look whether the Node %s, which holds %s, is gone: %w", holderOf(lease), lease.Name, err)
		}
		switch {
		case !gone(lease, uid):
			delete(v.goneSince, i)
			continue
		case v.goneSince[i].IsZero():
			v.goneSince[i] = time.Now()
			l.cfg.Log("the Node %s, which holds %s, is gone; takes the slot in %s if that stays so", holderOf(lease), lease.Name, l.cfg.ReclaimGrace)
		}
		if left := l.cfg.ReclaimGrace - time.Since(v.goneSince[i]); left > 0 {
			again = min(again, left)
			continue
		}
		if i >= l.cfg.Slots {
			// Left from when there were more slots: not ours to hold, but in our way.
			// It is taken first, as any dead holder's is: nobody may clear what another
			// holds.
			taken, err := l.applyHeld(ctx, lease.Name, time.Now(), guard{lease.UID, lease.ResourceVersion}, true)
			if err == nil {
				l.setHeld(nil)
				err = l.vacate(ctx, taken, "")
			}
			if err != nil && !isGone(err) {
				return "", 0, err
			}
			l.cfg.Log("cleared %s, which the Node %s had held when it was deleted", lease.Name, holderOf(lease))
			continue
		}
		// Only as it was all the while: any sign of life, and anybody who is quicker,
		// changes the version, and the view.
		taken, err := l.applyHeld(ctx, lease.Name, time.Now(), guard{lease.UID, lease.ResourceVersion}, true)
		if isRefused(err) {
			return "", 0, errWatchEnded // look anew
		}
		if err != nil {
			return "", 0, err
		}
		l.cfg.Log("took %s, which the Node %s had held when it was deleted", lease.Name, holderOf(lease))
		name, err = l.settle(ctx, v, taken)
		return name, again, err
	}
	return "", again, nil
}

// gone says whether the Node that took a slot is not there any more, from the UID
// of the Node that has its name now, "" if there is none.
func gone(lease *coordinationv1.Lease, uid types.UID) bool {
	was := lease.Annotations[HolderUIDAnnotation]
	return uid == "" || was != "" && was != string(uid)
}
