package drain

import (
	"strings"
	"testing"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
)

var t0 = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return t0.Add(time.Duration(seconds * float64(time.Second))) }

func noJitter(time.Duration) time.Duration { return 0 }

func testCore(pods ...podInfo) *core {
	c := newCore(testTiming, t0)
	c.list(pods, t0)
	return c
}

var testTiming = timing{minWait: 5 * time.Second, jitter: noJitter}

func pod(name string, uid types.UID) podInfo {
	return podInfo{uid: uid, namespace: "ns", name: name, owner: "ReplicaSet rs", grace: 30 * time.Second}
}

func deleting(p podInfo, until time.Time) podInfo {
	p.graceEnds = until
	return p
}

func uids(rs []request) string {
	var out []string
	for _, r := range rs {
		out = append(out, string(r.pod.uid))
	}
	return strings.Join(out, " ")
}

func refused(code int32, reason metav1.StatusReason, message string, details *metav1.StatusDetails) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message, Details: details}}
}

func budgetError(message string, retryAfter int32) error {
	return refused(429, metav1.StatusReasonTooManyRequests, "Cannot evict pod as it would violate the pod's disruption budget.", &metav1.StatusDetails{
		RetryAfterSeconds: retryAfter, Causes: []metav1.StatusCause{{Type: policyv1.DisruptionBudgetCause, Message: message}},
	})
}

// What people have written on a pod and means nothing is told once, and in the report.
func TestAnnotationThatIsIgnored(t *testing.T) {
	p, q := pod("a", "1"), pod("b", "2")
	p.invalid, p.invalidIn = strings.Repeat("\x1b", 1000), api.PodOrderAnnotation
	q.invalid, q.invalidIn, q.skip = "foo", api.PodDrainAnnotation, note{api.PodDaemonSetPod, "is a pod of the DaemonSet x"}
	c := testCore(p, q)
	r := c.report("op", at(1), time.Time{})
	first := `the value "` + strings.Repeat(`\x1b`, 60) + `" of the annotation rebootd.dev/drain-order is not valid and is ignored`
	second := `the value "foo" of the annotation rebootd.dev/drain is not valid and is ignored`
	if len(r.Pods) != 2 || r.Pods[0].Message != "is being evicted; "+first || r.Pods[1].Message != "is a pod of the DaemonSet x; "+second {
		t.Errorf("%+v", r.Pods)
	}
	if len(c.problems) != 2 || c.problems[0] != "pod ns/a: "+first {
		t.Errorf("%q", c.problems)
	}
}

// A pod is asked once, leaves the set when it is gone, and the node is drained
// when all are and the time for late pods is over.
func TestEvictedAndGone(t *testing.T) {
	c := testCore(pod("a", "1"), pod("b", "2"))
	rs := c.due(t0)
	if uids(rs) != "1 2" || len(c.due(at(1))) != 0 {
		t.Fatalf("asks %q, then again", uids(rs))
	}
	c.answered(rs[0], judge(nil), at(1))
	c.answered(rs[1], judge(nil), at(1))
	c.seen(deleting(rs[0].pod, at(31)), at(1))
	c.seen(deleting(rs[1].pod, at(31)), at(1))
	if len(c.due(at(100))) != 0 {
		t.Error("a pod that terminates is asked again")
	}
	c.gone("1", nil, at(2))
	if c.drained(at(10)) {
		t.Error("drained with a pod on the node")
	}
	c.gone("2", nil, at(3))
	if c.drained(at(4)) || !c.drained(at(5)) {
		t.Error("drained before the time for late pods is over, or not after it")
	}
}

// A deletion that the watch did not show is learned from the next list.
func TestMissedDeletion(t *testing.T) {
	c := testCore(pod("a", "1"), pod("b", "2"))
	c.list([]podInfo{pod("b", "2")}, at(1))
	if c.pods["1"].outcome != api.OutcomeDrained || c.pods["2"].state == done {
		t.Errorf("%+v %+v", c.pods["1"], c.pods["2"])
	}
}

// A pod that was called gone again, and is seen while it is asked once more, is asked
// by one request.
func TestSeenWhileItIsAskedOnceMore(t *testing.T) {
	c := testCore(pod("a", "1"))
	now := 0.0
	for range 3 {
		rs := c.due(at(now))
		if len(rs) != 1 {
			t.Fatalf("asks %v at %g s", rs, now)
		}
		if now > 0 {
			c.seen(pod("a", "1"), at(now))
		}
		if len(c.due(at(now))) != 0 {
			t.Error("asks by two requests")
		}
		c.answered(rs[0], verdict{gone: true}, at(now))
		if now == 0 {
			c.seen(pod("a", "1"), at(now))
		}
		now += 60
	}
	if c.inFlight != 0 {
		t.Errorf("%d requests count as under way", c.inFlight)
	}
}

// Not drained before a whole list was seen.
func TestNotDrainedBeforeListed(t *testing.T) {
	c := newCore(testTiming, t0)
	if c.drained(at(60)) {
		t.Error("drained without a list")
	}
}

// A budget that changes has as many pods tried at once as it allows; nothing is
// tried meanwhile but slowly.
func TestBudgetChange(t *testing.T) {
	c := testCore(pod("a", "1"), pod("b", "2"), pod("c", "3"))
	for _, r := range c.due(t0) {
		c.answered(r, judge(budgetError("The disruption budget web needs 2 healthy pods and has 2 currently", 0)), at(0.1))
	}
	asked := 0
	for s := 1.0; s < 600; s++ {
		for _, r := range c.due(at(s)) {
			asked++
			c.answered(r, judge(budgetError("The disruption budget web needs 2 healthy pods and has 2 currently", 0)), at(s))
		}
	}
	if asked == 0 || asked > 3*10 {
		t.Errorf("asked %d times in ten minutes without a change, want a few", asked)
	}
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	b.Status.DisruptionsAllowed = 2
	c.budget("ns", "web", b, at(600))
	if rs := c.due(at(600)); len(rs) != 2 {
		t.Errorf("tries %d pods when the budget allows 2", len(rs))
	}
	if !c.blockedNamespaces()["ns"] {
		t.Error("its budgets are not watched")
	}
}

// Whatever blocks a pod, it is asked at most ten times in ten minutes in which
// nothing changes.
func TestFewRetries(t *testing.T) {
	webhook := refused(403, metav1.StatusReasonForbidden, `admission webhook "w" denied the request: no`, nil)
	for name, err := range map[string]error{
		"a budget":                budgetError("The disruption budget web needs 2 healthy pods and has 2 currently", 0),
		"a webhook":               webhook,
		"a broken webhook":        refused(500, metav1.StatusReasonInternalError, `failed calling webhook "w"`, nil),
		"a migration":             refused(429, metav1.StatusReasonTooManyRequests, "Evacuation in progress", nil),
		"two budgets":             refused(500, metav1.StatusReasonInternalError, "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.", nil),
		"no permission":           refused(403, metav1.StatusReasonForbidden, "cannot create", nil),
		"a terminating namespace": refused(403, metav1.StatusReasonForbidden, "x", &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: "NamespaceTerminating"}}}),
		"an internal error":       refused(500, metav1.StatusReasonInternalError, "etcd", nil),
		"accepted, nothing done":  nil,
		"a policy":                refused(422, metav1.StatusReasonInvalid, "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no", nil),
		"a budget that is behind": budgetError("The disruption budget web is still being processed by the server.", 10),
		"patience, for ever":      refused(429, metav1.StatusReasonTooManyRequests, "too many requests", &metav1.StatusDetails{RetryAfterSeconds: 5}),
	} {
		t.Run(name, func(t *testing.T) {
			c := testCore(pod("a", "1"))
			asked := 0
			for s := 0.0; s < 600; s += 0.1 {
				for _, r := range c.due(at(s)) {
					asked++
					c.answered(r, judge(err), at(s))
				}
			}
			if asked < 2 || asked > 10 {
				t.Errorf("asked %d times", asked)
			}
		})
	}
}

// An API server that does not know yet where a pod is learns of it within seconds, as
// a rule; it is asked again soon, and less often where it does not.
func TestPodThatTheAPIServerDoesNotKnowYet(t *testing.T) {
	behind := refused(403, metav1.StatusReasonForbidden, `pods "a" is forbidden: node n can only evict pods with spec.nodeName set to itself`, nil)
	c := testCore(pod("a", "1"))
	var asked []float64
	for s := 0.0; s < 600; s += 0.1 {
		for _, r := range c.due(at(s)) {
			asked = append(asked, s)
			c.answered(r, judge(behind), at(s))
		}
	}
	if len(asked) < 4 || asked[1] > 1 || asked[3] > 5 || len(asked) > 12 {
		t.Errorf("asked at %v", asked)
	}
	if p := c.progress("op", at(5), time.Time{}); len(p.Blocked) != 0 {
		t.Errorf("tells people after 5 s: %+v", p.Blocked)
	}
	p := c.progress("op", at(60), time.Time{})
	if len(p.Blocked) != 1 || p.Blocked[0].Reason != api.PodAPIOverloaded || strings.Contains(p.Summary, "needs manual action") || !strings.Contains(p.Summary, "does not know yet") {
		t.Errorf("tells %q", p.Summary)
	}
}

// A budget may be gone between its refusal and the first look at the budgets, or
// while its refusal is on its way: the pod does not wait for the slow fallback.
func TestBudgetThatIsGoneAlready(t *testing.T) {
	refusal := judge(budgetError("The disruption budget web needs 1 healthy pods and has 1 currently", 0))
	asked := func(c *core, from, to float64, v verdict) (times int) {
		for s := from; s < to; s += 0.1 {
			for _, r := range c.due(at(s)) {
				times++
				c.answered(r, v, at(s))
			}
		}
		return times
	}
	c := testCore(pod("a", "1"))
	if n := asked(c, 0, 1, refusal); n != 1 {
		t.Fatalf("asked %d times at first", n)
	}
	c.allBudgets("ns", map[string]bool{"other": true}, at(1))
	if n := asked(c, 1, 1.05, refusal); n != 1 {
		t.Errorf("asked %d times when the budget was not there", n)
	}
	// The refusal came after the look: once more, soon, and not without end.
	if n := asked(c, 1.05, 10, refusal); n < 1 || n > 8 {
		t.Errorf("asked %d times in the seconds after that", n)
	}
	if n := asked(c, 10, 600, refusal); n > 10 {
		t.Errorf("asked %d times in ten minutes", n)
	}
	c.allBudgets("ns", nil, at(600))
	if c.watched["ns"] {
		t.Error("is watched still")
	}
}

// A budget that says it allows and refuses all the same is not hammered.
func TestBudgetThatContradictsItself(t *testing.T) {
	c := testCore(pod("a", "1"))
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	b.Status.DisruptionsAllowed = 1
	asked := 0
	for s := 0.0; s < 600; s += 0.1 {
		for _, r := range c.due(at(s)) {
			asked++
			c.answered(r, judge(budgetError("The disruption budget web needs 1 healthy pods and has 1 currently", 0)), at(s))
		}
		if s == 0 {
			c.budget("ns", "web", b, at(s))
		}
	}
	if asked > 10 {
		t.Errorf("asked %d times in ten minutes", asked)
	}
}

func TestExplain(t *testing.T) {
	for name, c := range map[string]struct {
		allowed, current, desired, expected int32
		want                                api.PodReason
	}{
		"all healthy, none may go": {0, 3, 3, 3, api.PodBudgetNeverAllows},
		"siblings are not healthy": {0, 1, 2, 3, api.PodUnhealthySiblings},
		"used up":                  {0, 2, 2, 3, api.PodBudgetExhausted},
	} {
		b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
		b.Status = policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: c.allowed, CurrentHealthy: c.current, DesiredHealthy: c.desired, ExpectedPods: c.expected}
		if got, why := explain(b); got != c.want || !strings.Contains(why, "web") {
			t.Errorf("%s: %s, %s", name, got, why)
		}
	}
}

// People are not told of what a budget does in every drain, but of what lasts.
func TestPatience(t *testing.T) {
	c := testCore(pod("a", "1"))
	for _, r := range c.due(t0) {
		c.answered(r, judge(budgetError("The disruption budget web needs 2 healthy pods and has 2 currently", 0)), t0)
	}
	if p := c.progress("op", at(5), time.Time{}); len(p.Blocked) != 0 || p.Summary != "" {
		t.Errorf("tells after 5 s: %+v", p)
	}
	if p := c.progress("op", at(11), time.Time{}); len(p.Blocked) != 1 || !strings.Contains(p.Summary, "ns/a") {
		t.Errorf("tells after 11 s: %+v", p)
	} else if !p.Blocked[0].Since.Equal(t0) || p.Total != 1 || p.Left != 1 {
		t.Errorf("it is blocked since %s, and %d of %d pods are left", p.Blocked[0].Since, p.Left, p.Total)
	}
}

// An interrupted drain's report goes on: what had been seen and is gone since was
// drained.
func TestReportOfAnInterruptedDrain(t *testing.T) {
	c := testCore(pod("b", "2"))
	c.gone("2", nil, at(3))
	r := c.report("op", at(9), at(9))
	inherit(r, &api.Report{V: 1, ID: "op", Started: at(-60), Pods: []api.PodReport{{UID: "1", Name: "a", Outcome: api.OutcomeFailed}, {UID: "2", Name: "b", Outcome: api.OutcomeFailed}, {UID: "3", Outcome: api.OutcomeSkipped}}})
	if r.Totals[api.OutcomeDrained] != 2 || r.Totals[api.OutcomeSkipped] != 1 || r.Totals[api.OutcomeFailed] != 0 || len(r.Pods) != 3 || !r.Started.Equal(at(-60)) {
		t.Errorf("%+v", r)
	}
	other := c.report("op", at(9), at(9))
	inherit(other, &api.Report{V: 1, ID: "another", Pods: []api.PodReport{{UID: "1"}}})
	if len(other.Pods) != 1 {
		t.Errorf("took over the pods of another operation: %+v", other)
	}
}
