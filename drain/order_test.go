package drain

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
)

func ranked(name string, uid types.UID, order int, t tier) podInfo {
	p := pod(name, uid)
	p.rank = rank{order: order, tier: t}
	return p
}

// Pods go in the order of their annotation, and within one order the ordinary
// before the critical before those that API calls depend on; the next only when
// those before are gone.
func TestOrder(t *testing.T) {
	c := testCore(
		ranked("webhook", "w", 0, controlPath), ranked("storage", "s", 5, ordinary), ranked("dns", "d", 0, critical),
		ranked("web", "a", 0, ordinary), ranked("first", "f", -1, controlPath), ranked("web", "b", 0, ordinary),
	)
	now := t0
	for _, want := range []string{"f", "a b", "d", "w", "s"} {
		rs := c.due(now)
		if uids(rs) != want {
			t.Fatalf("asks %q, want %q", uids(rs), want)
		}
		for i, r := range rs {
			c.answered(r, judge(nil), now)
			c.seen(deleting(r.pod, now.Add(30*time.Second)), now)
			if got := uids(c.due(now)); got != "" {
				t.Errorf("asks %q while pods before it are there", got)
			}
			if i == 0 && want == "f" {
				if d := c.diagnose(c.pods["s"], now); d.reason != api.PodAwaitingTurn || d.notable {
					t.Errorf("the last pod is told as %+v", d)
				}
			}
			now = now.Add(time.Second)
		}
		for _, r := range rs {
			c.gone(r.pod.uid, nil, now)
		}
	}
	if !c.drained(at(60)) {
		t.Error("not drained")
	}
}

// A pod that is to end by itself is not asked to go before the time for that is
// over, told all the while, and holds back the pods after it.
func TestWaitsForCompletion(t *testing.T) {
	held := pod("job", "j")
	held.wait, held.waitWhy = api.PodAwaitingCompletion, "pod of a Job"
	for name, tc := range map[string]struct {
		completion time.Duration
		ends       time.Time
		ran        time.Duration
		asked      float64 // 0: never
	}{
		"for ever":                 {0, time.Time{}, 0, 0},
		"for a while":              {time.Minute, time.Time{}, 0, 60},
		"by a word of its own":     {0, at(20), 0, 20},
		"the shorter of both":      {time.Minute, at(90), 0, 60},
		"from before a restart":    {time.Minute, time.Time{}, 50 * time.Second, 10},
		"its time is over already": {time.Minute, time.Time{}, 500 * time.Second, 0.5},
	} {
		t.Run(name, func(t *testing.T) {
			timing := testTiming
			timing.completion, timing.ran = tc.completion, tc.ran
			p := held
			p.waitEnds = tc.ends
			c := newCore(timing, t0)
			c.list([]podInfo{p, ranked("dns", "d", 0, critical), pod("web", "w")}, t0)
			asked := 0.0
			for s := 0.5; s < 3600 && asked == 0; s += 0.5 {
				for _, r := range c.due(at(s)) {
					switch r.pod.uid {
					case "j":
						asked = s
					case "d":
						t.Fatalf("a critical pod is asked to go at %g s, while a job is left to end", s)
					case "w":
						c.answered(r, verdict{gone: true}, at(s))
					}
				}
				if d := c.diagnose(c.pods["j"], at(s)); asked == 0 && (d.reason != api.PodAwaitingCompletion || !d.notable) {
					t.Fatalf("at %g s told as %+v", s, d)
				}
			}
			if asked != tc.asked {
				t.Errorf("asked to go at %g s, want %g", asked, tc.asked)
			}
			if asked == 0 {
				done := p
				done.ended = true
				c.seen(done, at(3600))
				if got := c.pods["j"]; got.outcome != api.OutcomeDrained || got.note != (note{api.PodCompleted, "finished by itself"}) {
					t.Errorf("having ended by itself it counts as %s (%s)", got.outcome, got.note)
				}
			}
		})
	}
}

// Under a deadline each pod goes early enough for its own grace to end by then,
// whatever its budget and its order say; what is too late for that gets less.
func TestDeadline(t *testing.T) {
	timing := testTiming
	timing.limit = 600 * time.Second
	c := newCore(timing, t0)
	blocked := pod("blocked", "b")
	slow := pod("slow", "s")
	slow.grace = 1000 * time.Second // longer than all the time there is
	last := ranked("last", "l", 9, ordinary)
	own := pod("own", "o")
	own.grace = 0
	c.list([]podInfo{blocked, slow, last, own}, t0)
	no := judge(budgetError("The disruption budget web needs 2 healthy pods and has 2 currently", 0))
	type ask struct {
		at     float64
		remove bool
		grace  int64
	}
	got := map[types.UID][]ask{}
	for s := 0.0; s < 660; s++ {
		for _, r := range c.due(at(s)) {
			got[r.pod.uid] = append(got[r.pod.uid], ask{s, r.remove, r.grace})
			switch {
			case r.remove || r.pod.uid == "s":
				c.answered(r, judge(nil), at(s))
				grace := r.pod.grace
				if r.grace > 0 {
					grace = time.Duration(r.grace) * time.Second
				}
				c.seen(deleting(r.pod, at(s).Add(grace)), at(s))
			default:
				c.answered(r, no, at(s))
			}
		}
	}
	if a := got["s"]; len(a) != 1 || a[0] != (ask{0, false, 600}) {
		t.Errorf("the pod with a grace of 1000 s: %v, want one eviction at once with 600 s", a)
	}
	end := got["b"][len(got["b"])-1]
	if end != (ask{570, true, 0}) {
		t.Errorf("the blocked pod: %v, want a deletion with its own grace of 30 s at 570", got["b"])
	}
	if a := got["l"]; len(a) != 2 || a[0].at != 570 || a[0].remove || !a[1].remove || a[1].grace == 0 {
		t.Errorf("the pod whose turn never came: %v, want an eviction at 570 and, refused, a deletion", a)
	}
	if a := got["o"]; a[len(a)-1].at != 600 || !a[len(a)-1].remove {
		t.Errorf("the pod without grace: %v, want a deletion at 600", a)
	}
	for uid, asks := range got {
		if n := len(asks); n > 9 {
			t.Errorf("%s: asked %d times", uid, n)
		}
	}
	c.gone("b", nil, at(599))
	if o := c.pods["b"]; o.outcome != api.OutcomeForceStopped {
		t.Errorf("the deleted pod counts as %s", o.outcome)
	}
}

// Deadlines only tighten: a pod that somebody has given until after the deadline
// gets less, once.
func TestDeadlineTightens(t *testing.T) {
	timing := testTiming
	timing.limit = 600 * time.Second
	c := newCore(timing, t0)
	p := deleting(pod("slow", "s"), at(3600))
	short := deleting(pod("short", "q"), at(100))
	c.list([]podInfo{p, short}, t0)
	rs := c.due(at(1))
	if len(rs) != 1 || rs[0].pod.uid != "s" || !rs[0].remove || rs[0].grace != 599 {
		t.Fatalf("asks %+v, want one deletion of slow with 599 s", rs)
	}
	c.answered(rs[0], judge(fmt.Errorf("no answer")), at(2))
	rs = c.due(at(10))
	if len(rs) != 1 || rs[0].grace != 590 {
		t.Fatalf("after no answer asks %+v", rs)
	}
	c.answered(rs[0], judge(nil), at(10))
	c.seen(deleting(p, at(600)), at(10))
	for s := 11.0; s < 3000; s++ {
		if rs := c.due(at(s)); len(rs) > 0 {
			t.Fatalf("at %g s asks %+v", s, rs)
		}
	}
	c.gone("s", nil, at(3000))
	if c.pods["s"].outcome != api.OutcomeForceStopped {
		t.Errorf("counts as %s", c.pods["s"].outcome)
	}
}

// A pod whose eviction was accepted a moment before is not deleted, too, since nobody
// has seen it go yet; one that does not go is.
func TestDeadlineRightAfterAnEviction(t *testing.T) {
	for name, goes := range map[string]bool{"goes": true, "stays": false, "came in the last moment and stays": false} {
		timing := testTiming
		timing.limit = 31 * time.Second
		c := newCore(timing, t0)
		c.list(nil, t0)
		asked := 0.5
		if len(name) > 5 {
			asked = 2
		}
		c.seen(pod("a", "1"), at(asked))
		for _, r := range c.due(at(asked)) {
			c.answered(r, judge(nil), at(asked+0.1))
		}
		removed := 0.0
		for s := asked + 0.5; s < 31 && removed == 0; s += 0.5 {
			if goes && s == 3 {
				c.seen(deleting(c.pods["1"].podInfo, at(30)), at(s))
			}
			for _, r := range c.due(at(s)) {
				if r.remove {
					removed = s
				}
			}
		}
		if goes && removed > 0 || !goes && (removed < 5 || removed > 10) {
			t.Errorf("a pod that %s is deleted at %g s", name, removed)
		}
	}
}

// Without force no pod is ever deleted.
func TestNeverDeletesWithoutDeadline(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		c := testCore(pod("a", "1"), deleting(pod("b", "2"), at(1e6)), ranked("c", "3", 4, critical))
		answers := []error{nil, fmt.Errorf("no answer"), budgetError("The disruption budget web needs 2 healthy pods and has 2 currently", 0)}
		for s := 0.0; s < 10000; s += 7 {
			for _, r := range c.due(at(s)) {
				if r.remove || r.grace != 0 {
					t.Fatalf("seed %d: asks %+v", seed, r)
				}
				c.answered(r, judge(answers[rng.IntN(3)]), at(s))
			}
		}
	}
}

// What pods say of themselves, in our words and in others'.
func TestClasses(t *testing.T) {
	controller := func(apiVersion, kind string) func(*corev1.Pod) {
		yes := true
		return func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: "x", UID: "o", Controller: &yes}}
		}
	}
	annotated := func(k, v string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Annotations = map[string]string{k: v} }
	}
	labelled := func(k, v string) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Labels = map[string]string{k: v} }
	}
	start := metav1.NewTime(t0)
	for name, tc := range map[string]struct {
		change func(*corev1.Pod)
		want   class
	}{
		"ordinary":                   {func(*corev1.Pod) {}, class{}},
		"of a ReplicaSet":            {controller("apps/v1", "ReplicaSet"), class{}},
		"of a DaemonSet":             {controller("apps/v1", "DaemonSet"), class{skip: note{api.PodDaemonSetPod, "is a pod of the DaemonSet x"}}},
		"of somebody's DaemonSet":    {controller("apps.kruise.io/v1alpha1", "DaemonSet"), class{}},
		"static":                     {controller("v1", "Node"), class{skip: note{api.PodStaticPod, "is a static pod"}}},
		"mirror":                     {annotated("kubernetes.io/config.mirror", "x"), class{skip: note{api.PodStaticPod, "is a static pod"}}},
		"itself":                     {func(p *corev1.Pod) { p.UID = "self" }, class{skip: note{api.PodRebootdPod, "is rebootd's own pod"}}},
		"order":                      {annotated(api.PodOrderAnnotation, "-3"), class{rank: rank{order: -3}}},
		"order that is no number":    {annotated(api.PodOrderAnnotation, "last"), class{invalid: "last", invalidIn: api.PodOrderAnnotation}},
		"skip":                       {annotated(api.PodDrainAnnotation, "skip"), class{skip: note{api.PodSkipRequested, "is marked " + api.PodDrainAnnotation + ": skip"}}},
		"wait":                       {annotated(api.PodDrainAnnotation, "wait-completed"), class{wait: api.PodAwaitingCompletion, waitWhy: api.PodDrainAnnotation + ": wait-completed"}},
		"an unknown word":            {annotated(api.PodDrainAnnotation, "never"), class{invalid: "never", invalidIn: api.PodDrainAnnotation}},
		"Cluster API: skip":          {labelled(clusterAPILabel, "skip"), class{skip: note{api.PodSkipRequested, "is marked " + clusterAPILabel + ": skip"}}},
		"Cluster API: wait":          {labelled(clusterAPILabel, "wait-completed"), class{wait: api.PodAwaitingCompletion, waitWhy: clusterAPILabel + ": wait-completed"}},
		"Karpenter":                  {annotated(karpenterAnnotation, "true"), class{wait: api.PodProtected, waitWhy: karpenterAnnotation}},
		"Karpenter, not":             {annotated(karpenterAnnotation, "false"), class{}},
		"Karpenter, for a while":     {annotated(karpenterAnnotation, "5m"), class{wait: api.PodProtected, waitWhy: karpenterAnnotation + ": 5m0s", waitEnds: at(300)}},
		"Cluster Autoscaler":         {annotated(autoscalerAnnotation, "false"), class{wait: api.PodProtected, waitWhy: autoscalerAnnotation + ": false"}},
		"Cluster Autoscaler, is":     {annotated(autoscalerAnnotation, "true"), class{}},
		"a Job's":                    {controller("batch/v1", "Job"), class{wait: api.PodAwaitingCompletion, waitWhy: "pod of a Job"}},
		"critical":                   {func(p *corev1.Pod) { p.Spec.PriorityClassName = "system-cluster-critical" }, class{rank: rank{tier: critical}}},
		"node critical":              {func(p *corev1.Pod) { p.Spec.PriorityClassName = "system-node-critical" }, class{rank: rank{tier: critical}}},
		"a priority of one's own":    {func(p *corev1.Pod) { p.Spec.PriorityClassName = "critical" }, class{}},
		"webhook by its label":       {labelled("app.kubernetes.io/component", "admission-controller"), class{rank: rank{tier: controlPath}}},
		"konnectivity":               {labelled("k8s-app", "konnectivity-agent"), class{rank: rank{tier: controlPath}}},
		"webhook by its port's name": {func(p *corev1.Pod) { p.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "webhook-server"}} }, class{rank: rank{tier: controlPath}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: "p"}, Spec: corev1.PodSpec{Containers: make([]corev1.Container, 1)}}
			p.Status.StartTime = &start
			tc.change(p)
			if got := (viewer{self: "self", waitForJobs: true}).info(p).class; got != tc.want {
				t.Errorf("got  %+v\nwant %+v", got, tc.want)
			}
			if got := (viewer{self: "self"}).info(p).class; name == "a Job's" && got != (class{}) {
				t.Errorf("not to wait for Jobs: %+v", got)
			}
		})
	}
}

// What people say of a pod counts while it is blocked, too, and until the reboot.
func TestSkippedDuringTheDrain(t *testing.T) {
	skip := func(p podInfo) podInfo {
		p.skip = note{api.PodSkipRequested, "is marked " + api.PodDrainAnnotation + ": skip"}
		return p
	}
	evict := func(t *testing.T, c *core, seconds float64, want string) []request {
		t.Helper()
		rs := c.due(at(seconds))
		if got := uids(rs); got != want {
			t.Fatalf("asks %q to go after %v s, want %q", got, seconds, want)
		}
		return rs
	}
	no := judge(budgetError("The disruption budget b needs 2 healthy pods and has 2 currently", 0))

	t.Run("said while it is blocked", func(t *testing.T) {
		c := testCore(pod("a", "1"))
		c.answered(evict(t, c, 0, "1")[0], no, at(0))
		c.seen(skip(pod("a", "1")), at(10))
		evict(t, c, 1000, "")
		if !c.drained(at(1000)) {
			t.Error("it is waited for")
		}
	})
	t.Run("said while it is asked", func(t *testing.T) {
		c := testCore(pod("a", "1"))
		rs := evict(t, c, 0, "1")
		c.seen(skip(pod("a", "1")), at(1))
		c.answered(rs[0], no, at(2))
		evict(t, c, 1000, "")
		if !c.drained(at(1000)) || c.inFlight != 0 {
			t.Errorf("it is waited for; %d in flight", c.inFlight)
		}
	})
	t.Run("said when it is going", func(t *testing.T) {
		c := testCore(pod("a", "1"))
		c.answered(evict(t, c, 0, "1")[0], judge(nil), at(0))
		c.seen(skip(deleting(pod("a", "1"), at(30))), at(1))
		if c.drained(at(20)) {
			t.Error("it is not waited for")
		}
		c.gone("1", nil, at(30))
		if got := c.progress("op", at(31), at(31)).Counts["drained"]; got != 1 {
			t.Errorf("it has left, and %d are drained", got)
		}
	})
	t.Run("taken back", func(t *testing.T) {
		c := testCore(skip(pod("a", "1")))
		evict(t, c, 10, "")
		c.seen(pod("a", "1"), at(20))
		if c.drained(at(20)) {
			t.Error("drained, and nothing says any more that the pod is to be skipped")
		}
		evict(t, c, 20, "1")
	})
}
