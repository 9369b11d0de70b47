package drain

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
)

// Whatever an API server, a webhook or a proxy answers, it is understood as
// something, told in one short line, and tried again before long.
func FuzzJudge(f *testing.F) {
	f.Add(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.", 10, "DisruptionBudget", "The disruption budget web needs 5 healthy pods and has 5 currently", "")
	f.Add(403, "Forbidden", "admission webhook \"x\" denied the request: \x1b[31mno", 0, "NamespaceTerminating", "", "poddisruptionbudget")
	f.Add(500, "InternalError", "This pod has more than one PodDisruptionBudget", -1, "", "", "")
	f.Fuzz(func(t *testing.T, code int, reason, message string, retryAfter int, cause, causeMessage, kind string) {
		v := judge(&apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: int32(code), Reason: metav1.StatusReason(reason), Message: message,
			Details: &metav1.StatusDetails{Kind: kind, Name: message, RetryAfterSeconds: int32(retryAfter), Causes: []metav1.StatusCause{{Type: metav1.CauseType(cause), Message: causeMessage}}},
		}})
		switch {
		case v.accepted:
			t.Errorf("a refusal is taken for consent: %+v", v)
		case !v.gone && !v.reason.Info().Blocks:
			t.Errorf("no reason of the vocabulary: %+v", v)
		case v.retryAfter < 0 || v.retryAfter > slowRetry || v.firstPause > slowRetry || v.longestPause > slowRetry:
			t.Errorf("tried again after too long: %+v", v)
		case !v.gone && v.retryAfter == 0 && v.firstPause == 0:
			t.Errorf("tried again at once, without end: %+v", v)
		case len(v.message) > maxMessage+len("…") || strings.ContainsFunc(v.message, unicode.IsControl) || !utf8.ValidString(v.message):
			t.Errorf("not one short line: %q", v.message)
		}
	})
}

// Whatever people write on a pod, the pod is treated in one way, and what is said
// of it can be told.
func FuzzClassify(f *testing.F) {
	f.Add("5", "skip", "wait-completed", "1h", "false", "webhook", "system-node-critical")
	f.Add("-99999999999999999999", "\xff", "", "9999999h", "", "", "")
	f.Fuzz(func(t *testing.T, order, word, capi, karpenter, autoscaler, app, priority string) {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "n", Name: "p", UID: "u", Labels: map[string]string{clusterAPILabel: capi, "app": app},
			Annotations: map[string]string{api.PodOrderAnnotation: order, api.PodDrainAnnotation: word, karpenterAnnotation: karpenter, autoscalerAnnotation: autoscaler},
		}}
		p.Spec.PriorityClassName = priority
		c := viewer{}.info(p)
		if c.skip != (note{}) && c.wait != "" {
			t.Errorf("both never evicted and waited for: %+v", c)
		}
		if word == api.PodDrainSkip && c.skip == (note{}) {
			t.Errorf("is not skipped: %+v", c)
		}
		r := api.Report{V: api.ReportSchema, ID: "a", Started: time.Now(), Pods: []api.PodReport{{Namespace: "n", Name: "p", UID: "u", Outcome: api.OutcomeSkipped, Reason: c.skip.reason, Message: c.skip.message}}}
		data, err := json.Marshal(&r)
		if err != nil {
			t.Fatalf("the report of it: %v", err)
		}
		if _, err := api.ParseReport(data); err != nil {
			t.Errorf("the report of it: %v", err)
		}
	})
}
