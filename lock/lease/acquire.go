package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"rebootd.dev/daemon/api"
	"rebootd.dev/lock"
)

// Holders are those that hold slots now.
func (l *Lock) Holders(ctx context.Context) ([]lock.Holder, error) {
	v, err := l.list(ctx)
	if err != nil {
		return nil, err
	}
	return v.holders(), nil
}

// Find looks up the slot that is ours already, after a restart or a lost answer,
// and makes sure of what goes with it. Of more than one slot, which a change of
// the number of slots can lead to, it keeps the lowest and gives up the others. What is
// ours of locks of other names is given up, too, unless the node has begun.
func (l *Lock) Find(ctx context.Context, c lock.Claimant) (slot string, held bool, err error) {
	l.setClaimant(c)
	v, err := l.list(ctx)
	if err != nil {
		return "", false, err
	}
	l.makePause(ctx, v)
	if err := l.releaseOthers(ctx, v, c); err != nil {
		return "", false, err
	}
	lease, err := l.keepLowest(ctx, v)
	if err != nil || lease == nil {
		return "", false, err
	}
	if c.Begun {
		if _, _, err := l.takeConstraints(ctx); err != nil {
			return "", false, err
		}
		l.setMay(true)
		return lease.Name, true, nil
	}
	slot, err = l.admit(ctx, v, lease, false, nil)
	return slot, slot != "", err
}

// keepLowest returns the lowest slot that is ours, nil if none is, having given
// up the others. One that an earlier Node of our name has held is not ours.
func (l *Lock) keepLowest(ctx context.Context, v *view) (*coordinationv1.Lease, error) {
	var ours []*coordinationv1.Lease
	for _, i := range v.indexes() {
		lease := v.leases[i]
		if holderOf(lease) != l.cfg.Node || tooNew(lease) {
			continue
		}
		if uid := lease.Annotations[api.HolderUIDAnnotation]; uid != "" && l.claimant().UID != "" && uid != string(l.claimant().UID) && l.says(lease) {
			if err := l.release(ctx, lease, api.Line{}, time.Time{}); err != nil {
				return nil, fmt.Errorf("release the slot of an earlier Node of the same name: %w", err)
			}
			continue
		}
		ours = append(ours, lease)
	}
	if len(ours) == 0 {
		l.setHeld(nil)
		if l.claimant().Begun {
			return nil, nil // what went with the slot is given up when the node is done
		}
		return nil, l.releaseConstraints(ctx, v)
	}
	for _, lease := range ours[1:] {
		if err := l.release(ctx, lease, api.Line{}, time.Time{}); err != nil {
			return nil, fmt.Errorf("release a second slot: %w", err)
		}
	}
	lease, err := l.adopt(ctx, ours[0])
	if err != nil {
		return nil, err
	}
	l.setHeld(lease)
	return lease, nil
}

// adopt makes a slot ours in every way that people have given to us: they have
// written our name into it, and the rest is another's.
func (l *Lock) adopt(ctx context.Context, lease *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	if l.says(lease) || l.cfg.DryRun {
		return lease, nil
	}
	lease, err := l.empty(ctx, lease, nothingSaid(), l.cfg.Node)
	if err == nil {
		lease, err = l.applyHeld(ctx, lease.Name, time.Now(), guard{lease.UID, lease.ResourceVersion})
	}
	if err != nil {
		return nil, fmt.Errorf("take over a slot that people have given to this node: %w", err)
	}
	return lease, nil
}

// Acquire waits until a slot is ours, and what goes with it, and returns its name.
// It returns an error only when ctx ends; whatever else goes wrong is tried again
// and told to waiting, which is also told, whenever that changes, who holds the
// slots.
func (l *Lock) Acquire(ctx context.Context, c lock.Claimant, waiting func(lock.Waiting)) (slot string, err error) {
	l.setClaimant(c)
	said, holders := "", []lock.Holder(nil)
	say := func(w lock.Waiting) {
		if s := w.String(); s != said || !slices.Equal(w.Holders, holders) {
			said, holders = s, w.Holders
			waiting(w)
		}
	}
	pause, v := pause{}, l.newView()
	for {
		began := time.Now()
		slot, err := l.attend(ctx, v, say)
		switch {
		case err == nil && slot != "":
			return slot, nil
		case ctx.Err() != nil:
			return "", fmt.Errorf("wait for a slot of %s: %w", l.cfg.Name, context.Cause(ctx))
		case err == nil: // has been given one
			continue
		case !errors.Is(err, errWatchEnded):
			say(lock.Waiting{Err: err})
		}
		pause.wait(ctx, began, err)
	}
}

var (
	errTooMany = errors.New("other nodes took slots at the same time, one too many; releasing this one")
	errNotOurs = errors.New("nodes of another zone, or another control-plane node, are rebooting; releasing the slot")
)

// attend watches the slots until one is ours that may be kept, or the watch ends, or
// one that was ours was given up again, or people have given us one.
func (l *Lock) attend(ctx context.Context, v *view, say func(lock.Waiting)) (string, error) {
	if v.version == "" {
		if err := v.load(ctx); err != nil {
			return "", err
		}
	}
	lease, err := l.keepLowest(ctx, v)
	if err != nil {
		v.forget()
		return "", err
	}
	if lease != nil {
		v.forget()
		return l.admit(ctx, v, lease, false, say)
	}
	w, err := v.watch(ctx)
	if err != nil {
		return "", err
	}
	defer w.Stop()
	try := time.NewTimer(0)
	defer try.Stop()
	for {
		try.Stop()
		if at, ok := v.plan(time.Now()); ok {
			try.Reset(time.Until(at))
		}
		say(v.waiting()) // after that: a pause that is said is one whose end is waited for
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-try.C:
			lease, err := l.take(ctx, v)
			if err != nil {
				return "", err
			}
			if lease != nil {
				v.forget()
				slot, err := l.admit(ctx, v, lease, l.handedOn(lease), say)
				if slot != "" {
					l.endTurn(ctx, v, slot)
				}
				return slot, err
			}
		case ev, ok := <-w.ResultChan():
			if err := v.hear(ev, ok); err != nil {
				return "", err
			}
			if v.ours() { // people have given it to us
				v.forget()
				return "", nil
			}
		}
	}
}

// take tries the slots whose turn has come and returns the one that is ours now, nil
// if none is to be had.
func (l *Lock) take(ctx context.Context, v *view) (*coordinationv1.Lease, error) {
	for _, i := range v.due(time.Now()) {
		lease, err := l.takeSlot(ctx, v, i)
		switch {
		case err == nil:
			return lease, nil
		case !isRefused(err):
			return nil, err
		}
		// The watch tells who was quicker: nobody asks, of however many have lost.
		v.refused(i, time.Now())
	}
	return nil, nil
}

func (l *Lock) takeSlot(ctx context.Context, v *view, i int) (*coordinationv1.Lease, error) {
	// One that is refused again, and still seems to be free, is claimed by somebody.
	if lease := v.leases[i]; lease != nil && (!isClean(lease) || v.turns[i].tries > 0) {
		if err := l.clean(ctx, lease); err != nil {
			return nil, err
		}
	}
	return l.applyHeld(ctx, l.slotName(i), time.Now(), guard{})
}

// admit makes sure that a slot of which no use is made yet may be kept, takes what
// goes with it, and waits until it may be used, unless say is nil; else it gives the
// slot up and returns "". handed says that its last holder has handed it on.
func (l *Lock) admit(ctx context.Context, v *view, lease *coordinationv1.Lease, handed bool, say func(lock.Waiting)) (string, error) {
	if v.leftSlots() && !l.cfg.DryRun {
		// The slots' own names do not keep the count when some are left from when
		// there were more. Who takes one looks again afterwards: of two that take one
		// at the same time, the later look sees both.
		fresh, err := l.list(ctx)
		if err != nil {
			return "", err
		}
		if len(fresh.holders()) > l.cfg.Slots {
			return "", l.yield(ctx, errTooMany, api.Line{})
		}
	}
	ok, replaced, err := l.takeConstraints(ctx)
	if err != nil {
		return "", err
	}
	if ok && !(handed && !replaced || l.cfg.AtWork == nil || l.cfg.DryRun) {
		if say != nil {
			err = l.awaitOthers(ctx, say)
		} else {
			ok, _, _, err = l.mayBegin(ctx)
		}
		if err != nil {
			return "", err
		}
	}
	if !ok {
		if say == nil {
			return "", l.Release(ctx, lineOf(lease))
		}
		// An error, so that Acquire pauses: what is seen may not tell why.
		return "", l.yield(ctx, errNotOurs, lineOf(lease))
	}
	l.setMay(true)
	return lease.Name, nil
}

// yield releases a slot that was taken for nothing, and returns why.
func (l *Lock) yield(ctx context.Context, why error, next api.Line) error {
	if err := l.Release(ctx, next); err != nil {
		return fmt.Errorf("%w, which failed: %w", why, err)
	}
	return why
}

// isRefused says whether an apply failed because another had the slot first.
func isRefused(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }

// isGone says whether an apply failed because its Lease has been deleted, or is
// another of the same name.
func isGone(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsNotFound(err) || apierrors.IsInvalid(err)
}
