package drain

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"rebootd.dev/daemon/api"
	"rebootd.dev/test/cluster"
)

// What storage systems and operators do when one of their nodes is drained, by
// small webhooks and controllers that answer and act as theirs do.

func no(code int32, message string) *metav1.Status {
	return &metav1.Status{Status: metav1.StatusFailure, Code: code, Message: message}
}

// evict dry-runs an eviction.
func (b *bed) evict(pod string) error {
	return shared.Client.PolicyV1().Evictions(b.ns).Evict(b.ctx, &policyv1.Eviction{
		ObjectMeta:    metav1.ObjectMeta{Name: pod, Namespace: b.ns},
		DeleteOptions: &metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}},
	})
}

func (b *bed) deletePod(name string) {
	b.Helper()
	b.must(shared.Client.CoreV1().Pods(b.ns).Delete(b.ctx, name, metav1.DeleteOptions{}))
}

// owner is a custom controller's object, as far as pods see it.
func owner(kind, name, uid string) func(*corev1.Pod) {
	yes := true
	return func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "test.rebootd.dev/v1", Kind: kind, Name: name, UID: types.UID(uid), Controller: &yes}}
	}
}

// KubeVirt refuses the eviction of a machine that can be migrated, and migrates
// it: the launcher ends here when one on another node has taken over.
func TestKubeVirtMigration(t *testing.T) {
	b := newBed(t)
	var first atomic.Bool
	asked := b.webhook(func(pod string) *metav1.Status {
		switch {
		case !strings.HasPrefix(pod, "virt-launcher"):
			return nil
		case first.CompareAndSwap(false, true):
			return no(429, fmt.Sprintf(`Eviction triggered evacuation of VMI "%s/vm"`, b.ns))
		default:
			return no(429, fmt.Sprintf(`Evacuation in progress: VMI "%s/vm" is being migrated`, b.ns))
		}
	})
	machine := func(p *corev1.Pod) {
		owner("VirtualMachineInstance", "vm", "vmi-1")(p)
		p.Labels["kubevirt.io/created-by"] = "vmi-1"
	}
	b.pod("virt-launcher-vm-a", machine)
	b.ready("virt-launcher-vm-a")
	b.start()
	b.blocked(api.PodRelocating)
	b.pod("virt-launcher-vm-b", func(p *corev1.Pod) { machine(p); p.Spec.NodeName = b.other })
	b.message("is moving to node " + b.other)
	b.ready("virt-launcher-vm-b")
	_, err := shared.Client.CoreV1().Pods(b.ns).Patch(b.ctx, "virt-launcher-vm-a", types.StrategicMergePatchType, []byte(`{"status":{"phase":"Succeeded"}}`), metav1.PatchOptions{}, "status")
	b.must(err)
	p := b.drained()
	b.expect(p, "virt-launcher-vm-a", "relocated")
	if to := p.Report.Pods[0].To; to != b.other {
		t.Errorf("relocated to %q", to)
	}
	if n := asked.Load(); n > 5 {
		t.Errorf("asked %d times while the machine migrated", n)
	}
}

// A machine that cannot be migrated blocks until a person acts, with KubeVirt's
// own words, and is not asked often.
func TestKubeVirtNotMigratable(t *testing.T) {
	b := newBed(t)
	var open atomic.Bool
	asked := b.webhook(func(string) *metav1.Status {
		if open.Load() {
			return nil
		}
		return no(429, "VMI vm is configured with an eviction strategy but is not live-migratable")
	})
	b.pod("virt-launcher-vm-a", owner("VirtualMachineInstance", "vm", "vmi-2"))
	b.ready("virt-launcher-vm-a")
	b.start()
	if x := b.blocked(api.PodWebhookDenied); !strings.Contains(x.Message, "not live-migratable") {
		t.Errorf("message %q", x.Message)
	}
	if n := asked.Load(); n > 3 {
		t.Errorf("asked %d times in the first ten seconds", n)
	}
	open.Store(true)
	b.drained()
}

// Strimzi's drain cleaner refuses, and has the operator roll the pod.
func TestStrimziDrainCleaner(t *testing.T) {
	b := newBed(t)
	b.webhook(func(pod string) *metav1.Status {
		if !strings.HasPrefix(pod, "kafka") {
			return nil
		}
		_, _ = shared.Client.CoreV1().Pods(b.ns).Patch(b.ctx, pod, types.MergePatchType, []byte(`{"metadata":{"annotations":{"strimzi.io/manual-rolling-update":"true"}}}`), metav1.PatchOptions{})
		return no(500, "The pod will be rolled by the Strimzi Cluster Operator")
	})
	kafka := owner("StrimziPodSet", "kafka", "set-1")
	b.pod("kafka-0", kafka)
	b.ready("kafka-0")
	b.start()
	if x := b.blocked(api.PodRelocating); !strings.Contains(x.Message, "Strimzi") {
		t.Errorf("message %q", x.Message)
	}
	b.deletePod("kafka-0")
	p := b.drained()
	b.expect(p, "kafka-0", "drained")
	if x := p.Report.Pods[0]; x.Reason != api.PodDeletedByOthers || x.Message == "" {
		t.Errorf("the report says %s, %q", x.Reason, x.Message)
	}
}

// A webhook that does not answer is told as such.
func TestWebhookThatDoesNotAnswer(t *testing.T) {
	b := newBed(t)
	b.webhook(func(string) *metav1.Status { return nil })
	url := "https://127.0.0.1:1/"
	hooks := shared.Client.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	_, err := hooks.Patch(b.ctx, b.ns, types.JSONPatchType, fmt.Appendf(nil, `[{"op":"replace","path":"/webhooks/0/clientConfig/url","value":%q}]`, url), metav1.PatchOptions{})
	b.must(err)
	probe := b.pod("probe", nil)
	for b.evict(probe.Name) == nil { // until the API server has seen the change
		b.must(b.ctx.Err())
	}
	b.pod("web", nil)
	b.start()
	if x := b.blocked(api.PodWebhookDenied); !strings.Contains(x.Message, "failed calling webhook") {
		t.Errorf("message %q", x.Message)
	}
	b.must(hooks.Delete(b.ctx, b.ns, metav1.DeleteOptions{}))
	b.drained()
}

// Longhorn lets its instance manager go only when the node is cordoned and no
// volume is in use on it: workloads go first, and its pod when its budget goes.
func TestLonghorn(t *testing.T) {
	b := newBed(t)
	b.must(shared.Deployment(b.ctx, b.ns, "app", 2, map[string]string{"term-seconds": "3"}, func(d *appsv1.Deployment) { b.here(&d.Spec.Template.Spec) }))
	manager := func(p *corev1.Pod) {
		owner("InstanceManager", "im", "im-1")(p)
		p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}
	b.pod("instance-manager", manager)
	b.ready("instance-manager")
	b.must(shared.Budget(b.ctx, b.ns, "instance-manager", 1))
	go func() { // its controller
		_, _ = shared.WaitNode(b.ctx, b.node, "cordoned", func(n *corev1.Node) bool { return n.Spec.Unschedulable })
		_ = shared.WaitPods(b.ctx, b.ns, "without workloads on the node", func(pods map[string]*corev1.Pod) bool {
			for _, p := range pods {
				if p.Labels["app"] == "app" && p.Spec.NodeName == b.node {
					return false
				}
			}
			return true
		})
		_ = shared.Client.PolicyV1().PodDisruptionBudgets(b.ns).Delete(b.ctx, "instance-manager", metav1.DeleteOptions{})
		// It puts its pod back on the drained node, by name, whenever there is none.
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for i := 0; b.ctx.Err() == nil; <-tick.C {
			list, err := shared.Client.CoreV1().Pods(b.ns).List(b.ctx, metav1.ListOptions{LabelSelector: "app=instance-manager"})
			if err != nil || len(list.Items) > 0 {
				continue
			}
			tmpl := cluster.Template("instance-manager", nil)
			again := &corev1.Pod{ObjectMeta: tmpl.ObjectMeta, Spec: tmpl.Spec}
			again.Name, again.Namespace, again.Spec.NodeName = fmt.Sprintf("instance-manager-%d", i), b.ns, b.node
			manager(again)
			_, _ = shared.Client.CoreV1().Pods(b.ns).Create(b.ctx, again, metav1.CreateOptions{})
			i++
		}
	}()
	began := time.Now()
	b.start()
	p := b.drained()
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("drained after %s", took)
	}
	if p.Report.Totals[api.OutcomeSkipped] == 0 || p.Report.Totals[api.OutcomeDrained] > 6 {
		t.Errorf("totals %v: want the instance manager not to be chased", p.Report.Totals)
	}
	for _, text := range b.texts {
		if text != "" && !strings.HasPrefix(text, "drained") {
			t.Errorf("told people %q of a drain that went well", text)
		}
	}
}

// MOCO and others open their budget only once the node is cordoned and they have
// moved the primary away: the first refusal is no verdict.
func TestBudgetThatOpensAfterTheCordon(t *testing.T) {
	b := newBed(t)
	b.must(shared.Deployment(b.ctx, b.ns, "mysql", 1, nil, func(d *appsv1.Deployment) { b.here(&d.Spec.Template.Spec) }))
	b.must(shared.Budget(b.ctx, b.ns, "mysql", 1))
	opened := make(chan time.Time, 1)
	go func() {
		_, _ = shared.WaitNode(b.ctx, b.node, "cordoned", func(n *corev1.Node) bool { return n.Spec.Unschedulable })
		t := time.NewTimer(3 * time.Second) // the switchover
		<-t.C
		_, _ = shared.Client.PolicyV1().PodDisruptionBudgets(b.ns).Patch(b.ctx, "mysql", types.MergePatchType, []byte(`{"spec":{"minAvailable":0}}`), metav1.PatchOptions{})
		opened <- time.Now()
	}()
	b.start()
	p := b.drained()
	b.expect(p, "mysql-", "drained")
	if took := p.Report.Finished.Sub(<-opened); took > 4*time.Second {
		t.Errorf("drained %s after the budget had opened", took)
	}
	for _, text := range b.texts {
		if text != "" && !strings.HasPrefix(text, "drained") {
			t.Errorf("told people %q of what passed in three seconds", text)
		}
	}
}

// Rook replaces its one budget, while an OSD is down, by budgets that forbid every
// other failure domain: the drain of this one is not disturbed by that.
func TestRook(t *testing.T) {
	b := newBed(t)
	osd := func(node string) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) {
			d.Spec.Template.Labels["ceph"] = "osd"
			d.Spec.Template.Labels["domain"] = node
			d.Spec.Template.Spec.NodeSelector = map[string]string{corev1.LabelHostname: node}
		}
	}
	b.must(shared.Deployment(b.ctx, b.ns, "osd-0", 1, nil, osd(b.node)))
	b.must(shared.Deployment(b.ctx, b.ns, "osd-1", 1, nil, osd(b.node)))
	b.must(shared.Deployment(b.ctx, b.ns, "osd-2", 1, nil, osd(b.other)))
	one, zero := intstr.FromInt(1), intstr.FromInt(0)
	budget := func(name string, max intstr.IntOrString, labels map[string]string) *policyv1.PodDisruptionBudget {
		return &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: b.ns}, Spec: policyv1.PodDisruptionBudgetSpec{
			MaxUnavailable: &max, Selector: &metav1.LabelSelector{MatchLabels: labels},
		}}
	}
	budgets := shared.Client.PolicyV1().PodDisruptionBudgets(b.ns)
	_, err := budgets.Create(b.ctx, budget("osd", one, map[string]string{"ceph": "osd"}), metav1.CreateOptions{})
	b.must(err)
	go func() { // the operator
		_ = shared.WaitPods(b.ctx, b.ns, "with an OSD down", func(pods map[string]*corev1.Pod) bool {
			ready := 0
			for _, p := range pods {
				if cluster.PodReady(p) {
					ready++
				}
			}
			return ready < 3 && len(pods) > 0
		})
		_, _ = budgets.Create(b.ctx, budget("osd-other", zero, map[string]string{"ceph": "osd", "domain": b.other}), metav1.CreateOptions{})
		_ = budgets.Delete(b.ctx, "osd", metav1.DeleteOptions{})
	}()
	b.start()
	p := b.drained()
	b.expect(p, "osd-", "drained", "drained")
}

// People learn which pod of a budget is in the way, and with what trouble.
func TestUnhealthySiblings(t *testing.T) {
	b := newBed(t)
	b.must(shared.Deployment(b.ctx, b.ns, "web", 3, nil, func(d *appsv1.Deployment) { b.here(&d.Spec.Template.Spec) }))
	b.must(shared.Budget(b.ctx, b.ns, "web", 3))
	b.pod("web-sick", func(p *corev1.Pod) {
		p.Spec.NodeName = b.other
		p.Annotations[cluster.Sim+"unhealthy"] = "true"
		p.Labels["app"] = "web"
	})
	_, err := shared.Client.PolicyV1().PodDisruptionBudgets(b.ns).Patch(b.ctx, "web", types.MergePatchType, []byte(`{"spec":{"minAvailable":4}}`), metav1.PatchOptions{})
	b.must(err)
	b.start()
	b.blocked(api.PodUnhealthySiblings)
	b.message("the budget web needs 4 healthy pods and has 3; not Ready: web-sick")
	b.must(shared.Client.PolicyV1().PodDisruptionBudgets(b.ns).Delete(b.ctx, "web", metav1.DeleteOptions{}))
	b.drained()
}

// message waits until a blocked pod's message contains the words.
func (b *bed) message(words string) {
	b.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		b.mu.Lock()
		blocked := b.last.Blocked
		b.mu.Unlock()
		for _, x := range blocked {
			if strings.Contains(x.Message, words) {
				return
			}
		}
		select {
		case <-b.ctx.Done():
			b.Fatalf("blocked: %+v, want a message with %q", blocked, words)
		case err := <-b.done:
			b.Fatalf("drained (%v) while a message with %q was expected", err, words)
		case <-tick.C:
		}
	}
}
