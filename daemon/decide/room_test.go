package decide

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
)

func TestParseLimit(t *testing.T) {
	for s, want := range map[string]Limit{"": {}, "3": {Number: 3}, "10%": {Percent: 10}, "100%": {Percent: 100}} {
		if got, err := ParseLimit(s); got != want || err != nil || got.IsSet() != (s != "") {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"0", "-1", "x", "0%", "101%", "10 %", "1.5", "%"} {
		if got, err := ParseLimit(s); err == nil {
			t.Errorf("%q: %+v, want an error", s, got)
		}
	}
}

func TestRoomFor(t *testing.T) {
	well := Peer{Ready: true}
	peers := func(self Peer, others ...Peer) []Peer {
		self.Name = "self"
		out := []Peer{self}
		for i, p := range others {
			p.Name = string(rune('a' + i))
			out = append(out, p)
		}
		return out
	}
	for name, tc := range map[string]struct {
		limit string
		nodes []Peer
		why   string // "" if there is room
	}{
		"all are well":                    {"1", peers(well, well, well), ""},
		"one is not Ready":                {"1", peers(well, well, Peer{}), "1 of 3 nodes are already unavailable (b); the limit is 1"},
		"one is cordoned":                 {"1", peers(well, Peer{Ready: true, Unschedulable: true}), "(a)"},
		"one holds a slot":                {"1", peers(well, Peer{Ready: true, Phase: api.PhaseQueued, Slot: &Holding{}}), "(a)"},
		"one has halted":                  {"1", peers(well, Peer{Ready: true, Phase: api.PhaseHalted}), "(a)"},
		"one for several reasons is one":  {"2", peers(well, Peer{Unschedulable: true, Phase: api.PhaseDraining, Slot: &Holding{}}), ""},
		"two may, one is":                 {"2", peers(well, Peer{}), ""},
		"its own slot does not count":     {"1", peers(Peer{Ready: true, Phase: api.PhaseQueued, Slot: &Holding{}}, well), ""},
		"itself unavailable, makes none":  {"1", peers(Peer{}, Peer{}, Peer{}), ""},
		"itself cordoned, makes none":     {"1", peers(Peer{Ready: true, Unschedulable: true}, Peer{}), ""},
		"a percentage, rounded down":      {"50%", peers(well, Peer{}, Peer{}, well, well), "the limit is 2"},
		"a percentage of one at least":    {"1%", peers(well, well), ""},
		"a percentage, one more than one": {"50%", peers(well, Peer{}, well, well), ""},
		"many are named shortly":          {"1", peers(well, Peer{}, Peer{}, Peer{}, Peer{}, Peer{}), "(a, b, c, 2 more)"},
	} {
		t.Run(name, func(t *testing.T) {
			limit, err := ParseLimit(tc.limit)
			if err != nil {
				t.Fatal(err)
			}
			if got := RoomFor(limit, "self", tc.nodes, false); got.OK != (tc.why == "") || !strings.Contains(got.Why, tc.why) {
				t.Errorf("%+v, want %q", got, tc.why)
			}
		})
	}
}

// Of nodes that hold slots and wait for room, never more go than there is room for,
// however late each sees what the others do; and when nothing moves any more, there
// was no room.
func TestNodesThatWaitForRoom(t *testing.T) {
	for seed := range uint64(2000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		limit := Limit{Number: 1 + rng.IntN(4)}
		nodes := make([]Peer, 8)
		for i := range nodes {
			nodes[i] = Peer{Name: fmt.Sprint("n", i), Ready: rng.IntN(3) > 0}
		}
		slots := 1 + rng.IntN(4)
		clock := t0
		wait := func(i int) {
			clock = clock.Add(time.Second)
			nodes[i].Phase, nodes[i].Slot = api.PhaseQueued, &Holding{Index: i, Since: clock}
		}
		for i := range slots {
			nodes[i].Ready = true
		}
		for _, i := range rng.Perm(slots) { // in which order they come to their slots
			wait(i)
		}
		down := func() (n int) {
			for _, p := range nodes {
				if p.Down() {
					n++
				}
			}
			return n
		}
		for round := range 40 {
			if i := slots + rng.IntN(len(nodes)-slots); round < 30 {
				nodes[i].Ready = !nodes[i].Ready || down() >= limit.Number // nobody else makes it worse than it may be
			}
			view := slices.Clone(nodes) // of this round: each sees only what was before it
			before := down()
			went := 0
			for i := range slots {
				if nodes[i].Phase == api.PhaseQueued && RoomFor(limit, nodes[i].Name, view, false).OK {
					nodes[i].Phase, nodes[i].Unschedulable = api.PhaseDraining, true
					went++
				}
			}
			if down() > limit.Number && went > 0 {
				t.Fatalf("seed %d: %d are unavailable, and no more than %d may be: %+v", seed, down(), limit.Number, nodes)
			}
			waiting := slices.ContainsFunc(nodes, func(p Peer) bool { return p.Phase == api.PhaseQueued })
			if went == 0 && waiting && before < limit.Number {
				t.Fatalf("seed %d: there is room for %d, and nobody goes: %+v", seed, limit.Number-before, nodes)
			}
			for i := range slots {
				if nodes[i].Phase == api.PhaseDraining && rng.IntN(4) == 0 {
					nodes[i].Unschedulable = false
					wait(i)
				}
			}
		}
	}
}

// Whoever has taken its slot just now counts all that hold one, whatever their clocks
// say; later only those that have held theirs for longer.
func TestNewHolderCountsAll(t *testing.T) {
	nodes := []Peer{
		{Name: "self", Ready: true, Phase: api.PhaseQueued, Slot: &Holding{Index: 0, Since: t0}},
		{Name: "b", Ready: true, Phase: api.PhaseQueued, Slot: &Holding{Index: 1, Since: t0.Add(time.Second)}},
	}
	if RoomFor(Limit{Number: 1}, "self", nodes, true).OK {
		t.Error("does not count one that may be about to go")
	}
	if !RoomFor(Limit{Number: 1}, "self", nodes, false).OK {
		t.Error("waits for one that waits for it")
	}
	nodes[1].Slot.Since = t0 // by the slot, in the end
	if !RoomFor(Limit{Number: 1}, "self", nodes, false).OK || RoomFor(Limit{Number: 1}, "b", nodes, false).OK {
		t.Error("of two at the same time not the one with the lower slot goes")
	}
	for _, phase := range []api.Phase{api.PhaseIdle, api.PhaseWaiting} { // it gives its slot up
		nodes[1] = Peer{Name: "b", Ready: true, Phase: phase, Slot: &Holding{Index: 1}}
		if !RoomFor(Limit{Number: 1}, "self", nodes, false).OK {
			t.Errorf("waits for one that has given up (%q)", phase)
		}
	}
}

func TestWay(t *testing.T) {
	self := Peer{Name: "self", Ready: true, Phase: api.PhaseQueued, Zone: "a", Slot: &Holding{}}
	down := Peer{Name: "down", Zone: "a"}
	for name, c := range map[string]struct {
		other  Peer
		holder *Peer
		want   string
	}{
		"not Ready, and waits":                  {Peer{Phase: api.PhaseQueued, Zone: "a"}, nil, "u"},
		"cordoned, and waits":                   {Peer{Ready: true, Unschedulable: true, Phase: api.PhaseQueued, Zone: "a"}, nil, "u"},
		"well, and waits":                       {Peer{Ready: true, Phase: api.PhaseQueued, Zone: "a"}, nil, ""},
		"does not wait":                         {Peer{Phase: api.PhaseWaiting, Zone: "a"}, nil, ""},
		"is held":                               {Peer{Phase: api.PhaseQueued, Held: true, Zone: "a"}, nil, ""},
		"has a slot itself":                     {Peer{Phase: api.PhaseQueued, Zone: "a", Slot: &Holding{Index: 1}}, nil, ""},
		"of another zone, and nobody is in it":  {Peer{Phase: api.PhaseQueued, Zone: "b"}, nil, "u"},
		"of another zone, and all give way":     {Peer{Phase: api.PhaseQueued, Zone: "b"}, &Peer{Name: "h", Ready: true, Phase: api.PhaseQueued, Zone: "a", Slot: &Holding{Index: 1}}, "u"},
		"of another zone, and this one is open": {Peer{Phase: api.PhaseQueued, Zone: "b"}, &Peer{Name: "h", Unschedulable: true, Phase: api.PhaseDraining, Slot: &Holding{Index: 1}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.other.Name = "u"
			nodes := []Peer{self, down, c.other}
			if c.holder != nil {
				nodes = append(nodes, *c.holder)
			}
			if got := RoomFor(Limit{Number: 1}, "self", nodes, false); got.OK || strings.Join(got.Way, " ") != c.want {
				t.Errorf("%+v, want %q", got, c.want)
			}
		})
	}
}
