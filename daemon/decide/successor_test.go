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

func TestLine(t *testing.T) {
	at := func(minutes int) time.Time { return t0.Add(time.Duration(minutes) * time.Minute) }
	waits := func(node string, came int, change ...func(*Candidate)) Candidate {
		c := Candidate{Node: node, Phase: api.PhaseQueued, Zone: "z=1", Entered: at(came), Asked: at(came)}
		for _, f := range change {
			f(&c)
		}
		return c
	}
	priority := func(p int) func(*Candidate) { return func(c *Candidate) { c.Priority = p } }
	failed := func(n int) func(*Candidate) { return func(c *Candidate) { c.Attempts = n } }
	inVain := func(n int) func(*Candidate) { return func(c *Candidate) { c.Deferrals = n } }
	zone := func(z string) func(*Candidate) { return func(c *Candidate) { c.Zone = z } }
	in := func(p api.Phase) func(*Candidate) { return func(c *Candidate) { c.Phase = p } }
	asked := func(minutes int) func(*Candidate) { return func(c *Candidate) { c.Asked = at(minutes) } }
	by := func(minutes int) func(*Candidate) { return func(c *Candidate) { c.Deadline = at(minutes) } } // it is 60 now
	controlPlane := func(c *Candidate) { c.ControlPlane = true }
	for name, tc := range map[string]struct {
		others []Candidate
		want   string
	}{
		"nobody waits":                           {nil, ""},
		"nobody waits, one is at work":           {[]Candidate{waits("a", 0, in(api.PhaseDraining))}, ""},
		"the longest waiting":                    {[]Candidate{waits("b", 1), waits("a", 0)}, "a b"},
		"who has asked first":                    {[]Candidate{waits("b", 0), waits("a", 1, asked(-9))}, "a b"},
		"by name in the end":                     {[]Candidate{waits("b", 0), waits("a", 0)}, "a b"},
		"priority before time":                   {[]Candidate{waits("a", 0), waits("b", 100, priority(1))}, "b a"},
		"a negative priority":                    {[]Candidate{waits("a", 0, priority(-1)), waits("b", 100)}, "b a"},
		"workers first":                          {[]Candidate{waits("a", 0, controlPlane), waits("b", 59)}, "b a"},
		"but not for ever":                       {[]Candidate{waits("a", 0, controlPlane), waits("b", 61)}, "a b"},
		"priority before that":                   {[]Candidate{waits("a", 0), waits("b", 1, controlPlane, priority(5))}, "b a"},
		"one that has failed is behind":          {[]Candidate{waits("a", 0, failed(1)), waits("b", 59)}, "b a"},
		"but not for ever behind":                {[]Candidate{waits("a", 0, failed(1)), waits("b", 61)}, "a b"},
		"whatever its priority":                  {[]Candidate{waits("a", 0, failed(1), priority(9)), waits("b", 1)}, "b a"},
		"or another's":                           {[]Candidate{waits("a", 0, failed(1), priority(9)), waits("b", 1, priority(-3))}, "b a"},
		"one that has failed less often":         {[]Candidate{waits("a", 0, failed(7)), waits("b", 1, failed(2))}, "b a"},
		"all have failed, one is to try":         {[]Candidate{waits("a", 1, failed(1)), waits("b", 0, failed(1))}, "b a"},
		"the zone is finished first":             {[]Candidate{waits("a", 0, zone("z=2")), waits("b", 59)}, "b a; the turn of a"},
		"but not by those that come for ever":    {[]Candidate{waits("a", 0, zone("z=2")), waits("b", 61)}, "a b; the turn of a"},
		"nor by those that fail":                 {[]Candidate{waits("a", 59, zone("z=2")), waits("b", 0, failed(1))}, "a b; the turn of a"},
		"and then comes the next, all of it":     {[]Candidate{waits("a", 0, zone("z=2")), waits("b", 0, zone("z=3")), waits("c", 5, zone("z=2"))}, "a c b; the turn of a c b"},
		"one at work does not change that":       {[]Candidate{waits("a", 0, zone("z=2")), waits("b", 61), waits("c", 0, in(api.PhaseDraining))}, "a b; the turn of a"},
		"nobody is kept waiting for the halted":  {[]Candidate{waits("a", 0, zone("z=2")), waits("b", 61, failed(3)), waits("c", 0, in(api.PhaseHalted))}, "b"},
		"unless there is nobody else":            {[]Candidate{waits("a", 0, zone("z=2")), waits("c", 0, in(api.PhaseHalted))}, "a"},
		"a halted one elsewhere":                 {[]Candidate{waits("a", 0, zone("z=2")), waits("b", 61), waits("c", 0, in(api.PhaseHalted), zone("z=2"))}, "a b; the turn of a"},
		"another control-plane node is at work":  {[]Candidate{waits("a", 0, controlPlane), waits("b", 61), waits("c", 0, in(api.PhaseVerifying), controlPlane)}, "b"},
		"and there is nobody but such":           {[]Candidate{waits("a", 0, controlPlane), waits("c", 0, in(api.PhaseVerifying), controlPlane)}, "a"},
		"a worker at work keeps nobody from it":  {[]Candidate{waits("a", 0, controlPlane), waits("b", 61), waits("c", 0, in(api.PhaseVerifying))}, "a b"},
		"past the deadline before all":           {[]Candidate{waits("a", 0, priority(9)), waits("b", 0), waits("c", 500, by(60), zone("z=2"), controlPlane)}, "c a b; the turn of c"},
		"a deadline that is to come":             {[]Candidate{waits("a", 0, priority(9)), waits("c", 500, by(61))}, "a c"},
		"the earliest deadline first":            {[]Candidate{waits("a", 0, by(59)), waits("b", 9, by(-2))}, "b a"},
		"within an hour the zone first":          {[]Candidate{waits("a", 0, by(0), zone("z=2")), waits("b", 9, by(60))}, "b a; the turn of a"},
		"and no more":                            {[]Candidate{waits("a", 0, by(-1), zone("z=2")), waits("b", 9, by(60))}, "a b; the turn of a"},
		"within an hour the priority first":      {[]Candidate{waits("a", 0, by(0)), waits("b", 9, by(60), priority(1), zone("z=2"))}, "b a; the turn of b"},
		"and no more by priority":                {[]Candidate{waits("a", 0, by(-1)), waits("b", 9, by(60), priority(1))}, "a b"},
		"one that has failed has no deadline":    {[]Candidate{waits("a", 0, by(-99), failed(1)), waits("b", 30)}, "b a"},
		"nor one among several past theirs":      {[]Candidate{waits("a", 0, by(-99), failed(1)), waits("b", 30, by(50))}, "b a"},
		"and is not first for one to come":       {[]Candidate{waits("a", 0, by(99), failed(1)), waits("b", 0, failed(1), asked(-1))}, "b a"},
		"a turn in vain is behind":               {[]Candidate{waits("a", 0, inVain(1), priority(9)), waits("b", 59)}, "b a"},
		"a turn in vain before the deadline":     {[]Candidate{waits("a", 500, by(60), inVain(9)), waits("b", 0)}, "a b"},
		"and a deadline that is to come":         {[]Candidate{waits("a", 1, by(61), inVain(1)), waits("b", 0)}, "b a"},
		"and a failure":                          {[]Candidate{waits("a", 500, by(-99), inVain(1), failed(1)), waits("b", 0)}, "b a"},
		"within the hour the earlier deadline":   {[]Candidate{waits("a", 0), waits("b", 30, by(99)), waits("c", 31, by(98))}, "c b a"},
		"the zone before that":                   {[]Candidate{waits("a", 0), waits("b", 30, by(99), zone("z=2"))}, "a b; the turn of b"},
		"workers before that":                    {[]Candidate{waits("a", 0), waits("b", 30, by(99), controlPlane)}, "a b"},
		"but nobody of long after":               {[]Candidate{waits("a", 0), waits("b", 61, by(99))}, "a b"},
		"a control-plane node is at work":        {[]Candidate{waits("a", 0, by(1), controlPlane), waits("b", 61), waits("c", 0, in(api.PhaseVerifying), controlPlane)}, "b"},
		"priorities are those of who has waited": {[]Candidate{waits("a", 0, priority(2)), waits("b", 61, priority(2)), waits("c", 1, priority(1))}, "a b c"},
	} {
		t.Run(name, func(t *testing.T) {
			for range 5 { // in whatever order they are listed
				rand.Shuffle(len(tc.others), func(i, j int) { tc.others[i], tc.others[j] = tc.others[j], tc.others[i] })
				before := slices.Clone(tc.others)
				o := Line(tc.others, "z=1", at(60))
				if s := strings.Join(o.Nodes, " ") + after(o.Turn); s != tc.want {
					t.Errorf("%+v: %q, want %q", tc.others, s, tc.want)
				}
				if !slices.Equal(before, tc.others) {
					t.Error("what it was given is changed")
				}
			}
		})
	}
}

func after(turn []string) string {
	if len(turn) == 0 {
		return ""
	}
	return "; the turn of " + strings.Join(turn, " ")
}

func TestLineIsBounded(t *testing.T) {
	var others []Candidate
	for i := range 100 {
		others = append(others, Candidate{Node: fmt.Sprintf("n%02d", i), Phase: api.PhaseQueued, Entered: t0.Add(time.Duration(i) * time.Second), Asked: t0.Add(time.Duration(i) * time.Second)})
	}
	line := Line(others, "", t0).Nodes
	if len(line) != api.MaxLine {
		t.Errorf("%d are named", len(line))
	}
	for i, node := range line {
		if node != others[i].Node {
			t.Errorf("place %d is %s's", i, node)
		}
	}
}

func TestCandidateOf(t *testing.T) {
	asked := time.Date(2026, 5, 4, 1, 0, 0, 0, time.UTC)
	entered := asked.Add(time.Hour)
	record := func(phase api.Phase, attempts int) string {
		return fmt.Sprintf(`{"v":1,"id":"x","phase":%q,"since":"2026-05-04T02:00:00Z","bootID":"b","requested":"2026-05-04T01:00:00Z","attempts":%d}`, phase, attempts)
	}
	waits := Candidate{Node: "n", Phase: api.PhaseQueued, Entered: entered, Asked: asked}
	but := func(change func(*Candidate)) Candidate {
		c := waits
		change(&c)
		return c
	}
	for name, tc := range map[string]struct {
		record, priority string
		want             Candidate
		ok               bool
	}{
		"waits":                      {record(api.PhaseQueued, 0), "", waits, true},
		"with a priority":            {record(api.PhaseQueued, 0), "7", but(func(c *Candidate) { c.Priority = 7 }), true},
		"that makes no sense":        {record(api.PhaseQueued, 0), "high", waits, true},
		"has failed":                 {record(api.PhaseQueued, 2), "", but(func(c *Candidate) { c.Attempts = 2 }), true},
		"with a deadline":            {strings.Replace(record(api.PhaseQueued, 0), "{", `{"deadline":"2026-05-04T03:00:00Z",`, 1), "", but(func(c *Candidate) { c.Deadline = entered.Add(time.Hour) }), true},
		"turns that came to nothing": {strings.Replace(record(api.PhaseQueued, 2), "{", `{"deferrals":3,`, 1), "", but(func(c *Candidate) { c.Attempts, c.Deferrals = 2, 3 }), true},
		"in this lock's queue":       {strings.Replace(record(api.PhaseQueued, 0), "{", `{"lock":"lock",`, 1), "", waits, true},
		"in another lock's queue":    {strings.Replace(record(api.PhaseQueued, 0), "{", `{"lock":"other",`, 1), "", Candidate{}, false},
		"a gate is closed":           {record(api.PhaseWaiting, 0), "", Candidate{}, false},
		"not readable":               {`{"v":99}`, "", Candidate{}, false},
		"no operation":               {"", "", Candidate{}, false},
		"is draining: holds a slot":  {record(api.PhaseDraining, 0), "", but(func(c *Candidate) { c.Phase = api.PhaseDraining }), true},
	} {
		t.Run(name, func(t *testing.T) {
			if got, ok := CandidateOf("lock", "n", tc.record, tc.priority, "", false); got != tc.want || ok != tc.ok {
				t.Errorf("%+v %t, want %+v %t", got, ok, tc.want, tc.ok)
			}
		})
	}
}
