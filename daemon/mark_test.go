package daemon_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/sim"
)

// Which daemon runs on a node stands on the Node: written once, when it says something else,
// and not in a dry run. A policy that refuses it keeps nothing from being done.
func TestMark(t *testing.T) {
	const mark, before = `{"version":"v2","settings":"b"}`, `{"version":"v1","settings":"a"}`
	marks := func(p *sim.Process) (n int) {
		for _, r := range p.Link.Requests() {
			if r.Verb == "patch" && strings.Contains(r.Body, api.DaemonAnnotation) {
				n++
			}
		}
		return n
	}
	for name, c := range map[string]struct {
		there            string
		dryRun, refused  bool
		want             string
		requests, around int
	}{
		"none there":          {want: mark, requests: 1},
		"another there":       {there: before, want: mark, requests: 1},
		"there":               {there: mark, want: mark},
		"dry run":             {there: before, dryRun: true, want: before},
		"refused by a policy": {there: before, refused: true, want: before, requests: 1},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				if c.there != "" {
					m.Annotate(api.DaemonAnnotation, c.there)
				}
				if c.refused {
					w.Admit(func(r sim.Request) error {
						if strings.Contains(r.Body, api.DaemonAnnotation) {
							return sim.Forbidden("a", "an older policy")
						}
						return nil
					})
				}
				p := start(t, m, settings{dryRun: c.dryRun, change: func(cfg *daemon.Config, _ *sim.Process) { cfg.Mark = mark }})
				pass(time.Hour)
				if got := m.Node().Annotations[api.DaemonAnnotation]; got != c.want || marks(p) != c.requests {
					t.Errorf("%s, by %d requests", got, marks(p))
				}
				if c.dryRun {
					return
				}
				// People have the last word.
				m.Edit(func(n *corev1.Node) { delete(n.Annotations, api.DaemonAnnotation) })
				pass(time.Hour)
				if marks(p) != c.requests {
					t.Errorf("written again: %d", marks(p))
				}
				m.Drain.Pods(0)
				m.Touch(sentinelPath, "")
				pass(time.Minute)
				if phaseOn(m) != api.PhaseRebooting {
					t.Errorf("%+v", w.Record("a"))
				}
			})
		})
	}
}

// The mark waits for an API server that is away, and for what matters more.
func TestMarkWaits(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		p := start(t, m, settings{change: func(cfg *daemon.Config, p *sim.Process) {
			cfg.Mark = "{}"
			p.Link.Cut()
		}})
		pass(10 * time.Minute)
		p.Link.Mend()
		m.Drain.Pods(0)
		m.Touch(sentinelPath, "")
		pass(2 * time.Minute)
		if got := m.Node().Annotations[api.DaemonAnnotation]; got != "{}" || phaseOn(m) != api.PhaseRebooting {
			t.Errorf("%q, %s", got, phaseOn(m))
		}
	})
}

// A configuration file that is refused is told of on the Node as long as it is.
func TestRefusedConfigIsTold(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		why := newSetting("")
		start(t, m, settings{change: func(cfg *daemon.Config, _ *sim.Process) { cfg.ConfigRefused = func() string { return *why.Load() } }})
		pass(time.Minute)
		says := func() bool {
			for _, c := range m.Node().Status.Conditions {
				if c.Type == api.RebootRequired {
					return strings.Contains(c.Message, "slots: 0")
				}
			}
			return false
		}
		why.set("slots: 0 is not a number")
		pass(time.Minute)
		events := w.Events("a")
		if !says() || len(events) == 0 || events[len(events)-1].Reason != string(api.ReasonConfigRefused) || events[len(events)-1].Type != corev1.EventTypeWarning {
			t.Errorf("condition: %t; %+v", says(), events)
		}
		why.set("")
		pass(time.Minute)
		if says() {
			t.Error("the condition still says so")
		}
	})
}

// While the configuration file is refused no reboot begins, and none is ordered: with that
// file the daemon would not start after it, and the node would stay cordoned with its slot.
func TestRefusedConfigHoldsReboots(t *testing.T) {
	for _, phase := range []api.Phase{api.PhaseIdle, api.PhaseQueued, api.PhaseDraining, api.PhaseVerifying} {
		t.Run(string(phase), func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				why := newSetting("")
				s := settings{change: func(cfg *daemon.Config, _ *sim.Process) { cfg.ConfigRefused = func() string { return *why.Load() } }}
				bringTo(t, m, s, phase)
				why.set("slots: 0 is not a number")
				if phase == api.PhaseIdle {
					m.Touch(sentinelPath, "")
				}
				m.Edit(func(n *corev1.Node) { delete(n.Annotations, api.HoldAnnotation) })
				m.Drain.Pods(0)
				if phase == api.PhaseVerifying {
					m.KubeletReports(true, "")
					pass(5 * time.Minute)
					wantIdle(t, m)
					return
				}
				if phase == api.PhaseQueued {
					w.ClearSlot(slot0)
				}
				pass(5 * time.Minute)
				if is := phaseOn(m); is == api.PhaseRebooting || phase != api.PhaseDraining && is != api.PhaseWaiting {
					t.Errorf("it is %s", is)
				}
				if got := w.Condition("a", api.RebootRequired).Message; strings.Count(got, "slots: 0") != 1 {
					t.Errorf("the condition: %s", got)
				}
				why.set("")
				pass(time.Minute)
				if is := phaseOn(m); phase != api.PhaseQueued && is != api.PhaseRebooting {
					t.Errorf("it is %s after the file was mended", is)
				}
			})
		})
	}
}
