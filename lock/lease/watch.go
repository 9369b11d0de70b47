package lease

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// errWatchEnded says that the server has ended a watch, as it does from time to
// time: the next one begins where this one has ended.
var errWatchEnded = errors.New("the watch of the Leases ended")

// list is what the API server knows of the lock's Leases now.
func (l *Lock) list(ctx context.Context) (*view, error) {
	v := l.newView()
	return v, v.load(ctx)
}

// load brings a view up to date by a list.
func (v *view) load(ctx context.Context) error {
	list, err := v.lock.cfg.API.ListLeases(ctx, v.lock.cfg.Namespace, metav1.ListOptions{})
	if err != nil {
		return fmt.Errorf("list the Leases of %s: %w", v.lock.cfg.Namespace, err)
	}
	there := map[string]bool{}
	v.others = nil
	for i := range list.Items {
		there[list.Items[i].Name] = true
		if !v.see(watch.Added, &list.Items[i]) {
			v.seeOther(&list.Items[i])
		}
	}
	for _, lease := range v.all() {
		if !there[lease.Name] {
			v.see(watch.Deleted, lease)
		}
	}
	v.version = list.ResourceVersion
	return nil
}

// forget has the next look begin with a list.
func (v *view) forget() { v.version = "" }

// watch begins where what is known ends, with a list if nothing is.
func (v *view) watch(ctx context.Context) (watch.Interface, error) {
	w, err := v.lock.cfg.API.WatchLeases(ctx, v.lock.cfg.Namespace, metav1.ListOptions{ResourceVersion: v.version, AllowWatchBookmarks: true})
	if err != nil {
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			v.forget()
		}
		return nil, fmt.Errorf("watch the Leases of %s: %w", v.lock.cfg.Namespace, err)
	}
	return w, nil
}

// hear takes in what a watch tells. ok is false when it has ended.
func (v *view) hear(ev watch.Event, ok bool) error {
	if !ok {
		return errWatchEnded
	}
	if ev.Type == watch.Error {
		v.forget()
		return fmt.Errorf("watch the Leases of %s: %w", v.lock.cfg.Namespace, apierrors.FromObject(ev.Object))
	}
	lease, ok := ev.Object.(*coordinationv1.Lease)
	if !ok {
		return nil
	}
	v.version = lease.ResourceVersion
	if ev.Type != watch.Bookmark {
		v.see(ev.Type, lease)
	}
	return nil
}

// pause makes growing, jittered pauses between tries.
type pause struct {
	failed int
	first  time.Duration // 0: firstPause
}

const (
	firstPause = 250 * time.Millisecond
	mostPause  = 15 * time.Second
	// goodWhile is how long something must have gone well for the pauses to begin
	// anew.
	goodWhile = mostPause
)

// wait waits after err, which may be nil, and as long as the server asks for. began
// is when that began which has ended with err.
func (p *pause) wait(ctx context.Context, began time.Time, err error) {
	if time.Since(began) >= goodWhile {
		p.failed = 0
	}
	d := min(mostPause, cmp.Or(p.first, firstPause)<<min(p.failed, 6))
	d = d/2 + rand.N(d/2)
	if seconds, ok := apierrors.SuggestsClientDelay(err); ok && seconds > 0 {
		asked := min(time.Duration(seconds)*time.Second, time.Minute)
		d = asked + rand.N(min(mostPause, asked<<min(p.failed, 4))+1)
	}
	p.failed++
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
