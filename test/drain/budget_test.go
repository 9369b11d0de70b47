package drain

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
	"rebootd.dev/test/cluster"
	"rebootd.dev/test/proxy"
)

// A pod is evicted within 200 ms of the change of its budget that lets it go.
func TestEvictedWhenTheBudgetChanges(t *testing.T) {
	b := newBed(t)
	const times = 5
	var took []time.Duration
	for i := range times {
		name := "web" + string(rune('a'+i))
		b.must(shared.Deployment(b.ctx, b.ns, name, 1, nil, func(d *appsv1.Deployment) { b.here(&d.Spec.Template.Spec) }))
		b.must(shared.Budget(b.ctx, b.ns, name, 1))
	}
	b.start()
	b.blocked(api.PodBudgetNeverAllows)
	budgets, err := shared.Client.PolicyV1().PodDisruptionBudgets(b.ns).Watch(b.ctx, metav1.ListOptions{})
	b.must(err)
	defer budgets.Stop()
	pods, err := shared.Client.CoreV1().Pods(b.ns).Watch(b.ctx, metav1.ListOptions{})
	b.must(err)
	defer pods.Stop()
	for i := range times {
		name := "web" + string(rune('a'+i))
		_, err := shared.Client.PolicyV1().PodDisruptionBudgets(b.ns).Patch(b.ctx, name, types.MergePatchType, []byte(`{"spec":{"minAvailable":0}}`), metav1.PatchOptions{})
		b.must(err)
		var changed, told time.Time
		for told.IsZero() {
			select {
			case ev := <-budgets.ResultChan():
				if x, ok := ev.Object.(*policyv1.PodDisruptionBudget); ok && x.Name == name && x.Status.DisruptionsAllowed > 0 && changed.IsZero() {
					changed = time.Now()
				}
			case ev := <-pods.ResultChan():
				if x, ok := ev.Object.(*corev1.Pod); ok && x.Labels["app"] == name && x.DeletionTimestamp != nil {
					told = time.Now()
				}
			case <-b.ctx.Done():
				t.Fatal("not evicted")
			}
		}
		took = append(took, told.Sub(changed))
	}
	b.drained()
	slices.Sort(took)
	t.Logf("from the budget's change to the eviction: %v", took)
	if changed := took[times/2]; changed > 200*time.Millisecond {
		t.Errorf("evicted %s after the budget's change, at the median", changed)
	}
}

// A budget that is used up by a pod that does not end lets no other go; it is not
// asked again and again, and the pod that is in the way is told.
func TestBudgetUsedUpByAPodThatDoesNotEnd(t *testing.T) {
	b := newBed(t)
	b.pod("web-stuck", func(p *corev1.Pod) {
		p.Labels["app"] = "web"
		p.Annotations[cluster.Sim+"stuck"] = "true"
		grace := int64(1)
		p.Spec.TerminationGracePeriodSeconds = &grace
		p.Finalizers = []string{"test.rebootd.dev/keep"}
	})
	b.pod("web-other", func(p *corev1.Pod) { p.Labels["app"] = "web" })
	b.ready("web-stuck", "web-other")
	b.must(shared.Client.CoreV1().Pods(b.ns).Delete(b.ctx, "web-stuck", metav1.DeleteOptions{}))
	b.must(shared.Budget(b.ctx, b.ns, "web", 1))
	b.start()
	if x := b.blocked(api.PodTerminating); x.Name != "web-stuck" || !strings.Contains(x.Message, "finalizers: test.rebootd.dev/keep") {
		t.Errorf("told %+v", x)
	}
	b.mu.Lock()
	asked := b.evictions["429"]
	b.mu.Unlock()
	if asked == 0 || asked > 3 {
		t.Errorf("asked %d times in vain", asked)
	}
	zero := int64(0)
	_, err := shared.Client.CoreV1().Pods(b.ns).Patch(b.ctx, "web-stuck", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	b.must(err)
	_ = shared.Client.CoreV1().Pods(b.ns).Delete(b.ctx, "web-stuck", metav1.DeleteOptions{GracePeriodSeconds: &zero})
	b.must(shared.Client.PolicyV1().PodDisruptionBudgets(b.ns).Delete(b.ctx, "web", metav1.DeleteOptions{}))
	b.drained()
}

// An API server that asks for patience gets it, to the second, and no retries
// behind our back.
func TestAPIServerAsksForPatience(t *testing.T) {
	b := newBed(t)
	b.pod("web", nil)
	b.ready("web")
	var requests atomic.Int64
	var first, second atomic.Int64 // when the pod was asked to go
	b.through().Faults(func(r *http.Request) proxy.Fault {
		if !strings.HasSuffix(r.URL.Path, "/eviction") {
			return proxy.Fault{}
		}
		switch requests.Add(1) {
		case 1:
			first.Store(time.Now().UnixNano())
			return proxy.Fault{Answer: &metav1.Status{
				Status: metav1.StatusFailure, Code: http.StatusTooManyRequests, Reason: metav1.StatusReasonTooManyRequests,
				Message: "too many requests, please try again later", Details: &metav1.StatusDetails{RetryAfterSeconds: 3},
			}}
		case 2:
			second.Store(time.Now().UnixNano())
		}
		return proxy.Fault{}
	})
	b.start()
	b.drained()
	if n := requests.Load(); n != 2 {
		t.Errorf("%d eviction requests, want 2", n)
	}
	if pause := time.Duration(second.Load() - first.Load()); pause < 3*time.Second || pause > 5*time.Second {
		t.Errorf("tried again after %s, want 3 s or a little more", pause)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.evictions["429"] != 1 || b.evictions["201"] != 1 {
		t.Errorf("answers to evictions: %v", b.evictions)
	}
}

// An eviction that was done and whose answer was lost is not done twice; one that
// never arrived is.
func TestLostAnswers(t *testing.T) {
	for name, fault := range map[string]proxy.Fault{"done": {Forget: true}, "not done": {Lose: true}} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			b.pod("web", func(p *corev1.Pod) { p.Annotations[cluster.Sim+"term-seconds"] = "3" })
			b.ready("web")
			var requests atomic.Int64
			b.through().Faults(func(r *http.Request) proxy.Fault {
				if strings.HasSuffix(r.URL.Path, "/eviction") && requests.Add(1) == 1 {
					return fault
				}
				return proxy.Fault{}
			})
			b.start()
			p := b.drained()
			b.expect(p, "web", "drained")
			if want := map[string]int64{"done": 1, "not done": 2}[name]; requests.Load() != want {
				t.Errorf("%d eviction requests, want %d", requests.Load(), want)
			}
		})
	}
}
