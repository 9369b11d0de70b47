package drain

import (
	"fmt"
	"math"
	"strings"
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
	to      string // the node of its replacement
	before  bool   // it was being deleted already when it was first seen

	first     time.Time // seen
	end       time.Time // of state done
	asked     time.Time // accepted eviction or deletion
	retryAt   time.Time
	tries     int       // in a row without a word about when to try again
	cameBack  bool      // perhaps: it was created after an eviction here
	sent      bool      // it was asked to go
	doubted   bool      // called gone by an answer, and by neither list nor event
	doubtedAt time.Time // since when
	wrongly   int       // how often an answer called it gone and it was there
	pretended bool      // done, in a dry run: it is there
	pressed   bool      // the deadline leaves it no more than its grace
	forced    bool      // was deleted, whatever its budget says
	cut       int64     // the grace in seconds that the deadline has left it; 0: its own
	block     verdict   // the last answer that was no
	blocked   time.Time // since when, without an eviction in between
}

// request is an eviction or deletion that the core wants made.
type request struct {
	pod    podInfo
	remove bool  // delete it, whatever budgets say
	grace  int64 // in seconds; 0: its own
}

// timing is what the core is told about time.
type timing struct {
	minWait    time.Duration
	since      time.Time     // when the drain began, perhaps before a restart
	completion time.Duration // how long pods are waited for that are to end by themselves; 0: for ever
	deadline   time.Time     // by when every pod's grace must be over, by force; zero: none
	jitter     func(time.Duration) time.Duration
}

// core is the drain's state machine. Time is an argument; nothing here waits or
// asks.
type core struct {
	timing
	started time.Time
	listed  bool // a whole list was seen
	blind   bool // the last list failed: nobody knows what has come since

	pods         map[types.UID]*tracked
	order        []*tracked                               // as they came
	owners       map[string]*comings                      // by what pods are counted by, groups
	budgets      map[string]*policyv1.PodDisruptionBudget // by namespace/name, while watched
	watched      map[string]bool                          // namespaces all of whose budgets are known
	siblings     map[string]siblings                      // by namespace/name of their budget
	moves        map[moveKey]map[types.UID]candidate
	contradicted int       // how often an answer called a pod gone that was there
	quiet        time.Time // until then one may come in place of a pod that had come back
	inFlight     int
	problems     []string // that are to be told once
}

const (
	// maxInFlight bounds the evictions that are out at a time.
	maxInFlight = 32
	// acceptedRetry is the first pause before an eviction that was accepted and
	// yet did not lead to a deletion is asked for again.
	acceptedRetry = 30 * time.Second
	// budgetRace is the first pause after an answer that a change of the budget
	// has overtaken.
	budgetRace = 50 * time.Millisecond
)

func newCore(t timing, now time.Time) *core {
	return &core{
		timing: t, started: now,
		pods: map[types.UID]*tracked{}, owners: map[string]*comings{},
		budgets: map[string]*policyv1.PodDisruptionBudget{}, siblings: map[string]siblings{}, watched: map[string]bool{},
		moves: map[moveKey]map[types.UID]candidate{},
	}
}

// list takes in a whole list of the node's pods. What was there and is not in it
// is gone, whether or not its deletion was seen.
func (c *core) list(pods []podInfo, now time.Time) {
	there := make(map[types.UID]bool, len(pods))
	var unknown []podInfo
	for _, p := range pods {
		there[p.uid] = true
		if c.pods[p.uid] == nil {
			unknown = append(unknown, p)
		} else {
			c.seen(p, now)
		}
	}
	for _, t := range c.order {
		if !there[t.uid] {
			c.gone(t.uid, nil, now)
		}
	}
	for _, p := range unknown { // after those that they may have come in place of
		c.seen(p, now)
	}
	c.listed, c.blind = true, false
}

// seen takes in a pod as it is now.
func (c *core) seen(p podInfo, now time.Time) {
	t := c.pods[p.uid]
	isNew := t == nil
	if isNew {
		t = &tracked{podInfo: p, first: now, retryAt: now}
		t.before = p.deleting()
		c.pods[p.uid] = t
		c.order = append(c.order, t)
		c.arrived(t, now)
	} else {
		skipped := t.state == done && t.outcome == Skipped && t.never != ""
		t.podInfo = p
		if skipped && t.never == "" && !p.ended { // nothing says so any more
			t.state, t.outcome, t.note, t.retryAt, t.before = pending, "", "", now, p.deleting()
			c.arrived(t, now)
		}
		if (t.doubted || t.state == done && t.outcome != Skipped && !t.pretended) && !p.ended {
			c.isThere(t, now)
		}
	}
	if p.deleting() {
		c.goes(t, now)
	}
	if t.state == done {
		return
	}
	switch {
	case p.ended && isNew && !p.deleting():
		c.finish(t, Skipped, "its containers have ended", now)
	case p.ended:
		c.left(t, now)
	case p.deleting() && t.state != evicting:
		t.state = terminating
	default:
		c.spare(t, now)
	}
}

// spare lets a pod stay that is to be skipped by what was said of it since it came, if
// it is not on its way out already.
func (c *core) spare(t *tracked, now time.Time) {
	if t.state == pending && t.never != "" && !t.deleting() {
		c.finish(t, Skipped, t.never, now)
	}
}

// arrived decides whether a pod that is new here is in the set at all, and from when
// on it may be asked to go.
func (c *core) arrived(t *tracked, now time.Time) {
	if t.ignored != "" {
		c.problems = append(c.problems, fmt.Sprintf("pod %s: %q makes no sense as %s; ignores it", t, t.ignored, t.ignoredOf))
	}
	switch {
	case t.never != "":
		c.finish(t, Skipped, t.never, now)
	case t.ended:
	case c.comes(t, now):
		c.finish(t, Skipped, string(Returning)+": pods like it keep coming to the cordoned node", now)
	}
}

// gone takes in that a pod is not on the node any more; last is how it was at the
// end, nil if that is not known.
func (c *core) gone(uid types.UID, last *podInfo, now time.Time) {
	t := c.pods[uid]
	if t == nil {
		return
	}
	if last != nil {
		t.podInfo = *last
	}
	c.goes(t, now)
	t.doubted = false
	if t.state == done {
		return // a skipped pod stays skipped: it was not ours to move
	}
	c.left(t, now)
}

// left gives a pod that has left the node its outcome.
func (c *core) left(t *tracked, now time.Time) {
	outcome, note := Drained, ""
	switch {
	case t.forced:
		outcome = ForceStopped
		if t.cut > 0 {
			note = "its grace period was cut to end by the drain's deadline"
		}
	case t.to != "":
		outcome = Relocated
	case t.asked.IsZero() && t.ended && !t.deleting():
		note = "its containers ended by themselves"
	case t.asked.IsZero() && t.before:
		note = "it was being deleted already"
	case t.asked.IsZero() && t.disrupted != "":
		note = "somebody else ended it: " + t.disrupted
	case t.asked.IsZero():
		note = "somebody else deleted it"
	case t.cut > 0:
		note = "its grace period was cut to end by the drain's deadline"
	}
	if t.cameBack {
		c.quiet = now.Add(returnPause)
	}
	c.finish(t, outcome, note, now)
	c.match()
}

func (c *core) finish(t *tracked, o Outcome, note string, now time.Time) {
	if t.state == evicting {
		c.inFlight--
	}
	t.state, t.outcome, t.note, t.end, t.doubted = done, o, note, now, false
}

// answered takes in the answer to a request.
func (c *core) answered(r request, v verdict, now time.Time) {
	t := c.pods[r.pod.uid]
	if t == nil || t.state != evicting {
		return // gone meanwhile: finish has counted it
	}
	c.inFlight--
	t.state = pending
	switch {
	case v.accepted:
		if t.block.reason != "" {
			t.tries = 0
		}
		t.state, t.asked, t.block, t.blocked = terminating, now, verdict{}, time.Time{}
		t.forced = t.forced || r.remove
		t.cut = r.grace
		first := acceptedRetry
		if t.pressed {
			first = patientRetry
		}
		t.retryAt = now.Add(c.spread(first, lastRetry, t))
		return
	case v.gone:
		if t.wrongly > 0 { // it is not believed once more
			t.retryAt = c.afterWrongly(t, now)
		} else {
			if t.asked.IsZero() {
				t.asked = now // whose doing it was, the answer does not say
			}
			c.left(t, now)
		}
		t.pretended, t.doubted, t.doubtedAt = v.pretended, !v.pretended, now
		t.block = verdict{reason: APIOverloaded, message: oneLine("the API server answers that it is gone, and lists it as being there: " + v.message)}
		if t.blocked.IsZero() {
			t.blocked = now
		}
		return
	}
	t.block = v
	if t.blocked.IsZero() {
		t.blocked = now
	}
	switch b := c.budgetOf(t); {
	case t.pressed && !r.remove:
		t.retryAt = now // by deletion
	case t.pressed:
		t.retryAt = now.Add(c.spread(unansweredRetry, unreachableRetry, t))
	case v.soon:
		t.retryAt = now.Add(c.spread(v.after, slowRetry, t))
	case v.after > 0 && (b != nil && b.Status.DisruptionsAllowed > 0 || b == nil && v.budget != "" && c.watched[t.namespace]):
		// The budget has changed while the answer was on its way, or what we know of
		// it is older than the answer.
		t.retryAt = now.Add(min(v.after, growing(budgetRace, 3*t.tries)))
		t.tries++
	case v.after > 0:
		t.retryAt = now.Add(v.after + c.jitter(v.after/4))
		t.tries = 0
	default:
		t.retryAt = now.Add(c.spread(v.first, v.most, t))
	}
	if t.deleting() {
		t.state = terminating
	}
	c.spare(t, now)
}

// spread is the next of t's growing pauses, with some chance in it.
func (c *core) spread(first, most time.Duration, t *tracked) time.Duration {
	t.tries++
	return c.pause(first, most, t.tries-1)
}

func (c *core) pause(first, most time.Duration, tries int) time.Duration {
	d := min(most, growing(first, tries))
	return d + c.jitter(d/4)
}

// lastRetry is the longest of any growing pauses.
const lastRetry = 10 * time.Minute

// growing doubles first with each try, up to lastRetry.
func growing(first time.Duration, tries int) time.Duration {
	return min(lastRetry, first<<min(tries, 16))
}

// open is how many pods are in the set.
func (c *core) open() (n int) {
	for _, t := range c.order {
		if t.state != done {
			n++
		}
	}
	return n
}

// quietAt is from when on no more pods are waited for that may come.
func (c *core) quietAt() time.Time { return later(c.started.Add(c.minWait), c.quiet) }

// drained says whether, by what is known, the node is empty and has been
// cordoned for long enough.
func (c *core) drained(now time.Time) bool {
	if !c.listed || c.blind || now.Before(c.quietAt()) {
		return false
	}
	return c.open() == 0
}

// budgetOf is the budget that blocks a pod, nil if it is not known.
func (c *core) budgetOf(t *tracked) *policyv1.PodDisruptionBudget {
	if t.block.budget == "" {
		return nil
	}
	return c.budgets[t.namespace+"/"+t.block.budget]
}

// allBudgets takes in which budgets a namespace has; nil: nobody looks any more. One
// that was deleted before anybody looked is blocking nothing.
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
		if t.state == pending && t.namespace == namespace && t.block.budget != "" && !there[t.block.budget] {
			t.retryAt = now
		}
	}
}

// budget takes in a budget as it is now; nil: it is gone. The pods that it blocks
// are tried at once, as many as it allows now.
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
