package lock

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/lock"
	"rebootd.dev/test/cluster"
)

// between is the API server, with something that happens right before a patch that
// gives up a slot, or before an apply by force, for once.
type between struct {
	lock.API
	patch, force func()
}

func (a *between) MergePatchLease(ctx context.Context, namespace, name string, body []byte) (*coordinationv1.Lease, error) {
	if f := a.patch; f != nil {
		a.patch = nil
		f()
	}
	return a.API.MergePatchLease(ctx, namespace, name, body)
}

func (a *between) ApplyLease(ctx context.Context, namespace, name string, body []byte, opts metav1.PatchOptions) (*coordinationv1.Lease, error) {
	if f := a.force; f != nil && opts.Force != nil && *opts.Force {
		a.force = nil
		f()
	}
	return a.API.ApplyLease(ctx, namespace, name, body, opts)
}

func (b *bed) lockBy(a lock.API, node string, slots int) *lock.Lock {
	b.Helper()
	l, err := lock.New(lock.Config{API: a, Namespace: cluster.Namespace, Name: b.name, Slots: slots, Node: node, Duration: time.Minute})
	b.must(err)
	return l
}

// A slot that becomes another's while its holder gives it up stays that other's.
func TestReleaseOfWhatIsAnothersNow(t *testing.T) {
	for how, by := range map[string]func(b *bed, slot string){
		"given": func(b *bed, slot string) { b.patch(slot, `{"spec":{"holderIdentity":"z"}}`) },
		"made anew": func(b *bed, slot string) {
			b.deleteSlot(slot)
			b.acquire(b.lock("z", 1))
		},
	} {
		t.Run(how, func(t *testing.T) {
			b := newBed(t)
			a := &between{API: api}
			l := b.lockBy(a, "a", 1)
			slot := b.acquire(l)
			a.patch = func() { by(b, slot) }
			b.must(l.Release(b.ctx, lock.Line{Nodes: []string{"next"}}))
			got := b.lease(slot)
			if h := holder(got); h != "z" {
				t.Errorf("held by %q", h)
			}
			if n := got.Annotations[lock.NextAnnotation] + got.Annotations[lock.ReleasedByAnnotation]; n != "" {
				t.Errorf("another's slot says %q", n)
			}
		})
	}
}

// Of two of different zones that find a zone to be left over, the slower one does not
// replace the quicker one's.
func TestLeftOverZoneIsReplacedOnce(t *testing.T) {
	b := newBed(t)
	dead := b.lock("dead", 2)
	slot, err := dead.Acquire(b.ctx, lock.Ask{Zone: "zone=a"}, func(lock.Waiting) {})
	b.must(err)
	b.deleteSlot(slot)
	quick := b.lock("quick", 2)
	// The quick one would take the zone for the slow one's if that held a slot: people
	// have cleared it in this instant.
	a := &between{API: api, force: func() {
		for i := range 2 {
			if slot := fmt.Sprintf("%s-%d", b.name, i); b.has("slow", slot) {
				b.patch(slot, `{"spec":{"holderIdentity":null}}`)
			}
		}
		_, err := quick.Acquire(b.ctx, lock.Ask{Zone: "zone=b"}, func(lock.Waiting) {})
		b.must(err)
	}}
	slow := b.lockBy(a, "slow", 2)
	ch, waiting := b.ask(slow, lock.Ask{Zone: "zone=c"})
	b.eventually("the slow one waits for the quick one's zone", func() bool { return strings.Contains(waiting().String(), "-zone is held by zone=b") })
	if z := holder(b.lease(b.name + "-zone")); z != "zone=b" || len(ch) > 0 {
		t.Errorf("the zone is %q, and the slow one has a slot: %t", z, len(ch) > 0)
	}
	b.must(quick.Fence(b.ctx))
}

// stale is an API server whose first list is of the past, and whose watches tell
// nothing.
type stale struct {
	lock.API
	once sync.Once
	past *coordinationv1.LeaseList
}

func (s *stale) ListLeases(ctx context.Context, namespace string, opts metav1.ListOptions) (list *coordinationv1.LeaseList, err error) {
	s.once.Do(func() { list = s.past })
	if list != nil {
		return list, nil
	}
	return s.API.ListLeases(ctx, namespace, opts)
}

func (*stale) WatchLeases(context.Context, string, metav1.ListOptions) (watch.Interface, error) {
	return watch.NewFake(), nil
}

// Who takes a slot for handed on that has been held and cleared since, unseen, finds
// out by the answer.
func TestSlotWasHeldAndClearedUnseen(t *testing.T) {
	b := newBed(t)
	first := b.lock("first", 1)
	slot := b.acquire(first)
	b.must(first.Release(b.ctx, lock.Line{}))
	past, err := api.ListLeases(b.ctx, cluster.Namespace, metav1.ListOptions{})
	b.must(err)
	b.acquire(b.lock("down", 1))
	b.patch(slot, `{"spec":null}`)
	l, err := lock.New(lock.Config{
		API: &stale{API: api, past: past}, Namespace: cluster.Namespace, Name: b.name, Slots: 1, Node: "next", Duration: time.Minute,
		AtWork: func(context.Context) ([]string, error) { return []string{"down"}, nil },
	})
	b.must(err)
	ch, waiting := b.ask(l, lock.Ask{})
	b.eventually("it waits for the node at work", func() bool { return strings.Contains(waiting().String(), "waits for down") })
	if len(ch) > 0 {
		t.Error("goes")
	}
}

// A slot that nobody holds, and of which somebody is on record as saying who does, can
// be taken all the same.
func TestFreeSlotThatIsClaimed(t *testing.T) {
	for name, claim := range map[string]string{
		"its holder": `{"f:spec":{"f:holderIdentity":{}}}`,
		"its schema": `{"f:metadata":{"f:annotations":{"f:rebootd.dev/schema":{}}}}`,
		"its times":  `{"f:spec":{"f:renewTime":{},"f:acquireTime":{}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			first := b.lock("first", 1)
			slot := b.acquire(first)
			b.must(first.Release(b.ctx, lock.Line{}))
			b.patch(slot, `{"metadata":{"managedFields":[{"manager":"x","operation":"Apply","apiVersion":"coordination.k8s.io/v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":`+claim+`}]}}`)
			next := b.lock("next", 1)
			ch, _ := b.ask(next, lock.Ask{})
			b.gets(ch)
			b.must(next.Fence(b.ctx))
			b.must(next.Release(b.ctx, lock.Line{}))
			if l := b.lease(slot); len(l.ManagedFields) > 1 {
				t.Errorf("on record are %v", l.ManagedFields)
			}
		})
	}
}
