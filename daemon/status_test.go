package daemon

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/drain"
)

// A gate that is closed where it is not asked holds nothing up; a time that has passed is
// none; what others say is one bounded line.
func TestGatesInTheStatus(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 500, time.UTC)
	is := func(name string, v gate.Verdict) gate.Status {
		return gate.Status{Kind: gate.Kind{Name: name, Reason: api.ReasonBlocked, Binds: gate.BeforeQueue | gate.WhileDraining, Soft: name == "elsewhere"}, Verdict: v}
	}
	got := gateStatuses([]gate.Status{
		is("asked", gate.Verdict{}),
		is("open", gate.Verdict{State: gate.Open, Note: "a note"}),
		is("until", gate.Verdict{State: gate.Closed, Why: "why", Until: now.Add(time.Hour)}),
		is("past", gate.Verdict{State: gate.Closed, Why: "a\n\x1b[2Jb " + strings.Repeat("x", 2*maxGateWords), Until: now}),
		is("elsewhere", gate.Verdict{State: gate.Closed, Why: "outside", At: gate.BeforeQueue}),
	}, gate.WhileDraining, now)
	want := []api.GateStatus{
		{Name: "asked", State: api.GateUnknown},
		{Name: "open", State: api.GateOpen, Why: "a note"},
		{Name: "until", State: api.GateClosed, Reason: api.ReasonBlocked, Why: "why", Until: now.Add(time.Hour).Truncate(time.Second)},
		{Name: "past", State: api.GateClosed, Reason: api.ReasonBlocked, Why: "a [2Jb " + strings.Repeat("x", maxGateWords-10) + "…"},
		{Name: "elsewhere", State: api.GateOpen, Why: "does not count in this phase: outside", Soft: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// The status keeps to its bound, whatever there is to say: of the blocked pods the last ones
// are left out first, and their number stays.
func TestStatusIsBounded(t *testing.T) {
	at := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct{ pods, gates, times, atLeast, atMost, whys int }{
		{pods: 3, gates: 3, times: 3, atLeast: 3, atMost: 3, whys: 3},
		{pods: 500, gates: 3, times: 3, atLeast: 3, atMost: 40, whys: 3},
		{pods: 0, gates: 100, times: 500},
		{pods: 500, gates: 100, times: 500},
		{pods: 500, gates: 20, times: 32, whys: 20},
	} {
		s := &api.Status{V: 1, ID: strings.Repeat("i", 200), Phase: api.PhaseDraining, At: at, Reason: api.ReasonDraining}
		w := &drainWorker{key: "k", progress: drain.Progress{Listed: true, Total: 600, Left: 550}}
		r := &api.Record{ID: "k", Phase: api.PhaseDraining, Since: at}
		w.key = r.DrainKey()
		for i := range c.pods {
			w.progress.Blocked = append(w.progress.Blocked, drain.Blocked{
				Namespace: "prod", Name: fmt.Sprint("db-", i), Reason: api.PodBudgetExhausted, Message: strings.Repeat("\"<\x1b", 500), Since: at,
			})
		}
		s.Drain = w.status(r)
		for i := range c.gates {
			s.Gates = append(s.Gates, api.GateStatus{Name: fmt.Sprint("gate-", i), State: api.GateClosed, Why: strings.Repeat("<é", maxGateWords/3)})
		}
		for i := range c.times {
			s.Windows = append(s.Windows, fmt.Sprintf("%04d %s", i, strings.Repeat("w", maxTime)))
		}
		data, err := encodeStatus(s)
		if err != nil || len(data) > api.MaxStatus {
			t.Fatalf("%+v: %d bytes, %v", c, len(data), err)
		}
		got, err := api.ParseStatus(data)
		if err != nil {
			t.Fatal(err)
		}
		whys := 0
		for _, g := range got.Gates {
			if g.Why != "" {
				whys++
			}
		}
		if n := len(got.Drain.Blocked); n < c.atLeast || c.atMost > 0 && n > c.atMost || n > 0 && got.Drain.Blocked[0].Name != "db-0" || whys < c.whys ||
			got.Drain.BlockedTotal != c.pods || got.Drain.Total != 600 || got.Drain.Left != 550 {
			t.Errorf("%+v: %d of %d blocked pods, %d of %d gates with words", c, n, got.Drain.BlockedTotal, whys, len(got.Gates))
		}
	}
}

// An operation's name is in a record that anybody may write.
func TestStatusWithoutRoom(t *testing.T) {
	if data, err := encodeStatus(&api.Status{V: 1, ID: strings.Repeat("i", api.MaxStatus), Gates: []api.GateStatus{{Name: "a"}}}); err == nil {
		t.Errorf("%d bytes", len(data))
	}
}

// What is optional is left out of a patch where it is refused, and nothing else.
func TestPlainPatch(t *testing.T) {
	p := nodePatch{}
	if e, err := p.encode(); err != nil || e.plain != nil {
		t.Errorf("nothing in it is optional: %s, %v", e.plain, err)
	}
	p.setAnnotation(api.OperationAnnotation, new("r"))
	p.setStatus("s")
	e, err := p.encode()
	var full, plain nodePatch
	if err != nil || json.Unmarshal(e.data, &full) != nil || json.Unmarshal(e.plain, &plain) != nil {
		t.Fatal(err)
	}
	if len(full.Metadata.Annotations) != 2 || len(plain.Metadata.Annotations) != 1 || plain.Metadata.Annotations[api.OperationAnnotation] == nil {
		t.Errorf("%s, and without: %s", e.data, e.plain)
	}
}
