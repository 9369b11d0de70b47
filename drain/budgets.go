package drain

import (
	"math"
	"strings"
	"time"

	policyv1 "k8s.io/api/policy/v1"

	"rebootd.dev/daemon/api"
)

// budgetOf is the budget that blocks a pod, nil if it is not known.
func (c *core) budgetOf(t *tracked) *policyv1.PodDisruptionBudget {
	if t.refusal.budget == "" {
		return nil
	}
	return c.budgets[t.namespace+"/"+t.refusal.budget]
}

// allBudgets takes in which budgets a namespace has; nil: it is no longer watched. A
// budget that was deleted before the watch began blocks nothing.
func (c *core) allBudgets(namespace string, there map[string]bool, now time.Time) {
	c.watched[namespace] = there != nil
	if there == nil {
		return
	}
	for key := range c.budgets {
		if ns, name, _ := strings.Cut(key, "/"); ns == namespace && !there[name] {
			c.budget(namespace, name, nil, now)
		}
	}
	for _, t := range c.order {
		if t.state == pending && t.namespace == namespace && t.refusal.budget != "" && !there[t.refusal.budget] {
			t.retryAt = now
		}
	}
}

// budget takes in a budget as it is now; nil: it is gone. The pods that it blocks
// are retried at once, as many as it allows now.
func (c *core) budget(namespace, name string, b *policyv1.PodDisruptionBudget, now time.Time) {
	key := namespace + "/" + name
	news := b == nil || c.budgets[key] == nil
	allowed := math.MaxInt
	if b == nil {
		delete(c.budgets, key)
		delete(c.siblings, key)
	} else {
		c.budgets[key] = b
		allowed = int(b.Status.DisruptionsAllowed)
	}
	for _, t := range c.order {
		if t.state != pending || t.namespace != namespace || t.refusal.reason == "" {
			continue
		}
		switch {
		case t.refusal.reason == api.PodMultipleBudgets:
			if news {
				t.retryAt = now
			}
		case (t.refusal.budget == name || t.refusal.budget == "" && t.refusal.reason == api.PodBudgetExhausted) && allowed > 0:
			allowed--
			t.retryAt = now
		}
	}
}

// blockedNamespaces are those whose budgets have to be watched.
func (c *core) blockedNamespaces() map[string]bool {
	out := map[string]bool{}
	for _, t := range c.order {
		if t.state == pending || t.state == evicting {
			if t.refusal.budget != "" || t.refusal.reason == api.PodBudgetExhausted || t.refusal.reason == api.PodMultipleBudgets {
				out[t.namespace] = true
			}
		}
	}
	return out
}
