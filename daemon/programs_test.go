package daemon_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/sim"
	"rebootd.dev/daemon/windows"
)

// What programs are told: the annotation rebootd.dev/status.

// statusOn is the status on a machine's Node, nil if there is none.
func statusOn(t *testing.T, m *sim.Machine) *api.Status {
	t.Helper()
	text := m.Node().Annotations[api.StatusAnnotation]
	if text == "" {
		return nil
	}
	s, err := api.ParseStatus([]byte(text))
	if err != nil || len(text) > api.MaxStatus {
		t.Fatalf("%d bytes: %v", len(text), err)
	}
	return s
}

// statusFollows checks that a machine's status is that of its record and of its condition.
func statusFollows(t *testing.T, m *sim.Machine, phase api.Phase, reason api.Reason) *api.Status {
	t.Helper()
	s, r, c := statusOn(t, m), m.World.Record(m.Name), m.World.Condition(m.Name, api.RebootRequired)
	switch {
	case s == nil || r == nil || c == nil:
		t.Fatalf("%s: the status is %+v, the record %+v, the condition %+v", phase, s, r, c)
	case s.ID != r.ID || s.Phase != r.Phase || s.Phase != phase || s.Reason != reason || c.Reason != string(reason) || s.At.After(m.Now()):
		t.Errorf("want %s of %s (%s); the status is %+v, the condition %s", phase, r.ID, reason, s, c.Reason)
	}
	return s
}

// gateOf is how a gate stands by a status.
func gateOf(s *api.Status, name string) api.GateStatus {
	for _, g := range s.Gates {
		if g.Name == name {
			return g
		}
	}
	return api.GateStatus{}
}

// The status says what the condition says, in every phase, with what programs would have to
// take from its words. It is never written but with the condition or the record, and goes
// with the record.
func TestStatusForPrograms(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		entries := []string{"Sat 01:00-04:00", "freeze: 2030-12-20..2031-01-03"}
		s := withWindows(windows.Settings{Entries: entries})
		s.limit, s.same = time.Hour, "zone"
		m := w.AddMachine("a")
		other := newOther(t, w)
		other.takesWhatIsFree()
		p := start(t, m, s)
		pass(time.Minute)
		if got := statusOn(t, m); got != nil {
			t.Errorf("an idle node has %+v", got)
		}
		m.Touch(sentinelPath, "")
		pass(time.Minute)
		got := statusFollows(t, m, api.PhaseWaiting, api.ReasonOutsideWindow)
		if got.Slots != 1 || got.Zone != "zone" {
			t.Errorf("%d slots, the zone %q", got.Slots, got.Zone)
		}
		g := gateOf(got, "window")
		if g.State != api.GateClosed || g.Reason != api.ReasonOutsideWindow || !g.Soft || g.Until.Sub(time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC)).Abs() > 20*time.Minute || !got.Next.IsZero() ||
			gateOf(got, "hold").State != api.GateOpen || !slices.Equal(got.Windows, []string{entries[1] + " UTC", entries[0] + " UTC"}) || got.Drain != nil {
			t.Errorf("while it waits: %+v", got)
		}
		pass(time.Until(g.Until) + 15*time.Minute)
		if g := gateOf(statusFollows(t, m, api.PhaseQueued, api.ReasonQueued), "window"); g.State != api.GateOpen || g.Why != "" {
			t.Errorf("in the window: %+v", g)
		}
		other.releases(t)
		pass(time.Minute)
		got = statusFollows(t, m, api.PhaseDraining, api.ReasonDraining)
		if d := got.Drain; d == nil || d.Total != 4 || d.Left != 4 || d.Started.IsZero() || d.BlockedTotal != 0 {
			t.Errorf("while it drains: %+v", d)
		}
		m.Drain.Pods(1)
		m.Drain.Blocked("the budget db needs 2 healthy pods and has 2")
		pass(time.Minute)
		got = statusFollows(t, m, api.PhaseDraining, api.ReasonDrainBlocked)
		if d := got.Drain; d.Left != 1 || d.BlockedTotal != 1 || len(d.Blocked) != 1 || d.Blocked[0].Name != "db-0" || d.Blocked[0].Reason != api.PodBudgetExhausted ||
			d.Blocked[0].Message == "" || d.Blocked[0].Since.IsZero() {
			t.Errorf("while a pod is blocked: %+v", d)
		}
		for phaseOn(m) == api.PhaseDraining {
			pass(10 * time.Second)
		}
		pass(10 * time.Second)
		got = statusFollows(t, m, api.PhaseWaiting, api.ReasonDrainTimedOut)
		if r := w.Record("a"); !got.Next.Equal(r.NotBefore) || got.Drain != nil {
			t.Errorf("after the drain has timed out: %+v, not before %s", got, r.NotBefore)
		}
		m.Drain.Pods(0)
		pass(2 * time.Minute)
		statusFollows(t, m, api.PhaseRebooting, api.ReasonRebooting)
		m.GoesDown()
		m.Boots()
		m.KubeletReports(false, "PLEG is not healthy")
		before := p
		p = start(t, m, s)
		pass(time.Minute)
		statusFollows(t, m, api.PhaseVerifying, api.ReasonVerifying)
		pass(20 * time.Minute)
		statusFollows(t, m, api.PhaseHalted, api.ReasonUnhealthy)
		m.KubeletReports(true, "")
		pass(time.Minute)
		if got := statusOn(t, m); got != nil || w.Record("a") != nil {
			t.Errorf("in the end: %+v", got)
		}
		for _, r := range append(before.Link.Requests(), p.Link.Requests()...) {
			has := func(text string) bool { return strings.Contains(r.Body, text) }
			if has(api.StatusAnnotation) && !has(api.RebootRequired) && !has(api.OperationAnnotation) {
				t.Errorf("a request that was not made for the condition: %s", r.Body)
			}
			if has(`"`+api.OperationAnnotation+`":null`) && !has(`"`+api.StatusAnnotation+`":null`) {
				t.Errorf("the record is removed alone: %s", r.Body)
			}
		}
	})
}

// An admission policy that is older than the status refuses the patch once; the condition and
// the record are written without it, then and from then on. A policy that refuses whatever is
// written is not taken for one.
func TestStatusThatAPolicyRefuses(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		refused, refuseAll := 0, false
		w.Admit(func(r sim.Request) error {
			if with := strings.Contains(r.Body, api.StatusAnnotation); with || refuseAll {
				refused++
				return sim.Forbidden("a", "ValidatingAdmissionPolicy 'rebootd-own-node' with binding 'rebootd' denied request: an older policy")
			}
			return nil
		})
		s := settings{}
		m.Drain.Pods(0)
		p := start(t, m, s)
		pass(time.Minute)
		m.Touch(sentinelPath, "")
		pass(time.Minute)
		if phaseOn(m) != api.PhaseRebooting || refused != 1 || w.Condition("a", api.RebootRequired).Reason != string(api.ReasonRebooting) {
			t.Errorf("%s, %d requests were refused", phaseOn(m), refused)
		}
		p.Stop()
		m.GoesDown()
		m.Boots()
		m.KubeletReports(true, "")
		p = start(t, m, s)
		pass(time.Minute)
		if r := w.Record("a"); r != nil || refused > 2 {
			t.Errorf("%+v, %d requests were refused", r, refused)
		}
		p.Stop()

		refuseAll = true
		start(t, m, s)
		m.Touch(sentinelPath, "")
		pass(time.Minute)
		w.Admit(nil)
		m.Annotate(api.HoldAnnotation, "so that it waits")
		pass(5 * time.Minute)
		statusFollows(t, m, api.PhaseWaiting, api.ReasonHeld)
	})
}

// A status that an older version has left behind goes with the next condition, and costs no
// request of its own.
func TestStatusOfAnOlderVersion(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		m.Edit(func(n *corev1.Node) {
			n.Annotations = map[string]string{api.StatusAnnotation: `{"v":1,"id":"x","phase":"Queued"}`}
		})
		p := start(t, m, settings{change: func(c *daemon.Config, _ *sim.Process) {}})
		pass(time.Minute)
		patches := 0
		for _, r := range p.Link.Requests() {
			if r.Verb == "patch" && r.Resource == "nodes" && !r.DryRun {
				patches++
			}
		}
		if got := statusOn(t, m); got != nil || patches != 1 {
			t.Errorf("%+v, by %d patches", got, patches)
		}
	})
}

// A node that an older version has had wait gets its status when the new one starts, with the
// annotation that says which that is and by no request of its own: its condition may say the
// same for days.
func TestStatusAfterAnUpgrade(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		p := bringTo(t, m, settings{}, api.PhaseWaiting)
		pass(time.Minute)
		p.Kill()
		for name, leave := range map[string]string{"none": "", "a stale one": `{"v":1,"id":"x","phase":"Queued"}`} {
			m.Edit(func(n *corev1.Node) {
				delete(n.Annotations, api.StatusAnnotation)
				if leave != "" {
					n.Annotations[api.StatusAnnotation] = leave
				}
			})
			p = start(t, m, settings{change: func(c *daemon.Config, _ *sim.Process) { c.Mark = `{"version":"after ` + name + `"}` }})
			pass(time.Minute)
			patches := 0
			for _, r := range p.Link.Requests() {
				if r.Verb == "patch" && r.Resource == "nodes" && !r.DryRun {
					patches++
				}
			}
			if s := statusFollows(t, m, api.PhaseWaiting, api.ReasonHeld); gateOf(s, "hold").State != api.GateClosed || patches != 1 {
				t.Errorf("%s: %+v, by %d patches", name, s, patches)
			}
			p.Kill()
		}
	})
}

// An API server that has just started knows no roles yet, and refuses the first write: that is
// no policy that does not know an annotation. Nothing is left out for it.
func TestRefusalThatIsNoPolicys(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		refuse := false
		w.Admit(func(r sim.Request) error {
			if !refuse || r.DryRun {
				return nil
			}
			refuse = false
			return sim.Forbidden("a", `User "system:serviceaccount:rebootd:rebootd" cannot patch resource "nodes" in API group "" at the cluster scope`)
		})
		bringTo(t, m, settings{}, api.PhaseQueued)
		refuse = true
		m.RemoveSentinel(sentinelPath)
		pass(time.Minute)
		if h := historyOf(t, m); len(h.Operations) != 1 {
			t.Errorf("the operation is not in the history: %+v", h)
		}
		refuse = true
		m.Touch(sentinelPath, "")
		pass(30 * time.Second)
		if got := statusOn(t, m); got == nil {
			t.Error("no status is written any more")
		}
	})
}

// A webhook denies for a moment, or the policy that is older than the annotations is replaced:
// the next operation has its status again.
func TestRefusalThatPasses(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		denies, refused := true, 0
		w.Admit(func(r sim.Request) error {
			if denies && strings.Contains(r.Body, api.StatusAnnotation) {
				refused++
				return sim.Forbidden("a", "ValidatingAdmissionPolicy 'rebootd-own-node' with binding 'rebootd' denied request: an older policy")
			}
			return nil
		})
		start(t, m, settings{})
		other := newOther(t, w)
		other.takesWhatIsFree()
		for range 2 {
			m.Touch(sentinelPath, "")
			pass(30 * time.Minute)
			m.RemoveSentinel(sentinelPath)
			pass(time.Minute)
		}
		if refused != 2 {
			t.Errorf("%d requests were refused, want one an operation", refused)
		}
		denies = false
		m.Touch(sentinelPath, "")
		pass(time.Minute)
		statusFollows(t, m, api.PhaseQueued, api.ReasonQueued)
		m.RemoveSentinel(sentinelPath)
		pass(time.Minute)
		if got := statusOn(t, m); got != nil {
			t.Errorf("the status outlasts the record: %+v", got)
		}
	})
}

// The Leases cannot be read for long, when a node in the queue does not know whether it has a
// slot: what it waited for before is not said any more.
func TestWordsWhileTheSlotCannotBeLookedUp(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		p := bringTo(t, m, settings{}, api.PhaseWaiting)
		p.Kill()
		p = start(t, m, settings{})
		p.Link.Meet(func(r sim.Request) sim.Fate {
			if r.Resource == "leases" {
				return sim.Fate{Refused: sim.Forbidden("a", "no role says so")}
			}
			return sim.Fate{}
		})
		m.Annotate(api.HoldAnnotation, "")
		m.Edit(func(n *corev1.Node) { delete(n.Annotations, api.HoldAnnotation) })
		pass(10 * time.Minute)
		c := w.Condition("a", api.RebootRequired)
		if phaseOn(m) != api.PhaseQueued || c.Reason != string(api.ReasonQueued) {
			t.Errorf("%s; the condition is %s: %s", phaseOn(m), c.Reason, c.Message)
		}
		if n := len(p.Link.Requests()); n > 100 {
			t.Errorf("%d requests", n)
		}
	})
}
