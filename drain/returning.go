package drain

import "time"

// ownerCounts counts pods that came to the node: those of one owner, or all of a
// namespace. By it, pods are recognized that keep returning since they tolerate the
// cordon or are bound by name.
//
// What counts is when a pod was created, by the API server's clock, not when it came: a
// scheduler may take long to bind pods that it had assigned before the cordon. Only a
// pod that was created after one of the same owner was deleted here can replace it. Even
// that may be the work of a scheduler that has not seen the cordon; a pod that was
// created minWait later is not.
type ownerCounts struct {
	initial       int       // came before the first deletion of one of them
	firstDeletion time.Time // by the API server's clock, to a second; zero: there was none
	boundLate     int       // came after it, created before it
	returned      int       // came after it, created after it
}

const (
	// namespaceAllowance is how many pods more than there were may return to a
	// namespace: some operators make a new owner for each pod, and some pods have none.
	namespaceAllowance = 16
	// lateAllowance is how many more pods may be bound late before each waits longer than
	// the one before: where the clocks of API servers differ, creation times prove nothing.
	lateAllowance = 32
	lateRetry     = time.Second
	// returnPause is how long the drain waits for the next pod after one that has
	// returned, so that the report tells of it.
	returnPause = time.Second
)

// groups are the names under which a pod is counted.
func (p podInfo) groups() [2]string { return [2]string{p.owner, "namespace " + p.namespace} }

func (c *core) countsOf(group string) *ownerCounts {
	o := c.counts[group]
	if o == nil {
		o = &ownerCounts{}
		c.counts[group] = o
	}
	return o
}

// countArrival counts a pod that is new here and says whether it is one that keeps
// returning. Otherwise its eviction may have to wait until a scheduler with an old view
// has caught up, so that its replacement can be told from pods bound by that view.
func (c *core) countArrival(t *tracked, now time.Time) (returns bool) {
	for i, group := range t.groups() {
		o := c.countsOf(group)
		if o.firstDeletion.IsZero() {
			o.initial++
			continue
		}
		if t.created.Before(o.firstDeletion) {
			o.boundLate++
			if n := o.boundLate - o.initial - lateAllowance; n > 0 {
				t.retryAt = later(t.retryAt, now.Add(min(slowRetry, backoff(lateRetry, n-1))))
			}
			continue
		}
		o.returned++
		t.cameBack = true
		extra := 0
		if i == 1 {
			extra = namespaceAllowance
		}
		if o.returned > o.initial+extra {
			// Both times are truncated to whole seconds.
			early := o.firstDeletion.Add(c.minWait + time.Second).Sub(t.created)
			returns = returns || early <= 0
			t.retryAt = later(t.retryAt, now.Add(early))
		}
	}
	return returns
}

// countDeparture takes in that a pod is leaving, or has left, perhaps since it was evicted.
func (c *core) countDeparture(t *tracked, now time.Time) {
	if !t.requested {
		return
	}
	at := t.deletedAt
	if at.IsZero() {
		at = c.apiClock.at(now).Truncate(time.Second) // the deletion was not seen
	}
	at = later(at, t.created)
	for _, group := range t.groups() {
		o := c.countsOf(group)
		if o.firstDeletion.IsZero() || at.Before(o.firstDeletion) {
			o.firstDeletion = at
		}
	}
}
