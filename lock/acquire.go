package lock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// Waiting is why Acquire still waits.
type Waiting struct {
	Holders []Holder // in the order of the slots
	Paused  string   // why people have paused the lock
	Barred  string   // what else keeps this node from holding a slot now
	Kept    string   // for whom the free slot is kept
	Err     error    // the API server does not answer, or refuses
}

// Holder is who holds a slot.
type Holder struct{ Slot, Node string }

// String is one sentence for people.
func (w Waiting) String() string {
	switch {
	case w.Err != nil:
		return w.Err.Error()
	case w.Paused != "":
		return "paused: " + w.Paused
	case w.Barred != "":
		return w.Barred
	case len(w.Holders) == 0 && w.Kept != "":
		return "the next is " + w.Kept
	case len(w.Holders) == 0:
		return "no slot is held; tries to take one"
	}
	var parts []string
	for i, h := range w.Holders {
		if i == 3 {
			parts = append(parts, fmt.Sprintf("%d more", len(w.Holders)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("%s by %s", h.Slot, h.Node))
	}
	return "held: " + strings.Join(parts, ", ")
}

// Holders are those that hold slots now.
func (l *Lock) Holders(ctx context.Context) ([]Holder, error) {
	v, err := l.list(ctx)
	if err != nil {
		return nil, err
	}
	return v.holders(), nil
}

// Find looks up the slot that is ours already, after a restart or a lost answer,
// and makes sure of what goes with it. Of more than one slot, which a change of
// the number of slots can lead to, it keeps the lowest and gives up the others.
func (l *Lock) Find(ctx context.Context, ask Ask) (slot string, held bool, err error) {
	l.setAsk(ask)
	v, err := l.list(ctx)
	if err != nil {
		return "", false, err
	}
	lease, err := l.keepLowest(ctx, v)
	if err != nil || lease == nil {
		return "", false, err
	}
	if ask.Begun {
		if _, err := l.takeCompanions(ctx); err != nil {
			return "", false, err
		}
		l.setMay()
		return lease.Name, true, nil
	}
	slot, err = l.settle(ctx, v, lease)
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
		if uid := lease.Annotations[HolderUIDAnnotation]; uid != "" && l.getAsk().UID != "" && uid != string(l.getAsk().UID) {
			if err := l.release(ctx, lease, Line{}); err != nil {
				return nil, fmt.Errorf("give up the slot of an earlier Node of the same name: %w", err)
			}
			continue
		}
		ours = append(ours, lease)
	}
	if len(ours) == 0 {
		l.setHeld(nil)
		return nil, l.releaseCompanions(ctx, v)
	}
	for _, lease := range ours[1:] {
		if err := l.release(ctx, lease, Line{}); err != nil {
			return nil, fmt.Errorf("give up a second slot: %w", err)
		}
	}
	l.setHeld(ours[0])
	return ours[0], nil
}

// Acquire waits until a slot is ours, and what goes with it, and returns its name.
// It returns an error only when ctx ends; whatever else goes wrong is tried again
// and told to waiting, which is also told, whenever that changes, who holds the
// slots.
func (l *Lock) Acquire(ctx context.Context, ask Ask, waiting func(Waiting)) (slot string, err error) {
	l.setAsk(ask)
	said := ""
	say := func(w Waiting) {
		if s := w.String(); s != said {
			said = s
			waiting(w)
		}
	}
	pause := pause{}
	for {
		slot, err := l.attend(ctx, say)
		switch {
		case err == nil:
			return slot, nil
		case ctx.Err() != nil:
			return "", fmt.Errorf("wait for a slot of %s: %w", l.cfg.Name, context.Cause(ctx))
		case errors.Is(err, errWatchEnded):
			pause.reset()
			continue
		}
		say(Waiting{Err: err})
		pause.wait(ctx, err)
	}
}

var (
	errWatchEnded = errors.New("the watch of the Leases ended")
	errTooMany    = errors.New("others have taken slots at the same time; all give way")
)

// attend looks at the slots, takes one if it may, and else watches until it has
// taken one or the watch ends.
func (l *Lock) attend(ctx context.Context, say func(Waiting)) (string, error) {
	v, err := l.list(ctx)
	if err != nil {
		return "", err
	}
	lease, err := l.keepLowest(ctx, v)
	if err != nil {
		return "", err
	}
	if lease != nil {
		if name, err := l.settle(ctx, v, lease); err != nil || name != "" {
			return name, err
		}
	}
	w, err := l.cfg.API.WatchLeases(ctx, l.cfg.Namespace, metav1.ListOptions{ResourceVersion: v.version, AllowWatchBookmarks: true})
	if err != nil {
		return "", fmt.Errorf("watch the Leases of %s: %w", l.cfg.Namespace, err)
	}
	defer w.Stop()
	try := time.NewTimer(0)
	try.Stop()
	defer try.Stop()
	for {
		say(v.waiting())
		if at, ok := v.mayTake(time.Now()); ok {
			try.Reset(at)
		} else {
			try.Stop()
		}
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-try.C:
			name, err := l.take(ctx, v)
			if err != nil || name != "" {
				return name, err
			}
		case ev, ok := <-w.ResultChan():
			if !ok {
				return "", errWatchEnded
			}
			if ev.Type == watch.Error {
				return "", fmt.Errorf("watch the Leases of %s: %w", l.cfg.Namespace, apierrors.FromObject(ev.Object))
			}
			lease, ok := ev.Object.(*coordinationv1.Lease)
			if ok && ev.Type != watch.Bookmark {
				v.see(ev.Type, lease)
			}
		}
	}
}

const (
	// herd is the time over which the waiting nodes spread when a slot is free.
	herd = 100 * time.Millisecond
	// perPlace is how much longer each place in the line waits, by each waiter's own
	// clock.
	perPlace = time.Second
)

// mayTake says whether this node may try for a slot, and in how long.
func (v *view) mayTake(now time.Time) (time.Duration, bool) {
	if _, paused := v.paused(); paused {
		return 0, false
	}
	if _, _, barred := v.barred(); barred || v.full() {
		return 0, false
	}
	best, ok := time.Duration(0), false
	for _, i := range v.free() {
		wait := v.opens(i).Sub(now)
		if place, of := v.place(i); place == of {
			wait += rand.N(herd)
		}
		if wait = max(0, wait); !ok || wait < best {
			best, ok = wait, true
		}
	}
	return best, ok
}

// take tries the free slots in turn and returns the name of the one that is ours
// now, "" if none is to be had.
func (l *Lock) take(ctx context.Context, v *view) (string, error) {
	for _, i := range v.open(time.Now()) {
		// Slots above the number of slots, left from when it was higher, count.
		if v.full() {
			return "", nil
		}
		name := l.slotName(i)
		lease, err := l.applyHeld(ctx, name, time.Now(), guard{})
		if isRefused(err) {
			now, getErr := l.get(ctx, name)
			switch {
			case getErr != nil:
				return "", getErr
			case now == nil:
				v.see(watch.Deleted, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}})
				continue
			case holderOf(now) != "" || tooNew(now):
				v.see(watch.Modified, now)
				continue
			}
			// Nobody holds it, and yet another manager owns a field: a person has cleared
			// it.
			if err = l.clean(ctx, now); err == nil {
				lease, err = l.applyHeld(ctx, name, time.Now(), guard{})
			}
			if isRefused(err) {
				continue
			}
		}
		if err != nil {
			return "", err
		}
		return l.settle(ctx, v, lease)
	}
	return "", nil
}

// settle makes sure that a slot of which no use is made yet may be kept, and takes
// what goes with it; else it gives the slot up and returns "".
func (l *Lock) settle(ctx context.Context, v *view, lease *coordinationv1.Lease) (string, error) {
	if v.leftSlots() && !l.cfg.DryRun {
		// The slots' own names do not keep the count when some are left from when
		// there were more. Who takes one looks again afterwards: of two that take one
		// at the same time, the later look sees both.
		fresh, err := l.list(ctx)
		if err != nil {
			return "", err
		}
		if len(fresh.holders()) > l.cfg.Slots {
			return "", errors.Join(errTooMany, l.Release(ctx, Line{}))
		}
	}
	ok, err := l.takeCompanions(ctx)
	if err != nil {
		return "", err
	}
	if !ok {
		return "", l.Release(ctx, Line{})
	}
	l.setMay()
	return lease.Name, nil
}

// isRefused says whether an apply failed because another had the slot first.
func isRefused(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }

// isGone says whether an apply failed because its Lease has been deleted, or is
// another of the same name.
func isGone(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsNotFound(err) || apierrors.IsInvalid(err)
}

// pause makes growing, jittered pauses between tries.
type pause struct{ failed int }

func (p *pause) reset() { p.failed = 0 }

// wait waits after err, which may be nil, and as long as the server asks for.
func (p *pause) wait(ctx context.Context, err error) {
	const most = 15 * time.Second
	d := min(most, 250*time.Millisecond<<min(p.failed, 6))
	d = d/2 + rand.N(d/2)
	if seconds, ok := apierrors.SuggestsClientDelay(err); ok && seconds > 0 {
		asked := min(time.Duration(seconds)*time.Second, time.Minute)
		d = asked + rand.N(min(most, asked<<min(p.failed, 4))+1)
	}
	p.failed++
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
