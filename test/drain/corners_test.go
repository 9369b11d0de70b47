package drain

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	registrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"rebootd.dev/daemon/api"
	"rebootd.dev/drain"
	"rebootd.dev/test/cluster"
	"rebootd.dev/test/proxy"
)

// lists counts the lists of the node's pods from the newest state.
func lists(r *http.Request, n *atomic.Int64) {
	q := r.URL.Query()
	if r.Method == http.MethodGet && !q.Has("watch") && q.Get("resourceVersion") != "0" && strings.HasPrefix(q.Get("fieldSelector"), "spec.nodeName=") {
		n.Add(1)
	}
}

// A webhook may refuse by any code, also by one that sounds as if the pod were gone. It
// is not asked again and again, its words are told, and under a deadline the pod is
// deleted.
func TestWebhookThatRefusesAsIfThePodWereGone(t *testing.T) {
	for name, answer := range map[string]*metav1.Status{
		"404": {Status: metav1.StatusFailure, Code: 404, Reason: metav1.StatusReasonNotFound, Message: "no spare for it"},
		"409": {Status: metav1.StatusFailure, Code: 409, Reason: metav1.StatusReasonConflict, Message: "the UID in the precondition is not that of the primary"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			asked := b.webhook(func(string) *metav1.Status { return answer })
			b.pod("web", func(p *corev1.Pod) { grace := int64(2); p.Spec.TerminationGracePeriodSeconds = &grace })
			b.ready("web")
			var newest atomic.Int64
			b.through().Faults(func(r *http.Request) proxy.Fault { lists(r, &newest); return proxy.Fault{} })
			b.start(func(_ *drain.Config, o *drain.Options) { o.Limit = 20 * time.Second })
			if x := b.blocked(api.PodWebhookDenied); !strings.Contains(x.Message, answer.Message) {
				t.Errorf("message %q", x.Message)
			}
			if n := asked.Load(); n > 3 || newest.Load() > 3 {
				t.Errorf("%d evictions and %d lists in the first ten seconds", n, newest.Load())
			}
			p := b.drained()
			b.expect(p, "web", "force-stopped")
		})
	}
}

// Something on the way, as a proxy that does not know evictions, answers that a pod is
// gone which is there.
func TestPodThatIsCalledGone(t *testing.T) {
	b := newBed(t)
	b.pod("web", func(p *corev1.Pod) { grace := int64(2); p.Spec.TerminationGracePeriodSeconds = &grace })
	b.ready("web")
	var newest, evictions atomic.Int64
	b.through().Faults(func(r *http.Request) proxy.Fault {
		lists(r, &newest)
		if !strings.HasSuffix(r.URL.Path, "/eviction") {
			return proxy.Fault{}
		}
		evictions.Add(1)
		return proxy.Fault{Answer: &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound, Message: "not found"}}
	})
	b.start(func(_ *drain.Config, o *drain.Options) { o.Limit = 25 * time.Second })
	if x := b.blocked(api.PodAPIOverloaded); !strings.Contains(x.Message, "could not find the requested resource") {
		t.Errorf("message %q", x.Message)
	}
	if evictions.Load() > 8 || newest.Load() > 8 {
		t.Errorf("%d evictions and %d lists before that was told", evictions.Load(), newest.Load())
	}
	p := b.drained()
	b.expect(p, "web", "force-stopped")
}

// The commonest drain that is stuck: one of six may be missing, and one of the others
// is broken. People learn which.
func TestOneSiblingIsBroken(t *testing.T) {
	b := newBed(t)
	six := func(change func(*corev1.Pod), name string) { b.pod(name, change) }
	for i := range 5 {
		six(func(p *corev1.Pod) { p.Labels["app"] = "web" }, fmt.Sprintf("web-%d", i))
	}
	six(func(p *corev1.Pod) {
		p.Labels["app"], p.Spec.NodeName = "web", b.other
		p.Annotations[cluster.Sim+"unhealthy"] = "true"
	}, "web-sick")
	b.ready("web-0", "web-1", "web-2", "web-3", "web-4")
	// Of pods without a controller only minAvailable is counted.
	min := intstr.FromInt(5)
	_, err := shared.Client.PolicyV1().PodDisruptionBudgets(b.ns).Create(b.ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: b.ns},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &min, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
	}, metav1.CreateOptions{})
	b.must(err)
	b.start()
	b.blocked(api.PodUnhealthySiblings)
	b.message("the budget web needs 5 healthy pods and has 5; not Ready: web-sick")
	b.must(shared.Client.PolicyV1().PodDisruptionBudgets(b.ns).Delete(b.ctx, "web", metav1.DeleteOptions{}))
	b.drained()
}

// A budget with an empty selector is one for every pod of its namespace.
func TestBudgetForEveryPod(t *testing.T) {
	b := newBed(t)
	b.pod("web", nil)
	b.pod("sick", func(p *corev1.Pod) {
		p.Spec.NodeName = b.other
		p.Annotations[cluster.Sim+"unhealthy"] = "true"
	})
	b.ready("web")
	min := intstr.FromInt(2)
	_, err := shared.Client.PolicyV1().PodDisruptionBudgets(b.ns).Create(b.ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "all", Namespace: b.ns},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &min, Selector: &metav1.LabelSelector{}},
	}, metav1.CreateOptions{})
	b.must(err)
	b.start()
	b.blocked(api.PodUnhealthySiblings)
	b.message("not Ready: sick")
	b.must(shared.Client.PolicyV1().PodDisruptionBudgets(b.ns).Delete(b.ctx, "all", metav1.DeleteOptions{}))
	b.drained()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.errors) > 0 {
		t.Errorf("errors: %q", b.errors)
	}
}

// An admission policy that refuses is told as one, in its words, whatever code it has
// chosen.
func TestAdmissionPolicy(t *testing.T) {
	for reason, code := range map[metav1.StatusReason]string{
		metav1.StatusReasonInvalid: "422", metav1.StatusReasonForbidden: "403", metav1.StatusReasonRequestEntityTooLarge: "413",
	} {
		t.Run(code, func(t *testing.T) {
			b := newBed(t)
			admission := shared.Client.AdmissionregistrationV1()
			_, err := admission.ValidatingAdmissionPolicies().Create(b.ctx, &registrationv1.ValidatingAdmissionPolicy{
				ObjectMeta: metav1.ObjectMeta{Name: b.ns + ".test.rebootd.dev"},
				Spec: registrationv1.ValidatingAdmissionPolicySpec{
					MatchConstraints: &registrationv1.MatchResources{
						ResourceRules:     []registrationv1.NamedRuleWithOperations{{RuleWithOperations: rule(registrationv1.Create, "pods/eviction")}},
						NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": b.ns}},
					},
					Validations: []registrationv1.Validation{{Expression: "false", Message: "not before noon", Reason: &reason}},
				},
			}, metav1.CreateOptions{})
			b.must(err)
			_, err = admission.ValidatingAdmissionPolicyBindings().Create(b.ctx, &registrationv1.ValidatingAdmissionPolicyBinding{
				ObjectMeta: metav1.ObjectMeta{Name: b.ns + ".test.rebootd.dev"},
				Spec:       registrationv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: b.ns + ".test.rebootd.dev", ValidationActions: []registrationv1.ValidationAction{registrationv1.Deny}},
			}, metav1.CreateOptions{})
			b.must(err)
			remove := func() {
				_ = admission.ValidatingAdmissionPolicyBindings().Delete(b.Context(), b.ns+".test.rebootd.dev", metav1.DeleteOptions{})
				_ = admission.ValidatingAdmissionPolicies().Delete(b.Context(), b.ns+".test.rebootd.dev", metav1.DeleteOptions{})
			}
			b.Cleanup(remove)
			b.pod("web", nil)
			b.ready("web")
			for b.evict("web") == nil { // until the API server has seen the policy
				b.must(b.ctx.Err())
			}
			b.start()
			if x := b.blocked(api.PodWebhookDenied); !strings.Contains(x.Message, "not before noon") {
				t.Errorf("message %q", x.Message)
			}
			b.mu.Lock()
			if b.evictions[code] == 0 || b.evictions[code] > 3 {
				t.Errorf("answers to evictions: %v", b.evictions)
			}
			b.mu.Unlock()
			remove()
			b.drained()
		})
	}
}

// Numbers that are out of all bounds: what the API server takes, the drain stands.
func TestNumbersOutOfBounds(t *testing.T) {
	b := newBed(t)
	for i, grace := range []int64{9_300_000_000, 10_000_000_000, math.MaxInt64} {
		b.pod(fmt.Sprintf("grace-%d", i), func(p *corev1.Pod) {
			p.Spec.TerminationGracePeriodSeconds = &grace
			p.Annotations[cluster.Sim+"term-seconds"] = "600"
		})
	}
	b.pod("last", func(p *corev1.Pod) {
		p.Spec.PriorityClassName = "system-node-critical"
		p.Annotations[api.PodOrderAnnotation] = fmt.Sprint(math.MaxInt64)
	})
	b.pod("first", func(p *corev1.Pod) { p.Annotations[api.PodOrderAnnotation] = fmt.Sprint(math.MinInt64) })
	b.ready("grace-0", "grace-1", "grace-2", "last", "first")
	deadline := time.Now().Add(15 * time.Second)
	b.start(func(_ *drain.Config, o *drain.Options) { o.Limit = time.Until(deadline) })
	b.drained()
	if late := time.Since(deadline); late > 3*time.Second {
		t.Errorf("the last pod ended %s after the deadline", late)
	}
}
