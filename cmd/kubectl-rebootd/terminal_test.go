package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
)

var rewrite = flag.Bool("rewrite", false, "write what is seen to testdata")

// terminal is a real one: tmux's.
type terminal struct {
	t      *testing.T
	socket string
}

// open runs a shell command in a terminal of a size.
func open(t *testing.T, width, height int, command string) *terminal {
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Fatalf("%v: make deps installs it", err)
	}
	term := &terminal{t, filepath.Join(t.TempDir(), "tmux")}
	term.run("-f", "/dev/null", "new-session", "-d", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height), command)
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", term.socket, "kill-server").Run() })
	return term
}

func (term *terminal) run(args ...string) string {
	term.t.Helper()
	c := exec.Command("tmux", append([]string{"-S", term.socket}, args...)...)
	c.Env = append(os.Environ(), "TZ=UTC", "LANG=C.UTF-8")
	out, err := c.CombinedOutput()
	if err != nil {
		term.t.Fatalf("tmux %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// sees waits until the text of the screen is that of a golden file. mark is in it, and on no
// screen before.
func (term *terminal) sees(name, mark string) {
	term.t.Helper()
	file := filepath.Join("testdata", "terminal", name+".txt")
	want, err := os.ReadFile(file)
	if err != nil && !*rewrite {
		term.t.Fatal(err)
	}
	var got string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		got = strings.TrimRight(term.run("capture-pane", "-p"), "\n") + "\n"
		switch {
		case !*rewrite && got == string(want):
			return
		case *rewrite && strings.Contains(got, mark):
			time.Sleep(2 * time.Second) // the frame may be a part of the change
			got = strings.TrimRight(term.run("capture-pane", "-p"), "\n") + "\n"
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				term.t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
				term.t.Fatal(err)
			}
			return
		}
	}
	term.t.Fatalf("%s (-want +got):\n%s", name, cmp.Diff(string(want), got))
}

// TestTerminal is a whole roll as it is seen on a real terminal: status -w by the built
// program, which watches an API server.
func TestTerminal(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Debian's tmux")
	}
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t)
	names := []string{"node-a", "node-b", "node-c"}
	for _, name := range names {
		s.set(machine(name, "", api.ReasonNotRequired, "no reboot is requested"))
	}
	s.slot("")
	term := open(t, 110, 18, fmt.Sprintf(`%s status -w --no-color --kubeconfig %s; echo "exit status $?"; stty -a | grep -o ' icanon'; cat`, path, s.kubeconfig(t)))
	term.sees("1-idle", "q quits")
	for !s.watched() {
		time.Sleep(10 * time.Millisecond)
	}
	for _, name := range names {
		s.set(machine(name, api.PhaseQueued, api.ReasonQueued, "waiting for a slot"))
	}
	term.sees("2-queue", "3 in the queue")
	s.slot("node-a")
	s.set(machine("node-a", api.PhaseDraining, api.ReasonDraining, "draining; 8 pods left", drain(12, 8)))
	term.sees("3-draining", "4 of 12 pods gone")
	s.set(machine("node-a", api.PhaseDraining, api.ReasonDrainBlocked, "db/pg-0: the budget pg needs 2 healthy pods and has 2 (BudgetExhausted)", drain(12, 1, api.BlockedPod{
		Namespace: "db", Name: "pg-0", Reason: api.PodBudgetExhausted, Message: "the budget pg needs 2 healthy pods and has 2",
	})))
	term.sees("4-blocked", "1 pod blocked")
	term.run("resize-window", "-x", "70", "-y", "16")
	term.sees("5-smaller", "pods gone")
	s.set(machine("node-a", api.PhaseRebooting, api.ReasonRebooting, "the reboot was ordered"))
	term.sees("6-rebooting", "Rebooting")
	s.set(machine("node-a", api.PhaseVerifying, api.ReasonVerifying, "waiting for the node to be healthy"))
	term.sees("7-verifying", "Verifying")
	s.slot("node-b")
	s.set(machine("node-a", "", api.ReasonRebootVerified, "rebooted"))
	s.set(machine("node-b", api.PhaseDraining, api.ReasonDraining, "draining; 3 pods left", drain(6, 3)))
	term.sees("8-next", "3 of 6 pods gone")
	s.set(machine("node-b", api.PhaseHalted, api.ReasonUnhealthy, "not healthy within 15m0s: the Node is not Ready; the rollout is halted; this node keeps the slot rebootd-0 until it is healthy"))
	term.sees("9-halted", "Halted")
	term.run("send-keys", "C-c")
	term.sees("10-left", "exit status 0")
}

// lasts is how long everything has lasted: some seconds more do not show.
const lasts = 5*time.Hour + 30*time.Minute + time.Second

// machine is a Node whose operation is in a phase.
func machine(name string, phase api.Phase, reason api.Reason, message string, change ...func(*api.Status)) *corev1.Node {
	since := time.Now().Add(-lasts).UTC().Truncate(time.Second)
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{api.DaemonAnnotation: `{"version":"v1.2.0","settings":"5f1c0a9e"}`}},
		Status: corev1.NodeStatus{
			NodeInfo: corev1.NodeSystemInfo{KernelVersion: "6.12.57+deb13-amd64", BootID: "boot-" + name},
			Conditions: []corev1.NodeCondition{
				{Type: corev1.NodeReady, Status: corev1.ConditionTrue},
				{Type: api.RebootRequired, Status: corev1.ConditionFalse, Reason: string(reason), Message: message, LastTransitionTime: metav1.NewTime(since)},
			},
		},
	}
	if phase == "" {
		return n
	}
	n.Status.Conditions[1].Status = corev1.ConditionTrue
	r := api.Record{V: api.Schema, ID: "id-" + name, Phase: phase, Since: since, BootID: "boot-" + name, Requested: since, Lock: "rebootd"}
	st := api.Status{V: api.StatusSchema, ID: r.ID, Phase: phase, At: since, Reason: reason, Slots: 1}
	if phase == api.PhaseRebooting || phase == api.PhaseHalted {
		r.Order = &api.Order{At: since, By: "start-1", Try: 1, Accepted: true}
	}
	if phase == api.PhaseHalted {
		r.Failure = &api.Failure{Reason: reason, Message: message}
	}
	for _, c := range change {
		c(&st)
	}
	n.Annotations[api.OperationAnnotation] = encoded(&r)
	n.Annotations[api.StatusAnnotation] = encoded(&st)
	return n
}

func encoded(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

func drain(total, left int, blocked ...api.BlockedPod) func(*api.Status) {
	return func(s *api.Status) {
		s.Drain = &api.DrainStatus{Started: s.At, Total: total, Left: left, Blocked: blocked, BlockedTotal: len(blocked)}
	}
}

// slot has the only slot be held by a node, or be free.
func (s *server) slot(holder string) {
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "rebootd-0", Namespace: "rebootd", Annotations: map[string]string{api.LeaseSchemaAnnotation: "1"}}}
	if holder != "" {
		l.Spec.HolderIdentity = &holder
	}
	s.setLease(l)
}
