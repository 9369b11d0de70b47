package drain

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/drain"
	"rebootd.dev/test/cluster"
)

// bind does what a scheduler does at the end.
func (b *bed) bind(pod string) {
	b.Helper()
	b.must(shared.Client.CoreV1().Pods(b.ns).Bind(b.ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: pod, Namespace: b.ns}, Target: corev1.ObjectReference{Kind: "Node", Name: b.node},
	}, metav1.CreateOptions{}))
}

// unbound has a Deployment's pods wait for a scheduler, which is the test itself, and
// returns their names.
func (b *bed) unbound(name string, replicas int32) (names []string) {
	b.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: b.ns}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}, Template: cluster.Template(name, nil),
	}}
	d.Spec.Template.Spec.SchedulerName = "test"
	_, err := shared.Client.AppsV1().Deployments(b.ns).Create(b.ctx, d, metav1.CreateOptions{})
	b.must(err)
	b.must(shared.WaitPods(b.ctx, b.ns, "made", func(pods map[string]*corev1.Pod) bool {
		names = nil
		for _, p := range pods {
			if p.Labels["app"] == name {
				names = append(names, p.Name)
			}
		}
		return len(names) == int(replicas)
	}))
	return names
}

// A scheduler that takes long to bind what it had decided on before the cordon, as one
// does that waits for volumes: all the pods of one Deployment come when the node is
// cordoned and the drain goes on, and none is taken for one that comes back.
func TestPodsThatAreBoundLate(t *testing.T) {
	for name, first := range map[string]int{"all of them": 0, "most of them": 1} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			pods := b.unbound("web", 7)
			for _, p := range pods[:first] {
				b.bind(p)
			}
			time.Sleep(2 * time.Second) // creations have whole seconds: they are older than the evictions
			b.start()
			time.Sleep(time.Second) // what the scheduler takes
			for _, p := range pods[first:] {
				b.bind(p)
			}
			p := b.drained()
			for _, name := range pods {
				b.expect(p, name, "drained")
			}
		})
	}
}

// Pods that have just been bound: the API server that is asked for the eviction, in
// the name of the node, may not know yet that they are on it. That is no verdict, and
// takes a moment.
func TestPodsThatHaveJustBeenBound(t *testing.T) {
	b := newBed(t)
	b.start(func(c *drain.Config, _ *drain.Options) { c.MinWait = 8 * time.Second })
	const many = 120
	var all sync.WaitGroup
	for i := range many {
		all.Go(func() { b.pod(fmt.Sprintf("late-%d", i), nil) })
	}
	all.Wait()
	began := time.Now()
	p := b.drained()
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("drained %s after the last was bound", took)
	}
	if n := p.Report.Totals[api.OutcomeDrained]; n != many {
		t.Errorf("totals %v, want %d drained", p.Report.Totals, many)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	t.Logf("answers to evictions: %v", b.evictions)
	if b.evictions["403"]+b.evictions["404"] == 0 {
		t.Log("no API server was behind")
	}
	for _, text := range b.texts {
		if text != "" && text != p.Summary {
			t.Errorf("told people %q", text)
		}
	}
}

// Pods that nobody owns, and whoever makes them pins to the node, each with a name of
// its own: the drain ends all the same.
func TestPinnedPodsWithoutAController(t *testing.T) {
	b := newBed(t)
	b.pod("pinned", nil)
	b.ready("pinned")
	ctx, stop := context.WithCancel(b.ctx)
	var maker sync.WaitGroup
	defer maker.Wait()
	defer stop()
	maker.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ctx.Err() == nil; <-tick.C {
			// The next one is there before the last is gone: a drain that finds none has ended.
			list, err := shared.Client.CoreV1().Pods(b.ns).List(ctx, metav1.ListOptions{})
			if err != nil || slices.ContainsFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp == nil }) {
				continue
			}
			tmpl := cluster.Template("pinned", nil)
			p := &corev1.Pod{ObjectMeta: tmpl.ObjectMeta, Spec: tmpl.Spec}
			p.Name, p.Namespace, p.Spec.NodeName = fmt.Sprintf("pinned-%d", i), b.ns, b.node
			_, _ = shared.Client.CoreV1().Pods(b.ns).Create(ctx, p, metav1.CreateOptions{})
			i++
		}
	})
	b.start()
	p := b.drained()
	if p.Report.Totals[api.OutcomeSkipped] != 1 || p.Report.Totals[api.OutcomeDrained] > 25 {
		t.Errorf("totals %v: want the last to be left alone, and few evicted", p.Report.Totals)
	}
}
