package daemon

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/decide"
	"rebootd.dev/lock"
)

// roomAPI has Nodes, counts what is asked, and lets a test change them.
type roomAPI struct {
	NodeAPI
	nodes          []corev1.Node
	events         chan watch.Event
	lists, watches int
	page, fail     int // how many Nodes a page has, 0 for all; which list fails, counted from 1
}

func (a *roomAPI) ListNodes(_ context.Context, opts metav1.ListOptions) (*corev1.NodeList, error) {
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

func (a *roomAPI) WatchNodes(context.Context, metav1.ListOptions) (watch.Interface, error) {
	a.watches++
	return watch.NewProxyWatcher(a.events), nil
}

type roomLock struct {
	Locker
	holders []lock.Holder
	asked   int
}

func (l *roomLock) Holders(context.Context) ([]lock.Holder, error) {
	l.asked++
	return l.holders, nil
}

func roomNode(i int, ready, cordoned bool) corev1.Node {
	n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i), ResourceVersion: "2"}, Spec: corev1.NodeSpec{Unschedulable: cordoned}}
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}
	return n
}

// roomDaemon is the daemon of n0, which waits for room with its slot, and a look at
// what it has found. No more than two nodes may be unavailable.
func roomDaemon(t *testing.T, api *roomAPI, locks *roomLock) (*Daemon, func() decide.Room) {
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	d := &Daemon{
		Config: Config{NodeName: "n0", API: api, Lock: locks, Log: zerolog.Nop(), Metrics: NewMetrics(prometheus.NewRegistry(), ""), Policy: decide.Policy{Lock: "l", MaxUnavailable: decide.Limit{Number: 2}}},
		start:  time.Now(), inbox: make(chan func(), 16),
	}
	d.bg = background{wg: &wg, tasks: ctx, steps: ctx}
	d.record, d.node = &decide.Record{ID: "op", Phase: decide.Queued}, &nodeView{}
	return d, func() decide.Room {
		synctest.Wait()
		d.drainInbox()
		return d.room
	}
}

// Whoever has no room lists the Nodes once, and then hears of it when there is room:
// not a thousand counts an hour, and not a minute too late.
func TestRoomIsWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &roomAPI{events: make(chan watch.Event)}
		for i := range 5 {
			api.nodes = append(api.nodes, roomNode(i, true, i == 1 || i == 2))
		}
		locks := &roomLock{holders: []lock.Holder{{Slot: "l-0", Node: "n0"}}}
		d, look := roomDaemon(t, api, locks)
		count := decide.Step{Do: decide.Count}
		d.keepRoomTask(count)
		if r := look(); r.OK || !strings.Contains(r.Why, "2 of 5 nodes are unavailable already (n1, n2)") || r.Key != d.record.DrainKey() {
			t.Fatalf("found %+v", r)
		}
		for range 60 {
			time.Sleep(time.Minute)
			d.keepRoomTask(count)
			if r := look(); r.OK {
				t.Fatalf("found %+v", r)
			}
		}
		if api.lists != 1 || api.watches != 1 || locks.asked > 62 {
			t.Errorf("in an hour %d lists and %d watches of Nodes, and %d looks at the holders", api.lists, api.watches, locks.asked)
		}
		n := roomNode(1, false, false)
		api.events <- watch.Event{Type: watch.Modified, Object: &n} // not cordoned any more, but not Ready
		if r := look(); r.OK {
			t.Fatalf("found %+v", r)
		}
		n = roomNode(1, true, false)
		api.events <- watch.Event{Type: watch.Modified, Object: &n}
		if r := look(); !r.OK {
			t.Fatalf("there is room, and it was not found: %+v", r)
		}
		if d.roomTask != nil {
			t.Error("goes on although there is room")
		}
		if api.lists != 1 {
			t.Errorf("%d lists", api.lists)
		}
	})
}

// A list that fails in the middle is begun anew: what is not seen yet may be
// unavailable.
func TestRoomIsNotCountedFromHalfAList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &roomAPI{events: make(chan watch.Event), page: 2, fail: 2}
		for i := range 5 {
			api.nodes = append(api.nodes, roomNode(i, true, i == 3 || i == 4))
		}
		d, look := roomDaemon(t, api, &roomLock{holders: []lock.Holder{{Slot: "l-0", Node: "n0"}}})
		d.keepRoomTask(decide.Step{Do: decide.Count})
		for range 60 {
			time.Sleep(time.Second)
			if r := look(); r.OK {
				t.Fatalf("found %+v", r)
			}
		}
		if api.lists != 5 {
			t.Errorf("%d lists, want two that end with an error and three", api.lists)
		}
	})
}

// Of two that hold slots and see room for one, one goes, also when the clock of the one
// that has come later is behind and nothing was heard of it.
func TestRoomIsForOneWhateverTheClocksSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &roomAPI{events: make(chan watch.Event)}
		for i := range 5 {
			n := roomNode(i, true, i == 1 || i == 2)
			if i == 3 {
				n.Annotations = map[string]string{OperationAnnotation: `{"v":1,"id":"x","phase":"Queued","since":"2026-01-01T00:00:00Z","bootID":"b","lock":"l"}`}
			}
			api.nodes = append(api.nodes, n)
		}
		began := time.Now()
		locks := &roomLock{holders: []lock.Holder{{Slot: "l-0", Node: "n0", Since: began}}}
		d, look := roomDaemon(t, api, locks)
		d.keepRoomTask(decide.Step{Do: decide.Count})
		time.Sleep(10 * time.Second)
		look()
		locks.holders = append(locks.holders, lock.Holder{Slot: "l-1", Node: "n3", Since: began.Add(-time.Hour)})
		time.Sleep(10 * time.Second)
		n := roomNode(1, true, false)
		api.events <- watch.Event{Type: watch.Modified, Object: &n}
		if r := look(); r.OK || !strings.Contains(r.Why, "(n2, n3)") {
			t.Errorf("both go: %+v", r)
		}
	})
}
