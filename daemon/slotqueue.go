package daemon

import (
	"context"
	"slices"
	"time"

	"rebootd.dev/daemon/backoff"
	"rebootd.dev/lock"
)

const (
	// longHeld is for how long a slot has been held when those that wait for it say by
	// whom: thousands wait, and their metrics would have a new series with every node that
	// reboots as it should.
	longHeld = 30 * time.Minute
	// maxHolders bounds of how many holders they say so, however many slots there are.
	maxHolders = 16
)

// slotQueue is who is waited for, as the lock's Leases say while this node waits.
type slotQueue struct {
	holders []heldSlot
	atWork  string // why this node may not use the slot that it holds yet; "": it holds none, or is not waiting for nodes at work
}

// heldSlot is a slot that another node holds.
type heldSlot struct {
	lock.Holder
	seen time.Time // first, with its monotonic reading
}

// see takes in what is waited for. While the API server is away that is who was waited
// for before.
func (q *slotQueue) see(w lock.Waiting) {
	if w.Err != nil {
		return
	}
	if q.atWork = ""; len(w.AtWork) > 0 && w.Paused == (lock.Pause{}) {
		q.atWork = w.String()
	}
	before := q.holders
	q.holders = nil
	for _, h := range w.Holders {
		seen := time.Now()
		if i := slices.IndexFunc(before, func(b heldSlot) bool { return b.Slot == h.Slot && b.Node == h.Node && b.Since.Equal(h.Since) }); i >= 0 {
			seen = before[i].seen
		}
		q.holders = append(q.holders, heldSlot{h, seen})
	}
}

// waitsFor are those for whom this node waits, and who have had their slots for long: by
// their own clocks, or for as long as this node has seen it.
func (w *slotWorker) waitsFor(now time.Time) (out []lock.Holder) {
	for _, h := range w.queue.holders {
		watched := time.Since(h.seen)
		if h.Since.IsZero() {
			h.Since = h.seen
		}
		if len(out) < maxHolders && (watched >= longHeld || now.Sub(h.Since) >= longHeld) {
			out = append(out, h.Holder)
		}
	}
	return out
}

// lookEvery is how often the slots are looked at while the record cannot be obeyed.
const lookEvery = time.Minute

// slotLook looks, in the background, whether this node holds a slot, and touches none.
type slotLook struct {
	slotClient
	node string
}

func (c slotLook) run(ctx context.Context, say func(slotFound)) struct{} {
	var pauses backoff.Pauses
	for ctx.Err() == nil {
		holders, err := c.lock.Holders(ctx)
		held := slices.ContainsFunc(holders, func(h lock.Holder) bool { return h.Node == c.node })
		say(slotFound{held: held, err: err})
		if err != nil {
			pauses.Wait(ctx, err)
			continue
		}
		pauses.Reset()
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
		}
	}
	return struct{}{}
}

// looked notes what the Leases say. It does not change what the decision goes by.
func (w *slotWorker) looked(f slotFound) {
	w.reach.see(f.err)
	if f.err == nil {
		w.told = f.held
	}
}
