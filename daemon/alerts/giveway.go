package alerts

import (
	"context"
	"time"

	"rebootd.dev/daemon/gate"
)

const (
	// overdueAgain is how often a node that keeps its slot in vain looks for one that is
	// past its deadline.
	overdueAgain = 5 * time.Minute
	// wayPause is how long a node to which this one has given way is not given way to
	// again: it may not have come.
	wayPause = time.Hour
)

// way finds nodes that need not wait for alerts any more, and for the slot of this one.
type way struct {
	*Gate
	looked time.Time
	to     string
}

// given is a verdict with the node to which this one gives way, if there is one.
func (w *way) given(ctx context.Context, v gate.Verdict, hasSlot bool) gate.Verdict {
	if w.Overdue == nil || !hasSlot || v.State != gate.Closed || v.At&gate.WithSlot == 0 {
		return v
	}
	if w.looked.IsZero() || time.Since(w.looked) >= overdueAgain {
		w.looked, w.to = time.Now(), ""
		overdue, err := w.Overdue(ctx)
		if err != nil && ctx.Err() == nil {
			w.Log("cannot find out whether nodes wait for this node's slot that are past their deadline: %v; looking again in %s", err, overdueAgain)
		}
		for _, name := range overdue {
			if at, ok := w.gaveWay[name]; !ok || time.Since(at) >= wayPause {
				w.to = name
				break
			}
		}
	}
	v.GiveWay = w.to
	return v
}

// ended notes to whom this node has given way.
func (w *way) ended(last gate.Verdict) {
	if last.GiveWay == "" {
		return
	}
	if w.gaveWay == nil {
		w.gaveWay = map[string]time.Time{}
	}
	w.gaveWay[last.GiveWay] = time.Now()
}
