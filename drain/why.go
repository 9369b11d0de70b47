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
				m += ", until " + clock(end)
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
		if d.reason == UnhealthySiblings {
			d.message += c.siblings[t.namespace+"/"+b.Name].text
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
		return diagnosis{Terminating, "has until " + clock(t.deletedAt) + " to end", false}
	}
	m := "should have ended by " + clock(t.deletedAt)
	if len(t.finalizers) > 0 {
		m += "; finalizers " + strings.Join(t.finalizers, ", ")
	}
	return diagnosis{Terminating, m, true}
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05") + " UTC" }

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
		b := c.budgetOf(t)
		if t.state != pending || b == nil || b.Spec.Selector == nil || now.Before(t.blocked.Add(patience)) {
			continue
		}
		key := t.namespace + "/" + b.Name
		known := c.siblings[key]
		if known.version == b.ResourceVersion || now.Before(known.at.Add(siblingsPause)) {
			continue
		}
		if reason, _ := explain(b); reason != UnhealthySiblings {
			continue
		}
		known.version, known.at = b.ResourceVersion, now
		c.siblings[key] = known
		out = append(out, lookup{t.namespace, b.Name, b.ResourceVersion, metav1.FormatLabelSelector(b.Spec.Selector)})
	}
	return out
}

// unhealthy takes in the names of a budget's pods that are not Ready, each with
// its trouble.
func (c *core) unhealthy(l lookup, names []string) {
	key := l.namespace + "/" + l.budget
	s, ok := c.siblings[key]
	if !ok {
		return // the budget is gone
	}
	s.text = ""
	if len(names) > 0 {
		slices.Sort(names)
		s.text = "; not Ready: " + shortList(names)
	}
	c.siblings[key] = s
}

// maxNames is how many names are told where there are more.
const maxNames = 3

func shortList(names []string) string {
	if more := len(names) - maxNames; more > 0 {
		names = append(slices.Clip(names[:maxNames]), fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}
