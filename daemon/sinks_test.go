package daemon_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/sim"
)

// The Node's condition, its Events, the log and systemd's status say the same sentence: the
// README promises it. Each event of each story checks it, and so does a gate of each reason that
// a gate may have, at each point of an operation.

// sentence is what people are told of a state.
type sentence struct{ reason, message string }

// heard takes in a line of the log that tells of a state; kind is as in the stories.
func (s *story) heard(l line, kind string) {
	switch api.Reason(l.Reason) {
	case api.ReasonSlotAcquired, api.ReasonReleased, api.ReasonUncordoned: // in passing
	default:
		if l.Phase == nil {
			return // of something else
		}
		s.said = sentence{l.Reason, l.Message}
		if kind == "log" && *l.Phase == "" && slices.Contains(s.before, s.said) {
			return // how the last operation has ended: there is an Event of an earlier start
		}
		s.before = append(s.before, s.said)
		for _, more := range []string{"; the deadline of ", "; it was to be aborted"} { // told once
			s.said.message, _, _ = strings.Cut(s.said.message, more)
		}
	}
	if !s.cfg.dryRun && kind == "log" && s.m.Node() != nil && l.Reason != string(api.ReasonNotRequired) {
		s.t.Errorf("in the log, and not in an Event: %s", l)
	}
}

// agrees checks that all say the same, at the latest in a second, and tells what has happened
// in that.
func (s *story) agrees(where string) (told string) {
	if s.disagreement() == "" {
		return ""
	}
	pass(time.Second) // it may just be written down
	told = s.tell()
	if why := s.disagreement(); why != "" {
		s.t.Errorf("%s: %s", where, why)
	}
	return told
}

// disagreement says who says something else; "": nobody. The condition, and with it systemd's
// status, may say more after a semicolon; the status still more, in parentheses.
func (s *story) disagreement() string {
	c := s.w.Condition("a", api.RebootRequired)
	if s.cfg.dryRun || s.apiTrouble || c == nil || s.p == nil || s.p.Dead() || !s.m.Up() {
		return ""
	}
	shown, status := fmt.Sprintf("%s: %s", c.Reason, c.Message), s.p.Status()
	if rest, ok := strings.CutPrefix(status, shown); !ok || rest != "" && !strings.HasPrefix(rest, " (") {
		return fmt.Sprintf("the condition says\n%s\nand systemd's status\n%s", shown, status)
	}
	if s.said.reason != c.Reason || !begins(c.Message, s.said.message) {
		return fmt.Sprintf("the condition (%s) says\n%s\nand the log and the Events\n%s: %s", c.Status, shown, s.said.reason, s.said.message)
	}
	return ""
}

// begins says whether a text is a sentence, or that and more.
func begins(text, with string) bool {
	rest, ok := strings.CutPrefix(text, with)
	return ok && (rest == "" || strings.HasPrefix(rest, "; "))
}

// ofGates are the reasons that gates have.
var ofGates = []api.Reason{
	api.ReasonHeld, api.ReasonPaused, api.ReasonBlocked, api.ReasonCannotReboot, api.ReasonConfigRefused, api.ReasonOutsideWindow, api.ReasonFrozen,
	api.ReasonAwaitingApproval, api.ReasonAlertsFiring, api.ReasonPodsBlock, api.ReasonConditionBlocks, api.ReasonPolicyDenies, api.ReasonWouldNotDrain,
	api.ReasonCoolingDown, api.ReasonPodsNotReady,
}

// inPassing are those of which the log and an Event tell, and which no condition has.
var inPassing = []api.Reason{api.ReasonApproved, api.ReasonAnnotationInvalid, api.ReasonOtherRebooter}

// Every reason of the vocabulary is told by a story, or is of a gate, or is told in passing.
func TestEveryReasonIsTold(t *testing.T) {
	paths, err := filepath.Glob("testdata/stories/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal(paths, err)
	}
	var all strings.Builder
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(data)
	}
	for _, r := range api.Reasons() {
		if !slices.Contains(ofGates, r.Reason) && !slices.Contains(inPassing, r.Reason) && !strings.Contains(all.String(), string(r.Reason)+": ") {
			t.Errorf("nothing tells of %s", r.Reason)
		}
	}
}

// Whatever gate is closed, and wherever it is, all say the same.
func TestGatesAreToldAlike(t *testing.T) {
	for _, reason := range ofGates {
		t.Run(string(reason), func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				s := &story{t: t, w: w, m: w.AddMachine("a"), other: newOther(t, w)}
				s.other.takesWhatIsFree()
				toy := newToy("toy", gate.All, open)
				toy.kind.Reason = reason
				s.cfg.change = func(c *daemon.Config, _ *sim.Process) { c.Gates = append(c.Gates, toy) }
				s.start()
				pass(step)
				s.m.Touch(sentinelPath, "")
				after := func(d time.Duration, where string) {
					t.Helper()
					pass(d)
					s.tell()
					s.agrees(where)
				}
				closedAt := func(at gate.Points, phase api.Phase) {
					t.Helper()
					toy.set(gate.Verdict{State: gate.Closed, Why: "the toy is in the way", At: at})
					after(step, at.String())
					if is := phaseOn(s.m); is != phase || s.said.reason != string(reason) && phase != api.PhaseVerifying {
						t.Errorf("%s: %s, and told is %+v", at, is, s.said)
					}
				}
				opened := func(phase api.Phase) {
					t.Helper()
					toy.set(open)
					after(2*time.Minute+step, "open")
					if is := phaseOn(s.m); is != phase {
						t.Errorf("open: %s, want %s", is, phase)
					}
				}
				closedAt(gate.BeforeQueue, api.PhaseWaiting)
				opened(api.PhaseQueued)
				closedAt(gate.InQueue, api.PhaseQueued)
				opened(api.PhaseQueued)
				toy.set(gate.Verdict{State: gate.Closed, Why: "the toy is in the way", At: gate.WithSlot})
				s.other.releases(t)
				closedAt(gate.WithSlot, api.PhaseQueued)
				closedAt(gate.OnTurn, api.PhaseWaiting)
				opened(api.PhaseDraining)
				closedAt(gate.BeforeQueue|gate.WhileDraining, api.PhaseWaiting)
				opened(api.PhaseDraining)
				s.m.Drain.Pods(0)
				closedAt(gate.BeforeOrder, api.PhaseDraining)
				opened(api.PhaseRebooting)
				s.m.GoesDown()
				s.m.Boots()
				s.m.KubeletReports(true, "")
				s.start()
				closedAt(gate.BeforeUncordon, api.PhaseVerifying)
				after(20*time.Minute, "halted")
				opened(api.PhaseIdle)
				after(20*time.Minute, "idle")
			})
		})
	}
}
