package daemon_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/sim"
	"rebootd.dev/daemon/windows"
)

// Many nodes wait for a gate, and are let go at once: what that costs the API server.

// crowd is many nodes that all need a reboot.
type crowd struct {
	w     *sim.World
	nodes []*sim.Machine
	runs  []*sim.Process
	seen  []int // of the requests of each
}

// crowdSize is how many; the environment variable CROWD asks for another number.
func crowdSize(t *testing.T) int {
	s := os.Getenv("CROWD")
	if s == "" {
		return 60
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func newCrowd(t *testing.T, w *sim.World, s settings) *crowd {
	c := &crowd{w: w}
	change := s.change
	s.change = func(cfg *daemon.Config, p *sim.Process) {
		cfg.Log = zerolog.Nop()
		change(cfg, p)
	}
	for n := range crowdSize(t) {
		m := w.AddMachine(fmt.Sprintf("n%04d", n))
		m.Drain.Pods(1)
		m.Drain.Takes(func() time.Duration { return 24 * time.Hour }) // whoever has a slot keeps it
		c.nodes, c.runs, c.seen = append(c.nodes, m), append(c.runs, start(t, m, s)), append(c.seen, 0)
	}
	pass(5 * time.Minute)
	return c
}

// requests are those that were made since the last call, by what they are, and how many the
// busiest node has made.
func (c *crowd) requests() (by map[string]int, most int) {
	by = map[string]int{}
	for i, p := range c.runs {
		all := p.Link.Requests()
		news := all[c.seen[i]:]
		c.seen[i] = len(all)
		most = max(most, len(news))
		for _, r := range news {
			key := r.Verb + " " + r.Resource
			if r.Subresource != "" {
				key += "/" + r.Subresource
			}
			if r.Verb == "patch" && strings.Contains(r.Body, api.OperationAnnotation) {
				key = "write of the record"
			}
			by[key]++
		}
	}
	return by, most
}

func (c *crowd) phases() map[api.Phase]int {
	out := map[api.Phase]int{}
	for _, m := range c.nodes {
		if r := c.w.Record(m.Name); r != nil {
			out[r.Phase]++
		}
	}
	return out
}

func total(by map[string]int) (n int) {
	for _, x := range by {
		n += x
	}
	return n
}

// Nodes that wait for their window make no request at all, however many they are and for
// however long. When it opens, each writes its next phase and what people are told of it,
// and watches the lock: the queue's own cost, spread over minutes.
func TestManyNodesWaitForAWindow(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		c := newCrowd(t, w, withWindows(windows.Settings{Entries: []string{"Sat 01:00-04:00"}}))
		c.requests()
		n := len(c.nodes)
		for _, m := range c.nodes {
			m.Touch(sentinelPath, "")
		}
		pass(5 * time.Minute)
		asked, most := c.requests()
		t.Logf("asked for a reboot outside the window: %d requests a node at most, %v", most, asked)
		if got := asked["write of the record"]; got != n || c.phases()[api.PhaseWaiting] != n {
			t.Errorf("%d writes of %d nodes; %v", got, n, c.phases())
		}
		pass(time.Until(time.Now().Truncate(24 * time.Hour).Add(time.Hour - time.Second)))
		waited, _ := c.requests()
		t.Logf("50 minutes of waiting: %v", waited)
		if len(waited) != 0 {
			t.Errorf("they ask while they wait: %v", waited)
		}
		pass(11 * time.Minute)
		opened, most := c.requests()
		t.Logf("the window opens: %d requests a node at most, %v", most, opened)
		if got := opened["write of the record"]; got > n+15 || got < n { // the one at work notes how long it has drained
			t.Errorf("%d writes of the phase for %d nodes", got, n)
		}
		if got := opened["patch nodes/status"]; got > 3*n { // of whom it waits for
			t.Errorf("%d writes of conditions for %d nodes", got, n)
		}
		pass(20 * time.Minute)
		queued, most := c.requests()
		t.Logf("20 minutes in the queue: %d requests a node at most, %v", most, queued)
		if got := total(queued); got > 8*n {
			t.Errorf("%d requests in 20 minutes in the queue", got)
		}
	})
}

// askedAlert is an alert that says how often it was asked.
type askedAlert struct {
	fires *atomic.Bool
	asked *atomic.Int64
}

// Kind implements gate.Gate.
func (askedAlert) Kind() gate.Kind {
	return gate.Kind{Name: "alert", Reason: api.ReasonAlertsFiring, Binds: gate.WithSlot | gate.WhileDraining}
}

// Run implements gate.Asker.
func (g askedAlert) Run(ctx context.Context, _ gate.View, say func(gate.Verdict)) {
	for ctx.Err() == nil {
		g.asked.Add(1)
		say(closedIf(g.fires.Load(), "an alert fires"))
		t := time.NewTimer(time.Minute)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

// While an alert fires that holds everybody up, the one with the slot asks, and the others
// wait in the queue as they do behind any node: nobody is cordoned, and the slot is not
// handed round.
func TestManyNodesWaitForAnAlert(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		var fires atomic.Bool
		var asked atomic.Int64
		fires.Store(true)
		c := newCrowd(t, w, withGates(askedAlert{&fires, &asked}))
		for _, m := range c.nodes {
			m.Touch(sentinelPath, "")
		}
		pass(10 * time.Minute)
		c.requests()
		asked.Store(0)
		n := len(c.nodes)
		pass(20 * time.Minute)
		waited, most := c.requests()
		t.Logf("20 minutes while an alert fires: asked %d times; %d requests a node at most, %v", asked.Load(), most, waited)
		if asked.Load() > 21 {
			t.Errorf("asked %d times in 20 minutes", asked.Load())
		}
		if c.phases()[api.PhaseQueued] != n || waited["write of the record"] != 0 || waited["apply leases"] > 5 {
			t.Errorf("%v, %v", c.phases(), waited)
		}
		if got := total(waited); got > 8*n {
			t.Errorf("%d requests in 20 minutes", got)
		}
		fires.Store(false)
		pass(2 * time.Minute)
		ended, _ := c.requests()
		t.Logf("the alert ends: %v", ended)
		if got := ended["write of the record"]; got > 3 || c.phases()[api.PhaseDraining] != 1 {
			t.Errorf("%d writes, %v", got, c.phases())
		}
	})
}

// A gate that concerns one node alone costs it its turn, and nobody else more than that: with
// half of the nodes blocked for good, the others come to their turn one after the other.
func TestTurnsBesideNodesThatCannotUseThem(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		const nodes = 12
		var all []*sim.Machine
		for n := range nodes {
			m := w.AddMachine(fmt.Sprintf("n%d", n))
			m.Drain.Pods(0)
			s := settings{noDrain: true}
			if n%2 == 0 {
				s = withGates(newToy("blocked", gate.OnTurn, closed))
			}
			m.OnCommand = func(cmd *sim.Command) error {
				cmd.End(0, "")
				time.AfterFunc(time.Second, func() {
					m.GoesDown()
					m.Boots()
					m.KubeletReports(true, "")
					start(t, m, s)
				})
				return nil
			}
			start(t, m, s)
			all = append(all, m)
		}
		pass(time.Minute)
		for _, m := range all {
			m.Touch(sentinelPath, "")
		}
		pass(2 * time.Minute)
		for n, m := range all {
			rebooted := m.BootID() != "boot-1-"+m.Name
			if rebooted != (n%2 == 1) {
				t.Errorf("%s, blocked %t: it has rebooted %t", m.Name, n%2 == 0, rebooted)
			}
		}
		pass(10 * time.Hour)
		taken := map[string]int{}
		for _, e := range w.Journal(0) {
			if e.Kind == "slot" && strings.HasSuffix(e.Text, "is taken") {
				taken[e.Node]++
			}
		}
		for n, m := range all {
			if n%2 == 0 && (taken[m.Name] < 20 || taken[m.Name] > 30) {
				t.Errorf("%s, which is blocked, has had %d turns in ten hours", m.Name, taken[m.Name])
			}
		}
	})
}
