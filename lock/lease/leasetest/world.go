package leasetest

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	words "rebootd.dev/daemon/api"
	"rebootd.dev/lock"
	"rebootd.dev/lock/lease"
	"rebootd.dev/lock/locktest"
)

// Options say on what a World is made.
type Options struct {
	API       lease.API
	Cluster   Cluster
	Namespace string
	Lock      string // the lock's; nodes have names that begin with it
	// Latency is how long a request, its answer, and an event may take at most, at random.
	Latency time.Duration
	// The others plant faults, and may be nil: in what goes between the lock and the
	// API server, in how the lock is made, and in what it answers.
	Between func(lease.API, locktest.Process) lease.API
	Config  func(*lease.Config, locktest.Process)
	Locker  func(lock.Locker, locktest.Process) lock.Locker
}

type world struct {
	Options
	testing.TB
	ctx context.Context

	mu     sync.Mutex
	atWork []string
}

// NewWorld makes the world of a lock whose slots are Leases.
func NewWorld(t testing.TB, o Options) locktest.World {
	return &world{Options: o, TB: t, ctx: t.Context()}
}

// NewFakeWorld makes one on an API server that is a fake.
func NewFakeWorld(t testing.TB, change func(*Options)) locktest.World {
	api := NewAPI()
	o := Options{API: api, Cluster: api, Namespace: "rebootd", Lock: "l", Latency: 2 * time.Millisecond}
	if change != nil {
		change(&o)
	}
	return NewWorld(t, o)
}

// Start implements locktest.World.
func (w *world) Start(p locktest.Process) lock.Locker {
	w.Helper()
	var api lease.API = &linked{api: w.API, link: p.Link, latency: w.Latency}
	if w.Between != nil {
		api = w.Between(api, p)
	}
	c := lease.Config{
		API: api, Namespace: w.Namespace, Name: w.Lock, Slots: p.Slots, Node: p.Node.Name, Duration: time.Minute,
		DeletedGrace: p.DeletedGrace, ZoneLimit: p.ZoneLimit,
		AtWork: func(ctx context.Context) (nodes []string, err error) {
			err = p.Link.Do(ctx, func() error {
				w.mu.Lock()
				defer w.mu.Unlock()
				nodes = slices.DeleteFunc(slices.Clone(w.atWork), func(n string) bool { return n == p.Node.Name })
				return nil
			})
			return nodes, err
		},
	}
	if w.Config != nil {
		w.Config(&c, p)
	}
	l, err := lease.New(c)
	if err != nil {
		w.Fatal(err)
	}
	if w.Locker != nil {
		return w.Locker(l, p)
	}
	return l
}

// SetAtWork implements locktest.World.
func (w *world) SetAtWork(nodes []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.atWork = nodes
}

// did fails the test if something could not be done, unless because it is gone.
func (w *world) did(err error) {
	w.Helper()
	if err != nil && !apierrors.IsNotFound(err) && w.ctx.Err() == nil {
		w.Error(err)
	}
}

// leases are those of the lock.
func (w *world) leases() map[string]coordinationv1.Lease {
	w.Helper()
	all, err := w.Cluster.Leases(w.ctx)
	w.did(err)
	out := map[string]coordinationv1.Lease{}
	for _, l := range all {
		if _, slot := words.SlotIndex(w.Lock, l.Name); slot || l.Name == words.PauseName(w.Lock) || l.Name == words.ZoneName(w.Lock) || l.Name == words.ControlPlaneName(w.Lock) {
			out[l.Name] = l
		}
	}
	return out
}

func holder(l coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

// Held implements locktest.World.
func (w *world) Held() map[string]string {
	w.Helper()
	out := map[string]string{}
	for name, l := range w.leases() {
		if _, slot := words.SlotIndex(w.Lock, name); slot && holder(l) != "" {
			out[name] = holder(l)
		}
	}
	return out
}

// Traces implements locktest.World. That it has released a slot a node goes on saying.
func (w *world) Traces(node string) []string {
	w.Helper()
	var out []string
	for name, l := range w.leases() {
		for _, e := range l.ManagedFields {
			if e.Manager == words.LeaseFieldManager(node) {
				out = append(out, fmt.Sprintf("%s says something of the Lease %s", node, name))
			}
		}
		for _, o := range l.OwnerReferences {
			if o.Name == node {
				out = append(out, fmt.Sprintf("%s owns the Lease %s", node, name))
			}
		}
		if holder(l) == "" && (l.Annotations[words.HolderUIDAnnotation] != "" || l.Spec.AcquireTime != nil || l.Spec.RenewTime != nil) {
			out = append(out, fmt.Sprintf("the free Lease %s says something of a holder", name))
		}
		if holder(l) != "" && name == words.ControlPlaneName(w.Lock) && holder(l) == node {
			out = append(out, fmt.Sprintf("%s holds the Lease %s", node, name))
		}
	}
	return out
}

// Delete implements locktest.World.
func (w *world) Delete(slot string) {
	w.Helper()
	w.did(w.Cluster.Delete(w.ctx, slot))
}

// Clear implements locktest.World.
func (w *world) Clear(slot string) {
	w.Helper()
	w.did(w.Cluster.Patch(w.ctx, slot, `{"spec":{"holderIdentity":null}}`))
}

// Give implements locktest.World.
func (w *world) Give(slot, node string) {
	w.Helper()
	w.did(w.Cluster.Patch(w.ctx, slot, fmt.Sprintf(`{"spec":{"holderIdentity":%q}}`, node)))
}

// ForgetZone implements locktest.World.
func (w *world) ForgetZone() {
	w.Helper()
	w.did(w.Cluster.Delete(w.ctx, words.ZoneName(w.Lock)))
}

// Pause implements locktest.World.
func (w *world) Pause(why string) {
	w.Helper()
	if why != "" {
		name := words.PauseName(w.Lock)
		if _, ok := w.leases()[name]; !ok {
			w.did(w.Cluster.Create(w.ctx, name))
		}
		w.did(w.Cluster.Patch(w.ctx, name, fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, words.PausedAnnotation, why)))
		return
	}
	for name, l := range w.leases() {
		if _, ok := l.Annotations[words.PausedAnnotation]; ok {
			w.did(w.Cluster.Patch(w.ctx, name, fmt.Sprintf(`{"metadata":{"annotations":{%q:null,%q:null}}}`, words.PausedAnnotation, words.PausedUntilAnnotation)))
		}
	}
}

// PauseUntil implements locktest.World.
func (w *world) PauseUntil(slot, why, until string) {
	w.Helper()
	name := cmp.Or(slot, words.PauseName(w.Lock))
	if _, ok := w.leases()[name]; !ok {
		w.did(w.Cluster.Create(w.ctx, name))
	}
	w.did(w.Cluster.Patch(w.ctx, name, fmt.Sprintf(`{"metadata":{"annotations":{%q:%q,%q:%q}}}`, words.PausedAnnotation, why, words.PausedUntilAnnotation, until)))
}

// AddNode implements locktest.World.
func (w *world) AddNode(name string) locktest.Node {
	w.Helper()
	name = w.Lock + "-" + name
	uid, err := w.Cluster.AddNode(w.ctx, name)
	if err != nil {
		w.Fatal(err)
	}
	return locktest.Node{Name: name, UID: uid}
}

// DeleteNode implements locktest.World.
func (w *world) DeleteNode(n locktest.Node) {
	w.Helper()
	w.did(w.Cluster.DeleteNode(w.ctx, n.Name))
}

// pause is a time of at most d.
func pause(d time.Duration) {
	if d > 0 {
		time.Sleep(rand.N(d))
	}
}
