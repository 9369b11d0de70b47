package availability

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/lock"
)

// fakeAPI has Nodes, counts what is asked, and lets a test change them.
type fakeAPI struct {
	nodes          []corev1.Node
	events         chan watch.Event
	lists, watches int
	page, fail     int // how many Nodes a page has, 0 for all; which list fails, counted from 1
}

func (a *fakeAPI) ListNodes(_ context.Context, opts metav1.ListOptions) (*corev1.NodeList, error) {
	if a.lists++; a.lists == a.fail {
		return nil, apierrors.NewServiceUnavailable("away")
	}
	list := &corev1.NodeList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}, Items: a.nodes}
	if a.page > 0 {
		from, _ := strconv.Atoi(opts.Continue)
		to := min(from+a.page, len(a.nodes))
		list.Items = a.nodes[from:to]
		if to < len(a.nodes) {
			list.Continue = strconv.Itoa(to)
		}
	}
	return list, nil
}

func (a *fakeAPI) WatchNodes(context.Context, metav1.ListOptions) (watch.Interface, error) {
	a.watches++
	return watch.NewProxyWatcher(a.events), nil
}

type fakeLock struct {
	holders []lock.Holder
	asked   int
}

func (l *fakeLock) Holders(context.Context) ([]lock.Holder, error) {
	l.asked++
	return l.holders, nil
}

func node(i int, ready, cordoned bool) corev1.Node {
	n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i), ResourceVersion: "2"}, Spec: corev1.NodeSpec{Unschedulable: cordoned}}
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}
	return n
}

// listener runs the gate of n0, which waits with its slot, and keeps what it says. No
// more than two nodes may be unavailable.
type listener struct {
	mu   sync.Mutex
	said gate.Verdict
}

func listen(t *testing.T, nodes *fakeAPI, locks *fakeLock) (look func() gate.Verdict) {
	l := new(listener)
	g := &Gate{API: nodes, Lock: locks, Node: "n0", Name: "l", Limit: decide.Limit{Number: 2}, Log: zerolog.Nop()}
	l.run(t, g)
	return func() gate.Verdict {
		synctest.Wait()
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.said
	}
}

// run asks g until the test, or stop, ends that.
func (l *listener) run(t *testing.T, g *Gate) (stop func()) {
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	stop = func() {
		cancel()
		wg.Wait()
	}
	t.Cleanup(stop)
	wg.Go(func() {
		g.Run(ctx, gate.View{}, func(v gate.Verdict) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.said = v
		})
	})
	return stop
}

// Whoever has no room lists the Nodes once, and then hears of it when there is room:
// not a thousand counts an hour, and not a minute too late.
func TestRoomIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := &fakeAPI{events: make(chan watch.Event)}
		for i := range 5 {
			nodes.nodes = append(nodes.nodes, node(i, true, i == 1 || i == 2))
		}
		locks := &fakeLock{holders: []lock.Holder{{Slot: "l-0", Node: "n0"}}}
		look := listen(t, nodes, locks)
		if r := look(); r.State != gate.Closed || !strings.Contains(r.Why, "2 of 5 nodes are already unavailable (n1, n2)") {
			t.Fatalf("found %+v", r)
		}
		for range 60 {
			time.Sleep(time.Minute)
			if r := look(); r.State == gate.Open {
				t.Fatalf("found %+v", r)
			}
		}
		if nodes.lists != 1 || nodes.watches != 1 || locks.asked > 62 {
			t.Errorf("in an hour %d lists and %d watches of Nodes, and %d looks at the holders", nodes.lists, nodes.watches, locks.asked)
		}
		n := node(1, false, false)
		nodes.events <- watch.Event{Type: watch.Modified, Object: &n} // not cordoned any more, but not Ready
		if r := look(); r.State == gate.Open {
			t.Fatalf("found %+v", r)
		}
		n = node(1, true, false)
		nodes.events <- watch.Event{Type: watch.Modified, Object: &n}
		if r := look(); r.State != gate.Open {
			t.Fatalf("there is room, and it was not found: %+v", r)
		}
		if nodes.lists != 1 {
			t.Errorf("%d lists", nodes.lists)
		}
	})
}

// A list that fails in the middle is begun anew: what is not seen yet may be
// unavailable.
func TestRoomIsNotCountedFromHalfAList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := &fakeAPI{events: make(chan watch.Event), page: 2, fail: 2}
		for i := range 5 {
			nodes.nodes = append(nodes.nodes, node(i, true, i == 3 || i == 4))
		}
		look := listen(t, nodes, &fakeLock{holders: []lock.Holder{{Slot: "l-0", Node: "n0"}}})
		for range 60 {
			time.Sleep(time.Second)
			if r := look(); r.State == gate.Open {
				t.Fatalf("found %+v", r)
			}
		}
		if nodes.lists != 5 {
			t.Errorf("%d lists, want two that end with an error and three", nodes.lists)
		}
	})
}

// Of two that hold slots and see room for one, one goes, also when the clock of the one
// that has come later is behind and nothing was heard of it.
func TestRoomIsForOneWhateverTheClocksSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := &fakeAPI{events: make(chan watch.Event)}
		for i := range 5 {
			n := node(i, true, i == 1 || i == 2)
			if i == 3 {
				n.Annotations = map[string]string{api.OperationAnnotation: `{"v":1,"id":"x","phase":"Queued","since":"2026-01-01T00:00:00Z","bootID":"b","lock":"l"}`}
			}
			nodes.nodes = append(nodes.nodes, n)
		}
		began := time.Now()
		locks := &fakeLock{holders: []lock.Holder{{Slot: "l-0", Node: "n0", Since: began}}}
		look := listen(t, nodes, locks)
		time.Sleep(10 * time.Second)
		look()
		locks.holders = append(locks.holders, lock.Holder{Slot: "l-1", Node: "n3", Since: began.Add(-time.Hour)})
		time.Sleep(10 * time.Second)
		n := node(1, true, false)
		nodes.events <- watch.Event{Type: watch.Modified, Object: &n}
		if r := look(); r.State != gate.Closed || !strings.Contains(r.Why, "(n2, n3)") {
			t.Errorf("both go: %+v", r)
		}
	})
}

// A node gives way to one that is unavailable already, and not at once to the same again,
// which may not have come.
func TestWayIsNotGivenToTheSameAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nodes := &fakeAPI{events: make(chan watch.Event)}
		for i := range 5 {
			n := node(i, i != 1, i == 2)
			if i == 1 {
				n.Annotations = map[string]string{api.OperationAnnotation: `{"v":1,"id":"x","phase":"Queued","since":"2026-01-01T00:00:00Z","bootID":"b","lock":"l"}`}
			}
			nodes.nodes = append(nodes.nodes, n)
		}
		g := &Gate{
			API: nodes, Lock: &fakeLock{holders: []lock.Holder{{Slot: "l-0", Node: "n0"}}}, Node: "n0", Name: "l",
			Limit: decide.Limit{Number: 2}, Log: zerolog.Nop(),
		}
		for _, c := range []struct {
			after time.Duration
			way   string
		}{{0, "n1"}, {time.Second, ""}, {wayPause / 2, ""}, {wayPause, "n1"}} {
			time.Sleep(c.after)
			l := new(listener)
			stop := l.run(t, g)
			synctest.Wait()
			stop()
			if l.said.State != gate.Closed || l.said.GiveWay != c.way {
				t.Errorf("%s later: %+v, want way for %q", c.after, l.said, c.way)
			}
		}
	})
}
