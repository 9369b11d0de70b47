package drain

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
)

// What is foretold of listed pods and budgets is what the daemon foresees, and each pod is
// treated as a drain would.
func TestForetellOfLists(t *testing.T) {
	pod := func(name string, change ...func(*corev1.Pod)) corev1.Pod {
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID("uid-of-" + name), Labels: map[string]string{"app": name}}, Status: corev1.PodStatus{Phase: corev1.PodRunning}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		for _, c := range change {
			c(&p)
		}
		return p
	}
	isControlledBy := func(kind, group string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			yes := true
			p.OwnerReferences = []metav1.OwnerReference{{Kind: kind, APIVersion: group, Name: "o", UID: "o", Controller: &yes}}
		}
	}
	budget := func(app string, expected, desired, healthy int32) policyv1.PodDisruptionBudget {
		return policyv1.PodDisruptionBudget{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: app},
			Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
			Status:     policyv1.PodDisruptionBudgetStatus{ExpectedPods: expected, DesiredHealthy: desired, CurrentHealthy: healthy, DisruptionsAllowed: max(0, healthy-desired)},
		}
	}
	pods := []corev1.Pod{
		pod("free"), pod("web"), pod("sick"), pod("fine"),
		pod("managed", isControlledBy("StatefulSet", "db.example/v1")),
		pod("agent", isControlledBy("DaemonSet", "apps/v1")),
		pod("static", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} }),
		pod("skipped", func(p *corev1.Pod) { p.Annotations = map[string]string{api.PodDrainAnnotation: api.PodDrainSkip} }),
		pod("over", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }),
		pod("batch", func(p *corev1.Pod) { p.Annotations = map[string]string{api.PodDrainAnnotation: api.PodDrainWait} }),
		pod("going", func(p *corev1.Pod) { at := metav1.Now(); p.DeletionTimestamp = &at }),
	}
	budgets := []policyv1.PodDisruptionBudget{budget("web", 2, 2, 2), budget("sick", 3, 2, 1), budget("fine", 3, 2, 3), budget("managed", 1, 1, 1), budget("agent", 1, 1, 1), budget("batch", 1, 1, 1)}
	budgets = append(budgets, budgets[0])
	budgets[6].Namespace = "other"
	got := Foretell(pods, budgets)
	want := Foretold{
		Rehearsal: Rehearsal{
			Pods: 5,
			Blockers: []Blocker{
				{Pods: []string{"shop/web"}, Reason: api.PodBudgetNeverAllows, Message: "the budget web allows no eviction even if all of its 2 pods are healthy (it needs 2)"},
				{Pods: []string{"shop/managed"}, Reason: api.PodBudgetNeverAllows, Message: "the budget managed allows no eviction even if its only pod is healthy", Managed: true},
			},
			Passing: []Blocker{{Pods: []string{"shop/sick"}, Reason: api.PodUnhealthySiblings, Message: "the budget sick needs 2 healthy pods and has 1"}},
		},
		Skipped: map[api.PodReason]int{api.PodDaemonSetPod: 1, api.PodStaticPod: 1, api.PodSkipRequested: 1, api.PodCompleted: 1},
		Waits:   []Blocker{{Pods: []string{"shop/batch"}, Reason: api.PodAwaitingCompletion, Message: "is left to finish by itself, or protected from disruption (rebootd.dev/drain: wait-completed)"}},
		Evicted: []string{"shop/fine", "shop/free", "shop/managed", "shop/sick", "shop/web"},
		Leaving: []string{"shop/going"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	lasting, passing := got.Stay(func(Blocker) bool { return true }), got.Stay(func(Blocker) bool { return false })
	if len(lasting) != 2 || len(passing) != 1 || passing[0].Pods[0] != "shop/web" {
		t.Errorf("stay: %+v, and if nothing lasts %+v", lasting, passing)
	}
}
