package decide

import (
	"strings"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
)

const (
	// maxKernel and maxTold bound what an operation's summary says in words of others, in
	// bytes.
	maxKernel = 100
	maxTold   = 2 * maxWhy
	// jitter is what two readings of one clock may differ by without its having been set.
	jitter = 2 * time.Second
)

// noteTimes has a step that writes the record note how far the operation comes with it,
// and the kernel of the boot that is to be ended. Nothing is decided by either, and nothing
// is written for them alone.
func noteTimes(p Policy, r *api.Record, f Facts, s Step) {
	n := s.Record
	if n == nil || !s.Do.Writes() {
		return
	}
	var t api.Times
	if r != nil {
		t = r.Came()
	}
	now := second(f.Wall())
	enters := r == nil || r.Phase != n.Phase
	switch {
	case s.Do == DoCordon:
		t = api.Times{Queued: t.Queued, Cordoned: now, Failure: t.Failure}
	case r != nil && n.Phase == api.PhaseRebooting && n.OrderKey() != r.OrderKey():
		t.Ordered, t.Drained = now, drainedAt(p, r, f)
	case enters && n.Phase == api.PhaseQueued && t.Queued.IsZero():
		t.Queued = now
	case enters && n.Phase == api.PhaseVerifying:
		t.Back = now
	case enters && n.Phase == api.PhaseHalted:
		t.Halted, t.Failure = now, n.Failure
	case r != nil && n.Attempts > r.Attempts:
		t.Failure = n.Failure
	}
	t.Since = n.Since
	n.Times = &t
	if k := kernel(f); k != "" && n.BootID == f.Boot.ID {
		n.Kernel = k
	}
}

// drainedAt is since when the node is drained that is about to be rebooted; zero if it is
// not.
func drainedAt(p Policy, r *api.Record, f Facts) time.Time {
	i, ok := lasting(p)
	if !ok {
		return time.Time{}
	}
	now := progress(r, f, i)
	if now.State != StageDone {
		return time.Time{}
	}
	return second(f.Wall().Add(-now.DoneFor))
}

// kernel is that of the boot that runs, as the kubelet has reported it; "": it has not.
func kernel(f Facts) string {
	if f.Node.KubeletBoot != f.Boot.ID {
		return ""
	}
	return printable.Line(f.Node.Kernel, maxKernel)
}

// second is a time as summaries have it.
func second(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// summary is what an operation has come to that ends with a step, nil if none does.
func summary(r *api.Record, f Facts, s Step) *api.Summary {
	if r == nil || s.Record != nil || !s.Do.Writes() {
		return nil
	}
	t := r.Came()
	sum := &api.Summary{
		ID: r.ID, Request: printable.Line(r.Request, maxWhy), Result: s.Reason, Message: printable.Line(strings.TrimSuffix(strings.TrimSuffix(s.Message, puttingBack), wasPutBack), maxTold),
		Requested: r.Requested, Queued: t.Queued, Cordoned: t.Cordoned, Drained: t.Drained, Ordered: t.Ordered, Back: t.Back,
		Halted: t.Halted, Failure: t.Failure, Ended: second(f.Wall()),
		Attempts: r.Attempts, Deferrals: r.Deferrals, Level: r.Level, BootID: r.BootID, Kernel: r.Kernel, NewKernel: kernel(f),
	}
	if sum.Failure != nil {
		sum.Failure.Message = printable.Line(sum.Failure.Message, maxTold)
	}
	if f.Boot.ID != r.BootID {
		sum.NewBootID = f.Boot.ID
	}
	come := []*time.Time{&sum.Requested, &sum.Queued, &sum.Cordoned, &sum.Drained, &sum.Ordered}
	if t.Halted.IsZero() || t.Failure != nil && t.Failure.Reason == api.ReasonRebootOverdue {
		come = append(come, &sum.Halted, &sum.Back)
	} else {
		come = append(come, &sum.Back, &sum.Halted)
	}
	for _, t := range come {
		*t = second(*t)
	}
	keepInOrder(append(come, &sum.Ended))
	return sum
}

// keepInOrder removes the fewest times that leave the others in their order, up to the
// last, which stays: what was noted before a clock was set back cannot be told beside what
// was noted after that.
func keepInOrder(come []*time.Time) {
	var last time.Time
	var known []*time.Time
	for _, t := range come {
		if t.IsZero() {
			continue
		}
		if t.Before(last) && last.Sub(*t) <= jitter {
			*t = last
		}
		last, known = *t, append(known, t)
	}
	// The longest row that ends with each, and what comes before it there.
	length, before := make([]int, len(known)), make([]int, len(known))
	for i, t := range known {
		length[i], before[i] = 1, -1
		for j := range i {
			if !known[j].After(*t) && length[j] >= length[i] {
				length[i], before[i] = length[j]+1, j
			}
		}
	}
	keep := map[int]bool{}
	for i := len(known) - 1; i >= 0; i = before[i] {
		keep[i] = true
	}
	for i, t := range known {
		if !keep[i] {
			*t = time.Time{}
		}
	}
}
