package decide

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
)

// A simulated queue: nodes of several zones that ask for slots again and again, some
// of which can never be drained. It knows of the lock what package lock promises:
// who is barred by whom holds a slot, in what order a free slot is taken, and that
// the zone is closed while a free slot is kept for another.

type queuer struct {
	Candidate
	able   bool          // else its drains fail
	absent bool          // its daemon does not run: it is named, and does not come
	steady bool          // asks again soon after each reboot
	within time.Duration // its deadline, after it asks; 0: it has none
	until  time.Time
	asks   time.Time // next
	slot   int       // that it holds, -1 for none

	unearned int // how often it was overtaken by those that came long after it
	turns    int
}

type queueSlot struct {
	api.Line
	holder      *queuer
	made, freed time.Time
}

type queue struct {
	rng    *rand.Rand
	now    time.Time
	nodes  []*queuer
	slots  []queueSlot
	turn   time.Duration // the longest that a node holds a slot
	order  func([]Candidate, string, time.Time) api.Line
	closes bool // the zone is closed while a free slot is kept for another
	takes  int
	passed map[string]time.Time // who has let its turn pass, and until when that counts
}

func newQueue(seed uint64, order func([]Candidate, string, time.Time) api.Line) *queue {
	rng := rand.New(rand.NewPCG(seed, 9))
	q := &queue{rng: rng, now: t0, order: order, closes: true, passed: map[string]time.Time{}, turn: time.Duration(1+rng.IntN(60)) * time.Minute, slots: make([]queueSlot, 1+rng.IntN(3))}
	zones := rng.IntN(4)
	for i := range 3 + rng.IntN(10) {
		n := &queuer{able: rng.IntN(3) > 0, absent: rng.IntN(20) == 0, steady: rng.IntN(2) == 0, slot: -1, asks: t0.Add(time.Duration(rng.IntN(120)) * time.Minute)}
		n.Node, n.ControlPlane = fmt.Sprintf("n%02d", i), rng.IntN(4) == 0
		if zones > 0 {
			n.Zone = fmt.Sprintf("z=%d", rng.IntN(zones))
		}
		if rng.IntN(3) == 0 {
			n.within = time.Duration(1+rng.IntN(600)) * time.Minute
		}
		if rng.IntN(4) == 0 && !n.able {
			n.Priority = rng.IntN(5) - 2
		}
		q.nodes = append(q.nodes, n)
	}
	return q
}

// barred says whether a node may not hold a slot beside those that hold one.
func (q *queue) barred(n *queuer) bool {
	for _, x := range q.nodes {
		if x.slot >= 0 && (x.Zone != n.Zone || x.ControlPlane && n.ControlPlane) {
			return true
		}
	}
	// The zone is open, and somebody of another stands before it in the line.
	open := slices.ContainsFunc(q.nodes, func(x *queuer) bool { return x.slot >= 0 && x.Zone == n.Zone })
	if last := q.latest(); open && q.closes && last >= 0 {
		s := q.slots[last]
		turn := slices.IndexFunc(s.Nodes, func(node string) bool { return slices.Contains(s.Turn, node) && !q.now.Before(q.passed[node]) })
		return turn >= 0 && q.place(n) > turn && q.now.Sub(s.freed) < q.turn
	}
	return false
}

// latest is the free slot that was given up last, whose line is the one that counts;
// -1 if none is free.
func (q *queue) latest() int {
	last := -1
	for i, s := range q.slots {
		if s.holder == nil && (last < 0 || s.freed.After(q.slots[last].freed)) {
			last = i
		}
	}
	return last
}

// place is a node's place in the line.
func (q *queue) place(n *queuer) int {
	if at := slices.Index(q.slots[q.latest()].Nodes, n.Node); at >= 0 {
		return at
	}
	return api.MaxLine
}

// take has those that may take the free slots, in their order.
func (q *queue) take() {
	for q.latest() >= 0 {
		var may []*queuer
		for _, n := range q.nodes {
			if n.Phase == api.PhaseQueued && n.slot < 0 && !n.absent && !q.barred(n) {
				may = append(may, n)
			}
		}
		if len(may) == 0 {
			return
		}
		q.rng.Shuffle(len(may), func(i, j int) { may[i], may[j] = may[j], may[i] })
		n := slices.MinFunc(may, func(a, b *queuer) int {
			return cmp.Compare(q.place(a), q.place(b))
		})
		slot := q.latest()
		s := &q.slots[slot]
		if !slices.ContainsFunc(q.nodes, func(x *queuer) bool { return x.slot >= 0 }) {
			for _, node := range s.Nodes[:min(q.place(n), len(s.Nodes))] {
				q.passed[node] = q.now.Add(q.turn)
			}
		}
		q.takes++
		q.overtakes(n)
		n.slot, n.Phase = slot, api.PhaseDraining
		n.until = q.now.Add(q.turn)
		if n.able {
			n.until = q.now.Add(time.Duration(1 + q.rng.Int64N(int64(q.turn))))
		}
		s.holder = n
		if i := slices.Index(s.Nodes, n.Node); i >= 0 {
			s.Nodes = s.Nodes[i+1:]
		} else {
			s.Nodes = nil
		}
	}
}

// urgent says whether a node has been past its deadline at a time, and has not failed.
func (n *queuer) urgent(at time.Time) bool {
	return n.Attempts == 0 && !n.Deadline.IsZero() && !at.Before(n.Deadline)
}

// overtakes notes whom a node that takes a slot overtakes without having a right to.
// A control-plane node may be overtaken while another is at work.
func (q *queue) overtakes(by *queuer) {
	controlPlane := slices.ContainsFunc(q.nodes, func(n *queuer) bool { return n.slot >= 0 && n.ControlPlane })
	for _, n := range q.nodes {
		if n == by || n.Phase != api.PhaseQueued || n.absent || !n.able || n.ControlPlane && controlPlane {
			continue
		}
		urgent, late := n.urgent(q.now.Add(-q.turn-5*time.Minute)), by.urgent(q.now) // a line may have been made before
		switch {
		case late && (!urgent || !by.Deadline.After(n.Deadline.Add(overtaking))):
		case urgent, by.Entered.After(n.Entered.Add(overtaking)) && (by.Attempts > 0 || by.Priority <= n.Priority):
			n.unearned++
		}
	}
}

// release ends a node's turn, and names the next.
func (q *queue) release(n *queuer) {
	s := &q.slots[n.slot]
	s.holder, s.freed = nil, q.now
	n.slot = -1
	if n.able {
		n.turns++
		n.Phase, n.Attempts, n.unearned = api.PhaseIdle, 0, 0
		n.asks = q.now.Add(time.Duration(q.rng.IntN(48*60)) * time.Minute)
		if n.steady {
			n.asks = q.now.Add(time.Duration(q.rng.IntN(10)) * time.Minute)
		}
	} else {
		n.Attempts++
		n.Phase, n.asks = api.PhaseWaiting, q.now.Add(Pause(n.Attempts))
	}
	s.Nodes = slices.DeleteFunc(s.Nodes, func(name string) bool {
		return !slices.ContainsFunc(q.nodes, func(x *queuer) bool { return x.Node == name && x.Phase == api.PhaseQueued })
	})
	if len(s.Nodes) > 0 && q.now.Sub(s.made) < 5*time.Minute {
		return
	}
	var others []Candidate
	for _, x := range q.nodes {
		if x != n && x.Phase != api.PhaseIdle && x.Phase != api.PhaseWaiting {
			others = append(others, x.Candidate)
		}
	}
	s.Line, s.made = q.order(others, n.Zone, q.now), q.now
}

// run lets the queue go on for a while, and says which node has not been treated as
// was promised.
func (q *queue) run(d time.Duration) string {
	absent := slices.ContainsFunc(q.nodes, func(n *queuer) bool { return n.absent })
	for end := q.now.Add(d); q.now.Before(end); q.now = q.now.Add(10 * time.Second) {
		for _, n := range q.nodes {
			switch {
			case n.slot >= 0 && !q.now.Before(n.until):
				q.release(n)
			case (n.Phase == api.PhaseIdle || n.Phase == api.PhaseWaiting) && !q.now.Before(n.asks):
				if n.Phase == api.PhaseIdle {
					n.Asked, n.Deadline = q.now, time.Time{}
					if n.within > 0 {
						n.Deadline = q.now.Add(n.within)
					}
				}
				n.Phase, n.Entered = api.PhaseQueued, q.now
			}
			most := 2 * len(q.slots)
			if n.ControlPlane { // a line may have been made while another was at work
				most += len(q.slots) * api.MaxLine
			}
			if n.unearned > most && !absent {
				return fmt.Sprintf("%s has been overtaken %d times by nodes that came long after it: %+v", n.Node, n.unearned, n)
			}
		}
		q.take()
	}
	for _, n := range q.nodes {
		if n.able && !n.absent && n.turns == 0 {
			return fmt.Sprintf("%s did not go in %s, in which there were %d turns: %+v", n.Node, d, q.takes, n)
		}
	}
	return ""
}

// Whoever is able to go goes, whoever else fails: before a node that waits go at most
// those that Line promises, and one more a slot, which was free as it came.
func TestFairness(t *testing.T) {
	from, to := seeds(t, 300)
	for seed := from; seed < to; seed++ {
		if unfair := newQueue(seed, Line).run(60 * time.Hour); unfair != "" {
			t.Fatalf("seed %d (FLEET_SEED=%d): %s", seed, seed, unfair)
		}
	}
}

// inOrder is an order in which those that wait could be put, too.
func inOrder(waiting []Candidate, zone string, compare func(a, b Candidate) int) api.Line {
	slices.SortFunc(waiting, compare)
	var o api.Line
	for _, c := range waiting[:min(len(waiting), api.MaxLine)] {
		o.Nodes = append(o.Nodes, c.Node)
		if c.Zone != zone {
			o.Turn = append(o.Turn, c.Node)
		}
	}
	return o
}

// What the simulation is worth: each of these is found.
func TestFairnessFindsFaults(t *testing.T) {
	by := func(compare func(zone string) func(a, b Candidate) int) func([]Candidate, string, time.Time) api.Line {
		return func(others []Candidate, zone string, now time.Time) api.Line {
			waiting, _, _ := split(others, zone, now)
			return inOrder(waiting, zone, compare(zone))
		}
	}
	for name, order := range map[string]func([]Candidate, string, time.Time) api.Line{
		"the zone before all": by(func(zone string) func(a, b Candidate) int {
			return func(a, b Candidate) int {
				return cmp.Or(less(a.Zone != zone, b.Zone != zone), cmp.Compare(a.Attempts, b.Attempts), a.Entered.Compare(b.Entered))
			}
		}),
		"those that have not failed before all": by(func(string) func(a, b Candidate) int {
			return func(a, b Candidate) int {
				return cmp.Or(less(a.Attempts > 0, b.Attempts > 0), less(a.Zone == "z=1", b.Zone == "z=1"), a.Entered.Compare(b.Entered))
			}
		}),
		"who has asked first, however often it has failed": by(func(string) func(a, b Candidate) int {
			return func(a, b Candidate) int { return cmp.Or(a.Asked.Compare(b.Asked), cmp.Compare(a.Node, b.Node)) }
		}),
		"workers before all": by(func(string) func(a, b Candidate) int {
			return func(a, b Candidate) int {
				return cmp.Or(less(a.ControlPlane, b.ControlPlane), a.Entered.Compare(b.Entered))
			}
		}),
		"a deadline is kept by those that fail": func(others []Candidate, zone string, now time.Time) api.Line {
			others = slices.Clone(others)
			for i := range others {
				if !others[i].Deadline.IsZero() {
					others[i].Attempts = 0
				}
			}
			return Line(others, zone, now)
		},
		"a deadline does not count": func(others []Candidate, zone string, _ time.Time) api.Line { return Line(others, zone, time.Time{}) },
		"who is past its deadline is so for ever": func(others []Candidate, zone string, now time.Time) api.Line {
			return Line(others, zone, now.Add(10*time.Hour))
		},
		"a priority is kept by those that fail": func(others []Candidate, zone string, _ time.Time) api.Line {
			waiting := only(others, func(c Candidate) bool { return c.Phase == api.PhaseQueued })
			return inOrder(waiting, zone, func(a, b Candidate) int {
				return cmp.Or(cmp.Compare(b.Priority, a.Priority), a.Entered.Compare(b.Entered))
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(300) {
				if unfair := newQueue(seed, order).run(60 * time.Hour); unfair != "" {
					t.Logf("found with seed %d: %s", seed, unfair)
					return
				}
			}
			t.Error("not found in 300 queues")
		})
	}
	t.Run("the zone is not closed", func(t *testing.T) {
		for seed := range uint64(300) {
			q := newQueue(seed, Line)
			q.closes = false
			if unfair := q.run(60 * time.Hour); unfair != "" {
				t.Logf("found with seed %d: %s", seed, unfair)
				return
			}
		}
		t.Error("not found in 300 queues")
	})
}

// Two nodes of one zone that cannot be drained keep nobody of another from going.
func TestTwoThatFailDoNotStarveTheOthers(t *testing.T) {
	q := newQueue(1, Line)
	q.turn, q.slots = 30*time.Minute, make([]queueSlot, 1)
	q.nodes = nil
	for i, able := range []bool{false, false, true} {
		n := &queuer{able: able, slot: -1, asks: t0.Add(time.Duration(i) * time.Second)}
		n.Node, n.Zone = fmt.Sprint("n", i), fmt.Sprint("z=", i/2)
		q.nodes = append(q.nodes, n)
	}
	if unfair := q.run(3 * time.Hour); unfair != "" {
		t.Error(unfair)
	}
}

// seeds is which seeds are run; the environment variable FLEETS asks for another number
// of them, FLEET_SEED for one only.
func seeds(t *testing.T, usual uint64) (from, to uint64) {
	number := func(name string) (uint64, bool) {
		s := os.Getenv(name)
		if s == "" {
			return 0, false
		}
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n, true
	}
	if n, ok := number("FLEET_SEED"); ok {
		return n, n + 1
	}
	if n, ok := number("FLEETS"); ok {
		return 0, n
	}
	if testing.Short() {
		return 0, usual / 10
	}
	return 0, usual
}
