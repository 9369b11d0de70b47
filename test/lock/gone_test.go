package lock

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	words "rebootd.dev/daemon/api"
	"rebootd.dev/lock"
	"rebootd.dev/lock/lease"
	"rebootd.dev/test/cluster"
)

// node makes a Node that has no kubelet, or makes it anew.
func (b *bed) node(name string) *corev1.Node {
	b.Helper()
	n, err := shared.Client.CoreV1().Nodes().Create(b.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: b.name + "-" + name, Labels: map[string]string{cluster.DownLabel: "true"},
	}}, metav1.CreateOptions{})
	b.must(err)
	return n
}

func (b *bed) deleteNode(n *corev1.Node) {
	b.Helper()
	b.must(shared.Client.CoreV1().Nodes().Delete(b.ctx, n.Name, metav1.DeleteOptions{}))
}

// lockOf is the lock as a node sees it for which a deleted slot is left alone for so
// long.
func (b *bed) lockOf(n *corev1.Node, slots int, grace time.Duration) *lease.Lock {
	b.Helper()
	l, err := lease.New(lease.Config{
		API: api, Namespace: cluster.Namespace, Name: b.name, Slots: slots, Node: n.Name, Duration: time.Minute, DeletedGrace: grace,
	})
	b.must(err)
	return l
}

// has says whether there is a Lease that a node holds.
func (b *bed) has(node, lease string) bool {
	b.Helper()
	l, err := shared.Client.CoordinationV1().Leases(cluster.Namespace).Get(b.ctx, lease, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false
	}
	b.must(err)
	return holder(l) == node
}

// The slot of a holder whose Node is deleted, or made anew, goes with it, and what
// goes with the slot; a waiter that saw that takes it after a while. All of this in
// far less than three minutes.
func TestNodeOfAHolderIsDeleted(t *testing.T) {
	for _, anew := range []bool{false, true} {
		t.Run(map[bool]string{false: "deleted", true: "made anew"}[anew], func(t *testing.T) {
			b := newBed(t)
			const grace = 3 * time.Second
			n, waiter := b.node("holder"), b.node("waiter")
			dead := b.lockOf(n, 1, grace)
			slot, err := dead.Acquire(b.ctx, lock.Claimant{UID: n.UID, Zone: "zone=a", ControlPlane: true}, func(lock.Waiting) {})
			b.must(err)
			b.must(dead.Fence(b.ctx))
			ch, waiting := b.ask(b.lockOf(waiter, 1, grace), lock.Claimant{UID: waiter.UID, Zone: "zone=b", ControlPlane: true})
			b.eventually("it waits", func() bool { return len(waiting().Holders) == 1 })
			began := time.Now()
			b.deleteNode(n)
			if anew {
				b.node("holder")
			}
			b.eventually("the slot is gone", func() bool { return !b.has(n.Name, slot) })
			gone := time.Now()
			b.gets(ch)
			t.Logf("the slot went after %s, and was taken %s later", gone.Sub(began), time.Since(gone))
			if took := time.Since(began); took < grace {
				t.Errorf("taken after %s, before it was sure that the machine is not in the middle of its reboot", took)
			}
			if err := dead.Fence(b.ctx); !errors.Is(err, lock.ErrLost) {
				t.Errorf("the former holder's Fence: %v", err)
			}
			if h := holder(b.lease(b.name + "-control-plane")); h != waiter.Name {
				t.Errorf("the control-plane node that holds a slot is %q", h)
			}
		})
	}
}

// As long as there is the Node, the slot is its holder's, however long that is
// silent; and when it was given up, it is no Node's.
func TestSlotIsItsHoldersNodes(t *testing.T) {
	b := newBed(t)
	first, second := b.node("first"), b.node("second")
	l := b.lockOf(first, 1, time.Second)
	slot, err := l.Acquire(b.ctx, lock.Claimant{UID: first.UID}, func(lock.Waiting) {})
	b.must(err)
	if refs := b.lease(slot).OwnerReferences; len(refs) != 1 || refs[0].UID != first.UID || refs[0].Controller != nil || refs[0].BlockOwnerDeletion != nil {
		t.Errorf("the slot's owners: %v", refs)
	}
	b.must(l.Release(b.ctx, words.Line{}))
	if refs := b.lease(slot).OwnerReferences; len(refs) != 0 {
		t.Errorf("given up, and the slot's owners are %v", refs)
	}
	uid := b.lease(slot).UID
	b.deleteNode(first)
	next := b.lockOf(second, 1, time.Second)
	_, err = next.Acquire(b.ctx, lock.Claimant{UID: second.UID}, func(lock.Waiting) {})
	b.must(err)
	// Cleared by people, it is not its last holder's any more when another has it.
	b.patch(slot, `{"spec":{"holderIdentity":null}}`)
	third := b.node("third")
	_, err = b.lockOf(third, 1, time.Second).Acquire(b.ctx, lock.Claimant{UID: third.UID}, func(lock.Waiting) {})
	b.must(err)
	got := b.lease(slot)
	if refs := got.OwnerReferences; len(refs) != 1 || refs[0].UID != third.UID || got.UID != uid {
		t.Errorf("the slot's owners: %v", refs)
	}
}

// A slot that is left from when there were more goes with its holder's Node, so that
// it does not count for ever.
func TestNodeOfAHolderAboveTheSlotsIsDeleted(t *testing.T) {
	b := newBed(t)
	nodes := map[string]*corev1.Node{}
	for _, name := range []string{"one", "two"} {
		n := b.node(name)
		slot, err := b.lockOf(n, 2, time.Second).Acquire(b.ctx, lock.Claimant{UID: n.UID}, func(lock.Waiting) {})
		b.must(err)
		nodes[slot] = n
	}
	third := b.node("third")
	ch, waiting := b.ask(b.lockOf(third, 1, time.Second), lock.Claimant{UID: third.UID})
	b.eventually("it waits for both", func() bool { return len(waiting().Holders) == 2 })
	b.deleteNode(nodes[b.name+"-1"])
	b.eventually("it waits for the other", func() bool { return len(waiting().Holders) == 1 })
	if len(ch) > 0 {
		t.Error("took a slot while the other is held")
	}
	b.deleteNode(nodes[b.name+"-0"])
	b.gets(ch)
}

// A Node that was made anew under its old name is another one: it gives up what
// the one before has held, should it still be there.
func TestNodeMadeAnew(t *testing.T) {
	b := newBed(t)
	_, err := b.lock("n", 1).Acquire(b.ctx, lock.Claimant{}, func(lock.Waiting) {})
	b.must(err)
	b.patch(b.name+"-0", `{"metadata":{"annotations":{"rebootd.dev/holder-uid":"first"}}}`)
	_, held, err := b.lock("n", 1).Find(b.ctx, lock.Claimant{UID: "second"})
	if held || err != nil {
		t.Errorf("Find: %t, %v", held, err)
	}
	if h := holder(b.lease(b.name + "-0")); h != "" {
		t.Errorf("the slot is still held by %q", h)
	}
}
