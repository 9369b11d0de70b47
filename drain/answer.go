package drain

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
)

// verdict is what an answer to an eviction or deletion means.
type verdict struct {
	accepted     bool // the pod terminates now
	gone         bool // there is no such pod any more
	dryRun       bool // it was a dry run
	reason       api.PodReason
	message      string
	budget       string        // the name of the budget that blocks
	retryAfter   time.Duration // when to retry; 0: with growing pauses, from firstPause to longestPause
	firstPause   time.Duration
	longestPause time.Duration
	exact        bool   // the answer asks for a retry after exactly that time; later ones grow
	code         string // of the answer, for the metric
}

const (
	// slowRetry is how often a pod is retried although no change was seen.
	slowRetry = 2 * time.Minute
	// patientRetry is the first pause where another program is at work, such as a
	// webhook's operator or the namespace controller: retries in the first seconds
	// rarely succeed.
	patientRetry = 5 * time.Second
	// failedRetry is the first pause after an answer that says nothing about the
	// pod.
	failedRetry = 2 * time.Second
	// The first and the longest pause while no answer comes at all.
	unansweredRetry  = 500 * time.Millisecond
	unreachableRetry = 15 * time.Second
)

var budgetName = regexp.MustCompile(`^The disruption budget (\S+) `)

// Words by which answers are recognized that have no reason or cause of their own.
const (
	// The API server's: pkg/registry/core/pod/storage/eviction.go.
	multiple = "more than one PodDisruptionBudget"
	// Preconditions that failed since the name belongs to another pod, the second by
	// the storage. Conflicts of other kinds have to be retried.
	otherUID       = "UID in the precondition"
	otherUIDStored = "UID in precondition"
	// NodeRestriction's, whose view of the pods may be older than the list or watch
	// that showed the pod on this node: plugin/pkg/admission/noderestriction.
	otherNode = "can only evict pods with spec.nodeName set to itself"
	// Any admission plugin's, in the first seconds after an API server has started.
	notReady = "not yet ready to handle request"
	// KubeVirt's: pod-eviction-admitter.
	virtEvacuation = "Eviction triggered evacuation of VMI"
	virtInProgress = "Evacuation in progress"
	virtHotplug    = "cannot evict hotplug pod"
)

// byAdmission recognizes the refusal of a webhook or an admission policy, whatever code
// it has chosen, and a webhook that did not answer, by the words that the API server
// puts around it.
var byAdmission = regexp.MustCompile(`admission webhook "|failed calling webhook|[Pp]olicy ['"][^'"]+['"]( with binding ['"][^'"]+['"])? denied request: `)

// judge reads the answer to an eviction or deletion.
func judge(err error) verdict {
	if err == nil {
		return verdict{accepted: true, code: "201"}
	}
	var answer apierrors.APIStatus
	if !errors.As(err, &answer) {
		return verdict{reason: api.PodAPIOverloaded, message: oneLine("no answer: " + err.Error()), code: "error", firstPause: unansweredRetry, longestPause: unreachableRetry}
	}
	s := answer.Status()
	v := verdict{code: strconv.Itoa(int(s.Code)), message: oneLine(s.Message)}
	retryAfter := time.Duration(0)
	if s.Details != nil {
		// No answer may delay a drain for hours.
		retryAfter = time.Duration(min(max(s.Details.RetryAfterSeconds, 0), int32(slowRetry/time.Second))) * time.Second
	}
	budget, terminating := causes(s)
	says := func(words string) bool { return strings.Contains(s.Message, words) }
	switch {
	case says(virtEvacuation), says(virtInProgress), says(virtHotplug):
		v.reason, v.firstPause, v.longestPause = api.PodRelocating, patientRetry, slowRetry
	case byAdmission.MatchString(s.Message):
		v.reason, v.firstPause, v.longestPause = api.PodWebhookDenied, patientRetry, slowRetry
		if retryAfter > 0 {
			v.retryAfter, v.exact = retryAfter, true
		}
	case apierrors.IsNotFound(err):
		v.gone = true
	case apierrors.IsConflict(err) && (says(otherUID) || says(otherUIDStored)):
		v.gone = true // another pod has its name now
	case budget != "":
		v.reason, v.message, v.retryAfter = api.PodBudgetExhausted, budget, slowRetry
		if m := budgetName.FindStringSubmatch(budget); m != nil {
			v.budget = m[1]
		}
		if retryAfter > 0 { // the budget's status is behind: it will be known soon
			v.retryAfter, v.exact = retryAfter, true
		}
	case s.Code == 429 && retryAfter > 0:
		v.reason, v.retryAfter, v.exact = api.PodAPIOverloaded, retryAfter, true
	case s.Code == 429:
		v.reason, v.firstPause, v.longestPause = api.PodWebhookDenied, patientRetry, slowRetry
	case s.Code == 403 && terminating:
		v.reason, v.firstPause, v.longestPause = api.PodNamespaceTerminating, patientRetry, slowRetry
	case s.Code == 403 && s.Details != nil && s.Details.Kind == "poddisruptionbudget":
		// The budget's status is out of bounds until its controller has caught up.
		v.reason, v.budget, v.retryAfter = api.PodBudgetExhausted, s.Details.Name, slowRetry
	case s.Code == 403 && says(otherNode):
		v.reason, v.message = api.PodAPIOverloaded, oneLine("the API server does not know yet that the pod is on this node: "+s.Message)
		v.firstPause, v.longestPause = unansweredRetry, slowRetry
	case s.Code == 403 && says(notReady):
		v.reason, v.firstPause, v.longestPause = api.PodAPIOverloaded, failedRetry, slowRetry
	case s.Code == 403:
		v.reason, v.retryAfter = api.PodForbidden, slowRetry
	case s.Code == 401: // a token that is being renewed, or has expired
		v.reason, v.message = api.PodAPIOverloaded, oneLine("the API server does not accept rebootd's credentials: "+s.Message)
		v.firstPause, v.longestPause = failedRetry, slowRetry
	case s.Code == 500 && says(multiple):
		v.reason, v.retryAfter = api.PodMultipleBudgets, slowRetry
	default:
		v.reason, v.firstPause, v.longestPause = api.PodAPIOverloaded, failedRetry, slowRetry
		if retryAfter > 0 {
			v.retryAfter, v.exact = retryAfter, true
		}
	}
	return v
}

// causes finds the message about the budget and whether the namespace is being
// deleted.
func causes(s metav1.Status) (budget string, terminating bool) {
	if s.Details == nil {
		return "", false
	}
	for _, c := range s.Details.Causes {
		switch c.Type {
		case policyv1.DisruptionBudgetCause:
			budget = oneLine(c.Message)
			if budget == "" {
				budget = oneLine(s.Message)
			}
		case corev1.NamespaceTerminatingCause:
			terminating = true
		}
	}
	return budget, terminating
}

// maxMessage bounds what is quoted of other programs' messages, in bytes.
const maxMessage = 300

// oneLine is the message of another program as it is quoted.
func oneLine(s string) string { return printable.Line(s, maxMessage) }
