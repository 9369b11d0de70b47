package daemon_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
	"rebootd.dev/daemon/sim"
	"rebootd.dev/reboot"
)

// hostile are words of others that would do something to systemd, to a terminal, or to
// whoever reads them, and are longer than anybody reads.
var hostile = "EVIL\nMAINPID=1\r\x1b[2J\u009b1m\u202egnp\u2066x\u200b\ufeff\xff\u2028STATUS=ok" + strings.Repeat("x", 5000)

// The words of others are shown, and do nothing where they are shown.
func TestWordsOfOthers(t *testing.T) {
	blocked := func(t *testing.T, m *sim.Machine) {
		m.Touch(sentinelPath, "")
		pass(10 * time.Second)
	}
	for name, says := range map[string]func(t *testing.T, w *sim.World, m *sim.Machine, s settings){
		"hold annotation": func(t *testing.T, _ *sim.World, m *sim.Machine, s settings) {
			start(t, m, s)
			m.Annotate(api.HoldAnnotation, hostile)
			blocked(t, m)
		},
		"abort annotation": func(t *testing.T, _ *sim.World, m *sim.Machine, s settings) {
			bringTo(t, m, s, api.PhaseDraining)
			m.Annotate(api.AbortAnnotation, hostile)
			pass(time.Minute)
		},
		"request annotation": func(t *testing.T, _ *sim.World, m *sim.Machine, s settings) {
			start(t, m, s)
			m.Annotate(api.RequestAnnotation, hostile)
			pass(time.Minute)
		},
		"pause": func(t *testing.T, w *sim.World, m *sim.Machine, s settings) {
			why, _ := json.Marshal(hostile)
			_ = w.Leases.Create(t.Context(), slot0)
			_ = w.Leases.Patch(t.Context(), slot0, fmt.Sprintf(`{"metadata":{"annotations":{%q:%s}}}`, api.PausedAnnotation, why))
			start(t, m, s)
			blocked(t, m)
		},
		"holder of the slot": func(t *testing.T, w *sim.World, m *sim.Machine, s settings) {
			holder, _ := json.Marshal(hostile)
			_ = w.Leases.Create(t.Context(), slot0)
			_ = w.Leases.Patch(t.Context(), slot0, fmt.Sprintf(`{"spec":{"holderIdentity":%s}}`, holder))
			start(t, m, s)
			blocked(t, m)
		},
		"taint of another program": func(t *testing.T, _ *sim.World, m *sim.Machine, s settings) {
			m.Edit(func(n *corev1.Node) {
				n.Spec.Taints = []corev1.Taint{{Key: "medik8s.io/drain", Value: hostile, Effect: corev1.TaintEffectNoSchedule}}
			})
			start(t, m, s)
			blocked(t, m)
		},
		"condition of another program": func(t *testing.T, _ *sim.World, m *sim.Machine, s settings) {
			m.Edit(func(n *corev1.Node) {
				n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: "DrainInProgress", Status: corev1.ConditionTrue, Reason: hostile})
			})
			start(t, m, s)
			blocked(t, m)
		},
		"inhibitor": func(t *testing.T, _ *sim.World, m *sim.Machine, s settings) {
			m.Logind.Set(func(x *reboot.Shutdown) { x.Inhibited = hostile })
			start(t, m, s)
			blocked(t, m)
		},
		"node lease": func(t *testing.T, _ *sim.World, m *sim.Machine, s settings) {
			m.Lease.Give(hostile)
			start(t, m, s)
			blocked(t, m)
		},
		"node lease that cannot be had": func(t *testing.T, _ *sim.World, m *sim.Machine, s settings) {
			m.Lease.Unavailable(hostile)
			s.nodeLease = "required"
			start(t, m, s)
			blocked(t, m)
		},
		"sentinel": func(t *testing.T, _ *sim.World, m *sim.Machine, s settings) {
			m.Annotate(api.HoldAnnotation, "x")
			start(t, m, s)
			m.Touch(sentinelPath, hostile)
			pass(10 * time.Second)
		},
		"API server that refuses": func(t *testing.T, w *sim.World, m *sim.Machine, s settings) {
			w.Admit(func(sim.Request) error { return sim.Forbidden("a", hostile) })
			start(t, m, s)
			m.Touch(sentinelPath, "")
			pass(time.Minute)
		},
		"boot that cannot be read": func(t *testing.T, _ *sim.World, m *sim.Machine, s settings) {
			m.HideBoot(errors.New(hostile))
			start(t, m, s)
			pass(10 * time.Second)
		},
		"record that cannot be read": func(t *testing.T, _ *sim.World, m *sim.Machine, s settings) {
			phase, _ := json.Marshal(hostile)
			m.Annotate(api.OperationAnnotation, `{"v":1,"id":"x","since":"2000-01-01T00:00:00Z","bootID":"x","phase":`+string(phase)+`}`)
			start(t, m, s)
			pass(10 * time.Second)
		},
		"record": func(t *testing.T, _ *sim.World, m *sim.Machine, s settings) {
			words, _ := json.Marshal(hostile)
			m.Annotate(api.OperationAnnotation, fmt.Sprintf(`{"v":1,"id":"x","since":"2000-01-01T00:00:00Z","bootID":%q,"phase":"Halted","order":{"at":"2000-01-01T00:00:00Z","by":"x","try":1},"failure":{"reason":"RebootOverdue","message":%s},"request":%s}`, m.BootID(), words, words))
			start(t, m, s)
			pass(10 * time.Second)
		},
		"pods that stay": func(t *testing.T, _ *sim.World, m *sim.Machine, s settings) {
			m.Drain.Blocked(hostile)
			bringTo(t, m, s, api.PhaseDraining)
			pass(time.Minute)
		},
		"reboot command": func(t *testing.T, _ *sim.World, m *sim.Machine, s settings) {
			m.OnCommand = func(c *sim.Command) error { c.End(1, hostile); return nil }
			start(t, m, s)
			m.Drain.Pods(0)
			m.Touch(sentinelPath, "")
			pass(time.Minute)
		},
		"hook": func(t *testing.T, _ *sim.World, m *sim.Machine, s settings) {
			s.pre = []daemon.Stage{daemon.PreDrainHooks(m.Hooks)}
			start(t, m, s)
			m.Touch(sentinelPath, "")
			pass(10 * time.Second)
			m.Hooks.End("pre-drain.d", hostile)
			pass(10 * time.Second)
		},
		"kubelet": func(t *testing.T, _ *sim.World, m *sim.Machine, s settings) {
			bringTo(t, m, s, api.PhaseRebooting)
			m.Boots()
			m.KubeletReports(false, hostile)
			start(t, m, s)
			pass(10 * time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				shown := 0
				look := func(where, text string, n int) {
					if strings.Contains(text, "EVIL") {
						shown++
					}
					if printable.Line(text, n) != text {
						t.Errorf("%s has %d bytes, and is %.300q", where, len(text), text)
					}
				}
				registry := prometheus.NewRegistry()
				says(t, w, m, settings{nodeLease: "auto", change: func(c *daemon.Config, _ *sim.Process) {
					c.Status = func(text string) { look("systemd's status", text, 2000) }
					registry = prometheus.NewRegistry()
					c.Metrics = daemon.NewMetrics(registry, "test")
				}})
				for _, c := range m.Node().Status.Conditions {
					if c.Type == api.RebootRequired {
						look("the condition", c.Message, 1000)
					}
				}
				if r, err := api.ParseReport([]byte(m.Node().Annotations[api.ReportAnnotation])); err == nil {
					for _, h := range r.Hooks {
						look("the report", h.Error, 200)
					}
				}
				for _, e := range w.Events("a") {
					look("an Event", e.Message, 1000)
				}
				for _, e := range w.Journal(0) {
					var line struct{ Message string }
					if e.Kind == "log" && json.Unmarshal([]byte(e.Text), &line) == nil {
						look("the log", line.Message, 1500)
					}
				}
				families, err := registry.Gather()
				if err != nil {
					t.Error(err)
				}
				for _, f := range families {
					for _, x := range f.GetMetric() {
						for _, l := range x.GetLabel() {
							look("the label "+l.GetName()+" of "+f.GetName(), l.GetValue(), 60)
						}
					}
				}
				if shown == 0 {
					t.Error("the words are shown nowhere")
				}
			})
		})
	}
}
