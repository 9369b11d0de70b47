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
	"k8s.io/client-go/tools/clientcmd"

	"rebootd.dev/daemon/kube"
	"rebootd.dev/lock"
	"rebootd.dev/test/cluster"
)

var (
	shared *cluster.Cluster
	api    *kube.Client
	serial atomic.Int64
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	ctx := context.Background()
	c, err := cluster.Start(ctx, cluster.Options{})
	if err != nil {
		return 1, err
	}
	defer c.Stop()
	shared = c
	dir, err := os.MkdirTemp("", "rebootd-lock-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := c.DaemonKubeconfig(ctx, "tests", kubeconfig); err != nil {
		return 1, err
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return 1, err
	}
	if api, err = kube.New(cfg); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

type bed struct {
	*testing.T
	ctx  context.Context
	name string
}

func newBed(t *testing.T) *bed {
	t.Parallel()
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("the test's time limit has passed"))
	t.Cleanup(cancel)
	return &bed{T: t, ctx: ctx, name: fmt.Sprintf("lock%d", serial.Add(1))}
}

func (b *bed) lock(node string, slots int) *lock.Lock {
	b.Helper()
	l, err := lock.New(lock.Config{API: api, Namespace: cluster.Namespace, Name: b.name, Slots: slots, Node: node, Duration: time.Minute})
	b.must(err)
	return l
}

func (b *bed) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func (b *bed) acquire(l *lock.Lock) string {
	b.Helper()
	slot, err := l.Acquire(b.ctx, lock.Ask{}, func(lock.Waiting) {})
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

func holder(l *coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

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
			if _, err := l.Acquire(ctx, lock.Ask{}, func(lock.Waiting) {}); err == nil {
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
						if _, err := l.Acquire(b.ctx, lock.Ask{}, func(lock.Waiting) {}); err != nil {
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
						if err := l.Release(b.ctx, ""); err != nil {
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

// A restarted daemon finds its slot, and applying again succeeds.
func TestRecovery(t *testing.T) {
	b := newBed(t)
	slot := b.acquire(b.lock("a", 2))
	again := b.lock("a", 2)
	got, held, err := again.Find(b.ctx, lock.Ask{})
	if err != nil || !held || got != slot {
		t.Errorf("Find: %q, %t, %v; want %q", got, held, err, slot)
	}
	if got := b.acquire(again); got != slot {
		t.Errorf("Acquire took %q, want the slot that is held already, %q", got, slot)
	}
	b.must(again.Fence(b.ctx))
	b.must(again.Release(b.ctx, ""))
	b.must(again.Release(b.ctx, "")) // idempotent
	if h := holder(b.lease(slot)); h != "" {
		t.Errorf("released, and held by %q", h)
	}
	if n := len(b.lease(slot).ManagedFields); n != 0 {
		t.Errorf("released, and %d managers still have something to say", n)
	}
}

// A slot above the number of slots, from when that was higher, is found, counts,
// and is given up.
func TestFewerSlots(t *testing.T) {
	b := newBed(t)
	first, second := b.lock("a", 2), b.lock("b", 2)
	b.acquire(first)
	b.acquire(second)
	third := b.lock("c", 1)
	ctx, cancel := context.WithTimeout(b.ctx, time.Second)
	defer cancel()
	b.must(first.Release(b.ctx, "")) // whichever slot that was
	if slot, err := third.Acquire(ctx, lock.Ask{}, func(lock.Waiting) {}); err == nil {
		t.Errorf("took %s while another slot is held, and there is only one now", slot)
	}
	b.must(second.Release(b.ctx, ""))
	b.acquire(third)
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
					go func() { kept <- l.Keep(b.ctx, func(string) {}) }()
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
	b.must(l.Release(b.ctx, ""))
	if h := holder(b.lease(slot)); h != "" {
		t.Errorf("released, and held by %q", h)
	}
}

// Nodes whose long names have the same beginning are different nodes.
func TestLongNames(t *testing.T) {
	b := newBed(t)
	long := strings.Repeat("a", 60) + "." + strings.Repeat("b", 60) + "." + strings.Repeat("c", 60) + "." + strings.Repeat("d", 60)
	first, second := b.lock(long+".one", 1), b.lock(long+".two", 1)
	b.acquire(first)
	ctx, cancel := context.WithTimeout(b.ctx, time.Second)
	defer cancel()
	if _, err := second.Acquire(ctx, lock.Ask{}, func(lock.Waiting) {}); err == nil {
		t.Error("two nodes hold one slot")
	}
	b.must(first.Release(b.ctx, ""))
	b.acquire(second)
}

// A slot that a newer version of rebootd has written is left alone.
func TestNewerSchema(t *testing.T) {
	b := newBed(t)
	l := b.lock("a", 1)
	slot := b.acquire(l)
	b.must(l.Release(b.ctx, ""))
	b.patch(slot, `{"metadata":{"annotations":{"rebootd.dev/schema":"2"}}}`)
	ctx, cancel := context.WithTimeout(b.ctx, time.Second)
	defer cancel()
	if _, err := b.lock("b", 1).Acquire(ctx, lock.Ask{}, func(lock.Waiting) {}); err == nil {
		t.Error("took a slot of a newer schema")
	}
}

// ask waits for a slot in the background.
func (b *bed) ask(l *lock.Lock, ask lock.Ask) (got <-chan string, waiting func() lock.Waiting) {
	b.Helper()
	ch := make(chan string, 1)
	var mu sync.Mutex
	var last lock.Waiting
	go func() {
		slot, err := l.Acquire(b.ctx, ask, func(w lock.Waiting) {
			mu.Lock()
			defer mu.Unlock()
			last = w
		})
		if err == nil {
			ch <- slot
		}
	}()
	return ch, func() lock.Waiting {
		mu.Lock()
		defer mu.Unlock()
		return last
	}
}

func (b *bed) eventually(what string, ok func() bool) {
	b.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-b.ctx.Done():
			b.Fatalf("waited until %s", what)
		case <-tick.C:
		}
	}
}

func (b *bed) gets(ch <-chan string) string {
	b.Helper()
	select {
	case slot := <-ch:
		return slot
	case <-b.ctx.Done():
		b.Fatal("got no slot")
		return ""
	}
}

// A slot goes at once to the one that is named; others wait a while, and then it
// is anybody's.
func TestSuccession(t *testing.T) {
	b := newBed(t)
	a := b.lock("a", 1)
	b.acquire(a)
	var others []<-chan string
	for i := range 5 {
		ch, waiting := b.ask(b.lock(fmt.Sprintf("other%d", i), 1), lock.Ask{})
		b.eventually("it waits", func() bool { return len(waiting().Holders) == 1 })
		others = append(others, ch)
	}
	next := b.lock("next", 1)
	ch, waiting := b.ask(next, lock.Ask{})
	b.eventually("it waits", func() bool { return len(waiting().Holders) == 1 })
	released := time.Now()
	b.must(a.Release(b.ctx, "next"))
	b.gets(ch)
	if took := time.Since(released); took > time.Second {
		t.Errorf("handed over after %s", took)
	}
	for _, ch := range others {
		if len(ch) > 0 {
			t.Error("another got the slot, too")
		}
	}
	released = time.Now()
	b.must(next.Release(b.ctx, "dead"))
	b.eventually("one of the others has it", func() bool {
		n := 0
		for _, ch := range others {
			n += len(ch)
		}
		return n > 0
	})
	if took := time.Since(released); took < 4*time.Second || took > 12*time.Second {
		t.Errorf("after a dead successor the slot went on after %s, want 5 to 10 s", took)
	}
}

// Nobody takes a slot while the lock is paused; a holder is told, and may not go
// on.
func TestPause(t *testing.T) {
	b := newBed(t)
	a := b.lock("a", 2)
	slot := b.acquire(a)
	b.patch(slot, `{"metadata":{"annotations":{"rebootd.dev/paused":"an outage"}}}`)
	ch, waiting := b.ask(b.lock("b", 2), lock.Ask{})
	b.eventually("the waiter knows why", func() bool { return waiting().String() == "paused: an outage" })
	if err := a.Fence(b.ctx); !errors.Is(err, lock.ErrPaused) || !strings.Contains(err.Error(), "an outage") {
		t.Errorf("Fence: %v", err)
	}
	told := make(chan string, 8)
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	go func() { _ = a.Keep(ctx, func(why string) { told <- why }) }()
	if why := <-told; why != "an outage" {
		t.Errorf("the holder is told %q", why)
	}
	select {
	case <-ch:
		t.Fatal("a slot was taken during the pause")
	case <-time.After(time.Second): // ten times as long as it takes to try
	}
	b.patch(slot, `{"metadata":{"annotations":{"rebootd.dev/paused":null}}}`)
	b.gets(ch)
	for why := range told {
		if why == "" {
			break
		}
	}
	b.must(a.Fence(b.ctx))
}

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
	b.must(one.Release(b.ctx, ""))
	if len(ch) > 0 {
		t.Error("a node of another zone got a slot")
	}
	b.must(two.Release(b.ctx, ""))
	b.gets(ch)
	if err := three.Fence(b.ctx); err != nil {
		t.Errorf("Fence: %v", err)
	}
	b.must(three.Release(b.ctx, ""))
	if n := len(b.lease(b.name + "-zone").ManagedFields); n != 0 {
		t.Errorf("all have released, and %d managers still say something of the zone", n)
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
				if err := l.Release(b.ctx, ""); err != nil {
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
	b.must(one.Release(b.ctx, ""))
	b.gets(ch)
}

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

// While the number of slots is lowered, and one is still held that will be no
// more, those that take the others at the same time are together no more than the
// lower number.
func TestSlotsAreLoweredWhileHeld(t *testing.T) {
	b := newBed(t)
	old := []*lock.Lock{b.lock("old0", 3), b.lock("old1", 3), b.lock("old2", 3)}
	slots := map[string]*lock.Lock{}
	for _, l := range old {
		slots[b.acquire(l)] = l
	}
	b.must(slots[b.name+"-0"].Release(b.ctx, ""))
	b.must(slots[b.name+"-1"].Release(b.ctx, ""))
	var inside, most atomic.Int64
	inside.Store(1) // slot 2
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			l := b.lock(fmt.Sprintf("new%d", i), 2)
			if _, err := l.Acquire(b.ctx, lock.Ask{}, func(lock.Waiting) {}); err != nil {
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
			if err := l.Release(b.ctx, ""); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
	if n := most.Load(); n > 2 {
		t.Errorf("%d held slots at the same time, want no more than 2", n)
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
