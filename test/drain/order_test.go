package drain

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/api"
	"rebootd.dev/drain"
	"rebootd.dev/test/cluster"
)

// Pods go in their order; the next only when those before are gone.
func TestOrder(t *testing.T) {
	b := newBed(t)
	term := func(p *corev1.Pod) { p.Annotations[cluster.Sim+"term-seconds"] = "1" }
	b.pod("storage", func(p *corev1.Pod) { term(p); p.Annotations[api.PodOrderAnnotation] = "10" })
	b.pod("hook", func(p *corev1.Pod) { term(p); p.Labels["app.kubernetes.io/name"] = "some-webhook" })
	b.pod("critical", func(p *corev1.Pod) { term(p); p.Spec.PriorityClassName = "system-cluster-critical" })
	b.pod("web-a", term)
	b.pod("web-b", term)
	b.pod("first", func(p *corev1.Pod) { term(p); p.Annotations[api.PodOrderAnnotation] = "-1" })
	b.pod("nonsense", func(p *corev1.Pod) { term(p); p.Annotations[api.PodOrderAnnotation] = "last" })
	b.ready("storage", "hook", "critical", "web-a", "web-b", "first", "nonsense")

	w, err := shared.Client.CoreV1().Pods(b.ns).Watch(b.ctx, metav1.ListOptions{ResourceVersion: "0"})
	b.must(err)
	defer w.Stop()
	b.start()
	b.drained()
	var told, gone []string
	for len(gone) < 7 {
		ev := <-w.ResultChan()
		p, ok := ev.Object.(*corev1.Pod)
		if !ok {
			t.Fatalf("the watch ended: %v", ev)
		}
		if p.DeletionTimestamp != nil && !slices.Contains(told, p.Name) {
			told = append(told, p.Name)
			for _, before := range map[string][]string{
				"web-a": {"first"}, "web-b": {"first"}, "nonsense": {"first"}, "critical": {"web-a", "web-b", "nonsense"},
				"hook": {"critical"}, "storage": {"hook"},
			}[p.Name] {
				if !slices.Contains(gone, before) {
					t.Errorf("%s was told to go before %s was gone", p.Name, before)
				}
			}
		}
		ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
		if (ended || ev.Type == watch.Deleted) && !slices.Contains(gone, p.Name) {
			gone = append(gone, p.Name)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.ignored) != 1 || !strings.Contains(b.ignored[0], "/nonsense: ") || len(b.errors) != 0 {
		t.Errorf("told %q and %q, want that the order of nonsense is none", b.ignored, b.errors)
	}
}

// What is to end by itself is waited for, up to the time limit for that; what is
// to be skipped is left alone.
func TestWordsOfPods(t *testing.T) {
	b := newBed(t)
	b.pod("job", func(p *corev1.Pod) {
		p.Annotations[api.PodDrainAnnotation] = "wait-completed"
		p.Annotations[cluster.Sim+"complete-seconds"] = "8"
	})
	b.pod("stays", func(p *corev1.Pod) { p.Annotations[api.PodDrainAnnotation] = "skip" })
	b.pod("capi", func(p *corev1.Pod) { p.Labels["cluster.x-k8s.io/drain"] = "skip" })
	b.pod("training", func(p *corev1.Pod) { p.Annotations["karpenter.sh/do-not-disrupt"] = "true" })
	b.pod("web", nil)
	b.ready("job", "stays", "capi", "training", "web")
	began := time.Now()
	b.start(func(c *drain.Config, _ *drain.Options) { c.CompletionTimeout = 15 * time.Second })
	if x := b.blocked(api.PodProtected); x.Name != "training" {
		t.Errorf("protected is %s", x.Name)
	}
	if x := b.blocked(api.PodAwaitingCompletion); x.Name != "job" {
		t.Errorf("awaited is %s", x.Name)
	}
	p := b.drained()
	if took := time.Since(began); took < 15*time.Second {
		t.Errorf("drained after %s, before the time for protected pods was over", took)
	}
	for name, want := range map[string]string{"job": "drained", "stays": "skipped", "capi": "skipped", "training": "drained", "web": "drained"} {
		b.expect(p, name, want)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.evictions["201"] != 2 || len(b.evictions) != 1 {
		t.Errorf("answers to evictions: %v, want one each for training and web", b.evictions)
	}
}

// The pods of a Job are waited for if that is wanted, and evicted if not.
func TestJobs(t *testing.T) {
	for _, wait := range []bool{false, true} {
		t.Run(fmt.Sprintf("wait=%t", wait), func(t *testing.T) {
			b := newBed(t)
			b.must(shared.Job(b.ctx, b.ns, "batch", map[string]string{"complete-seconds": "7", "term-seconds": "1"}, b.here))
			b.must(shared.WaitPods(b.ctx, b.ns, "Ready", func(pods map[string]*corev1.Pod) bool {
				for _, p := range pods {
					return cluster.PodReady(p)
				}
				return false
			}))
			b.start(func(c *drain.Config, _ *drain.Options) { c.WaitForJobs = wait })
			p := b.drained()
			b.mu.Lock()
			defer b.mu.Unlock()
			if want := map[bool]int{false: 1, true: 0}[wait]; b.evictions["201"] != want {
				t.Errorf("answers to evictions: %v, want %d × 201", b.evictions, want)
			}
			if p.Report.Totals[api.OutcomeDrained] != 1 {
				t.Errorf("totals %v", p.Report.Totals)
			}
		})
	}
}
