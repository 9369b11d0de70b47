package drain

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

var t0 = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time { return t0.Add(time.Duration(seconds * float64(time.Second))) }

func noJitter(time.Duration) time.Duration { return 0 }

func testCore(pods ...podInfo) *core {
	c := newCore(testTiming, t0)
	c.list(pods, t0)
	return c
}

var testTiming = timing{minWait: 5 * time.Second, since: t0, jitter: noJitter}

func pod(name string, uid types.UID) podInfo {
	return podInfo{uid: uid, namespace: "ns", name: name, owner: "ReplicaSet rs", grace: 30 * time.Second}
}

func deleting(p podInfo, until time.Time) podInfo {
	p.deletedAt = until
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

// Each answer of the eviction API means what it should.
func TestAnswers(t *testing.T) {
	gr := schema.GroupResource{Resource: "pods"}
	for name, c := range map[string]struct {
		err  error
		want verdict
	}{
		"accepted":  {nil, verdict{accepted: true, code: "201"}},
		"not found": {apierrors.NewNotFound(gr, "x"), verdict{gone: true, code: "404", message: `pods "x" not found`}},
		"another pod has the name": {
			apierrors.NewConflict(gr, "x", fmt.Errorf("Precondition failed: UID in precondition: a, UID in object meta: b")),
			verdict{gone: true, code: "409", message: `Operation cannot be fulfilled on pods "x": Precondition failed: UID in precondition: a, UID in object meta: b`},
		},
		"another conflict": {
			apierrors.NewConflict(gr, "x", fmt.Errorf("try again")),
			verdict{reason: APIOverloaded, first: failedRetry, most: slowRetry, code: "409", message: `Operation cannot be fulfilled on pods "x": try again`},
		},
		"budget": {
			budgetError("The disruption budget web needs 5 healthy pods and has 5 currently", 0),
			verdict{reason: BudgetExhausted, budget: "web", after: slowRetry, code: "429", message: "The disruption budget web needs 5 healthy pods and has 5 currently"},
		},
		"budget that is behind": {
			budgetError("The disruption budget web is still being processed by the server.", 10),
			verdict{reason: BudgetExhausted, budget: "web", after: 10 * time.Second, soon: true, code: "429", message: "The disruption budget web is still being processed by the server."},
		},
		"overloaded": {
			apierrors.NewTooManyRequests("too many requests, please try again later", 7),
			verdict{reason: APIOverloaded, after: 7 * time.Second, soon: true, code: "429", message: "too many requests, please try again later"},
		},
		"webhook by 429": {
			refused(429, metav1.StatusReasonTooManyRequests, "VMI is not live-migratable", nil),
			verdict{reason: WebhookDenied, first: patientRetry, most: slowRetry, code: "429", message: "VMI is not live-migratable"},
		},
		"webhook by 403": {
			refused(403, metav1.StatusReasonForbidden, `admission webhook "w" denied the request: no`, nil),
			verdict{reason: WebhookDenied, first: patientRetry, most: slowRetry, code: "403", message: `admission webhook "w" denied the request: no`},
		},
		"a virtual machine that moves": {
			refused(429, metav1.StatusReasonTooManyRequests, `admission webhook "v" denied the request: Eviction triggered evacuation of VMI "ns/vm"`, nil),
			verdict{reason: Relocating, first: patientRetry, most: slowRetry, code: "429", message: `admission webhook "v" denied the request: Eviction triggered evacuation of VMI "ns/vm"`},
		},
		"a budget out of its bounds": {
			refused(403, metav1.StatusReasonForbidden, "pdb disruption allowed is negative", &metav1.StatusDetails{Kind: "poddisruptionbudget", Name: "web"}),
			verdict{reason: BudgetExhausted, budget: "web", after: slowRetry, code: "403", message: "pdb disruption allowed is negative"},
		},
		"forbidden": {
			refused(403, metav1.StatusReasonForbidden, `User "x" cannot create resource "pods/eviction"`, nil),
			verdict{reason: Forbidden, after: slowRetry, code: "403", message: `User "x" cannot create resource "pods/eviction"`},
		},
		"namespace terminating": {
			refused(403, metav1.StatusReasonForbidden, "being terminated", &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: "NamespaceTerminating"}}}),
			verdict{reason: NamespaceTerminating, first: patientRetry, most: slowRetry, code: "403", message: "being terminated"},
		},
		"two budgets": {
			refused(500, metav1.StatusReasonInternalError, "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.", nil),
			verdict{reason: MultipleBudgets, after: slowRetry, code: "500", message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."},
		},
		"broken webhook": {
			refused(500, metav1.StatusReasonInternalError, `failed calling webhook "w"`, nil),
			verdict{reason: WebhookDenied, first: patientRetry, most: slowRetry, code: "500", message: `failed calling webhook "w"`},
		},
		"a pod that has just been bound": {
			refused(403, metav1.StatusReasonForbidden, `pods "x" is forbidden: node n can only evict pods with spec.nodeName set to itself`, nil),
			verdict{reason: APIOverloaded, first: unansweredRetry, most: slowRetry, code: "403", message: `the API server does not know yet that the pod is on this node: pods "x" is forbidden: node n can only evict pods with spec.nodeName set to itself`},
		},
		"an API server that has just begun": {
			refused(403, metav1.StatusReasonForbidden, `pods "x" is forbidden: not yet ready to handle request`, nil),
			verdict{reason: APIOverloaded, first: failedRetry, most: slowRetry, code: "403", message: `pods "x" is forbidden: not yet ready to handle request`},
		},
		"webhook by 404": {
			refused(404, metav1.StatusReasonNotFound, `admission webhook "w" denied the request: no spare`, nil),
			verdict{reason: WebhookDenied, first: patientRetry, most: slowRetry, code: "404", message: `admission webhook "w" denied the request: no spare`},
		},
		"webhook by 409": {
			refused(409, metav1.StatusReasonConflict, `admission webhook "w" denied the request: the UID in the precondition`, nil),
			verdict{reason: WebhookDenied, first: patientRetry, most: slowRetry, code: "409", message: `admission webhook "w" denied the request: the UID in the precondition`},
		},
		"webhook that asks for patience": {
			refused(429, metav1.StatusReasonTooManyRequests, `admission webhook "w" denied the request: busy`, &metav1.StatusDetails{RetryAfterSeconds: 20}),
			verdict{reason: WebhookDenied, first: patientRetry, most: slowRetry, after: 20 * time.Second, soon: true, code: "429", message: `admission webhook "w" denied the request: busy`},
		},
		"webhook without dry runs": {
			refused(400, metav1.StatusReasonBadRequest, `admission webhook "w" does not support dry run`, nil),
			verdict{reason: WebhookDenied, first: patientRetry, most: slowRetry, code: "400", message: `admission webhook "w" does not support dry run`},
		},
		"policy by 422": {
			refused(422, metav1.StatusReasonInvalid, `pods "x" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: not before noon`, nil),
			verdict{reason: WebhookDenied, first: patientRetry, most: slowRetry, code: "422", message: `pods "x" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: not before noon`},
		},
		"policy without a binding": {
			refused(403, metav1.StatusReasonForbidden, `pods "x" is forbidden: policy "p" denied request: failed to configure policy: no such kind`, nil),
			verdict{reason: WebhookDenied, first: patientRetry, most: slowRetry, code: "403", message: `pods "x" is forbidden: policy "p" denied request: failed to configure policy: no such kind`},
		},
		"another conflict, of a UID by its name": {
			apierrors.NewConflict(gr, "UID", fmt.Errorf("try again")),
			verdict{reason: APIOverloaded, first: failedRetry, most: slowRetry, code: "409", message: `Operation cannot be fulfilled on pods "UID": try again`},
		},
		"another pod has the name, by the eviction": {
			apierrors.NewConflict(gr, "x", fmt.Errorf("the UID in the precondition (a) does not match the UID in record (b). The object might have been deleted and then recreated")),
			verdict{gone: true, code: "409", message: `Operation cannot be fulfilled on pods "x": the UID in the precondition (a) does not match the UID in record (b). The object might have been deleted and then recreated`},
		},
		"a token that has run out": {
			refused(401, metav1.StatusReasonUnauthorized, "Unauthorized", nil),
			verdict{reason: APIOverloaded, first: failedRetry, most: slowRetry, code: "401", message: "the API server does not accept rebootd's credentials: Unauthorized"},
		},
		"a request that is not understood": {
			refused(400, metav1.StatusReasonBadRequest, "not a Eviction object", nil),
			verdict{reason: APIOverloaded, first: failedRetry, most: slowRetry, code: "400", message: "not a Eviction object"},
		},
		"a budget that others change all the time": {
			refused(504, metav1.StatusReasonTimeout, `couldn't update PodDisruptionBudget "web" due to conflicts`, &metav1.StatusDetails{RetryAfterSeconds: 10}),
			verdict{reason: APIOverloaded, first: failedRetry, most: slowRetry, after: 10 * time.Second, soon: true, code: "504", message: `couldn't update PodDisruptionBudget "web" due to conflicts`},
		},
		"no answer": {fmt.Errorf("connection refused"), verdict{reason: APIOverloaded, first: unansweredRetry, most: unreachableRetry, code: "error", message: "no answer: connection refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := judge(c.err); got != c.want {
				t.Errorf("judged\n%+v, want\n%+v", got, c.want)
			}
		})
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
	if c.pods["1"].outcome != Drained || c.pods["2"].state == done {
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
	if len(p.Blocked) != 1 || p.Blocked[0].Reason != APIOverloaded || strings.Contains(p.Summary, "needs a person") || !strings.Contains(p.Summary, "does not know yet") {
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
		want                                Reason
	}{
		"all healthy, none may go": {0, 3, 3, 3, BudgetNeverAllows},
		"siblings are not healthy": {0, 1, 2, 3, UnhealthySiblings},
		"used up":                  {0, 2, 2, 3, BudgetExhausted},
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
	}
}

// The report keeps to its size, its totals are complete, and what went wrong
// stays longest.
func TestReportIsCut(t *testing.T) {
	r := &Report{V: 1, ID: "op", Started: t0, Totals: map[Outcome]int{Drained: 1990, Failed: 10}}
	for i := range 2000 {
		o := Drained
		if i%200 == 0 {
			o = Failed
		}
		r.Pods = append(r.Pods, PodReport{Namespace: "namespace", Name: fmt.Sprintf("a-pod-with-a-name-%d", i), UID: types.UID(fmt.Sprint(i)), Outcome: o, Reason: "why"})
	}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseReport(data)
	if err != nil {
		t.Fatal(err)
	}
	failed := 0
	for _, p := range got.Pods {
		if p.Outcome == Failed {
			failed++
		}
	}
	if len(data) > MaxReport || len(data) < MaxReport/2 || failed != 10 || got.Totals[Drained] != 1990 {
		t.Errorf("%d bytes, %d failed pods, totals %v", len(data), failed, got.Totals)
	}
}

// An interrupted drain's report goes on: what had been seen and is gone since was
// drained.
func TestReportOfAnInterruptedDrain(t *testing.T) {
	c := testCore(pod("b", "2"))
	c.gone("2", nil, at(3))
	r := c.report("op", at(9), at(9))
	r.inherit(&Report{V: 1, ID: "op", Started: at(-60), Pods: []PodReport{{UID: "1", Name: "a", Outcome: Failed}, {UID: "2", Name: "b", Outcome: Failed}, {UID: "3", Outcome: Skipped}}})
	if r.Totals[Drained] != 2 || r.Totals[Skipped] != 1 || r.Totals[Failed] != 0 || len(r.Pods) != 3 || !r.Started.Equal(at(-60)) {
		t.Errorf("%+v", r)
	}
	other := c.report("op", at(9), at(9))
	other.inherit(&Report{V: 1, ID: "another", Pods: []PodReport{{UID: "1"}}})
	if len(other.Pods) != 1 {
		t.Errorf("took over the pods of another operation: %+v", other)
	}
}

// What any version has ever written every later one reads, and keeps.
func TestReportsOfEveryVersion(t *testing.T) {
	files, err := filepath.Glob("testdata/reports/v*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no reports: %v", err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		r, err := ParseReport(data)
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Errorf("%s: %v", f, err)
			continue
		}
		var want, got any
		if err := errors.Join(json.Unmarshal(data, &want), json.Unmarshal(again, &got)); err != nil {
			t.Fatal(err)
		}
		byName := cmpopts.SortSlices(func(a, b any) bool { return fmt.Sprint(a) < fmt.Sprint(b) })
		if diff := cmp.Diff(want, got, byName); diff != "" {
			t.Errorf("%s, written back, has changed (-before +after):\n%s", f, diff)
		}
	}
}

func FuzzParseReport(f *testing.F) {
	f.Add([]byte(`{"v":1,"id":"a","started":"2026-05-04T12:00:00Z","totals":{"drained":1},"pods":[{"namespace":"n","name":"p","uid":"u","outcome":"drained","seconds":1}],"later":{"a":1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ParseReport(data)
		if err != nil {
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			return // too large without a pod
		}
		if len(again) > MaxReport {
			t.Errorf("written with %d bytes", len(again))
		}
		if _, err := ParseReport(again); err != nil {
			t.Errorf("%s was written as %s: %v", data, again, err)
		}
	})
}

// simulated is the truth about a node's pods, of which the core learns by events
// that may be late, lost until the next list, or come from an old list.
type simulated struct {
	rng   *rand.Rand
	here  map[types.UID]podInfo
	there map[string]types.UID // the same names, on other nodes
	next  int
}

// A thousand interleavings: no pod of another node is ever asked to go, the node
// is never drained while a pod is on it that has to go, and it is drained in the
// end.
func TestInterleavings(t *testing.T) {
	for seed := range uint64(1000) {
		interleave(t, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func interleave(t *testing.T, seed uint64) {
	s := &simulated{rng: rand.New(rand.NewPCG(seed, 3)), here: map[types.UID]podInfo{}, there: map[string]types.UID{}}
	add := func(name string) podInfo {
		s.next++
		p := pod(name, types.UID(fmt.Sprint(s.next)))
		p.owner = "StatefulSet " + name
		s.here[p.uid] = p
		return p
	}
	for i := range 1 + s.rng.IntN(6) {
		add(fmt.Sprintf("db-%d", i))
	}
	now := t0
	c := newCore(testTiming, now)
	list := func() {
		var pods []podInfo
		for _, p := range s.here {
			pods = append(pods, p)
		}
		c.list(pods, now)
	}
	list()
	events := true // whether the watch works
	var out []request
	for step := range 4000 {
		now = now.Add(time.Duration(s.rng.IntN(400)) * time.Millisecond)
		quiet := step > 300
		switch s.rng.IntN(12) {
		case 0:
			if !quiet {
				events = !events
			} else {
				events = true
			}
			if events {
				list()
			}
		case 1:
			if !quiet && s.rng.IntN(10) == 0 { // a late binding
				p := add(fmt.Sprintf("late-%d", step))
				if events {
					c.seen(p, now)
				}
			}
		case 2, 3: // a pod that was told to end does
			for uid, p := range s.here {
				if p.deleting() {
					delete(s.here, uid)
					s.next++
					s.there[p.name] = types.UID(fmt.Sprint("elsewhere-", s.next))
					if events && s.rng.IntN(4) > 0 {
						c.gone(uid, nil, now)
					}
					break
				}
			}
		case 4:
			if events || quiet {
				list()
			}
		}
		out = append(out, c.due(now)...)
		if len(out) > 0 && s.rng.IntN(2) == 0 {
			r := out[0]
			out = out[1:]
			if strings.HasPrefix(string(r.pod.uid), "elsewhere") {
				t.Errorf("a pod of another node was asked to go")
			}
			p, ok := s.here[r.pod.uid]
			switch {
			case !ok:
				c.answered(r, verdict{gone: true}, now)
			case !quiet && s.rng.IntN(3) == 0:
				c.answered(r, judge(budgetError("The disruption budget web needs 1 healthy pods and has 1 currently", 0)), now)
				c.budget("ns", "web", nil, now)
			default:
				p.deletedAt = now.Add(p.grace)
				s.here[r.pod.uid] = p
				if s.rng.IntN(5) == 0 {
					c.answered(r, judge(fmt.Errorf("the answer was lost")), now)
				} else {
					c.answered(r, judge(nil), now)
				}
				if events {
					c.seen(p, now)
				}
			}
		}
		if c.drained(now) {
			list() // the last look
			if c.drained(now) {
				if len(s.here) > 0 {
					t.Errorf("drained with %d pods on the node", len(s.here))
				}
				return
			}
		}
	}
	t.Errorf("not drained in the end: %d pods left, %+v", len(s.here), c.progress("op", now, time.Time{}).Counts)
}
