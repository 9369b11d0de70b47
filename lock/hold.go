package lock

import (
	"context"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// Fence confirms, immediately before a step that cannot be undone, that the slot
// is ours, and renews it. A LostError says that it is not; any other error, that
// it is not known.
func (l *Lock) Fence(ctx context.Context) error { return l.confirm(ctx) }

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
		_, err := l.applyHeld(ctx, was.Name, acquired, guard{was.UID, was.ResourceVersion}, false)
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
// server cannot be reached is no loss.
func (l *Lock) Keep(ctx context.Context) error {
	pause := pause{}
	for ctx.Err() == nil {
		was := l.getHeld()
		if was == nil {
			return &LostError{Slot: l.cfg.Name, How: "is not held"}
		}
		err := l.follow(ctx, was)
		var lost *LostError
		switch {
		case errors.As(err, &lost):
			return lost
		case err == nil:
			pause.reset()
			continue
		case ctx.Err() != nil:
			return nil
		}
		l.cfg.Log("watching the slot %s: %v; tries again", was.Name, err)
		pause.wait(ctx)
		now, err := l.get(ctx, was.Name)
		if err != nil {
			continue
		}
		if !l.stillOurs(was, now) {
			return l.lost(was, now)
		}
		l.setHeld(now)
	}
	return nil
}

// follow watches the slot from the state was until the watch ends.
func (l *Lock) follow(ctx context.Context, was *coordinationv1.Lease) error {
	w, err := l.cfg.API.WatchLeases(ctx, l.cfg.Namespace, metav1.ListOptions{
		FieldSelector: "metadata.name=" + was.Name, ResourceVersion: was.ResourceVersion,
	})
	if err != nil {
		return fmt.Errorf("watch the Lease %s/%s: %w", l.cfg.Namespace, was.Name, err)
	}
	defer w.Stop()
	renew := time.NewTicker(l.cfg.Duration / 3)
	defer renew.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-renew.C:
			if err := l.confirm(ctx); err != nil {
				return err
			}
		case ev, ok := <-w.ResultChan():
			if !ok {
				return errors.New("the watch ended")
			}
			now, _ := ev.Object.(*coordinationv1.Lease)
			switch ev.Type {
			case watch.Error:
				return apierrors.FromObject(ev.Object)
			case watch.Deleted:
				return l.lost(was, nil)
			case watch.Added, watch.Modified:
				if !l.stillOurs(was, now) {
					return l.lost(was, now)
				}
			}
		}
	}
}

// Release gives the slot up. It is idempotent, and touches nothing of another's.
func (l *Lock) Release(ctx context.Context) error {
	held := l.getHeld()
	if held == nil {
		// Nothing is known: look, so that nothing of ours is left behind.
		_, ok, err := l.Find(ctx)
		if err != nil || !ok {
			return err
		}
		held = l.getHeld()
	}
	if err := l.release(ctx, held); err != nil {
		return err
	}
	l.setHeld(nil)
	return nil
}

func (l *Lock) release(ctx context.Context, held *coordinationv1.Lease) error {
	now, err := l.applyNothing(ctx, held)
	switch {
	case apierrors.IsConflict(err) || apierrors.IsNotFound(err) || apierrors.IsInvalid(err):
		// Deleted, or another of the same name: look.
		if now, err = l.get(ctx, held.Name); err != nil || now == nil {
			return err
		}
	case err != nil:
		return err
	}
	if holderOf(now) == l.cfg.Node {
		return l.clear(ctx, now)
	}
	return nil
}
