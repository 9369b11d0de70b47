package daemon_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/policy"
	"rebootd.dev/daemon/sim"
)

// withPolicy has the gate of admission policies asked, too.
func withPolicy(more ...func(*daemon.Config, *sim.Process)) settings {
	return settings{change: func(c *daemon.Config, p *sim.Process) {
		c.Gates = append(c.Gates, &policy.Gate{API: p.Client, Node: p.Name, Log: zerolog.New(p)})
		for _, f := range more {
			f(c, p)
		}
	}}
}

// cordons are the patches that cordon a node: those that were tried, and the real ones.
func cordons(p *sim.Process) (tried, done []string) {
	for _, r := range p.Link.Requests() {
		switch {
		case !strings.Contains(r.Body, `"unschedulable":true`):
		case r.DryRun:
			tried = append(tried, r.Body)
		default:
			done = append(done, r.Body)
		}
	}
	return tried, done
}

// comparable is a patch without what differs from one moment to the next: the Node's
// version, and what the record says of times, of its own name, and for the history.
func comparable(t *testing.T, patch string) map[string]any {
	t.Helper()
	var p struct {
		Metadata map[string]any
		Spec     map[string]any
		Status   map[string]any
	}
	if err := json.Unmarshal([]byte(patch), &p); err != nil {
		t.Fatal(err)
	}
	delete(p.Metadata, "resourceVersion")
	annotations := p.Metadata["annotations"].(map[string]any)
	var record map[string]any
	if err := json.Unmarshal([]byte(annotations[api.OperationAnnotation].(string)), &record); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"id", "requested", "since", "began", "request", "files", "times", "kernel"} {
		delete(record, k)
	}
	annotations[api.OperationAnnotation] = record
	return map[string]any{"metadata": p.Metadata, "spec": p.Spec, "status": p.Status}
}

// What is tried before the queue is what is done after it, whoever has cordoned or
// protected the node before; and it is not made conditional on the Node's version.
func TestTheTrialIsTheCordon(t *testing.T) {
	const scaleDown = "cluster-autoscaler.kubernetes.io/scale-down-disabled"
	for name, before := range map[string]func(*corev1.Node){
		"as it is":            func(*corev1.Node) {},
		"cordoned by people":  func(n *corev1.Node) { n.Spec.Unschedulable = true },
		"protected by people": func(n *corev1.Node) { n.Annotations = map[string]string{scaleDown: "true"} },
		"marked by people": func(n *corev1.Node) {
			n.Annotations = map[string]string{scaleDown: "false", "karpenter.sh/do-not-disrupt": "x"}
		},
		"asked by annotation": func(n *corev1.Node) { n.Annotations = map[string]string{api.RequestAnnotation: api.RequestReboot} },
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				m.Edit(before)
				p := start(t, m, withPolicy())
				pass(time.Minute)
				m.Touch(sentinelPath, "")
				pass(10 * time.Second)
				tried, done := cordons(p)
				if len(tried) != 1 || len(done) != 1 {
					t.Fatalf("tried %q and done %q", tried, done)
				}
				if strings.Contains(tried[0], "resourceVersion") {
					t.Errorf("what is tried is conditional: %s", tried[0])
				}
				try, do := comparable(t, tried[0]), comparable(t, done[0])
				a, _ := json.Marshal(try)
				b, _ := json.Marshal(do)
				if string(a) != string(b) {
					t.Errorf("tried\n%s\nand done\n%s", a, b)
				}
			})
		})
	}
}

// denies has cordons refused for as long as a label of the node has not the value "yes".
func denies(w *sim.World, label string) {
	w.Admit(func(r sim.Request) error {
		if strings.Contains(r.Body, `"unschedulable":true`) && w.Nodes.Get(r.Name).Labels[label] != "yes" {
			return sim.Forbidden(r.Name, "ValidatingAdmissionPolicy 'db' with binding 'db' denied request: the replica is not safe")
		}
		return nil
	})
}

// A policy that denies the cordon keeps the node out of the queue, without a slot and
// without a cordon, and people are told its words. It is tried seldom, and at once when the
// Node changes.
func TestAPolicyDenies(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		denies(w, "safe")
		m := w.AddMachine("a")
		p := start(t, m, withPolicy())
		pass(time.Minute)
		if tried, _ := cordons(p); len(tried) != 0 {
			t.Errorf("an idle node tries %q", tried)
		}
		m.Touch(sentinelPath, "")
		pass(6 * time.Hour)
		if got := where(m); got != "Waiting" {
			t.Errorf("the node is %s", got)
		}
		c := w.Condition("a", api.RebootRequired)
		if c == nil || c.Reason != string(api.ReasonPolicyDenies) || !strings.Contains(c.Message, "the replica is not safe") {
			t.Errorf("people are told %+v", c)
		}
		tried, done := cordons(p)
		if len(tried) > 16 || len(done) != 0 {
			t.Errorf("tried %d times in six hours, done %q", len(tried), done)
		}
		m.Edit(func(n *corev1.Node) {
			n.Labels = maps.Clone(n.Labels)
			if n.Labels == nil {
				n.Labels = map[string]string{}
			}
			n.Labels["safe"] = "yes"
		})
		pass(5 * time.Second)
		if got := where(m); !strings.HasPrefix(got, string(api.PhaseDraining)) && !strings.HasPrefix(got, string(api.PhaseRebooting)) {
			t.Errorf("it is allowed, and the node is %s", got)
		}
	})
}

// One request an operation: a node that waits in the queue for hours, or outside of it for
// another gate, tries nothing again because of that, nor because of the daemon's own words
// on the Node.
func TestOneTrialAnOperation(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		holder, m := w.AddMachine("a"), w.AddMachine("b")
		holder.Drain.Stuck()
		s := settings{limit: 24 * time.Hour}
		start(t, holder, s)
		with := withPolicy()
		with.limit = s.limit
		p := start(t, m, with)
		holder.Touch(sentinelPath, "")
		pass(time.Minute)
		m.Touch(sentinelPath, "")
		pass(time.Hour)
		m.Annotate(api.HoldAnnotation, "wait")
		pass(time.Hour)
		m.Annotate(api.HoldAnnotation, "")
		pass(time.Hour)
		tried, _ := cordons(p)
		if where(m) == "idle" || len(tried) == 0 {
			t.Fatalf("the node is %s and has tried %d times", where(m), len(tried))
		}
		if len(tried) > 3 { // the annotation of people came, and went
			t.Errorf("tried %d times in three hours: %s", len(tried), slices.Compact(tried))
		}
	})
}

// The Node goes while the gates of an operation are asked, and comes back: the daemon
// lives, and asks them for the new Node.
func TestTheNodeGoesWhileGatesAreAsked(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		m.Drain.Stuck()
		p := start(t, m, withPolicy())
		m.Touch(sentinelPath, "")
		pass(time.Minute)
		m.Leave()
		pass(time.Minute)
		m.Join()
		pass(time.Minute)
		if got := where(m); !strings.HasPrefix(got, string(api.PhaseDraining)) {
			t.Errorf("the node is %s: %s", got, p.Status())
		}
	})
}

// A webhook that lets dry runs pass and denies the cordon itself, in whatever code it does
// that, is not an API server that cannot be reached: the node gives its slot up, and people
// are told its words.
func TestAWebhookDeniesInItsOwnCode(t *testing.T) {
	for _, code := range []int32{http.StatusUnauthorized, http.StatusConflict, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable} {
		t.Run(http.StatusText(int(code)), func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				w.Admit(func(r sim.Request) error {
					if r.DryRun || !strings.Contains(r.Body, `"unschedulable":true`) {
						return nil
					}
					s := metav1.Status{Status: metav1.StatusFailure, Code: code, Message: `admission webhook "db.example.com" denied the request: the replica is not safe`}
					switch code {
					case http.StatusTooManyRequests:
						s.Reason = metav1.StatusReasonTooManyRequests
					case http.StatusConflict:
						s.Reason = metav1.StatusReasonConflict
					case http.StatusInternalServerError:
						s.Reason = metav1.StatusReasonInternalError
					}
					return &apierrors.StatusError{ErrStatus: s}
				})
				m := w.AddMachine("a")
				start(t, m, withPolicy())
				pass(time.Minute)
				m.Touch(sentinelPath, "")
				pass(3 * time.Minute)
				c := w.Condition("a", api.RebootRequired)
				if got := where(m); strings.Contains(got, "slot") || c == nil || c.Reason != string(api.ReasonBlocked) || !strings.Contains(c.Message, "the replica is not safe") {
					t.Errorf("the node is %s, and people are told %+v", got, c)
				}
			})
		})
	}
}
