package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// Sim is the prefix of the annotations and labels that tell simulated kubelets
// what to do; they are described in kwok.yaml.
const Sim = "sim.rebootd.dev/"

// DownLabel on a Node takes its kubelet away.
const DownLabel = Sim + "down"

// AddNode makes a simulated node and waits until it is Ready.
func (c *Cluster) AddNode(ctx context.Context, name string) error {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
		corev1.LabelHostname: name, corev1.LabelOSStable: "linux", corev1.LabelArchStable: "amd64",
	}}}
	if _, err := c.Client.CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("make the node %s: %w", name, err)
	}
	_, err := c.WaitNode(ctx, name, "Ready and without the taints of one that is not", func(n *corev1.Node) bool {
		return Ready(n) && len(n.Spec.Taints) == 0
	})
	return err
}

// Ready says whether a Node is.
func Ready(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// AddNamespace makes a namespace and waits until pods are admitted to it.
func (c *Cluster) AddNamespace(ctx context.Context, name string) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := c.Client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("make the namespace %s: %w", name, err)
	}
	return c.waitServiceAccount(ctx, name)
}

func (c *Cluster) waitServiceAccount(ctx context.Context, namespace string) error {
	err := c.await(ctx, func(ctx context.Context) (watch.Interface, error) {
		return c.Client.CoreV1().ServiceAccounts(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=default"})
	}, func(ev watch.Event) bool { return ev.Type == watch.Added || ev.Type == watch.Modified })
	if err != nil {
		return fmt.Errorf("wait for the default service account of %s: %w", namespace, err)
	}
	return nil
}

// PodSpec is a pod that a simulated kubelet runs.
func PodSpec() corev1.PodSpec {
	grace := int64(30)
	return corev1.PodSpec{
		TerminationGracePeriodSeconds: &grace,
		Containers:                    []corev1.Container{{Name: "main", Image: "test.invalid/main"}},
	}
}

// Deployment makes a Deployment and waits until its pods are Ready. change, which
// may be nil, changes it before.
func (c *Cluster) Deployment(ctx context.Context, namespace, name string, replicas int32, sim map[string]string, change func(*appsv1.Deployment)) error {
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template: Template(name, sim),
		},
	}
	if change != nil {
		change(d)
	}
	if _, err := c.Client.AppsV1().Deployments(namespace).Create(ctx, d, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make the Deployment %s/%s: %w", namespace, name, err)
	}
	return c.WaitPods(ctx, namespace, "Ready: "+name, func(pods map[string]*corev1.Pod) bool {
		n := int32(0)
		for _, p := range pods {
			if p.Labels["app"] == name && PodReady(p) {
				n++
			}
		}
		return n == *d.Spec.Replicas
	})
}

// Template is a pod template with the label app and annotations for simulated
// kubelets, which are named without their prefix.
func Template(app string, sim map[string]string) corev1.PodTemplateSpec {
	t := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}, Annotations: map[string]string{}}, Spec: PodSpec()}
	for k, v := range sim {
		t.Annotations[Sim+k] = v
	}
	return t
}

// Job makes a Job of one pod.
func (c *Cluster) Job(ctx context.Context, namespace, name string, sim map[string]string, change func(*corev1.PodSpec)) error {
	j := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace}, Spec: batchv1.JobSpec{Template: Template(name, sim)}}
	j.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyNever
	if change != nil {
		change(&j.Spec.Template.Spec)
	}
	if _, err := c.Client.BatchV1().Jobs(namespace).Create(ctx, j, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make the Job %s/%s: %w", namespace, name, err)
	}
	return nil
}

// PodReady says whether a pod is Ready and not being deleted.
func PodReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue && p.DeletionTimestamp == nil
		}
	}
	return false
}

// Budget makes a PodDisruptionBudget for the pods with the label app, and waits
// until the disruption controller has seen them.
func (c *Cluster) Budget(ctx context.Context, namespace, app string, minAvailable int) error {
	m := intstr.FromInt(minAvailable)
	b := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: app, Namespace: namespace},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &m, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
	}
	if _, err := c.Client.PolicyV1().PodDisruptionBudgets(namespace).Create(ctx, b, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("make the budget %s/%s: %w", namespace, app, err)
	}
	err := c.await(ctx, func(ctx context.Context) (watch.Interface, error) {
		return c.Client.PolicyV1().PodDisruptionBudgets(namespace).Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + app})
	}, func(ev watch.Event) bool {
		b, ok := ev.Object.(*policyv1.PodDisruptionBudget)
		return ok && b.Status.ObservedGeneration == b.Generation && b.Status.ExpectedPods > 0
	})
	if err != nil {
		return fmt.Errorf("wait until the budget %s/%s counts its pods: %w", namespace, app, err)
	}
	return nil
}

// Namespace is where the daemons' Leases are.
const Namespace = "rebootd"

// DaemonKubeconfig writes a kubeconfig for the daemon of a node, with the
// permissions of the shipped manifests and no others; on a cluster of the user's
// own it is the user's.
func (c *Cluster) DaemonKubeconfig(ctx context.Context, node, path string) error {
	if c.foreign { // its users are not ours to make
		data, err := os.ReadFile(c.Kubeconfig)
		if err != nil {
			return fmt.Errorf("take the kubeconfig for the daemon of %s: %w", node, err)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return fmt.Errorf("take the kubeconfig for the daemon of %s: %w", node, err)
		}
		return c.AddNamespace(ctx, Namespace)
	}
	if err := c.pki.kubeconfig(path, c.server, daemonUser+node, DaemonGroup); err != nil {
		return err
	}
	return c.grant(ctx)
}

// PortableKubeconfig is what DaemonKubeconfig writes, with the keys and certificates
// in it and not in files beside it.
func (c *Cluster) PortableKubeconfig(ctx context.Context, node, path string) ([]byte, error) {
	if err := c.DaemonKubeconfig(ctx, node, path); err != nil {
		return nil, err
	}
	cfg, err := clientcmd.LoadFromFile(path)
	if err == nil {
		err = clientcmdapi.FlattenConfig(cfg)
	}
	if err != nil {
		return nil, fmt.Errorf("take the kubeconfig for the daemon of %s: %w", node, err)
	}
	return clientcmd.Write(*cfg)
}

// RenewDaemonCertificate replaces the client certificate of a node's daemon, in the
// files that its kubeconfig names, by one that is valid for so long from now.
func (c *Cluster) RenewDaemonCertificate(node string, valid time.Duration) error {
	if c.foreign {
		return ErrForeign
	}
	return c.pki.issueClient(valid, daemonUser+node, DaemonGroup)
}

// daemonUser is what the daemons' users begin with.
const daemonUser = "rebootd:"

// DaemonGroup is the group of the daemons' users.
const DaemonGroup = "rebootd:daemons"

// grant binds the shipped roles to the daemons' group.
func (c *Cluster) grant(ctx context.Context) error {
	if err := c.AddNamespace(ctx, Namespace); err != nil {
		return err
	}
	// Their users are no pods' and so no nodes': they evict in their own names.
	return errors.Join(c.grantRoles(ctx, "base/rbac.yaml"), c.grantRoles(ctx, "before-1.36/rbac.yaml"))
}

// NodeLeases is where medik8s' operators keep their node leases.
const NodeLeases = "medik8s-leases"

// AddNodeLeases makes the namespace of the node leases, and grants the daemons what
// the optional manifest does.
func (c *Cluster) AddNodeLeases(ctx context.Context) error {
	if err := c.AddNamespace(ctx, NodeLeases); err != nil {
		return err
	}
	return c.grantRoles(ctx, "medik8s/rbac.yaml")
}

func (c *Cluster) grantRoles(ctx context.Context, file string) error {
	clusterRoles, roles, err := shippedRoles(file)
	if err != nil {
		return err
	}
	subject := []rbacv1.Subject{{Kind: rbacv1.GroupKind, Name: DaemonGroup, APIGroup: rbacv1.GroupName}}
	r := c.Client.RbacV1()
	var errs []error
	for _, role := range clusterRoles {
		_, err = r.ClusterRoles().Create(ctx, role, metav1.CreateOptions{})
		errs = append(errs, err)
		_, err = r.ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: role.Name + "-test"}, Subjects: subject,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		}, metav1.CreateOptions{})
		errs = append(errs, err)
	}
	for _, role := range roles {
		_, err = r.Roles(role.Namespace).Create(ctx, role, metav1.CreateOptions{})
		errs = append(errs, err)
		_, err = r.RoleBindings(role.Namespace).Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: role.Name + "-test", Namespace: role.Namespace}, Subjects: subject,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role.Name},
		}, metav1.CreateOptions{})
		errs = append(errs, err)
	}
	for _, err := range errs {
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("grant the daemons what the manifests do: %w", err)
		}
	}
	return nil
}
