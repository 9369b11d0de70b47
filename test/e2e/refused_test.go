package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/test/machine"
)

// frozen has an admission policy refuse every change of a Node after which an
// expression is false, until the returned function is called.
func (b *bed) frozen(m *machine.Machine, allowed, words string) (thaw func()) {
	b.Helper()
	policies, bindings := shared.Client.AdmissionregistrationV1().ValidatingAdmissionPolicies(), shared.Client.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings()
	name := "frozen-" + m.Name
	_, err := policies.Create(b.ctx, &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Update},
					Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"nodes", "nodes/status"}},
				},
			}}},
			MatchConditions: []admissionv1.MatchCondition{{Name: "node", Expression: fmt.Sprintf("object.metadata.name == %q", m.Name)}},
			Validations:     []admissionv1.Validation{{Expression: allowed, Message: words}},
		},
	}, metav1.CreateOptions{})
	b.must(err)
	_, err = bindings.Create(b.ctx, &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: name, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}},
	}, metav1.CreateOptions{})
	b.must(err)
	b.eventually("the API server obeys the policy", func() bool {
		_, err := shared.Client.CoreV1().Nodes().Patch(b.ctx, m.Name, types.MergePatchType, []byte(`{"spec":{"unschedulable":true}}`), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return err != nil && strings.Contains(err.Error(), words)
	})
	return func() {
		b.Helper()
		b.must(bindings.Delete(b.ctx, name, metav1.DeleteOptions{}))
		b.must(policies.Delete(b.ctx, name, metav1.DeleteOptions{}))
	}
}

// A policy of the cluster's refuses the cordon, and has said nothing when the daemon tried
// it as a dry run: the node says so, in the policy's own words, gives its slot to the next,
// and goes when the policy is gone.
func TestCordonIsRefused(t *testing.T) {
	t.Parallel()
	b := newBed(t, 4*time.Minute)
	first, second := b.machine(), b.machine()
	before := []string{first.BootID(), second.BootID()}
	thaw := b.frozen(first, "!has(object.spec.unschedulable) || !object.spec.unschedulable || request.?dryRun.orValue(false) && request.userInfo.username.startsWith('rebootd:')", "no node is cordoned before Monday")
	b.must(first.Touch("x"))
	b.node(first, "Blocked, with the policy's words", func(n *corev1.Node) bool {
		c := condition(n)
		return c.Reason == "Blocked" && strings.Contains(c.Message, "no node is cordoned before Monday") && strings.Contains(c.Message, "next try at")
	})
	b.eventually("the slot is released", func() bool { return len(b.holders()) == 0 })
	b.must(second.Touch("x"))
	b.rebooted(second, before[1])
	if tries := strings.Count(first.Log(), "the API server refuses the step"); tries > 2 {
		t.Errorf("it was tried %d times in a minute or two", tries)
	}
	thaw()
	b.rebooted(first, before[0])
	b.released()
}
