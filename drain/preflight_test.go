package drain

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/api"
)

// fakeCluster is what the preflight sees of a cluster: pods of one node, budgets, and
// the answers to evictions. It counts requests.
type fakeCluster struct {
	API
	mu       sync.Mutex
	pods     []corev1.Pod
	budgets  []policyv1.PodDisruptionBudget
	answer   func(name string, n int) error // nil: accepted
	hang     time.Duration
	fail     error // of lists
	requests map[string]int
	asked    map[string]int
	atOnce   int
	most     int
	bad      []string
	watchers map[string]*watch.FakeWatcher
}

func newFakeCluster() *fakeCluster {
	return &fakeCluster{requests: map[string]int{}, asked: map[string]int{}, watchers: map[string]*watch.FakeWatcher{}}
}

func (c *fakeCluster) count(what string) error {
	c.requests[what]++
	return c.fail
}

func (c *fakeCluster) ListPods(_ context.Context, ns string, opts metav1.ListOptions) (*corev1.PodList, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ns != "" || opts.FieldSelector != "spec.nodeName=node" || opts.ResourceVersion != "0" {
		c.bad = append(c.bad, fmt.Sprintf("list of pods %q %+v", ns, opts))
	}
	list := &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}}
	for i := range c.pods {
		list.Items = append(list.Items, *c.pods[i].DeepCopy())
	}
	return list, c.count("list pods")
}

func (c *fakeCluster) watch(what string) (watch.Interface, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watchers[what] = watch.NewFakeWithChanSize(1000, false)
	return c.watchers[what], c.count("watch " + what)
}

func (c *fakeCluster) watcher(what string) *watch.FakeWatcher {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.watchers[what]
}

func (c *fakeCluster) firstPod() *corev1.Pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pods[0].DeepCopy()
}

func (c *fakeCluster) firstBudget() *policyv1.PodDisruptionBudget {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.budgets[0].DeepCopy()
}

func (c *fakeCluster) WatchPods(context.Context, string, metav1.ListOptions) (watch.Interface, error) {
	return c.watch("pods")
}

func (c *fakeCluster) ListBudgets(_ context.Context, ns string, _ metav1.ListOptions) (*policyv1.PodDisruptionBudgetList, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ns == "" {
		c.bad = append(c.bad, "list of all budgets of the cluster")
	}
	list := &policyv1.PodDisruptionBudgetList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}}
	for i := range c.budgets {
		if b := &c.budgets[i]; ns == "" || b.Namespace == ns {
			list.Items = append(list.Items, *b.DeepCopy())
		}
	}
	return list, c.count("list budgets " + ns)
}

func (c *fakeCluster) WatchBudgets(_ context.Context, ns string, _ metav1.ListOptions) (watch.Interface, error) {
	return c.watch("budgets " + ns)
}

func (c *fakeCluster) EvictPod(ctx context.Context, ev *policyv1.Eviction) error {
	c.mu.Lock()
	o := ev.DeleteOptions
	if o == nil || !slices.Equal(o.DryRun, []string{"All"}) || o.Preconditions == nil || o.Preconditions.UID == nil || string(*o.Preconditions.UID) != "uid-"+ev.Name {
		c.bad = append(c.bad, fmt.Sprintf("%s is asked about with %+v", ev.Name, o))
	}
	c.asked[ev.Name]++
	n := c.asked[ev.Name]
	c.atOnce++
	c.most = max(c.most, c.atOnce)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.atOnce--
	}()
	if c.hang > 0 {
		t := time.NewTimer(c.hang)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if c.answer == nil {
		return nil
	}
	return c.answer(ev.Name, n)
}

// pod has the labels app=<app>; change may be nil.
func (c *fakeCluster) pod(ns, name, app string, change func(*corev1.Pod)) *corev1.Pod {
	p := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID("uid-" + name), Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{NodeName: "node"},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
	if change != nil {
		change(&p)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pods = append(c.pods, p)
	return &c.pods[len(c.pods)-1]
}

func unready(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }

func ownedBy(version, kind string) func(*corev1.Pod) {
	yes := true
	return func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: version, Kind: kind, Name: "x", UID: "x", Controller: &yes}}
	}
}

// budget selects app=<app>; of its expected pods so many are healthy, and desired have to
// be.
func (c *fakeCluster) budget(ns, name, app string, expected, healthy, desired int32, change func(*policyv1.PodDisruptionBudget)) {
	b := policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, Generation: 1},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
		Status: policyv1.PodDisruptionBudgetStatus{
			ObservedGeneration: 1, ExpectedPods: expected, CurrentHealthy: healthy, DesiredHealthy: desired, DisruptionsAllowed: max(0, healthy-desired),
		},
	}
	if change != nil {
		change(&b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.budgets = append(c.budgets, b)
}

func (c *fakeCluster) drainer(t *testing.T) *Drainer {
	t.Helper()
	d, err := New(Config{API: c, Node: "node", SelfUID: "uid-self"})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// told is what Foresee has said, and when.
type told struct {
	mu   sync.Mutex
	all  [][]Blocker
	at   []time.Duration
	stop context.CancelFunc
	done chan struct{}
}

func foresee(t *testing.T, c *fakeCluster) *told {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &told{stop: cancel, done: make(chan struct{})}
	began := time.Now()
	d := c.drainer(t)
	go func() {
		defer close(s.done)
		d.Foresee(ctx, func(b []Blocker) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.all, s.at = append(s.all, b), append(s.at, time.Since(began))
		})
	}()
	return s
}

func (s *told) last() string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) == 0 {
		return "nothing said"
	}
	return sayAll(s.all[len(s.all)-1])
}

func (s *told) end() {
	s.stop()
	<-s.done
}

func sayAll(all []Blocker) string {
	var parts []string
	for _, b := range all {
		s := strings.Join(b.Pods, ",") + " " + string(b.Reason) + ": " + b.Message
		if b.Managed {
			s += " (managed)"
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, "\n")
}

func alwaysAllow(b *policyv1.PodDisruptionBudget) {
	always := policyv1.AlwaysAllow
	b.Spec.UnhealthyPodEvictionPolicy = &always
}

// What the budgets' status says of a pod, each case by itself.
func TestForetell(t *testing.T) {
	never := "ns/p BudgetNeverAllows: the budget b allows no eviction even if all of its 2 pods are healthy (it needs 2)"
	for name, c := range map[string]struct {
		set  func(c *fakeCluster)
		want string
	}{
		"no budget":        {func(c *fakeCluster) { c.pod("ns", "p", "a", nil); c.budget("ns", "b", "other", 1, 1, 1, nil) }, ""},
		"of another space": {func(c *fakeCluster) { c.pod("ns", "p", "a", nil); c.budget("other", "b", "a", 1, 1, 1, nil) }, ""},
		"allows one":       {func(c *fakeCluster) { c.pod("ns", "p", "a", nil); c.budget("ns", "b", "a", 3, 3, 2, nil) }, ""},
		"exhausted now": {func(c *fakeCluster) {
			c.pod("ns", "p", "a", nil)
			c.budget("ns", "b", "a", 3, 2, 2, nil)
		}, ""},
		"never": {func(c *fakeCluster) { c.pod("ns", "p", "a", nil); c.budget("ns", "b", "a", 2, 2, 2, nil) }, never},
		"Zalando's": {func(c *fakeCluster) {
			c.pod("ns", "p", "a", func(p *corev1.Pod) { p.Labels["application"] = "spilo"; ownedBy("apps/v1", "StatefulSet")(p) })
			c.budget("ns", "b", "a", 2, 2, 2, nil)
		}, never + " (managed)"},
		"never, the only one": {func(c *fakeCluster) { c.pod("ns", "p", "a", nil); c.budget("ns", "b", "a", 1, 1, 1, nil) }, "ns/p BudgetNeverAllows: the budget b allows no eviction even if its only pod is healthy"},
		"never, and ill":      {func(c *fakeCluster) { c.pod("ns", "p", "a", nil); c.budget("ns", "b", "a", 2, 1, 2, nil) }, never},
		"status is behind": {func(c *fakeCluster) {
			c.pod("ns", "p", "a", nil)
			c.budget("ns", "b", "a", 2, 2, 2, func(b *policyv1.PodDisruptionBudget) { b.Generation = 2 })
		}, ""},
		"status is behind, ill": {func(c *fakeCluster) {
			c.pod("ns", "p", "a", nil)
			c.budget("ns", "b", "a", 3, 1, 2, func(b *policyv1.PodDisruptionBudget) { b.Generation = 2 })
		}, ""},
		"itself ill, and not counted": {func(c *fakeCluster) { c.pod("ns", "p", "a", unready); c.budget("ns", "b", "a", 2, 2, 2, nil) }, ""},
		"no pods expected":            {func(c *fakeCluster) { c.pod("ns", "p", "a", nil); c.budget("ns", "b", "a", 0, 0, 0, nil) }, ""},
		"not synced": {func(c *fakeCluster) {
			c.pod("ns", "p", "a", nil)
			c.budget("ns", "b", "a", 0, 0, 0, func(b *policyv1.PodDisruptionBudget) {
				b.Status.Conditions = []metav1.Condition{{Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.SyncFailedReason, Message: "no scale"}}
			})
		}, "ns/p BudgetNeverAllows: the disruption controller cannot evaluate the budget b: no scale"},
		"two": {func(c *fakeCluster) {
			c.pod("ns", "p", "a", nil)
			c.budget("ns", "b", "a", 3, 3, 2, nil)
			c.budget("ns", "a", "a", 3, 3, 2, nil)
		}, "ns/p MultipleBudgets: more than one budget selects it, which the eviction API refuses: a, b"},
		"two, pending": {func(c *fakeCluster) {
			c.pod("ns", "p", "a", func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending })
			c.budget("ns", "b", "a", 3, 3, 2, nil)
			c.budget("ns", "a", "a", 3, 3, 2, nil)
		}, ""},
		"selects all": {func(c *fakeCluster) {
			c.pod("ns", "p", "a", func(p *corev1.Pod) { p.Labels = nil })
			c.budget("ns", "b", "a", 2, 2, 2, func(b *policyv1.PodDisruptionBudget) { b.Spec.Selector = &metav1.LabelSelector{} })
		}, never},
		"selects none": {func(c *fakeCluster) {
			c.pod("ns", "p", "a", nil)
			c.budget("ns", "b", "a", 2, 2, 2, func(b *policyv1.PodDisruptionBudget) { b.Spec.Selector = nil })
		}, ""},
		"ill for minutes":                 {func(c *fakeCluster) { c.pod("ns", "p", "a", nil); c.budget("ns", "b", "a", 3, 1, 2, nil) }, "ns/p UnhealthySiblings: the budget b needs 2 healthy pods and has 1"},
		"itself ill":                      {func(c *fakeCluster) { c.pod("ns", "p", "a", unready); c.budget("ns", "b", "a", 3, 1, 2, nil) }, "ns/p UnhealthySiblings: the budget b needs 2 healthy pods and has 1"},
		"itself ill, and others are well": {func(c *fakeCluster) { c.pod("ns", "p", "a", unready); c.budget("ns", "b", "a", 3, 2, 2, nil) }, ""},
		"itself ill, always allowed":      {func(c *fakeCluster) { c.pod("ns", "p", "a", unready); c.budget("ns", "b", "a", 2, 1, 2, alwaysAllow) }, ""},
		"others ill, always allowed":      {func(c *fakeCluster) { c.pod("ns", "p", "a", nil); c.budget("ns", "b", "a", 2, 2, 2, alwaysAllow) }, never},
		"an operator's pod": {func(c *fakeCluster) {
			c.pod("ns", "p", "a", ownedBy("postgresql.cnpg.io/v1", "Cluster"))
			c.budget("ns", "b", "a", 2, 2, 2, nil)
		}, never + " (managed)"},
		"an operator's budget": {func(c *fakeCluster) {
			c.pod("ns", "p", "a", ownedBy("apps/v1", "StatefulSet"))
			c.budget("ns", "b", "a", 2, 2, 2, func(b *policyv1.PodDisruptionBudget) {
				b.OwnerReferences = []metav1.OwnerReference{{APIVersion: "moco.cybozu.com/v1beta2", Kind: "MySQLCluster"}}
			})
		}, never + " (managed)"},
		"a DaemonSet's": {func(c *fakeCluster) {
			c.pod("ns", "p", "a", ownedBy("apps/v1", "DaemonSet"))
			c.budget("ns", "b", "a", 2, 2, 2, nil)
		}, ""},
		"a Job's": {func(c *fakeCluster) {
			c.pod("ns", "p", "a", ownedBy("batch/v1", "Job"))
			c.budget("ns", "b", "a", 2, 2, 2, nil)
		}, ""},
		"rebootd's own": {func(c *fakeCluster) { c.pod("ns", "self", "a", nil); c.budget("ns", "b", "a", 2, 2, 2, nil) }, ""},
		"finished": {func(c *fakeCluster) {
			c.pod("ns", "p", "a", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })
			c.budget("ns", "b", "a", 2, 2, 2, nil)
		}, ""},
		"being deleted": {func(c *fakeCluster) {
			c.pod("ns", "p", "a", func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Now()} })
			c.budget("ns", "b", "a", 2, 2, 2, nil)
		}, ""},
		"to be skipped": {func(c *fakeCluster) {
			c.pod("ns", "p", "a", func(p *corev1.Pod) { p.Annotations = map[string]string{api.PodDrainAnnotation: api.PodDrainSkip} })
			c.budget("ns", "b", "a", 2, 2, 2, nil)
		}, ""},
		"to be left": {func(c *fakeCluster) {
			c.pod("ns", "p", "a", func(p *corev1.Pod) { p.Annotations = map[string]string{api.PodDrainAnnotation: api.PodDrainWait} })
			c.budget("ns", "b", "a", 2, 2, 2, nil)
		}, ""},
		"several of one": {func(c *fakeCluster) {
			c.pod("ns", "q", "a", nil)
			c.pod("ns", "p", "a", nil)
			c.budget("ns", "b", "a", 2, 2, 2, nil)
		}, strings.Replace(never, "ns/p", "ns/p,ns/q", 1)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFakeCluster()
				c.set(fake)
				s := foresee(t, fake)
				time.Sleep(firstLook + lookSpread + sickFor)
				got := s.last()
				s.end()
				if len(fake.bad) > 0 || got != c.want {
					t.Errorf("said %q, want %q; %q", got, c.want, fake.bad)
				}
			})
		})
	}
}

func (c *fakeCluster) total() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range c.requests {
		n += x
	}
	return n
}

// What it costs: nothing for a node that has its turn at once; three requests for one that
// waits a day with nothing new; six lists of budgets an hour where pods come all the time,
// and none for those of Jobs.
func TestWhatForesightCosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster()
		c.pod("ns", "p", "a", nil)
		c.budget("ns", "b", "a", 3, 3, 2, nil)
		s := foresee(t, c)
		time.Sleep(firstLook - time.Millisecond)
		s.end()
		if n := c.total(); n != 0 {
			t.Errorf("%d requests within the first seconds: %v", n, c.requests)
		}
		s = foresee(t, c)
		for range 24 {
			time.Sleep(time.Hour)
			c.watcher("pods").Modify(c.firstPod())
		}
		synctest.Wait()
		if n := c.total(); n != 3 {
			t.Errorf("%d requests within a day: %v", n, c.requests)
		}
		job := ownedBy("batch/v1", "Job")
		for i := range 60 {
			time.Sleep(time.Minute)
			c.watcher("pods").Add(c.pod("ns", fmt.Sprintf("job-%d", i), "j", job).DeepCopy())
		}
		synctest.Wait()
		if n := c.total(); n != 3 {
			t.Errorf("%d requests after pods of Jobs: %v", n, c.requests)
		}
		for i := range 600 {
			time.Sleep(time.Minute)
			c.watcher("pods").Add(c.pod("ns", fmt.Sprintf("p-%d", i), "a", nil).DeepCopy())
		}
		synctest.Wait()
		if n := c.total() - 3; n < 50 || n > 61 {
			t.Errorf("%d requests within ten hours in which pods came: %v", n, c.requests)
		}
		s.end()
	})
}

// Thousands of nodes that begin to wait in the same second do not list their pods in the next:
// in no ten seconds do more than a fifth of them ask, and after the first minutes none does.
func TestForesightOfManyNodes(t *testing.T) {
	const nodes = 4000 // so many that a fifth is far from what chance has them do
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster()
		c.pod("ns", "p", "a", nil)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range nodes {
			d := c.drainer(t)
			wg.Go(func() { d.Foresee(ctx, func([]Blocker) {}) })
		}
		before := 0
		for at := time.Duration(0); at < 2*time.Minute; at += 10 * time.Second {
			time.Sleep(10 * time.Second)
			synctest.Wait()
			now := c.total()
			if n := now - before; n > 3*nodes/5 {
				t.Errorf("%d requests within ten seconds, %s after they began to wait", n, at)
			}
			before = now
		}
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if before != 3*nodes || c.total() != before {
			t.Errorf("%d requests at first, and %d later", before, c.total()-before)
		}
		cancel()
		wg.Wait()
	})
}

// A cluster may have more budgets than a daemon has memory for: only those of the
// namespaces of the node's pods are read, and those of a namespace that has lost its pods
// are forgotten.
func TestForesightReadsWhatItNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster()
		c.pod("a", "p", "x", nil)
		c.pod("b", "p2", "x", nil)
		for i := range 3 {
			c.budget(fmt.Sprintf("elsewhere-%d", i), "b", "x", 1, 1, 1, nil)
		}
		s := foresee(t, c)
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(c.bad) > 0 || c.requests["list budgets a"] != 1 || c.requests["list budgets b"] != 1 || c.total() != 4 {
			t.Errorf("%v %v", c.bad, c.requests)
		}
		gone := c.firstPod()
		c.watcher("pods").Delete(gone)
		c.watcher("pods").Add(c.pod("b", "p3", "x", nil).DeepCopy())
		time.Sleep(time.Hour)
		c.watcher("pods").Add(gone)
		synctest.Wait()
		if len(c.bad) > 0 || c.requests["list budgets a"] != 2 || c.requests["list budgets b"] != 2 {
			t.Errorf("%v %v", c.bad, c.requests)
		}
		s.end()
	})
}

// People are told within a minute, and again as soon as the budget is mended, which costs a
// list and a watch of that namespace's budgets and no more; what changes all the time is
// told once a minute at the most.
func TestForesightChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster()
		c.pod("ns", "p", "a", nil)
		c.pod("quiet", "q", "a", nil)
		c.budget("ns", "b", "a", 1, 1, 1, nil)
		c.budget("quiet", "b", "a", 3, 3, 2, nil)
		s := foresee(t, c)
		time.Sleep(firstLook + lookSpread)
		if got := s.last(); !strings.Contains(got, "BudgetNeverAllows") {
			t.Fatal(got)
		}
		for range 100 { // a pod like it comes and goes
			time.Sleep(3 * time.Second)
			p := c.firstPod()
			p.Name, p.UID = "r", "uid-r"
			c.watcher("pods").Add(p)
			time.Sleep(3 * time.Second)
			c.watcher("pods").Delete(p)
		}
		synctest.Wait()
		if n := len(s.all); n < 2 || n > 12 {
			t.Errorf("said %d times in ten minutes", n)
		}
		if c.requests["list budgets quiet"] != 1 || c.requests["watch budgets quiet"] != 0 {
			t.Errorf("a namespace in which nothing blocks and nothing comes: %v", c.requests)
		}
		s.end()
		s = foresee(t, c)
		time.Sleep(time.Hour)
		if got := s.last(); !strings.Contains(got, "BudgetNeverAllows") {
			t.Fatal(got)
		}
		b := c.firstBudget()
		b.Status.DesiredHealthy, b.Status.DisruptionsAllowed = 0, 1
		c.watcher("budgets ns").Modify(b)
		if got := s.last(); got != "" {
			t.Errorf("the budget is mended, and people are told %q", got)
		}
		s.end()
	})
}

// A budget that lacks healthy pods for a minute is no news.
func TestASickMinuteIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster()
		c.pod("ns", "p", "a", nil)
		c.budget("ns", "b", "a", 3, 1, 2, nil)
		s := foresee(t, c)
		time.Sleep(sickFor - time.Minute)
		if got := s.last(); got != "" {
			t.Error(got)
		}
		b := c.firstBudget()
		b.Status.CurrentHealthy, b.Status.DisruptionsAllowed = 3, 1
		c.mu.Lock()
		c.budgets[0] = *b
		c.mu.Unlock()
		c.watcher("budgets ns").Modify(b)
		time.Sleep(time.Hour)
		if got := s.last(); got != "" {
			t.Error(got)
		}
		s.end()
	})
}

// The API server is away: it is asked with growing pauses, and people are told when it is
// back.
func TestForesightWithoutAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster()
		c.pod("ns", "p", "a", nil)
		c.budget("ns", "b", "a", 1, 1, 1, nil)
		c.fail = context.DeadlineExceeded
		s := foresee(t, c)
		time.Sleep(time.Hour)
		if n := c.total(); n > 300 {
			t.Errorf("%d requests in an hour", n)
		}
		c.mu.Lock()
		c.fail = nil
		c.mu.Unlock()
		time.Sleep(time.Minute)
		if got := s.last(); !strings.Contains(got, "BudgetNeverAllows") {
			t.Error(got)
		}
		s.end()
	})
}

func answered(code int32, reason metav1.StatusReason, message string, causes ...metav1.StatusCause) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message, Details: &metav1.StatusDetails{Causes: causes}}}
}

var byBudget = answered(429, metav1.StatusReasonTooManyRequests, "Cannot evict pod as it would violate the pod's disruption budget.",
	metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: "The disruption budget b needs 2 healthy pods and has 2 currently"})

// What each answer to a dry run means: that it will stay the same, or that it may pass.
func TestRehearse(t *testing.T) {
	for name, c := range map[string]struct {
		answer     error
		set        func(*fakeCluster)
		stay, pass string
		asked      int
	}{
		"accepted":            {nil, nil, "", "", 1},
		"gone":                {answered(404, metav1.StatusReasonNotFound, "pods not found"), nil, "", "", 1},
		"another by its name": {answered(409, metav1.StatusReasonConflict, "the UID in the precondition (x) does not match the UID in record (y)"), nil, "", "", 1},
		"denied":              {answered(400, "", `admission webhook "x" denied the request: not this one`), nil, `ns/p WebhookDenied: admission webhook "x" denied the request: not this one`, "", 2},
		"denied by a policy":  {answered(422, metav1.StatusReasonInvalid, `pods "p" is forbidden: ValidatingAdmissionPolicy 'x' denied request: no`), nil, `ns/p WebhookDenied: pods "p" is forbidden: ValidatingAdmissionPolicy 'x' denied request: no`, "", 2},
		"denied for now":      {answered(429, "", `admission webhook "x" denied the request: later`), nil, "", `ns/p WebhookDenied: admission webhook "x" denied the request: later`, 1},
		"being migrated":      {answered(429, "", `admission webhook "x" denied the request: Eviction triggered evacuation of VMI "a/b"`), nil, "", "", 1},
		"cannot be migrated":  {answered(429, "", `admission webhook "x" denied the request: VMI b is configured with an eviction strategy but is not live-migratable`), nil, `ns/p WebhookDenied: admission webhook "x" denied the request: VMI b is configured with an eviction strategy but is not live-migratable`, "", 2},
		"rolled by Strimzi":   {answered(500, "", `admission webhook "x" denied the request: The pod will be rolled by the Strimzi Cluster Operator`), nil, "", `ns/p WebhookDenied: admission webhook "x" denied the request: The pod will be rolled by the Strimzi Cluster Operator`, 1},
		"a webhook is away":   {answered(500, metav1.StatusReasonInternalError, `Internal error occurred: failed calling webhook "x": timeout`), nil, "", `ns/p WebhookDenied: Internal error occurred: failed calling webhook "x": timeout`, 1},
		"no dry runs":         {answered(400, metav1.StatusReasonBadRequest, `admission webhook "x" does not support dry run`), nil, "", `ns/p WebhookDenied: admission webhook "x" does not support dry run`, 1},
		"forbidden":           {answered(403, metav1.StatusReasonForbidden, `pods "p" is forbidden: User "x" cannot create resource "pods/eviction"`), nil, `ns/p Forbidden: pods "p" is forbidden: User "x" cannot create resource "pods/eviction"`, "", 2},
		"no answer":           {context.DeadlineExceeded, nil, "", "ns/p APIOverloaded: no answer: context deadline exceeded", 1},
		"exhausted":           {byBudget, func(c *fakeCluster) { c.budget("ns", "b", "a", 3, 2, 2, nil) }, "", "ns/p BudgetExhausted: The disruption budget b needs 2 healthy pods and has 2 currently", 1},
		"never":               {byBudget, func(c *fakeCluster) { c.budget("ns", "b", "a", 2, 2, 2, nil) }, "ns/p BudgetNeverAllows: the budget b allows no eviction even if all of its 2 pods are healthy (it needs 2)", "", 1},
		"ill":                 {byBudget, func(c *fakeCluster) { c.budget("ns", "b", "a", 3, 1, 2, nil) }, "", "ns/p UnhealthySiblings: the budget b needs 2 healthy pods and has 1", 1},
		"two": {answered(500, metav1.StatusReasonInternalError, "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."), func(c *fakeCluster) {
			c.budget("ns", "b", "a", 3, 3, 2, nil)
			c.budget("ns", "c", "a", 3, 3, 2, nil)
		}, "ns/p MultipleBudgets: more than one budget selects it, which the eviction API refuses: b, c", "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFakeCluster()
				fake.pod("ns", "p", "a", nil)
				fake.pod("ns", "self", "a", nil)
				if c.set != nil {
					c.set(fake)
				}
				fake.answer = func(string, int) error { return c.answer }
				r, err := fake.drainer(t).Rehearse(t.Context())
				if err != nil || len(fake.bad) > 0 {
					t.Fatal(err, fake.bad)
				}
				if stay, pass := sayAll(r.Blockers), sayAll(r.Passing); stay != c.stay || pass != c.pass || r.Pods != 1 {
					t.Errorf("of %d pods stay %q, may pass %q; want %q and %q", r.Pods, stay, pass, c.stay, c.pass)
				}
				if fake.asked["p"] != c.asked || fake.asked["self"] != 0 {
					t.Errorf("asked %v", fake.asked)
				}
			})
		})
	}
}

// An operator makes no room for what no operator can change: a virtual machine that cannot
// be migrated, though KubeVirt owns its pod, and a permission that lacks. A webhook's word
// about the pod of a custom resource may be its operator's.
func TestRehearseWhatNoOperatorMends(t *testing.T) {
	for name, c := range map[string]struct {
		answer error
		want   string
	}{
		"a machine that stays": {answered(429, "", `admission webhook "x" denied the request: VMI b is configured with an eviction strategy but is not live-migratable`), "ns/p WebhookDenied: admission webhook \"x\" denied the request: VMI b is configured with an eviction strategy but is not live-migratable"},
		"no permission":        {answered(403, metav1.StatusReasonForbidden, `pods "p" is forbidden: User "x" cannot create resource "pods/eviction"`), `ns/p Forbidden: pods "p" is forbidden: User "x" cannot create resource "pods/eviction"`},
		"its operator's":       {answered(400, "", `admission webhook "x" denied the request: not this one`), `ns/p WebhookDenied: admission webhook "x" denied the request: not this one (managed)`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				fake := newFakeCluster()
				fake.pod("ns", "p", "a", ownedBy("kubevirt.io/v1", "VirtualMachineInstance"))
				fake.answer = func(string, int) error { return c.answer }
				r, err := fake.drainer(t).Rehearse(t.Context())
				if got := sayAll(r.Blockers); err != nil || got != c.want {
					t.Errorf("%q, %v; want %q", got, err, c.want)
				}
			})
		})
	}
}

// What an API server says in its first seconds does not count.
func TestRehearseAsksTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster()
		c.pod("ns", "p", "a", nil)
		c.answer = func(_ string, n int) error {
			if n == 1 {
				return answered(403, metav1.StatusReasonForbidden, "pods is forbidden")
			}
			return nil
		}
		r, err := c.drainer(t).Rehearse(t.Context())
		if err != nil || len(r.Blockers)+len(r.Passing) > 0 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// A hundred pods are asked about ten at a time, once each, with three requests besides at
// the most; and when the time is over, what was not answered may pass.
func TestRehearseManyPods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFakeCluster()
		for i := range 100 {
			c.pod("ns", fmt.Sprintf("p%d", i), "a", nil)
		}
		c.hang = time.Second
		began := time.Now()
		if r, err := c.drainer(t).Rehearse(t.Context()); err != nil || r.Pods != 100 || len(r.Blockers)+len(r.Passing) > 0 {
			t.Errorf("%+v, %v", r, err)
		}
		if took := time.Since(began); c.most != 10 || took != 10*time.Second || c.total() != 1 {
			t.Errorf("%d at once, in %s, and %v", c.most, took, c.requests)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5500*time.Millisecond)
		defer cancel()
		r, err := c.drainer(t).Rehearse(ctx)
		if err != nil || len(r.Blockers) > 0 || len(r.Passing) == 0 {
			t.Errorf("out of time: %+v, %v", r, err)
		}
		c.fail = context.DeadlineExceeded
		if _, err := c.drainer(t).Rehearse(t.Context()); err == nil {
			t.Error("the pods could not be listed, and that is no error")
		}
	})
}
