package policy

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/machine"
)

// unitToken is the token in the kubeconfig that is made for the unit on the bed's own
// node.
func (b *bed) unitToken() string {
	b.Helper()
	cfg, err := clientcmd.Load(b.make("kubeconfig", "NODE="+b.own))
	b.must(err)
	return cfg.AuthInfos["rebootd"].Token
}

// With the kubeconfig that is made for it the unit has what the pod has: it reboots its
// node, evicts what is there, knows that it is kept to it, and is refused nothing that it
// asks for. The token ends with its Node.
func TestRebootWithTheUnitsKubeconfig(t *testing.T) {
	b := newBed(t, "unit")
	b.effective(b.client(b.token(b.pod), nil))
	m, err := machine.New(b.ctx, machine.Options{Cluster: shared, Name: b.own, Dir: b.TempDir(), Boot: 500 * time.Millisecond})
	b.must(err)
	t.Cleanup(func() {
		m.Stop()
		if t.Failed() {
			t.Logf("%s", m.Log())
		}
	})
	b.must(os.WriteFile(m.Kubeconfig, b.make("kubeconfig", "NODE="+b.own), 0o600))
	b.must(m.StartDaemon())
	before := m.BootID()
	b.until("it is kept to its node", func() bool {
		return strings.Contains(b.metrics(m), `rebootd_policy_enforced{policy="rebootd-own-node"} 1`)
	})
	b.must(m.Touch("x"))
	n, err := shared.WaitNode(b.ctx, m.Name, "rebooted and idle", func(n *corev1.Node) bool {
		return n.Status.NodeInfo.BootID != before && n.Annotations["rebootd.dev/operation"] == "" && !n.Spec.Unschedulable
	})
	b.must(err)
	if !strings.Contains(n.Annotations["rebootd.dev/report"], `"drained":2`) {
		t.Errorf("the report is %s", n.Annotations["rebootd.dev/report"])
	}
	b.released()
	for l := range strings.Lines(m.Log()) {
		if strings.Contains(l, "forbidden") && !strings.Contains(l, "medik8s") {
			t.Errorf("something was forbidden:\n%s", l)
		}
	}

	c := b.client(b.unitToken(), nil)
	b.must(shared.Client.CoreV1().Nodes().Delete(b.ctx, b.own, metav1.DeleteOptions{}))
	b.until("the token has ended with its Node", func() bool {
		_, err := c.CoreV1().Nodes().Get(b.ctx, b.that, metav1.GetOptions{})
		return apierrors.IsUnauthorized(err)
	})
}

// A kubeconfig is printed whole or not at all, and says until when it is valid.
func TestUnitsKubeconfig(t *testing.T) {
	b := newBed(t, "kubeconfig")
	out, says, err := b.tryMake("kubeconfig", "NODE="+b.own, "SERVER=https://192.0.2.1:6443")
	b.must(err)
	cfg, err := clientcmd.Load(out)
	b.must(err)
	user, server := cfg.AuthInfos["rebootd"], cfg.Clusters["cluster"]
	if server.Server != "https://192.0.2.1:6443" || len(server.CertificateAuthorityData) == 0 || len(cfg.AuthInfos) != 1 || user.ClientKeyData != nil {
		t.Errorf("the kubeconfig has %+v and %d users", server, len(cfg.AuthInfos))
	}
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(user.Token, ".")[1])
	b.must(err)
	var claims struct{ Exp int64 }
	b.must(json.Unmarshal(payload, &claims))
	ends := time.Unix(claims.Exp, 0)
	if d := time.Until(ends); d < 364*24*time.Hour || d > 366*24*time.Hour {
		t.Errorf("it is valid for %s", d)
	}
	if want := "valid until " + ends.UTC().Format(time.RFC3339); !strings.Contains(says, want) {
		t.Errorf("it says %q, want %q", says, want)
	}
	for args, want := range map[string]string{"NODE=nowhere": `nodes "nowhere" not found`, "NODE=": "usage: "} {
		if out, says, err := b.tryMake("kubeconfig", args); err == nil || len(out) > 0 || !strings.Contains(says, want) {
			t.Errorf("%s: prints %q, says %q, %v", args, out, says, err)
		}
	}
}

// All that is shipped is accepted by the API server, with the image that make is given;
// the unit's manifests are the base's without what only its pods need.
func TestManifests(t *testing.T) {
	b := newBed(t, "manifests")
	const image = "registry.example.org:5000/ops/rebootd@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	kinds := map[string][]string{}
	for _, overlay := range []string{"base", "before-1.36", "unit"} {
		manifests := string(b.make("manifests", "OVERLAY="+overlay, "IMAGE="+image))
		for l := range strings.Lines(manifests) {
			if k, ok := strings.CutPrefix(l, "kind: "); ok {
				kinds[overlay] = append(kinds[overlay], strings.TrimSpace(k))
			}
		}
		if has := strings.Contains(manifests, "image: "+image+"\n"); has == (overlay == "unit") || strings.Contains(manifests, "localhost/") {
			t.Errorf("%s: names the image %t", overlay, has)
		}
		b.kubectl(manifests, "apply", "--dry-run=server", "-f", "-")
	}
	var want []string
	for _, k := range kinds["base"] {
		if k != "DaemonSet" && k != "ResourceQuota" {
			want = append(want, k)
		}
	}
	if !slices.Equal(kinds["unit"], want) || len(kinds["base"]) != len(want)+2 {
		t.Errorf("the base has %q, the unit's %q", kinds["base"], kinds["unit"])
	}
}

// Where the critical priority classes are admitted by quota only, the shipped one admits
// the pods (which every test here has); without it they are refused.
func TestQuota(t *testing.T) {
	b := newBed(t, "quota")
	spec := cluster.PodSpec()
	spec.PriorityClassName = b.pod.Spec.PriorityClassName
	_, err := shared.Client.CoreV1().Pods(b.ns).Create(b.ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "x"}, Spec: spec}, metav1.CreateOptions{})
	if err == nil || !strings.Contains(err.Error(), "insufficient quota to match these scopes") {
		t.Errorf("a pod of the class %s in a namespace without a quota: %v", spec.PriorityClassName, err)
	}
}

// No pod is sent to a node that has no machine with Linux, whatever its taints; one that
// comes later on the others.
func TestPodsAreOnMachinesWithLinux(t *testing.T) {
	b := newBed(t, "linux")
	for name, labels := range map[string]map[string]string{
		"windows": {corev1.LabelOSStable: "windows"},
		"virtual": {corev1.LabelOSStable: "linux", "type": "virtual-kubelet"},
		"fargate": {corev1.LabelOSStable: "linux", "eks.amazonaws.com/compute-type": "fargate"},
	} {
		_, err := shared.Client.CoreV1().Nodes().Create(b.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: b.ns + "-" + name, Labels: labels}}, metav1.CreateOptions{})
		b.must(err)
	}
	// The DaemonSet controller goes through all nodes each time: once it has served one
	// that came later, it has seen these.
	b.must(shared.AddNode(b.ctx, b.ns+"-later"))
	b.daemonPod(b.ns + "-later")
	pods, err := shared.Client.CoreV1().Pods(cluster.Namespace).List(b.ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=rebootd"})
	b.must(err)
	for _, p := range pods.Items {
		for _, r := range p.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms[0].MatchFields {
			for _, node := range r.Values { // for which the controller has made it
				if strings.HasPrefix(node, b.ns+"-") && node != b.own && node != b.that && node != b.ns+"-later" {
					t.Errorf("the pod %s is for %s", p.Name, node)
				}
			}
		}
	}
}
