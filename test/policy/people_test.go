package policy

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/kit"
)

// person is somebody who is bound to a pair of the shipped roles.
func person(b *kit.Bed, role string) *kubernetes.Clientset {
	b.Helper()
	name := "person-" + role
	who := []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: name}}
	all := metav1.ObjectMeta{Name: name}
	_, err := shared.Client.RbacV1().ClusterRoleBindings().Create(b.Ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: all, Subjects: who, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}, metav1.CreateOptions{})
	b.Must(err)
	b.Cleanup(func() {
		_ = shared.Client.RbacV1().ClusterRoleBindings().Delete(context.Background(), name, metav1.DeleteOptions{})
	})
	_, err = shared.Client.RbacV1().RoleBindings(cluster.Namespace).Create(b.Ctx, &rbacv1.RoleBinding{
		ObjectMeta: all, Subjects: who, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role},
	}, metav1.CreateOptions{})
	b.Must(err)
	b.Cleanup(func() {
		_ = shared.Client.RbacV1().RoleBindings(cluster.Namespace).Delete(context.Background(), name, metav1.DeleteOptions{})
	})
	cfg := rest.CopyConfig(shared.Config)
	cfg.Impersonate = rest.ImpersonationConfig{UserName: name}
	c, err := kubernetes.NewForConfig(cfg)
	b.Must(err)
	return c
}

// What people may do by the shipped roles, and what they may not: reading is all that a
// viewer can do, and an operator writes Nodes and the lock's Leases.
func TestPeople(t *testing.T) {
	b := kit.New(t, shared, "people", 2*time.Minute)
	bareNode(b, "people-node", func(n *corev1.Node) { n.Annotations["rebootd.dev/operation"] = record("Queued") })
	get, list := metav1.GetOptions{}, metav1.ListOptions{}
	patch := func(node, body string) func(context.Context, *kubernetes.Clientset) error {
		return func(ctx context.Context, c *kubernetes.Clientset) error {
			_, err := c.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, []byte(body), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
			return err
		}
	}
	lease := func(namespace, name string) func(context.Context, *kubernetes.Clientset) error {
		return func(ctx context.Context, c *kubernetes.Clientset) error {
			_, err := c.CoordinationV1().Leases(namespace).Patch(ctx, name, types.ApplyPatchType, fmt.Appendf(nil,
				`{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":%q,"annotations":{"rebootd.dev/paused":"x"}}}`, name), metav1.PatchOptions{FieldManager: "person"})
			return err
		}
	}
	viewer, operator := []string{"rebootd-viewer", "rebootd-operator"}, []string{"rebootd-operator"}
	people := map[string]*kubernetes.Clientset{}
	for _, role := range viewer {
		people[role] = person(b, role)
	}
	for what, try := range map[string]struct {
		who []string
		do  func(ctx context.Context, c *kubernetes.Clientset) error
	}{
		"read nodes": {viewer, func(ctx context.Context, c *kubernetes.Clientset) error {
			_, err := c.CoreV1().Nodes().List(ctx, list)
			return err
		}},
		"watch nodes": {viewer, func(ctx context.Context, c *kubernetes.Clientset) error {
			w, err := c.CoreV1().Nodes().Watch(ctx, list)
			if err == nil {
				w.Stop()
			}
			return err
		}},
		"read pods of a node": {viewer, func(ctx context.Context, c *kubernetes.Clientset) error {
			_, err := c.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=people-node"})
			return err
		}},
		"read budgets": {viewer, func(ctx context.Context, c *kubernetes.Clientset) error {
			_, err := c.PolicyV1().PodDisruptionBudgets("").List(ctx, list)
			return err
		}},
		"read Events": {viewer, func(ctx context.Context, c *kubernetes.Clientset) error {
			_, err := c.CoreV1().Events("").List(ctx, list)
			return err
		}},
		"read the slots": {viewer, func(ctx context.Context, c *kubernetes.Clientset) error {
			_, err := c.CoordinationV1().Leases(cluster.Namespace).List(ctx, list)
			return err
		}},
		"watch the slots": {viewer, func(ctx context.Context, c *kubernetes.Clientset) error {
			w, err := c.CoordinationV1().Leases(cluster.Namespace).Watch(ctx, list)
			if err == nil {
				w.Stop()
			}
			return err
		}},
		"read the DaemonSet": {viewer, func(ctx context.Context, c *kubernetes.Clientset) error {
			_, err := c.AppsV1().DaemonSets(cluster.Namespace).Get(ctx, "rebootd", get)
			return err
		}},
		"read the policies": {viewer, func(ctx context.Context, c *kubernetes.Clientset) error {
			_, err := c.AdmissionregistrationV1().ValidatingAdmissionPolicies().List(ctx, list)
			return err
		}},
		"read the policies' bindings": {viewer, func(ctx context.Context, c *kubernetes.Clientset) error {
			_, err := c.AdmissionregistrationV1().ValidatingAdmissionPolicyBindings().List(ctx, list)
			return err
		}},
		"read Leases elsewhere": {nil, func(ctx context.Context, c *kubernetes.Clientset) error {
			_, err := c.CoordinationV1().Leases("kube-system").List(ctx, list)
			return err
		}},
		"read Secrets": {nil, func(ctx context.Context, c *kubernetes.Clientset) error {
			_, err := c.CoreV1().Secrets("").List(ctx, list)
			return err
		}},
		"request a reboot":                   {operator, patch("people-node", `{"metadata":{"annotations":{"rebootd.dev/request":"reboot"}}}`)},
		"hold a node":                        {operator, patch("people-node", `{"metadata":{"annotations":{"rebootd.dev/hold":"disk"}}}`)},
		"make the Lease, and pause":          {operator, lease(cluster.Namespace, "people-pause")},
		"pause by a Lease that is elsewhere": {nil, lease("default", "people-pause")},
		"delete a slot": {nil, func(ctx context.Context, c *kubernetes.Clientset) error {
			return c.CoordinationV1().Leases(cluster.Namespace).Delete(ctx, "people-pause", metav1.DeleteOptions{})
		}},
		"delete a node": {nil, func(ctx context.Context, c *kubernetes.Clientset) error {
			return c.CoreV1().Nodes().Delete(ctx, "people-node", metav1.DeleteOptions{})
		}},
		"evict a pod": {nil, func(ctx context.Context, c *kubernetes.Clientset) error {
			return c.CoreV1().Pods("default").EvictV1(ctx, &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "any"}})
		}},
		"delete a pod": {nil, func(ctx context.Context, c *kubernetes.Clientset) error {
			return c.CoreV1().Pods("default").Delete(ctx, "any", metav1.DeleteOptions{})
		}},
		"change a policy": {nil, func(ctx context.Context, c *kubernetes.Clientset) error {
			return c.AdmissionregistrationV1().ValidatingAdmissionPolicies().Delete(ctx, "rebootd-own-node", metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
		}},
	} {
		for role, c := range people {
			err := try.do(b.Ctx, c)
			switch may := slices.Contains(try.who, role); {
			case may && err != nil:
				t.Errorf("%s may not %s: %v", role, what, err)
			case !may && !apierrors.IsForbidden(err):
				t.Errorf("%s may %s: %v", role, what, err)
			}
		}
	}
	_, err := shared.Client.CoordinationV1().Leases(cluster.Namespace).Patch(b.Ctx, "people-pause", types.MergePatchType, []byte(`{"metadata":{"annotations":{"rebootd.dev/paused":null}}}`), metav1.PatchOptions{})
	b.Must(err)
}
