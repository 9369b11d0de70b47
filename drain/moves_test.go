package drain

import (
	"strings"
	"testing"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
)

func owned(name string, uid types.UID, kind string) podInfo {
	p := pod(name, uid)
	p.ownerUID, p.kind, p.selector, p.created = "owner", kind, "app=x", at(-100)
	return p
}

func other(uid types.UID, name string, created float64, ready bool) *candidate {
	return &candidate{uid: uid, name: name, node: "node-" + string(uid), created: at(created).Truncate(time.Second), ready: ready}
}

var ownerKey = moveKey{"ns", "owner", "app=x"}

// leave has a pod told to go and be gone.
func leave(c *core, uid types.UID, told, gone float64) {
	p := deleting(c.pods[uid].podInfo, at(told+30))
	p.deletedAt = at(told)
	c.seen(p, at(told))
	if gone > 0 {
		c.gone(uid, &p, at(gone))
	}
}

// A pod counts as relocated when a pod of its controller that came after it was
// told to go is Ready on another node, and each such pod stands for one only.
func TestRelocated(t *testing.T) {
	for name, tc := range map[string]struct {
		kind string
		do   func(c *core)
		want string // outcome and node of the first pod and the second
	}{
		"both": {"ReplicaSet", func(c *core) {
			c.seenElsewhere(ownerKey, "x", other("x", "web-x", 3, true))
			c.seenElsewhere(ownerKey, "y", other("y", "web-y", 3, true))
		}, "relocated node-x, relocated node-y"},
		"one for two": {"ReplicaSet", func(c *core) { c.seenElsewhere(ownerKey, "x", other("x", "web-x", 3, true)) }, "relocated node-x, drained "},
		"not Ready":   {"ReplicaSet", func(c *core) { c.seenElsewhere(ownerKey, "x", other("x", "web-x", 3, false)) }, "drained , drained "},
		"Ready later": {"ReplicaSet", func(c *core) {
			c.seenElsewhere(ownerKey, "x", other("x", "web-x", 3, false))
			c.seenElsewhere(ownerKey, "x", other("x", "web-x", 3, true))
		}, "relocated node-x, drained "},
		"there before":       {"ReplicaSet", func(c *core) { c.seenElsewhere(ownerKey, "x", other("x", "web-x", -5, true)) }, "drained , drained "},
		"in the same second": {"ReplicaSet", func(c *core) { c.seenElsewhere(ownerKey, "x", other("x", "web-x", 1.2, true)) }, "relocated node-x, drained "},
		"gone before it was Ready": {"ReplicaSet", func(c *core) {
			c.seenElsewhere(ownerKey, "x", other("x", "web-x", 3, false))
			c.seenElsewhere(ownerKey, "x", nil)
		}, "drained , drained "},
		"another controller's":      {"ReplicaSet", func(c *core) { c.seenElsewhere(moveKey{"ns", "another", "app=x"}, "x", other("x", "web-x", 3, true)) }, "drained , drained "},
		"a StatefulSet's by name":   {"StatefulSet", func(c *core) { c.seenElsewhere(ownerKey, "x", other("x", "web-1", 3, true)) }, "drained , relocated node-x"},
		"a StatefulSet's other one": {"StatefulSet", func(c *core) { c.seenElsewhere(ownerKey, "x", other("x", "web-7", 3, true)) }, "drained , drained "},
	} {
		for _, early := range []bool{true, false} { // is Ready before the old one is gone, or after
			t.Run(name, func(t *testing.T) {
				c := testCore(owned("web-0", "1", tc.kind), owned("web-1", "2", tc.kind))
				leave(c, "1", 1.5, 0)
				leave(c, "2", 1.7, 0)
				if !c.wantedMoves()[ownerKey] {
					t.Fatal("replacements are not looked for")
				}
				if early {
					tc.do(c)
				}
				leave(c, "1", 1.5, 4)
				leave(c, "2", 1.7, 4)
				if !early {
					tc.do(c)
				}
				r := c.report("op", at(9), at(9))
				got := string(r.Pods[0].Outcome) + " " + r.Pods[0].To + ", " + string(r.Pods[1].Outcome) + " " + r.Pods[1].To
				if got != tc.want {
					t.Errorf("early %t: got %q, want %q", early, got, tc.want)
				}
				if r.Totals[api.OutcomeDrained]+r.Totals[api.OutcomeRelocated] != 2 {
					t.Errorf("totals %v", r.Totals)
				}
				if strings.Count(tc.want, "relocated") == 2 && len(c.wantedMoves()) != 0 {
					t.Error("replacements are looked for although all have been found")
				}
			})
		}
	}
}

// A machine that is being migrated is told with the node that it moves to, and is
// relocated when its launcher has ended here.
func TestMigration(t *testing.T) {
	c := testCore(owned("virt-launcher-a", "1", "VirtualMachineInstance"))
	moving := judge(refused(429, metav1.StatusReasonTooManyRequests, `admission webhook "v" denied the request: Eviction triggered evacuation of VMI "ns/a"`, nil))
	for _, r := range c.due(t0) {
		c.answered(r, moving, t0)
	}
	if d := c.diagnose(c.pods["1"], at(20)); d.reason != api.PodRelocating || !strings.Contains(d.message, "triggered evacuation") {
		t.Errorf("%+v", d)
	}
	c.seenElsewhere(ownerKey, "x", other("x", "virt-launcher-b", 2, false))
	if d := c.diagnose(c.pods["1"], at(20)); d.message != "is moving to node node-x" {
		t.Errorf("%+v", d)
	}
	c.seenElsewhere(ownerKey, "x", other("x", "virt-launcher-b", 2, true))
	done := c.pods["1"].podInfo
	done.ended = true
	c.seen(done, at(30))
	if p := c.pods["1"]; p.outcome != api.OutcomeRelocated || p.movedTo != "node-x" || !c.drained(at(30)) {
		t.Errorf("%+v", p)
	}
}

// The unhealthy pods of a budget are looked up when it has changed, not more
// often, and told.
func TestSiblings(t *testing.T) {
	c := testCore(pod("a", "1"), pod("b", "2"))
	for _, r := range c.due(t0) {
		c.answered(r, judge(budgetError("The disruption budget web needs 2 healthy pods and has 1 currently", 0)), t0)
	}
	b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "web", ResourceVersion: "7"}}
	b.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}
	b.Status = policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 1, DesiredHealthy: 2, ExpectedPods: 3}
	c.budget("ns", "web", b, at(1))
	if got := c.lookups(at(2)); len(got) != 0 {
		t.Errorf("looks up %v before people are told", got)
	}
	got := c.lookups(at(12))
	if len(got) != 1 || got[0] != (lookup{"ns", "web", "7", "app=web"}) {
		t.Fatalf("looks up %v", got)
	}
	c.unhealthy(got[0], []string{"d", "c (CrashLoopBackOff)", "b", "a"})
	if d := c.diagnose(c.pods["1"], at(12)); d.reason != api.PodUnhealthySiblings || !strings.Contains(d.message, "web needs 2 healthy pods and has 1; not Ready: a, b, c (CrashLoopBackOff), 1 more") ||
		!strings.Contains(d.message, "unhealthyPodEvictionPolicy") {
		t.Errorf("%+v", d)
	}
	if got := c.lookups(at(60)); len(got) != 0 {
		t.Errorf("looks up again: %v", got)
	}
	b = b.DeepCopy()
	b.ResourceVersion = "8"
	c.budget("ns", "web", b, at(61))
	if got := c.lookups(at(61)); len(got) != 1 {
		t.Errorf("does not look up again when the budget has changed: %v", got)
	}
	b = b.DeepCopy()
	b.ResourceVersion = "9"
	c.budget("ns", "web", b, at(62))
	if got, next := c.lookups(at(62)), c.nextWake(at(62)); len(got) != 0 || !next.Equal(at(66)) {
		t.Errorf("looks up %v at once, and again at %s; want five seconds later", got, next)
	}
}

// Where no pod more is healthy than has to be since one is broken, that one is told; where
// all that is missing is what was evicted, the budget is just used up.
func TestOneSiblingIsBroken(t *testing.T) {
	for name, tc := range map[string]struct {
		selector *metav1.LabelSelector
		status   policyv1.PodDisruptionBudgetStatus
		names    []string // that are told
		asks     string   // the selector that is asked with; "none": not asked
		want     api.PodReason
	}{
		"one of six": {
			&metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 5, DesiredHealthy: 5, ExpectedPods: 6},
			[]string{"sick"},
			"app=web", api.PodUnhealthySiblings,
		},
		"two of six": {
			&metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 4, DesiredHealthy: 5, ExpectedPods: 6},
			[]string{"sick", "too"},
			"app=web", api.PodUnhealthySiblings,
		},
		"all have to be healthy": {
			&metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 5, DesiredHealthy: 6, ExpectedPods: 6},
			[]string{"sick"},
			"app=web", api.PodUnhealthySiblings,
		},
		"used up": {
			&metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 5, DesiredHealthy: 5, ExpectedPods: 6},
			nil, "app=web", api.PodBudgetExhausted,
		},
		"all are healthy": {
			&metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 6, DesiredHealthy: 6, ExpectedPods: 6},
			nil, "none", api.PodBudgetNeverAllows,
		},
		"every pod of the namespace": {
			&metav1.LabelSelector{},
			policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 5, DesiredHealthy: 5, ExpectedPods: 6},
			[]string{"sick"},
			"", api.PodUnhealthySiblings,
		},
		"no pod": {
			nil, policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 5, DesiredHealthy: 5, ExpectedPods: 6}, nil, "none", api.PodBudgetExhausted,
		},
		"a selector that is none": {
			&metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}},
			policyv1.PodDisruptionBudgetStatus{CurrentHealthy: 5, DesiredHealthy: 5, ExpectedPods: 6},
			nil, "none", api.PodBudgetExhausted,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := testCore(pod("a", "1"))
			for _, r := range c.due(t0) {
				c.answered(r, judge(budgetError("The disruption budget web needs 5 healthy pods and has 5 currently", 0)), t0)
			}
			b := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "web", ResourceVersion: "7"}}
			b.Spec.Selector, b.Status = tc.selector, tc.status
			c.budget("ns", "web", b, at(1))
			if at := c.nextWake(at(1)); at.After(t0.Add(patience)) {
				t.Errorf("wakes at %s, after people are to be told", at)
			}
			ls := c.lookups(at(11))
			if asks := tc.asks; asks == "none" && len(ls) != 0 || asks != "none" && (len(ls) != 1 || ls[0].selector != asks) {
				t.Errorf("looks up %+v", ls)
			}
			for _, l := range ls {
				c.notLookedUp(l) // the API server is away for once
				if again := c.lookups(at(12)); len(again) != 0 {
					t.Errorf("looks up again at once: %+v", again)
				}
				for _, l := range c.lookups(at(17)) {
					c.unhealthy(l, tc.names)
				}
			}
			d := c.diagnose(c.pods["1"], at(20))
			if never := tc.status.DesiredHealthy >= tc.status.ExpectedPods; strings.Contains(d.message, "no eviction even") != never {
				t.Errorf("told as %+v", d)
			}
			if d.reason != tc.want {
				t.Errorf("told as %+v", d)
			}
			for _, n := range tc.names {
				if !strings.Contains(d.message, n) {
					t.Errorf("%s is not named: %s", n, d.message)
				}
			}
		})
	}
}
