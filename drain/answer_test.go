package drain

import (
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"rebootd.dev/daemon/api"
)

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
			verdict{reason: api.PodAPIOverloaded, firstPause: failedRetry, longestPause: slowRetry, code: "409", message: `Operation cannot be fulfilled on pods "x": try again`},
		},
		"budget": {
			budgetError("The disruption budget web needs 5 healthy pods and has 5 currently", 0),
			verdict{reason: api.PodBudgetExhausted, budget: "web", retryAfter: slowRetry, code: "429", message: "The disruption budget web needs 5 healthy pods and has 5 currently"},
		},
		"budget that is behind": {
			budgetError("The disruption budget web is still being processed by the server.", 10),
			verdict{reason: api.PodBudgetExhausted, budget: "web", retryAfter: 10 * time.Second, exact: true, code: "429", message: "The disruption budget web is still being processed by the server."},
		},
		"overloaded": {
			apierrors.NewTooManyRequests("too many requests, please try again later", 7),
			verdict{reason: api.PodAPIOverloaded, retryAfter: 7 * time.Second, exact: true, code: "429", message: "too many requests, please try again later"},
		},
		"webhook by 429": {
			refused(429, metav1.StatusReasonTooManyRequests, "VMI is not live-migratable", nil),
			verdict{reason: api.PodWebhookDenied, firstPause: patientRetry, longestPause: slowRetry, code: "429", message: "VMI is not live-migratable"},
		},
		"webhook by 403": {
			refused(403, metav1.StatusReasonForbidden, `admission webhook "w" denied the request: no`, nil),
			verdict{reason: api.PodWebhookDenied, firstPause: patientRetry, longestPause: slowRetry, code: "403", message: `admission webhook "w" denied the request: no`},
		},
		"a virtual machine that moves": {
			refused(429, metav1.StatusReasonTooManyRequests, `admission webhook "v" denied the request: Eviction triggered evacuation of VMI "ns/vm"`, nil),
			verdict{reason: api.PodRelocating, firstPause: patientRetry, longestPause: slowRetry, code: "429", message: `admission webhook "v" denied the request: Eviction triggered evacuation of VMI "ns/vm"`},
		},
		"a budget out of its bounds": {
			refused(403, metav1.StatusReasonForbidden, "pdb disruption allowed is negative", &metav1.StatusDetails{Kind: "poddisruptionbudget", Name: "web"}),
			verdict{reason: api.PodBudgetExhausted, budget: "web", retryAfter: slowRetry, code: "403", message: "pdb disruption allowed is negative"},
		},
		"forbidden": {
			refused(403, metav1.StatusReasonForbidden, `User "x" cannot create resource "pods/eviction"`, nil),
			verdict{reason: api.PodForbidden, retryAfter: slowRetry, code: "403", message: `User "x" cannot create resource "pods/eviction"`},
		},
		"namespace terminating": {
			refused(403, metav1.StatusReasonForbidden, "being terminated", &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: "NamespaceTerminating"}}}),
			verdict{reason: api.PodNamespaceTerminating, firstPause: patientRetry, longestPause: slowRetry, code: "403", message: "being terminated"},
		},
		"two budgets": {
			refused(500, metav1.StatusReasonInternalError, "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.", nil),
			verdict{reason: api.PodMultipleBudgets, retryAfter: slowRetry, code: "500", message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."},
		},
		"broken webhook": {
			refused(500, metav1.StatusReasonInternalError, `failed calling webhook "w"`, nil),
			verdict{reason: api.PodWebhookDenied, firstPause: patientRetry, longestPause: slowRetry, code: "500", message: `failed calling webhook "w"`},
		},
		"a pod that has just been bound": {
			refused(403, metav1.StatusReasonForbidden, `pods "x" is forbidden: node n can only evict pods with spec.nodeName set to itself`, nil),
			verdict{reason: api.PodAPIOverloaded, firstPause: unansweredRetry, longestPause: slowRetry, code: "403", message: `the API server does not know yet that the pod is on this node: pods "x" is forbidden: node n can only evict pods with spec.nodeName set to itself`},
		},
		"an API server that has just begun": {
			refused(403, metav1.StatusReasonForbidden, `pods "x" is forbidden: not yet ready to handle request`, nil),
			verdict{reason: api.PodAPIOverloaded, firstPause: failedRetry, longestPause: slowRetry, code: "403", message: `pods "x" is forbidden: not yet ready to handle request`},
		},
		"webhook by 404": {
			refused(404, metav1.StatusReasonNotFound, `admission webhook "w" denied the request: no spare`, nil),
			verdict{reason: api.PodWebhookDenied, firstPause: patientRetry, longestPause: slowRetry, code: "404", message: `admission webhook "w" denied the request: no spare`},
		},
		"webhook by 409": {
			refused(409, metav1.StatusReasonConflict, `admission webhook "w" denied the request: the UID in the precondition`, nil),
			verdict{reason: api.PodWebhookDenied, firstPause: patientRetry, longestPause: slowRetry, code: "409", message: `admission webhook "w" denied the request: the UID in the precondition`},
		},
		"webhook that asks for patience": {
			refused(429, metav1.StatusReasonTooManyRequests, `admission webhook "w" denied the request: busy`, &metav1.StatusDetails{RetryAfterSeconds: 20}),
			verdict{reason: api.PodWebhookDenied, firstPause: patientRetry, longestPause: slowRetry, retryAfter: 20 * time.Second, exact: true, code: "429", message: `admission webhook "w" denied the request: busy`},
		},
		"webhook without dry runs": {
			refused(400, metav1.StatusReasonBadRequest, `admission webhook "w" does not support dry run`, nil),
			verdict{reason: api.PodWebhookDenied, firstPause: patientRetry, longestPause: slowRetry, code: "400", message: `admission webhook "w" does not support dry run`},
		},
		"policy by 422": {
			refused(422, metav1.StatusReasonInvalid, `pods "x" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: not before noon`, nil),
			verdict{reason: api.PodWebhookDenied, firstPause: patientRetry, longestPause: slowRetry, code: "422", message: `pods "x" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: not before noon`},
		},
		"policy without a binding": {
			refused(403, metav1.StatusReasonForbidden, `pods "x" is forbidden: policy "p" denied request: failed to configure policy: no such kind`, nil),
			verdict{reason: api.PodWebhookDenied, firstPause: patientRetry, longestPause: slowRetry, code: "403", message: `pods "x" is forbidden: policy "p" denied request: failed to configure policy: no such kind`},
		},
		"another conflict, of a UID by its name": {
			apierrors.NewConflict(gr, "UID", fmt.Errorf("try again")),
			verdict{reason: api.PodAPIOverloaded, firstPause: failedRetry, longestPause: slowRetry, code: "409", message: `Operation cannot be fulfilled on pods "UID": try again`},
		},
		"another pod has the name, by the eviction": {
			apierrors.NewConflict(gr, "x", fmt.Errorf("the UID in the precondition (a) does not match the UID in record (b). The object might have been deleted and then recreated")),
			verdict{gone: true, code: "409", message: `Operation cannot be fulfilled on pods "x": the UID in the precondition (a) does not match the UID in record (b). The object might have been deleted and then recreated`},
		},
		"a token that has run out": {
			refused(401, metav1.StatusReasonUnauthorized, "Unauthorized", nil),
			verdict{reason: api.PodAPIOverloaded, firstPause: failedRetry, longestPause: slowRetry, code: "401", message: "the API server does not accept rebootd's credentials: Unauthorized"},
		},
		"a request that is not understood": {
			refused(400, metav1.StatusReasonBadRequest, "not a Eviction object", nil),
			verdict{reason: api.PodAPIOverloaded, firstPause: failedRetry, longestPause: slowRetry, code: "400", message: "not a Eviction object"},
		},
		"a budget that others change all the time": {
			refused(504, metav1.StatusReasonTimeout, `couldn't update PodDisruptionBudget "web" due to conflicts`, &metav1.StatusDetails{RetryAfterSeconds: 10}),
			verdict{reason: api.PodAPIOverloaded, firstPause: failedRetry, longestPause: slowRetry, retryAfter: 10 * time.Second, exact: true, code: "504", message: `couldn't update PodDisruptionBudget "web" due to conflicts`},
		},
		"no answer": {fmt.Errorf("connection refused"), verdict{reason: api.PodAPIOverloaded, firstPause: unansweredRetry, longestPause: unreachableRetry, code: "error", message: "no answer: connection refused"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := judge(c.err); got != c.want {
				t.Errorf("judged\n%+v, want\n%+v", got, c.want)
			}
		})
	}
}
