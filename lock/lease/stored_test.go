package lease_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	words "rebootd.dev/daemon/api"
	"rebootd.dev/lock"
	"rebootd.dev/lock/lease"
	"rebootd.dev/lock/lease/leasetest"
)

// What other programs see of a slot, and what they may write there, is not the contract's
// but the Leases'.

type stored struct {
	*testing.T
	api *leasetest.API
	uid types.UID // of the Node
}

func inBubble(t *testing.T, f func(s *stored)) {
	synctest.Test(t, func(t *testing.T) {
		api := leasetest.NewAPI()
		uid, err := api.AddNode(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		f(&stored{t, api, uid})
	})
}

func (s *stored) lock(node string, change func(*lease.Config)) *lease.Lock {
	s.Helper()
	c := lease.Config{API: s.api, Namespace: "n", Name: "l", Slots: 1, Node: node, Duration: time.Minute}
	if change != nil {
		change(&c)
	}
	l, err := lease.New(c)
	s.must(err)
	return l
}

func (s *stored) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *stored) slot() *coordinationv1.Lease {
	s.Helper()
	l, err := s.api.GetLease(s.Context(), "n", "l-0")
	s.must(err)
	return l
}

// tries is Acquire, for a minute.
func (s *stored) tries(l *lease.Lock) error {
	ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
	defer cancel()
	_, err := l.Acquire(ctx, lock.Claimant{UID: s.uid}, func(lock.Waiting) {})
	return err
}

// A slot says who holds it, since when, and when that was confirmed: at the latest a third
// of the duration ago.
func TestRenewal(t *testing.T) {
	inBubble(t, func(s *stored) {
		l := s.lock("a", nil)
		s.must(s.tries(l))
		acquired := s.slot().Spec.AcquireTime.Time
		ctx, cancel := context.WithCancel(s.Context())
		kept := make(chan error, 1)
		defer cancel()
		go func() { kept <- l.Keep(ctx, func(lock.Pause) {}) }()
		for range 20 {
			time.Sleep(30 * time.Second)
			spec := s.slot().Spec
			if age := time.Since(spec.RenewTime.Time); age > 21*time.Second || !spec.AcquireTime.Time.Equal(acquired) || *spec.LeaseDurationSeconds != 60 {
				s.Fatalf("confirmed %s ago, held since %s, want since %s, for %d s", age, spec.AcquireTime, acquired, *spec.LeaseDurationSeconds)
			}
		}
		cancel()
		s.must(<-kept)
		refs := s.slot().OwnerReferences
		if len(refs) != 1 || refs[0].UID != s.uid || refs[0].Kind != "Node" || refs[0].Name != "a" || refs[0].Controller != nil || refs[0].BlockOwnerDeletion != nil {
			s.Errorf("the slot's owners: %v", refs)
		}
		if a := s.slot().Annotations; a[words.LeaseSchemaAnnotation] != "1" || a[words.HolderUIDAnnotation] != string(s.uid) {
			s.Errorf("the slot says %v", a)
		}
		s.must(l.Release(s.Context(), words.Line{Nodes: []string{"b", "c"}, At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Turn: []string{"c"}}))
		want := map[string]string{
			words.ReleasedByAnnotation: "a", words.NextAnnotation: "b",
			words.LineAnnotation: `{"v":1,"next":"b","nodes":["c"],"at":"2026-01-02T03:04:05Z","turn":["c"]}`,
		}
		if got := s.slot().Annotations; fmt.Sprint(got) != fmt.Sprint(want) {
			s.Errorf("a slot that was released says %v, want %v", got, want)
		}
	})
}

// What a newer version of rebootd has written is left alone, whoever is named as its
// holder, and counts as held.
func TestNewerSchema(t *testing.T) {
	for _, holder := range []string{`null`, `"a"`, `"b"`} {
		inBubble(t, func(s *stored) {
			s.must(s.api.Create(s.Context(), "l-0"))
			s.must(s.api.Patch(s.Context(), "l-0", `{"metadata":{"annotations":{"rebootd.dev/schema":"2"}},"spec":{"holderIdentity":`+holder+`}}`))
			before := s.slot().ResourceVersion
			l := s.lock("a", nil)
			if err := s.tries(l); err == nil {
				s.Errorf("%s: took a slot of a newer schema", holder)
			}
			_, held, err := l.Find(s.Context(), lock.Claimant{UID: s.uid})
			if held || err != nil {
				s.Errorf("%s: Find: %t, %v", holder, held, err)
			}
			s.must(l.Release(s.Context(), words.Line{}))
			if holders, err := l.Holders(s.Context()); err != nil || len(holders) != 1 || !strings.Contains(holders[0].Node, "newer version") {
				s.Errorf("%s: held by %v, %v", holder, holders, err)
			}
			if s.slot().ResourceVersion != before {
				s.Errorf("%s: the slot is changed: %v", holder, s.slot())
			}
		})
	}
}

// A dry run has the API server answer, and leaves nothing there.
func TestDryRun(t *testing.T) {
	inBubble(t, func(s *stored) {
		l := s.lock("a", func(c *lease.Config) { c.DryRun = true })
		s.must(s.tries(l))
		s.must(l.Release(s.Context(), words.Line{Nodes: []string{"b"}}))
		if all, _ := s.api.Leases(s.Context()); len(all) != 0 {
			s.Errorf("there are %v", all)
		}
		s.must(s.tries(s.lock("b", nil)))
		if err := s.tries(s.lock("a", func(c *lease.Config) { c.DryRun = true })); err == nil {
			s.Error("took a slot that another holds")
		}
	})
}

// A slot that was handed on costs no look at the nodes; one that was created, or cleared,
// does. A pause may be on any Lease of the lock.
func TestLooks(t *testing.T) {
	inBubble(t, func(s *stored) {
		looks := 0
		count := func(c *lease.Config) {
			c.AtWork = func(context.Context) ([]string, error) { looks++; return nil, nil }
		}
		first, second := s.lock("a", count), s.lock("b", count)
		s.must(s.tries(first))
		if looks != 1 {
			s.Errorf("%d looks for a slot that was created", looks)
		}
		s.must(first.Release(s.Context(), words.Line{}))
		s.must(s.tries(second))
		if looks != 1 {
			s.Errorf("%d looks for a slot that was handed on", looks-1)
		}
		s.must(s.api.Patch(s.Context(), "l-0", `{"spec":null}`))
		s.must(s.tries(first))
		if looks != 2 {
			s.Errorf("%d looks for a slot that was cleared", looks-1)
		}
		for _, name := range []string{"l-zone", "l-control-plane", "l-7", "l-0", "l-pause"} {
			_ = s.api.Create(s.Context(), name) // unless it is there
			s.must(s.api.Patch(s.Context(), name, `{"metadata":{"annotations":{"rebootd.dev/paused":""}}}`))
			if err := first.Fence(s.Context()); err == nil || err.Error() != "paused: no reason is given" {
				s.Errorf("paused by %s: %v", name, err)
			}
			s.must(s.api.Patch(s.Context(), name, `{"metadata":{"annotations":{"rebootd.dev/paused":null}}}`))
			s.must(first.Fence(s.Context()))
		}
	})
}

// The Lease that is there for a pause is made when a daemon starts, has nothing in it, and
// is not touched when it is there. That it cannot be made is no failure of anything else.
func TestPauseLeaseIsMade(t *testing.T) {
	inBubble(t, func(s *stored) {
		var said []string
		l := s.lock("a", func(c *lease.Config) {
			c.API = refusing{s.api}
			c.Log = func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
		})
		find := func(l *lease.Lock) {
			s.Helper()
			if _, held, err := l.Find(s.Context(), lock.Claimant{UID: s.uid}); held || err != nil {
				s.Errorf("Find: %t, %v", held, err)
			}
		}
		find(l)
		find(l)
		if len(said) != 1 || !strings.HasPrefix(said[0], "create the Lease l-pause, on which people can pause the lock: ") || !strings.Contains(said[0], "quota") {
			s.Errorf("said %q", said)
		}
		find(s.lock("a", func(c *lease.Config) { c.DryRun = true }))
		if _, err := s.api.GetLease(s.Context(), "n", "l-pause"); err == nil {
			s.Error("a dry run has made it")
		}
		find(s.lock("a", nil))
		made, err := s.api.GetLease(s.Context(), "n", "l-pause")
		s.must(err)
		if len(made.Annotations)+len(made.OwnerReferences)+len(made.ManagedFields)+len(made.Finalizers) > 0 || made.Spec != (coordinationv1.LeaseSpec{}) {
			s.Errorf("%+v", made)
		}
		s.must(s.api.Patch(s.Context(), "l-pause", `{"metadata":{"annotations":{"rebootd.dev/paused":"Black Friday"}}}`))
		paused, err := s.api.GetLease(s.Context(), "n", "l-pause")
		s.must(err)
		find(s.lock("b", nil))
		now, err := s.api.GetLease(s.Context(), "n", "l-pause")
		s.must(err)
		if now.ResourceVersion != paused.ResourceVersion || now.Annotations[words.PausedAnnotation] != "Black Friday" {
			s.Errorf("it was changed: %+v", now)
		}
	})
}

// refusing is an API server that lets nobody make a Lease.
type refusing struct{ lease.API }

func (refusing) ApplyLease(context.Context, string, string, []byte, metav1.PatchOptions) (*coordinationv1.Lease, error) {
	return nil, errors.New("exceeded quota")
}

// A pause on it is heard at once by whoever waits, and by whoever holds a slot.
func TestPauseLeaseIsHeard(t *testing.T) {
	inBubble(t, func(s *stored) {
		set := func(value string) {
			s.must(s.api.Patch(s.Context(), "l-pause", `{"metadata":{"annotations":{"rebootd.dev/paused":`+value+`}}}`))
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		holder, waiter := s.lock("a", nil), s.lock("b", nil)
		s.must(s.api.Create(s.Context(), "l-pause"))
		s.must(s.tries(holder))
		ctx, cancel := context.WithCancel(s.Context())
		defer cancel()
		kept, waits := "", ""
		go func() { _ = holder.Keep(ctx, func(p lock.Pause) { kept = p.Why }) }()
		go func() { _, _ = waiter.Acquire(ctx, lock.Claimant{}, func(w lock.Waiting) { waits = w.Paused.Why }) }()
		for _, why := range []string{"Black Friday", "", "an outage"} {
			value := `"` + why + `"`
			if why == "" {
				value = "null"
			}
			if set(value); kept != why || waits != why {
				s.Errorf("paused by %q: the holder hears %q, who waits %q", why, kept, waits)
			}
		}
		s.must(s.api.Delete(s.Context(), "l-pause"))
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if kept != "" || waits != "" {
			s.Errorf("deleted: the holder hears %q, who waits %q", kept, waits)
		}
		cancel()
		synctest.Wait()
	})
}

// stale is an API server whose first list is of the past, and whose watches tell nothing.
type stale struct {
	lease.API
	past *coordinationv1.LeaseList
}

func (s *stale) ListLeases(ctx context.Context, namespace string, opts metav1.ListOptions) (*coordinationv1.LeaseList, error) {
	if list := s.past; list != nil {
		s.past = nil
		return list, nil
	}
	return s.API.ListLeases(ctx, namespace, opts)
}

func (*stale) WatchLeases(context.Context, string, metav1.ListOptions) (watch.Interface, error) {
	return watch.NewFake(), nil
}

// Who takes a slot for handed on that has been held and cleared since, unseen, finds out
// by the answer.
func TestSlotWasHeldAndClearedUnseen(t *testing.T) {
	inBubble(t, func(s *stored) {
		tries := func(l *lease.Lock, waiting func(lock.Waiting)) error {
			ctx, cancel := context.WithTimeout(s.Context(), time.Minute)
			defer cancel()
			_, err := l.Acquire(ctx, lock.Claimant{}, waiting)
			return err
		}
		first := s.lock("a", nil)
		s.must(tries(first, func(lock.Waiting) {}))
		s.must(first.Release(s.Context(), words.Line{}))
		past, err := s.api.ListLeases(s.Context(), "n", metav1.ListOptions{})
		s.must(err)
		s.must(tries(s.lock("down", nil), func(lock.Waiting) {}))
		s.must(s.api.Patch(s.Context(), "l-0", `{"spec":null}`))
		next := s.lock("next", func(c *lease.Config) {
			c.API = &stale{API: s.api, past: past}
			c.AtWork = func(context.Context) ([]string, error) { return []string{"down"}, nil }
		})
		var last lock.Waiting
		if err := tries(next, func(w lock.Waiting) { last = w }); err == nil || len(last.AtWork) != 1 {
			s.Errorf("it goes, and %+v: %v", last, err)
		}
	})
}

// When its context ends in the middle of a look, the node that waits has not been told
// that it may begin.
func TestContextEndsDuringALook(t *testing.T) {
	inBubble(t, func(s *stored) {
		withdrawn := errors.New("withdrawn")
		ctx, cancel := context.WithCancelCause(s.Context())
		l := s.lock("a", func(c *lease.Config) {
			c.AtWork = func(context.Context) ([]string, error) {
				cancel(withdrawn)
				return []string{"down"}, nil
			}
		})
		if slot, err := l.Acquire(ctx, lock.Claimant{UID: s.uid}, func(lock.Waiting) {}); !errors.Is(err, withdrawn) {
			s.Errorf("has %q: %v", slot, err)
		}
		s.must(l.Release(s.Context(), words.Line{}))
		if by := s.slot().Annotations[words.ReleasedByAnnotation]; by != "" {
			s.Errorf("vouched for by %q, which was waiting", by)
		}
	})
}

// A slot of a lock of another name that this node has taken is released when it looks for
// what it holds, with what goes with it; not while the node is at work, perhaps under that
// lock, and not what people have written.
func TestLockOfAnotherName(t *testing.T) {
	inBubble(t, func(s *stored) {
		before := s.lock("a", func(c *lease.Config) { c.Name = "before" })
		c := lock.Claimant{UID: s.uid, Zone: "z=1"}
		_, err := before.Acquire(s.Context(), c, func(lock.Waiting) {})
		s.must(err)
		other := s.lock("b", func(c *lease.Config) { c.Name, c.Slots = "before", 2 })
		_, err = other.Acquire(s.Context(), lock.Claimant{Zone: "z=1"}, func(lock.Waiting) {})
		s.must(err)

		var said []string
		l := s.lock("a", func(c *lease.Config) {
			c.Log = func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
		})
		holders := func() (out []string) {
			all, err := other.Holders(s.Context())
			s.must(err)
			for _, h := range all {
				out = append(out, h.Node)
			}
			return out
		}
		_, held, err := l.Find(s.Context(), lock.Claimant{UID: s.uid, Zone: "z=1", Begun: true})
		if got := holders(); err != nil || held || len(got) != 2 {
			t.Fatalf("at work: %v, %t, %v", err, held, got)
		}
		_, held, err = s.lock("a", func(c *lease.Config) { c.DryRun = true }).Find(s.Context(), c)
		if got := holders(); err != nil || held || len(got) != 2 {
			t.Fatalf("dry run: %v, %t, %v", err, held, got)
		}
		_, held, err = l.Find(s.Context(), c)
		if got := holders(); err != nil || held || len(got) != 1 || got[0] != "b" || len(said) != 1 {
			t.Fatalf("%v, %t, %v, %q", err, held, got, said)
		}
		zone, err := s.api.GetLease(s.Context(), "n", "before-zone")
		s.must(err)
		for _, e := range zone.ManagedFields {
			if e.Manager == words.LeaseFieldManager("a") {
				t.Errorf("the zone is still a's: %+v", e)
			}
		}
	})
}

// A Lease that another program, or people, have given the node's name is left alone.
func TestLeasesOfOthersWithOurName(t *testing.T) {
	inBubble(t, func(s *stored) {
		for _, name := range []string{"before-0", "kubelet-1", "zone"} {
			_, err := s.api.ApplyLease(s.Context(), "n", name, fmt.Appendf(nil, `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":%q},"spec":{"holderIdentity":"a"}}`, name), metav1.PatchOptions{FieldManager: "kubectl"})
			s.must(err)
		}
		_, _, err := s.lock("a", nil).Find(s.Context(), lock.Claimant{UID: s.uid})
		s.must(err)
		for _, name := range []string{"before-0", "kubelet-1", "zone"} {
			l, err := s.api.GetLease(s.Context(), "n", name)
			s.must(err)
			if l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity != "a" {
				t.Errorf("%s: %v", name, l.Spec.HolderIdentity)
			}
		}
	})
}
