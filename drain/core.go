package drain

import (
	"fmt"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
)

// podState is how far the eviction of a pod has come.
type podState int

const (
	pending     podState = iota // is to be evicted, at retryAt at the earliest
	evicting                    // its eviction or deletion was sent, and is not answered yet
	terminating                 // its eviction was accepted, or it is being deleted
	done                        // has an outcome, and is not in the set
)

// tracked is one pod that was seen on the node.
type tracked struct {
	podInfo
	state         podState
	outcome       api.Outcome
	note          note   // why this outcome
	movedTo       string // the node of its replacement
	deletedBefore bool   // it was being deleted already when it was first seen

	firstSeen        time.Time
	endedAt          time.Time // when it came to state done
	acceptedAt       time.Time // when its eviction or deletion was accepted
	retryAt          time.Time
	tries            int  // in a row whose answers did not say when to retry
	cameBack         bool // perhaps: it was created after an eviction here
	requested        bool // its eviction or deletion was sent at least once
	unconfirmed      bool // gone according to an answer, and to neither list nor event
	unconfirmedSince time.Time
	contradictions   int       // how often an answer called it gone while it was there
	dryRunDone       bool      // done in a dry run: it is still there
	dueByDeadline    bool      // its grace period has to begin now to end by the deadline
	forced           bool      // it was deleted, whatever its budget says
	shortenedTo      int64     // the grace period in seconds that the deadline has left it; 0: its own
	refusal          verdict   // the last answer that refused its eviction
	refusedSince     time.Time // the first such answer since its eviction was last accepted
}

// request is an eviction or deletion that is to be sent.
type request struct {
	pod    podInfo
	remove bool  // delete it, whatever budgets say
	grace  int64 // in seconds; 0: its own
}

// timing is what the core is told about time.
type timing struct {
	minWait    time.Duration
	ran        time.Duration // what the drain's clock shows when it starts: how long earlier runs took
	limit      time.Duration // on that clock, by when every pod's grace must be over, by force; 0: never
	completion time.Duration // on that clock, until when pods are left to finish by themselves; 0: for ever
	jitter     func(time.Duration) time.Duration
}

// core is the drain's state machine. Time is an argument; nothing here waits or
// sends.
type core struct {
	timing
	apiClock   apiClock
	started    time.Time // this run
	clockStart time.Time // when the drain's clock stood at zero; zero: it has not started
	deadline   time.Time // when the drain's clock reaches the limit; zero: there is none
	listed     bool      // a complete list was seen
	blind      bool      // the last list failed: pods that came since are not known

	pods           map[types.UID]*tracked
	order          []*tracked                               // as they came
	counts         map[string]*ownerCounts                  // by what pods are counted by, groups
	budgets        map[string]*policyv1.PodDisruptionBudget // by namespace/name, while watched
	watched        map[string]bool                          // namespaces all of whose budgets are known
	siblings       map[string]siblings                      // by namespace/name of their budget
	moves          map[moveKey]map[types.UID]candidate
	contradictions int       // of all pods
	quietUntil     time.Time // until then, a pod that had returned may return again
	inFlight       int
	problems       []string // to be reported once
}

const (
	// maxInFlight bounds the requests that are not answered yet.
	maxInFlight = 32
	// acceptedRetry is the first pause before an eviction is retried that was accepted
	// and did not lead to a deletion.
	acceptedRetry = 30 * time.Second
	// budgetRace is the first pause when the budget has changed while the answer was
	// on its way.
	budgetRace = 50 * time.Millisecond
)

func newCore(t timing, now time.Time) *core {
	return &core{
		timing: t, started: now,
		pods: map[types.UID]*tracked{}, counts: map[string]*ownerCounts{},
		budgets: map[string]*policyv1.PodDisruptionBudget{}, siblings: map[string]siblings{}, watched: map[string]bool{},
		moves: map[moveKey]map[types.UID]candidate{},
	}
}

// list takes in a complete list of the node's pods. A pod that is known and not in it is
// gone, whether or not its deletion was seen.
func (c *core) list(pods []podInfo, now time.Time) {
	if !c.listed {
		c.startClock(now)
	}
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
	for _, p := range unknown { // after those that they may replace
		c.seen(p, now)
	}
	c.listed, c.blind = true, false
}

// seen takes in a pod as it is now.
func (c *core) seen(p podInfo, now time.Time) {
	t := c.pods[p.uid]
	isNew := t == nil
	if isNew {
		t = &tracked{podInfo: p, firstSeen: now, retryAt: now}
		t.deletedBefore = p.deleting()
		c.pods[p.uid] = t
		c.order = append(c.order, t)
		c.arrived(t, now)
	} else {
		skipped := t.state == done && t.outcome == api.OutcomeSkipped && t.skip != note{}
		t.podInfo = p
		if skipped && t.skip == (note{}) && !p.ended { // it is no longer to be skipped
			t.state, t.outcome, t.note, t.retryAt, t.deletedBefore = pending, "", note{}, now, p.deleting()
			c.arrived(t, now)
		}
		if (t.unconfirmed || t.state == done && t.outcome != api.OutcomeSkipped && !t.dryRunDone) && !p.ended {
			c.stillThere(t, now)
		}
	}
	if p.deleting() {
		c.countDeparture(t, now)
	}
	if t.state == done {
		return
	}
	switch {
	case p.ended && isNew && !p.deleting():
		c.finish(t, api.OutcomeSkipped, note{api.PodCompleted, "has finished"}, now)
	case p.ended:
		c.left(t, now)
	case p.deleting() && t.state != evicting:
		t.state = terminating
	default:
		c.skipIfRequested(t, now)
	}
}

// skipIfRequested skips a pod that was marked so after it had come, unless it is already
// leaving.
func (c *core) skipIfRequested(t *tracked, now time.Time) {
	if t.state == pending && t.skip != (note{}) && !t.deleting() {
		c.finish(t, api.OutcomeSkipped, t.skip, now)
	}
}

// arrived decides whether a new pod is in the set at all, and when it may be evicted at
// the earliest.
func (c *core) arrived(t *tracked, now time.Time) {
	if t.invalid != "" {
		c.problems = append(c.problems, fmt.Sprintf("pod %s: %s", t, t.ignored()))
	}
	switch {
	case t.skip != (note{}):
		c.finish(t, api.OutcomeSkipped, t.skip, now)
	case t.ended:
	case c.countArrival(t, now):
		c.finish(t, api.OutcomeSkipped, note{api.PodReturning, "pods like it keep returning to the cordoned node"}, now)
	}
}

// gone takes in that a pod is no longer on the node; last is how it was at the end, nil if
// that is not known.
func (c *core) gone(uid types.UID, last *podInfo, now time.Time) {
	t := c.pods[uid]
	if t == nil {
		return
	}
	if last != nil {
		t.podInfo = *last
	}
	c.countDeparture(t, now)
	t.unconfirmed = false
	if t.state == done {
		return // a skipped pod stays skipped: it was not for the drain to move
	}
	c.left(t, now)
}

// left gives a pod that has left the node its outcome.
func (c *core) left(t *tracked, now time.Time) {
	outcome, why := api.OutcomeDrained, note{}
	switch {
	case t.forced:
		outcome = api.OutcomeForceStopped
		why = t.shortened()
	case t.movedTo != "":
		outcome = api.OutcomeRelocated
	case t.acceptedAt.IsZero() && t.ended && !t.deleting():
		why = note{api.PodCompleted, "finished by itself"}
	case t.acceptedAt.IsZero() && t.deletedBefore:
		why = note{api.PodDeletedByOthers, "was already being deleted when the drain began"}
	case t.acceptedAt.IsZero() && t.disrupted != "":
		why = note{api.PodDeletedByOthers, "was ended by another client (" + t.disrupted + ")"}
	case t.acceptedAt.IsZero():
		why = note{api.PodDeletedByOthers, "was deleted by another client"}
	default:
		why = t.shortened()
	}
	if t.cameBack {
		c.quietUntil = now.Add(returnPause)
	}
	c.finish(t, outcome, why, now)
	c.match()
}

// shortened is the note of a pod that was left less than its own grace period.
func (t *tracked) shortened() note {
	if t.shortenedTo == 0 {
		return note{}
	}
	return note{api.PodGraceShortened, fmt.Sprintf("its grace period was shortened to %d s to end within the drain timeout", t.shortenedTo)}
}

func (c *core) finish(t *tracked, o api.Outcome, why note, now time.Time) {
	if t.state == evicting {
		c.inFlight--
	}
	t.state, t.outcome, t.note, t.endedAt, t.unconfirmed = done, o, why, now, false
}

// answered takes in the answer to a request.
func (c *core) answered(r request, v verdict, now time.Time) {
	t := c.pods[r.pod.uid]
	if t == nil || t.state != evicting {
		return // gone meanwhile: finish has counted the request
	}
	c.inFlight--
	t.state = pending
	switch {
	case v.accepted:
		if t.refusal.reason != "" {
			t.tries = 0
		}
		t.state, t.acceptedAt, t.refusal, t.refusedSince = terminating, now, verdict{}, time.Time{}
		t.forced = t.forced || r.remove
		t.shortenedTo = r.grace
		first := acceptedRetry
		if t.dueByDeadline {
			first = patientRetry
		}
		t.retryAt = now.Add(c.nextPause(first, lastRetry, t))
		return
	case v.gone:
		if t.contradictions > 0 { // such an answer was wrong before
			t.retryAt = c.retryContradicted(t, now)
		} else {
			if t.acceptedAt.IsZero() {
				t.acceptedAt = now // the answer does not say who deleted it
			}
			c.left(t, now)
		}
		t.dryRunDone, t.unconfirmed, t.unconfirmedSince = v.dryRun, !v.dryRun, now
		t.refusal = verdict{reason: api.PodAPIOverloaded, message: oneLine("the API server answers that the pod does not exist, but lists it: " + v.message)}
		if t.refusedSince.IsZero() {
			t.refusedSince = now
		}
		return
	}
	t.refusal = v
	if t.refusedSince.IsZero() {
		t.refusedSince = now
	}
	switch b := c.budgetOf(t); {
	case t.dueByDeadline && !r.remove:
		t.retryAt = now // by deletion
	case t.dueByDeadline:
		t.retryAt = now.Add(c.nextPause(unansweredRetry, unreachableRetry, t))
	case v.exact:
		t.retryAt = now.Add(c.nextPause(v.retryAfter, slowRetry, t))
	case v.retryAfter > 0 && (b != nil && b.Status.DisruptionsAllowed > 0 || b == nil && v.budget != "" && c.watched[t.namespace]):
		// The budget has changed while the answer was on its way, or the watch is
		// behind the answer.
		t.retryAt = now.Add(min(v.retryAfter, backoff(budgetRace, 3*t.tries)))
		t.tries++
	case v.retryAfter > 0:
		t.retryAt = now.Add(v.retryAfter + c.jitter(v.retryAfter/4))
		t.tries = 0
	default:
		t.retryAt = now.Add(c.nextPause(v.firstPause, v.longestPause, t))
	}
	if t.deleting() {
		t.state = terminating
	}
	c.skipIfRequested(t, now)
}

// nextPause is the next of t's growing pauses, with jitter.
func (c *core) nextPause(first, most time.Duration, t *tracked) time.Duration {
	t.tries++
	return c.jittered(first, most, t.tries-1)
}

func (c *core) jittered(first, most time.Duration, tries int) time.Duration {
	d := min(most, backoff(first, tries))
	return d + c.jitter(d/4)
}

// lastRetry is the longest of any growing pauses.
const lastRetry = 10 * time.Minute

// backoff doubles first with each try, up to lastRetry.
func backoff(first time.Duration, tries int) time.Duration {
	return min(lastRetry, first<<min(tries, 16))
}

// remaining is how many pods are in the set.
func (c *core) remaining() (n int) {
	for _, t := range c.order {
		if t.state != done {
			n++
		}
	}
	return n
}

// quietAt is from when on the drain does not wait for further pods to come.
func (c *core) quietAt() time.Time { return later(c.started.Add(c.minWait), c.quietUntil) }

// drained says whether, as far as is known, the node is empty and has been cordoned
// for long enough.
func (c *core) drained(now time.Time) bool {
	if !c.listed || c.blind || now.Before(c.quietAt()) {
		return false
	}
	return c.remaining() == 0
}
