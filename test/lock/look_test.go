package lock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon"
	words "rebootd.dev/daemon/api"
	"rebootd.dev/lock"
	"rebootd.dev/lock/lease"
	"rebootd.dev/test/cluster"
)

// looker is a node that looks for those at work without a slot.
type looker struct {
	*lease.Lock
	*corev1.Node
	looks atomic.Int64
}

func (b *bed) looker(name string, slots int) *looker {
	b.Helper()
	n := &looker{Node: b.node(name)}
	b.look(n, slots)
	return n
}

// look makes n's lock, as another start of its daemon does.
func (b *bed) look(n *looker, slots int) {
	b.Helper()
	atWork := daemon.AtWork(api, n.Name, b.name)
	var err error
	n.Lock, err = lease.New(lease.Config{
		API: api, Namespace: cluster.Namespace, Name: b.name, Slots: slots, Node: n.Name, Duration: time.Minute, DeletedGrace: time.Millisecond,
		AtWork: func(ctx context.Context) ([]string, error) {
			n.looks.Add(1)
			return atWork(ctx)
		},
	})
	b.must(err)
}

func (b *bed) takes(n *looker, ask lock.Claimant) string {
	b.Helper()
	ask.UID = n.UID
	slot, err := n.Acquire(b.ctx, ask, func(lock.Waiting) {})
	b.must(err)
	return slot
}

func (b *bed) waits(n *looker, ask lock.Claimant) (<-chan string, func() lock.Waiting) {
	b.Helper()
	ask.UID = n.UID
	return b.ask(n.Lock, ask)
}

// is has a Node say in what phase it is, "" for none.
func (b *bed) is(n *looker, phase string) {
	b.Helper()
	record := "null"
	if phase != "" {
		record = fmt.Sprintf("%q", fmt.Sprintf(`{"v":1,"id":"i","phase":%q,"since":"2026-01-01T00:00:00Z","bootID":"b","lock":%q,`+
			`"order":{"id":"o","at":"2026-01-01T00:00:00Z","try":1},"failure":{"reason":"Unhealthy","message":"m"}}`, phase, b.name))
	}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"rebootd.dev/operation":%s}}}`, record)
	_, err := shared.Client.CoreV1().Nodes().Patch(b.ctx, n.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	b.must(err)
}

func (b *bed) deleteSlot(slot string) {
	b.Helper()
	b.must(shared.Client.CoordinationV1().Leases(cluster.Namespace).Delete(b.ctx, slot, metav1.DeleteOptions{}))
}

// byPeople are the ways in which people take a slot away.
var byPeople = map[string]func(b *bed, slot, to string){
	"deleted":        func(b *bed, slot, _ string) { b.deleteSlot(slot) },
	"holder cleared": func(b *bed, slot, _ string) { b.patch(slot, `{"spec":{"holderIdentity":null}}`) },
	"all cleared":    func(b *bed, slot, _ string) { b.patch(slot, `{"spec":null}`) },
	"given":          func(b *bed, slot, to string) { b.patch(slot, fmt.Sprintf(`{"spec":{"holderIdentity":%q}}`, to)) },
}

// Whose slot is taken away while it reboots, or has halted, is waited for by the next
// holder, however that comes by the slot.
func TestSlotIsTakenAwayFromANodeAtWork(t *testing.T) {
	for how, by := range byPeople {
		for _, phase := range []string{"Rebooting", "Halted"} {
			t.Run(how+" "+phase, func(t *testing.T) {
				b := newBed(t)
				first, down, next := b.looker("first", 1), b.looker("down", 1), b.looker("next", 1)
				b.takes(first, lock.Claimant{})
				b.must(first.Release(b.ctx, words.Line{})) // a proper release before that tells nothing of the last holder
				slot := b.takes(down, lock.Claimant{})
				b.is(down, phase)
				ch, waiting := b.waits(next, lock.Claimant{})
				b.eventually("it waits", func() bool { return len(waiting().Holders) == 1 })
				by(b, slot, next.Name)
				b.eventually("it has the slot and waits for the node at work", func() bool {
					return strings.Contains(waiting().String(), "waiting for "+down.Name) && b.has(next.Name, slot)
				})
				if len(ch) > 0 {
					t.Error("two at work with one slot")
				}
				b.is(down, "Waiting")
				if got := b.gets(ch); got != slot {
					t.Errorf("got %q", got)
				}
				b.must(next.Fence(b.ctx))
				if refs := b.lease(slot).OwnerReferences; len(refs) != 1 || refs[0].UID != next.UID {
					t.Errorf("the slot's owners: %v", refs)
				}
			})
		}
	}
}

// People give the slot of a node that reboots to one that holds a slot already: when
// that one has ended, only its own is handed on.
func TestSecondSlotThatIsGivenIsNotHandedOn(t *testing.T) {
	b := newBed(t)
	down, holds := b.looker("down", 2), b.looker("holds", 2)
	lost, kept := b.takes(down, lock.Claimant{}), b.takes(holds, lock.Claimant{})
	b.is(down, "Rebooting")
	byPeople["given"](b, lost, holds.Name)
	b.must(holds.Release(b.ctx, words.Line{}))
	for slot, want := range map[string]string{lost: "", kept: holds.Name} {
		if l := b.lease(slot); holder(l) != "" || l.Annotations[words.ReleasedByAnnotation] != want {
			t.Errorf("%s is held by %q and was handed on by %q, want %q", slot, holder(l), l.Annotations[words.ReleasedByAnnotation], want)
		}
	}
}

// A slot that is handed on costs no look at the nodes.
func TestSlotThatIsHandedOn(t *testing.T) {
	b := newBed(t)
	first, other, second := b.looker("first", 1), b.looker("other", 1), b.looker("second", 1)
	b.takes(first, lock.Claimant{})
	looked := first.looks.Load()
	if looked == 0 {
		t.Error("a slot that was made anew is taken without a look")
	}
	b.is(other, "Halted") // without a slot: no concern of those to whom one is handed on
	b.must(first.Release(b.ctx, words.Line{Nodes: []string{second.Name}}))
	b.takes(second, lock.Claimant{})
	if n := second.looks.Load(); n != 0 {
		t.Errorf("looked %d times", n)
	}
}

// Two slots and a node at work without one: one more may go, handed on or not, and no
// third.
func TestNodeAtWorkCountsAsASlot(t *testing.T) {
	b := newBed(t)
	down, holder := b.looker("down", 2), b.looker("holder", 2)
	lost, kept := b.takes(down, lock.Claimant{}), b.takes(holder, lock.Claimant{})
	b.is(down, "Rebooting")
	b.is(holder, "Rebooting")
	b.deleteSlot(lost)
	waiter := b.looker("waiter", 2)
	ch, waiting := b.waits(waiter, lock.Claimant{})
	b.eventually("it waits for the node at work", func() bool { return strings.Contains(waiting().String(), "waiting for "+down.Name) })
	// While the other slot is between two holders it is nobody's, and yet not free.
	b.is(holder, "")
	next := b.looker("next", 2)
	line := []string{next.Name}
	for i := range 15 {
		line = append(line, fmt.Sprint("later", i))
	}
	b.must(holder.Release(b.ctx, words.Line{Nodes: line, At: time.Now()}))
	looks := waiter.looks.Load()
	b.eventually("it has looked again", func() bool { return waiter.looks.Load() >= looks+2 })
	if len(ch) > 0 {
		t.Error("goes, and the other slot may go on at any time")
	}
	if got := b.takes(next, lock.Claimant{}); got != kept {
		t.Errorf("got %s", got)
	}
	looks = waiter.looks.Load()
	b.eventually("it has looked again", func() bool { return waiter.looks.Load() >= looks+2 })
	if len(ch) > 0 {
		t.Error("three at work with two slots")
	}
	b.is(down, "")
	b.gets(ch)
}

// A zone that is left over may be that of a node at work without a slot: with two
// slots, a node of another zone waits for it, also when its slot was handed on.
func TestZoneOfANodeAtWork(t *testing.T) {
	for _, handedOn := range []bool{true, false} {
		t.Run(map[bool]string{true: "handed on", false: "cleared"}[handedOn], func(t *testing.T) {
			b := newBed(t)
			down, first := b.looker("down", 2), b.looker("first", 2)
			lost, kept := b.takes(down, lock.Claimant{Zone: "zone=a"}), b.takes(first, lock.Claimant{Zone: "zone=a"})
			b.is(down, "Rebooting")
			b.deleteSlot(lost)
			next := b.looker("next", 2)
			if handedOn {
				b.must(first.Release(b.ctx, words.Line{Nodes: []string{next.Name}}))
			} else {
				b.patch(kept, `{"spec":{"holderIdentity":null}}`)
			}
			ch, waiting := b.waits(next, lock.Claimant{Zone: "zone=b"})
			b.eventually("it waits for the node at work", func() bool { return strings.Contains(waiting().String(), "waiting for "+down.Name) })
			if len(ch) > 0 {
				t.Error("two zones at work")
			}
			b.is(down, "")
			b.gets(ch)
		})
	}
}

// A node that waits with a slot does not go while the lock is paused, nor does one find
// that it may that is started again meanwhile; it goes when the pause ends.
func TestPausedWhileItWaitsForANodeAtWork(t *testing.T) {
	b := newBed(t)
	down, next := b.looker("down", 1), b.looker("next", 1)
	slot := b.takes(down, lock.Claimant{})
	b.is(down, "Rebooting")
	b.deleteSlot(slot)
	ch, waiting := b.waits(next, lock.Claimant{})
	b.eventually("it waits for the node at work", func() bool { return strings.Contains(waiting().String(), "waiting for "+down.Name) })
	b.patch(slot, `{"metadata":{"annotations":{"rebootd.dev/paused":"Black Friday"}}}`)
	b.is(down, "")
	b.eventually("it knows of the pause", func() bool { return waiting().Paused.Why == "Black Friday" && len(waiting().AtWork) == 0 })
	looks := next.looks.Load()
	b.eventually("it has looked again", func() bool { return next.looks.Load() > looks })
	if len(ch) > 0 {
		t.Fatal("goes while the lock is paused")
	}
	b.patch(slot, `{"metadata":{"annotations":{"rebootd.dev/paused":null}}}`)
	b.gets(ch)
	b.patch(slot, `{"metadata":{"annotations":{"rebootd.dev/paused":""}}}`)
	b.look(next, 1)
	if got, held, err := next.Find(b.ctx, lock.Claimant{UID: next.UID}); held || err != nil {
		t.Errorf("Find: %q, %t, %v", got, held, err)
	}
}

// A slot that was handed on and that nobody takes is no reason to wait for ever for a
// node at work: with two slots one more may go, and the next is not without a look.
func TestNobodyTakesTheOtherSlot(t *testing.T) {
	b := newBed(t)
	down, holder, waiter := b.looker("down", 2), b.looker("holder", 2), b.looker("waiter", 2)
	lost, kept := b.takes(down, lock.Claimant{}), b.takes(holder, lock.Claimant{})
	b.is(down, "Halted")
	b.is(holder, "Rebooting")
	b.deleteSlot(lost)
	ch, waiting := b.waits(waiter, lock.Claimant{})
	b.eventually("it waits for the node at work", func() bool { return strings.Contains(waiting().String(), "waiting for "+down.Name) })
	b.is(holder, "")
	b.must(holder.Release(b.ctx, words.Line{Nodes: []string{"gone"}}))
	if got := b.gets(ch); got != lost {
		t.Errorf("got %s", got)
	}
	b.is(waiter, "Rebooting")
	third := b.looker("third", 2)
	rest, waiting := b.waits(third, lock.Claimant{})
	b.eventually("it has the other slot and waits", func() bool {
		return strings.Contains(waiting().String(), "holds slot "+kept+"; waiting for "+down.Name)
	})
	if len(rest) > 0 {
		t.Error("three at work with two slots")
	}
	b.is(waiter, "")
	b.must(waiter.Release(b.ctx, words.Line{}))
	b.gets(rest)
}

// A node that knows that its slot was taken away from it at work goes on saying its
// zone, and that it is a control-plane node: one of another, to whom another slot is
// handed on, does not look, and must not go.
func TestNodeAtWorkKnowsThatItsSlotIsLost(t *testing.T) {
	for what, ask := range map[string][2]lock.Claimant{
		"zone":          {{Zone: "zone=a"}, {Zone: "zone=b"}},
		"control plane": {{ControlPlane: true}, {ControlPlane: true}},
	} {
		t.Run(what, func(t *testing.T) {
			b := newBed(t)
			down, first, next := b.looker("down", 2), b.looker("first", 2), b.looker("next", 2)
			lost := b.takes(down, ask[0])
			b.takes(first, lock.Claimant{Zone: ask[0].Zone})
			b.is(down, "Rebooting")
			b.deleteSlot(lost)
			if err := down.Keep(b.ctx, func(lock.Pause) {}); !errors.Is(err, lock.ErrLost) {
				t.Fatalf("Keep: %v", err)
			}
			if err := down.Fence(b.ctx); !errors.Is(err, lock.ErrLost) {
				t.Fatalf("Fence: %v", err)
			}
			b.must(first.Release(b.ctx, words.Line{Nodes: []string{next.Name}}))
			ch, waiting := b.waits(next, ask[1])
			b.eventually("it waits for the node at work", func() bool { return strings.Contains(waiting().String(), down.Name) })
			if len(ch) > 0 {
				t.Error("goes while the other is at work")
			}
			b.is(down, "")
			_, held, err := down.Find(b.ctx, lock.Claimant{UID: down.UID})
			if held || err != nil {
				t.Errorf("Find: %t, %v", held, err)
			}
			b.gets(ch)
		})
	}
}

// People give a slot to a node that waits: it has it, without waiting for its watch
// to end, and who has had it has not.
func TestSlotIsGivenByHand(t *testing.T) {
	b := newBed(t)
	first, second := b.looker("first", 1), b.looker("second", 1)
	slot := b.takes(first, lock.Claimant{})
	ch, waiting := b.waits(second, lock.Claimant{})
	b.eventually("it waits", func() bool { return len(waiting().Holders) == 1 })
	began := time.Now()
	byPeople["given"](b, slot, second.Name)
	b.gets(ch)
	if took := time.Since(began); took > time.Second {
		t.Errorf("has it after %s", took)
	}
	b.must(second.Fence(b.ctx))
	b.must(second.Release(b.ctx, words.Line{}))
	if l := b.lease(slot); holder(l) != "" || l.Spec.AcquireTime != nil || len(l.OwnerReferences) != 0 {
		t.Errorf("given up, and the slot is %v, owned by %v", l.Spec, l.OwnerReferences)
	}
	if err := first.Fence(b.ctx); err == nil {
		t.Error("the former holder's Fence succeeds")
	}
}
