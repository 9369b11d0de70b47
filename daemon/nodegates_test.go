package daemon_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/approval"
	"rebootd.dev/daemon/conditions"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/sim"
)

// withGate has a gate more.
func withGate(g gate.Gate) settings {
	return settings{change: func(cfg *daemon.Config, _ *sim.Process) { cfg.Gates = append(cfg.Gates, g) }}
}

// rebootsInASecond has the machine reboot when it is ordered to, with a daemon afterwards.
func rebootsInASecond(t *testing.T, m *sim.Machine, s settings) {
	m.OnCommand = func(cmd *sim.Command) error {
		cmd.End(0, "")
		time.AfterFunc(time.Second, func() {
			m.Boots()
			start(t, m, s)
		})
		time.AfterFunc(20*time.Second, func() { m.KubeletReports(true, "") })
		return nil
	}
}

// told checks where a node is, and what its condition says.
func told(t *testing.T, m *sim.Machine, at string, reason api.Reason, words ...string) {
	t.Helper()
	if got := where(m); got != at {
		t.Errorf("the node is %s, want %s", got, at)
	}
	c := m.World.Condition(m.Name, api.RebootRequired)
	if c == nil || c.Reason != string(reason) {
		t.Errorf("people are told %+v, want %s", c, reason)
		return
	}
	for _, w := range words {
		if !strings.Contains(c.Message, w) {
			t.Errorf("people are told %q, want %q", c.Message, w)
		}
	}
}

// setCondition is what node-problem-detector does.
func setCondition(m *sim.Machine, kind, status, message string) {
	m.Edit(func(n *corev1.Node) {
		for i := range n.Status.Conditions {
			if c := &n.Status.Conditions[i]; string(c.Type) == kind {
				if c.Status != corev1.ConditionStatus(status) {
					c.LastTransitionTime = metav1.Now()
				}
				c.Status, c.Message = corev1.ConditionStatus(status), message
				return
			}
		}
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{
			Type: corev1.NodeConditionType(kind), Status: corev1.ConditionStatus(status), Reason: "DockerHung", Message: message, LastTransitionTime: metav1.Now(),
		})
	})
}

// A condition of the Node that blocks keeps the node out of the queue, has it leave the
// queue, does not have it put back, and keeps it from being healthy after the boot. That
// its message changes each minute makes no Event.
func TestConditionsBlock(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		rule, err := conditions.ParseRule("KernelDeadlock=True")
		if err != nil {
			t.Fatal(err)
		}
		s := withGate(&conditions.Gate{Rules: []conditions.Rule{rule}})
		rebootsInASecond(t, m, s)
		setCondition(m, "KernelDeadlock", "True", "task 1 hangs")
		since := time.Now().UTC().Format(time.RFC3339)
		start(t, m, s)
		pass(time.Minute)
		m.Touch(sentinelPath, "")
		pass(time.Minute)
		told(t, m, "Waiting", api.ReasonConditionBlocks, "the condition KernelDeadlock of the Node is True since "+since+" (DockerHung)", "KernelDeadlock says: task 1 hangs")
		before := len(w.Events("a"))
		for i := range 5 {
			setCondition(m, "KernelDeadlock", "True", "task "+strings.Repeat("1", i)+" hangs")
			pass(time.Minute)
		}
		if now := w.Events("a"); len(now) != before {
			t.Errorf("its words have changed, and there are %d Events more", len(now)-before)
		}

		other := newOther(t, w)
		other.takesWhatIsFree()
		setCondition(m, "KernelDeadlock", "False", "")
		pass(time.Minute)
		told(t, m, "Queued", api.ReasonQueued)
		setCondition(m, "KernelDeadlock", "True", "task 2 hangs")
		pass(time.Minute)
		told(t, m, "Waiting", api.ReasonConditionBlocks)
		setCondition(m, "KernelDeadlock", "False", "")
		other.releases(t)
		pass(time.Minute)
		told(t, m, "Draining, with a slot, cordoned", api.ReasonDraining)

		setCondition(m, "KernelDeadlock", "Unknown", "")
		pass(time.Minute)
		told(t, m, "Draining, with a slot, cordoned", api.ReasonDraining)
		m.Drain.Pods(0)
		pass(time.Minute)
		told(t, m, "Verifying, with a slot, cordoned", api.ReasonVerifying, "waiting for the node to be healthy; the condition KernelDeadlock of the Node is Unknown")
		setCondition(m, "KernelDeadlock", "False", "")
		pass(time.Minute)
		if got := where(m); got != "idle" || m.BootID() == "boot-1-a" {
			t.Errorf("the node is %s", got)
		}
	})
}

// A reboot waits until it is approved, by a command that people are told, is put back when
// the approval is withdrawn, and begins when it is given again. Who has approved is told
// by an Event. The approval does not serve the next operation.
func TestApprovalIsWaitedFor(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		s := withGate(approval.Gate{})
		rebootsInASecond(t, m, s)
		p := start(t, m, s)
		pass(time.Minute)
		m.Touch(sentinelPath, "")
		pass(time.Minute)
		id := w.Record("a").ID
		told(t, m, "Waiting", api.ReasonAwaitingApproval, "this reboot needs approval: kubectl annotate node a rebootd.dev/approval="+id)
		m.Annotate(api.ApprovalAnnotation, "20200101T000000.000-abcdef01")
		pass(time.Minute)
		told(t, m, "Waiting", api.ReasonAwaitingApproval, "the annotation approves the operation 20200101T000000.000-abcdef01, and this one is "+id)

		approved := func() (out []string) {
			for _, e := range w.Events("a") {
				if e.Reason == string(api.ReasonApproved) {
					out = append(out, e.Type+": "+e.Message)
				}
			}
			return out
		}
		if a := approved(); len(a) != 0 {
			t.Errorf("nobody has approved it: %q", a)
		}
		m.Annotate(api.ApprovalAnnotation, id)
		pass(time.Minute)
		told(t, m, "Draining, with a slot, cordoned", api.ReasonDraining)
		want := "Normal: the operation " + id + " is approved by the annotation rebootd.dev/approval=" + id + ", which kubectl set at " + time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
		if a := approved(); len(a) != 1 || a[0] != want {
			t.Errorf("people are told %q, want %q", a, want)
		}
		logged := func() (lines int) {
			for _, e := range w.Journal(0) {
				if e.Kind == "log" && strings.Contains(e.Text, `"reason":"Approved"`) {
					lines++
				}
			}
			return lines
		}
		if n := logged(); n != 1 {
			t.Errorf("the log says it %d times", n)
		}
		p.Kill() // and are not told again
		start(t, m, s)
		pass(time.Minute)
		if a := approved(); len(a) != 1 {
			t.Errorf("after a new start people are told %q", a)
		}

		m.Annotate(api.ApprovalAnnotation, "")
		pass(time.Minute)
		told(t, m, "Waiting", api.ReasonAwaitingApproval, "this reboot needs approval")
		withdrawn := func(e *corev1.Event) bool {
			return strings.HasPrefix(e.Message, "the approval of this reboot was withdrawn")
		}
		if !slices.ContainsFunc(w.Events("a"), withdrawn) {
			t.Error("people are not told that the approval was withdrawn")
		}
		m.Annotate(api.ApprovalAnnotation, id)
		pass(time.Minute)
		if a := approved(); len(a) != 2 {
			t.Errorf("it is approved again, and people are told %q", a)
		}
		m.Drain.Pods(0)
		pass(5 * time.Minute)
		if got := where(m); got != "idle" || m.BootID() == "boot-1-a" {
			t.Errorf("it is approved, and the node is %s", got)
		}
		if n := logged(); n != 3 { // at first, by the next start, and when it was given again
			t.Errorf("the log says it %d times", n)
		}

		m.Touch(sentinelPath, "again")
		pass(time.Minute)
		told(t, m, "Waiting", api.ReasonAwaitingApproval, "the annotation approves the operation "+id)
	})
}

// An approval that runs out while the node drains withdraws nothing; one that has run out
// before begins nothing.
func TestApprovalUntil(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		s := withGate(approval.Gate{})
		rebootsInASecond(t, m, s)
		m.Annotate(api.ApprovalAnnotation, "until "+time.Now().Add(5*time.Minute).UTC().Format(time.RFC3339))
		start(t, m, s)
		pass(time.Minute)
		m.Touch(sentinelPath, "")
		pass(20 * time.Minute)
		told(t, m, "Draining, with a slot, cordoned", api.ReasonDraining)
		m.Drain.Pods(0)
		pass(5 * time.Minute)
		if got := where(m); got != "idle" || m.BootID() == "boot-1-a" {
			t.Errorf("what had begun was not finished: the node is %s", got)
		}
		m.Touch(sentinelPath, "again")
		pass(time.Minute)
		told(t, m, "Waiting", api.ReasonAwaitingApproval, "the annotation approves what began before ")
	})
}

// The approval is not waited for any more once the deadline has passed.
func TestApprovalIsPassedOverAfterTheDeadline(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		s := settings{change: func(cfg *daemon.Config, _ *sim.Process) {
			cfg.Gates = append(cfg.Gates, approval.Gate{})
			cfg.Policy.Deadline = time.Hour
		}}
		start(t, m, s)
		pass(time.Minute)
		m.Touch(sentinelPath, "")
		pass(50 * time.Minute)
		told(t, m, "Waiting", api.ReasonAwaitingApproval)
		pass(15 * time.Minute)
		told(t, m, "Draining, with a slot, cordoned", api.ReasonDraining)
	})
}
