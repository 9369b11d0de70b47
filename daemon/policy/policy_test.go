package policy

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

// server answers each request as a test says, and notes when it was asked.
type server struct {
	answer func(n int, at time.Duration) error
	began  time.Time
	asked  []time.Duration
	got    []string
}

func (s *server) DryRunPatchNode(_ context.Context, name string, data []byte) error {
	at := time.Since(s.began)
	s.asked = append(s.asked, at)
	s.got = append(s.got, name+" "+string(data))
	return s.answer(len(s.asked), at)
}

func status(code int32, reason metav1.StatusReason, message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message}}
}

var (
	byPolicy  = status(422, metav1.StatusReasonInvalid, `nodes "n1" is forbidden: ValidatingAdmissionPolicy 'db' with binding 'db' denied request: the replica is not safe`)
	byWebhook = status(400, "", `admission webhook "kyverno.svc" denied the request: not on a Friday`)
	noRight   = status(403, metav1.StatusReasonForbidden, `nodes "n1" is forbidden: User "x" cannot patch resource "nodes"`)
	notReady  = status(403, metav1.StatusReasonForbidden, `nodes "n1" is forbidden: not yet ready to handle request`)
	hookDown  = status(500, metav1.StatusReasonInternalError, `Internal error occurred: failed calling webhook "x": connection refused`)
	busy      = &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: 429, Reason: metav1.StatusReasonTooManyRequests, Message: "the server has received too many requests", Details: &metav1.StatusDetails{RetryAfterSeconds: 10},
	}}
	noAnswer = &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	noDryRun = status(400, metav1.StatusReasonBadRequest, `admission webhook "old.svc" does not support dry run`)
)

// said is a verdict and when it was said.
type said struct {
	gate.Verdict
	at time.Duration
}

// run runs the gate for a time.
func run(t *testing.T, g *Gate, s *server, limit time.Duration) (out []said) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	s.began = time.Now()
	g.API, g.Node = s, "n1"
	g.Run(ctx, gate.View{Trial: []byte("{trial}")}, func(v gate.Verdict) { out = append(out, said{v, time.Since(s.began)}) })
	return out
}

// What each answer means, when it is believed, and how often it is asked again within an
// hour.
func TestAnswers(t *testing.T) {
	always := func(err error) func(int, time.Duration) error { return func(int, time.Duration) error { return err } }
	for name, c := range map[string]struct {
		answer func(n int, at time.Duration) error
		want   []said // of Why and Note, a part
		most   int    // requests in an hour
	}{
		"accepted": {always(nil), []said{{gate.Verdict{State: gate.Open}, 0}}, 1},
		"denied by a policy": {
			always(byPolicy),
			[]said{{gate.Verdict{State: gate.Closed, Why: "the cordon of the node would be denied: ValidatingAdmissionPolicy 'db' with binding 'db' denied request: the replica is not safe"}, 0}},
			6,
		},
		"denied by a webhook, whatever its code": {
			func(n int, _ time.Duration) error {
				return status([]int32{400, 409, 429, 500}[n%4], "", `admission webhook "kyverno.svc" denied the request: not on a Friday`)
			},
			[]said{{gate.Verdict{State: gate.Closed, Why: `admission webhook "kyverno.svc" denied the request: not on a Friday`}, 0}},
			6,
		},
		"denied, then accepted": {
			func(_ int, at time.Duration) error {
				if at < 10*time.Minute {
					return byWebhook
				}
				return nil
			},
			[]said{{gate.Verdict{State: gate.Closed, Why: "not on a Friday"}, 0}, {gate.Verdict{State: gate.Open}, 15 * time.Minute}},
			5,
		},
		"without a right": {
			always(noRight),
			[]said{{gate.Verdict{State: gate.Closed, Why: `the cordon of the node would be refused: User "x" cannot patch`}, believed}},
			17,
		},
		"an API server that has just started": {
			func(_ int, at time.Duration) error {
				switch {
				case at < 10*time.Second:
					return notReady
				case at < 20*time.Second:
					return noRight
				}
				return nil
			},
			[]said{{gate.Verdict{State: gate.Open}, 20 * time.Second}},
			12,
		},
		"a webhook that is restarted": {
			func(_ int, at time.Duration) error {
				if at < 25*time.Second {
					return hookDown
				}
				return nil
			},
			[]said{{gate.Verdict{State: gate.Open}, 25 * time.Second}},
			12,
		},
		"a webhook that does not answer": {
			always(hookDown),
			[]said{{gate.Verdict{State: gate.Closed, Why: "cannot find out whether the cordon of the node would be denied: Internal error occurred: failed calling webhook"}, believed}},
			28,
		},
		"no API server": {
			func(_ int, at time.Duration) error {
				if at < 50*time.Minute {
					return noAnswer
				}
				return nil
			},
			[]said{{gate.Verdict{State: gate.Open}, 50 * time.Minute}},
			400,
		},
		"an API server with too much to do": {
			func(_ int, at time.Duration) error {
				if at < 10*time.Minute {
					return busy
				}
				return nil
			},
			[]said{{gate.Verdict{State: gate.Open}, 10 * time.Minute}},
			60,
		},
		"two bad moments, far apart": {
			func(_ int, at time.Duration) error {
				switch {
				case at < 15*time.Second, at > 5*time.Minute && at < 5*time.Minute+25*time.Second:
					return hookDown
				case at <= 5*time.Minute:
					return noAnswer
				}
				return nil
			},
			[]said{{gate.Verdict{State: gate.Open}, 5 * time.Minute}},
			60,
		},
		"no dry runs": {always(noDryRun), []said{{gate.Verdict{State: gate.Open, Note: `cannot be tried beforehand: admission webhook "old.svc" does not support dry run`}, 0}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{answer: c.answer}
				got := run(t, &Gate{Log: zerolog.Nop()}, s, time.Hour)
				if len(got) != len(c.want) {
					t.Fatalf("said %+v, want %+v", got, c.want)
				}
				for i, w := range c.want {
					g := got[i]
					if g.State != w.State || !strings.Contains(g.Why, w.Why) || !strings.Contains(g.Note, w.Note) || g.at < w.at || g.at > w.at+45*time.Second {
						t.Errorf("said %+v, want %+v", g, w)
					}
				}
				if len(s.asked) > c.most {
					t.Errorf("asked %d times in an hour, want at most %d: %s", len(s.asked), c.most, s.asked)
				}
				if i := slices.IndexFunc(s.got, func(x string) bool { return x != "n1 {trial}" }); i >= 0 {
					t.Errorf("asked about %q", s.got[i])
				}
			})
		})
	}
}

// The pauses of a gate that a policy keeps closed double from a minute to half an hour.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{answer: func(int, time.Duration) error { return byPolicy }}
		run(t, &Gate{Log: zerolog.Nop()}, s, 3*time.Hour)
		want := []time.Duration{0, 1, 3, 7, 15, 31, 61, 91, 121, 151}
		for i := range want {
			want[i] *= time.Minute
		}
		if !slices.Equal(s.asked, want) {
			t.Errorf("asked at %s, want %s", s.asked, want)
		}
	})
}

// A Node that changes all the time has the gate asked every few seconds at most, and still
// gets an answer.
func TestANodeThatChangesAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, s := &Gate{Log: zerolog.Nop()}, &server{answer: func(int, time.Duration) error { return nil }}
		answers := 0
		for range 120 { // two minutes
			answers += len(run(t, g, s, 700*time.Millisecond))
			synctest.Wait()
			time.Sleep(310 * time.Millisecond)
		}
		if n := len(s.asked); n < 9 || n > 13 || answers != n {
			t.Errorf("asked %d times in two minutes, with %d answers", n, answers)
		}
	})
}

// It is asked anew when policies can see something new of the Node, and not because of
// heartbeats, or of what the daemon itself writes.
func TestKey(t *testing.T) {
	view := func(change func(*gate.Node)) string {
		n := gate.Node{
			Name: "n1", UID: "u", Labels: map[string]string{"tier": "db", "zone": "a"},
			Annotations: map[string]string{"by": "others", api.OperationAnnotation: "1", api.ReportAnnotation: "1", api.ServedAnnotation: "1", api.DaemonAnnotation: "1"},
			Conditions:  []gate.Condition{{Type: "Ready", Status: "True", Reason: "r", Message: "m"}, {Type: "ReplicaSafe", Status: "False"}},
		}
		if change != nil {
			change(&n)
		}
		return new(Gate).Key(gate.View{Node: n, Now: time.Now()})
	}
	same := view(nil)
	for name, change := range map[string]func(*gate.Node){
		"nothing":               nil,
		"a condition's message": func(n *gate.Node) { n.Conditions[0].Message, n.Conditions[0].Reason = "x", "y" },
		"their order":           func(n *gate.Node) { slices.Reverse(n.Conditions) },
		"our condition":         func(n *gate.Node) { n.Conditions = append(n.Conditions, gate.Condition{Type: api.RebootRequired}) },
		"our lifecycle": func(n *gate.Node) {
			n.Conditions = append(n.Conditions, gate.Condition{Type: "Drained", Reason: api.Ours})
		},
		"the record":     func(n *gate.Node) { n.Annotations[api.OperationAnnotation] = "2" },
		"the report":     func(n *gate.Node) { n.Annotations[api.ReportAnnotation] = "2" },
		"what is served": func(n *gate.Node) { delete(n.Annotations, api.ServedAnnotation) },
		"the daemon":     func(n *gate.Node) { n.Annotations[api.DaemonAnnotation] = "2" },
	} {
		if view(change) != same {
			t.Errorf("%s: it is asked anew", name)
		}
	}
	for name, change := range map[string]func(*gate.Node){
		"a label":           func(n *gate.Node) { n.Labels["tier"] = "web" },
		"a label less":      func(n *gate.Node) { delete(n.Labels, "zone") },
		"an annotation":     func(n *gate.Node) { n.Annotations["by"] = "me" },
		"an approval":       func(n *gate.Node) { n.Annotations[api.ApprovalAnnotation] = "x" },
		"a condition":       func(n *gate.Node) { n.Conditions[1].Status = "True" },
		"another condition": func(n *gate.Node) { n.Conditions = n.Conditions[:1] },
		"a maintenance": func(n *gate.Node) {
			n.Conditions = append(n.Conditions, gate.Condition{Type: "Drained", Reason: "Other"})
		},
		"the cordon":         func(n *gate.Node) { n.Unschedulable = true },
		"another Node by it": func(n *gate.Node) { n.UID = "v" },
	} {
		if view(change) == same {
			t.Errorf("%s: it is not asked anew", name)
		}
	}
}
