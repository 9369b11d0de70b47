package drain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
)

const (
	// overdueAfter is how long after its grace period a pod may still be there before
	// that is reported.
	overdueAfter = 15 * time.Second
	// patience is how long a pod may be blocked before that is reported.
	patience = 10 * time.Second
	// siblingsPause lies between two looks at the pods of one budget.
	siblingsPause = 5 * time.Second
)

// diagnosis is why a pod is not gone, in the vocabulary and in a sentence. notable says
// whether it is reported as blocked: a pod whose grace period is not over, or whose
// budget lets another one go first, is normal in every drain.
type diagnosis struct {
	reason  api.PodReason // "": its eviction is under way
	message string
	notable bool
	since   time.Time // of what is notable
}

func (c *core) diagnose(t *tracked, now time.Time) diagnosis {
	if t.state == terminating {
		return c.diagnoseTerminating(t, now)
	}
	if t.refusal.reason == "" && !t.dueByDeadline {
		if end, held := c.waitsUntil(t); held && now.Before(end) {
			m := "is left to finish by itself (" + t.waitWhy + ")"
			if t.wait == api.PodProtected {
				m = "is protected from disruption (" + t.waitWhy + ")"
			}
			switch {
			case end == c.apiClock.when(t.waitEnds):
				m += ", until " + timeOfDay(t.waitEnds, c.apiClock.at(now))
			case end != never:
				m += ", until " + timeOfDay(end, now)
			}
			return diagnosis{t.wait, m, true, t.firstSeen}
		}
		if turn := c.turn(); t.state == pending && t.rank != turn {
			return diagnosis{api.PodAwaitingTurn, "waits until the pods before it in the drain order have left", false, time.Time{}}
		}
	}
	d := diagnosis{t.refusal.reason, t.refusal.message, true, t.refusedSince}
	if t.handledBy != "" && d.reason == api.PodWebhookDenied {
		d.reason, d.message = api.PodRelocating, t.handledBy
	}
	if d.reason == api.PodRelocating {
		if node := c.movingTo(t); node != "" {
			d.message = "is moving to node " + node
		}
	}
	if b := c.budgetOf(t); b != nil && d.reason == api.PodBudgetExhausted {
		d.reason, d.message = explain(b)
		if text := c.siblings[t.namespace+"/"+b.Name].text; text != "" && lacksHealthyPods(b) {
			d.reason = api.PodUnhealthySiblings // also where as many are healthy as have to be
			d.message += text
		}
		if d.reason == api.PodUnhealthySiblings {
			if allowsNone(b) {
				d.message += fmt.Sprintf("; it would allow no eviction even if all of its %d pods were healthy", b.Status.ExpectedPods)
			}
			if p := b.Spec.UnhealthyPodEvictionPolicy; !t.ready && (p == nil || *p != policyv1.AlwaysAllow) {
				d.message += "; with its unhealthyPodEvictionPolicy set to AlwaysAllow, pods that are not Ready could be evicted"
			}
		}
	}
	// The first refusal proves nothing: some budgets are raised because of the cordon.
	d.notable = d.reason != "" && !now.Before(t.refusedSince.Add(patience))
	return d
}

func (c *core) diagnoseTerminating(t *tracked, now time.Time) diagnosis {
	if !t.deleting() {
		return diagnosis{api.PodTerminating, "its eviction was accepted, but it has not been deleted", !now.Before(t.acceptedAt.Add(patience)), t.acceptedAt}
	}
	now = c.apiClock.at(now)
	if overdue := t.graceEnds.Add(overdueAfter); now.Before(overdue) {
		return diagnosis{api.PodTerminating, "is terminating; its grace period ends at " + timeOfDay(t.graceEnds, now), false, time.Time{}}
	}
	m := "is still terminating; its grace period ended at " + timeOfDay(t.graceEnds, now)
	if len(t.finalizers) > 0 {
		m += "; finalizers: " + strings.Join(t.finalizers, ", ")
	}
	return diagnosis{api.PodTerminating, m, true, c.apiClock.when(t.graceEnds)}
}

// timeOfDay is a time of day, with the date where it may be another day's.
func timeOfDay(t, now time.Time) string {
	layout := "15:04:05 MST"
	if d := t.Sub(now); d > 12*time.Hour || d < -12*time.Hour {
		layout = "2006-01-02 " + layout
	}
	return t.UTC().Format(layout)
}

// explain says why a budget allows no eviction.
func explain(b *policyv1.PodDisruptionBudget) (api.PodReason, string) {
	s := b.Status
	for _, cond := range s.Conditions {
		if cond.Type == policyv1.DisruptionAllowedCondition && cond.Status == metav1.ConditionFalse && cond.Reason == policyv1.SyncFailedReason {
			return api.PodBudgetNeverAllows, fmt.Sprintf("the disruption controller cannot evaluate the budget %s: %s", b.Name, oneLine(cond.Message))
		}
	}
	current := b.Generation == s.ObservedGeneration
	switch {
	case current && s.ExpectedPods > 0 && s.CurrentHealthy >= s.ExpectedPods && len(s.DisruptedPods) == 0 && s.DisruptionsAllowed == 0:
		return api.PodBudgetNeverAllows, fmt.Sprintf("the budget %s allows no eviction even though all of its %d pods are healthy (it needs %d)", b.Name, s.ExpectedPods, s.DesiredHealthy)
	case s.CurrentHealthy < s.DesiredHealthy:
		return api.PodUnhealthySiblings, fmt.Sprintf("the budget %s needs %d healthy pods and has %d", b.Name, s.DesiredHealthy, s.CurrentHealthy)
	default:
		return api.PodBudgetExhausted, fmt.Sprintf("the budget %s needs %d healthy pods and has %d", b.Name, s.DesiredHealthy, s.CurrentHealthy)
	}
}

// allowsNone says whether a budget would allow no eviction even if all of its pods were
// healthy.
func allowsNone(b *policyv1.PodDisruptionBudget) bool {
	s := b.Status
	return b.Generation == s.ObservedGeneration && s.DesiredHealthy >= s.ExpectedPods
}

// lacksHealthyPods says whether a budget allows nothing since not all of its pods are
// healthy.
func lacksHealthyPods(b *policyv1.PodDisruptionBudget) bool {
	reason, _ := explain(b)
	return reason == api.PodUnhealthySiblings || reason == api.PodBudgetExhausted && b.Status.CurrentHealthy < b.Status.ExpectedPods
}

// siblings are the pods of a budget that keep it from allowing more.
type siblings struct {
	version string // of the budget, when they were looked up
	at      time.Time
	text    string
}

// lookup is a budget whose unhealthy pods are to be named.
type lookup struct {
	namespace, budget, version, selector string
}

// lookups are those that are due. They count as done.
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

// lookupFor is what has to be looked up to name why a pod is blocked, and when; without a
// budget: nothing.
func (c *core) lookupFor(t *tracked) (time.Time, lookup) {
	b := c.budgetOf(t)
	if t.state != pending || b == nil || !lacksHealthyPods(b) {
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
	return later(t.refusedSince.Add(patience), known.at.Add(siblingsPause)), lookup{t.namespace, b.Name, b.ResourceVersion, selector.String()}
}

// unhealthy takes in the names of a budget's pods that are not Ready, each with why.
func (c *core) unhealthy(l lookup, names []string) {
	key := l.namespace + "/" + l.budget
	s, ok := c.siblings[key]
	if !ok || s.version != l.version {
		return // the budget is gone, or another lookup is under way
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

// maxNames is how many names are listed where there are more.
const maxNames = 3

func shortList(names []string) string {
	if more := len(names) - maxNames; more > 0 {
		names = append(slices.Clip(names[:maxNames]), fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}
