// Package lock tests the lock on a real API server: that server-side apply keeps
// what the lock builds on it.
package lock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	words "rebootd.dev/daemon/api"
	"rebootd.dev/daemon/kube"
	"rebootd.dev/lock"
	"rebootd.dev/lock/lease"
	"rebootd.dev/test/cluster"
	"rebootd.dev/test/kit"
)

var (
	shared *cluster.Cluster
	api    *kube.Client
	user   *rest.Config // api's
)

func TestMain(m *testing.M) {
	kit.Main(m, cluster.Options{}, func(ctx context.Context, c *cluster.Cluster) error {
		shared = c
		dir, err := os.MkdirTemp("", "rebootd-lock-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		kubeconfig := filepath.Join(dir, "kubeconfig")
		if err := errors.Join(c.DaemonKubeconfig(ctx, "tests", kubeconfig), c.AddNodeLeases(ctx)); err != nil {
			return err
		}
		if user, err = clientcmd.BuildConfigFromFlags("", kubeconfig); err != nil {
			return err
		}
		api, err = kube.New(user)
		return err
	})
}

type bed struct {
	*kit.Bed
	ctx  context.Context
	name string
}

func newBed(t *testing.T) *bed {
	t.Parallel()
	return newBedAlone(t)
}

// newBedAlone is for a test to which the other tests' events would be in the way.
func newBedAlone(t *testing.T) *bed {
	b := kit.New(t, shared, "lock", time.Minute)
	return &bed{Bed: b, ctx: b.Ctx, name: b.Name}
}

func (b *bed) lock(node string, slots int) *lease.Lock {
	b.Helper()
	l, err := lease.New(lease.Config{API: api, Namespace: cluster.Namespace, Name: b.name, Slots: slots, Node: node, Duration: time.Minute})
	b.must(err)
	return l
}

func (b *bed) must(err error) {
	b.Helper()
	b.Must(err)
}

func (b *bed) acquire(l *lease.Lock) string {
	b.Helper()
	slot, err := l.Acquire(b.ctx, lock.Claimant{}, func(lock.Waiting) {})
	b.must(err)
	return slot
}

func (b *bed) lease(name string) *coordinationv1.Lease {
	b.Helper()
	l, err := shared.Client.CoordinationV1().Leases(cluster.Namespace).Get(b.ctx, name, metav1.GetOptions{})
	b.must(err)
	return l
}

func (b *bed) patch(name, patch string) {
	b.Helper()
	_, err := shared.Client.CoordinationV1().Leases(cluster.Namespace).Patch(b.ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "person"})
	b.must(err)
}

func holder(l *coordinationv1.Lease) string { return kit.Holder(l) }

// Fifty nodes ask for a slot that does not exist yet, at the same instant: one
// gets it.
func TestCreationRace(t *testing.T) {
	b := newBed(t)
	var got atomic.Int64
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	var wg sync.WaitGroup
	for i := range 50 {
		l := b.lock(fmt.Sprintf("node-%d", i), 1)
		wg.Go(func() {
			if _, err := l.Acquire(ctx, lock.Claimant{}, func(lock.Waiting) {}); err == nil {
				got.Add(1)
				// The others had their chance when one has had its slot for a while.
				time.AfterFunc(2*time.Second, cancel)
			}
		})
	}
	wg.Wait()
	if got.Load() != 1 {
		t.Errorf("%d nodes got the slot, want 1", got.Load())
	}
}

// Many nodes, few slots, many handoffs: a watcher of the API server never sees
// more holders than slots, and everybody has a turn.
func TestNeverMoreHoldersThanSlots(t *testing.T) {
	for _, slots := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d slots", slots), func(t *testing.T) {
			b := newBed(t)
			w, err := shared.Client.CoordinationV1().Leases(cluster.Namespace).Watch(b.ctx, metav1.ListOptions{})
			b.must(err)
			watched := make(chan string)
			go func() {
				holders, most := map[string]string{}, ""
				for ev := range w.ResultChan() {
					l, ok := ev.Object.(*coordinationv1.Lease)
					if !ok || !strings.HasPrefix(l.Name, b.name+"-") || ev.Type == watch.Deleted {
						continue
					}
					holders[l.Name] = holder(l)
					n := 0
					for _, h := range holders {
						if h != "" {
							n++
						}
					}
					if n > slots {
						most = fmt.Sprint(holders)
					}
				}
				watched <- most
			}()
			const nodes = 12
			var inside, most atomic.Int64
			var wg sync.WaitGroup
			for i := range nodes {
				l := b.lock(fmt.Sprintf("node-%d", i), slots)
				wg.Go(func() {
					for range 3 {
						if _, err := l.Acquire(b.ctx, lock.Claimant{}, func(lock.Waiting) {}); err != nil {
							t.Error(err)
							return
						}
						if n := inside.Add(1); n > most.Load() {
							most.Store(n)
						}
						if err := l.Fence(b.ctx); err != nil {
							t.Error(err)
						}
						inside.Add(-1)
						if err := l.Release(b.ctx, words.Line{}); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
			w.Stop()
			if bad := <-watched; bad != "" || most.Load() > int64(slots) {
				t.Errorf("%d nodes inside at a time, holders %s; want at most %d", most.Load(), bad, slots)
			}
		})
	}
}

// Deleted, cleared, emptied or given to another by hand while it is held: the
// holder learns of it and does not take it back.
func TestTakenAwayByHand(t *testing.T) {
	for name, by := range map[string]func(b *bed, slot string){
		"deleted": func(b *bed, slot string) {
			b.must(shared.Client.CoordinationV1().Leases(cluster.Namespace).Delete(b.ctx, slot, metav1.DeleteOptions{}))
		},
		"cleared": func(b *bed, slot string) { b.patch(slot, `{"spec":{"holderIdentity":null}}`) },
		"given":   func(b *bed, slot string) { b.patch(slot, `{"spec":{"holderIdentity":"z"}}`) },
	} {
		for _, how := range []string{"Keep", "Fence"} {
			t.Run(name+" "+how, func(t *testing.T) {
				b := newBed(t)
				l := b.lock("a", 1)
				slot := b.acquire(l)
				var err error
				if how == "Keep" {
					kept := make(chan error)
					go func() { kept <- l.Keep(b.ctx, func(lock.Pause) {}) }()
					by(b, slot)
					err = <-kept
				} else {
					by(b, slot)
					err = l.Fence(b.ctx)
				}
				if !errors.Is(err, lock.ErrLost) {
					t.Fatalf("%s: %v, want ErrLost", how, err)
				}
				t.Log(err)
				if err := l.Fence(b.ctx); !errors.Is(err, lock.ErrLost) {
					t.Errorf("the fence after that: %v, want ErrLost", err)
				}
				list, err := shared.Client.CoordinationV1().Leases(cluster.Namespace).List(b.ctx, metav1.ListOptions{})
				b.must(err)
				for _, x := range list.Items {
					if x.Name == slot && holder(&x) == "a" {
						t.Error("the slot was taken back")
					}
				}
			})
		}
	}
}

// Emptied by hand, a slot can be taken again, by whomever: the person owns the
// field now, and does not keep it.
func TestEmptiedByHand(t *testing.T) {
	for _, empty := range []string{`null`, `""`} {
		t.Run(empty, func(t *testing.T) {
			b := newBed(t)
			l := b.lock("a", 1)
			slot := b.acquire(l)
			b.patch(slot, `{"spec":{"holderIdentity":`+empty+`}}`)
			b.acquire(b.lock("b", 1))
			if h := holder(b.lease(slot)); h != "b" {
				t.Errorf("held by %q, want b", h)
			}
		})
	}
}

// Somebody edits the Lease so that the holder is theirs too: releasing still
// gives it up.
func TestReleaseWhatAnotherSaysToo(t *testing.T) {
	b := newBed(t)
	l := b.lock("a", 1)
	slot := b.acquire(l)
	b.patch(slot, `{"spec":{"holderIdentity":"x"}}`)
	b.patch(slot, `{"spec":{"holderIdentity":"a"}}`)
	if err := l.Fence(b.ctx); err != nil {
		t.Errorf("our name stands, and the fence says: %v", err)
	}
	b.must(l.Release(b.ctx, words.Line{}))
	if h := holder(b.lease(slot)); h != "" {
		t.Errorf("released, and held by %q", h)
	}
}

// A slot that a newer version of rebootd has written is left alone.
func TestNewerSchema(t *testing.T) {
	b := newBed(t)
	l := b.lock("a", 1)
	slot := b.acquire(l)
	b.must(l.Release(b.ctx, words.Line{}))
	b.patch(slot, `{"metadata":{"annotations":{"rebootd.dev/schema":"2"}}}`)
	ctx, cancel := context.WithTimeout(b.ctx, time.Second)
	defer cancel()
	if _, err := b.lock("b", 1).Acquire(ctx, lock.Claimant{}, func(lock.Waiting) {}); err == nil {
		t.Error("took a slot of a newer schema")
	}
}

// While the number of slots is lowered, and one is still held that will be no
// more, those that take the others at the same time are together no more than the
// lower number.
func TestSlotsAreLoweredWhileHeld(t *testing.T) {
	b := newBed(t)
	old := []*lease.Lock{b.lock("old0", 3), b.lock("old1", 3), b.lock("old2", 3)}
	slots := map[string]*lease.Lock{}
	for _, l := range old {
		slots[b.acquire(l)] = l
	}
	b.must(slots[b.name+"-0"].Release(b.ctx, words.Line{}))
	b.must(slots[b.name+"-1"].Release(b.ctx, words.Line{}))
	var inside, most atomic.Int64
	inside.Store(1) // slot 2
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			l := b.lock(fmt.Sprintf("new%d", i), 2)
			if _, err := l.Acquire(b.ctx, lock.Claimant{}, func(lock.Waiting) {}); err != nil {
				b.Error(err)
				return
			}
			n := inside.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			if err := l.Fence(b.ctx); err != nil {
				b.Error(err)
			}
			inside.Add(-1)
			if err := l.Release(b.ctx, words.Line{}); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	if n := most.Load(); n > 2 {
		t.Errorf("%d held slots at the same time, want no more than 2", n)
	}
}
