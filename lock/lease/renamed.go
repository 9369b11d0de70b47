package lease

import (
	"context"
	"fmt"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/lock"
)

// A node may be given to another lock by its settings at any time, also between the end of
// an operation and the release of its slot. Nothing is left then that names the lock before
// but the slot itself.

// seeOther takes in a Lease that is not one of this lock: a slot of another one that this
// node has taken. One that people have given to it, or that is no slot, is not ours.
func (v *view) seeOther(lease *coordinationv1.Lease) {
	name, _, ok := api.LockOf(lease.Name)
	if ok && holderOf(lease) == v.lock.cfg.Node && !tooNew(lease) && v.lock.says(lease) && !slices.Contains(v.others, name) {
		v.others = append(v.others, name)
	}
}

// releaseOthers gives up what this node holds of locks of other names. One that has begun
// may have done so under one of them.
func (l *Lock) releaseOthers(ctx context.Context, v *view, c lock.Claimant) error {
	if c.Begun || len(v.others) == 0 || l.cfg.DryRun {
		return nil
	}
	l.cfg.Log("releasing the slots of the locks %s, which this node still holds: its lock is %s", strings.Join(v.others, ", "), l.cfg.Name)
	for _, name := range v.others {
		cfg := l.cfg
		cfg.Name = name
		other, err := New(cfg)
		if err != nil {
			return err
		}
		if err := other.Release(ctx, api.Line{}); err != nil {
			return fmt.Errorf("release the slot of the lock %s: %w", name, err)
		}
	}
	return nil
}
