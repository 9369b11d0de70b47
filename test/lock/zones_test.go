package lock

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/lock"
	"rebootd.dev/test/cluster"
)

// Nodes that hold slots at the same time share a zone; nodes without one are a
// zone of their own; when a zone has finished, another may begin.
func TestZones(t *testing.T) {
	b := newBed(t)
	zone := func(z string) lock.Ask { return lock.Ask{Zone: z} }
	one, two, three := b.lock("one", 3), b.lock("two", 3), b.lock("three", 3)
	_, err := one.Acquire(b.ctx, zone("zone=a"), func(lock.Waiting) {})
	b.must(err)
	_, err = two.Acquire(b.ctx, zone("zone=a"), func(lock.Waiting) {})
	b.must(err)
	ch, waiting := b.ask(three, zone("zone"))
	b.eventually("the waiter knows why", func() bool { return strings.Contains(waiting().String(), "-zone is held by zone=a") })
	b.must(one.Fence(b.ctx))
	b.must(one.Release(b.ctx, lock.Line{}))
	if len(ch) > 0 {
		t.Error("a node of another zone got a slot")
	}
	b.must(two.Release(b.ctx, lock.Line{}))
	b.gets(ch)
	if err := three.Fence(b.ctx); err != nil {
		t.Errorf("Fence: %v", err)
	}
	b.must(three.Release(b.ctx, lock.Line{}))
	if n := len(b.lease(b.name + "-zone").ManagedFields); n != 0 {
		t.Errorf("all have released, and %d managers still say something of the zone", n)
	}
}

// Two nodes of a zone that take turns do not keep it open for ever: when it is the
// turn of another, who comes to the open one leaves free slots alone.
func TestZoneIsClosedForTheTurnOfAnother(t *testing.T) {
	b := newBed(t)
	zone := func(z string) lock.Ask { return lock.Ask{Zone: z} }
	one, two, other, late := b.lock("one", 2), b.lock("two", 2), b.lock("other", 2), b.lock("late", 2)
	for _, l := range []*lock.Lock{one, two} {
		_, err := l.Acquire(b.ctx, zone("zone=a"), func(lock.Waiting) {})
		b.must(err)
	}
	turn, _ := b.ask(other, zone("zone=b"))
	b.must(one.Release(b.ctx, lock.Line{Nodes: []string{"other"}, Turn: []string{"other"}, At: time.Now()}))
	rest, _ := b.ask(late, zone("zone=a"))
	stays := func(d time.Duration) {
		b.Helper()
		select {
		case slot := <-rest:
			b.Fatalf("who comes late to the open zone has taken %s", slot)
		case <-time.After(d):
		}
	}
	stays(4 * time.Second)
	b.must(two.Release(b.ctx, lock.Line{Nodes: []string{"other", "late"}, Turn: []string{"other"}, At: time.Now()}))
	b.gets(turn)
	stays(time.Second)
	b.must(other.Release(b.ctx, lock.Line{Nodes: []string{"late"}, Turn: []string{"late"}, At: time.Now()}))
	b.gets(rest)
}

// Whose turn it was, and who has had a slot, is waited for no more: what was left on
// another slot says that it is its turn.
func TestTurnThatWasTaken(t *testing.T) {
	b := newBed(t)
	zone := func(z string) lock.Ask { return lock.Ask{Zone: z} }
	one, two, other, next, late := b.lock("one", 2), b.lock("two", 2), b.lock("other", 2), b.lock("next", 2), b.lock("late", 2)
	for _, l := range []*lock.Lock{one, two} {
		_, err := l.Acquire(b.ctx, zone("zone=a"), func(lock.Waiting) {})
		b.must(err)
	}
	line := lock.Line{Nodes: []string{"other", "later"}, Turn: []string{"other"}, At: time.Now()}
	b.must(one.Release(b.ctx, line))
	b.must(two.Release(b.ctx, line))
	took, err := other.Acquire(b.ctx, zone("zone=b"), func(lock.Waiting) {})
	b.must(err)
	left := b.name + "-0"
	if took == left {
		left = b.name + "-1"
	}
	if l := b.lease(left); l.Annotations[lock.NextAnnotation] != "later" || l.Annotations[lock.ReleasedByAnnotation] == "" {
		t.Errorf("on the other slot is %v", l.Annotations)
	}
	b.must(other.Release(b.ctx, lock.Line{}))
	b.patch(took, `{"spec":{"holderIdentity":"next"}}`) // that one, not the other
	_, err = next.Acquire(b.ctx, zone("zone=a"), func(lock.Waiting) {})
	b.must(err)
	began := time.Now()
	_, err = late.Acquire(b.ctx, zone("zone=a"), func(lock.Waiting) {})
	b.must(err)
	if waited := time.Since(began); waited > 5*time.Second {
		t.Errorf("waited for %s", waited)
	}
}

// A zone that is left over, of holders that are gone, stands in nobody's way.
func TestZoneThatIsLeftOver(t *testing.T) {
	b := newBed(t)
	dead := b.lock("dead", 1)
	_, err := dead.Acquire(b.ctx, lock.Ask{Zone: "zone=a"}, func(lock.Waiting) {})
	b.must(err)
	b.must(shared.Client.CoordinationV1().Leases(cluster.Namespace).Delete(b.ctx, b.name+"-0", metav1.DeleteOptions{}))
	alive := b.lock("alive", 1)
	_, err = alive.Acquire(b.ctx, lock.Ask{Zone: "zone=b"}, func(lock.Waiting) {})
	b.must(err)
	if z := holder(b.lease(b.name + "-zone")); z != "zone=b" {
		t.Errorf("the zone is %q", z)
	}
	if err := dead.Fence(b.ctx); !errors.Is(err, lock.ErrLost) {
		t.Errorf("the former holder's Fence: %v", err)
	}
}

// However many nodes of two zones ask at the same time, they never mix.
func TestZonesNeverMix(t *testing.T) {
	b := newBed(t)
	var mu sync.Mutex
	inside := map[string]int{}
	var wg sync.WaitGroup
	turns := 0
	for i := range 12 {
		z := fmt.Sprintf("zone=%d", i%2)
		wg.Go(func() {
			l := b.lock(fmt.Sprintf("n%d", i), 3)
			for range 3 {
				if _, err := l.Acquire(b.ctx, lock.Ask{Zone: z}, func(lock.Waiting) {}); err != nil {
					b.Error(err)
					return
				}
				mu.Lock()
				inside[z]++
				if len(inside) > 1 || inside[z] > 3 {
					b.Errorf("at the same time hold slots: %v", inside)
				}
				turns++
				mu.Unlock()
				if err := l.Fence(b.ctx); err != nil {
					b.Error(err)
				}
				mu.Lock()
				if inside[z]--; inside[z] == 0 {
					delete(inside, z)
				}
				mu.Unlock()
				if err := l.Release(b.ctx, lock.Line{}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if turns != 36 {
		t.Errorf("%d turns, want 36", turns)
	}
}

// Of the control-plane nodes only one holds a slot, however many there are.
func TestOneControlPlaneNodeAtATime(t *testing.T) {
	b := newBed(t)
	cp := lock.Ask{ControlPlane: true}
	one := b.lock("cp1", 3)
	_, err := one.Acquire(b.ctx, cp, func(lock.Waiting) {})
	b.must(err)
	ch, waiting := b.ask(b.lock("cp2", 3), cp)
	b.eventually("the waiter knows why", func() bool { return strings.Contains(waiting().String(), "-control-plane is held by cp1") })
	b.acquire(b.lock("worker", 3)) // workers are not kept
	b.must(one.Fence(b.ctx))
	if len(ch) > 0 {
		t.Error("two control-plane nodes hold slots")
	}
	b.must(one.Release(b.ctx, lock.Line{}))
	b.gets(ch)
}

// A holder whose zone was taken away, and is another's now, may not go on, and
// keeps no slot that is of no use to it.
func TestZoneIsTakenAway(t *testing.T) {
	b := newBed(t)
	one, two := b.lock("one", 2), b.lock("two", 2)
	slot, err := one.Acquire(b.ctx, lock.Ask{Zone: "zone=a"}, func(lock.Waiting) {})
	b.must(err)
	b.must(shared.Client.CoordinationV1().Leases(cluster.Namespace).Delete(b.ctx, b.name+"-zone", metav1.DeleteOptions{}))
	_, err = two.Acquire(b.ctx, lock.Ask{Zone: "zone=b"}, func(lock.Waiting) {})
	b.must(err)
	if err := one.Fence(b.ctx); !errors.Is(err, lock.ErrLost) || !strings.Contains(err.Error(), "zone=b") {
		t.Errorf("Fence: %v", err)
	}
	if l := b.lease(slot); holder(l) != "" || l.Annotations[lock.ReleasedByAnnotation] != "" {
		t.Errorf("the slot is held by %q and was handed on by %q, which is at work", holder(l), l.Annotations[lock.ReleasedByAnnotation])
	}
	b.must(two.Fence(b.ctx))
}
