package lock

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	words "rebootd.dev/daemon/api"
	"rebootd.dev/lock"
	"rebootd.dev/lock/lease"
	"rebootd.dev/test/cluster"
)

func (b *bed) lockBy(a lease.API, node string, slots int) *lease.Lock {
	b.Helper()
	l, err := lease.New(lease.Config{API: a, Namespace: cluster.Namespace, Name: b.name, Slots: slots, Node: node, Duration: time.Minute})
	b.must(err)
	return l
}

// stale is an API server whose first list is of the past, and whose watches tell
// nothing.
type stale struct {
	lease.API
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
	b.must(first.Release(b.ctx, words.Line{}))
	past, err := api.ListLeases(b.ctx, cluster.Namespace, metav1.ListOptions{})
	b.must(err)
	b.acquire(b.lock("down", 1))
	b.patch(slot, `{"spec":null}`)
	l, err := lease.New(lease.Config{
		API: &stale{API: api, past: past}, Namespace: cluster.Namespace, Name: b.name, Slots: 1, Node: "next", Duration: time.Minute,
		AtWork: func(context.Context) ([]string, error) { return []string{"down"}, nil },
	})
	b.must(err)
	ch, waiting := b.ask(l, lock.Claimant{})
	b.eventually("it waits for the node at work", func() bool { return strings.Contains(waiting().String(), "waiting for down") })
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
			b.must(first.Release(b.ctx, words.Line{}))
			b.patch(slot, `{"metadata":{"managedFields":[{"manager":"x","operation":"Apply","apiVersion":"coordination.k8s.io/v1","time":"2026-01-01T00:00:00Z","fieldsType":"FieldsV1","fieldsV1":`+claim+`}]}}`)
			next := b.lock("next", 1)
			ch, _ := b.ask(next, lock.Claimant{})
			b.gets(ch)
			b.must(next.Fence(b.ctx))
			b.must(next.Release(b.ctx, words.Line{}))
			if l := b.lease(slot); len(l.ManagedFields) > 1 {
				t.Errorf("on record are %v", l.ManagedFields)
			}
		})
	}
}
