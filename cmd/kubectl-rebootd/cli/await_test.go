package cli

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"rebootd.dev/daemon/api"
)

// on changes a node of a fake as its daemon, its kubelet or anybody does.
func (f *fakeAPI) on(name string, change ...func(*corev1.Node)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[name].DeepCopy()
	for _, c := range change {
		c(n)
	}
	f.put(n)
}

func (f *fakeAPI) gone(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[name]
	delete(f.nodes, name)
	for _, w := range f.watchers {
		w.Delete(n)
	}
}

func without(annotations ...string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		for _, a := range annotations {
			delete(n.Annotations, a)
		}
	}
}

func quiet(reason api.Reason, message string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Status.Conditions[1] = condition("False", reason, message, 0) }
}

func booted(id string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Status.NodeInfo.BootID = id }
}

// inPhase has a record with the ID op of the operation.
func inPhase(id string, phase api.Phase, change ...func(*api.Record)) func(*corev1.Node) {
	r := recordOf("idle", phase, time.Minute, 0)
	r.ID = id
	if phase == api.PhaseHalted {
		r.Failure = &api.Failure{Reason: api.ReasonUnhealthy}
	}
	for _, c := range change {
		c(r)
	}
	return has(api.OperationAnnotation, r)
}

func wasOrdered(r *api.Record) {
	r.Order = &api.Order{At: before(time.Minute), By: "x", Try: 1, Accepted: true}
}

func past(results ...any) func(*corev1.Node) { // pairs of an ID and a result
	h := &api.History{V: 1}
	for i := 0; i < len(results); i += 2 {
		h.Operations = append(h.Operations, api.Summary{ID: results[i].(string), Result: results[i+1].(api.Reason), Message: "as was said"})
	}
	return has(api.HistoryAnnotation, h)
}

// TestWait has commands wait for what daemons do, or do not do.
func TestWait(t *testing.T) {
	done := without(api.RequestAnnotation, api.OperationAnnotation)
	for _, tt := range []struct {
		name, line string
		// steps happen a minute after each other.
		steps  []func(f *fakeAPI)
		status int
		last   string // the last line of standard error
		says   string // and one of it
	}{
		{name: "rebooted", line: "request idle --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) {
				f.on("idle", inPhase("x-1", api.PhaseQueued), says(api.ReasonQueued, "waiting for a slot", 0))
			},
			func(f *fakeAPI) { f.on("idle", inPhase("x-1", api.PhaseVerifying), booted("2")) },
			func(f *fakeAPI) { f.on("idle", done, past("x-1", api.ReasonRebootVerified)) },
		}, last: "idle: done: RebootVerified: as was said", says: "idle: Queued: waiting for a slot"},
		{name: "a daemon without a history", line: "request idle --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) { f.on("idle", inPhase("x-1", api.PhaseVerifying), booted("2")) },
			func(f *fakeAPI) { f.on("idle", done, quiet(api.ReasonRebootVerified, "the node is healthy")) },
		}, last: "idle: done: it has rebooted: RebootVerified: the node is healthy"},
		{name: "a soft reboot, and a condition that comes later", line: "request idle --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) { f.on("idle", inPhase("x-1", api.PhaseVerifying), says(api.ReasonVerifying, "x", 0)) },
			func(f *fakeAPI) { f.on("idle", done) },
			func(f *fakeAPI) { f.on("idle", quiet(api.ReasonRebootVerified, "the node is healthy")) },
		}, last: "idle: done: RebootVerified: the node is healthy"},
		{name: "the record was never seen", line: "request idle --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) { f.on("idle", done, booted("2"), past("x-1", api.ReasonRebootVerified)) },
		}, last: "idle: done: RebootVerified: as was said"},
		{name: "an older operation of the history does not count", line: "request idle --wait --timeout 10m", steps: []func(*fakeAPI){
			func(f *fakeAPI) { f.on("idle", past("x-0", api.ReasonRebootVerified)) },
		}, status: exitLate, last: "idle: not in time: NotRequired: no reboot is requested"},
		{name: "no limit", line: "request idle --wait --timeout 0", steps: []func(*fakeAPI){
			func(f *fakeAPI) { f.on("idle", done, past("x-1", api.ReasonRebootVerified)) },
		}, last: "idle: done: RebootVerified: as was said"},
		{name: "somebody requests another one while it verifies", line: "request idle --wait --timeout 10m", steps: []func(*fakeAPI){
			func(f *fakeAPI) { f.on("idle", inPhase("x-1", api.PhaseRebooting, wasOrdered)) },
			func(f *fakeAPI) {
				f.on("idle", without(api.RequestAnnotation), inPhase("x-1", api.PhaseVerifying), booted("2"))
			},
			func(f *fakeAPI) { f.on("idle", has(api.RequestAnnotation, "reboot")) },
			func(f *fakeAPI) {
				f.on("idle", without(api.OperationAnnotation), past("x-1", api.ReasonRebootVerified))
			},
		}, last: "idle: done: RebootVerified: as was said"},
		{name: "the request comes too late for the reboot that is ordered", line: "request ordered --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) {
				f.on("ordered", inPhase("20261128T002800.000-ordered", api.PhaseVerifying), booted("2"))
			},
			func(f *fakeAPI) {
				f.on("ordered", without(api.OperationAnnotation), past("20261128T002800.000-ordered", api.ReasonRebootVerified))
			},
			func(f *fakeAPI) { f.on("ordered", inPhase("x-2", api.PhaseDraining)) },
			func(f *fakeAPI) {
				f.on("ordered", done, past("x-2", api.ReasonAborted, "20261128T002800.000-ordered", api.ReasonRebootVerified))
			},
		}, status: exitHalted, last: "ordered: failed: Aborted: as was said"},
		{name: "another operation has followed meanwhile", line: "request idle --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) {
				f.on("idle", done, past("x-2", api.ReasonAborted, "x-1", api.ReasonRebootVerified), booted("2"))
			},
		}, last: "idle: done: RebootVerified: as was said"},
		{name: "it is refused for a moment, as by an API server that has just started", line: "request idle --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) {
				f.away(apierrors.NewForbidden(schema.GroupResource{Resource: "nodes"}, "idle", errors.New("RBAC: not loaded yet")))
			},
			func(f *fakeAPI) { f.away(nil) },
			func(f *fakeAPI) { f.on("idle", done, past("x-1", api.ReasonRebootVerified)) },
		}, last: "idle: done: RebootVerified: as was said", says: "the API server answers again"},
		{name: "withdrawn by somebody", line: "request idle --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) { f.on("idle", without(api.RequestAnnotation)) },
		}, status: exitHalted, last: "idle: failed: the request was withdrawn: NotRequired: no reboot is requested"},
		{name: "aborted by somebody", line: "request idle --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) { f.on("idle", inPhase("x-1", api.PhaseDraining)) },
			func(f *fakeAPI) { f.on("idle", done, past("x-1", api.ReasonAborted)) },
		}, status: exitHalted, last: "idle: failed: Aborted: as was said"},
		{name: "rebooted by other means while it waits", line: "request idle --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) { f.on("idle", inPhase("x-1", api.PhaseQueued)) },
			func(f *fakeAPI) {
				f.on("idle", done, booted("2"), has(api.HistoryAnnotation, &api.History{V: 1, Operations: []api.Summary{
					{ID: "x-1", Result: api.ReasonCancelled, Message: "the machine has been rebooted by other means", BootID: "1", NewBootID: "2"},
				}}))
			},
		}, last: "idle: done: it has rebooted, and was not verified: Cancelled: the machine has been rebooted by other means"},
		{name: "halted", line: "request idle --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) { f.on("idle", inPhase("x-1", api.PhaseHalted), says(api.ReasonUnhealthy, "PLEG", 0)) },
		}, status: exitHalted, last: "idle: halted: Unhealthy: PLEG"},
		{name: "the Node is deleted", line: "request idle --wait", steps: []func(*fakeAPI){func(f *fakeAPI) { f.gone("idle") }}, status: exitHalted, last: "idle: failed: the Node is gone"},
		{name: "another Node of that name", line: "request idle --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) { f.on("idle", func(n *corev1.Node) { n.UID = "another" }) },
		}, status: exitHalted, last: "idle: failed: the Node was deleted and created again"},
		{
			name: "nobody reacts", line: "request no-daemon --wait --timeout 5m", status: exitLate,
			last: "no-daemon: not in time: no daemon has run there yet", says: "no-daemon: its daemon has not reacted for 60s; does it run? kubectl -n rebootd get pods --field-selector spec.nodeName=no-daemon",
		},
		{name: "the operation of before does not serve it", line: "request verifies --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) {
				f.on("verifies", without(api.OperationAnnotation), past("20261128T002900.000-verifies", api.ReasonRebootVerified))
			},
			func(f *fakeAPI) { f.on("verifies", inPhase("x-2", api.PhaseDraining)) },
			func(f *fakeAPI) {
				f.on("verifies", done, past("x-2", api.ReasonRebootVerified, "20261128T002900.000-verifies", api.ReasonRebootVerified))
			},
		}, last: "verifies: done: RebootVerified: as was said", says: "verifies: Verifying"},
		{name: "the operation of before, and withdrawn", line: "request verifies --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) {
				f.on("verifies", done, past("20261128T002900.000-verifies", api.ReasonRebootVerified), quiet(api.ReasonRebootVerified, "the node is healthy"))
			},
		}, status: exitHalted, last: "verifies: failed: the request was withdrawn: RebootVerified: the node is healthy"},
		{name: "withdrawn, after what was before", line: "request rebooted-before --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) { f.on("rebooted-before", done) },
		}, status: exitHalted, last: "rebooted-before: failed: the request was withdrawn: NotRequired: no reboot is requested"},
		{name: "it is requested already", line: "request asked --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) { f.on("asked", done, past("20261128T002000.000-asked", api.ReasonRebootVerified)) },
		}, last: "asked: done: RebootVerified: as was said"},
		{name: "the API server is away", line: "request idle --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) { f.away(errors.New("connection refused")) },
			func(f *fakeAPI) { f.away(nil) },
			func(f *fakeAPI) { f.on("idle", done, past("x-1", api.ReasonRebootVerified)) },
		}, last: "idle: done: RebootVerified: as was said", says: "the API server answers again"},
		{name: "two, of which one halts", line: "request idle maintained --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) { f.on("idle", inPhase("x-1", api.PhaseHalted), says(api.ReasonUnhealthy, "PLEG", 0)) },
		}, status: exitHalted, last: "maintained: not waited for any longer, since a node has halted: NotRequired: no reboot is requested", says: "idle: halted: Unhealthy: PLEG"},
		{name: "all", line: "request --all --yes --wait --timeout 5m", status: exitHalted, says: "halted: halted: Unhealthy"},
		{name: "held and idle", line: "hold idle --wait", last: "idle: done: it is left alone"},
		{name: "held, and put back", line: "hold drains --reason x --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) {
				f.on("drains", inPhase("20261128T002400.000-drains", api.PhaseWaiting, func(r *api.Record) { r.Cordoned = true }))
			},
			func(f *fakeAPI) { f.on("drains", inPhase("20261128T002400.000-drains", api.PhaseWaiting)) },
		}, last: "drains: done: it is left alone"},
		{name: "held, and the Node is deleted and created again", line: "hold drains --reason x --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) {
				f.on("drains", func(n *corev1.Node) { n.UID = "another" }, without(api.HoldAnnotation, api.OperationAnnotation))
			},
		}, status: exitHalted, last: "drains: failed: the Node was deleted and created again"},
		{name: "a hold that comes to nothing", line: "hold drains --reason x --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) { f.on("drains", without(api.HoldAnnotation)) },
		}, status: exitHalted, last: "drains: failed: somebody has ended the hold: Draining: draining: 3 of 12 pods have left"},
		{name: "approved, and rebooted", line: "approve approval --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) {
				f.on("approval", without(api.OperationAnnotation), past("20261128T002500.000-approval", api.ReasonRebootVerified))
			},
		}, last: "approval: done: RebootVerified: as was said"},
		{name: "approved, and another one that halts", line: "approve approval --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) {
				f.on("approval", inPhase("x-2", api.PhaseHalted), past("20261128T002500.000-approval", api.ReasonRebootVerified))
			},
		}, last: "approval: done: RebootVerified: as was said"},
		{name: "approved ahead", line: "approve idle --until 4h --wait", last: "idle: done: no operation is under way that could be waited for"},
		{name: "aborted", line: "abort sentinel --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) {
				f.on("sentinel", without(api.OperationAnnotation, api.AbortAnnotation), past("20261128T002200.000-sentinel", api.ReasonAborted))
			},
		}, last: "sentinel: done: Aborted: as was said"},
		{name: "aborted too late", line: "abort ordered --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) {
				f.on("ordered", without(api.AbortAnnotation), inPhase("20261128T002800.000-ordered", api.PhaseVerifying), says(api.ReasonVerifying, "rebooted", 0))
			},
		}, status: exitHalted, last: "ordered: failed: it came too late, or somebody has withdrawn it: Verifying: rebooted"},
		{name: "aborted while it halts", line: "abort halted --wait", steps: []func(*fakeAPI){
			func(f *fakeAPI) {
				f.on("halted", without(api.AbortAnnotation), inPhase("20261128T000000.000-halted", api.PhaseHalted, func(r *api.Record) { r.Undo = &api.Undo{Reason: api.ReasonAborted, Ends: true} }))
			},
			func(f *fakeAPI) {
				f.on("halted", without(api.OperationAnnotation, api.AbortAnnotation), quiet(api.ReasonAborted, "aborted"))
			},
		}, last: "halted: done: nothing is left of the operation"},
		{name: "nothing to abort", line: "abort idle --wait", last: "idle: done: nothing is left of the operation"},
		{name: "a dry run waits for nothing", line: "request idle --wait --dry-run"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := acting()
				f.idle("rebooted-before", past("x-0", api.ReasonRebootVerified))
				go func() {
					for _, step := range tt.steps {
						time.Sleep(time.Minute)
						step(f)
					}
				}()
				r := runIn(f, strings.Fields(tt.line))
				if r.status != tt.status {
					t.Errorf("exit status %d, not %d", r.status, tt.status)
				}
				said := strings.Split(strings.TrimSpace(r.err), "\n")
				if last := strings.TrimPrefix(said[len(said)-1], "kubectl rebootd: "); tt.last != "" && last != tt.last {
					t.Errorf("the last line is %q, not %q", last, tt.last)
				}
				if tt.says != "" && !strings.Contains(r.err, "kubectl rebootd: "+tt.says) {
					t.Errorf("%q is not in", tt.says)
				}
				if t.Failed() {
					t.Log(r.err)
				}
				time.Sleep(time.Hour) // all that runs has ended
			})
		})
	}
}

// TestRaces has others change what is written to, just before it is.
func TestRaces(t *testing.T) {
	for _, tt := range []struct {
		name, line string
		then       func(f *fakeAPI)
		status     int
		want       string // in standard error
		wrote      string // the one write, "" for none
	}{
		{"something else has changed", "request idle", func(f *fakeAPI) { f.on("idle", has("example.com/x", "y")) }, exitOK, "", `{"rebootd.dev/request":"reboot"}`},
		{"another operation is not approved", "approve approval", func(f *fakeAPI) { f.on("approval", inPhase("x-2", api.PhaseWaiting)) }, exitFailed, "it has changed meanwhile, and nothing was written", ""},
		{"another operation is not aborted", "abort drains", func(f *fakeAPI) { f.on("drains", inPhase("x-2", api.PhaseWaiting)) }, exitFailed, "it has changed meanwhile, and nothing was written", ""},
		{"the operation has ended", "abort drains", func(f *fakeAPI) { f.on("drains", without(api.OperationAnnotation)) }, exitFailed, "it has changed meanwhile", ""},
		{"the request has become an operation, and is withdrawn", "cancel just-asked", func(f *fakeAPI) { f.on("just-asked", inPhase("x-1", api.PhaseQueued)) }, exitOK, "", `{"rebootd.dev/request":null}`},
		{"the request has become an operation, and is aborted", "abort just-asked", func(f *fakeAPI) { f.on("just-asked", inPhase("x-1", api.PhaseQueued)) }, exitOK, "", `{"rebootd.dev/abort":""}`},
		{"what has come meanwhile is told", "request idle", func(f *fakeAPI) { f.on("idle", has(api.HoldAnnotation, "disk")) }, exitOK, "warning: idle: it is held (disk)", `{"rebootd.dev/request":"reboot"}`},
		{"it drains meanwhile", "hold just-asked --reason x", func(f *fakeAPI) { f.on("just-asked", inPhase("x-1", api.PhaseDraining)) }, exitOK, "warning: just-asked: a reboot is under way there; the node is put back", `{"rebootd.dev/hold":"x"}`},
		{"somebody else holds it", "hold idle --reason a", func(f *fakeAPI) { f.on("idle", has(api.HoldAnnotation, "b")) }, exitFailed, "it has changed meanwhile", ""},
		{"another hold is not ended", "unhold idle-held", func(f *fakeAPI) { f.on("idle-held", has(api.HoldAnnotation, "b")) }, exitFailed, "it has changed meanwhile", ""},
		{"another Node has that name", "hold idle --reason a", func(f *fakeAPI) { f.on("idle", func(n *corev1.Node) { n.UID = "new" }) }, exitFailed, "it has changed meanwhile", ""},
		{"the slot has another holder", "release rebootd-0 --holder halted --yes", func(f *fakeAPI) { f.slot(0, "drains", 0) }, exitFailed, "rebootd-0 has changed since it was looked at", ""},
		{"a daemon has made the Lease for it", "pause --reason a", func(f *fakeAPI) {
			f.setLease(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "rebootd-pause", Namespace: "rebootd"}})
		}, exitOK, "", `patch lease rebootd-pause {"metadata":{"annotations":{"rebootd.dev/paused":"a"`},
		{"somebody else has paused", "pause --reason a", func(f *fakeAPI) {
			f.setLease(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "rebootd-pause", Namespace: "rebootd", Annotations: map[string]string{api.PausedAnnotation: "b"}}})
		}, exitFailed, "somebody else has just changed its pause", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, once := acting(), false
			f.idle("just-asked", has(api.RequestAnnotation, "reboot"))
			f.wrote = nil
			f.meanwhile = func() {
				if !once {
					once = true
					tt.then(f)
				}
			}
			r := runIn(f, strings.Fields(tt.line))
			if r.status != tt.status || !strings.Contains(r.err, tt.want) {
				t.Errorf("%+v", r)
			}
			switch {
			case tt.wrote == "" && len(f.wrote) > 0, tt.wrote != "" && (len(f.wrote) != 1 || !strings.Contains(f.wrote[0], tt.wrote)):
				t.Errorf("wrote %q", f.wrote)
			}
		})
	}
}

// TestInterrupted has what was written be printed when people interrupt.
func TestInterrupted(t *testing.T) {
	f := acting()
	ctx, cancel := context.WithCancel(t.Context())
	f.meanwhile = cancel
	r := runUntil(ctx, f, strings.Fields("request -l kubernetes.io/hostname --yes -o json"))
	if !strings.Contains(r.out, `"node/approval"`) || !strings.Contains(r.err, "interrupted: 1 of ") || r.status != exitFailed {
		t.Errorf("%+v", r)
	}
}

// TestResumeRaces has a slot be renewed, which does not hinder, and the pause be another,
// which is left.
func TestResumeRaces(t *testing.T) {
	for _, why := range []string{"incident 4711", "incident 4712"} {
		f, once := paused(), false
		f.wrote = nil
		f.meanwhile = func() {
			if !once {
				once = true
				l := f.leases["rebootd-0"].DeepCopy()
				l.Annotations[api.PausedAnnotation] = why
				f.setLease(l)
			}
		}
		r := runIn(f, []string{"resume"})
		if ended := r.status == exitOK && len(f.wrote) == 2; ended != (why == "incident 4711") {
			t.Errorf("%s: %+v, %q", why, r, f.wrote)
		}
	}
}

// TestPauseThatIsOver has a pause that has ended by itself be in nobody's way.
func TestPauseThatIsOver(t *testing.T) {
	f := paused()
	l := f.leases["rebootd-pause"].DeepCopy()
	l.Annotations[api.PausedUntilAnnotation] = "2026-11-28T01:30:00Z"
	f.setLease(l)
	if r := runIn(f, []string{"pause", "--reason", "mine"}); r.status != exitOK || r.out != "lease/rebootd-pause paused\n" {
		t.Errorf("%+v", r)
	}
}

// TestAsks has people be asked, and only where they can answer.
func TestAsks(t *testing.T) {
	for _, tt := range []struct {
		line, answer string
		status       int
	}{
		{"release rebootd-0 --holder halted", "halted", exitOK},
		{"release rebootd-0 --holder halted", "yes", exitFailed},
		{"release rebootd-0 --holder halted", "", exitFailed},
		{"request --all", "y", exitOK},
		{"request --all", "yes", exitOK},
		{"request --all", "", exitFailed},
		{"request --all", "n", exitFailed},
		{"request idle", "", exitOK},
		{"request --all --dry-run", "", exitOK},
	} {
		f := acting()
		f.wrote = nil
		r := runIn(f, strings.Fields(tt.line), func(e *env) {
			e.asks = func() bool { return true }
			e.in = strings.NewReader(tt.answer + "\n")
		})
		if r.status != tt.status || (len(f.wrote) > 0) != (tt.status == exitOK) {
			t.Errorf("%s, answered %q: %+v", tt.line, tt.answer, r)
		}
	}
}

// TestInterruptedQuestion has Ctrl-C end a question that nobody has answered.
func TestInterruptedQuestion(t *testing.T) {
	for _, line := range []string{"request --all", "release rebootd-0 --holder halted"} {
		synctest.Test(t, func(t *testing.T) {
			f := acting()
			f.wrote = nil
			in, typed := io.Pipe()
			defer func() { _ = typed.Close() }()
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Minute, cancel)
			answered := time.AfterFunc(time.Hour, func() { _ = typed.Close() })
			r := runUntil(ctx, f, strings.Fields(line), func(e *env) { e.asks, e.in = func() bool { return true }, in })
			if !answered.Stop() || r.status != exitFailed || !strings.Contains(r.err, "interrupted: nothing was changed") || len(f.wrote) > 0 {
				t.Errorf("%s: %+v", line, r)
			}
		})
	}
}

// TestActUsage has what is wrong in a command line be refused before anything is asked of
// the API server.
func TestActUsage(t *testing.T) {
	for line, want := range map[string]string{
		"request":                        "name nodes, or give -l or --all; see kubectl rebootd request --help",
		"request a --all":                "name nodes, or give -l or --all; see kubectl rebootd request --help",
		"request a/b":                    `"a/b" is not a valid name of a node`,
		"hold A":                         `"A" is not a valid name of a node`,
		"request a --deadline yesterday": `--deadline: "yesterday" is neither a duration such as 2d or 1d12h nor a time by RFC 3339 such as 2026-12-01T00:00:00Z`,
		"request a --deadline 2026-11-28T01:29:59Z":   "--deadline=2026-11-28T01:29:59Z is past",
		"request a --deadline 0s":                     "--deadline=0s is not a time to come",
		"approve a --until -1h":                       `--until: "-1h" is neither a duration such as 2d or 1d12h nor a time by RFC 3339 such as 2026-12-01T00:00:00Z`,
		"hold a --reason " + strings.Repeat("x", 301): "--reason has 301 bytes; 300 are shown to people",
		"hold a --reason x\ay":                        `--reason has characters that are not printable, or needless white space; use "xy"`,
		"pause --for 2d --until 2027-01-01T00:00:00Z": "--for and --until say the same; give one",
		"pause --lock A":                              `--lock: "A" is not a valid name of a lock`,
		"pause x":                                     `unknown command "x" for "kubectl rebootd pause"; see kubectl rebootd pause --help`,
		"release rebootd-0":                           "--holder is required: name the node whose slot is to be taken away",
		"release":                                     "accepts 1 arg(s), received 0; see kubectl rebootd release --help",
		"abort a --dry-run=client":                    "--dry-run=client is not known: server is, since only the API server knows what it would refuse",
		"abort a --dry-run=":                          "--dry-run= is not known: server is, since only the API server knows what it would refuse",
		"request a --deadline 100ms":                  "--deadline=100ms is not a time to come",
		"abort a -o wide":                             "-o wide is not known; one of name, json, yaml is",
	} {
		r := runIn(newFake(), strings.Fields(line))
		if r.status != exitUsage || strings.TrimSpace(r.err) != "kubectl rebootd: "+want || r.out != "" {
			t.Errorf("%s: %+v; want %s", line, r, want)
		}
	}
	// As $UNSET and something does in a script: it selects every node.
	for _, selector := range []string{" ", "\t"} {
		f := acting()
		f.wrote = nil
		if r := runIn(f, []string{"request", "-l", selector, "--yes"}); r.status != exitUsage || !strings.Contains(r.err, "name nodes, or give -l or --all") || len(f.wrote) > 0 {
			t.Errorf("-l %q: %+v", selector, r)
		}
	}
}
