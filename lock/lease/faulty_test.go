package lease_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	words "rebootd.dev/daemon/api"
	"rebootd.dev/lock"
	"rebootd.dev/lock/lease"
	"rebootd.dev/lock/lease/leasetest"
	"rebootd.dev/lock/locktest"
)

const zone = "l-zone"

// faulty is what lies between a lock and its API server, and makes the lock a faulty one:
// it changes what is said, or what is seen. Its functions may be nil.
type faulty struct {
	lease.API
	p locktest.Process

	apply  func(f *faulty, name string, body map[string]any, opts *metav1.PatchOptions) (skip bool) // before an apply
	after  func(f *faulty, name string, l *coordinationv1.Lease, err error)                         // one
	patch  func(f *faulty, name string, body map[string]any)                                        // before a patch
	list   func(f *faulty)                                                                          // before a list
	seen   func(f *faulty, l *coordinationv1.Lease) (hide bool)                                     // of what is listed
	watch  bool                                                                                     // seen is for watches, too
	mu     sync.Mutex
	flag   bool
	atWork []string
	ask    func(ctx context.Context) ([]string, error)
}

func (f *faulty) set(flag bool) (was bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	was, f.flag = f.flag, flag
	return was
}

func (f *faulty) isSet() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.flag
}

func decode(body []byte) map[string]any {
	out := map[string]any{}
	if err := json.Unmarshal(body, &out); err != nil {
		panic(err)
	}
	return out
}

func encode(body map[string]any) []byte {
	out, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	return out
}

func meta(body map[string]any) map[string]any { return body["metadata"].(map[string]any) }

func (f *faulty) ApplyLease(ctx context.Context, namespace, name string, body []byte, opts metav1.PatchOptions) (*coordinationv1.Lease, error) {
	said := decode(body)
	if f.apply != nil && f.apply(f, name, said, &opts) {
		return f.GetLease(ctx, namespace, name)
	}
	l, err := f.API.ApplyLease(ctx, namespace, name, encode(said), opts)
	if f.after != nil {
		f.after(f, name, l, err)
	}
	return l, err
}

func (f *faulty) MergePatchLease(ctx context.Context, namespace, name string, body []byte) (*coordinationv1.Lease, error) {
	said := decode(body)
	if f.patch != nil {
		f.patch(f, name, said)
	}
	return f.API.MergePatchLease(ctx, namespace, name, encode(said))
}

func (f *faulty) ListLeases(ctx context.Context, namespace string, opts metav1.ListOptions) (*coordinationv1.LeaseList, error) {
	if f.list != nil {
		f.list(f)
	}
	list, err := f.API.ListLeases(ctx, namespace, opts)
	if err == nil && f.seen != nil {
		var kept []coordinationv1.Lease
		for i := range list.Items {
			if !f.seen(f, &list.Items[i]) {
				kept = append(kept, list.Items[i])
			}
		}
		list.Items = kept
	}
	return list, err
}

func (f *faulty) WatchLeases(ctx context.Context, namespace string, opts metav1.ListOptions) (watch.Interface, error) {
	w, err := f.API.WatchLeases(ctx, namespace, opts)
	if err != nil || !f.watch {
		return w, err
	}
	ch := make(chan watch.Event)
	out := watch.NewProxyWatcher(ch)
	go func() {
		defer close(ch)
		defer w.Stop()
		for {
			select {
			case <-out.StopChan():
				return
			case ev, ok := <-w.ResultChan():
				if !ok {
					return
				}
				if l, ok := ev.Object.(*coordinationv1.Lease); ok && f.seen(f, l) {
					continue
				}
				select {
				case ch <- ev:
				case <-out.StopChan():
					return
				}
			}
		}
	}()
	return out, nil
}

func isSlot(name string) bool { _, ok := words.SlotIndex("l", name); return ok }

func unguarded(body map[string]any) { delete(meta(body), "uid"); delete(meta(body), "resourceVersion") }

// fault is a lock that breaks its contract.
type fault struct {
	api    func(f *faulty)
	config func(c *lease.Config, f *faulty)
	locker func(l lock.Locker, p locktest.Process) lock.Locker
}

// wrong is a lock with some of its methods replaced.
type wrong struct {
	lock.Locker
	find    func(ctx context.Context, c lock.Claimant) (string, bool, error)
	acquire func(ctx context.Context, c lock.Claimant, waiting func(lock.Waiting)) (string, error)
	keep    func(ctx context.Context, paused func(lock.Pause)) error
	fence   func(ctx context.Context) error
	release func(ctx context.Context, next words.Line) error
	worked  func(ctx context.Context, next words.Line, at time.Time) error
}

func (w *wrong) Find(ctx context.Context, c lock.Claimant) (string, bool, error) {
	if w.find != nil {
		return w.find(ctx, c)
	}
	return w.Locker.Find(ctx, c)
}

func (w *wrong) Acquire(ctx context.Context, c lock.Claimant, waiting func(lock.Waiting)) (string, error) {
	if w.acquire != nil {
		return w.acquire(ctx, c, waiting)
	}
	return w.Locker.Acquire(ctx, c, waiting)
}

func (w *wrong) Keep(ctx context.Context, paused func(lock.Pause)) error {
	if w.keep != nil {
		return w.keep(ctx, paused)
	}
	return w.Locker.Keep(ctx, paused)
}

func (w *wrong) Fence(ctx context.Context) error {
	if w.fence != nil {
		return w.fence(ctx)
	}
	return w.Locker.Fence(ctx)
}

func (w *wrong) Release(ctx context.Context, next words.Line) error {
	if w.release != nil {
		return w.release(ctx, next)
	}
	return w.Locker.Release(ctx, next)
}

func (w *wrong) ReleaseWorked(ctx context.Context, next words.Line, at time.Time) error {
	if w.worked != nil {
		return w.worked(ctx, next, at)
	}
	return w.Locker.ReleaseWorked(ctx, next, at)
}

// claims changes what a node says of itself.
func claims(change func(c *lock.Claimant)) fault {
	return fault{locker: func(l lock.Locker, _ locktest.Process) lock.Locker {
		return &wrong{
			Locker: l,
			find:   func(ctx context.Context, c lock.Claimant) (string, bool, error) { change(&c); return l.Find(ctx, c) },
			acquire: func(ctx context.Context, c lock.Claimant, waiting func(lock.Waiting)) (string, error) {
				change(&c)
				return l.Acquire(ctx, c, waiting)
			},
		}
	}}
}

func locker(f func(w *wrong, l lock.Locker)) fault {
	return fault{locker: func(l lock.Locker, _ locktest.Process) lock.Locker {
		w := &wrong{Locker: l}
		f(w, l)
		return w
	}}
}

// blind is a lock that does not see something of Leases.
func blind(watch bool, seen func(f *faulty, l *coordinationv1.Lease) bool) fault {
	return fault{api: func(f *faulty) { f.seen, f.watch = seen, watch }}
}

// holderOf is who holds a Lease, "" if nobody does.
func holderOf(l *coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

// world is one in which every process has the fault.
func (x fault) world(t testing.TB) locktest.World {
	return leasetest.NewFakeWorld(t, func(o *leasetest.Options) {
		var mu sync.Mutex
		by := map[*locktest.Link]*faulty{}
		o.Between = func(api lease.API, p locktest.Process) lease.API {
			f := &faulty{API: api, p: p}
			if x.api != nil {
				x.api(f)
			}
			mu.Lock()
			defer mu.Unlock()
			by[p.Link] = f
			return f
		}
		o.Config = func(c *lease.Config, p locktest.Process) {
			mu.Lock()
			f := by[p.Link]
			mu.Unlock()
			f.ask = c.AtWork
			if x.config != nil {
				x.config(c, f)
			}
		}
		o.Locker = x.locker
	})
}
