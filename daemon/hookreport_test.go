package daemon_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/hook"
	"rebootd.dev/daemon/sim"
)

func reportOf(t *testing.T, m *sim.Machine) *api.Report {
	t.Helper()
	r, err := api.ParseReport([]byte(m.Node().Annotations[api.ReportAnnotation]))
	if err != nil {
		t.Fatalf("the report: %v", err)
	}
	return r
}

// A hook that fails before any pod was listed is in the report, in place of what that says
// of the last operation; what all operations have come to stays.
func TestReportOfAHookBeforeTheDrain(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		m.Annotate(api.ReportAnnotation, `{"v":1,"id":"last night's","started":"1999-12-31T01:00:00Z","totals":{"drained":7},"pods":[],"past":{"results":{"RebootVerified":3}}}`)
		s := settings{pre: []daemon.Stage{daemon.PreDrainHooks(m.Hooks)}}
		start(t, m, s)
		m.Touch(sentinelPath, "")
		pass(10 * time.Second)
		m.Hooks.End(hook.PreDrain, "exit status 1: replica lags")
		pass(10 * time.Second)
		r, record := reportOf(t, m), w.Record("a")
		if record == nil || r.ID != record.ID || len(r.Hooks) < 1 || r.Hooks[0].Error != "exit status 1: replica lags" || r.Hooks[0].Undo || r.Totals[api.OutcomeDrained] != 0 || !r.Started.IsZero() {
			t.Errorf("%+v, the record %+v", r, record)
		}
		if r.Past == nil || m.Node().Spec.Unschedulable {
			t.Errorf("the past %+v, cordoned %t", r.Past, m.Node().Spec.Unschedulable)
		}
	})
}

// After a restart what is in the report of this operation stays, and the hooks that are
// undone join it.
func TestReportOfHooksAfterARestart(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		s := settings{pre: []daemon.Stage{daemon.PreDrainHooks(m.Hooks)}}
		p := start(t, m, s)
		m.Touch(sentinelPath, "")
		pass(10 * time.Second)
		m.Hooks.End(hook.PreDrain, "")
		pass(10 * time.Second)
		before := reportOf(t, m)
		if len(before.Hooks) != 1 {
			t.Fatalf("%+v", before)
		}
		m.Hooks.SlowUndo()
		m.Annotate(api.HoldAnnotation, "x")
		pass(time.Second)
		p.Stop()
		// As if the first start had listed pods.
		before.Totals = map[api.Outcome]int{api.OutcomeDrained: 7}
		data, err := json.Marshal(before)
		if err != nil {
			t.Fatal(err)
		}
		m.Annotate(api.ReportAnnotation, string(data))
		start(t, m, s)
		pass(time.Second)
		m.Hooks.End("undo", "exit status 2: still lags")
		pass(10 * time.Second)
		r := reportOf(t, m)
		if r.ID != before.ID || r.Totals[api.OutcomeDrained] != 7 || len(r.Hooks) != 2 || r.Hooks[0] != before.Hooks[0] || !r.Hooks[1].Undo || r.Hooks[1].Error != "exit status 2: still lags" {
			t.Errorf("%s", fmt.Sprint(r))
		}
	})
}
