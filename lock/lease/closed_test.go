package lease

import (
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/api"
	"rebootd.dev/lock"
)

// queueView is what a node of a zone sees of a lock with three slots.
type queueView struct {
	*view
	version int
}

func newQueueView(t *testing.T, node, zone string) *queueView {
	l := (&fakeAPI{}).lock(t, node)
	l.cfg.Slots = 3
	l.setClaimant(lock.Claimant{Zone: zone})
	return &queueView{view: l.newView()}
}

func (v *queueView) lease(name, holder string, line api.Line) {
	v.version++
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "u", ResourceVersion: strconv.Itoa(v.version), Annotations: map[string]string{}}}
	if holder != "" {
		lease.Spec.HolderIdentity = &holder
	}
	annotations := map[string]any{}
	if err := annotate(annotations, line); err != nil {
		panic(err)
	}
	for k, s := range annotations {
		if s != nil {
			lease.Annotations[k] = s.(string)
		}
	}
	v.see(watch.Modified, lease)
}

func (v *queueView) slot(i int, holder string, line api.Line) {
	v.lease(fmt.Sprintf("%s-%d", v.lock.cfg.Name, i), holder, line)
}

func (v *queueView) zone(zone string) { v.lease(api.ZoneName(v.lock.cfg.Name), zone, api.Line{}) }

// wait is how long the node waits for its turn.
func (v *queueView) wait() time.Duration {
	at, ok := v.plan(time.Now())
	if !ok {
		return -1
	}
	return time.Until(at)
}

// When it is the turn of another zone, nobody of the open one takes a free slot, but
// those that stand before it; and not for ever.
func TestZoneIsClosed(t *testing.T) {
	line := api.Line{Nodes: []string{"before", "b", "behind"}, Turn: []string{"b"}, At: time.Now()}
	for node, c := range map[string]struct {
		zone         string
		closed, free time.Duration // how long it waits while the zone is open, and when it is free
	}{
		"before": {"a", 0, 0},
		"b":      {"b", -1, time.Second},
		"behind": {"a", DefaultZoneLimit, 2 * time.Second},
	} {
		synctest.Test(t, func(t *testing.T) {
			v := newQueueView(t, node, c.zone)
			v.zone("a")
			v.slot(0, "x", api.Line{})
			v.slot(1, "y", api.Line{})
			v.slot(2, "z", api.Line{})
			v.slot(2, "", line)
			if got := v.wait(); got != c.closed {
				t.Errorf("%s waits for %s while the zone is open, want %s", node, got, c.closed)
			}
			v.slot(1, "", line) // by another that sees it so, too
			if c.closed > 0 {
				time.Sleep(time.Minute)
				if got := v.wait(); got != c.closed-time.Minute {
					t.Errorf("a minute later %s waits for %s", node, got)
				}
			}
			v.zone("")
			v.slot(0, "", line)
			if got := v.wait(); got != c.free {
				t.Errorf("%s waits for %s when the zone is free, want %s", node, got, c.free)
			}
			v.slot(0, "x", api.Line{})
			v.zone("a")
			if c.closed > 0 {
				v.wait()
				time.Sleep(DefaultZoneLimit)
				if got := v.wait(); got < 0 || got > 3*time.Second {
					t.Errorf("%s waits for %s, long after", node, got)
				}
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		v := newQueueView(t, "new", "a")
		v.zone("a")
		v.slot(0, "x", api.Line{})
		v.slot(1, "", line)
		if got := v.wait(); got != DefaultZoneLimit {
			t.Errorf("who is not named waits for %s", got)
		}
		v.slot(1, "b", line)
		v.zone("b")
		v.slot(0, "", api.Line{Nodes: []string{"behind"}})
		if got := v.wait(); got != -1 {
			t.Errorf("of the zone that was closed, waits for %s", got)
		}
	})
}

// Who has just taken a slot has not said its zone yet, and who is about to release one
// says none any more. What that one says is awaited, and not for ever.
func TestZoneThatIsNotSaidYet(t *testing.T) {
	line := api.Line{Nodes: []string{"me"}, Turn: []string{"b"}, At: time.Now()}
	synctest.Test(t, func(t *testing.T) {
		v := newQueueView(t, "me", "a")
		v.slot(0, "", line)
		v.slot(1, "b", line)
		for _, since := range []time.Duration{0, 500 * time.Millisecond} {
			time.Sleep(since)
			if got, want := v.wait(), saysWithin-since; got != want {
				t.Errorf("%s after b has taken a slot waits for %s, want %s", since, got, want)
			}
		}
		v.zone("b")
		if got := v.wait(); got != -1 {
			t.Errorf("when b has said its zone, waits for %s", got)
		}
		v.zone("")
		v.slot(1, "", line)
		if got := v.wait(); got != 0 {
			t.Errorf("when b has released its slot, waits for %s", got)
		}
		v.slot(1, "mute", line)
		if got := v.wait(); got != saysWithin {
			t.Errorf("behind another that says no zone, waits for %s", got)
		}
		time.Sleep(saysWithin)
		if got := v.wait(); got != 0 {
			t.Errorf("behind one that says no zone, waits for %s in the end", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		v := newQueueView(t, "me", "") // of a lock without zones
		v.slot(0, "", line)
		v.slot(1, "b", line)
		if got := v.wait(); got != 0 {
			t.Errorf("without zones waits for %s", got)
		}
	})
}

// The line that counts is that of the slot that was given up last; who holds a slot
// already is not waited for.
func TestLineThatCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newQueueView(t, "me", "")
		old := api.Line{Nodes: []string{"p", "q", "r"}}
		v.slot(0, "", old)
		v.slot(1, "", api.Line{Nodes: []string{"s", "me"}})
		v.slot(2, "x", api.Line{})
		if got := v.wait(); got != time.Second {
			t.Errorf("second in the newest line, waits for %s", got)
		}
		v.slot(2, "s", api.Line{})
		if got := v.wait(); got != 0 {
			t.Errorf("the first has a slot, and the second waits for %s", got)
		}
		v.slot(2, "", api.Line{})
		if got := v.wait(); got > spreadOver {
			t.Errorf("nobody else waits any more, by the newest word, and it waits for %s", got)
		}
		v.slot(0, "", api.Line{Nodes: []string{"me"}})
		if got := v.wait(); got != 0 {
			t.Errorf("first in the newest line, waits for %s", got)
		}
	})
}

// Who lets its turn pass while the zone is free is not waited for again and again.
func TestTurnIsPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newQueueView(t, "me", "a")
		line := api.Line{Nodes: []string{"dead", "x", "me"}, Turn: []string{"dead"}}
		v.slot(0, "y", api.Line{})
		v.slot(1, "", line)
		v.slot(2, "", line)
		v.zone("a")
		if got := v.wait(); got != DefaultZoneLimit {
			t.Errorf("it is another's turn, and it waits for %s", got)
		}
		v.slot(0, "", line)
		v.zone("")
		time.Sleep(time.Second)
		v.slot(0, "x", api.Line{})
		v.zone("a")
		if got := v.wait(); got != time.Second {
			t.Errorf("the other has not come, and it waits for %s", got)
		}
	})
}
