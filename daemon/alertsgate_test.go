package daemon_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/alerts"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/sim"
)

// monitoring is a Prometheus: it knows since when which alerts fire, and who has asked.
type monitoring struct {
	mu    sync.Mutex
	began time.Time
	down  bool
	fires map[string]time.Time // by "alert" or "alert node": since when
	ended map[string]time.Time // likewise: since when no more
	asked map[string]int       // by node
}

func newMonitoring() *monitoring {
	return &monitoring{began: time.Now().Add(-time.Hour), fires: map[string]time.Time{}, ended: map[string]time.Time{}, asked: map[string]int{}}
}

func (m *monitoring) begins(alert string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fires[alert] = time.Now()
	delete(m.ended, alert)
}

func (m *monitoring) ends(alert string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.fires, alert)
	m.ended[alert] = time.Now()
}

func (m *monitoring) goesDown(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = down
}

// asks are the queries of a node since this was called last.
func (m *monitoring) asks(node string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.asked[node]
	m.asked[node] = 0
	return n
}

// gateOf is a node's gate that asks it.
func (m *monitoring) gateOf(t testing.TB, node string, selectors ...string) *alerts.Gate {
	watchdog, err := alerts.ParseSelector(`alertname="Watchdog"`)
	if err != nil {
		t.Fatal(err)
	}
	g := &alerts.Gate{Watchdog: &watchdog, Lookback: 15 * time.Minute, HealthTimeout: healthTimeout, Log: t.Logf, Ask: func(_ context.Context, query string) ([]alerts.Sample, error) {
		return m.answer(node, query)
	}}
	for _, text := range selectors {
		s, err := alerts.ParseSelector(text)
		if err != nil {
			t.Fatal(err)
		}
		g.Alerts = append(g.Alerts, s)
	}
	return g
}

func (m *monitoring) answer(node, query string) (out []alerts.Sample, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked[node]++
	if m.down {
		return nil, errors.New("POST http://prometheus/api/v1/query: connection refused")
	}
	now := time.Now()
	say := func(part, alert string, at time.Time) {
		if !strings.Contains(query, `"`+part+`"`) {
			return
		}
		out = append(out, alerts.Sample{Labels: map[string]string{"rebootd": part, "alertname": alert}, At: now, Value: float64(at.Unix())})
	}
	tell := func(what string, last, since time.Time) {
		alert, about, _ := strings.Cut(what, " ")
		end := ""
		if about != "" {
			end = "-node"
		}
		if about != "" && about != node {
			return
		}
		say("fired"+end, alert, last)
		if !since.IsZero() {
			say("active"+end, alert, since)
		}
	}
	for what, since := range m.fires {
		tell(what, now, since)
	}
	for what, at := range m.ended {
		if now.Sub(at) < 15*time.Minute && strings.Contains(query, "max_over_time") {
			tell(what, at, time.Time{})
		}
	}
	say("life", "", now)
	say("since", "", m.began)
	return out, nil
}

// asking are settings of a daemon that asks it.
func (m *monitoring) asking(t testing.TB, selectors ...string) settings {
	return settings{change: func(c *daemon.Config, p *sim.Process) {
		g := m.gateOf(t, p.Name, selectors...)
		g.Overdue = daemon.PastDeadline(c.API, p.Name, c.Policy.Lock)
		c.Gates = append(c.Gates, g)
	}}
}

// rebooting has a machine reboot in a second, and be Ready again, with its daemon.
func rebooting(t testing.TB, m *sim.Machine, s settings) {
	m.Drain.Pods(0)
	m.OnCommand = func(cmd *sim.Command) error {
		cmd.End(0, "")
		time.AfterFunc(time.Second, func() {
			m.Boots()
			m.KubeletReports(true, "")
			start(t, m, s)
		})
		return nil
	}
}

// says fails unless people are told that a node waits for a reason, by these words.
func says(t *testing.T, w *sim.World, node string, reason api.Reason, words string) {
	t.Helper()
	c := w.Condition(node, api.RebootRequired)
	if c == nil || c.Reason != string(reason) || !strings.Contains(c.Message, words) {
		t.Errorf("people are told %+v of %s, want %s: …%s…", c, node, reason, words)
	}
}

// While an alert fires that concerns everybody, the node whose turn it is keeps its slot and
// asks twice a minute; the others wait in the queue, and ask nobody. When the alert has been
// over for as long as is looked back, they reboot, with one query each.
func TestAlertsHoldEverybodyUp(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		prometheus := newMonitoring()
		s := prometheus.asking(t, `severity="critical"`)
		names := []string{"a", "b", "c"}
		machines := map[string]*sim.Machine{}
		for _, n := range names {
			machines[n] = w.AddMachine(n)
			rebooting(t, machines[n], s)
			start(t, machines[n], s)
		}
		pass(time.Hour)
		for _, n := range names {
			if asks := prometheus.asks(n); asks != 0 {
				t.Errorf("%s asked %d times, and nothing asks for a reboot", n, asks)
			}
		}
		prometheus.begins("KubeAPIDown")
		machines["a"].Touch(sentinelPath, "")
		pass(time.Minute)
		for _, n := range names[1:] {
			machines[n].Touch(sentinelPath, "")
		}
		pass(time.Hour)
		if got := where(machines["a"]); got != "Queued, with a slot" {
			t.Fatalf("a is %s", got)
		}
		says(t, w, "a", api.ReasonAlertsFiring, "alerts block reboots: KubeAPIDown (active since 2000-01-01T01:00:")
		if asks := prometheus.asks("a"); asks < 110 || asks > 140 {
			t.Errorf("a asked %d times in an hour", asks)
		}
		prometheus.ends("KubeAPIDown")
		pass(14 * time.Minute)
		says(t, w, "a", api.ReasonAlertsFiring, "alerts block reboots: KubeAPIDown (fired until 2000-01-01T02:01:00Z), until 2000-01-01T02:16:00Z; keeping the slot")
		for _, n := range names {
			if asks := prometheus.asks(n); n != "a" && asks != 0 || n == "a" && asks > 35 {
				t.Errorf("%s asked %d times", n, asks)
			}
			if machines[n].Node().Spec.Unschedulable {
				t.Errorf("%s is cordoned", n)
			}
		}
		pass(20 * time.Minute)
		for _, n := range names {
			if got := where(machines[n]); got != "idle" || machines[n].BootID() == "boot-1-"+n {
				t.Errorf("it is over, and %s is %s", n, got)
			}
			if asks := prometheus.asks(n); n != "a" && asks != 1 {
				t.Errorf("%s asked %d times", n, asks)
			}
		}
	})
}

// While nobody answers, no node is cordoned, the one whose turn it is keeps its slot, and
// asks once a minute.
func TestAlertsCannotBeAsked(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		prometheus := newMonitoring()
		s := prometheus.asking(t, `node="$node"`)
		m := w.AddMachine("a")
		rebooting(t, m, s)
		start(t, m, s)
		prometheus.goesDown(true)
		m.Touch(sentinelPath, "")
		pass(time.Hour)
		if got := where(m); got != "Queued, with a slot" {
			t.Errorf("the node is %s", got)
		}
		says(t, w, "a", api.ReasonAlertsFiring, "cannot find out whether alerts are firing: POST http://prometheus/api/v1/query: connection refused")
		if asks := prometheus.asks("a"); asks < 50 || asks > 75 {
			t.Errorf("asked %d times in an hour", asks)
		}
		prometheus.goesDown(false)
		pass(5 * time.Minute)
		if got := where(m); got != "idle" || m.BootID() == "boot-1-a" {
			t.Errorf("it answers, and the node is %s", got)
		}
	})
}

// An alert about one node has it give its slot up for the others, and come back after a
// pause; each turn of it costs one query.
func TestAlertsAboutOneNode(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		prometheus := newMonitoring()
		s := prometheus.asking(t, `severity="critical"`, `node="$node"`)
		a, b := w.AddMachine("a"), w.AddMachine("b")
		for _, m := range []*sim.Machine{a, b} {
			rebooting(t, m, s)
			start(t, m, s)
		}
		pass(time.Minute)
		prometheus.begins("DiskFull a")
		a.Touch(sentinelPath, "")
		pass(30 * time.Second)
		b.Touch(sentinelPath, "")
		pass(10 * time.Minute)
		if got := where(b); got != "idle" || b.BootID() == "boot-1-b" {
			t.Errorf("b is %s", got)
		}
		if got := where(a); got != "Waiting" {
			t.Errorf("a is %s", got)
		}
		says(t, w, "a", api.ReasonAlertsFiring, "alerts about this node block its reboot: DiskFull (active since 2000-01-01T00:01:")
		pass(2 * time.Hour)
		prometheus.asks("a")
		pass(2 * time.Hour)
		if asks := prometheus.asks("a"); asks < 3 || asks > 6 {
			t.Errorf("a asked %d times in two hours", asks)
		}
		prometheus.ends("DiskFull a")
		pass(time.Hour)
		if got := where(a); got != "idle" || a.BootID() == "boot-1-a" {
			t.Errorf("it is over, and a is %s", got)
		}
	})
}

// After its boot a node does not count as healthy while an alert about it fires that has
// begun since; one about another node, or about all, does not matter then.
func TestAlertsAfterTheBoot(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		prometheus := newMonitoring()
		s := prometheus.asking(t, `severity="critical"`, `node="$node"`)
		m := w.AddMachine("a")
		rebooting(t, m, s)
		boots := m.OnCommand
		m.OnCommand = func(cmd *sim.Command) error {
			time.AfterFunc(time.Second/2, func() {
				for _, alert := range []string{"TargetDown a", "TargetDown b", "KubeAPIDown"} {
					prometheus.begins(alert)
				}
			})
			return boots(cmd)
		}
		start(t, m, s)
		m.Touch(sentinelPath, "")
		pass(5 * time.Minute)
		if got := where(m); got != "Verifying, with a slot, cordoned" {
			t.Errorf("the node is %s", got)
		}
		says(t, w, "a", api.ReasonVerifying, "alerts about this node have begun since: TargetDown (active since ")
		prometheus.ends("TargetDown a")
		pass(time.Minute)
		if got := where(m); got != "idle" {
			t.Errorf("it is over, and the node is %s", got)
		}
	})
}

// A Prometheus that can run on the rebooted node alone does not answer while that node is
// cordoned. It is not waited for until the rollout halts.
func TestPrometheusNeedsTheNode(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		prometheus := newMonitoring()
		s := prometheus.asking(t, `node="$node"`)
		m := w.AddMachine("a")
		rebooting(t, m, s)
		boots := m.OnCommand
		m.OnCommand = func(cmd *sim.Command) error {
			prometheus.goesDown(true)
			return boots(cmd)
		}
		start(t, m, s)
		m.Touch(sentinelPath, "")
		pass(4 * time.Minute)
		if got := where(m); got != "Verifying, with a slot, cordoned" {
			t.Errorf("the node is %s", got)
		}
		pass(4 * time.Minute)
		if got := where(m); got != "idle" {
			t.Errorf("the node is %s", got)
		}
	})
}

// A chronic alert about a node does not have the rollout halt when the deadline has had the
// node rebooted all the same.
func TestAChronicAlertAndTheDeadline(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		prometheus := newMonitoring()
		s := prometheus.asking(t, `severity="critical"`, `node="$node"`)
		change := s.change
		s.change = func(c *daemon.Config, p *sim.Process) { change(c, p); c.Policy.Deadline = 24 * time.Hour }
		m := w.AddMachine("a")
		rebooting(t, m, s)
		start(t, m, s)
		prometheus.begins("DiskFull a")
		prometheus.begins("KubeAPIDown")
		m.Touch(sentinelPath, "")
		pass(24*time.Hour - time.Minute)
		if m.Node().Spec.Unschedulable || m.BootID() != "boot-1-a" {
			t.Errorf("the node is %s", where(m))
		}
		pass(time.Hour)
		if got := where(m); got != "idle" || m.BootID() == "boot-1-a" {
			t.Errorf("the deadline has passed, and the node is %s", got)
		}
	})
}

// A node that waits with its slot for an alert to end gives the slot up for one that is past
// its deadline, and so does not wait for that: else no deadline would override an alert
// while a node without one has the slot. One that does not come is not given way to again
// at once.
func TestTheSlotGoesToWhoIsPastItsDeadline(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		prometheus := newMonitoring()
		s := prometheus.asking(t, `severity="critical"`)
		a, b := w.AddMachine("a"), w.AddMachine("b")
		for _, m := range []*sim.Machine{a, b} {
			rebooting(t, m, s)
			start(t, m, s)
		}
		prometheus.begins("KubeCPUOvercommit")
		a.Touch(sentinelPath, "")
		pass(time.Minute)
		b.Touch(sentinelPath, "deadline=30m")
		pass(25 * time.Minute)
		if got := where(a); got != "Queued, with a slot" {
			t.Fatalf("a is %s", got)
		}
		if got := where(b); got != "Queued" || b.BootID() != "boot-1-b" {
			t.Fatalf("b is %s", got)
		}
		pass(20 * time.Minute)
		if got := where(b); got != "idle" || b.BootID() == "boot-1-b" {
			t.Errorf("it is past its deadline, and b is %s", got)
		}
		if got := where(a); got != "Queued, with a slot" || a.BootID() != "boot-1-a" {
			t.Errorf("the alert fires, and a is %s", got)
		}
	})
}

// One that is past its deadline and does not come is given way to once in an hour; one whose
// deadline has not passed is not given way to.
func TestWhoDoesNotComeIsNotGivenWayToAgainAtOnce(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		prometheus := newMonitoring()
		s := prometheus.asking(t, `severity="critical"`)
		a, b, c := w.AddMachine("a"), w.AddMachine("b"), w.AddMachine("c")
		var dies *sim.Process
		for _, m := range []*sim.Machine{a, b, c} {
			rebooting(t, m, s)
			if p := start(t, m, s); m == b {
				dies = p
			}
		}
		prometheus.begins("KubeCPUOvercommit")
		a.Touch(sentinelPath, "")
		pass(time.Minute)
		b.Touch(sentinelPath, "deadline=30m")
		c.Touch(sentinelPath, "deadline=48h")
		pass(time.Minute)
		dies.Kill()
		pass(200 * time.Minute)
		var ways []string
		for _, name := range []string{"a", "c"} {
			for _, e := range w.Events(name) {
				if e.Reason == string(api.ReasonReleased) {
					ways = append(ways, name+": "+e.Message)
				}
			}
		}
		if len(ways) < 1 || len(ways) > 4 || !strings.Contains(ways[0], "for b, which can make use of it; alerts block reboots") {
			t.Errorf("in 170 minutes: %q", ways)
		}
		if got := where(a); got != "Queued, with a slot" {
			t.Errorf("a is %s", got)
		}
	})
}
