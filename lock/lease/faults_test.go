package lease_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/lock"
	"rebootd.dev/lock/lease"
	"rebootd.dev/lock/locktest"
)

// The suite finds each of these faults: what it is worth. What they are planted with is no
// fault of its own.
func TestContractFindsFaults(t *testing.T) {
	all := maps.Clone(protocolFaults)
	maps.Copy(all, otherFaults)
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		harmless := blind(true, func(*faulty, *coordinationv1.Lease) bool { return false })
		harmless.locker = func(l lock.Locker, _ locktest.Process) lock.Locker { return &wrong{Locker: l} }
		locktest.Run(t, locktest.Backend{FakeTime: true, New: func(t testing.TB) locktest.World { return harmless.world(t) }})
	})
	for name, fault := range all {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broken := locktest.Broken(t, locktest.Backend{FakeTime: true, New: func(t testing.TB) locktest.World { return fault.world(t) }})
			if broken == "" {
				t.Error("not found")
			}
			t.Log(broken)
		})
	}
}

// faults of the protocol: each was a thought of how the lock might have been made.
var protocolFaults = map[string]fault{
	"no fence": locker(func(w *wrong, _ lock.Locker) { w.fence = func(context.Context) error { return nil } }),
	"no owner": {api: func(f *faulty) {
		f.apply = func(_ *faulty, _ string, body map[string]any, _ *metav1.PatchOptions) bool {
			delete(meta(body), "ownerReferences")
			return false
		}
	}},
	"does not count again": {api: func(f *faulty) {
		f.after = func(f *faulty, name string, _ *coordinationv1.Lease, err error) {
			if err == nil && isSlot(name) {
				f.set(true)
			}
		}
		f.seen = func(f *faulty, l *coordinationv1.Lease) bool {
			i, ok := api.SlotIndex("l", l.Name)
			return f.isSet() && ok && i >= f.p.Slots
		}
	}},
	"takes any zone for left over": {api: func(f *faulty) {
		f.after = func(f *faulty, name string, _ *coordinationv1.Lease, err error) {
			f.set(name == zone && apierrors.IsConflict(err))
		}
		f.seen = func(f *faulty, l *coordinationv1.Lease) bool {
			return f.isSet() && isSlot(l.Name) && holderOf(l) != f.p.Node.Name
		}
	}},
	"replaces a zone without a precondition": {api: func(f *faulty) {
		f.apply = func(_ *faulty, _ string, body map[string]any, opts *metav1.PatchOptions) bool {
			if opts.Force != nil && *opts.Force {
				unguarded(body)
			}
			return false
		}
	}},
	"does not look for nodes at work": {config: func(c *lease.Config, _ *faulty) { c.AtWork = nil }},
	"vouches for a slot of which it was not sure": {api: func(f *faulty) {
		f.patch = func(f *faulty, name string, body map[string]any) {
			now, err := f.GetLease(context.Background(), "", name)
			if spec, ok := body["spec"].(map[string]any); err == nil && ok && holderOf(now) == f.p.Node.Name && spec["holderIdentity"] == nil {
				meta(body)["annotations"].(map[string]any)[api.ReleasedByAnnotation] = f.p.Node.Name
			}
		}
	}},
	"takes a slot between two holders for free": blind(false, func(_ *faulty, l *coordinationv1.Lease) bool {
		delete(l.Annotations, api.ReleasedByAnnotation)
		return false
	}),
	"reads who is at work before who holds slots": {
		api: func(f *faulty) {
			f.list = func(f *faulty) {
				nodes, err := f.ask(context.Background())
				f.mu.Lock()
				defer f.mu.Unlock()
				if f.atWork = nodes; err != nil {
					f.atWork = nil
				}
			}
		},
		config: func(c *lease.Config, f *faulty) {
			c.AtWork = func(context.Context) ([]string, error) {
				f.mu.Lock()
				defer f.mu.Unlock()
				return f.atWork, nil
			}
		},
	},
	"takes anybody at work for one of its zone": {config: func(c *lease.Config, f *faulty) {
		c.AtWork = func(ctx context.Context) ([]string, error) {
			nodes, err := f.ask(ctx)
			list, listErr := f.API.ListLeases(ctx, "", metav1.ListOptions{})
			if err != nil || listErr != nil {
				return nodes, err
			}
			busy := map[string]bool{}
			for _, n := range nodes {
				busy[n] = true
			}
			for i := range list.Items {
				if l := &list.Items[i]; isSlot(l.Name) && holderOf(l) != "" {
					busy[holderOf(l)] = true
				}
			}
			if len(busy) <= c.Slots {
				return nil, nil
			}
			return nodes, nil
		}
	}},
	"replaces a zone and does not look": {
		api: func(f *faulty) {
			f.after = func(f *faulty, name string, l *coordinationv1.Lease, err error) {
				if err == nil && isSlot(name) {
					f.set(l.Annotations[api.ReleasedByAnnotation] != "")
				}
			}
		},
		config: func(c *lease.Config, f *faulty) {
			c.AtWork = func(ctx context.Context) ([]string, error) {
				if f.isSet() {
					return nil, nil
				}
				return f.ask(ctx)
			}
		},
	},
	"keeps the zone": {api: func(f *faulty) {
		f.apply = func(_ *faulty, name string, body map[string]any, _ *metav1.PatchOptions) bool {
			return name == zone && body["spec"] == nil
		}
	}},
}

// faults of the lock: promises that the protocol alone does not keep.
var otherFaults = map[string]fault{
	"confirms a slot that is not the one it had": {api: func(f *faulty) {
		f.apply = func(_ *faulty, name string, body map[string]any, _ *metav1.PatchOptions) bool {
			if isSlot(name) {
				unguarded(body)
			}
			return false
		}
	}},
	"releases what is another's by now": {api: func(f *faulty) {
		f.patch = func(_ *faulty, _ string, body map[string]any) { unguarded(body) }
	}},
	"takes slots by force": {api: func(f *faulty) {
		f.apply = func(_ *faulty, _ string, _ map[string]any, opts *metav1.PatchOptions) bool {
			opts.Force = new(true)
			return false
		}
	}},
	"does not see a pause": blind(true, func(_ *faulty, l *coordinationv1.Lease) bool {
		delete(l.Annotations, api.PausedAnnotation)
		return false
	}),
	"does not see when a pause ends": blind(true, func(_ *faulty, l *coordinationv1.Lease) bool {
		delete(l.Annotations, api.PausedUntilAnnotation)
		return false
	}),
	"takes what it cannot read for the end of a pause": blind(true, func(_ *faulty, l *coordinationv1.Lease) bool {
		if until, is := l.Annotations[api.PausedUntilAnnotation]; is {
			if _, err := time.Parse(time.RFC3339, until); err != nil {
				delete(l.Annotations, api.PausedAnnotation)
			}
		}
		return false
	}),
	"ends a pause early": blind(true, func(_ *faulty, l *coordinationv1.Lease) bool {
		if at, err := time.Parse(time.RFC3339, l.Annotations[api.PausedUntilAnnotation]); err == nil {
			l.Annotations[api.PausedUntilAnnotation] = at.Add(-2 * time.Minute).Format(time.RFC3339)
		}
		return false
	}),
	"knows pauses on one Lease only": blind(true, func(_ *faulty, l *coordinationv1.Lease) bool {
		if isSlot(l.Name) {
			delete(l.Annotations, api.PausedAnnotation)
		}
		return false
	}),
	"does not see who is named": blind(true, func(_ *faulty, l *coordinationv1.Lease) bool {
		delete(l.Annotations, api.NextAnnotation)
		return false
	}),
	"names nobody": locker(func(w *wrong, l lock.Locker) {
		w.release = func(ctx context.Context, _ api.Line) error { return l.Release(ctx, api.Line{}) }
	}),
	"forgets whose turn it is": locker(func(w *wrong, l lock.Locker) {
		w.release = func(ctx context.Context, next api.Line) error { next.Turn = nil; return l.Release(ctx, next) }
	}),
	"forgets that it was worked on": locker(func(w *wrong, l lock.Locker) {
		w.worked = func(ctx context.Context, next api.Line, _ time.Time) error { return l.Release(ctx, next) }
	}),
	"says that every node was worked on": locker(func(w *wrong, l lock.Locker) {
		w.release = func(ctx context.Context, next api.Line) error { return l.ReleaseWorked(ctx, next, time.Now()) }
	}),
	"tells its own time, and not the releaser's": locker(func(w *wrong, l lock.Locker) {
		w.worked = func(ctx context.Context, next api.Line, _ time.Time) error {
			return l.ReleaseWorked(ctx, next, time.Now())
		}
	}),
	"a release forgets who was worked on": {api: func(f *faulty) {
		f.patch = func(_ *faulty, _ string, body map[string]any) {
			if a, ok := meta(body)["annotations"].(map[string]any); ok && a[api.VacatedAnnotation] == nil {
				a[api.VacatedAnnotation] = nil
			}
		}
	}},
	"does not see who was worked on": blind(true, func(_ *faulty, l *coordinationv1.Lease) bool {
		delete(l.Annotations, api.VacatedAnnotation)
		return false
	}),
	"takes a deleted slot at once": {config: func(c *lease.Config, _ *faulty) { c.DeletedGrace = 1 }},
	"Keep tells nothing of a loss": locker(func(w *wrong, l lock.Locker) {
		w.keep = func(ctx context.Context, paused func(lock.Pause)) error {
			if err := l.Keep(ctx, paused); err == nil {
				return nil
			}
			<-ctx.Done()
			return nil
		}
	}),
	"Keep tells nothing of a pause": locker(func(w *wrong, l lock.Locker) {
		w.keep = func(ctx context.Context, paused func(lock.Pause)) error {
			return l.Keep(ctx, func(lock.Pause) { paused(lock.Pause{}) })
		}
	}),
	"Keep takes an outage for a loss": locker(func(w *wrong, l lock.Locker) {
		w.keep = func(ctx context.Context, paused func(lock.Pause)) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			for {
				kept := make(chan error, 1)
				go func() { kept <- l.Keep(ctx, paused) }()
				select {
				case err := <-kept:
					return err
				case <-time.After(time.Minute):
					if _, err := l.Holders(ctx); err != nil && ctx.Err() == nil {
						return &lock.LostError{What: "the slot", How: "cannot be reached"}
					}
					cancel()
					return <-kept
				}
			}
		}
	}),
	"the fence is a loss whenever it is not known": locker(func(w *wrong, l lock.Locker) {
		w.fence = func(ctx context.Context) error {
			if err := l.Fence(ctx); err != nil {
				return &lock.LostError{What: "the slot", How: err.Error()}
			}
			return nil
		}
	}),
	"the fence does not see a pause": locker(func(w *wrong, l lock.Locker) {
		w.fence = func(ctx context.Context) error {
			if err := l.Fence(ctx); err != nil && !strings.HasPrefix(err.Error(), "paused") {
				return err
			}
			return nil
		}
	}),
	"gives up waiting when there is no answer": locker(func(w *wrong, l lock.Locker) {
		w.acquire = func(ctx context.Context, c lock.Claimant, waiting func(lock.Waiting)) (string, error) {
			if _, err := l.Holders(ctx); err != nil {
				return "", err
			}
			return l.Acquire(ctx, c, waiting)
		}
	}),
	"does not say what it waits for": locker(func(w *wrong, l lock.Locker) {
		w.acquire = func(ctx context.Context, c lock.Claimant, _ func(lock.Waiting)) (string, error) {
			return l.Acquire(ctx, c, func(lock.Waiting) {})
		}
	}),
	"waits on when its context has ended": locker(func(w *wrong, l lock.Locker) {
		w.acquire = func(ctx context.Context, c lock.Claimant, waiting func(lock.Waiting)) (string, error) {
			slot, err := l.Acquire(ctx, c, waiting)
			if err != nil {
				time.Sleep(time.Minute)
			}
			return slot, err
		}
	}),
	"does not say why its waiting has ended": locker(func(w *wrong, l lock.Locker) {
		w.acquire = func(ctx context.Context, c lock.Claimant, waiting func(lock.Waiting)) (string, error) {
			slot, err := l.Acquire(ctx, c, waiting)
			if err != nil {
				err = ctx.Err()
			}
			return slot, err
		}
	}),
	"is another holder after each start": {api: func(f *faulty) {
		me := fmt.Sprintf("rebootd/%p", f)
		f.apply = func(_ *faulty, _ string, _ map[string]any, opts *metav1.PatchOptions) bool {
			opts.FieldManager = me
			return false
		}
	}},
	"finds nothing after a crash": locker(func(w *wrong, l lock.Locker) {
		w.find = func(ctx context.Context, c lock.Claimant) (string, bool, error) {
			_, _, err := l.Find(ctx, c)
			return "", false, err
		}
	}),
	"Find takes what is free": locker(func(w *wrong, l lock.Locker) {
		w.find = func(ctx context.Context, c lock.Claimant) (string, bool, error) {
			if slot, held, err := l.Find(ctx, c); held || err != nil {
				return slot, held, err
			}
			ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
			slot, err := l.Acquire(ctx, c, func(lock.Waiting) {})
			return slot, err == nil, nil
		}
	}),
	"an earlier node of the name is the same": claims(func(c *lock.Claimant) { c.UID = "" }),
	"knows no zones":                claims(func(c *lock.Claimant) { c.Zone = "" }),
	"knows no control plane":        claims(func(c *lock.Claimant) { c.ControlPlane = false }),
	"never knows that it has begun": claims(func(c *lock.Claimant) { c.Begun = false }),
	"has always begun":              claims(func(c *lock.Claimant) { c.Begun = true }),
	"a release leaves traces": {api: func(f *faulty) {
		f.patch = func(_ *faulty, _ string, body map[string]any) {
			body["spec"] = map[string]any{"holderIdentity": body["spec"].(map[string]any)["holderIdentity"]}
			delete(meta(body), "ownerReferences")
		}
	}},
	"a release is not repeated": locker(func(w *wrong, l lock.Locker) {
		var mu sync.Mutex
		done := false
		w.release = func(ctx context.Context, next api.Line) error {
			mu.Lock()
			defer mu.Unlock()
			if done {
				return nil
			}
			done = true
			return l.Release(ctx, next)
		}
	}),
	"a release is an error when there is nothing": locker(func(w *wrong, l lock.Locker) {
		w.release = func(ctx context.Context, next api.Line) error {
			if err := l.Fence(ctx); err != nil {
				return err
			}
			return l.Release(ctx, next)
		}
	}),
	"releases everybody's slots": {api: func(f *faulty) {
		f.seen = func(f *faulty, l *coordinationv1.Lease) bool {
			if isSlot(l.Name) && holderOf(l) != "" {
				l.Spec.HolderIdentity = &f.p.Node.Name
			}
			return false
		}
	}},
	"asks all the time": {api: func(f *faulty) {
		f.watch = true
		f.seen = func(f *faulty, _ *coordinationv1.Lease) bool {
			_, _ = f.GetLease(context.Background(), "", "l-0")
			return false
		}
	}},
}
