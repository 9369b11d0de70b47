package drain

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"rebootd.dev/drain"
)

func (b *bed) drainer() *drain.Drainer {
	b.Helper()
	d, err := drain.New(drain.Config{API: b.api, Node: b.node})
	b.must(err)
	return d
}

func said(all []drain.Blocker) string {
	var parts []string
	for _, x := range all {
		parts = append(parts, fmt.Sprintf("%s %s: %s", strings.Join(x.Pods, ","), x.Reason, x.Message))
	}
	return strings.Join(parts, "\n")
}

// state is what a dry run must not change.
func (b *bed) state() string {
	b.Helper()
	pods, err := shared.Client.CoreV1().Pods(b.ns).List(b.ctx, metav1.ListOptions{})
	b.must(err)
	budgets, err := shared.Client.PolicyV1().PodDisruptionBudgets(b.ns).List(b.ctx, metav1.ListOptions{})
	b.must(err)
	var out []string
	for _, p := range pods.Items {
		out = append(out, p.Name+" "+p.ResourceVersion)
	}
	for _, x := range budgets.Items {
		out = append(out, fmt.Sprint(x.Name, x.ResourceVersion, x.Status.DisruptionsAllowed, x.Status.DisruptedPods))
	}
	return strings.Join(out, "\n")
}

// What the API server and a webhook say to dry runs is what they say to the real ones, the
// webhook is told that it is one, nothing is moved, and budgets lose nothing. What the
// budgets' status alone says agrees.
func TestPreflight(t *testing.T) {
	b := newBed(t)
	var mu sync.Mutex
	inEarnest := 0
	b.reviewed(func(r *admissionv1.AdmissionRequest) *metav1.Status {
		mu.Lock()
		defer mu.Unlock()
		if r.DryRun == nil || !*r.DryRun {
			inEarnest++
		}
		switch r.Name {
		case "denied":
			return no(400, "never this one")
		case "later":
			return no(429, "not now")
		}
		return nil
	})
	mu.Lock()
	inEarnest = 0 // kubectl's way, in the body alone, by which it was found out that the webhook is asked
	mu.Unlock()
	here := func(d *appsv1.Deployment) { b.here(&d.Spec.Template.Spec) }
	for name, replicas := range map[string]int32{"never": 2, "some": 3, "twice": 2} {
		b.must(shared.Deployment(b.ctx, b.ns, name, replicas, nil, here))
	}
	b.must(shared.Budget(b.ctx, b.ns, "never", 2))
	b.must(shared.Budget(b.ctx, b.ns, "some", 2))
	b.must(shared.Budget(b.ctx, b.ns, "twice", 0))
	one := intstr.FromInt32(0)
	_, err := shared.Client.PolicyV1().PodDisruptionBudgets(b.ns).Create(b.ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "twice-more"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "twice"}}},
	}, metav1.CreateOptions{})
	b.must(err)
	b.pod("denied", nil)
	b.pod("later", nil)
	b.ready("denied", "later")
	b.Eventually("the budgets know their pods", func() bool {
		list, err := shared.Client.PolicyV1().PodDisruptionBudgets(b.ns).List(b.ctx, metav1.ListOptions{})
		b.must(err)
		n := int32(0)
		for _, x := range list.Items {
			n += x.Status.CurrentHealthy
		}
		return n == 2+3+2+2
	})
	before := b.state()
	began := time.Now()
	r, err := b.drainer().Rehearse(b.ctx)
	b.must(err)
	t.Logf("%d pods in %s", r.Pods, time.Since(began))
	stay, pass := said(r.Blockers), said(r.Passing)
	for _, want := range []string{
		"BudgetNeverAllows: the budget never allows no eviction even if all of its 2 pods are healthy (it needs 2)",
		"MultipleBudgets: more than one budget selects it, which the eviction API refuses: twice, twice-more",
		b.ns + "/denied WebhookDenied: ",
	} {
		if !strings.Contains(stay, want) {
			t.Errorf("%q is not in\n%s", want, stay)
		}
	}
	if len(r.Blockers) != 3 || r.Pods != 9 || len(r.Passing) != 1 || !strings.Contains(pass, b.ns+"/later WebhookDenied: ") {
		t.Errorf("of %d pods stay\n%s\nmay pass\n%s", r.Pods, stay, pass)
	}
	if after := b.state(); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	mu.Lock()
	defer mu.Unlock()
	if inEarnest != 0 {
		t.Errorf("the webhook was told %d times that it is no dry run", inEarnest)
	}

	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	foreseen := make(chan string, 1)
	go b.drainer().Foresee(ctx, func(x []drain.Blocker) {
		select {
		case foreseen <- said(x):
		default:
		}
	})
	select {
	case got := <-foreseen:
		if !strings.Contains(got, "the budget never allows no eviction") || !strings.Contains(got, "twice, twice-more") || strings.Contains(got, "some") || strings.Contains(got, "denied") {
			t.Errorf("foreseen:\n%s", got)
		}
	case <-b.ctx.Done():
		t.Error("nothing is foreseen")
	}
}
