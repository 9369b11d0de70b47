package drain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// overdueAfter is how long after its grace a pod may still be there before
	// that is told as a reason.
	overdueAfter = 15 * time.Second
	// patience is how long a pod may be blocked before people are told.
	patience = 10 * time.Second
	// siblingsPause lies between two looks at the pods of one budget.
	siblingsPause = 5 * time.Second
)

// diagnosis is why a pod is not gone, in the vocabulary and in a sentence. loud
// says whether people are to be told: a pod whose grace is not over, or whose
// budget lets another one go first, is as in every drain.
type diagnosis struct {
	reason  Reason // "": it is being asked to go at this moment
	message string
	loud    bool
}

func (c *core) why(t *tracked, now time.Time) diagnosis {
	if t.state == terminating {
		return c.whyTerminating(t, now)
	}
	if t.block.reason == "" && !t.pressed {
		if end, held := c.heldUntil(t); held && now.Before(end) {
			m := "is left to end by itself (" + t.holdWord + ")"
			if t.hold == Protected {
				m = "is not to be disturbed (" + t.holdWord + ")"
			}
			if end != never {
				m += ", until " + clock(end, now)
			}
			return diagnosis{t.hold, m, true}
		}
		if turn := c.turn(); t.state == pending && t.rank != turn {
			return diagnosis{AwaitingTurn, "goes when the pods before it in the order are gone", false}
		}
	}
	d := diagnosis{t.block.reason, t.block.message, true}
	if t.handled != "" && d.reason == WebhookDenied {
		d.reason, d.message = Relocating, t.handled
	}
	if d.reason == Relocating {
		if node := c.movingTo(t); node != "" {
			d.message = "is moving to the node " + node
		}
	}
	if b := c.budgetOf(t); b != nil && d.reason == BudgetExhausted {
		d.reason, d.message = explain(b)
		if text := c.siblings[t.namespace+"/"+b.Name].text; text != "" && short(b) {
			d.reason = UnhealthySiblings // also where as many are healthy as have to be
			d.message += text
		}
		if d.reason == UnhealthySiblings {
			if s := b.Status; b.Generation == s.ObservedGeneration && s.DesiredHealthy >= s.ExpectedPods {
				d.message += fmt.Sprintf("; it allows no eviction even when all of its %d pods are healthy", s.ExpectedPods)
			}
			if p := b.Spec.UnhealthyPodEvictionPolicy; !t.ready && (p == nil || *p != policyv1.AlwaysAllow) {
				d.message += "; pods that are not Ready themselves could go with its unhealthyPodEvictionPolicy: AlwaysAllow"
			}
		}
	}
	// The first refusal is no verdict: some budgets open up because of the cordon.
	d.loud = d.reason != "" && !now.Before(t.blocked.Add(patience))
	return d
}

func (c *core) whyTerminating(t *tracked, now time.Time) diagnosis {
	if !t.deleting() {
		return diagnosis{Terminating, "its eviction was accepted and it has not been deleted", !now.Before(t.asked.Add(patience))}
	}
	if overdue := t.deletedAt.Add(overdueAfter); now.Before(overdue) {
		return diagnosis{Terminating, "has until " + clock(t.deletedAt, now) + " to end", false}
	}
	m := "should have ended by " + clock(t.deletedAt, now)
	if len(t.finalizers) > 0 {
		m += "; finalizers " + strings.Join(t.finalizers, ", ")
	}
	return diagnosis{Terminating, m, true}
}

// clock is a time of day, with the date where it might be another day's.
func clock(t, now time.Time) string {
	layout := "15:04:05 MST"
	if d := t.Sub(now); d > 12*time.Hour || d < -12*time.Hour {
		layout = "2006-01-02 " + layout
	}
	return t.UTC().Format(layout)
}

// explain says why a budget allows no eviction.
func explain(b *policyv1.PodDisruptionBudget) (Reason, string) {
	s := b.Status
	for _, cond := range s.Conditions {
		if cond.Type == policyv1.DisruptionAllowedCondition && cond.Status == metav1.ConditionFalse && cond.Reason == policyv1.SyncFailedReason {
			return BudgetNeverAllows, fmt.Sprintf("the budget %s cannot be worked out: %s", b.Name, oneLine(cond.Message))
		}
	}
	current := b.Generation == s.ObservedGeneration
	switch {
	case current && s.ExpectedPods > 0 && s.CurrentHealthy >= s.ExpectedPods && len(s.DisruptedPods) == 0 && s.DisruptionsAllowed == 0:
		return BudgetNeverAllows, fmt.Sprintf("the budget %s allows no eviction even though all of its %d pods are healthy (it needs %d)", b.Name, s.ExpectedPods, s.DesiredHealthy)
	case s.CurrentHealthy < s.DesiredHealthy:
		return UnhealthySiblings, fmt.Sprintf("the budget %s needs %d healthy pods and has %d", b.Name, s.DesiredHealthy, s.CurrentHealthy)
	default:
		return BudgetExhausted, fmt.Sprintf("the budget %s needs %d healthy pods and has %d", b.Name, s.DesiredHealthy, s.CurrentHealthy)
	}
}

// short says whether a budget allows nothing since not all of its pods are healthy.
func short(b *policyv1.PodDisruptionBudget) bool {
	reason, _ := explain(b)
	return reason == UnhealthySiblings || reason == BudgetExhausted && b.Status.CurrentHealthy < b.Status.ExpectedPods
}

// siblings are the pods of a budget that keep it from allowing more.
type siblings struct {
	version string // of the budget, when they were looked up
	at      time.Time
	text    string
}

// lookup is a budget whose unhealthy pods people should be told of.
type lookup struct {
	namespace, budget, version, selector string
}

// lookups are those that are due, counted as done.
func (c *core) lookups(now time.Time) []lookup {
	var out []lookup
	for _, t := range c.order {
		at, l := c.lookupFor(t)
		if l.budget == "" || now.Before(at) {
			continue
		}
		known := c.siblings[l.namespace+"/"+l.budget]
		known.version, known.at = l.version, now
		c.siblings[l.namespace+"/"+l.budget] = known
		out = append(out, l)
	}
	return out
}

// lookupFor is what has to be looked up for people to be told why a pod does not go,
// and when; without a budget: nothing.
func (c *core) lookupFor(t *tracked) (time.Time, lookup) {
	b := c.budgetOf(t)
	if t.state != pending || b == nil || !short(b) {
		return time.Time{}, lookup{}
	}
	known := c.siblings[t.namespace+"/"+b.Name]
	if known.version == b.ResourceVersion {
		return time.Time{}, lookup{}
	}
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	if err != nil || selector.String() == "" && !selector.Empty() {
		return time.Time{}, lookup{} // it selects no pod, and "" would be every pod
	}
	return later(t.blocked.Add(patience), known.at.Add(siblingsPause)), lookup{t.namespace, b.Name, b.ResourceVersion, selector.String()}
}

// unhealthy takes in the names of a budget's pods that are not Ready, each with
// its trouble.
func (c *core) unhealthy(l lookup, names []string) {
	key := l.namespace + "/" + l.budget
	s, ok := c.siblings[key]
	if !ok || s.version != l.version {
		return // the budget is gone, or another look is under way
	}
	s.text = ""
	if len(names) > 0 {
		slices.Sort(names)
		s.text = "; not Ready: " + shortList(names)
	}
	c.siblings[key] = s
}

// notLookedUp has a budget's pods looked up again, after a pause.
func (c *core) notLookedUp(l lookup) {
	key := l.namespace + "/" + l.budget
	if s, ok := c.siblings[key]; ok && s.version == l.version {
		s.version = ""
		c.siblings[key] = s
	}
}

// maxNames is how many names are told where there are more.
const maxNames = 3

func shortList(names []string) string {
	if more := len(names) - maxNames; more > 0 {
		names = append(slices.Clip(names[:maxNames]), fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}
