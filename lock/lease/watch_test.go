package lease

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/lock"
)

// fakeAPI is an API server for the sake of time: it holds what it is given, counts
// what it is asked, and its watches do what the test says. It proves nothing of what
// a real one does.
type fakeAPI struct {
	mu      sync.Mutex
	leases  []coordinationv1.Lease
	version int
	lists   int
	watches []string // from which versions
	applies []time.Time
	open    func(version string) (watch.Interface, error)
	apply   func() (*coordinationv1.Lease, error)
	patch   func() error
}

func (c *fakeAPI) ListLeases(context.Context, string, metav1.ListOptions) (*coordinationv1.LeaseList, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lists++
	return &coordinationv1.LeaseList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(c.version)}, Items: c.leases}, nil
}

func (c *fakeAPI) WatchLeases(_ context.Context, _ string, opts metav1.ListOptions) (watch.Interface, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watches = append(c.watches, opts.ResourceVersion)
	return c.open(opts.ResourceVersion)
}

func (c *fakeAPI) ApplyLease(context.Context, string, string, []byte, metav1.PatchOptions) (*coordinationv1.Lease, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.applies = append(c.applies, time.Now())
	return c.apply()
}

func (c *fakeAPI) GetLease(context.Context, string, string) (*coordinationv1.Lease, error) {
	return nil, errors.New("a read of one Lease is not expected")
}

func (c *fakeAPI) MergePatchLease(context.Context, string, string, []byte) (*coordinationv1.Lease, error) {
	if c.patch == nil {
		return nil, errors.New("a patch is not expected")
	}
	return nil, c.patch()
}

func slotOf(holder string) coordinationv1.Lease {
	lease := coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "l-0", UID: "u", ResourceVersion: "1"}}
	if holder != "" {
		lease.Spec.HolderIdentity = &holder
	}
	return lease
}

func (c *fakeAPI) lock(t *testing.T, node string) *Lock {
	t.Helper()
	l, err := New(Config{API: c, Namespace: "n", Name: "l", Slots: 1, Node: node, Duration: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// ends returns a watch that tells a bookmark, if there is one, and ends.
func ends(bookmark string) watch.Interface {
	ch := make(chan watch.Event, 1)
	if bookmark != "" {
		ch <- watch.Event{Type: watch.Bookmark, Object: &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{ResourceVersion: bookmark}}}
	}
	close(ch)
	return watch.NewProxyWatcher(ch)
}

// A watch that ends is begun again where it has ended, without a list, and after
// pauses that grow when it ends soon: of those that wait, and of one that holds.
func TestWatchThatEndsAtOnce(t *testing.T) {
	for node, run := range map[string]func(context.Context, *Lock){
		"waiter": func(ctx context.Context, l *Lock) { _, _ = l.Acquire(ctx, lock.Claimant{}, func(lock.Waiting) {}) },
		"holder": func(ctx context.Context, l *Lock) {
			lease := slotOf("holder")
			l.setHeld(&lease)
			_ = l.Keep(ctx, func(lock.Pause) {})
		},
	} {
		t.Run(node, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &fakeAPI{leases: []coordinationv1.Lease{slotOf("holder")}, version: 7}
				c.open = func(string) (watch.Interface, error) { return ends(strconv.Itoa(7 + len(c.watches))), nil }
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				run(ctx, c.lock(t, node))
				if c.lists != 1 {
					t.Errorf("%d lists in ten minutes, want 1", c.lists)
				}
				if n := len(c.watches); n < 40 || n > 100 {
					t.Errorf("%d watches in ten minutes, want one each 7.5 to 15 seconds, and a few more at the beginning", n)
				}
				for i, from := range c.watches {
					if want := strconv.Itoa(7 + i); from != want {
						t.Fatalf("watch %d begins at %s, want %s", i, from, want)
					}
				}
			})
		})
	}
}

// A watch that lives for the usual while is begun again at once.
func TestWatchThatEndsNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fakeAPI{leases: []coordinationv1.Lease{slotOf("holder")}, version: 7}
		var gap time.Duration
		var ended time.Time
		c.open = func(string) (watch.Interface, error) {
			if !ended.IsZero() {
				gap = max(gap, time.Since(ended))
			}
			ch := make(chan watch.Event)
			time.AfterFunc(30*time.Minute, func() {
				c.mu.Lock()
				ended = time.Now()
				c.mu.Unlock()
				close(ch)
			})
			return watch.NewProxyWatcher(ch), nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
		defer cancel()
		_, _ = c.lock(t, "waiter").Acquire(ctx, lock.Claimant{}, func(lock.Waiting) {})
		if c.lists != 1 || gap > 250*time.Millisecond {
			t.Errorf("%d lists, and up to %s without a watch", c.lists, gap)
		}
		time.Sleep(time.Hour) // the last watch's end
	})
}

// A version that the server has forgotten costs one list.
func TestWatchFromAForgottenVersion(t *testing.T) {
	gone := apierrors.NewResourceExpired("too old resource version")
	for name, open := range map[string]func() (watch.Interface, error){
		"refused": func() (watch.Interface, error) { return nil, gone },
		"told": func() (watch.Interface, error) {
			ch := make(chan watch.Event, 1)
			ch <- watch.Event{Type: watch.Error, Object: &gone.ErrStatus}
			return watch.NewProxyWatcher(ch), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &fakeAPI{leases: []coordinationv1.Lease{slotOf("holder")}, version: 7}
				c.open = func(version string) (watch.Interface, error) {
					if version == "7" {
						c.version = 9
						return open()
					}
					return watch.NewProxyWatcher(make(chan watch.Event)), nil
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				_, _ = c.lock(t, "waiter").Acquire(ctx, lock.Claimant{}, func(lock.Waiting) {})
				if c.lists != 2 || len(c.watches) != 2 {
					t.Errorf("%d lists and watches from %v, want two of each", c.lists, c.watches)
				}
			})
		})
	}
}

// A waiter whose watch does not tell why a slot cannot be taken that seems to be free
// asks ever less often, and reads nothing.
func TestRefusedAndNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &fakeAPI{leases: []coordinationv1.Lease{slotOf("")}, version: 7}
		c.open = func(string) (watch.Interface, error) { return watch.NewProxyWatcher(make(chan watch.Event)), nil }
		conflict := &apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonConflict, Code: http.StatusConflict}}
		c.apply = func() (*coordinationv1.Lease, error) { return nil, conflict }
		patches := 0
		c.patch = func() error { // the slot is not as it was seen
			patches++
			return conflict
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		_, _ = c.lock(t, "waiter").Acquire(ctx, lock.Claimant{}, func(lock.Waiting) {})
		if n := len(c.applies) + patches; n < 30 || n > 100 || c.lists != 1 {
			t.Errorf("%d writes and %d lists in ten minutes, want one write each 16 seconds at the most, and one list", n, c.lists)
		}
	})
}
