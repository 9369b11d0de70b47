package drain

import (
	"fmt"
	"math"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"
)

// podState is where a pod of the set stands.
type podState int

const (
	pending     podState = iota // is to be evicted, at retryAt at the earliest
	evicting                    // asked for, no answer yet
	terminating                 // on its way out
	done                        // has an outcome, and is not in the set
)

// tracked is one pod that was seen on the node.
type tracked struct {
	podInfo
	state   podState
	outcome Outcome
	note    string // why this outcome

	first   time.Time // seen
	end     time.Time // of state done
	asked   time.Time // accepted eviction or deletion
	retryAt time.Time
	tries   int // in a row without a word about when to try again
	forced  bool
	block   verdict   // the last answer that was no
	blocked time.Time // since when, without an eviction in between
}

// request is an eviction or deletion that the core wants made.
type request struct {
	pod   podInfo
	force bool // delete it, whatever budgets say
}

// core is the drain's state machine. Time is an argument; nothing here waits or
// asks.
type core struct {
	minWait time.Duration
	started time.Time
	force   bool
	listed  bool // a whole list was seen

	pods    map[types.UID]*tracked
	order   []*tracked // as they came
	owners  map[string]*comings
	budgets map[string]*policyv1.PodDisruptionBudget // by namespace/name, while watched
	jitter  func(time.Duration) time.Duration
	evicted int // requests that are out
}

// comings counts an owner's pods on this node.
type comings struct {
	atFirst int // in the first list
	later   int // that came since
}

const (
	// maxInFlight bounds the evictions that are out at a time.
	maxInFlight = 32
	// extraReturns is how many pods more than an owner had here at first may come
	// before its pods count as returning.
	extraReturns = 2
	// overdueAfter is how long after its grace a pod may still be there before
	// that is told as a reason.
	overdueAfter = 15 * time.Second
	// patience is how long a pod may be blocked by what usually passes before
	// people are told.
	patience = 10 * time.Second
	// acceptedRetry is when an eviction that was accepted and yet did not lead to
	// a deletion is asked for again.
	acceptedRetry  = time.Minute
	firstRetry     = 500 * time.Millisecond
	lastRetry      = 30 * time.Second
	budgetDeadTime = time.Second
)

func newCore(minWait time.Duration, now time.Time, jitter func(time.Duration) time.Duration) *core {
	return &core{
		minWait: minWait, started: now, jitter: jitter,
		pods: map[types.UID]*tracked{}, owners: map[string]*comings{}, budgets: map[string]*policyv1.PodDisruptionBudget{},
	}
}

// list takes in a whole list of the node's pods. What was there and is not in it
// is gone, whether or not its deletion was seen.
func (c *core) list(pods []podInfo, now time.Time) {
	there := make(map[types.UID]bool, len(pods))
	for _, p := range pods {
		there[p.uid] = true
		c.seen(p, now)
	}
	for _, t := range c.order {
		if !there[t.uid] {
			c.gone(t.uid, now)
		}
	}
	c.listed = true
}

// seen takes in a pod as it is now.
func (c *core) seen(p podInfo, now time.Time) {
	t := c.pods[p.uid]
	if t == nil {
		t = &tracked{podInfo: p, first: now, retryAt: now}
		c.pods[p.uid] = t
		c.order = append(c.order, t)
		c.arrived(t, now)
	} else {
		t.podInfo = p
		if t.state == done && t.outcome != Skipped && !p.ended {
			// Taken for gone, wrongly: the list knows better.
			t.state, t.outcome, t.note, t.retryAt = pending, "", "", now
		}
	}
	if t.state == done {
		return
	}
	switch {
	case p.ended && !p.deleting() && t.asked.IsZero():
		c.finish(t, Skipped, "its containers have ended", now)
	case p.ended:
		c.finish(t, c.left(t), "", now)
	case p.deleting():
		if t.state != evicting {
			t.state = terminating
		}
		if t.asked.IsZero() {
			t.asked = now
		}
	}
}

// arrived decides whether a pod that is new here is in the set at all.
func (c *core) arrived(t *tracked, now time.Time) {
	o := c.owners[t.owner]
	if o == nil {
		o = &comings{}
		c.owners[t.owner] = o
	}
	if !c.listed {
		o.atFirst++
	} else {
		o.later++
	}
	switch {
	case t.never != "":
		c.finish(t, Skipped, t.never, now)
	case o.later > o.atFirst+extraReturns:
		c.finish(t, Skipped, string(Returning)+": pods of its controller keep coming to the cordoned node", now)
	}
}

// left is the outcome of a pod that has left the node.
func (c *core) left(t *tracked) Outcome {
	if t.forced {
		return ForceStopped
	}
	return Drained
}

// gone takes in that a pod is not on the node any more.
func (c *core) gone(uid types.UID, now time.Time) {
	t := c.pods[uid]
	if t == nil || t.state == done {
		return // a skipped pod stays skipped: it was not ours to move
	}
	c.finish(t, c.left(t), "", now)
}

func (c *core) finish(t *tracked, o Outcome, note string, now time.Time) {
	if t.state == evicting {
		c.evicted--
	}
	t.state, t.outcome, t.note, t.end = done, o, note, now
	t.block = verdict{}
}

// answered takes in the answer to a request.
func (c *core) answered(r request, v verdict, now time.Time) {
	t := c.pods[r.pod.uid]
	if t == nil || t.state != evicting {
		return // gone meanwhile: finish has counted it
	}
	c.evicted--
	t.state = pending
	switch {
	case v.accepted:
		t.state, t.asked, t.tries, t.block, t.blocked = terminating, now, 0, verdict{}, time.Time{}
		t.forced = t.forced || r.force
		t.retryAt = now.Add(acceptedRetry)
		return
	case v.gone:
		c.finish(t, c.left(t), "", now)
		return
	case t.deleting():
		t.state = terminating
		return
	}
	t.block = v
	if t.blocked.IsZero() {
		t.blocked = now
	}
	switch {
	case v.soon:
		t.retryAt = now.Add(v.after + c.jitter(v.after/4))
		t.tries = 0
	case v.after > 0:
		if b := c.budgetOf(t); b != nil && b.Status.DisruptionsAllowed > 0 {
			// The budget has changed while the answer was on its way, or what we
			// know of it is older than the answer.
			t.retryAt = now.Add(min(v.after, growing(budgetDeadTime, t.tries)))
			t.tries++
			return
		}
		t.retryAt = now.Add(v.after + c.jitter(v.after/4))
		t.tries = 0
	default:
		d := min(lastRetry, growing(firstRetry, t.tries))
		t.tries++
		t.retryAt = now.Add(d/2 + c.jitter(d/2))
	}
}

// growing doubles first with each try, up to an hour or so.
func growing(first time.Duration, tries int) time.Duration { return first << min(tries, 12) }

// due returns what is to be asked for now, and counts it as asked.
func (c *core) due(now time.Time) []request {
	var out []request
	for _, t := range c.order {
		if c.evicted >= maxInFlight {
			break
		}
		if !c.wants(t) || now.Before(t.retryAt) {
			continue
		}
		t.state = evicting
		c.evicted++
		out = append(out, request{pod: t.podInfo, force: c.force})
	}
	return out
}

// wants says whether a pod has still to be asked to go.
func (c *core) wants(t *tracked) bool {
	switch t.state {
	case pending:
		return true
	case terminating:
		return !t.deleting() // accepted, and then nothing happened
	default:
		return false
	}
}

// wake is when due, drained or the text has something new to say if nothing
// happens before; zero: never.
func (c *core) wake(now time.Time) time.Time {
	var at time.Time
	sooner := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	left := 0
	for _, t := range c.order {
		if t.state == done {
			continue
		}
		left++
		if c.wants(t) && c.evicted < maxInFlight {
			sooner(t.retryAt)
		}
		if overdue := t.deletedAt.Add(overdueAfter); t.deleting() && now.Before(overdue) {
			sooner(overdue)
		}
		if told := t.blocked.Add(patience); !t.blocked.IsZero() && now.Before(told) {
			sooner(told)
		}
	}
	if left == 0 {
		sooner(c.started.Add(c.minWait))
	}
	return at
}

// drained says whether, by what is known, the node is empty and has been
// cordoned for long enough.
func (c *core) drained(now time.Time) bool {
	if !c.listed || now.Before(c.started.Add(c.minWait)) {
		return false
	}
	for _, t := range c.order {
		if t.state != done {
			return false
		}
	}
	return true
}

// forceNow has the pods that are left deleted.
func (c *core) forceNow(now time.Time) {
	if c.force {
		return
	}
	c.force = true
	for _, t := range c.order {
		if t.state == pending || t.state == terminating && !t.deleting() {
			t.state, t.retryAt, t.tries = pending, now, 0
		}
	}
}

// budgetOf is the budget that blocks a pod, nil if it is not known.
func (c *core) budgetOf(t *tracked) *policyv1.PodDisruptionBudget {
	if t.block.budget == "" {
		return nil
	}
	return c.budgets[t.namespace+"/"+t.block.budget]
}

// budget takes in a budget as it is now; nil: it is gone. The pods that it blocks
// are tried at once, as many as it allows now.
func (c *core) budget(namespace, name string, b *policyv1.PodDisruptionBudget, now time.Time) {
	key := namespace + "/" + name
	news := b == nil || c.budgets[key] == nil
	allowed := math.MaxInt
	if b == nil {
		delete(c.budgets, key)
	} else {
		c.budgets[key] = b
		allowed = int(b.Status.DisruptionsAllowed)
	}
	for _, t := range c.order {
		if t.state != pending || t.namespace != namespace || t.block.reason == "" {
			continue
		}
		switch {
		case t.block.reason == MultipleBudgets:
			if news {
				t.retryAt = now
			}
		case (t.block.budget == name || t.block.budget == "" && t.block.reason == BudgetExhausted) && allowed > 0:
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
			if t.block.budget != "" || t.block.reason == BudgetExhausted || t.block.reason == MultipleBudgets {
				out[t.namespace] = true
			}
		}
	}
	return out
}

// why says why a pod is not gone, in the vocabulary and in a sentence; "" if all
// goes as it should.
func (c *core) why(t *tracked, now time.Time) (Reason, string) {
	if t.state == terminating {
		if t.deleting() && now.Before(t.deletedAt.Add(overdueAfter)) || !t.deleting() && now.Before(t.asked.Add(acceptedRetry)) {
			return "", ""
		}
		if !t.deleting() {
			return Terminating, "its eviction was accepted and it has not been deleted"
		}
		m := fmt.Sprintf("should have ended by %s", t.deletedAt.UTC().Format("15:04:05"))
		if len(t.finalizers) > 0 {
			m += fmt.Sprintf("; finalizers %v", t.finalizers)
		}
		return Terminating, m
	}
	reason, message := t.block.reason, t.block.message
	if b := c.budgetOf(t); b != nil && reason == BudgetExhausted {
		reason, message = explain(b)
	}
	if passing(reason) && now.Before(t.blocked.Add(patience)) {
		return "", "" // as in every drain in which a budget does its work
	}
	return reason, message
}

// passing says whether a reason usually passes without anybody's doing.
func passing(r Reason) bool {
	switch r {
	case BudgetExhausted, UnhealthySiblings, APIOverloaded, NamespaceTerminating:
		return true
	default:
		return false
	}
}

// explain says why a budget allows no eviction.
func explain(b *policyv1.PodDisruptionBudget) (Reason, string) {
	s := b.Status
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
