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
)

// Reason is why a pod is not gone yet.
type Reason string

// The reasons why a pod is not gone yet.
const (
	BudgetExhausted      Reason = "BudgetExhausted"      // its budget allows no eviction just now
	BudgetNeverAllows    Reason = "BudgetNeverAllows"    // its budget allows none even with every pod healthy
	UnhealthySiblings    Reason = "UnhealthySiblings"    // too few of the budget's pods are healthy
	MultipleBudgets      Reason = "MultipleBudgets"      // more than one budget selects it, which the API refuses
	WebhookDenied        Reason = "WebhookDenied"        // an admission webhook, in its own words
	Forbidden            Reason = "Forbidden"            // rebootd may not evict it
	APIOverloaded        Reason = "APIOverloaded"        // the API server asks for patience, or fails
	NamespaceTerminating Reason = "NamespaceTerminating" // its namespace is being deleted
	Terminating          Reason = "Terminating"          // it was deleted, and is overdue
	Returning            Reason = "Returning"            // it keeps coming back to the cordoned node
)

// Reasons lists the vocabulary in the order in which it is documented.
func Reasons() []Reason {
	return []Reason{
		BudgetExhausted, BudgetNeverAllows, UnhealthySiblings, MultipleBudgets, WebhookDenied,
		Forbidden, APIOverloaded, NamespaceTerminating, Terminating, Returning,
	}
}

// verdict is what an answer to an eviction or deletion means.
type verdict struct {
	accepted bool // the pod terminates now
	gone     bool // there is no such pod any more
	reason   Reason
	message  string
	budget   string        // the name of the budget that blocks
	after    time.Duration // when to try again at the latest; 0: with growing pauses
	soon     bool          // the answer asks for a retry after exactly that time
	code     string        // of the answer, for the metric
}

const (
	// slowRetry is how often a pod is tried again although nothing has changed
	// that we could see.
	slowRetry = 2 * time.Minute
	// terminatingRetry is how often a pod of a namespace that is being deleted is
	// looked at: its deletion is the namespace controller's work.
	terminatingRetry = 10 * time.Second
)

var (
	budgetName = regexp.MustCompile(`^The disruption budget (\S+) `)
	multiple   = "more than one PodDisruptionBudget"
)

// judge reads the answer to an eviction or deletion.
func judge(err error) verdict {
	if err == nil {
		return verdict{accepted: true, code: "201"}
	}
	var api apierrors.APIStatus
	if !errors.As(err, &api) {
		return verdict{reason: APIOverloaded, message: "no answer: " + oneLine(err.Error()), code: "error"}
	}
	s := api.Status()
	v := verdict{code: strconv.Itoa(int(s.Code)), message: oneLine(s.Message)}
	retryAfter := time.Duration(0)
	if s.Details != nil {
		retryAfter = time.Duration(s.Details.RetryAfterSeconds) * time.Second
	}
	budget, terminating := causes(s)
	switch {
	case apierrors.IsNotFound(err):
		v.gone = true
	case apierrors.IsConflict(err) && strings.Contains(s.Message, "UID"):
		v.gone = true // another pod has its name now
	case budget != "":
		v.reason, v.message, v.after = BudgetExhausted, budget, slowRetry
		if m := budgetName.FindStringSubmatch(budget); m != nil {
			v.budget = m[1]
		}
		if retryAfter > 0 { // the budget's status is behind: it will be known soon
			v.after, v.soon = retryAfter, true
		}
	case s.Code == 429 && retryAfter > 0:
		v.reason, v.after, v.soon = APIOverloaded, retryAfter, true
	case s.Code == 429 || s.Code == 403 && strings.Contains(s.Message, "admission webhook"):
		v.reason, v.after = WebhookDenied, slowRetry/4
	case s.Code == 403 && terminating:
		v.reason, v.after = NamespaceTerminating, terminatingRetry
	case s.Code == 403:
		v.reason, v.after = Forbidden, slowRetry
	case s.Code == 500 && strings.Contains(s.Message, multiple):
		v.reason, v.after = MultipleBudgets, slowRetry
	default:
		v.reason = APIOverloaded
		if strings.Contains(s.Message, "failed calling webhook") {
			v.reason = WebhookDenied
		}
		if retryAfter > 0 {
			v.after, v.soon = retryAfter, true
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

// maxWords bounds what is repeated of somebody else's words.
const maxWords = 300

func oneLine(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "")), " ")
	if len(s) > maxWords {
		s = strings.ToValidUTF8(s[:maxWords], "") + "…"
	}
	return s
}
