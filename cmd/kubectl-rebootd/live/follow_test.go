package live

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// source is an API server whose answers a test chooses. Its watches are left open.
type source struct {
	mu       sync.Mutex
	nodes    []string
	version  string
	listErr  error // of Nodes
	watchErr error
	leaseErr error
	calls    []string
	watches  []*watch.FakeWatcher // of Nodes
	leaseWs  []*watch.FakeWatcher
}

func (s *source) call(format string, args ...any) {
	s.calls = append(s.calls, fmt.Sprintf(format, args...))
}

func (s *source) EachNode(_ context.Context, _ string, each func(*corev1.Node)) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.call("list nodes")
	if s.listErr != nil {
		return "", s.listErr
	}
	for _, name := range s.nodes {
		each(node(name, s.version))
	}
	return s.version, nil
}

func (s *source) WatchNodes(_ context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.call("watch nodes from %s", opts.ResourceVersion)
	if s.watchErr != nil {
		return nil, s.watchErr
	}
	w := watch.NewFake()
	s.watches = append(s.watches, w)
	return w, nil
}

func (s *source) Leases(context.Context) ([]coordinationv1.Lease, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.call("list leases")
	return nil, "1", s.leaseErr
}

func (s *source) WatchLeases(context.Context, metav1.ListOptions) (watch.Interface, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := watch.NewFake()
	s.leaseWs = append(s.leaseWs, w)
	return w, nil
}

// set changes what the source answers.
func (s *source) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// asked are the calls since it was asked last, of those that begin so.
func (s *source) asked(prefix string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := slices.DeleteFunc(s.calls, func(c string) bool { return !strings.HasPrefix(c, prefix) && !strings.Contains(c, "nodes") })
	s.calls = nil
	return strings.Join(calls, ", ")
}

func (s *source) watch() *watch.FakeWatcher {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.watches[len(s.watches)-1]
}

func node(name, version string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: version}}
}

func forbidden(resource string) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no"))
}

// followed runs a test while a source is followed; names are the Nodes that are known.
func followed(t *testing.T, s *source, test func(m *Model, names func() string)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		events := make(chan Event)
		done := make(chan error, 1)
		go func() { done <- Follow(ctx, s, time.Minute, events) }()
		var mu sync.Mutex
		var m Model
		go func() {
			for {
				select {
				case e := <-events:
					mu.Lock()
					m.Apply(e, time.Now())
					mu.Unlock()
				case <-ctx.Done():
					return
				}
			}
		}()
		synctest.Wait()
		test(&m, func() string {
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			var names []string
			for _, n := range m.Fleet(time.Now()).Nodes {
				names = append(names, n.Name)
			}
			return strings.Join(names, " ")
		})
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// TestFollow: what was listed is watched from there; a watch that ends is begun again where
// it ended, and only what has expired is listed again.
func TestFollow(t *testing.T) {
	s := &source{nodes: []string{"a", "b"}, version: "10"}
	followed(t, s, func(_ *Model, names func() string) {
		expect(t, "nodes", names(), "a b")
		expect(t, "calls", s.asked("nodes"), "list nodes, watch nodes from 10")

		w := s.watch()
		w.Add(node("c", "11"))
		w.Delete(node("a", "12"))
		expect(t, "nodes", names(), "b c")
		w.Action(watch.Bookmark, node("", "20"))
		time.Sleep(5 * time.Minute) // as long as the API server lets a watch live
		w.Stop()
		expect(t, "nodes", names(), "b c")
		expect(t, "calls after the end of a watch", s.asked("nodes"), "watch nodes from 20")

		s.set(func() { s.nodes, s.version = []string{"b", "d"}, "500" })
		gone := apierrors.NewResourceExpired("too old resource version").Status()
		time.Sleep(time.Minute)
		s.watch().Error(&gone)
		expect(t, "nodes", names(), "b d")
		expect(t, "calls after 410", s.asked("nodes"), "list nodes, watch nodes from 500")

		s.set(func() { s.watchErr = apierrors.NewResourceExpired("too old resource version") })
		time.Sleep(time.Minute)
		s.watch().Stop()
		synctest.Wait()
		s.set(func() { s.watchErr, s.version = nil, "600" })
		time.Sleep(time.Minute)
		expect(t, "nodes", names(), "b d")
		if calls := s.asked("nodes"); !strings.HasSuffix(calls, "list nodes, watch nodes from 600") {
			t.Errorf("after a refused watch: %s", calls)
		}
	})
}

// TestFollowAway: the API server is away for ten minutes; that is told, with since when, and
// it is not asked in a circle.
func TestFollowAway(t *testing.T) {
	s := &source{nodes: []string{"a"}, version: "10"}
	followed(t, s, func(m *Model, names func() string) {
		expect(t, "nodes", names(), "a")
		s.asked("")
		time.Sleep(time.Minute)
		went := time.Now()
		s.set(func() { s.watchErr = errors.New("connection refused") })
		s.watch().Stop()
		time.Sleep(10 * time.Minute)
		expect(t, "nodes", names(), "a") // as they were
		since, err := m.Away()
		if err == nil || !strings.Contains(err.Error(), "connection refused") || !since.Equal(went) {
			t.Errorf("away: %v since %s, want since %s", err, since, went)
		}
		if n := len(strings.Split(s.asked("nodes"), ", ")); n < 20 || n > 50 {
			t.Errorf("it was asked %d times in ten minutes", n)
		}
		s.set(func() { s.watchErr = nil })
		time.Sleep(lastPause)
		names()
		if _, err := m.Away(); err != nil {
			t.Errorf("it is back, and still told: %v", err)
		}
	})
}

// TestFollowEndingWatches: a proxy that ends each watch at once is asked once a second.
func TestFollowEndingWatches(t *testing.T) {
	s := &source{nodes: []string{"a"}, version: "10"}
	followed(t, s, func(_ *Model, names func() string) {
		names()
		s.asked("")
		for range 60 {
			s.watch().Stop()
			time.Sleep(time.Second)
		}
		if n := len(strings.Split(s.asked("nodes"), ", ")); n > 61 {
			t.Errorf("%d watches in a minute", n)
		}
	})
}

// TestFollowWithoutRights: Leases that may not be read are looked for once a minute, and
// where watching is forbidden Nodes are listed.
func TestFollowWithoutRights(t *testing.T) {
	s := &source{nodes: []string{"a"}, version: "10", leaseErr: forbidden("leases"), watchErr: forbidden("nodes")}
	followed(t, s, func(m *Model, names func() string) {
		expect(t, "nodes", names(), "a")
		if m.Fleet(time.Now()).Unread == nil {
			t.Error("that Leases may not be read is not told")
		}
		s.set(func() { s.nodes, s.leaseErr = []string{"a", "b"}, nil })
		time.Sleep(pollPause)
		expect(t, "nodes", names(), "a b")
		time.Sleep(unreadPause)
		names()
		if err := m.Fleet(time.Now()).Unread; err != nil {
			t.Errorf("Leases may be read now: %v", err)
		}
	})
}

// TestFollowFails: whoever may not list Nodes is told at once.
func TestFollowFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		events := make(chan Event, 10)
		err := Follow(t.Context(), &source{listErr: forbidden("nodes")}, time.Minute, events)
		if !apierrors.IsForbidden(err) {
			t.Errorf("%v", err)
		}
	})
}

// TestFollowSlowList: a list that does not end is given up.
func TestFollowSlowList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := Follow(t.Context(), slow{&source{}}, 30*time.Second, make(chan Event, 10))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

type slow struct{ *source }

func (slow) EachNode(ctx context.Context, _ string, _ func(*corev1.Node)) (string, error) {
	<-ctx.Done()
	return "", ctx.Err()
}
