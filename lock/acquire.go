package lock

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
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
	Err     error    // the API server does not answer, or refuses
}

// Holder is who holds a slot.
type Holder struct{ Slot, Node string }

// String is one sentence for people.
func (w Waiting) String() string {
	if w.Err != nil {
		return w.Err.Error()
	}
	if len(w.Holders) == 0 {
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

// Find looks up the slot that is ours already, after a restart or a lost answer.
// Of more than one, which a change of the number of slots can lead to, it keeps
// the lowest and gives up the others.
func (l *Lock) Find(ctx context.Context) (slot string, held bool, err error) {
	view, err := l.list(ctx)
	if err != nil {
		return "", false, err
	}
	lease, err := l.keepLowest(ctx, view)
	if err != nil || lease == nil {
		return "", false, err
	}
	return lease.Name, true, nil
}

// keepLowest returns the lowest slot that is ours, nil if none is, having given
// up the others.
func (l *Lock) keepLowest(ctx context.Context, v *view) (*coordinationv1.Lease, error) {
	var ours []*coordinationv1.Lease
	for _, i := range v.indexes() {
		if lease := v.leases[i]; holderOf(lease) == l.cfg.Node && !tooNew(lease) {
			ours = append(ours, lease)
		}
	}
	if len(ours) == 0 {
		l.setHeld(nil)
		return nil, nil
	}
	for _, lease := range ours[1:] {
		if err := l.release(ctx, lease); err != nil {
			return nil, fmt.Errorf("give up a second slot: %w", err)
		}
	}
	l.setHeld(ours[0])
	return ours[0], nil
}

// Acquire waits until a slot is ours, and returns its name. It returns an error
// only when ctx ends; whatever else goes wrong is tried again and told to
// waiting, which is also told, whenever that changes, who holds the slots.
func (l *Lock) Acquire(ctx context.Context, waiting func(Waiting)) (slot string, err error) {
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
		pause.wait(ctx)
	}
}

var errWatchEnded = errors.New("the watch of the Leases ended")

// attend looks at the slots, takes one if it may, and else watches until it has
// taken one or the watch ends.
func (l *Lock) attend(ctx context.Context, say func(Waiting)) (string, error) {
	v, err := l.list(ctx)
	if err != nil {
		return "", err
	}
	if lease, err := l.keepLowest(ctx, v); err != nil || lease != nil {
		if err != nil {
			return "", err
		}
		return lease.Name, nil
	}
	name, err := l.take(ctx, v, say)
	if err != nil || name != "" {
		return name, err
	}
	w, err := l.cfg.API.WatchLeases(ctx, l.cfg.Namespace, metav1.ListOptions{ResourceVersion: v.version})
	if err != nil {
		return "", fmt.Errorf("watch the Leases of %s: %w", l.cfg.Namespace, err)
	}
	defer w.Stop()
	var try <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case <-try:
			try = nil
			name, err := l.take(ctx, v, say)
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
			if lease, ok := ev.Object.(*coordinationv1.Lease); ok && v.see(ev.Type, lease) && try == nil {
				// Many may wait: not all at once.
				try = time.After(rand.N(herd))
			}
		}
	}
}

// herd is the time over which the waiting nodes spread when a slot is free.
const herd = 100 * time.Millisecond

// take tries the free slots in turn and returns the name of the one that is ours
// now, "" if none is to be had.
func (l *Lock) take(ctx context.Context, v *view, say func(Waiting)) (string, error) {
	defer func() { say(v.waiting()) }()
	free := v.free()
	rand.Shuffle(len(free), func(i, j int) { free[i], free[j] = free[j], free[i] })
	for _, i := range free {
		// Slots above the number of slots, left from when it was higher, count.
		if len(v.waiting().Holders) >= l.cfg.Slots {
			return "", nil
		}
		name := l.slotName(i)
		_, err := l.applyHeld(ctx, name, time.Now(), guard{}, false)
		if isRefused(err) {
			var now *coordinationv1.Lease
			if now, err = l.get(ctx, name); err == nil && now != nil && holderOf(now) == "" && !tooNew(now) {
				// Nobody holds it, and yet another manager owns the field: a person
				// has emptied it. Take it from them if it is still so.
				_, err = l.applyHeld(ctx, name, time.Now(), guard{now.UID, now.ResourceVersion}, true)
			} else if now != nil {
				v.leases[i] = now
				continue
			}
			if isRefused(err) {
				continue
			}
		}
		if err != nil {
			return "", err
		}
		return name, nil
	}
	return "", nil
}

// isRefused says whether an apply failed because another had the slot first.
func isRefused(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }

// view is what is known of the lock's Leases.
type view struct {
	lock    *Lock
	version string
	leases  map[int]*coordinationv1.Lease
}

func (l *Lock) list(ctx context.Context) (*view, error) {
	list, err := l.cfg.API.ListLeases(ctx, l.cfg.Namespace, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list the Leases of %s: %w", l.cfg.Namespace, err)
	}
	v := &view{lock: l, version: list.ResourceVersion, leases: map[int]*coordinationv1.Lease{}}
	for i := range list.Items {
		v.see(watch.Added, &list.Items[i])
	}
	return v, nil
}

// see takes in a change and says whether it leaves a slot free.
func (v *view) see(kind watch.EventType, lease *coordinationv1.Lease) bool {
	i, ok := v.lock.index(lease.Name)
	if !ok {
		return false
	}
	if kind == watch.Deleted {
		delete(v.leases, i)
	} else {
		v.leases[i] = lease
	}
	return true
}

func (v *view) indexes() []int {
	var out []int
	for i := range v.leases {
		out = append(out, i)
	}
	slices.Sort(out)
	return out
}

func (v *view) free() []int {
	var out []int
	for i := range v.lock.cfg.Slots {
		if lease := v.leases[i]; lease == nil || holderOf(lease) == "" && !tooNew(lease) {
			out = append(out, i)
		}
	}
	return out
}

func (v *view) waiting() Waiting {
	var w Waiting
	for _, i := range v.indexes() {
		lease := v.leases[i]
		switch {
		case tooNew(lease):
			w.Holders = append(w.Holders, Holder{Slot: lease.Name, Node: "a newer version of rebootd"})
		case holderOf(lease) != "":
			w.Holders = append(w.Holders, Holder{Slot: lease.Name, Node: holderOf(lease)})
		}
	}
	return w
}

// pause makes growing, jittered pauses between tries.
type pause struct{ failed int }

func (p *pause) reset() { p.failed = 0 }

func (p *pause) wait(ctx context.Context) {
	d := min(15*time.Second, 250*time.Millisecond<<min(p.failed, 6))
	p.failed++
	t := time.NewTimer(d/2 + rand.N(d/2))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
