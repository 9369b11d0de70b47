package gate

import (
	"testing"
	"time"
)

// Of several gates the first in order counts that is closed and binds at a point that is
// asked about; what others say, or a gate elsewhere, does not.
func TestFirst(t *testing.T) {
	gates := []Status{
		{Kind{Name: "open", Binds: All}, Verdict{State: Open}},
		{Kind{Name: "elsewhere", Binds: BeforeUncordon}, Verdict{State: Closed}},
		{Kind{Name: "asked", Binds: BeforeQueue | InQueue}, Verdict{}},
		{Kind{Name: "first", Binds: BeforeQueue | WithSlot}, Verdict{State: Closed, Why: "night", Until: time.Unix(7, 0)}},
		{Kind{Name: "second", Binds: BeforeQueue}, Verdict{State: Closed}},
		{Kind{Name: "asked too", Binds: WithSlot}, Verdict{}},
	}
	for at, want := range map[Points]struct{ closed, unknown string }{
		BeforeQueue:                 {"first", "asked"},
		InQueue:                     {"", "asked"},
		WithSlot:                    {"first", "asked too"},
		InQueue | WithSlot:          {"first", "asked"},
		WhileDraining:               {"", ""},
		BeforeOrder:                 {"", ""},
		BeforeUncordon:              {"elsewhere", ""},
		BeforeUncordon | WithSlot:   {"elsewhere", "asked too"},
		WhileDraining | BeforeOrder: {"", ""},
		All:                         {"elsewhere", "asked"},
		0:                           {"", ""},
	} {
		closed, is := FirstClosed(gates, at)
		if closed.Name != want.closed || is != (want.closed != "") {
			t.Errorf("closed at %b: %q %t, want %q", at, closed.Name, is, want.closed)
		}
		if closed.Name == "first" && (closed.Why != "night" || closed.Until != time.Unix(7, 0)) {
			t.Errorf("its verdict got lost: %+v", closed)
		}
		unknown, is := FirstUnknown(gates, at)
		if unknown.Name != want.unknown || is != (want.unknown != "") {
			t.Errorf("unknown at %b: %q %t, want %q", at, unknown.Name, is, want.unknown)
		}
	}
	if all := AllClosed(gates, BeforeQueue); len(all) != 2 || all[0].Name != "first" || all[1].Name != "second" {
		t.Errorf("closed are %+v", all)
	}
	gates[3].At = WithSlot
	if g, _ := FirstClosed(gates, BeforeQueue); g.Name != "second" {
		t.Errorf("%q is closed where it does not say so", g.Name)
	}
	if g, _ := FirstClosed(gates, WithSlot); g.Name != "first" {
		t.Errorf("%q is closed where another says so", g.Name)
	}
	if _, is := FirstClosed(nil, All); is {
		t.Error("no gate at all is closed")
	}
}

// The points are distinct, All is all of them, and a verdict that was not given is
// unknown.
func TestPoints(t *testing.T) {
	var sum Points
	for _, p := range []Points{BeforeQueue, InQueue, WithSlot, OnTurn, WhileDraining, BeforeOrder, BeforeUncordon} {
		if p == 0 || sum&p != 0 {
			t.Errorf("the point %b is another's, too", p)
		}
		sum |= p
	}
	if sum != All {
		t.Errorf("All is %b, want %b", All, sum)
	}
	if (Verdict{}).State != Unknown {
		t.Error("a verdict that was not given is not unknown")
	}
}
