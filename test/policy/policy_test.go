// Package policy tests what the shipped manifests let a daemon do, and what they do
// not: with tokens bound to its pods, as a kubelet would give them to it.
package policy

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/kit"
)

var shared *cluster.Cluster

// The daemon's DaemonSet would have a pod on every node of a control plane that others
// share.
func TestMain(m *testing.M) {
	kit.Main(m, cluster.Options{Own: true, LimitCritical: true}, func(ctx context.Context, c *cluster.Cluster) error {
		shared = c
		kubectl, err := c.Kubectl()
		if err != nil {
			return err
		}
		if err := c.AddNamespace(ctx, cluster.NodeLeases); err != nil {
			return err
		}
		for _, dir := range []string{"base", "medik8s"} { // as the README says
			path := filepath.Join(root(), "deploy", dir)
			if out, err := exec.CommandContext(ctx, kubectl, "--kubeconfig", c.Kubeconfig, "apply", "-k", path).CombinedOutput(); err != nil {
				return fmt.Errorf("apply the manifests of %s: %w\n%s", path, err, out)
			}
		}
		return enforced(ctx, c)
	})
}

// enforced waits until the API server enforces the policies that have been applied: it
// learns of them, and compiles them, in its own time. A policy that came after them all
// refuses an object by then.
func enforced(ctx context.Context, c *cluster.Cluster) error {
	const probe = "policies-are-enforced"
	policies := c.Client.AdmissionregistrationV1()
	_, err := policies.ValidatingAdmissionPolicies().Create(ctx, &admissionv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: probe},
		Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
				ResourceNames: []string{probe},
				RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Create},
					Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
				},
			}}},
			Validations: []admissionv1.Validation{{Expression: "false"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	_, err = policies.ValidatingAdmissionPolicyBindings().Create(ctx, &admissionv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: probe},
		Spec:       admissionv1.ValidatingAdmissionPolicyBindingSpec{PolicyName: probe, ValidationActions: []admissionv1.ValidationAction{admissionv1.Deny}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := c.Client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: probe}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return apierrors.IsInvalid(err) || apierrors.IsForbidden(err), nil
	})
}

// root is the project's directory.
func root() string { return filepath.Dir(cluster.SourceDir()) }

// bed is two nodes, each with the DaemonSet's pod and another.
type bed struct {
	*kit.Bed
	ctx       context.Context
	ns        string
	own, that string // nodes
	pod       *corev1.Pod
}

func newBed(t *testing.T, prefix string) *bed {
	t.Helper()
	k := kit.New(t, shared, prefix, 2*time.Minute)
	ctx := k.Ctx
	b := &bed{Bed: k, ctx: ctx, ns: prefix, own: prefix + "-own", that: prefix + "-that"}
	b.must(shared.AddNamespace(ctx, b.ns))
	for _, n := range []string{b.own, b.that} {
		b.must(shared.AddNode(ctx, n))
		for _, p := range []string{"a", "b"} {
			t := cluster.Template(p, nil)
			t.Spec.NodeName, t.Name = n, n+"-"+p
			_, err := shared.Client.CoreV1().Pods(b.ns).Create(ctx, &corev1.Pod{ObjectMeta: t.ObjectMeta, Spec: t.Spec}, metav1.CreateOptions{})
			b.must(err)
		}
	}
	b.pod = b.daemonPod(b.own)
	// A record that a thief has written, or that a test has left, may be of a node at
	// work: others would wait for it.
	t.Cleanup(func() {
		for _, n := range []string{b.own, b.that} {
			_, err := shared.Client.CoreV1().Nodes().Patch(context.Background(), n, types.MergePatchType, []byte(`{"metadata":{"annotations":{"rebootd.dev/operation":null}}}`), metav1.PatchOptions{})
			if err != nil && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
		}
	})
	return b
}

func (b *bed) must(err error) {
	b.Helper()
	b.Must(err)
}

// daemonPod waits for the DaemonSet's pod on a node.
func (b *bed) daemonPod(node string) (pod *corev1.Pod) {
	b.Helper()
	b.must(shared.WaitPods(b.ctx, cluster.Namespace, "there is one on "+node, func(pods map[string]*corev1.Pod) bool {
		for _, p := range pods {
			if p.Spec.NodeName == node && cluster.PodReady(p) {
				pod = p
				return true
			}
		}
		return false
	}))
	return pod
}

// token is what the kubelet would give to a pod; nil: to none.
func (b *bed) token(pod *corev1.Pod) string {
	b.Helper()
	req := &authenticationv1.TokenRequest{}
	if pod != nil {
		req.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
	}
	got, err := shared.Client.CoreV1().ServiceAccounts(cluster.Namespace).CreateToken(b.ctx, "rebootd", req, metav1.CreateOptions{})
	b.must(err)
	return got.Status.Token
}

// kubectl runs it as the admin.
func (b *bed) kubectl(stdin string, args ...string) {
	b.Helper()
	kubectl, err := shared.Kubectl()
	b.must(err)
	cmd := exec.CommandContext(b.ctx, kubectl, append([]string{"--kubeconfig", shared.Kubeconfig}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("kubectl %q: %v\n%s", args, err, out)
	}
}

// make is what one of the Makefile's targets prints, as the admin's.
func (b *bed) make(args ...string) []byte {
	b.Helper()
	out, _, err := b.tryMake(args...)
	b.must(err)
	return out
}

// tryMake is make for what may fail, and what it says then.
func (b *bed) tryMake(args ...string) (out []byte, says string, err error) {
	b.Helper()
	kubectl, err := shared.Kubectl()
	b.must(err)
	cmd := exec.CommandContext(b.ctx, "make", append([]string{"-s", "-C", root(), "--no-print-directory"}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+shared.Kubeconfig, "PATH="+filepath.Dir(kubectl)+":"+os.Getenv("PATH"))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err = cmd.Output()
	if err != nil {
		err = fmt.Errorf("make %q: %w\n%s", args, err, &stderr)
	}
	return out, stderr.String(), err
}

func (b *bed) client(token string, change func(*rest.Config)) *kubernetes.Clientset {
	b.Helper()
	cfg := rest.AnonymousClientConfig(shared.Config)
	cfg.BearerToken = token
	cfg.QPS = -1
	if change != nil {
		change(cfg)
	}
	c, err := kubernetes.NewForConfig(cfg)
	b.must(err)
	return c
}
