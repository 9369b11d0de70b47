package cli

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"rebootd.dev/test/kit"
)

// TestWhy has a pod that cannot be evicted foretold, named while its node waits, and mended
// by what the program advises; for one who may only see Nodes, too.
func TestWhy(t *testing.T) {
	t.Parallel()
	b := newBed(t, 5*time.Minute)
	m := b.machine()
	b.reason(m, "NotRequired")
	b.ok("why "+m.Name, m.Name+" needs no reboot", "Next: Nothing, until a sentinel")
	b.Pod(b.Name, "stuck", m.Name)
	b.ok("preflight "+m.Name, "nothing is known that would keep it from being drained", "as a dry run")

	one := intstr.FromInt32(1)
	budgets := shared.Client.PolicyV1().PodDisruptionBudgets(b.Name)
	_, err := budgets.Create(b.Ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "all"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &one, Selector: &metav1.LabelSelector{}},
	}, metav1.CreateOptions{})
	b.Must(err)
	b.Eventually("the disruption controller has seen the budget", func() bool {
		p, err := budgets.Get(b.Ctx, "all", metav1.GetOptions{})
		return err == nil && p.Status.ObservedGeneration == p.Generation && p.Status.CurrentHealthy == 1
	})
	b.ends(4, "preflight "+m.Name, "would not drain at present: 1 of 1 pods cannot be evicted", "BudgetNeverAllows: the budget all allows no eviction", b.Name+"/stuck", " -n "+b.Name+" get pdb")
	if _, err := shared.Client.CoreV1().Pods(b.Name).Get(b.Ctx, "stuck", metav1.GetOptions{}); err != nil {
		t.Errorf("a rehearsal has moved the pod: %v", err)
	}

	before := m.BootID()
	b.Must(m.Touch("x"))
	b.reason(m, "WouldNotDrain")
	b.ok("why "+m.Name, "WouldNotDrain", b.Name+"/stuck", " preflight "+m.Name, "/run/reboot-needed")
	b.ok("plan", m.Name)
	b.ok("slots", b.Name+"-0")

	onlyNodes(b)
	b.ok("why "+m.Name+" --as eve-"+b.Name, "WouldNotDrain", "Leases cannot be read")
	b.ok("plan --as eve-"+b.Name, "The Leases cannot be read")
	b.ends(1, "slots --as eve-"+b.Name, "this needs the right to list leases.coordination.k8s.io")
	b.ends(1, "preflight "+m.Name+" --as eve-"+b.Name, "this needs the right to list pods")

	b.Must(budgets.Delete(b.Ctx, "all", metav1.DeleteOptions{}))
	b.Node(m.Name, "rebooted", func(n *corev1.Node) bool { return m.BootID() != before && kit.Idle(n) })
	b.ok("why "+m.Name, m.Name+" needs no reboot")
}

// onlyNodes has a user eve-NAME who may see Nodes and nothing else.
func onlyNodes(b *bed) {
	b.Helper()
	rbac, name := shared.Client.RbacV1(), "eve-"+b.Name
	_, err := rbac.ClusterRoles().Create(b.Ctx, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes"}, Verbs: []string{"get", "list"}}},
	}, metav1.CreateOptions{})
	b.Must(err)
	_, err = rbac.ClusterRoleBindings().Create(b.Ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: name}},
	}, metav1.CreateOptions{})
	b.Must(err)
	b.Cleanup(func() {
		_ = rbac.ClusterRoleBindings().Delete(b.Context(), name, metav1.DeleteOptions{})
		_ = rbac.ClusterRoles().Delete(b.Context(), name, metav1.DeleteOptions{})
	})
}
