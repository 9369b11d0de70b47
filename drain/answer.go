package drain

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

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
	WebhookDenied        Reason = "WebhookDenied"        // an admission webhook or policy, in its own words
	Relocating           Reason = "Relocating"           // somebody moves it, such as KubeVirt or an operator
	Forbidden            Reason = "Forbidden"            // rebootd may not evict it
	APIOverloaded        Reason = "APIOverloaded"        // the API server asks for patience, or fails
	NamespaceTerminating Reason = "NamespaceTerminating" // its namespace is being deleted
	Terminating          Reason = "Terminating"          // it was deleted, and is overdue
	Returning            Reason = "Returning"            // it keeps coming back to the cordoned node
	AwaitingCompletion   Reason = "AwaitingCompletion"   // it is to end by itself
	Protected            Reason = "Protected"            // other programs are told not to disturb it
	AwaitingTurn         Reason = "AwaitingTurn"         // pods of an earlier place in the order are still there
)

// Meanings says in a sentence what each reason means. The reference of the
// documentation is tested against it.
func Meanings() map[Reason]string {
	return map[Reason]string{
		BudgetExhausted:      "Its budget allows no eviction just now; tried again when the budget changes.",
		BudgetNeverAllows:    "Its budget allows none even with every pod healthy. Needs a person.",
		UnhealthySiblings:    "Too few of the budget's pods are healthy; the message names those that are not.",
		MultipleBudgets:      "More than one budget selects it, which the eviction API refuses. Needs a person.",
		Relocating:           "Somebody moves it in their own way: KubeVirt migrates the machine, an operator rolls the pod. The message says where to, once that is known.",
		WebhookDenied:        "An admission webhook or policy refuses, in its own words.",
		Forbidden:            "rebootd may not evict it. Needs a person.",
		APIOverloaded:        "The API server asks for patience, fails or does not answer.",
		NamespaceTerminating: "Its namespace is being deleted; it goes with it.",
		Terminating:          "It was told to end; the message says until when it has time, or had, and which finalizers there are.",
		Returning:            "Pods like it keep coming to the cordoned node when they are evicted from it; it is not chased.",
		AwaitingCompletion:   "It is left to end by itself: `rebootd.dev/drain: wait-completed`, or a Job's pod under `--wait-for-jobs`.",
		Protected:            "Karpenter or Cluster Autoscaler are told not to disturb it.",
		AwaitingTurn:         "Pods that go before it in the order are still there.",
	}
}

// Permanent says whether nothing but somebody's doing ends what r stands for.
func (r Reason) Permanent() bool {
	return r == BudgetNeverAllows || r == MultipleBudgets || r == Forbidden
}

// verdict is what an answer to an eviction or deletion means.
type verdict struct {
	accepted  bool // the pod terminates now
	gone      bool // there is no such pod any more
	pretended bool // by a dry run
	reason    Reason
	message   string
	budget    string        // the name of the budget that blocks
	after     time.Duration // when to try again; 0: with growing pauses, from first to most
	first     time.Duration
	most      time.Duration
	soon      bool   // the answer asks for a retry after exactly that time; later ones grow
	code      string // of the answer, for the metric
}

const (
	// slowRetry is how often a pod is tried again although nothing has changed
	// that we could see.
	slowRetry = 2 * time.Minute
	// patientRetry is the first pause where somebody else is at work, as a webhook's
	// operator or the namespace controller: of the first seconds' tries few succeed.
	patientRetry = 5 * time.Second
	// failedRetry is the first pause after an answer that says nothing about the
	// pod.
	failedRetry = 2 * time.Second
	// The first and the longest pause while no answer comes at all.
	unansweredRetry  = 500 * time.Millisecond
	unreachableRetry = 15 * time.Second
)

var budgetName = regexp.MustCompile(`^The disruption budget (\S+) `)

// Words of answers that have no other mark.
const (
	// The API server's: pkg/registry/core/pod/storage/eviction.go.
	multiple = "more than one PodDisruptionBudget"
	// Preconditions that speak of another pod, the second where it is told by the
	// storage: a conflict of another kind has to be tried again.
	otherUID       = "UID in the precondition"
	otherUIDStored = "UID in precondition"
	// NodeRestriction's, whose view of the pods may be behind that by which we know
	// that the pod is on this node: plugin/pkg/admission/noderestriction.
	otherNode = "can only evict pods with spec.nodeName set to itself"
	// Any admission plugin's, in the first seconds of an API server.
	notReady = "not yet ready to handle request"
	// KubeVirt's: pod-eviction-admitter.
	virtEvacuation = "Eviction triggered evacuation of VMI"
	virtInProgress = "Evacuation in progress"
	virtHotplug    = "cannot evict hotplug pod"
)

// byAdmission tells the words of a webhook or of an admission policy, with which the
// API server passes on a refusal, whatever code they have chosen for it, and those by
// which it says that one did not answer.
var byAdmission = regexp.MustCompile(`admission webhook "|failed calling webhook|[Pp]olicy ['"][^'"]+['"]( with binding ['"][^'"]+['"])? denied request: `)

// judge reads the answer to an eviction or deletion.
func judge(err error) verdict {
	if err == nil {
		return verdict{accepted: true, code: "201"}
	}
	var api apierrors.APIStatus
	if !errors.As(err, &api) {
		return verdict{reason: APIOverloaded, message: oneLine("no answer: " + err.Error()), code: "error", first: unansweredRetry, most: unreachableRetry}
	}
	s := api.Status()
	v := verdict{code: strconv.Itoa(int(s.Code)), message: oneLine(s.Message)}
	retryAfter := time.Duration(0)
	if s.Details != nil {
		// Nobody may put a drain off for hours.
		retryAfter = time.Duration(min(max(s.Details.RetryAfterSeconds, 0), int32(slowRetry/time.Second))) * time.Second
	}
	budget, terminating := causes(s)
	says := func(words string) bool { return strings.Contains(s.Message, words) }
	switch {
	case says(virtEvacuation), says(virtInProgress), says(virtHotplug):
		v.reason, v.first, v.most = Relocating, patientRetry, slowRetry
	case byAdmission.MatchString(s.Message):
		v.reason, v.first, v.most = WebhookDenied, patientRetry, slowRetry
		if retryAfter > 0 {
			v.after, v.soon = retryAfter, true
		}
	case apierrors.IsNotFound(err):
		v.gone = true
	case apierrors.IsConflict(err) && (says(otherUID) || says(otherUIDStored)):
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
	case s.Code == 429:
		v.reason, v.first, v.most = WebhookDenied, patientRetry, slowRetry
	case s.Code == 403 && terminating:
		v.reason, v.first, v.most = NamespaceTerminating, patientRetry, slowRetry
	case s.Code == 403 && s.Details != nil && s.Details.Kind == "poddisruptionbudget":
		// The budget's status is out of its bounds; its controller has to catch up.
		v.reason, v.budget, v.after = BudgetExhausted, s.Details.Name, slowRetry
	case s.Code == 403 && says(otherNode):
		v.reason, v.message = APIOverloaded, oneLine("the API server does not know yet that the pod is on this node: "+s.Message)
		v.first, v.most = unansweredRetry, slowRetry
	case s.Code == 403 && says(notReady):
		v.reason, v.first, v.most = APIOverloaded, failedRetry, slowRetry
	case s.Code == 403:
		v.reason, v.after = Forbidden, slowRetry
	case s.Code == 401: // a token that is being renewed, or one that is not any more
		v.reason, v.message = APIOverloaded, oneLine("the API server does not accept rebootd's credentials: "+s.Message)
		v.first, v.most = failedRetry, slowRetry
	case s.Code == 500 && says(multiple):
		v.reason, v.after = MultipleBudgets, slowRetry
	default:
		v.reason, v.first, v.most = APIOverloaded, failedRetry, slowRetry
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

// oneLine is others' words as they may be shown in a terminal.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxWords {
		s = strings.ToValidUTF8(s[:maxWords], "") + "…"
	}
	return s
}
