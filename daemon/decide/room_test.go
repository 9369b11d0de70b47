package decide

import (
	"strings"
	"testing"
)

func TestParseLimit(t *testing.T) {
	for s, want := range map[string]Limit{"": {}, "3": {Number: 3}, "10%": {Percent: 10}, "100%": {Percent: 100}} {
		if got, err := ParseLimit(s); got != want || err != nil {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"0", "-1", "x", "0%", "101%", "10 %", "1.5", "%"} {
		if got, err := ParseLimit(s); err == nil {
			t.Errorf("%q: %+v, want an error", s, got)
		}
	}
}

func TestHasRoom(t *testing.T) {
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
		"one is not Ready":                {"1", peers(well, well, Peer{}), "1 of 3 nodes are unavailable already (b), and no more than 1 may be"},
		"one is cordoned":                 {"1", peers(well, Peer{Ready: true, Unschedulable: true}), "(a)"},
		"one holds a slot":                {"1", peers(well, Peer{Ready: true, HoldsSlot: true}), "(a)"},
		"one has halted":                  {"1", peers(well, Peer{Ready: true, Halted: true}), "(a)"},
		"one for several reasons is one":  {"2", peers(well, Peer{HoldsSlot: true, Unschedulable: true}), ""},
		"two may, one is":                 {"2", peers(well, Peer{}), ""},
		"its own slot does not count":     {"1", peers(Peer{Ready: true, HoldsSlot: true}, well), ""},
		"itself unavailable, makes none":  {"1", peers(Peer{}, Peer{}, Peer{}), ""},
		"itself cordoned, makes none":     {"1", peers(Peer{Ready: true, Unschedulable: true}, Peer{}), ""},
		"a percentage, rounded down":      {"50%", peers(well, Peer{}, Peer{}, well, well), "no more than 2 may be"},
		"a percentage of one at least":    {"1%", peers(well, well), ""},
		"a percentage, one more than one": {"50%", peers(well, Peer{}, well, well), ""},
		"many are named shortly":          {"1", peers(well, Peer{}, Peer{}, Peer{}, Peer{}, Peer{}), "(a, b, c, 2 more)"},
	} {
		t.Run(name, func(t *testing.T) {
			limit, err := ParseLimit(tc.limit)
			if err != nil {
				t.Fatal(err)
			}
			ok, why := HasRoom(limit, "self", tc.nodes)
			if ok != (tc.why == "") || !strings.Contains(why, tc.why) {
				t.Errorf("%t %q, want %q", ok, why, tc.why)
			}
		})
	}
}
