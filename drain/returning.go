package drain

import "time"

// comings counts pods that came to the node: those of one owner, or all of a
// namespace. By it, pods are known that come back for ever, since they tolerate the
// cordon or are bound by name.
//
// What counts is when a pod was created, by the API server's clock, and not when it
// came: a scheduler may take long to bind what it had decided on before the cordon.
// Only what was created after a pod of the same owner was told to go here can be in
// its place. Even that may be the doing of a scheduler that has not seen the cordon;
// what was created minWait later is not.
type comings struct {
	here  int       // that came before the first of them was told to go
	told  time.Time // when that was, by the API server's clock, to a second; zero: none was
	late  int       // that came since, and were created before
	again int       // that came since, and were created since
}

const (
	// strangers is how many pods more than there were may come back in a namespace
	// that are not of one owner: some operators make a new one for each pod, and
	// some pods have none.
	strangers = 16
	// crowd is how many more pods may come late before each waits longer than the
	// one before: where the clocks of API servers differ, creations say nothing.
	crowd      = 32
	crowdRetry = time.Second
	// returnPause is how long what may come in place of a pod that has come back is
	// waited for, so that the report tells of it.
	returnPause = time.Second
)

// groups are the names under which a pod is counted.
func (p podInfo) groups() [2]string { return [2]string{p.owner, "namespace " + p.namespace} }

func (c *core) comingsOf(group string) *comings {
	o := c.owners[group]
	if o == nil {
		o = &comings{}
		c.owners[group] = o
	}
	return o
}

// comes counts a pod that is new here. It says whether it is one that keeps coming
// back. Another may have to wait: what could be the doing of a scheduler with an old
// view is evicted when that is over, so that what comes in its place can be told from
// it.
func (c *core) comes(t *tracked, now time.Time) (returns bool) {
	for i, group := range t.groups() {
		o := c.comingsOf(group)
		if o.told.IsZero() {
			o.here++
			continue
		}
		if t.created.Before(o.told) {
			o.late++
			if n := o.late - o.here - crowd; n > 0 {
				t.retryAt = later(t.retryAt, now.Add(min(slowRetry, growing(crowdRetry, n-1))))
			}
			continue
		}
		o.again++
		t.cameBack = true
		extra := 0
		if i == 1 {
			extra = strangers
		}
		if o.again > o.here+extra {
			// Both times are of whole seconds, cut off.
			early := o.told.Add(c.minWait + time.Second).Sub(t.created)
			returns = returns || early <= 0
			t.retryAt = later(t.retryAt, now.Add(early))
		}
	}
	return returns
}

// goes takes in that a pod is going, or is gone, which may be because it was asked
// to.
func (c *core) goes(t *tracked, now time.Time) {
	if !t.sent {
		return
	}
	at := t.toldAt
	if at.IsZero() {
		at = now.Truncate(time.Second) // nobody saw it; our clock is the best there is
	}
	at = later(at, t.created)
	for _, group := range t.groups() {
		o := c.comingsOf(group)
		if o.told.IsZero() || at.Before(o.told) {
			o.told = at
		}
	}
}
