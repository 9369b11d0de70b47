package cli

import (
	"cmp"
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"rebootd.dev/cmd/kubectl-rebootd/client"
)

// installed is the installation of the fake.
type installed struct {
	policies  []client.Policy
	bindings  []client.PolicyBinding
	sets      []client.DaemonSet
	pods      []corev1.Pod
	metrics   string
	metricErr error
	ahead     time.Duration // the API server's clock
}

func (f *fakeAPI) Policies(context.Context) ([]client.Policy, error) {
	return f.installed.policies, f.allow("Policies", "validatingadmissionpolicies")
}

func (f *fakeAPI) PolicyBindings(context.Context) ([]client.PolicyBinding, error) {
	return f.installed.bindings, f.allow("PolicyBindings", "validatingadmissionpolicybindings")
}

func (f *fakeAPI) DaemonSets(_ context.Context, namespace string) (out []client.DaemonSet, err error) {
	method := "DaemonSets"
	if namespace == "" {
		method = "AllDaemonSets"
	}
	for _, s := range f.installed.sets {
		if namespace == "" || namespace == s.Metadata.Namespace {
			out = append(out, s)
		}
	}
	return out, f.allow(method, "daemonsets")
}

func (f *fakeAPI) PodsIn(_ context.Context, namespace, selector string) (out []corev1.Pod, err error) {
	s, err := labels.Parse(selector)
	for _, p := range f.installed.pods {
		if p.Namespace == namespace && err == nil && s.Matches(labels.Set(p.Labels)) {
			out = append(out, p)
		}
	}
	return out, cmp.Or(err, f.allow("PodsIn", "pods"))
}

func (f *fakeAPI) Metrics(context.Context, string, string, int) ([]byte, error) {
	return []byte(f.installed.metrics), cmp.Or(f.allow("Metrics", "pods/proxy"), f.installed.metricErr)
}

func (f *fakeAPI) ServerTime(context.Context) (time.Time, error) {
	return at.Add(f.installed.ahead), f.allow("ServerTime", "time")
}

// machines installs rebootd on the nodes that there are: policies as shipped, a DaemonSet
// with a pod on each, kubelets whose clocks are right.
func (f *fakeAPI) machines(change ...func(*fakeAPI)) *fakeAPI {
	for _, name := range []string{"rebootd-own-node", "rebootd-own-leases", "rebootd-own-pods"} {
		var p client.Policy
		var b client.PolicyBinding
		p.Metadata.Name, b.Metadata.Name, b.Spec.PolicyName, b.Spec.ValidationActions = name, name, name, []string{"Deny"}
		p.Spec.FailurePolicy = "Fail"
		p.Spec.MatchConditions = append(p.Spec.MatchConditions, struct {
			Name       string `json:"name"`
			Expression string `json:"expression"`
		}{"is-rebootd", `request.userInfo.username.startsWith('system:serviceaccount:') &&
request.userInfo.username.matches('^system:serviceaccount:[^:]+:([a-z0-9-]+-)?rebootd$')`})
		f.installed.policies, f.installed.bindings = append(f.installed.policies, p), append(f.installed.bindings, b)
	}
	n := 0
	for _, node := range sorted(f.nodes) {
		node = node.DeepCopy()
		for i := range node.Status.Conditions {
			if node.Status.Conditions[i].Type == corev1.NodeReady {
				node.Status.Conditions[i].LastHeartbeatTime = metav1.NewTime(before(time.Minute))
			}
		}
		written := metav1.NewTime(before(time.Minute))
		node.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kubelet", Operation: "Update", Subresource: "status", Time: &written}}
		f.set(node)
		n++
		f.installed.pods = append(f.installed.pods, corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "rebootd", Name: "rebootd-" + node.Name, Labels: map[string]string{"app.kubernetes.io/name": "rebootd"}},
			Spec:       corev1.PodSpec{NodeName: node.Name},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
		})
	}
	var s client.DaemonSet
	s.Metadata.Namespace, s.Metadata.Name, s.Spec.Template.Spec.ServiceAccountName = "rebootd", "rebootd", "rebootd"
	s.Status.Desired, s.Status.Current, s.Status.Ready, s.Status.Updated = n, n, n, n
	f.installed.sets = append(f.installed.sets, s)
	f.installed.metrics = "# HELP rebootd_slots x\nrebootd_slots 1\n"
	for _, c := range change {
		c(f)
	}
	return f
}
