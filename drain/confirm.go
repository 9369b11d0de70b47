package drain

import (
	"context"
	"fmt"
	"time"
)

// stillThere takes in that a pod that counted as gone is on the node. If that was by an
// answer, the next answer may say the same: the pod is retried with growing pauses, and
// the contradiction is reported as what blocks it.
func (c *core) stillThere(t *tracked, now time.Time) {
	t.state, t.outcome, t.note, t.retryAt = pending, "", note{}, now
	if !t.unconfirmed {
		return
	}
	t.unconfirmed = false
	if t.deleting() { // it will be gone
		t.refusal, t.refusedSince = verdict{}, time.Time{}
		return
	}
	t.acceptedAt, t.retryAt = time.Time{}, c.retryContradicted(t, now)
	t.contradictions++
	c.contradictions++
}

// retryContradicted is when a pod is retried that an answer calls gone and that is there.
func (c *core) retryContradicted(t *tracked, now time.Time) time.Time {
	most := slowRetry
	if t.dueByDeadline {
		most = unreachableRetry
	}
	return now.Add(c.jittered(unansweredRetry, most, t.contradictions))
}

// unconfirmedSince is since when a pod counts as gone by nothing but an answer; zero: no
// pod does.
func (c *core) unconfirmedSince() time.Time {
	var since time.Time
	for _, t := range c.order {
		if t.unconfirmed && (since.IsZero() || t.unconfirmedSince.Before(since)) {
			since = t.unconfirmedSince
		}
	}
	return since
}

// confirmed lists the newest state when the node seems drained: a watch may be behind.
func (r *run) confirmed(ctx context.Context) bool {
	return r.listNewest(ctx) && r.core.drained(time.Now())
}

// confirmPause is how long the watch has to confirm that a pod is gone.
const confirmPause = time.Second

// confirmAnswers lists the newest state when an answer has called a pod gone and the
// watch has not: one of them is wrong.
func (r *run) confirmAnswers(ctx context.Context, now time.Time) {
	if at := r.confirmAt(); !at.IsZero() && !now.Before(at) {
		r.listNewest(ctx)
	}
}

func (r *run) confirmAt() time.Time {
	since := r.core.unconfirmedSince()
	if since.IsZero() {
		return since
	}
	return later(since.Add(confirmPause), r.listNewestAt)
}

// listNewest takes in the newest state. Such a list costs the API server more than one
// from its cache, so after one that failed, or did not show what was expected, the next
// has to wait. It returns whether there was a list.
func (r *run) listNewest(ctx context.Context) bool {
	if time.Now().Before(r.listNewestAt) {
		return false
	}
	list, err := r.cfg.API.ListPods(ctx, "", r.podOptions())
	now := time.Now()
	left, contradicted := r.core.remaining(), r.core.contradictions
	switch {
	case err != nil:
		r.cfg.OnError(fmt.Errorf("list the pods of node %s once more, from the newest state: %w; retrying", r.cfg.Node, err))
	case !r.cfg.DryRun: // there, nothing is really gone
		r.core.list(r.infos(list), now)
	}
	if err == nil && r.core.remaining() <= left && r.core.contradictions == contradicted {
		r.listNewestFailures, r.listNewestAt = 0, time.Time{}
		return true
	}
	r.listNewestAt = now.Add(min(lastRelist, backoff(firstRelist, r.listNewestFailures)))
	r.listNewestFailures++
	return err == nil
}
