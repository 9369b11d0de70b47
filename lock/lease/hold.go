package lease

import (
	"context"
	"errors"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"rebootd.dev/daemon/api"
	"rebootd.dev/lock"
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
	if p := v.paused(); p != (lock.Pause{}) {
		return &lock.PausedError{Pause: p}
	}
	slot, err := l.confirm(ctx)
	if err != nil {
		return err
	}
	for _, c := range l.constraints() {
		err := l.applyConstraint(ctx, c, nil)
		if isRefused(err) {
			// Without it the slot is of no use to us, and may be to others; but this node
			// is at work still, and so it is not handed on.
			l.setMay(false)
			if err := l.Release(ctx, api.Line{}); err != nil {
				return err
			}
			return &lock.LostError{What: "the slot " + slot, How: "was released: " + c.words(v.constraint(c))}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// confirm applies the slot once more on the condition that it has not changed
// since it was seen to be ours; if it has, it looks, and tries again. It returns the
// slot's name.
func (l *Lock) confirm(ctx context.Context) (slot string, err error) {
	for {
		was := l.getHeld()
		if was == nil {
			return "", l.notHeld()
		}
		acquired := time.Now()
		if was.Spec.AcquireTime != nil {
			acquired = was.Spec.AcquireTime.Time
		}
		_, err := l.applyHeld(ctx, was.Name, acquired, guard{was.UID, was.ResourceVersion})
		if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return was.Name, err
		}
		now, getErr := l.get(ctx, was.Name)
		switch {
		case getErr != nil:
			return was.Name, getErr
		case !l.stillOurs(was, now):
			return was.Name, l.lost(was, now)
		case now.ResourceVersion == was.ResourceVersion:
			// Nothing has changed, and yet we are refused: somebody has made the
			// times their own. Our name stands, and that is what counts.
			return was.Name, nil
		}
		l.setHeld(now)
	}
}

// Keep watches the slot and renews it until ctx ends, when it returns nil, or
// until the slot is not ours any more, when it returns a LostError. That the API
// server cannot be reached is no loss. paused is told the pause that people have set,
// the zero one when there is none, at first and whenever that changes.
func (l *Lock) Keep(ctx context.Context, paused func(lock.Pause)) error {
	pause, v := pause{}, l.newView()
	for ctx.Err() == nil {
		began := time.Now()
		err := l.follow(ctx, v, paused)
		var lost *lock.LostError
		switch {
		case errors.As(err, &lost):
			return lost
		case ctx.Err() != nil:
			return nil
		case !errors.Is(err, errWatchEnded):
			l.cfg.Log("watch the lock %s: %v; retrying", l.cfg.Name, err)
		}
		pause.wait(ctx, began, err)
	}
	return nil
}

// follow watches the lock's Leases until the watch ends. All of them: a pause may be
// on any.
func (l *Lock) follow(ctx context.Context, v *view, paused func(lock.Pause)) error {
	if v.version == "" {
		if err := v.load(ctx); err != nil {
			return err
		}
	}
	told, err := l.check(v, paused)
	if err != nil {
		return err
	}
	w, err := v.watch(ctx)
	if err != nil {
		return err
	}
	defer w.Stop()
	renew := time.NewTicker(l.cfg.Duration / 3)
	defer renew.Stop()
	over := time.NewTimer(0)
	defer over.Stop()
	for {
		over.Stop()
		if after, ends := l.pauseEnds(told); ends {
			over.Reset(after)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-over.C:
			if told, err = l.check(v, paused); err != nil {
				return err
			}
		case <-renew.C:
			if _, err := l.confirm(ctx); err != nil {
				return err
			}
		case ev, ok := <-w.ResultChan():
			if err := v.hear(ev, ok); err != nil {
				return err
			}
			if told, err = l.check(v, paused); err != nil {
				return err
			}
		}
	}
}

// check finds out from what is seen of the lock whether the slot is still ours,
// and tells whether it may be used: it returns the pause that it has told.
func (l *Lock) check(v *view, paused func(lock.Pause)) (told lock.Pause, err error) {
	was := l.getHeld()
	if was == nil {
		return told, l.notHeld()
	}
	var now *coordinationv1.Lease
	if i, ok := l.index(was.Name); ok {
		now = v.leases[i]
	}
	if !l.stillOurs(was, now) {
		return told, l.lost(was, now)
	}
	told = v.paused()
	paused(told)
	return told, nil
}

// Line is what the slot that is held carried when it was taken, without this node.
func (l *Lock) Line() api.Line {
	return lineOf(l.getHeld()).Without(func(node string) bool { return node == l.cfg.Node })
}

// Release gives the slot up, and what goes with it. next are those for which it is
// kept for a moment. It is idempotent, and touches nothing of another's.
func (l *Lock) Release(ctx context.Context, next api.Line) error {
	return l.releaseAll(ctx, next, time.Time{})
}

// ReleaseWorked is Release, and notes on the slot until when this node was worked on.
func (l *Lock) ReleaseWorked(ctx context.Context, next api.Line, at time.Time) error {
	return l.releaseAll(ctx, next, at)
}

// Vacated is until when a node was last worked on under the slot that is held.
func (l *Lock) Vacated() time.Time {
	held := l.getHeld()
	if held == nil {
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339, held.Annotations[api.VacatedAnnotation])
	if err != nil {
		return time.Time{} // nobody's word, or somebody else's than ours
	}
	return at
}

// releaseAll gives up the slot, with the word that a node was worked on under it until at,
// unless that is zero.
func (l *Lock) releaseAll(ctx context.Context, next api.Line, at time.Time) error {
	v, err := l.list(ctx)
	if err != nil {
		return err
	}
	// Who holds a slot already needs no other.
	next = next.Without(func(node string) bool { return node != l.cfg.Node && v.holds(node) })
	// The slot last: while it is held, another start of us finds it and goes on.
	if err := l.releaseConstraints(ctx, v); err != nil {
		return err
	}
	for _, i := range v.indexes() {
		if lease := v.leases[i]; holderOf(lease) == l.cfg.Node && !tooNew(lease) {
			if err := l.release(ctx, lease, next, at); err != nil {
				return err
			}
			next = api.Line{} // for one slot only
		}
	}
	l.setHeld(nil)
	return nil
}

func (l *Lock) release(ctx context.Context, lease *coordinationv1.Lease, next api.Line, at time.Time) error {
	for {
		err := l.vacate(ctx, lease, next, at)
		if !at.IsZero() && (apierrors.IsForbidden(err) || apierrors.IsInvalid(err)) {
			// A policy of an older version does not know the annotation.
			l.cfg.Log("%v; releasing it without the time, so that its next holder does not wait for --interval", err)
			at = time.Time{}
			continue
		}
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
