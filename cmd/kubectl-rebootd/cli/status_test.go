package cli

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rebootd.dev/daemon/api"
)

// statusLines are run in every situation.
var statusLines = []string{"status", "status -o wide", "status -o json", "status -o name", "status --exit-code"}

// onTerminal has a command print to a terminal of a size.
func onTerminal(width, height int) func(*env) {
	return func(e *env) { e.terminal = func() (int, int, bool) { return width, height, true } }
}

// TestStatusOnTerminal: what fits on no screen is folded, columns that do not fit are left
// out, and what needs a person is always there.
func TestStatusOnTerminal(t *testing.T) {
	for _, tt := range []struct {
		situation     string
		width, height int
		line          string
	}{
		{"queue", 130, 24, "status"},
		{"many", 160, 30, "status"},
		{"blocked", 80, 24, "status"},
		{"mixed", 100, 18, "status"},
		{"gates", 60, 12, "status"},
		{"idle", 100, 30, "status"},
		{"queue", 130, 24, "status node-07"},
	} {
		name := fmt.Sprintf("%s-%dx%d", strings.ReplaceAll(tt.line+" "+tt.situation, " ", "_"), tt.width, tt.height)
		t.Run(name, func(t *testing.T) {
			r := runIn(situations[tt.situation](), strings.Fields(tt.line+" --no-color"), onTerminal(tt.width, tt.height))
			golden(t, filepath.Join("terminal", name+".txt"), r.out+r.err)
			if tt.line == "status" && tt.height >= 18 && strings.Count(r.out, "\n") >= tt.height {
				t.Errorf("%d lines on a terminal of %d:\n%s", strings.Count(r.out, "\n"), tt.height, r.out)
			}
		})
	}
	for name, situation := range situations { // whatever the height
		all := runIn(situation(), []string{"status"})
		small := runIn(situation(), []string{"status", "--no-color"}, onTerminal(200, 8))
		for _, line := range strings.Split(all.out, "\n") {
			words := strings.Fields(line)
			if len(words) < 3 || strings.HasPrefix(line, " ") || strings.HasSuffix(words[0], ":") {
				continue
			}
			switch words[2] {
			case "Halted", "Unreadable", "Draining", "Rebooting", "Verifying", "Unknown":
				if !strings.Contains(small.out, "\n"+words[0]+" ") {
					t.Errorf("%s: on a small terminal there is no line of %s", name, words[0])
				}
			}
		}
	}
}

// TestStatusColours: red is what needs a person, and nobody is sent colours who does not
// want any.
func TestStatusColours(t *testing.T) {
	terminal := onTerminal(120, 40)
	noColor := func(e *env) {
		e.getenv = func(name string) string {
			if name == "NO_COLOR" {
				return "1"
			}
			return ""
		}
	}
	plainText := runIn(blocked(), []string{"status"}).out
	for name, r := range map[string]result{
		"not a terminal": runIn(blocked(), []string{"status"}),
		"NO_COLOR":       runIn(blocked(), []string{"status"}, terminal, noColor),
		"--no-color":     runIn(blocked(), []string{"status", "--no-color"}, terminal),
		"never":          runIn(blocked(), []string{"status", "--color=never"}, terminal),
		"json":           runIn(blocked(), []string{"status", "-o", "json"}, terminal),
	} {
		if strings.Contains(r.out, "\x1b") {
			t.Errorf("%s: there are colours:\n%q", name, r.out)
		}
	}
	for name, r := range map[string]result{
		"terminal": runIn(blocked(), []string{"status"}, terminal),
		"always":   runIn(blocked(), []string{"status", "--color=always"}, noColor),
	} {
		if !strings.Contains(r.out, "\x1b[31mDraining\x1b[0m") {
			t.Errorf("%s: the blocked node is not red:\n%q", name, r.out)
		}
	}
	always := runIn(blocked(), []string{"status", "--color=always"}).out
	for _, code := range []string{"0", "1", "2", "31", "32", "33", "36"} {
		always = strings.ReplaceAll(always, "\x1b["+code+"m", "")
	}
	if diff := cmp.Diff(plainText, always); diff != "" {
		t.Errorf("colours move the columns (-without +with):\n%s", diff)
	}
}

func TestStatusExitCode(t *testing.T) {
	for situation, want := range map[string]int{
		"idle": exitOK, "queue": exitUnderWay, "roll": exitUnderWay, "blocked": exitUnderWay, "halted-overdue": exitStopped, "halted-unhealthy": exitStopped,
		"paused": exitWaiting, "windows": exitWaiting, "gates": exitWaiting, "no-leases": exitUnderWay, "mixed": exitStopped, "many": exitUnderWay,
	} {
		if r := runIn(situations[situation](), []string{"status", "--exit-code"}); r.status != want {
			t.Errorf("%s: exit status %d, want %d", situation, r.status, want)
		}
		if r := runIn(situations[situation](), []string{"status"}); r.status != exitOK {
			t.Errorf("%s: without --exit-code the exit status is %d", situation, r.status)
		}
	}
	for line, want := range map[string]int{ // of the nodes asked for alone
		"status --exit-code node-05":         exitNeeded,
		"status --exit-code node-00":         exitUnderWay,
		"status --exit-code node-05 node-00": exitUnderWay,
		"status --exit-code nobody":          exitFailed,
	} {
		if r := runIn(situations["queue"](), strings.Fields(line)); r.status != want {
			t.Errorf("%s: exit status %d, want %d", line, r.status, want)
		}
	}
	for node, want := range map[string]int{"bare-1": exitOK, "odd-1": exitNeeded, "new-1": exitStopped, "old-2": exitOK, "old-3": exitUnderWay} {
		if r := runIn(mixed(), []string{"status", "--exit-code", node}); r.status != want {
			t.Errorf("%s: exit status %d, want %d", node, r.status, want)
		}
	}
	f := newFake()
	f.idle("a", says(api.ReasonRebootRequested, "reboot requested: /run/reboot-needed", 0))
	if r := runIn(f, []string{"status", "--exit-code"}); r.status != exitNeeded {
		t.Errorf("needed, and not begun: exit status %d", r.status)
	}
}

// TestStatusOfNobody: names that are mistyped, selectors that select nothing, clusters
// without nodes, and people who may not look.
func TestStatusOfNobody(t *testing.T) {
	forbidden := blocked()
	forbidden.denied["EachNode"] = true
	for _, tt := range []struct {
		name   string
		f      *fakeAPI
		line   string
		status int
		out    string // the first line
		err    string
	}{
		{"empty", newFake(), "status", 0, "the cluster has no nodes", ""},
		{"typo", situations["queue"](), "status nod-07", 1, "no node is selected", `kubectl rebootd: there is no Node "nod-07"; is node-07 meant?`},
		{"unlike", situations["queue"](), "status node-05 elsewhere", 1, "node-05 needs a reboot; it is number 5 in the queue", `kubectl rebootd: there is no Node "elsewhere"`},
		{"other labels", rolling(), "status worker-b1 -l topology.kubernetes.io/zone=eu-1a", 1, "no node is selected", `kubectl rebootd: the Node "worker-b1" does not have the labels asked for`},
		{"selector", rolling(), "status -l topology.kubernetes.io/zone=eu-1b", 0, "2 of 2 nodes need a reboot; 2 in the queue, next worker-b1; halted: none", ""},
		{"nothing", rolling(), "status -l no=such", 0, "no node is selected", ""},
		{"bad selector", rolling(), "status -l =x", 2, "", "kubectl rebootd: the selector \"=x\" is not valid: "},
		{"forbidden", forbidden, "status", 1, "", `kubectl rebootd: nodes is forbidden: User "eve" cannot EachNode resource "nodes"; the ClusterRole rebootd-viewer has the permissions that this takes`},
		{"bad format", rolling(), "status -o xml", 2, "", "kubectl rebootd: -o xml is not known"},
		{"watch as json", rolling(), "status -w -o json", 2, "", "kubectl rebootd: --watch cannot be combined with -o json"},
		{"watch with exit code", rolling(), "status -w --exit-code", 2, "", "kubectl rebootd: --watch ends only when you end it"},
	} {
		r := runIn(tt.f, strings.Fields(tt.line))
		first, _, _ := strings.Cut(r.out, "\n")
		if r.status != tt.status || first != tt.out || !strings.HasPrefix(r.err, tt.err) || (tt.err == "") != (r.err == "") {
			t.Errorf("%s: status %d\n%s\n%s", tt.name, r.status, r.out, r.err)
		}
	}
}

// TestStatusOfNewerRecord: a record that this program cannot read and the daemon can is not
// the daemon's trouble.
func TestStatusOfNewerRecord(t *testing.T) {
	f := newFake()
	f.draining("node-1", time.Minute, 4, 2)
	f.change("node-1", has(api.OperationAnnotation, `{"v":2,"id":"x","step":"draining"}`))
	r := runIn(f, []string{"status"})
	if want := "node-1: draining: 2 of 4 pods have left; this program cannot read the record: the record was written by a newer version of rebootd (schema 2; this version knows 1)\n"; !strings.HasSuffix(r.out, want) {
		t.Errorf("%s\nwant at its end: %s", r.out, want)
	}
}

// TestStatusIsPrintable: whoever may edit a Node cannot write to the terminal of whoever
// looks.
func TestStatusIsPrintable(t *testing.T) {
	const evil = "\x1b[2J\nall is well\u202e"
	f := newFake()
	f.draining("node-1", 0, 4, 2, api.BlockedPod{Namespace: evil, Name: evil, Reason: evil, Message: evil})
	f.idle("node-2", has(api.DaemonAnnotation, api.Daemon{Version: evil, Pool: evil}.String()), has(api.HoldAnnotation, evil))
	f.waiting("node-3", 0, api.GateStatus{Name: evil, State: api.GateClosed, Reason: evil, Why: evil})
	f.pause(evil, at.AddDate(0, 0, 1))
	f.slot(0, evil, 0)
	for _, line := range []string{"status", "status -o wide", "status -o json", "status -o yaml"} {
		r := runIn(f, strings.Fields(line))
		if text := r.out + r.err; strings.ContainsAny(text, "\x1b\u202e") || strings.Contains(text, "\nall is well") {
			t.Errorf("%s:\n%q", line, text)
		}
	}
}
