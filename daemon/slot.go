package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/backoff"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/lock"
)

// slotClaim is the name of the claim to a slot of the lock.
const slotClaim = "slot"

var slotKind = decide.ClaimKind{Name: slotClaim, Lost: api.ReasonSlotLost, Queued: true}

// slotWorker knows whether this node holds a slot of the lock, and whether people have
// paused the lock.
type slotWorker struct {
	bg      *background
	client  slotClient
	reach   *reach
	log     zerolog.Logger
	node    string
	same    string
	dryRun  bool
	mention func(decide.Step)

	state  decide.ClaimState
	name   string
	note   string
	paused lock.Pause
	uid    string // of the Node for which state is known
	// worked says that the node was worked on under the slot that it holds, as far as is known.
	worked  bool
	vacated time.Time // until when the last one was under that slot; see [gate.View]
	// told says whether a slot is held by the word of its Lease when it was last seen. In
	// a dry run, and while the record cannot be obeyed, state says something else.
	told  bool
	queue slotQueue

	task *task
	does slotTask

	others holderWatch // who is waited for
}

// slotTask is what goes on for the slot.
type slotTask int

const (
	slotRests slotTask = iota
	slotIsLookedUp
	slotIsAcquired
	slotIsKept
	slotIsLookedAt
)

func newSlotWorker(c Config, bg *background, _ clock, r *reach, mention func(decide.Step)) *slotWorker {
	return &slotWorker{
		bg: bg, client: slotClient{c.Lock}, reach: r, log: c.Log, node: c.NodeName, same: c.Same, dryRun: c.DryRun, mention: mention,
		others: holderWatch{bg: bg, api: c.API, node: c.NodeName, slots: c.Policy.Slots},
	}
}

// follow looks up the slot at first, waits for one while the operation queues, and
// holds on to the one that is held.
func (w *slotWorker) follow(s decided) bool {
	want := w.wanted(s)
	w.others.follow(s.now, want == slotIsAcquired)
	w.worked = w.worked || w.state == decide.ClaimHeld && claimantOf(s, w.same).Begun
	if w.task != nil {
		if w.does == want {
			return true
		}
		// It may be taking a slot at this instant: nothing begins before it has ended.
		w.task.cancel()
		return false
	}
	if want != slotRests {
		w.begin(want, claimantOf(s, w.same), s.record)
	}
	return true
}

func (w *slotWorker) wanted(s decided) slotTask {
	if s.node == nil {
		w.forget("")
		return slotRests
	}
	if uid := string(s.node.uid); uid != w.uid {
		w.forget(uid)
	}
	begun := claimantOf(s, w.same).Begun
	switch {
	case !s.obeyed:
		return slotIsLookedAt
	case s.step.Do == decide.DoRelease:
		return slotRests
	case w.state == decide.ClaimHeld && w.dryRun: // there is nothing to keep
		return slotRests
	case w.state == decide.ClaimHeld:
		return slotIsKept
	case s.step.Do == decide.DoClaim && s.step.Claim == slotClaim && (!s.step.LookOnly || w.paused != lock.Pause{}):
		// A lock that is paused gives no slot: waiting there for the end of the pause takes
		// nothing.
		return slotIsAcquired
	case w.state == decide.ClaimUnknown, w.state == decide.ClaimLost && !begun:
		return slotIsLookedUp // also to release, at the end of the work, what went with a slot that is lost
	default:
		return slotRests
	}
}

// forget is for another Node: what is known of the slot is another's.
func (w *slotWorker) forget(uid string) {
	w.told = w.told && uid == w.uid
	w.uid, w.state, w.name, w.note, w.paused = uid, decide.ClaimUnknown, "", "", lock.Pause{}
}

func (w *slotWorker) begin(does slotTask, c lock.Claimant, r *api.Record) {
	w.does = does
	switch does {
	case slotIsLookedUp:
		w.task = start(w.bg, slotFinder{w.client, c}.run, w.reach.see, w.found(c.Begun, mayHaveWorked(r)))
	case slotIsAcquired:
		w.task = start(w.bg, slotAcquirer{w.client, c}.run, w.waits, w.acquired)
	case slotIsKept:
		w.task = start(w.bg, w.client.keep, func(p lock.Pause) {
			if w.state == decide.ClaimHeld {
				w.paused = p
			}
		}, w.kept)
	case slotIsLookedAt:
		w.task = start(w.bg, slotLook{w.client, w.node}.run, w.looked, func(struct{}, bool) { w.task = nil })
	}
}

// mayHaveWorked says of a node that holds a slot, and does not know since when, whether it
// may have been worked on under it. Only of one that has its turn before it, or could not
// make use of it, is it known that it was not: a pause too many does less harm than a reboot
// too soon.
func mayHaveWorked(r *api.Record) bool {
	return r == nil || r.Phase != api.PhaseQueued && (r.Phase != api.PhaseWaiting || r.Deferrals == 0)
}

func (w *slotWorker) found(begun, worked bool) func(slotFound, bool) {
	return func(f slotFound, cancelled bool) {
		w.task = nil
		if cancelled && f.err != nil {
			return
		}
		w.reach.see(nil)
		w.name, w.note, w.paused, w.told = f.slot, "", lock.Pause{}, f.held
		switch {
		case f.held:
			w.state, w.worked, w.vacated = decide.ClaimHeld, worked, w.client.lock.Vacated()
			w.log.Info().Str("slot", f.slot).Msg("a slot is held already")
		case begun:
			w.state = decide.ClaimLost
		default:
			w.state = decide.ClaimFree
		}
	}
}

func (w *slotWorker) waits(x lock.Waiting) {
	if w.state != decide.ClaimHeld {
		w.note, w.paused = x.String(), x.Paused
		w.queue.see(x)
		if x.Err == nil {
			w.others.holders = x.Holders
		}
	}
}

func (w *slotWorker) acquired(f slotFound, cancelled bool) {
	w.task, w.queue = nil, slotQueue{}
	if f.err != nil {
		// Cancelled, perhaps while the server was giving us one: look.
		w.forget(w.uid)
		if !cancelled {
			w.log.Error().Err(f.err).Msg("waiting for a slot failed; checking whether one is held, and waiting again")
		}
		return
	}
	w.reach.see(nil)
	w.state, w.name, w.note, w.paused = decide.ClaimHeld, f.slot, "", lock.Pause{}
	w.told, w.worked, w.vacated = w.told || !w.dryRun, false, w.client.lock.Vacated()
	w.mention(decide.Step{Reason: api.ReasonSlotAcquired, Message: "acquired the slot " + f.slot})
}

func (w *slotWorker) kept(err error, cancelled bool) {
	w.task = nil
	switch {
	case err == nil || w.state != decide.ClaimHeld:
	case errors.Is(err, lock.ErrLost):
		w.lose(err)
	case !cancelled:
		w.log.Error().Err(err).Msg("watching the slot failed; reading it again")
		w.forget(w.uid)
	}
}

// lose notes that the slot was taken away.
func (w *slotWorker) lose(err error) {
	w.state, w.note, w.told, w.worked, w.vacated = decide.ClaimLost, err.Error(), false, false, time.Time{}
	w.log.Warn().Err(err).Str("reason", string(api.ReasonSlotLost)).Msg("the slot was taken away")
}

// released notes that no slot is held.
func (w *slotWorker) released() {
	w.state, w.name, w.note, w.worked, w.vacated = decide.ClaimFree, "", "", false, time.Time{}
	w.told = w.told && w.dryRun
}

func (w *slotWorker) facts(f *decide.Facts) {
	if now := f.Wall(); w.vacated.After(now) { // by a clock that is ahead: it counts from now
		w.vacated = now
	}
	title := "slot"
	if w.name != "" {
		title = "slot " + w.name
	}
	c := decide.Claim{ClaimKind: slotKind, State: w.state, Title: title, Note: w.note, Others: w.others.text}
	if w.queue.atWork != "" { // of so few nodes that each change may be shown at once
		c.Note, c.Others = "", w.queue.atWork
	}
	f.Claims = append(f.Claims, c)
}

func (w *slotWorker) pausedVerdict() gate.Verdict {
	v := verdictOf(w.paused.String(), w.paused != lock.Pause{})
	v.Until = w.paused.Until
	return v
}

// claimantOf is what this node says of itself when it asks for a slot.
func claimantOf(s decided, same string) lock.Claimant {
	if s.node == nil {
		return lock.Claimant{}
	}
	_, controlPlane := s.node.labels[api.ControlPlaneLabel]
	p := s.phase()
	return lock.Claimant{
		UID: s.node.uid, Zone: api.ZoneOf(same, s.node.labels), ControlPlane: controlPlane,
		Begun: p != api.PhaseIdle && p != api.PhaseWaiting && p != api.PhaseQueued,
	}
}

// slotClient asks for the slot, in the background.
type slotClient struct{ lock lock.Locker }

// slotFound is a slot that was looked for.
type slotFound struct {
	slot string
	held bool
	err  error
}

func (c slotClient) keep(ctx context.Context, say func(lock.Pause)) error {
	return c.lock.Keep(ctx, say)
}

type slotFinder struct {
	slotClient
	claimant lock.Claimant
}

// run looks until it knows.
func (c slotFinder) run(ctx context.Context, failed func(error)) slotFound {
	var pauses backoff.Pauses
	for {
		name, held, err := c.lock.Find(ctx, c.claimant)
		if err == nil || ctx.Err() != nil {
			return slotFound{name, held, err}
		}
		failed(err)
		pauses.Wait(ctx, err)
	}
}

type slotAcquirer struct {
	slotClient
	claimant lock.Claimant
}

func (c slotAcquirer) run(ctx context.Context, waiting func(lock.Waiting)) slotFound {
	name, err := c.lock.Acquire(ctx, c.claimant, waiting)
	return slotFound{name, err == nil, err}
}
