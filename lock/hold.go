package lock

import (
	"context"
	"errors"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Fence confirms, immediately before a step that cannot be undone, that the slot
// and what goes with it are ours, and renews it. A LostError says that they are
// not, a PausedError that people have paused the lock; any other error, that it is
// not known.
func (l *Lock) Fence(ctx context.Context) error {
	v, err := l.list(ctx)
	if err != nil {
		return err
	}
	if why, ok := v.paused(); ok {
		return &PausedError{why}
	}
	if err := l.confirm(ctx); err != nil {
		return err
	}
	for _, c := range l.companions() {
		err := l.applyCompanion(ctx, c, nil)
		if isRefused(err) {
			// Without it the slot is of no use to us, and may be to others; but this node
			// is at work still, and so it is not handed on.
			l.setMay(false)
			if err := l.Release(ctx, Line{}); err != nil {
				return err
			}
			return &LostError{Slot: c.lease, How: "is held by another", Holder: v.companion(c)}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// confirm applies the slot once more on the condition that it has not changed
// since it was seen to be ours; if it has, it looks, and tries again.
func (l *Lock) confirm(ctx context.Context) error {
	for {
		was := l.getHeld()
		if was == nil {
			return &LostError{Slot: l.cfg.Name, How: "is not held"}
		}
		acquired := time.Now()
		if was.Spec.AcquireTime != nil {
			acquired = was.Spec.AcquireTime.Time
		}
		_, err := l.applyHeld(ctx, was.Name, acquired, guard{was.UID, was.ResourceVersion})
		if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return err
		}
		now, getErr := l.get(ctx, was.Name)
		switch {
		case getErr != nil:
			return getErr
		case !l.stillOurs(was, now):
			return l.lost(was, now)
		case now.ResourceVersion == was.ResourceVersion:
			// Nothing has changed, and yet we are refused: somebody has made the
			// times their own. Our name stands, and that is what counts.
			return nil
		}
		l.setHeld(now)
	}
}

// Keep watches the slot and renews it until ctx ends, when it returns nil, or
// until the slot is not ours any more, when it returns a LostError. That the API
// server cannot be reached is no loss. paused is told why people have paused the
// lock, "" when they have not, at first and whenever that changes.
func (l *Lock) Keep(ctx context.Context, paused func(why string)) error {
	pause, v := pause{}, l.newView()
	for ctx.Err() == nil {
		began := time.Now()
		err := l.follow(ctx, v, paused)
		var lost *LostError
		switch {
		case errors.As(err, &lost):
			return lost
		case ctx.Err() != nil:
			return nil
		case !errors.Is(err, errWatchEnded):
			l.cfg.Log("watching the lock %s: %v; tries again", l.cfg.Name, err)
		}
		pause.wait(ctx, began, err)
	}
	return nil
}

// follow watches the lock's Leases until the watch ends. All of them: a pause may be
// on any.
func (l *Lock) follow(ctx context.Context, v *view, paused func(string)) error {
	if v.version == "" {
		if err := v.load(ctx); err != nil {
			return err
		}
	}
	if err := l.check(v, paused); err != nil {
		return err
	}
	w, err := v.watch(ctx)
	if err != nil {
		return err
	}
	defer w.Stop()
	renew := time.NewTicker(l.cfg.Duration / 3)
	defer renew.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-renew.C:
			if err := l.confirm(ctx); err != nil {
				return err
			}
		case ev, ok := <-w.ResultChan():
			if err := v.hear(ev, ok); err != nil {
				return err
			}
			if err := l.check(v, paused); err != nil {
				return err
			}
		}
	}
}

// check finds out from what is seen of the lock whether the slot is still ours,
// and tells whether it may be used.
func (l *Lock) check(v *view, paused func(string)) error {
	was := l.getHeld()
	if was == nil {
		return &LostError{Slot: l.cfg.Name, How: "is not held"}
	}
	var now *coordinationv1.Lease
	if i, ok := l.index(was.Name); ok {
		now = v.leases[i]
	}
	if !l.stillOurs(was, now) {
		return l.lost(was, now)
	}
	why, _ := v.paused()
	paused(why)
	return nil
}

// Release gives the slot up, and what goes with it. next are those for which it is
// kept for a moment. It is idempotent, and touches nothing of another's.
func (l *Lock) Release(ctx context.Context, next Line) error {
	v, err := l.list(ctx)
	if err != nil {
		return err
	}
	// Who holds a slot already needs no other.
	next = next.without(slices.DeleteFunc(v.holders(), func(h Holder) bool { return h.Node == l.cfg.Node }))
	// The slot last: while it is held, another start of us finds it and goes on.
	if err := l.releaseCompanions(ctx, v); err != nil {
		return err
	}
	for _, i := range v.indexes() {
		if lease := v.leases[i]; holderOf(lease) == l.cfg.Node && !tooNew(lease) {
			if err := l.release(ctx, lease, next); err != nil {
				return err
			}
			next = Line{} // for one slot only
		}
	}
	l.setHeld(nil)
	return nil
}

func (l *Lock) release(ctx context.Context, lease *coordinationv1.Lease, next Line) error {
	for {
		err := l.vacate(ctx, lease, next)
		if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return err
		}
		now, getErr := l.get(ctx, lease.Name)
		if getErr != nil {
			return getErr
		}
		if now == nil || now.UID != lease.UID || holderOf(now) != l.cfg.Node {
			return nil // it is not ours any more
		}
		lease = now
	}
}
