package daemon_test

import (
	"testing"
	"testing/synctest"
	"time"

	"rebootd.dev/daemon/api"
)

// An abort that is withdrawn once its undoing is on record comes too late: the operation ends
// by it, and its request counts as served, for the daemon and for the judge.
func TestFleetAbortIsWithdrawnTooLate(t *testing.T) {
	const hooked = 939 // a fleet with hooks, and without gates
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, hooked, fault{})
		defer f.end()
		f.peace()
		if !f.hooked || f.gates.approval {
			t.Fatalf("seed %d has another fleet by now", hooked)
		}
		n := f.nodes[0]
		n.m.Annotate(api.RequestAnnotation, api.RequestReboot)
		until := func(what string, is func(written) bool) {
			t.Helper()
			for range 600 {
				f.tick(time.Second)
				f.mu.Lock()
				r := n.record
				f.mu.Unlock()
				if is(r) {
					return
				}
			}
			t.Fatalf("not %s: %s", what, n.raw)
		}
		until("drained", func(r written) bool { return r.Phase == "Draining" })
		n.m.Annotate(api.AbortAnnotation, "the wrong node")
		until("undone", func(r written) bool { return r.Undo != nil })
		n.m.Annotate(api.AbortAnnotation, "")
		until("idle", func(r written) bool { return r.ID == "" })
		for range 60 {
			f.tick(time.Second)
		}
		if s := f.broken() + f.unrest(); s != "" || n.m.Node().Annotations[api.RequestAnnotation] != "" {
			t.Errorf("%s\n%s", s, f.trace(time.Now(), 60))
		}
	})
}

// A pause ends with its operation: the next one of the node knows nothing of it.
func TestFleetPauseIsOfAnOperation(t *testing.T) {
	for _, tc := range []struct {
		phases []written
		broken bool
	}{
		{[]written{{ID: "a", Phase: "Queued"}, {ID: "a", Phase: "Waiting", Deferrals: 1}, {ID: "a", Phase: "Queued", Deferrals: 1}}, true},
		{[]written{{ID: "a", Phase: "Queued"}, {ID: "a", Phase: "Waiting", Deferrals: 1}, {}, {ID: "b", Phase: "Waiting"}, {ID: "b", Phase: "Queued"}}, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := newFleet(t, 0, fault{})
			defer f.end()
			n := f.nodes[0]
			for _, r := range tc.phases {
				time.Sleep(time.Second)
				f.mu.Lock()
				was := n.record
				n.record = r
				f.defers(&n.truth, was)
				f.mu.Unlock()
			}
			if got := f.broken() != ""; got != tc.broken {
				t.Errorf("broken %t: %s", got, f.broken())
			}
		})
	}
}

// A node that has waited in the queue for longer than it takes to notice that its pods block
// has just got its slot: it keeps it for as long as it takes to be asked, and no longer.
func TestFleetKeepsOnSinceItHoldsTheSlot(t *testing.T) {
	for _, tc := range []struct {
		name   string
		next   decision
		broken bool
	}{
		{"gives it up", nil, false},
		{"keeps it", gateFaults["keeps the slot on its turn"].next, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, 0, fault{gates: needsBlocker, next: tc.next})
				defer f.end()
				f.peace()
				n := f.nodes[0]
				f.start(n)
				f.pause(true)
				f.mu.Lock()
				n.blocked.set(true)
				f.mu.Unlock()
				f.asks(n, true)
				n.m.Touch(sentinelPath, "")
				time.Sleep(2 * knownSlow)
				f.pause(false)
				taken := false
				for range 10 * int((knownSlow + 30*time.Second).Seconds()) {
					time.Sleep(100 * time.Millisecond)
					f.checkAll(true)
					taken = taken || f.holds(n.name)
					if s := f.broken(); s != "" && !tc.broken {
						t.Fatalf("%s\n%s", s, f.trace(time.Now(), 40))
					}
				}
				if !taken || (f.broken() != "") != tc.broken {
					t.Errorf("took a slot %t, broken %q; want broken %t\n%s", taken, f.broken(), tc.broken, f.trace(time.Now(), 40))
				}
			})
		})
	}
}

// A node whose slot is taken away just after it has got it has been without a slot since
// then, whatever was seen at the last check.
func TestFleetRobsOneThatHasJustGotItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t, 0, fault{}) // in every third fleet slots are taken away
		defer f.end()
		f.peace()
		n := f.nodes[0]
		f.start(n)
		f.checkAll(true)
		time.Sleep(time.Minute)
		n.m.Touch(sentinelPath, "")
		for range 600 {
			if f.holds(n.name) {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if !f.holds(n.name) {
			t.Fatal("it has no slot after a minute")
		}
		f.rob(n)
		f.mu.Lock()
		defer f.mu.Unlock()
		if !n.slotless.is() || n.slotless.isFor(fenced) {
			t.Errorf("its slot was taken away now, and it counts as without one since %s", n.slotless.at)
		}
	})
}
