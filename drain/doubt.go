package drain

import (
	"context"
	"fmt"
	"time"
)

// isThere takes in that a pod that was called gone is on the node. Where an answer
// said so, it may say so again: the pod is asked with growing pauses, and that is
// told as what keeps it from going.
func (c *core) isThere(t *tracked, now time.Time) {
	t.state, t.outcome, t.note, t.retryAt = pending, "", "", now
	if !t.doubted {
		return
	}
	t.doubted = false
	if t.deleting() { // and will be gone
		t.block, t.blocked = verdict{}, time.Time{}
		return
	}
	t.asked, t.retryAt = time.Time{}, c.afterWrongly(t, now)
	t.wrongly++
	c.contradicted++
}

// afterWrongly is when a pod is asked again that an answer calls gone and that is there.
func (c *core) afterWrongly(t *tracked, now time.Time) time.Time {
	most := slowRetry
	if t.pressed {
		most = unreachableRetry
	}
	return now.Add(c.pause(unansweredRetry, most, t.wrongly))
}

// doubts is since when a pod is called gone by nothing but an answer; zero: none is.
func (c *core) doubts() time.Time {
	var since time.Time
	for _, t := range c.order {
		if t.doubted && (since.IsZero() || t.doubtedAt.Before(since)) {
			since = t.doubtedAt
		}
	}
	return since
}

// confirmed looks once more, at the newest state, when the node seems drained: a
// watch may be behind.
func (r *run) confirmed(ctx context.Context) bool {
	return r.look(ctx) && r.core.drained(time.Now())
}

// doubtPause is how long the watch has to confirm what an answer says of a pod.
const doubtPause = time.Second

// settleDoubts looks at the newest state when an answer has called a pod gone and the
// watch has not: one of them is wrong.
func (r *run) settleDoubts(ctx context.Context, now time.Time) {
	if at := r.doubtsUntil(); !at.IsZero() && !now.Before(at) {
		r.look(ctx)
	}
}

func (r *run) doubtsUntil() time.Time {
	since := r.core.doubts()
	if since.IsZero() {
		return since
	}
	return later(since.Add(doubtPause), r.lookAt)
}

// look takes in the newest state, which costs the API server more than others, so that
// after one that failed, or did not find what was expected, the next has to wait. It
// says whether it looked.
func (r *run) look(ctx context.Context) bool {
	if time.Now().Before(r.lookAt) {
		return false
	}
	list, err := r.cfg.API.ListPods(ctx, "", r.podOptions())
	now := time.Now()
	left, contradicted := r.core.open(), r.core.contradicted
	switch {
	case err != nil:
		r.cfg.OnError(fmt.Errorf("list the pods of the node %s once more: %w", r.cfg.Node, err))
	case !r.cfg.DryRun: // where nothing is gone in truth
		r.core.list(r.infos(list), now)
	}
	if err == nil && r.core.open() <= left && r.core.contradicted == contradicted {
		r.failed, r.lookAt = 0, time.Time{}
		return true
	}
	r.lookAt = now.Add(min(lastRelist, growing(firstRelist, r.failed)))
	r.failed++
	return err == nil
}
