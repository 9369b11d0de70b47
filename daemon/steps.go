package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/backoff"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/printable"
	"rebootd.dev/daemon/reply"
	"rebootd.dev/lock"
)

// stepper is the one step that is being done, and how those before it have ended.
type stepper struct {
	busy    bool
	writes  bool   // it patches the Node for a decision
	recall  func() // the spawn that is being done, as long as its command is not started; nil: none
	retryAt time.Time
	failed  int // steps in a row
	refused decide.Refused
	refuses int // writes in a row that were refused, once that was certain

	doubted, doubtedLast time.Time // the first and the last refusal in a row
}

const (
	// refusedFor is for how long writes have been refused before that is believed: an API
	// server that has just started knows no roles yet.
	refusedFor = 10 * time.Second
	doubtPause = 2 * time.Second // between two tries until then
)

// doubt notes that a write was refused, and says whether that is certain by now. A
// refusal from long before says nothing of this one.
func (s *stepper) doubt(now time.Time) (certain bool) {
	if s.refuses == 0 && now.Sub(s.doubtedLast) > refusedFor {
		s.doubted = now
	}
	s.doubtedLast = now
	return now.Sub(s.doubted) >= refusedFor
}

// callOff has a spawn that is being done not start its command, if it has not yet.
func (s *stepper) callOff() {
	if s.recall != nil {
		s.recall()
		s.recall = nil
	}
}

// act begins what a decision wants done once, and says whether it began anything. The
// result comes back to the loop; until then no other step begins.
func (d *Daemon) act(s decided) bool {
	switch {
	case s.step.Do.Lasts():
		return false
	case d.cfg.DryRun:
		d.pretend(s)
	case s.step.Do == decide.DoRelease:
		d.release(s)
	case s.step.Do == decide.DoSpawn:
		d.spawn(s)
	case s.step.Do == decide.DoRecall:
		d.recall(s)
	default:
		d.write(s)
	}
	return true
}

// pretend does what act does, in the daemon's memory only, and says so. A dry run
// that has come to the reboot stays there.
func (d *Daemon) pretend(s decided) {
	switch s.step.Do {
	case decide.DoCordon:
		d.node.pretended = true
	case decide.DoRestore:
		d.node.pretended = false
	case decide.DoRelease:
		d.slot.released()
		d.lease.released()
	case decide.DoSpawn:
		d.child.child = decide.Child{Key: s.record.OrderKey(), State: decide.ChildRunning}
	}
	if s.step.Do.Writes() {
		d.node.record = s.step.Record
	}
	if s.step.Served != nil {
		d.node.served = s.step.Served
	}
	if s.step.ClearAbort || s.step.Do == decide.DoRecall { // nothing is cancelled: said once
		d.node.aborted = d.node.view.abort
	}
	d.cfg.Log.Info().Str("step", string(s.step.Do)).Str("reason", string(s.step.Reason)).Msg("would do: " + printable.Line(s.step.Message, maxMessage))
}

// do runs work in the background and then done on the loop's goroutine, or fails. work
// must not be a closure over anything that the loop owns.
func do[T any](d *Daemon, step decide.Step, work func(ctx context.Context) (T, error), done func(T)) {
	d.steps.busy, d.steps.writes = true, step.Do.Writes()
	ctx := d.bg.steps
	d.bg.wg.Go(func() {
		result, err := work(ctx)
		d.bg.post(ctx, func() {
			d.steps.busy, d.steps.writes = false, false
			d.steps.callOff()
			if err != nil {
				d.stepFailed(step, err)
				return
			}
			d.steps.failed, d.steps.retryAt = 0, time.Time{}
			d.reach.see(nil)
			done(result)
		})
	})
}

// stepFailed has the step tried again, or rather decided again, after a pause.
func (d *Daemon) stepFailed(step decide.Step, err error) {
	now := d.clock.now()
	pause := backoff.After(d.steps.failed, err)
	d.steps.failed++
	d.steps.retryAt = now.Add(pause)
	var changed *changedError
	if errors.As(err, &changed) {
		d.node.see(changed.fresh)
		// The new state is here: decide at once, unless this goes on and on.
		if d.steps.failed < 5 {
			d.steps.retryAt = time.Time{}
		}
		d.cfg.Log.Debug().Str("step", string(step.Do)).Msg("the Node has changed since the decision; deciding again")
		return
	}
	if reply.Unreachable(err) {
		d.reach.see(err)
		return
	}
	line := d.cfg.Log.Error().Err(err).Str("step", string(step.Do)).Str("reason", string(step.Reason))
	words, refused := reply.Refusal(err)
	refused = refused && step.Do.Writes()
	if refused && d.steps.doubt(now) {
		d.steps.refuses++
		d.steps.failed, d.steps.retryAt = 0, time.Time{}
		d.steps.refused = decide.Refused{Do: step.Do, Words: words, Until: now.Add(decide.Pause(d.steps.refuses))}
		line.Time("next_try", d.steps.refused.Until).Msg("the API server refuses the step")
		return
	}
	if refused {
		pause = doubtPause
		d.steps.retryAt = now.Add(pause)
	}
	line.Dur("retry_in", pause).Msg("a step failed; retrying")
}

// changedError says that the Node was not as the decision took it to be.
type changedError struct{ fresh *corev1.Node } // nil: there is none any more

func (e *changedError) Error() string { return "the Node has changed" }

// nodePatcher patches the Node, in the background.
type nodePatcher struct {
	api          NodeAPI
	name         string
	data         encodedPatch
	subresources []string
}

// patched is the Node that a patch has led to.
type patched struct {
	node  *corev1.Node
	plain bool // the API server refuses what was optional in it
}

// refusesContent says whether a patch was refused for what it writes, by a policy or because
// it is too large, and not for lack of a right: an API server that has just started knows no
// roles yet.
func refusesContent(err error) bool {
	_, denied := reply.Denial(err)
	return denied || apierrors.IsInvalid(err) || apierrors.IsRequestEntityTooLargeError(err)
}

// run patches the Node; when the Node has changed, or the answer was lost, the newest
// state is read, however long that takes, so that the next decision rests on it.
func (p nodePatcher) run(ctx context.Context) (patched, error) {
	n, err := p.api.PatchNode(ctx, p.name, p.data.data, p.subresources...)
	plain := false
	if p.data.plain != nil && refusesContent(err) {
		plain = true
		n, err = p.api.PatchNode(ctx, p.name, p.data.plain, p.subresources...)
	}
	if err == nil {
		return patched{n, plain}, nil
	}
	failed := fmt.Errorf("patch the Node %s: %w", p.name, err)
	_, denied := reply.Denial(err)
	if denied || !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) && !reply.Unreachable(err) {
		return patched{}, failed
	}
	var pauses backoff.Pauses
	for {
		fresh, err := p.api.GetNode(ctx, p.name)
		switch {
		case apierrors.IsNotFound(err):
			return patched{}, &changedError{}
		case err == nil:
			return patched{}, &changedError{fresh}
		case ctx.Err() != nil:
			return patched{}, failed
		}
		pauses.Wait(ctx, err)
	}
}

// write patches record, cordon and, where it goes in the same request, the
// condition.
func (d *Daemon) write(s decided) {
	after := s.step
	if s.step.Record != nil {
		f := d.facts(s.now)
		if s.step.ClearAbort { // too late, and forgotten
			f.Abort = decide.Abort{}
		}
		after = d.next(d.policy, s.step.Record, f)
	} else if s.record != nil || !s.obeyed {
		d.publish.ended = s.step
	}
	data, subresources, err := d.recordPatch(s, after, d.conditionFor(after, s.step.Record != nil, s.now))
	if err != nil {
		d.stepFailed(s.step, err)
		return
	}
	do(d, s.step, nodePatcher{d.cfg.API, d.cfg.NodeName, data, subresources}.run, func(p patched) {
		d.steps.refused, d.steps.refuses, d.steps.doubtedLast = decide.Refused{}, 0, time.Time{}
		d.patched(s, p)
		if s.step.ClearAbort && s.record == nil && s.obeyed { // whoever sets it again at once waits
			d.steps.retryAt = d.clock.now().Add(heartbeat)
		}
		if !s.step.Silent {
			d.tellOnce(s.step)
		}
		if s.step.Uncordon {
			const removed = "removed the cordon that rebootd had set"
			d.cfg.Log.Info().Str("reason", string(api.ReasonUncordoned)).Msg(removed)
			d.events.add(corev1.EventTypeNormal, api.ReasonUncordoned, removed)
		}
	})
}

// spawn confirms the claims and starts the reboot command.
func (d *Daemon) spawn(s decided) {
	key := s.record.OrderKey()
	work := spawner{
		events: d.events, lock: d.cfg.Lock, start: d.cfg.Spawn, level: s.step.Level,
		log: d.cfg.Log.With().Str("operation", s.record.ID).Int("try", s.record.Order.Try).Logger(),
	}
	if d.lease.state == decide.ClaimHeld {
		work.leases = d.cfg.NodeLease
	}
	if d.voice.told.Reason != s.step.Reason {
		d.tell(s.step) // now: the machine may be gone in a moment
	}
	work.wanted, d.steps.recall = context.WithCancel(d.bg.steps)
	do(d, s.step, work.run, func(r spawnResult) {
		switch {
		case r.recalled:
		case r.leaseLost != nil:
			d.lease.lose(r.leaseLost)
		case r.slotLost != nil:
			d.slot.lose(r.slotLost)
		case r.paused != lock.Pause{}:
			d.slot.paused = r.paused
		default:
			d.child.spawned(key, r.child, r.startErr)
		}
	})
}

// release gives back the claims that are held, the node lease before the slot.
func (d *Daemon) release(s decided) {
	work := releaser{
		lock: d.cfg.Lock, log: d.cfg.Log, slot: d.slot.name, worked: d.slot.worked, giveWay: s.step.GiveWay, node: d.cfg.NodeName, clock: d.clock,
		succession: succession{api: d.cfg.API, node: d.cfg.NodeName, lock: d.policy.Lock, same: d.cfg.Same, clock: d.clock, log: d.cfg.Log, line: d.cfg.Lock.Line},
		zone:       api.ZoneOf(d.cfg.Same, s.node.labels), hasSlot: d.slot.state == decide.ClaimHeld,
	}
	if d.lease.state == decide.ClaimHeld {
		work.leases = d.cfg.NodeLease
	}
	do(d, s.step, work.run, func(struct{}) {
		if work.hasSlot {
			d.slot.released()
		}
		if work.leases != nil {
			d.lease.released()
		}
		if s.step.Reason == api.ReasonReleased {
			d.mention(s.step)
		} else {
			d.tellOnce(s.step) // why, which lasts
		}
	})
}

// releaser gives back claims, in the background. A node lease that cannot be released
// lapses; the slot does not, and is waited for.
type releaser struct {
	leases     NodeLeaser // nil: it is not held
	lock       lock.Locker
	hasSlot    bool
	slot       string
	worked     bool // the node was worked on under it
	zone       string
	node       string
	giveWay    string
	succession succession
	clock      clock
	log        zerolog.Logger
}

func (r releaser) run(ctx context.Context) (struct{}, error) {
	if r.leases != nil {
		if err := r.leases.Release(ctx); reply.Unreachable(err) {
			return struct{}{}, err
		} else if err != nil {
			r.log.Warn().Err(err).Msg("releasing the node lease failed; it will lapse")
		}
	}
	if !r.hasSlot {
		return struct{}{}, nil
	}
	next := api.Line{Nodes: []string{r.giveWay, r.node}, At: r.clock.now()} // and back
	if r.giveWay == "" {
		next = r.succession.next(ctx, r.zone)
	}
	release := r.lock.Release
	if r.worked {
		release = func(ctx context.Context, next api.Line) error {
			return r.lock.ReleaseWorked(ctx, next, r.clock.calendar())
		}
	}
	if err := release(ctx, next); err != nil {
		return struct{}{}, fmt.Errorf("release the slot %s: %w", r.slot, err)
	}
	return struct{}{}, nil
}
