package alerts

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

func selector(t testing.TB, text string) Selector {
	t.Helper()
	s, err := ParseSelector(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// gateFor is a gate as it is by default, with these alerts.
func gateFor(t testing.TB, alerts ...string) *Gate {
	t.Helper()
	watchdog := selector(t, `alertname="Watchdog"`)
	g := &Gate{Ignore: "InfoInhibitor", Watchdog: &watchdog, Lookback: 15 * time.Minute, HealthTimeout: 15 * time.Minute, Log: t.Logf}
	for _, a := range alerts {
		g.Alerts = append(g.Alerts, selector(t, a))
	}
	return g
}

var (
	waits   = gate.View{Node: aNode, Record: &api.Record{Phase: api.PhaseQueued}}
	hasBoot = gate.View{Node: aNode, Record: &api.Record{Phase: api.PhaseVerifying}}
)

// One query says it all: what fires and what has, since when, and that alerts are evaluated.
func TestTheQuery(t *testing.T) {
	const never = `,alertname!~"Rebootd.*|Watchdog|(?:InfoInhibitor)"`
	life := []string{
		`label_replace(max(timestamp(ALERTS{alertstate="firing",alertname="Watchdog"})),"rebootd","life","","")`,
		`label_replace(min(ALERTS_FOR_STATE{alertname="Watchdog"}),"rebootd","since","","")`,
	}
	fired := func(part string, sels ...string) string {
		var all []string
		for _, s := range sels {
			firing := `ALERTS{alertstate="firing",` + s + never + `}`
			all = append(all, `max_over_time(timestamp(`+firing+`)[900000ms:30000ms])`, `max_over_time(`+firing+`[900000ms])`)
		}
		return `label_replace(max by(alertname)(` + strings.Join(all, " or ") + `),"rebootd","` + part + `","","")`
	}
	active := func(age, part string, sels ...string) string {
		var all []string
		for _, s := range sels {
			all = append(all, `(ALERTS_FOR_STATE{`+s+never+`} and ignoring(alertstate) ALERTS{alertstate="firing",`+s+never+`})`)
		}
		return `label_replace(` + age + ` by(alertname)(` + strings.Join(all, " or ") + `),"rebootd","` + part + `","","")`
	}
	all, page, mine := `severity="critical"`, `severity="page"`, `node="node-1.example"`
	for _, tt := range []struct {
		name   string
		alerts []string
		view   gate.View
		change func(*Gate)
		want   []string
	}{
		{"of all", []string{all, page}, waits, nil, append([]string{fired("fired", all, page), active("min", "active", all, page)}, life...)},
		{"of the node", []string{`node="$node"`}, waits, nil, append([]string{fired("fired-node", mine), active("min", "active-node", mine)}, life...)},
		{"of both", []string{all, `node="$node"`}, waits, nil, append([]string{fired("fired", all), active("min", "active", all), fired("fired-node", mine), active("min", "active-node", mine)}, life...)},
		{"after the boot", []string{all, `node="$node"`}, hasBoot, nil, append([]string{
			`label_replace(max by(alertname)(timestamp(ALERTS{alertstate="firing",node="node-1.example"` + never + `})),"rebootd","fired-node","","")`,
			active("max", "active-node", mine),
		}, life...)},
		{
			"without a look-back",
			[]string{all},
			waits, func(g *Gate) { g.Lookback = 0 },
			append([]string{`label_replace(max by(alertname)(timestamp(ALERTS{alertstate="firing",severity="critical"` + never + `})),"rebootd","fired","","")`, active("min", "active", all)}, life...),
		},
		{
			"without a watchdog", []string{all}, hasBoot, func(g *Gate) { g.Watchdog = nil }, nil,
		},
	} {
		g := gateFor(t, tt.alerts...)
		if tt.change != nil {
			tt.change(g)
		}
		if got, want := g.query(tt.view), strings.Join(tt.want, " or "); got != want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, want)
		}
	}
	g := gateFor(t, all)
	g.Ignore, g.Watchdog = "", nil
	if got := g.query(waits); strings.Contains(got, "Watchdog") || !strings.Contains(got, `alertname!~"Rebootd.*"`) {
		t.Error(got)
	}
}

// answer is one of a Prometheus that evaluates alerts for an hour, at ago seconds before
// now; each is "part name seconds-ago".
func answer(lines ...string) []Sample {
	now := time.Now()
	var out []Sample
	for _, l := range append(lines, "life - 5", "since - 3600") {
		var part, name string
		var ago float64
		if _, err := fmt.Sscan(l, &part, &name, &ago); err != nil {
			panic(err)
		}
		s := Sample{Labels: map[string]string{"rebootd": part}, At: now, Value: float64(now.Unix()) - ago}
		if ago < 0 {
			s.Value = 1
		}
		if name != "-" {
			s.Labels["alertname"] = name
		}
		out = append(out, s)
	}
	return out
}

// How an answer is judged before the cordon. It is midnight.
func TestBefore(t *testing.T) {
	drop := func(part string) func([]Sample) []Sample {
		return func(in []Sample) (out []Sample) {
			for _, s := range in {
				if s.Labels["rebootd"] != part {
					out = append(out, s)
				}
			}
			return out
		}
	}
	set := func(part string, ago time.Duration) func([]Sample) []Sample {
		return func(in []Sample) []Sample {
			for i := range in {
				if in[i].Labels["rebootd"] == part {
					in[i].Value = float64(time.Now().Add(-ago).Unix())
				}
			}
			return in
		}
	}
	at := func(d time.Duration) func([]Sample) []Sample {
		return func(in []Sample) []Sample {
			for i := range in {
				in[i].At, in[i].Value = in[i].At.Add(d), in[i].Value+d.Seconds()
			}
			return in
		}
	}
	const slot, turn = gate.WithSlot, gate.OnTurn
	const cannot = "cannot find out whether alerts are firing: "
	for _, tt := range []struct {
		name   string
		lines  []string
		change func([]Sample) []Sample
		at     gate.Points // 0: open
		why    string
		until  time.Duration // from now; 0: not known
	}{
		{"quiet", nil, nil, 0, "", 0},
		{"firing", []string{"fired A 10", "active A 600"}, nil, slot, "alerts block reboots: A (active since 1999-12-31T23:50:00Z)", 0},
		{"ended", []string{"fired A 60"}, nil, slot, "alerts block reboots: A (fired until 1999-12-31T23:59:00Z)", 14 * time.Minute},
		{"flickered", []string{"fired A -1"}, nil, slot, "alerts block reboots: A (fired within 15m)", 0},
		{"two ended", []string{"fired A 60", "fired B 120"}, nil, slot, "alerts block reboots: A (fired until 1999-12-31T23:59:00Z), B (fired until 1999-12-31T23:58:00Z)", 14 * time.Minute},
		{"one ended", []string{"fired A 60", "fired B 10", "active B 20"}, nil, slot, "alerts block reboots: B (active since 1999-12-31T23:59:40Z), A (fired until 1999-12-31T23:59:00Z)", 0},
		{
			"many",
			[]string{"fired A 10", "fired B 10", "fired C 10", "fired D 10", "fired E 10", "active D 500", "active E 400", "active C 300"},
			nil, slot,
			"alerts block reboots: D (active since 1999-12-31T23:51:40Z), E (active since 1999-12-31T23:53:20Z), C (active since 1999-12-31T23:55:00Z), and 2 more", 0,
		},
		{"long and evil", []string{"fired " + strings.Repeat("A\u202e", 50) + " 10", "active " + strings.Repeat("A\u202e", 50) + " 20"}, nil, slot, "alerts block reboots: " + strings.Repeat("A", 50) + " (active since 1999-12-31T23:59:40Z)", 0},
		{"without a name", []string{"fired - 10", "active - 20"}, nil, slot, "alerts block reboots: without a name (active since 1999-12-31T23:59:40Z)", 0},
		{"of the node", []string{"fired-node A 10", "active-node A 600"}, nil, turn, "alerts about this node block its reboot: A (active since 1999-12-31T23:50:00Z)", 0},
		{"of the node, ended", []string{"fired-node A 60"}, nil, turn, "alerts about this node block its reboot: A (fired until 1999-12-31T23:59:00Z)", 14 * time.Minute},
		{
			"of both",
			[]string{"fired-node A 60", "fired B 120"},
			nil, slot | turn,
			"alerts block reboots: B (fired until 1999-12-31T23:58:00Z); alerts about this node block its reboot: A (fired until 1999-12-31T23:59:00Z)", 14 * time.Minute,
		},
		{"restarted", nil, set("since", 2*time.Minute), slot, "alerts have been evaluated since 1999-12-31T23:58:00Z only, and one that fired before may be pending", 13 * time.Minute},
		{
			"restarted, and ended before",
			[]string{"fired A 180"},
			set("since", 2*time.Minute), slot,
			"alerts have been evaluated since 1999-12-31T23:58:00Z only, and one that fired before may be pending; alerts block reboots: A (fired until 1999-12-31T23:57:00Z)", 13 * time.Minute,
		},
		{"restarted, and fires", []string{"fired A 10", "active A 60"}, set("since", 2*time.Minute), slot, "alerts have been evaluated since 1999-12-31T23:58:00Z only, and one that fired before may be pending; alerts block reboots: A (active since 1999-12-31T23:59:00Z)", 0},
		{"restarted long enough ago", nil, set("since", 15*time.Minute), 0, "", 0},
		{"no watchdog", nil, drop("life"), slot, cannot + "the alert Watchdog, which always fires, is not in the answer: without it, that no alert fires proves nothing; --alerts-watchdog says which alert that is", 0},
		{"no watchdog, and alerts", []string{"fired A 10"}, drop("life"), slot, cannot + "the alert Watchdog, which always fires, is not in the answer: without it, that no alert fires proves nothing; --alerts-watchdog says which alert that is", 0},
		{"nothing at all", nil, func([]Sample) []Sample { return nil }, slot, cannot + "the alert Watchdog, which always fires, is not in the answer: without it, that no alert fires proves nothing; --alerts-watchdog says which alert that is", 0},
		{"an old watchdog", nil, set("life", 3*time.Minute+time.Second), slot, cannot + "the alert Watchdog, which always fires, was evaluated last at 1999-12-31T23:56:59Z: alerts are not evaluated any more", 0},
		{"a watchdog of three minutes", nil, set("life", 3*time.Minute), 0, "", 0},
		{"no since", nil, drop("since"), slot, cannot + "ALERTS_FOR_STATE of the alert Watchdog is not in the answer: it is not known since when alerts are evaluated", 0},
		{"an old answer", nil, at(-5*time.Minute - time.Second), slot, cannot + "the time of the answer differs from this node's by more than 5m: it is an old answer, or a clock is wrong", 0},
		{"an answer of tomorrow", nil, at(24 * time.Hour), slot, cannot + "the time of the answer differs from this node's by more than 5m: it is an old answer, or a clock is wrong", 0},
		{"clocks that differ a little", nil, at(-5 * time.Minute), 0, "", 0},
		{"what was not asked for", []string{"up - 1"}, nil, slot, cannot + "the answer has series that were not asked for", 0},
		{"no part", []string{"- A 1"}, nil, slot, cannot + "the answer has series that were not asked for", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := answer(tt.lines...)
				if tt.change != nil {
					a = tt.change(a)
				}
				want := gate.Verdict{State: gate.Open}
				if tt.at != 0 {
					want = gate.Verdict{State: gate.Closed, At: tt.at, Why: tt.why}
				}
				if tt.until != 0 {
					want.Until = time.Now().Add(tt.until).UTC()
				}
				if got := first(t, gateFor(t, `a="b"`, `node="$node"`), waits, a); got != want {
					t.Errorf("%+v\nwant\n%+v", got, want)
				}
			})
		})
	}
}

// first is what a gate says first.
func first(t *testing.T, g *Gate, v gate.View, a []Sample) (got gate.Verdict) {
	t.Helper()
	g.Ask = func(context.Context, string) ([]Sample, error) { return a, nil }
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	g.Run(ctx, v, func(v gate.Verdict) { got = v; cancel() })
	return got
}

// Without a watchdog an empty answer opens the gate: who wants that, has said so.
func TestWithoutProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gateFor(t, `a="b"`)
		g.Watchdog = nil
		if got := first(t, g, waits, nil); got != (gate.Verdict{State: gate.Open}) {
			t.Errorf("%+v", got)
		}
		want := gate.Verdict{State: gate.Closed, At: gate.WithSlot, Why: "alerts block reboots: A (fired within 15m)"}
		if got := first(t, g, waits, answer("fired A 60")); got != want {
			t.Errorf("%+v", got)
		}
	})
}

// Without a look-back what fires now counts, and a Prometheus that has just started is
// believed.
func TestWithoutLookback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gateFor(t, `a="b"`)
		g.Lookback = 0
		a := answer()
		a[1].Value = float64(time.Now().Unix())
		if got := first(t, g, waits, a); got != (gate.Verdict{State: gate.Open}) {
			t.Errorf("%+v", got)
		}
		want := gate.Verdict{State: gate.Closed, At: gate.WithSlot, Why: "alerts block reboots: A"}
		if got := first(t, g, waits, answer("fired A 1")); got != want {
			t.Errorf("%+v", got)
		}
	})
}

// After the boot those alerts count that are about the node, fire, and were not active
// before the reboot was ordered.
func TestAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ordered := hasBoot
		ordered.Record = &api.Record{Phase: api.PhaseHalted, Order: &api.Order{At: time.Now().Add(-10 * time.Minute)}}
		const begun = "alerts about this node have begun since: "
		for _, tt := range []struct {
			name  string
			view  gate.View
			lines []string
			why   string // "": open
		}{
			{"quiet", ordered, nil, ""},
			{"begun", ordered, []string{"fired-node A 10", "active-node A 659"}, begun + "A (active since 1999-12-31T23:49:01Z)"},
			{"chronic", ordered, []string{"fired-node A 10", "active-node A 660"}, ""},
			{"one of each", ordered, []string{"fired-node A 10", "active-node A 660", "fired-node B 10", "active-node B 60"}, begun + "B (active since 1999-12-31T23:59:00Z)"},
			{"not known since when", ordered, []string{"fired-node A 10"}, begun + "A"},
			{"no order on record", hasBoot, []string{"fired-node A 10", "active-node A 660"}, begun + "A (active since 1999-12-31T23:49:00Z)"},
		} {
			want := gate.Verdict{State: gate.Open}
			if tt.why != "" {
				want = gate.Verdict{State: gate.Closed, At: gate.BeforeUncordon, Why: tt.why}
			}
			if got := first(t, gateFor(t, `node="$node"`), tt.view, answer(tt.lines...)); got != want {
				t.Errorf("%s: %+v\nwant\n%+v", tt.name, got, want)
			}
		}
	})
}

// A Prometheus that has just started, which a reboot brings about, is no reason to halt a
// rollout.
func TestAfterTheBootARestartIsExpected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := answer()
		a[1].Value = float64(time.Now().Unix())
		if got := first(t, gateFor(t, `node="$node"`), hasBoot, a); got != (gate.Verdict{State: gate.Open}) {
			t.Errorf("%+v", got)
		}
	})
}

// asked lets a gate run for a while, with an answer for each query, and says what it told
// and when it asked.
func asked(t *testing.T, g *Gate, v gate.View, takes time.Duration, ask func(n int) ([]Sample, error)) (told []gate.Verdict, at []time.Duration) {
	t.Helper()
	began := time.Now()
	g.Ask = func(context.Context, string) ([]Sample, error) {
		at = append(at, time.Since(began))
		return ask(len(at))
	}
	ctx, cancel := context.WithTimeout(t.Context(), takes)
	defer cancel()
	g.Run(ctx, v, func(v gate.Verdict) { told = append(told, v) })
	return told, at
}

// While the node waits with its slot, Prometheus is asked twice a minute, and people are
// told what changes.
func TestHowOftenItIsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := time.Now().Add(-time.Minute)
		told, at := asked(t, gateFor(t, `a="b"`), waits, time.Hour, func(n int) ([]Sample, error) {
			switch {
			case n < 40:
				return answer(fmt.Sprintf("fired A %d", int(time.Since(ended).Seconds()))), nil
			default:
				return answer(), nil
			}
		})
		if len(told) != 2 || told[0].State != gate.Closed || told[1].State != gate.Open {
			t.Errorf("told %+v", told)
		}
		if len(at) < 105 || len(at) > 135 {
			t.Errorf("%d queries in an hour", len(at))
		}
		for i := range at[1:] {
			if d := at[i+1] - at[i]; d < 26*time.Second || d > 34*time.Second {
				t.Errorf("%s after the one before", d)
			}
		}
	})
}

// What cannot be asked is asked again with growing pauses, and from the start when it has
// answered. The sentence stays the same.
func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told, at := asked(t, gateFor(t, `a="b"`), waits, 30*time.Minute, func(n int) ([]Sample, error) {
			if n == 8 {
				return answer(), nil
			}
			return nil, errors.New("POST x: refused")
		})
		if len(at) < 12 {
			t.Fatalf("asked at %v", at)
		}
		for i, want := range []time.Duration{15 * time.Second, 30 * time.Second, time.Minute, time.Minute, time.Minute, time.Minute, time.Minute, 30 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute} {
			if d := at[i+1] - at[i]; d < want-want/8 || d > want+want/8 {
				t.Errorf("pause %d is %s, want about %s", i, d, want)
			}
		}
		failed := gate.Verdict{State: gate.Closed, At: gate.WithSlot, Why: "cannot find out whether alerts are firing: POST x: refused"}
		if len(told) != 3 || told[0] != failed || told[1] != (gate.Verdict{State: gate.Open}) || told[2] != failed {
			t.Errorf("told %+v", told)
		}
	})
}

// After the boot an answer that does not come is waited for, but not until the rollout
// halts: what answers may be a pod that can run on this node alone.
func TestAfterTheBootNobodyAnswers(t *testing.T) {
	for timeout, most := range map[time.Duration]time.Duration{15 * time.Minute: 5 * time.Minute, 4 * time.Minute: 2 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			g := gateFor(t, `node="$node"`)
			g.HealthTimeout = timeout
			var logged []string
			g.Log = func(format string, args ...any) { logged = append(logged, fmt.Sprintf(format, args...)) }
			var opened []time.Duration
			began := time.Now()
			told, _ := asked(t, g, hasBoot, timeout, func(int) ([]Sample, error) {
				opened = append(opened, time.Since(began))
				return nil, errors.New("POST x: refused")
			})
			closed := gate.Verdict{State: gate.Closed, At: gate.BeforeUncordon, Why: "cannot find out whether alerts are firing: POST x: refused", Until: began.Add(most)}
			if len(told) != 2 || told[0] != closed || told[1] != (gate.Verdict{State: gate.Open}) {
				t.Fatalf("told %+v", told)
			}
			for _, at := range opened {
				if at >= most {
					if at > most+time.Minute+time.Minute/8 {
						t.Errorf("opened after %s", at)
					}
					break
				}
			}
			if len(logged) != 1 || !strings.HasPrefix(logged[0], "cannot find out whether alerts are firing: POST x: refused; not waiting any longer") {
				t.Errorf("logged %q", logged)
			}
		})
	}
}

// Whoever is told to stop says nothing more, and asks nobody.
func TestRunEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gateFor(t, `a="b"`)
		ctx, cancel := context.WithCancel(t.Context())
		g.Ask = func(context.Context, string) ([]Sample, error) {
			cancel()
			return nil, ctx.Err()
		}
		g.Run(ctx, waits, func(v gate.Verdict) { t.Errorf("said %+v", v) })
	})
}

// Before the Node has been read, nothing is asked: it would be about nobody.
func TestNodeIsNotKnown(t *testing.T) {
	g := gateFor(t, `node="$node"`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	g.Ask = func(context.Context, string) ([]Sample, error) { t.Error("asked"); cancel(); return nil, nil }
	g.Run(ctx, gate.View{}, func(v gate.Verdict) { t.Errorf("said %+v", v) })
	if g.Key(gate.View{}) == g.Key(waits) || g.Key(waits) == g.Key(hasBoot) {
		t.Error("it is not asked anew")
	}
}

// Where the gate binds follows from whom the alerts concern.
func TestKind(t *testing.T) {
	const all = gate.WithSlot
	for text, want := range map[string]gate.Points{
		`a="b"`:                       all,
		`node="$node"`:                all | gate.OnTurn | gate.BeforeUncordon,
		`a="b",instance=~"$instance"`: all | gate.OnTurn | gate.BeforeUncordon,
	} {
		k := gateFor(t, `x="y"`, text).Kind()
		if k.Binds != want || !k.Soft || k.Reason != api.ReasonAlertsFiring {
			t.Errorf("%s: %+v", text, k)
		}
	}
}
