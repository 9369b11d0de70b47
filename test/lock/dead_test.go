package lock

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/lock"
	"rebootd.dev/test/cluster"
)

// The slot of a holder whose Node is gone is taken after a grace; that of one
// whose Node is there never, however long it is silent.
func TestDeadHolder(t *testing.T) {
	for name, tc := range map[string]struct {
		uid  types.UID // of the Node that has the holder's name now
		dead bool
	}{
		"gone": {"", true}, "another of its name": {"second", true}, "there and silent": {"first", false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			dead := b.lock("holder", 1)
			_, err := dead.Acquire(b.ctx, lock.Ask{UID: "first"}, func(lock.Waiting) {})
			b.must(err)
			var looks atomic.Int64
			l, err := lock.New(lock.Config{
				API: api, Namespace: cluster.Namespace, Name: b.name, Slots: 1, Node: "waiter", Duration: 2 * time.Second, ReclaimGrace: time.Second,
				NodeUID: func(_ context.Context, node string) (types.UID, error) {
					if node != "holder" {
						t.Errorf("asks about %q", node)
					}
					looks.Add(1)
					return tc.uid, nil
				},
			})
			b.must(err)
			ch, _ := b.ask(l, lock.Ask{UID: "w"})
			if tc.dead {
				began := time.Now()
				b.gets(ch)
				if took := time.Since(began); took < 2*time.Second {
					t.Errorf("taken after %s, before silence and grace were over", took)
				}
				if err := dead.Fence(b.ctx); !errors.Is(err, lock.ErrLost) {
					t.Errorf("the former holder's Fence: %v", err)
				}
				return
			}
			b.eventually("it has looked a few times", func() bool { return looks.Load() > 3 })
			if len(ch) > 0 {
				t.Error("the slot of a holder that is there was taken")
			}
		})
	}
}

// A holder that gives a sign of life during the grace keeps its slot.
func TestSignOfLife(t *testing.T) {
	b := newBed(t)
	holderLock := b.lock("holder", 1)
	b.acquire(holderLock)
	looked := make(chan struct{}, 64)
	l, err := lock.New(lock.Config{
		API: api, Namespace: cluster.Namespace, Name: b.name, Slots: 1, Node: "waiter", Duration: 2 * time.Second, ReclaimGrace: 2 * time.Second,
		NodeUID: func(context.Context, string) (types.UID, error) { looked <- struct{}{}; return "", nil },
	})
	b.must(err)
	ch, _ := b.ask(l, lock.Ask{})
	for range 4 {
		<-looked
		b.must(holderLock.Fence(b.ctx))
	}
	if len(ch) > 0 {
		t.Error("the slot was taken from a holder that lives")
	}
}

// deaf is an API server whose watches tell nothing.
type deaf struct{ lock.API }

func (deaf) WatchLeases(context.Context, string, metav1.ListOptions) (watch.Interface, error) {
	return watch.NewFake(), nil
}

// A sign of life that the waiter has not seen keeps the slot, too: the API server
// has seen it.
func TestSignOfLifeThatWasNotSeen(t *testing.T) {
	b := newBed(t)
	holderLock := b.lock("holder", 1)
	b.acquire(holderLock)
	looked := make(chan struct{})
	l, err := lock.New(lock.Config{
		API: deaf{api}, Namespace: cluster.Namespace, Name: b.name, Slots: 1, Node: "waiter", Duration: 2 * time.Second, ReclaimGrace: 10 * time.Millisecond,
		NodeUID: func(context.Context, string) (types.UID, error) { looked <- struct{}{}; return "", nil },
	})
	b.must(err)
	ch, _ := b.ask(l, lock.Ask{})
	for range 3 {
		<-looked
		b.must(holderLock.Fence(b.ctx))
		<-looked // after the grace, and right before it would take the slot
	}
	if len(ch) > 0 {
		t.Error("the slot was taken from a holder that lives")
	}
}

// A Node that was made anew under its old name is another one: it gives up what
// the one before has held.
func TestNodeMadeAnew(t *testing.T) {
	b := newBed(t)
	_, err := b.lock("n", 1).Acquire(b.ctx, lock.Ask{UID: "first"}, func(lock.Waiting) {})
	b.must(err)
	_, held, err := b.lock("n", 1).Find(b.ctx, lock.Ask{UID: "second"})
	if held || err != nil {
		t.Errorf("Find: %t, %v", held, err)
	}
	if h := holder(b.lease(b.name + "-0")); h != "" {
		t.Errorf("the slot is still held by %q", h)
	}
}

// The slot of a dead holder that is left from when there were more is cleared, so
// that it does not count for ever.
func TestDeadHolderAboveTheSlots(t *testing.T) {
	b := newBed(t)
	b.acquire(b.lock("lives", 2))
	b.acquire(b.lock("dies", 2)) // one of them has slot 1
	nodes := map[string]types.UID{"lives": "x", "dies": "y"}
	dead := holder(b.lease(b.name + "-1"))
	delete(nodes, dead)
	l, err := lock.New(lock.Config{
		API: api, Namespace: cluster.Namespace, Name: b.name, Slots: 1, Node: "waiter", Duration: 2 * time.Second, ReclaimGrace: time.Second,
		NodeUID: func(_ context.Context, node string) (types.UID, error) { return nodes[node], nil },
	})
	b.must(err)
	ch, _ := b.ask(l, lock.Ask{})
	b.eventually("the dead one's slot is clear", func() bool { return holder(b.lease(b.name+"-1")) == "" })
	if len(ch) > 0 {
		t.Error("took a slot while the other is held")
	}
}
