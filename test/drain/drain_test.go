// Package drain tests the drain engine on a real control plane: what the API
// server, the disruption controller, the workload controllers and the scheduler
// do with what it asks for.
package drain

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/kube"
	"rebootd.dev/drain"
	"rebootd.dev/test/cluster"
	"rebootd.dev/test/kit"
)

var shared *cluster.Cluster

func TestMain(m *testing.M) {
	kit.Main(m, cluster.Options{}, func(ctx context.Context, c *cluster.Cluster) error {
		shared = c
		if err := c.Install(ctx); err != nil && !errors.Is(err, cluster.ErrForeign) {
			return err
		}
		return nil
	})
}

// bed is a namespace and two nodes, of which the first is drained.
type bed struct {
	*kit.Bed
	ctx         context.Context
	ns          string
	node, other string
	api         *kube.Client
	kubeconfig  string

	goesOn bool // the drain is not ended when the node is drained
	told   chan drain.Progress

	mu        sync.Mutex
	evictions map[string]int
	last      drain.Progress
	texts     []string
	errors    []string
	ignored   []string
	done      chan error
}

func newBed(t *testing.T) *bed {
	t.Helper()
	t.Parallel()
	k := kit.New(t, shared, "d", 2*time.Minute)
	ctx, ns := k.Ctx, k.Name
	b := &bed{Bed: k, ctx: ctx, ns: ns, node: ns + "-a", other: ns + "-b", evictions: map[string]int{}, done: make(chan error, 1), told: make(chan drain.Progress, 1000)}
	b.must(shared.AddNamespace(ctx, ns))
	for _, n := range []string{b.node, b.other} {
		b.must(shared.AddNode(ctx, n))
		b.patchNode(n, fmt.Sprintf(`{"metadata":{"labels":{"bed":%q}}}`, ns))
	}
	b.kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	node, err := shared.Client.CoreV1().Nodes().Get(ctx, b.node, metav1.GetOptions{})
	b.must(err)
	b.must(shared.ServiceKubeconfig(ctx, b.node, node.UID, b.kubeconfig))
	cfg, err := clientcmd.BuildConfigFromFlags("", b.kubeconfig)
	b.must(err)
	b.api = b.client(cfg)
	t.Cleanup(func() {
		bg := context.Background()
		_ = shared.Client.CoreV1().Namespaces().Delete(bg, ns, metav1.DeleteOptions{})
		for _, n := range []string{b.node, b.other} {
			_ = shared.Client.CoreV1().Nodes().Delete(bg, n, metav1.DeleteOptions{})
		}
	})
	return b
}

// client is the daemon's: it evicts in the name of the node.
func (b *bed) client(cfg *rest.Config) *kube.Client {
	b.Helper()
	c, err := kube.New(cfg)
	b.must(err)
	b.must(c.ForNode(cfg, b.node))
	return c
}

func (b *bed) must(err error) {
	b.Helper()
	b.Must(err)
}

func (b *bed) patchNode(name, patch string) {
	b.Helper()
	_, err := shared.Client.CoreV1().Nodes().Patch(b.ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	b.must(err)
}

// here has a workload's pods on the node that is drained, and nowhere else: their
// replacements stay Pending.
func (b *bed) here(spec *corev1.PodSpec) {
	spec.NodeSelector = map[string]string{corev1.LabelHostname: b.node}
}

// start cordons the node and begins to drain it.
func (b *bed) start(change ...func(*drain.Config, *drain.Options)) {
	b.Helper()
	b.patchNode(b.node, `{"spec":{"unschedulable":true}}`)
	cfg := drain.Config{API: b.api, Node: b.node, OnEviction: func(code string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.evictions[code]++
	}, OnError: func(err error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.errors = append(b.errors, err.Error())
	}, OnIgnored: func(what string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.ignored = append(b.ignored, what)
	}}
	opts := drain.Options{ID: "test"}
	for _, f := range change {
		f(&cfg, &opts)
	}
	d, err := drain.New(cfg)
	b.must(err)
	ctx, cancel := context.WithCancelCause(b.ctx)
	go func() {
		err := d.Run(ctx, opts, func(p drain.Progress) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.last = p
			b.texts = append(b.texts, p.Summary)
			switch {
			case b.goesOn:
				b.told <- p
			case p.Drained:
				cancel(errDrained)
			}
		})
		cancel(nil)
		if errors.Is(err, errDrained) {
			err = nil
		}
		b.done <- err
	}()
}

// errDrained ends a drain that has done what its test wants of it.
var errDrained = errors.New("drained")

// drained waits until the node is.
func (b *bed) drained() drain.Progress {
	b.Helper()
	select {
	case err := <-b.done:
		b.must(err)
	case <-b.ctx.Done():
		b.mu.Lock()
		defer b.mu.Unlock()
		b.Fatalf("not drained: %+v\n%+v", b.last.Summary, b.last.Counts)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.last.Drained {
		b.Fatalf("the last progress does not say that the node is drained: %+v", b.last)
	}
	sum := 0
	for _, n := range b.last.Report.Totals {
		sum += n
	}
	if sum != len(b.last.Report.Pods) {
		b.Errorf("the totals %v do not add up to the %d pods that were seen", b.last.Report.Totals, len(b.last.Report.Pods))
	}
	return b.last
}

// progress waits until ok says so of one, which may be over already.
func (b *bed) progress(what string, ok func(drain.Progress) bool) drain.Progress {
	b.Helper()
	for {
		select {
		case p := <-b.told:
			if ok(p) {
				return p
			}
		case <-b.ctx.Done():
			b.Fatalf("waited until %s", what)
		}
	}
}

// blocked waits until a pod is blocked for the reason.
func (b *bed) blocked(reason api.PodReason) drain.Blocked {
	b.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		b.mu.Lock()
		for _, x := range b.last.Blocked {
			if x.Reason == reason {
				b.mu.Unlock()
				return x
			}
		}
		text := fmt.Sprintf("%+v", b.last.Blocked)
		b.mu.Unlock()
		select {
		case <-b.ctx.Done():
			b.Fatalf("nothing is blocked by %s; blocked: %s", reason, text)
		case err := <-b.done:
			b.Fatalf("drained (%v) while %s was expected", err, reason)
		case <-tick.C:
		}
	}
}

// outcome is what the report says of the pods whose names begin so.
func outcome(p drain.Progress, prefix string) (outcomes []string) {
	for _, x := range p.Report.Pods {
		if strings.HasPrefix(x.Name, prefix) {
			outcomes = append(outcomes, string(x.Outcome))
		}
	}
	return outcomes
}

func (b *bed) expect(p drain.Progress, prefix string, want ...string) {
	b.Helper()
	if got := outcome(p, prefix); fmt.Sprint(got) != fmt.Sprint(want) {
		b.Errorf("the outcomes of %s are %v, want %v", prefix, got, want)
	}
}

// pod makes a pod without a controller on the node.
func (b *bed) pod(name string, change func(*corev1.Pod)) *corev1.Pod {
	b.Helper()
	t := cluster.Template(name, nil)
	p := &corev1.Pod{ObjectMeta: t.ObjectMeta, Spec: t.Spec}
	p.Name, p.Namespace, p.Spec.NodeName = name, b.ns, b.node
	if change != nil {
		change(p)
	}
	p, err := shared.Client.CoreV1().Pods(b.ns).Create(b.ctx, p, metav1.CreateOptions{})
	b.must(err)
	return p
}

func (b *bed) ready(names ...string) {
	b.Helper()
	b.must(shared.WaitPods(b.ctx, b.ns, fmt.Sprintf("Ready: %v", names), func(pods map[string]*corev1.Pod) bool {
		for _, n := range names {
			if pods[n] == nil || !cluster.PodReady(pods[n]) {
				return false
			}
		}
		return true
	}))
}

func TestEmptyNode(t *testing.T) {
	b := newBed(t)
	began := time.Now()
	b.start()
	p := b.drained()
	if took := time.Since(began); took < 5*time.Second {
		t.Errorf("drained after %s, before a late scheduler has had its five seconds", took)
	}
	if p.Summary != "drained: no pods" {
		t.Errorf("summary %q", p.Summary)
	}
}

// What stays is skipped with a reason, what goes is drained, and the totals add up.
func TestKindsOfPods(t *testing.T) {
	b := newBed(t)
	b.must(shared.Deployment(b.ctx, b.ns, "web", 3, map[string]string{"term-seconds": "1"}, func(d *appsv1.Deployment) { b.here(&d.Spec.Template.Spec) }))
	ds := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Name: "agent", Namespace: b.ns}, Spec: appsv1.DaemonSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "agent"}}, Template: cluster.Template("agent", nil),
	}}
	b.here(&ds.Spec.Template.Spec)
	_, err := shared.Client.AppsV1().DaemonSets(b.ns).Create(b.ctx, ds, metav1.CreateOptions{})
	b.must(err)
	b.pod("bare", nil)
	self := b.pod("self", nil)
	b.pod("mirror", func(p *corev1.Pod) { p.Annotations[corev1.MirrorPodAnnotationKey] = "x" })
	b.pod("job", func(p *corev1.Pod) { p.Annotations[cluster.Sim+"complete-seconds"] = "0" })
	b.must(shared.WaitPods(b.ctx, b.ns, "there", func(pods map[string]*corev1.Pod) bool {
		return len(pods) == 8 && pods["job"].Status.Phase == corev1.PodSucceeded && cluster.PodReady(pods["bare"])
	}))
	b.start(func(c *drain.Config, _ *drain.Options) { c.SelfUID = self.UID })
	p := b.drained()
	b.expect(p, "self", "skipped")
	b.expect(p, "web-", "drained", "drained", "drained")
	b.expect(p, "agent-", "skipped")
	b.expect(p, "bare", "drained")
	b.expect(p, "mirror", "skipped")
	b.expect(p, "job", "skipped")
	if got := p.Summary; got != "drained: 4 drained, 4 skipped" {
		t.Errorf("summary %q", got)
	}
}

// A budget lets one pod go at a time; the next goes when the replacement of the
// one before is Ready, and nothing is asked for in vain meanwhile.
func TestBudgetLetsOneGoAtATime(t *testing.T) {
	b := newBed(t)
	b.must(shared.Deployment(b.ctx, b.ns, "web", 5, map[string]string{"ready-seconds": "1"}, func(d *appsv1.Deployment) { b.here(&d.Spec.Template.Spec) }))
	b.must(shared.Budget(b.ctx, b.ns, "web", 4))
	// From now on replacements go to the other node.
	_, err := shared.Client.AppsV1().Deployments(b.ns).Patch(b.ctx, "web", types.MergePatchType, []byte(`{"spec":{"paused":true}}`), metav1.PatchOptions{})
	b.must(err)
	rs, err := shared.Client.AppsV1().ReplicaSets(b.ns).List(b.ctx, metav1.ListOptions{})
	b.must(err)
	_, err = shared.Client.AppsV1().ReplicaSets(b.ns).Patch(b.ctx, rs.Items[0].Name, types.MergePatchType,
		fmt.Appendf(nil, `{"spec":{"template":{"spec":{"nodeSelector":{%q:null,"bed":%q}}}}}`, corev1.LabelHostname, b.ns), metav1.PatchOptions{})
	b.must(err)
	b.start()
	p := b.drained()
	if got := p.Report.Totals[api.OutcomeRelocated]; got < 4 { // the last one's replacement may come after the end
		t.Errorf("%d of 5 pods are told to be relocated: %+v", got, p.Report)
	}
	for _, x := range p.Report.Pods {
		if (x.Outcome == api.OutcomeRelocated) != (x.To == b.other) {
			t.Errorf("%s is %s to %q", x.Name, x.Outcome, x.To)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	t.Logf("answers to evictions: %v", b.evictions)
	if b.evictions["201"] != 5 || b.evictions["429"] > 20 {
		t.Errorf("answers to evictions: %v, want 5 × 201 and not many 429", b.evictions)
	}
}

// A pod that lands on the node after the drain has begun is evicted too.
func TestLatePod(t *testing.T) {
	b := newBed(t)
	b.pod("early", nil)
	b.ready("early")
	b.start()
	b.must(shared.WaitPods(b.ctx, b.ns, "gone", func(pods map[string]*corev1.Pod) bool {
		return len(pods) == 0 || pods["early"].DeletionTimestamp != nil
	}))
	b.pod("late", nil)
	p := b.drained()
	b.expect(p, "late", "drained")
}

// A budget that allows no eviction even with all pods healthy is told as such.
func TestBudgetThatNeverAllows(t *testing.T) {
	b := newBed(t)
	b.must(shared.Deployment(b.ctx, b.ns, "web", 1, nil, func(d *appsv1.Deployment) { b.here(&d.Spec.Template.Spec) }))
	b.must(shared.Budget(b.ctx, b.ns, "web", 1))
	b.start()
	x := b.blocked(api.PodBudgetNeverAllows)
	if !strings.Contains(x.Message, "budget web") {
		t.Errorf("the message does not name the budget: %s", x.Message)
	}
	b.mu.Lock()
	asked := b.evictions["429"]
	b.mu.Unlock()
	if asked > 3 {
		t.Errorf("asked %d times in vain", asked)
	}
	// Somebody sees to it: the pod goes at once.
	changed := time.Now()
	b.must(shared.Client.PolicyV1().PodDisruptionBudgets(b.ns).Delete(b.ctx, "web", metav1.DeleteOptions{}))
	b.drained()
	if took := time.Since(changed); took > 6*time.Second {
		t.Errorf("drained %s after the budget was gone", took)
	}
}

// Two budgets for one pod: the eviction API refuses.
func TestTwoBudgets(t *testing.T) {
	b := newBed(t)
	b.must(shared.Deployment(b.ctx, b.ns, "web", 1, nil, func(d *appsv1.Deployment) {
		b.here(&d.Spec.Template.Spec)
		d.Spec.Template.Labels["more"] = "x"
	}))
	b.must(shared.Budget(b.ctx, b.ns, "web", 0))
	two := []byte(fmt.Sprintf(`{"apiVersion":"policy/v1","kind":"PodDisruptionBudget","metadata":{"name":"two","namespace":%q},"spec":{"minAvailable":0,"selector":{"matchLabels":{"more":"x"}}}}`, b.ns))
	b.must(shared.Client.PolicyV1().RESTClient().Post().AbsPath("/apis/policy/v1/namespaces/" + b.ns + "/poddisruptionbudgets").Body(two).Do(b.ctx).Error())
	b.start()
	b.blocked(api.PodMultipleBudgets)
	b.must(shared.Client.PolicyV1().PodDisruptionBudgets(b.ns).Delete(b.ctx, "two", metav1.DeleteOptions{}))
	b.drained()
}

// Pods that tolerate the cordon and are bound to the node come back for ever: they
// are recognised and not chased.
func TestReturningPods(t *testing.T) {
	b := newBed(t)
	b.must(shared.Deployment(b.ctx, b.ns, "ghost", 2, nil, func(d *appsv1.Deployment) {
		b.here(&d.Spec.Template.Spec)
		d.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	}))
	b.start()
	p := b.drained()
	if p.Report.Totals[api.OutcomeSkipped] == 0 || p.Report.Totals[api.OutcomeDrained] > 6 {
		t.Errorf("totals %v: want some skipped as returning, and few evicted", p.Report.Totals)
	}
}

// A finalizer keeps the object, not the containers: the node does not wait for it.
func TestFinalizer(t *testing.T) {
	b := newBed(t)
	b.pod("kept", func(p *corev1.Pod) { p.Finalizers = []string{"test.rebootd.dev/keep"} })
	b.ready("kept")
	b.start()
	p := b.drained()
	b.expect(p, "kept", "drained")
	_, err := shared.Client.CoreV1().Pods(b.ns).Patch(b.ctx, "kept", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	b.must(err)
}

// In a namespace that is being deleted evictions are refused; the pods go anyway.
func TestTerminatingNamespace(t *testing.T) {
	b := newBed(t)
	b.pod("slow", func(p *corev1.Pod) { p.Annotations[cluster.Sim+"term-seconds"] = "3" })
	b.ready("slow")
	b.must(shared.Client.CoreV1().Namespaces().Delete(b.ctx, b.ns, metav1.DeleteOptions{}))
	b.start()
	p := b.drained()
	b.expect(p, "slow", "drained")
}

// With force, a pod whose budget never allows is deleted, with its own grace.
func TestForce(t *testing.T) {
	b := newBed(t)
	b.must(shared.Deployment(b.ctx, b.ns, "web", 1, map[string]string{"term-seconds": "60"}, func(d *appsv1.Deployment) {
		b.here(&d.Spec.Template.Spec)
		grace := int64(3)
		d.Spec.Template.Spec.TerminationGracePeriodSeconds = &grace
	}))
	b.must(shared.Budget(b.ctx, b.ns, "web", 1))
	deadline := time.Now().Add(15 * time.Second)
	b.start(func(_ *drain.Config, o *drain.Options) { o.Limit = time.Until(deadline) })
	b.blocked(api.PodBudgetNeverAllows)
	p := b.drained()
	b.expect(p, "web-", "force-stopped")
	if late := time.Since(deadline); late > 2*time.Second {
		t.Errorf("the pod ended %s after the deadline", late)
	}
}
