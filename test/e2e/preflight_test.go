package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// staying has an admission policy deny the eviction of the pods of the test's namespace,
// until the returned function is called.
func (b *bed) staying(words string) (let func()) {
	b.Helper()
	policies, bindings := shared.Client.AdmissionregistrationV1().ValidatingAdmissionPolicies(), shared.Client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	name := "staying-" + b.prefix
	_, err := policies.Create(b.ctx, &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Create},
					Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods/eviction"}},
				},
			}}},
			MatchConditions: []admissionv1.MatchCondition{{Name: "pod", Expression: fmt.Sprintf("request.namespace == %q && request.name == 'stays'", b.prefix)}},
			Validations:     []admissionv1.Validation{{Expression: "false", Message: words}},
		},
	}, metav1.CreateOptions{})
	b.must(err)
	_, err = bindings.Create(b.ctx, &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}},
	}, metav1.CreateOptions{})
	b.must(err)
	end := func() {
		_ = bindings.Delete(b.Context(), name, metav1.DeleteOptions{})
		_ = policies.Delete(b.Context(), name, metav1.DeleteOptions{})
	}
	b.Cleanup(end)
	b.eventually("the API server obeys the policy", func() bool {
		err := b.tryEviction("stays")
		return err != nil && strings.Contains(err.Error(), words)
	})
	return end
}

// tryEviction asks, as a dry run, for the eviction of a pod of the test's namespace.
func (b *bed) tryEviction(pod string) error {
	return shared.Client.PolicyV1().Evictions(b.prefix).Evict(b.ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Name: pod, Namespace: b.prefix},
		DeleteOptions: &metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}},
	})
}

// evictions are those of the test's namespace that daemons have asked for.
func (b *bed) evictions() (tried, done []audited) {
	b.Helper()
	for _, a := range b.audit(func(a audited) bool {
		return a.Verb == "create" && a.ObjectRef.Subresource == "eviction" && a.ObjectRef.Namespace == b.prefix && strings.HasPrefix(a.UserAgent, "rebootd")
	}) {
		if a.dryRun() {
			tried = append(tried, a)
		} else {
			done = append(done, a)
		}
	}
	return tried, done
}

// A pod whose eviction is denied for good keeps its node from being drained: the slot goes
// to the next, no pod was moved, and no node was cordoned. The node goes when the pod may.
func TestPreflightMovesNoPod(t *testing.T) {
	t.Parallel()
	b := newBed(t, 4*time.Minute)
	m, next := b.stopped(), b.stopped()
	before := []string{m.BootID(), next.BootID()}
	for _, name := range []string{"stays", "moves-1", "moves-2"} {
		b.pod(m, name)
	}
	let := b.staying("this pod is not moved before Monday")
	b.must(m.StartDaemon())
	b.must(next.StartDaemon())
	b.must(m.Touch("x"))
	n := b.reason(m, "WouldNotDrain")
	if c := condition(n); !strings.Contains(c.Message, b.prefix+"/stays: WebhookDenied") || !strings.Contains(c.Message, "this pod is not moved before Monday") {
		t.Error(c.Message)
	}
	b.must(next.Touch("x"))
	b.rebooted(next, before[1])
	n, err := m.Node(b.ctx)
	b.must(err)
	tried, done := b.evictions()
	if _, cordoned := b.cordonsOf(m); n.Spec.Unschedulable || len(cordoned) != 0 || len(done) != 0 {
		t.Errorf("cordoned %t (%d times), %d pods evicted", n.Spec.Unschedulable, len(cordoned), len(done))
	}
	if len(tried) < 4 { // each pod, and once more the one that is denied
		t.Errorf("%d evictions were tried", len(tried))
	}
	for _, a := range tried {
		if body := string(a.RequestObject); !strings.Contains(body, `"dryRun":["All"]`) || !strings.Contains(body, `"uid":"`) {
			t.Errorf("%s: %s", a.RequestURI, body)
		}
	}
	let()
	b.rebooted(m, before[0])
	b.released()
	if _, done := b.evictions(); len(done) != 3 {
		t.Errorf("%d of 3 pods were evicted", len(done))
	}
}

// While a node waits, people are told which pod could not be evicted, and no more when its
// budget is mended; nobody has asked to evict it meanwhile, not even as a dry run.
func TestPreflightTells(t *testing.T) {
	t.Parallel()
	b := newBed(t, 3*time.Minute)
	m := b.stopped()
	before := m.BootID()
	b.pod(m, "alone")
	b.must(shared.Budget(b.ctx, b.prefix, "alone", 1))
	b.patch(m, `{"metadata":{"annotations":{"rebootd.dev/hold":"wait"}}}`)
	b.must(m.StartDaemon())
	b.must(m.Touch("x"))
	b.node(m, "told of the pod", func(n *corev1.Node) bool {
		c := condition(n)
		return c.Reason == "Held" && strings.Contains(c.Message, "would not be able to evict "+b.prefix+"/alone: BudgetNeverAllows: ")
	})
	if tried, done := b.evictions(); len(tried)+len(done) > 0 {
		t.Errorf("evictions: %d tried, %d done", len(tried), len(done))
	}
	_, err := shared.Client.PolicyV1().PodDisruptionBudgets(b.prefix).Patch(b.ctx, "alone", types.MergePatchType, []byte(`{"spec":{"minAvailable":0}}`), metav1.PatchOptions{})
	b.must(err)
	b.node(m, "told that it is mended", func(n *corev1.Node) bool { return !strings.Contains(condition(n).Message, "alone") })
	b.patch(m, `{"metadata":{"annotations":{"rebootd.dev/hold":null}}}`)
	b.rebooted(m, before)
	b.released()
}
