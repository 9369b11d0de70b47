// Package alerts tests the gate of alerts on a real Prometheus.
package alerts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"rebootd.dev/daemon/alerts"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/proc"
)

const (
	// lookback is short here, and longer than any alert's "for" and the 5 s after which a
	// Prometheus that has started scrapes for the first time.
	lookback = 12 * time.Second
	// patience bounds a wait for what comes within seconds.
	patience = time.Minute
)

const watchdog = `
  - alert: Watchdog
    expr: vector(1)
    labels: {severity: none}`

const trouble = `
  - alert: Trouble
    expr: trouble > 0
    for: 3s
    labels: {severity: critical}`

var node = gate.Node{Name: "node-1.example", Addresses: []string{"10.0.0.1"}}

// bed is a Prometheus that evaluates rules each second, and what it scrapes.
type bed struct {
	*testing.T
	dir, url string
	port     int
	p        *proc.Process
	target   atomic.Pointer[string] // what is scraped
	gate     *alerts.Gate
}

func newBed(t *testing.T, rules string) *bed {
	b := &bed{T: t, dir: t.TempDir()}
	b.scraped("")
	target := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, *b.target.Load())
	}))
	t.Cleanup(target.Close)
	ports, err := cluster.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	b.port, b.url = ports[0], fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	b.write("rules.yaml", "groups:\n- name: test\n  rules:"+rules)
	b.write("prometheus.yaml", fmt.Sprintf(`
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yaml]
scrape_configs:
- job_name: target
  static_configs: [{targets: [%q]}]
`, target.Listener.Addr()))
	b.gate = b.gateOf(`severity="critical"`)
	b.start()
	t.Cleanup(func() {
		b.p.Kill()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(b.dir, "log"))
			t.Logf("Prometheus: %s", log[max(0, len(log)-3000):])
		}
	})
	return b
}

func (b *bed) write(name, text string) {
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o644); err != nil {
		b.Fatal(err)
	}
}

// start starts Prometheus.
func (b *bed) start() {
	b.Helper()
	p, err := proc.Start(filepath.Join(b.dir, "log"), nil, filepath.Join(cluster.SourceDir(), "..", "bin", "prometheus"), // make deps brings it
		"--config.file="+filepath.Join(b.dir, "prometheus.yaml"), "--storage.tsdb.path="+filepath.Join(b.dir, "data"),
		fmt.Sprintf("--web.listen-address=127.0.0.1:%d", b.port))
	if err != nil {
		b.Fatal(err)
	}
	b.p = p
}

func (b *bed) scraped(text string) { b.target.Store(&text) }

func (b *bed) gateOf(selectors ...string) *alerts.Gate {
	b.Helper()
	server, err := alerts.ParseURL(b.url)
	if err != nil {
		b.Fatal(err)
	}
	alive, err := alerts.ParseSelector(`alertname="Watchdog"`)
	if err != nil {
		b.Fatal(err)
	}
	g := &alerts.Gate{Ask: (&alerts.Server{URL: server}).Query, Ignore: "Ignored.*", Watchdog: &alive, Lookback: lookback, HealthTimeout: time.Hour, Log: b.Logf}
	for _, text := range selectors {
		s, err := alerts.ParseSelector(text)
		if err != nil {
			b.Fatal(err)
		}
		g.Alerts = append(g.Alerts, s)
	}
	return g
}

// verdict is what a gate says when it is asked in a phase.
func (b *bed) verdict(g *alerts.Gate, phase api.Phase) (got gate.Verdict) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	v := gate.View{Node: node, Record: &api.Record{Phase: phase}}
	g.Run(ctx, v, func(v gate.Verdict) { got = v; cancel() })
	return got
}

// until asks again and again, until the verdict is as it should be, and returns those from
// before.
func (b *bed) until(what string, is func(gate.Verdict) bool) (before []gate.Verdict) {
	b.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		v := b.verdict(b.gate, api.PhaseQueued)
		if is(v) {
			return before
		}
		before = append(before, v)
	}
	b.Fatalf("%s: not within %s; last: %+v", what, patience, before[len(before)-1])
	return nil
}

func open(v gate.Verdict) bool { return v.State == gate.Open }

func says(words string) func(gate.Verdict) bool {
	return func(v gate.Verdict) bool { return v.State == gate.Closed && strings.Contains(v.Why, words) }
}

// firing asks as a naive gate would: which alerts are firing now.
func (b *bed) firing(name string) (answered, fires bool) {
	resp, err := http.Get(b.url + "/api/v1/alerts")
	if err != nil {
		return false, false
	}
	defer resp.Body.Close()
	var answer struct {
		Data struct {
			Alerts []struct {
				State  string
				Labels map[string]string
			}
		}
	}
	if json.NewDecoder(resp.Body).Decode(&answer) != nil {
		return false, false
	}
	for _, a := range answer.Data.Alerts {
		fires = fires || a.Labels["alertname"] == name && a.State == "firing"
	}
	return true, fires
}

// scrapedSince says whether Prometheus has scraped the trouble since.
func (b *bed) scrapedSince(t time.Time) bool {
	answer, err := b.gate.Ask(b.Context(), "timestamp(trouble)")
	return err == nil && len(answer) == 1 && answer[0].Value > float64(t.Unix()+1)
}

// An alert closes the gate when it fires, until it has not fired for as long as is looked
// back; people are told which, since when, and until when.
func TestAnAlertFiresAndEnds(t *testing.T) {
	t.Parallel()
	b := newBed(t, watchdog+trouble)
	before := b.until("the first opening", open)
	var told bool
	for _, v := range before {
		told = told || says("alerts have been evaluated since")(v) && !v.Until.IsZero()
	}
	if !told {
		t.Errorf("before: %+v", before)
	}

	b.scraped("trouble{} 1\n")
	b.until("closed", says("alerts block reboots: Trouble (active since "))
	// For longer than the step by which it is looked back, or it is not known when it ended.
	began := time.Now()
	b.until("closed for a while", func(v gate.Verdict) bool {
		return says("Trouble (active since ")(v) && time.Since(began) > lookback/4
	})
	if v := b.verdict(b.gate, api.PhaseQueued); v.At != gate.WithSlot || !v.Until.IsZero() {
		t.Errorf("%+v", v)
	}
	b.scraped("")
	b.until("ended", says("alerts block reboots: Trouble (fired until "))
	v := b.verdict(b.gate, api.PhaseQueued)
	if in := time.Until(v.Until); in <= 0 || in > lookback {
		t.Errorf("it opens in %s: %+v", in, v)
	}
	for _, w := range b.until("open again", open) {
		if w != v {
			t.Errorf("%+v, and then %+v", v, w)
		}
	}
	if early := time.Until(v.Until); early > time.Second {
		t.Errorf("it has opened %s too early", early)
	}
}

// A restart of Prometheus, after which an alert is pending again, does not open the gate,
// whether its data are there or not.
func TestPrometheusRestarts(t *testing.T) {
	for name, how := range map[string]func(*bed){
		"is stopped": func(b *bed) { b.p.Stop(30 * time.Second) },
		"crashes":    func(b *bed) { b.p.Kill() },
		"loses its data": func(b *bed) {
			b.p.Kill()
			if err := os.RemoveAll(filepath.Join(b.dir, "data")); err != nil {
				b.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t, watchdog+trouble)
			b.scraped("trouble{} 1\n")
			b.until("it fires", says("Trouble (active since "))
			if v := b.verdict(b.gate, api.PhaseQueued); v.State != gate.Closed {
				t.Fatalf("%+v", v)
			}
			how(b)
			b.until("nobody answers", says("connection refused"))
			b.start()
			started, naive := time.Now(), false // whether a naive gate would have opened
			for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("it does not fire again")
				}
				if v := b.verdict(b.gate, api.PhaseQueued); v.State != gate.Closed {
					t.Fatalf("the restart has opened the gate: %+v", v)
				}
				answered, fires := b.firing("Trouble")
				naive = naive || answered && !fires
				// Before it has scraped, what it scraped before counts: nothing says that it ended.
				if fires && naive && b.scrapedSince(started) {
					break
				}
			}
			b.scraped("")
			b.until("open", open)
		})
	}
}

// A Prometheus that evaluates no rules has no alerts, and opens no gate.
func TestWithoutWatchdog(t *testing.T) {
	t.Parallel()
	b := newBed(t, trouble)
	b.until("it answers", says("the alert Watchdog, which always fires, is not in the answer"))
	end := time.Now().Add(lookback + 2*time.Second)
	for time.Now().Before(end) {
		if v := b.verdict(b.gate, api.PhaseQueued); v.State != gate.Closed {
			t.Fatalf("%+v", v)
		}
		time.Sleep(500 * time.Millisecond)
	}
}

// Alerts about the node close the gate for it alone, before and after its boot; those about
// others and those that are ignored do not.
func TestAlertsAboutTheNode(t *testing.T) {
	t.Parallel()
	b := newBed(t, watchdog+`
  - {alert: ByName, expr: by_name > 0}
  - {alert: ByAddress, expr: by_address > 0}
  - {alert: IgnoredByName, expr: ignored > 0}
  - {alert: RebootdWaits, expr: ignored > 0}`)
	b.gate = b.gateOf(`node="$node"`, `host_instance=~"$instance"`)
	b.scraped(`
by_name{node="node-2.example"} 1
by_name{node="node-1-example"} 1
by_address{host_instance="10.0.0.10:9100"} 1
by_address{host_instance="10.0.0.1:9100x"} 1
ignored{node="node-1.example"} 1
`)
	b.until("alerts fire", func(gate.Verdict) bool {
		_, one := b.firing("ByName")
		_, two := b.firing("ByAddress")
		_, three := b.firing("RebootdWaits")
		return one && two && three
	})
	b.until("open", open)
	if v := b.verdict(b.gate, api.PhaseVerifying); !open(v) {
		t.Errorf("after the boot: %+v", v)
	}
	for _, tt := range []struct{ series, alert string }{
		{`by_name{node="node-1.example"} 1`, "ByName"},
		{`by_address{host_instance="10.0.0.1:9100"} 1`, "ByAddress"},
		{`by_address{host_instance="10.0.0.1"} 1`, "ByAddress"},
		{`by_address{host_instance="node-1.example:10250"} 1`, "ByAddress"},
	} {
		b.scraped(tt.series + "\n")
		b.until(tt.series, says("alerts about this node block its reboot: "+tt.alert+" (active since "))
		if v := b.verdict(b.gate, api.PhaseQueued); v.At != gate.OnTurn {
			t.Errorf("%+v", v)
		}
		after := b.verdict(b.gate, api.PhaseVerifying)
		if !says("alerts about this node have begun since: "+tt.alert)(after) || after.At != gate.BeforeUncordon {
			t.Errorf("after the boot: %+v", after)
		}
		b.scraped("")
		b.until(tt.series+" ends", func(v gate.Verdict) bool { return !says("(active since")(v) })
		if v := b.verdict(b.gate, api.PhaseVerifying); !open(v) {
			t.Errorf("after the boot, when it has ended: %+v", v)
		}
	}
}

// Thousands of alerts with long labels are one name in the answer.
func TestManyAlerts(t *testing.T) {
	t.Parallel()
	b := newBed(t, watchdog+trouble)
	var text bytes.Buffer
	for i := range 3000 {
		fmt.Fprintf(&text, "trouble{i=\"%d\",long=%q} 1\n", i, strings.Repeat("x", 500))
	}
	b.scraped(text.String())
	b.until("closed", says("alerts block reboots: Trouble (active since "))
}

// Prometheus takes what the gate takes, and means the same by it.
func TestSelectors(t *testing.T) {
	t.Parallel()
	b := newBed(t, watchdog+"\n  - {alert: A, expr: vector(1), labels: {x: 'it''s \"x\" \\', y: \"a,b}\"}}")
	b.gate = b.gateOf(`x=~".+"`)
	b.until("it fires", says("alerts block reboots: A (active since "))
	for text, matches := range map[string]bool{
		`x="it's \"x\" \\"`:                  true,
		`x='it\'s "x" \\'`:                   true,
		"x=`it's \"x\" \\`":                  true,
		`x="it's \"x\""`:                     false,
		`y="a,b}"`:                           true,
		` y = "a,b}" , x != "" , `:           true,
		`y=~"a.+",y!~"b"`:                    true,
		`y=~"a"`:                             false,
		`y=~"(?i)A,B\\}"`:                    true,
		`alertname="A"`:                      true,
		`alertname=~"Ignored|A"`:             true,
		`alertname="Watchdog"`:               false,
		`node!="$node"`:                      true,
		`instance!~"$instance"`:              true,
		`node=~"($node)?"`:                   true,
		`node="$node",instance=~"$instance"`: false,
		`severity="$",y=~"^a.*$"`:            false,
		`severity="",y=~"^a.*$"`:             true,
	} {
		v := b.verdict(b.gateOf(text), api.PhaseQueued)
		if got := says("block")(v) && says(": A (active since ")(v); got != matches || says("cannot find out")(v) {
			t.Errorf("%s: %+v", text, v)
		}
	}
}
