package daemon_test

import (
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/sim"
)

// windowed has a soft gate that stays closed: a window that does not come.
func windowed(deadline time.Duration) settings {
	g := newToy("window", gate.BeforeQueue, gate.Verdict{State: gate.Closed, Why: "the window is not open"})
	g.kind.Soft, g.kind.Reason = true, api.ReasonOutsideWindow
	return settings{noDrain: true, change: func(c *daemon.Config, _ *sim.Process) {
		c.Gates, c.Policy.Deadline = append(c.Gates[:len(c.Gates):len(c.Gates)], g), deadline
	}}
}

// eventWords are the messages of a node's Events.
func eventWords(w *sim.World, node string) string {
	var out []string
	for _, e := range w.Events(node) {
		out = append(out, e.Message)
	}
	return strings.Join(out, "\n")
}

// The deadline is told ahead, at no cost while the node waits; when it comes the soft gate is
// passed over, and people are told that it was.
func TestADeadlineComes(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		s := windowed(24 * time.Hour)
		rebootsInASecond(t, m, s)
		start(t, m, s)
		pass(time.Minute)
		first := m.BootID()
		m.Touch(sentinelPath, "kernel")
		pass(time.Minute)
		by := w.Record("a").Deadline
		if want := w.Record("a").Requested.Add(24 * time.Hour); by.Sub(want).Abs() > time.Second {
			t.Errorf("the deadline is %s, want %s", by, want)
		}
		told(t, m, "Waiting", api.ReasonOutsideWindow, "the window is not open; the deadline is "+by.Format(time.RFC3339))
		version := m.Node().ResourceVersion
		pass(23 * time.Hour)
		told(t, m, "Waiting", api.ReasonOutsideWindow, "; the deadline is "+by.Format(time.RFC3339))
		if now := m.Node().ResourceVersion; now != version {
			t.Errorf("the Node was written while it waited: %s, then %s", version, now)
		}
		pass(time.Until(by) - time.Second)
		if m.BootID() != first || where(m) != "Waiting" {
			t.Errorf("it is %s before the deadline", where(m))
		}
		pass(time.Minute)
		if m.BootID() == first || where(m) != "idle" {
			t.Errorf("it is %s after the deadline", where(m))
		}
		if words := eventWords(w, "a"); !strings.Contains(words, "so these were not waited for: OutsideWindow (the window is not open)") {
			t.Errorf("nobody is told at the cordon: %s", words)
		}
	})
}

// People set a deadline, also to postpone, and take it away again: each is one write of the
// waiting node. What is not valid is told, also while the node waits, and ignored. One that
// has served is left from the reboot before, and has no effect on the next.
func TestPeopleSetADeadline(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		s := windowed(24 * time.Hour)
		rebootsInASecond(t, m, s)
		start(t, m, s)
		pass(time.Minute)
		first := m.BootID()
		m.Touch(sentinelPath, "security deadline=12h deadline=soon")
		pass(time.Minute)
		requested := w.Record("a").Requested
		wants := func(by time.Duration, words ...string) {
			t.Helper()
			pass(time.Minute)
			if got := w.Record("a").Deadline.Sub(requested).Round(time.Minute); got != by {
				t.Errorf("the deadline is %s after the request, want %s", got, by)
			}
			told(t, m, "Waiting", api.ReasonOutsideWindow, words...)
		}
		wants(12*time.Hour, `/run/reboot-needed has the word "deadline=soon", which is ignored`)
		m.Annotate(api.DeadlineAnnotation, "tomorrow")
		wants(12*time.Hour, `the annotation rebootd.dev/deadline has the value "tomorrow", which is ignored: it is not a time by RFC 3339`)
		if events, _ := noticed(w, api.ReasonAnnotationInvalid); len(events) != 1 {
			t.Errorf("Events %q", events)
		}
		m.Annotate(api.DeadlineAnnotation, requested.Add(72*time.Hour).In(time.FixedZone("", 7200)).Format(time.RFC3339))
		wants(72*time.Hour, "the deadline is "+requested.Add(72*time.Hour).UTC().Format(time.RFC3339))
		pass(36 * time.Hour)
		m.Annotate(api.DeadlineAnnotation, requested.Add(73*time.Hour).UTC().Format(time.RFC3339))
		wants(73 * time.Hour)
		m.Annotate(api.DeadlineAnnotation, time.Now().Add(-time.Hour).UTC().Format(time.RFC3339))
		pass(time.Minute)
		if m.BootID() == first || where(m) != "idle" {
			t.Fatalf("it is %s after the deadline", where(m))
		}
		second := m.BootID()
		m.Touch(sentinelPath, "kernel")
		pass(time.Minute)
		told(t, m, "Waiting", api.ReasonOutsideWindow, "the machine has booted since", "the deadline is "+w.Record("a").Requested.Add(24*time.Hour).Truncate(time.Second).Format("2006-01-02T15:04"))
		if m.BootID() != second {
			t.Error("a deadline that has served has a machine reboot again")
		}
	})
}
