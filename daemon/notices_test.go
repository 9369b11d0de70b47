package daemon_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/sim"
	"rebootd.dev/daemon/windows"
)

// noticed are the Events of a reason, and the lines of the log that have their words.
func noticed(w *sim.World, reason api.Reason) (events, lines []string) {
	for _, e := range w.Events("a") {
		if e.Reason == string(reason) {
			events = append(events, e.Type+": "+e.Message)
		}
	}
	for _, e := range w.Journal(0) {
		if e.Kind == "log" && strings.Contains(e.Text, `"reason":"`+string(reason)+`"`) {
			lines = append(lines, e.Text)
		}
	}
	return events, lines
}

// What people write on the Node that means nothing is told, once for each value: by an
// Event, in the log, and in the condition for as long as it is there.
func TestAnnotationsThatMeanNothing(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		p := start(t, m, settings{})
		pass(time.Minute)
		wants := func(idle string, events ...string) {
			t.Helper()
			pass(time.Minute)
			if c := w.Condition("a", api.RebootRequired); c == nil || c.Reason != "NotRequired" || c.Message != idle {
				t.Errorf("the condition %+v, want %q", c, idle)
			}
			got, lines := noticed(w, api.ReasonAnnotationInvalid)
			if !slices.Equal(got, events) || len(lines) != len(events) {
				t.Errorf("Events %q, want %q; lines %q", got, events, lines)
			}
		}
		const (
			nothing = "no reboot is requested"
			now     = `the annotation rebootd.dev/request has the value "now", which is ignored: the only valid value is "reboot"`
			high    = `the annotation rebootd.dev/priority has the value "high", which is ignored: it is not an integer`
			reStart = `the annotation rebootd.dev/request has the value "restart", which is ignored: the only valid value is "reboot"`
		)
		wants(nothing)
		m.Annotate(api.RequestAnnotation, "now")
		wants(nothing+"; "+now, "Warning: "+now)
		pass(time.Hour)
		m.Annotate("example.com/x", "y")
		wants(nothing+"; "+now, "Warning: "+now)
		m.Annotate(api.PriorityAnnotation, "high")
		wants(nothing+"; "+now+"; "+high, "Warning: "+now, "Warning: "+high)
		m.Annotate(api.RequestAnnotation, "restart")
		wants(nothing+"; "+reStart+"; "+high, "Warning: "+now, "Warning: "+high, "Warning: "+reStart)
		m.Annotate(api.PriorityAnnotation, " 7")
		m.Annotate(api.RequestAnnotation, "")
		wants(nothing+`; the annotation rebootd.dev/priority has the value " 7", which is ignored: it is not an integer`, "Warning: "+now, "Warning: "+high, "Warning: "+reStart,
			`Warning: the annotation rebootd.dev/priority has the value " 7", which is ignored: it is not an integer`)
		m.Annotate(api.PriorityAnnotation, "-7")
		pass(time.Minute)
		if c := w.Condition("a", api.RebootRequired); c == nil || c.Message != nothing {
			t.Errorf("what was mended is still told: %+v", c)
		}
		// The next start tells the log, and makes no second Event.
		m.Annotate(api.RequestAnnotation, "now")
		pass(time.Minute)
		p.Stop()
		before, _ := noticed(w, api.ReasonAnnotationInvalid)
		start(t, m, settings{})
		pass(time.Minute)
		if after, _ := noticed(w, api.ReasonAnnotationInvalid); len(after) != len(before) {
			t.Errorf("after a restart: %q", after[len(before):])
		}
		// A node that waits has more important things to say, and a dry run says nothing.
		m.Touch(sentinelPath, "")
		pass(time.Minute)
		if c := w.Condition("a", api.RebootRequired); c == nil || strings.Contains(c.Message, "ignored") {
			t.Errorf("%+v", c)
		}
	})
}

// Programs that would reboot the machine by themselves are told of in the same way.
func TestOtherRebooters(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		const found = `/etc/apt/apt.conf.d/50x: unattended-upgrades reboots this machine (Automatic-Reboot "true")`
		registry := prometheus.NewRegistry()
		s := settings{change: func(c *daemon.Config, _ *sim.Process) {
			registry = prometheus.NewRegistry()
			c.Rebooters, c.Metrics = []string{found}, daemon.NewMetrics(registry, "test")
		}}
		p := start(t, m, s)
		pass(time.Minute)
		p.Stop()
		start(t, m, s)
		pass(time.Minute)
		want := "another program is configured to reboot this machine and would bypass rebootd's lock and drain; disable its automatic reboots: " + found
		events, lines := noticed(w, api.ReasonOtherRebooter)
		if fmt.Sprint(events) != "[Warning: "+want+"]" || len(lines) != 2 {
			t.Errorf("Events %q, lines %q", events, lines)
		}
		if c := w.Condition("a", api.RebootRequired); c == nil || c.Message != "no reboot is requested; "+want {
			t.Errorf("%+v", c)
		}
		m.Annotate("weave.works/kured-most-recent-reboot-needed", "2026-11-24T01:02:03Z")
		pass(time.Minute)
		kured := "kured has marked this node (annotation weave.works/kured-most-recent-reboot-needed=2026-11-24T01:02:03Z) and would bypass rebootd's lock and drain; remove kured, or, if it is no longer installed: kubectl annotate node a weave.works/kured-most-recent-reboot-needed-"
		if events, _ = noticed(w, api.ReasonOtherRebooter); len(events) != 2 || events[1] != "Warning: "+kured {
			t.Errorf("Events %q", events)
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if v := f.GetMetric()[0].GetGauge().GetValue(); f.GetName() == "rebootd_other_rebooters" && v != 2 {
				t.Errorf("%s is %v", f.GetName(), v)
			}
		}
	})
}

// Windows that cannot be read are told when they are set, not in the night for which they
// were meant.
func TestWindowsThatCannotBeReadAreTold(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		p := start(t, m, withWindows(windows.Settings{}))
		pass(time.Minute)
		m.Annotate(api.WindowsAnnotation, "whenever")
		pass(time.Hour)
		want := `the annotation rebootd.dev/windows must be corrected or removed: "whenever": the time of day is missing; write a window like "Mon-Fri 22:00-04:00 Europe/Berlin"; no reboot begins until then`
		if events, lines := noticed(w, api.ReasonAnnotationInvalid); len(events) != 1 || events[0] != "Warning: "+want || len(lines) != 1 {
			t.Errorf("Events %q, lines %q", events, lines)
		}
		if c := w.Condition("a", api.RebootRequired); c == nil || c.Status != corev1.ConditionFalse || !strings.Contains(c.Message, want) {
			t.Errorf("people are told %+v", c)
		}
		before := len(p.Link.Requests())
		pass(6 * time.Hour)
		if r := p.Link.Requests()[before:]; len(r) > 0 {
			t.Errorf("%d requests while nothing changes: %+v", len(r), r[0])
		}
		m.Annotate(api.WindowsAnnotation, "00:00-24:00")
		pass(time.Minute)
		if c := w.Condition("a", api.RebootRequired); c == nil || strings.Contains(c.Message, "whenever") {
			t.Errorf("after it was corrected people are told %+v", c)
		}
	})
}

// In a dry run nothing is written to the cluster.
func TestNoticesOfADryRun(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		m.Annotate(api.RequestAnnotation, "now")
		start(t, m, settings{dryRun: true})
		pass(time.Minute)
		if events, lines := noticed(w, api.ReasonAnnotationInvalid); len(events) > 0 || len(lines) != 1 {
			t.Errorf("Events %q, lines %q", events, lines)
		}
	})
}

// What kured has left behind is told with its age and with the way to clear it, and is not
// told anew while nothing changes.
func TestKuredIsLeftBehind(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		m.Annotate("weave.works/kured-reboot-in-progress", "1999-12-29T01:02:03Z")
		start(t, m, settings{})
		m.Touch(sentinelPath, "")
		pass(24 * time.Hour)
		want := "kured is at work on this node (annotation weave.works/kured-reboot-in-progress, since 1999-12-29T01:02:03Z, before this boot); " +
			"if kured is no longer installed: kubectl annotate node a weave.works/kured-reboot-in-progress-"
		if c := w.Condition("a", api.RebootRequired); c == nil || c.Reason != "Blocked" || !strings.Contains(c.Message, want) {
			t.Errorf("%+v", c)
		}
		if events, _ := noticed(w, api.ReasonBlocked); len(events) != 1 {
			t.Errorf("Events %q", events)
		}
		m.Annotate("weave.works/kured-reboot-in-progress", "")
		pass(time.Minute)
		if r := w.Record("a"); r == nil || r.Phase != api.PhaseDraining {
			t.Errorf("%+v", r)
		}
	})
}
