package daemon_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/sim"
)

// scraped are a daemon's metrics as Prometheus would see them: by name and labels; of a
// histogram, the count and the sum.
type scraped struct {
	t   *testing.T
	reg *prometheus.Registry
}

// metricsOf has a daemon that is started with the returned settings be scraped.
func metricsOf(t *testing.T, s settings) (scraped, settings) {
	reg, change := prometheus.NewRegistry(), s.change
	s.change = func(c *daemon.Config, p *sim.Process) {
		if change != nil {
			change(c, p)
		}
		c.Metrics = daemon.NewMetrics(reg, "test")
	}
	return scraped{t, reg}, s
}

func (s scraped) all() map[string]float64 {
	s.t.Helper()
	families, err := s.reg.Gather()
	if err != nil {
		s.t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "rebootd_")
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if len(values) > 0 {
				name += "{" + strings.Join(values, ",") + "}"
			}
			switch {
			case m.Counter != nil:
				out[name] = m.Counter.GetValue()
			case m.Gauge != nil:
				out[name] = m.Gauge.GetValue()
			case m.Histogram != nil:
				out[name+"_count"], out[name+"_sum"] = float64(m.Histogram.GetSampleCount()), m.Histogram.GetSampleSum()
			}
		}
	}
	return out
}

// want compares some of them; absent is for what must not be there.
func (s scraped) want(want map[string]float64) {
	s.t.Helper()
	got := s.all()
	for name, v := range want {
		if is, there := got[name]; !there || is != v {
			s.t.Errorf("%s is %v (there: %t), want %v", name, is, there, v)
		}
	}
}

func (s scraped) absent(prefixes ...string) {
	s.t.Helper()
	for name, v := range s.all() {
		for _, p := range prefixes {
			if strings.HasPrefix(name, p) {
				s.t.Errorf("%s is there, %v", name, v)
			}
		}
	}
}

// onlyPhase checks that the node is said to be in a phase and in no other; "" for none.
func (s scraped) onlyPhase(want string) {
	s.t.Helper()
	for name, v := range s.all() {
		if phase, ok := strings.CutPrefix(name, "phase{"); ok && (v == 1) != (phase == want+"}") {
			s.t.Errorf("%s is %v, want the phase %q", name, v, want)
		}
	}
}

// A record that cannot be obeyed, on a node that is cordoned and holds a slot: there is no
// phase, the Lease's word counts, and it is said why. It is so for a daemon that is
// started then, too.
func TestMetricsOfARecordThatCannotBeObeyed(t *testing.T) {
	const contradicts = `{"v":1,"id":"i","phase":"Halted","since":"2026-01-01T00:00:00Z","bootID":"boot-1-a","failure":{"reason":"Unhealthy","message":"m"}}`
	for record, reason := range map[string]string{`{"v":2,"phase":"Draining"}`: "RecordTooNew", `{"v":1}`: "RecordInvalid", contradicts: "RecordInvalid"} {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprint(reason, again), func(t *testing.T) {
				simulate(t, func(t *testing.T, w *sim.World) {
					m := w.AddMachine("a")
					x, s := metricsOf(t, settings{})
					p := bringTo(t, m, s, api.PhaseDraining)
					x.onlyPhase("Draining")
					x.want(map[string]float64{"slot_held": 1, "record_unreadable{RecordTooNew}": 0, "record_unreadable{RecordInvalid}": 0})
					m.Annotate(api.OperationAnnotation, record)
					pass(time.Second)
					if again {
						p.Kill()
						x, s = metricsOf(t, settings{})
						p = start(t, m, s)
						pass(10 * time.Second)
					}
					truth := map[string]float64{"slot_held": 1, "record_unreadable{" + reason + "}": 1, "reboot_required": 1, "phase_since_seconds": 0}
					x.onlyPhase("")
					x.want(truth)
					m.RemoveSentinel(sentinelPath)
					asked := leaseRequests(p)
					pass(10 * time.Minute)
					x.want(truth)
					if n := leaseRequests(p) - asked; n > 10 {
						t.Errorf("it looks %d times within ten minutes", n)
					}
					w.ClearSlot(slot0)
					pass(2 * time.Minute)
					truth["slot_held"] = 0
					x.want(truth)
					m.Annotate(api.OperationAnnotation, "")
					pass(time.Minute)
					x.onlyPhase("Idle")
					x.want(map[string]float64{"slot_held": 0, "record_unreadable{" + reason + "}": 0, "reboot_required": 0})
					asked = leaseRequests(p)
					pass(time.Hour)
					if n := leaseRequests(p) - asked; n > 0 {
						t.Errorf("an idle node has asked %d times for Leases", n)
					}
				})
			})
		}
	}
}

// leaseRequests is how many requests for Leases a daemon has sent.
func leaseRequests(p *sim.Process) (n int) {
	for _, r := range p.Link.Requests() {
		if r.Resource == "leases" {
			n++
		}
	}
	return n
}

// While the Node has not been read nothing is said of its phase, its slot and its past.
func TestMetricsBeforeTheNodeIsRead(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		x, s := metricsOf(t, settings{change: func(_ *daemon.Config, p *sim.Process) { p.Link.Cut() }})
		p := start(t, m, s)
		pass(time.Hour)
		x.onlyPhase("")
		x.absent("operations_total", "pods_total", "reboots_total", "last_", "reboot_duration_seconds")
		p.Link.Mend()
		pass(time.Minute)
		x.onlyPhase("Idle")
		x.want(map[string]float64{"operations_total{RebootVerified}": 0, "reboot_duration_seconds_count": 0})
	})
}

// A dry run says what stands on the Node and in the Leases, not what it would have done,
// also where another daemon has left an operation halfway.
func TestMetricsOfADryRun(t *testing.T) {
	for _, phase := range []api.Phase{api.PhaseIdle, api.PhaseVerifying} {
		t.Run(string(phase), func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				if phase != api.PhaseIdle {
					bringTo(t, m, settings{}, phase).Stop()
				}
				x, s := metricsOf(t, settings{dryRun: true})
				p := start(t, m, s)
				m.Drain.Pods(3)
				m.Touch(sentinelPath, "")
				pass(time.Minute)
				x.want(map[string]float64{"drain_pods{evicting}": 0})
				m.Drain.Pods(0)
				pass(time.Hour)
				held := 0.0
				if phase == api.PhaseIdle {
					x.onlyPhase("Idle")
				} else {
					x.onlyPhase(string(phase))
					held = 1
				}
				x.want(map[string]float64{"slot_held": held, "reboot_required": 1, "dry_run": 1, "drain_pods{drained}": 4 * held, "operations_total{Unhealthy}": 0})
				if p.Status() == "" {
					t.Error("it says nothing")
				}
			})
		})
	}
}

// A dry run gives up no slot, and so says that the node still holds the one that it has.
func TestMetricsOfADryRunWithASlot(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		if err := w.Leases.Create(t.Context(), slot0); err != nil {
			t.Fatal(err)
		}
		if err := w.Leases.Patch(t.Context(), slot0, `{"spec":{"holderIdentity":"a"}}`); err != nil {
			t.Fatal(err)
		}
		x, s := metricsOf(t, settings{dryRun: true})
		start(t, m, s)
		pass(time.Minute)
		x.want(map[string]float64{"slot_held": 1})
	})
}

// A slot that people take away, and one that goes with the Node, is not held any more.
func TestMetricsOfASlotThatIsTakenAway(t *testing.T) {
	for name, goes := range map[string]func(m *sim.Machine){
		"cleared": func(m *sim.Machine) {
			m.Annotate(api.HoldAnnotation, "not again")
			m.World.ClearSlot(slot0)
		},
		"cleared when the reboot was ordered": func(m *sim.Machine) { m.World.ClearSlot(slot0) },
		"with the Node":                       func(m *sim.Machine) { m.Leave() },
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				x, s := metricsOf(t, settings{})
				phase := api.PhaseDraining
				if name == "cleared when the reboot was ordered" { // it is not looked up again
					phase = api.PhaseRebooting
				}
				bringTo(t, m, s, phase)
				x.want(map[string]float64{"slot_held": 1})
				goes(m)
				pass(10 * time.Second)
				x.want(map[string]float64{"slot_held": 0})
			})
		})
	}
}

// What describes a reboot is there when the daemon that has ordered it is not any more.
func TestMetricsSurviveTheReboot(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		m.Drain.Takes(func() time.Duration { return 20 * time.Second })
		m.OnCommand = func(c *sim.Command) error {
			c.End(0, "")
			time.AfterFunc(5*time.Second, m.GoesDown)
			return nil
		}
		x, s := metricsOf(t, settings{})
		start(t, m, s)
		pass(time.Minute)
		x.absent("last_")
		for _, r := range api.Results() {
			x.want(map[string]float64{"operations_total{" + string(r) + "}": 0})
		}
		for _, o := range api.Outcomes() {
			x.want(map[string]float64{"pods_total{" + string(o) + "}": 0, "reboots_total": 0})
		}
		x.want(map[string]float64{"evictions_total{201}": 0, "evictions_total{429}": 0, "drain_pods{relocated}": 0, "drain_blocked_pods{BudgetExhausted}": 0})
		for i := range 3 {
			n := float64(i + 1)
			m.Drain.Pods(4)
			m.Touch(sentinelPath, "kernel")
			pass(time.Minute)
			ordered := w.Record("a").Order.At
			m.Boots()
			x, s = metricsOf(t, settings{})
			p := start(t, m, s)
			pass(10 * time.Second)
			x.want(map[string]float64{"operations_total{RebootVerified}": n - 1, "reboot_duration_seconds_count": n - 1})
			m.KubeletReports(true, "")
			pass(time.Second)
			verified := time.Now().Add(-time.Second)
			took := api.Seconds(verified.Sub(ordered))
			check := func() {
				t.Helper()
				x.want(map[string]float64{
					"operations_total{RebootVerified}": n, "operations_total{Cancelled}": float64(i), "reboot_duration_seconds_count": n, "drain_duration_seconds_count": n,
					"last_reboot_timestamp_seconds": float64(verified.Unix()), "last_reboot_duration_seconds": took,
					"last_down_duration_seconds": took - 10, "drain_pods{drained}": 4, "drain_pods{pending}": 0,
					"pods_total{drained}": 4 * n, "pods_total{skipped}": 2 * n, "pods_total{failed}": 0, "reboots_total": n,
				})
				if d := x.all()["last_drain_duration_seconds"]; d < 18 || d > 21 {
					t.Errorf("the last drain took %v s", d)
				}
			}
			check()
			p.Kill()
			x, s = metricsOf(t, settings{})
			start(t, m, s)
			pass(time.Minute)
			check()
			m.Annotate(api.HoldAnnotation, "people") // and one that comes to nothing
			m.Touch(sentinelPath, "kernel")
			pass(time.Minute)
			m.RemoveSentinel(sentinelPath)
			pass(time.Minute)
			m.Annotate(api.HoldAnnotation, "")
			pass(time.Minute)
			x.want(map[string]float64{"operations_total{Cancelled}": n})
		}
	})
}

// So it is where nothing is drained, and there is no report of a drain; and a report that
// cannot be read is left to the next drain to replace.
func TestMetricsSurviveWithoutADrain(t *testing.T) {
	for report, counted := range map[string]float64{"": 1, `{"v":2}`: 0, "no JSON": 0} {
		t.Run(report, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				m.Annotate(api.ReportAnnotation, report)
				s := settings{noDrain: true}
				p := bringTo(t, m, s, api.PhaseVerifying)
				m.KubeletReports(true, "")
				pass(time.Minute)
				p.Kill()
				x, s := metricsOf(t, s)
				start(t, m, s)
				pass(time.Minute)
				x.want(map[string]float64{"operations_total{RebootVerified}": counted, "drain_duration_seconds_count": 0, "reboot_duration_seconds_count": counted})
				if report != "" && m.Node().Annotations[api.ReportAnnotation] != report {
					t.Error("the report that could not be read was replaced")
				}
			})
		})
	}
}
