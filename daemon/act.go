package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"rebootd.dev/daemon/decide"
	"rebootd.dev/lock"
	"rebootd.dev/lock/nodelease"
)

// publishPause lies between two writes that only tell people something.
const publishPause = 5 * time.Second

// flushLimit is how long the last Events may hold up the reboot.
const flushLimit = time.Second

// act begins what step wants done once, and says whether it began anything. The
// result comes back to the loop; until then no other step begins.
func (d *Daemon) act(step decide.Step) bool {
	if d.DryRun && !reads(step.Do) {
		return d.pretend(step)
	}
	switch step.Do {
	case decide.Write, decide.Cordon, decide.Restore:
		d.write(step)
	case decide.Release:
		d.release(step)
	case decide.Take, decide.Look:
		d.take(step)
	case decide.Spawn:
		d.spawn(step)
	default:
		return false
	}
	return true
}

// reads says whether a step changes nothing outside, in a dry run.
func reads(a decide.Action) bool {
	return a == decide.Take || a == decide.Look
}

// step runs do in the background and then done in the loop.
func (d *Daemon) step(step decide.Step, do func(ctx context.Context) (done func(), err error)) {
	d.busy = true
	ctx := d.bg.steps
	d.bg.run(func() {
		done, err := do(ctx)
		d.post(ctx, func() {
			d.busy = false
			if err != nil {
				d.stepFailed(step, err)
				return
			}
			d.failed, d.retryAt = 0, time.Time{}
			d.apiUp()
			done()
		})
	})
}

// stepFailed has the step tried again, or rather decided again, after a pause.
func (d *Daemon) stepFailed(step decide.Step, err error) {
	pause := pauseAfter(d.failed, err)
	d.failed++
	d.retryAt = d.now().Add(pause)
	if errors.Is(err, errChanged) {
		// The new state is here: decide at once, unless this goes on and on.
		if d.failed < 5 {
			d.retryAt = time.Time{}
		}
		d.Log.Debug().Str("step", string(step.Do)).Msg("the Node has changed since the decision; decides anew")
		return
	}
	if unreachable(err) {
		d.apiDown(err)
		return
	}
	d.Log.Error().Err(err).Str("step", string(step.Do)).Str("reason", string(step.Reason)).Dur("retry_in", pause).
		Msg("a step failed; tries again")
}

// unreachable tells an API server that cannot be reached, or not just now, from
// one that refuses.
func unreachable(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		var netErr net.Error
		return errors.As(err, &netErr) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, net.ErrClosed)
	}
	return apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err)
}

// errChanged says that the Node was not as the decision took it to be.
var errChanged = errors.New("the Node has changed")

// write patches record, cordon and, where it goes in the same request, the
// condition.
func (d *Daemon) write(step decide.Step) {
	after := step
	if step.Record != nil {
		f := d.facts(d.now())
		after = decide.Next(d.Policy, step.Record, f)
	} else {
		d.ended = step
	}
	data, subresources, err := d.recordPatch(step, d.conditionFor(after, step.Record != nil))
	if err != nil {
		d.stepFailed(step, err)
		return
	}
	old := d.record
	d.step(step, func(ctx context.Context) (func(), error) {
		n, err := d.patchNode(ctx, data, subresources...)
		if err != nil {
			return nil, err
		}
		return func() {
			d.seeNode(n)
			d.Metrics.transition(old, step, d.now())
			d.tell(step)
			if step.Uncordon {
				d.events.add(corev1.EventTypeNormal, decide.Uncordoned, "removed the cordon that rebootd had set")
			}
		}, nil
	})
}

// patchNode patches the Node; when the Node has changed, or the answer was lost,
// the newest state is read so that the next decision rests on it.
func (d *Daemon) patchNode(ctx context.Context, data []byte, subresources ...string) (*corev1.Node, error) {
	n, err := d.API.PatchNode(ctx, d.NodeName, data, subresources...)
	if err == nil {
		return n, nil
	}
	if !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) && !unreachable(err) {
		return nil, fmt.Errorf("patch the Node %s: %w", d.NodeName, err)
	}
	fresh, getErr := d.API.GetNode(ctx, d.NodeName)
	switch {
	case apierrors.IsNotFound(getErr):
		d.post(ctx, func() { d.seeNode(nil) })
	case getErr != nil:
		return nil, fmt.Errorf("patch the Node %s: %w", d.NodeName, err)
	default:
		d.post(ctx, func() { d.seeNode(fresh) })
	}
	return nil, errChanged
}

// spawn makes sure of the slot and starts the reboot command: the point of no
// return. The record says already that it is about to happen.
func (d *Daemon) spawn(step decide.Step) {
	key := d.record.OrderKey()
	lease := d.nodeLease.State == decide.LeaseHeld
	log := d.Log.With().Str("operation", d.record.ID).Int("try", d.record.Order.Try).Logger()
	if d.told.Reason != step.Reason {
		d.tell(step) // now: the machine may be gone in a moment
	}
	d.step(step, func(ctx context.Context) (func(), error) {
		flush, cancel := context.WithTimeout(ctx, flushLimit)
		d.events.flush(flush)
		cancel()
		if lease {
			if err := d.NodeLease.Renew(ctx); errors.Is(err, nodelease.ErrLost) {
				return func() { d.loseLease(err) }, nil
			} else if err != nil {
				return nil, fmt.Errorf("renew the node lease before the reboot: %w", err)
			}
		}
		if err := d.Lock.Fence(ctx); err != nil {
			var paused *lock.PausedError
			switch {
			case errors.Is(err, lock.ErrLost):
				return func() { d.slot = decide.Slot{State: decide.SlotGone, Note: err.Error()} }, nil
			case errors.As(err, &paused):
				return func() { d.slot.Paused = paused.Why }, nil
			}
			return nil, fmt.Errorf("confirm the slot before the reboot: %w", err)
		}
		child, err := d.Spawn(step.Level, func(line string) { log.Info().Str("output", line).Msg("reboot command") })
		if err != nil {
			return func() {
				d.child = decide.Child{Key: key, State: decide.ChildFailed, Ended: d.now(), Problem: err.Error()}
			}, nil
		}
		d.bg.run(func() { d.awaitChild(key, child) })
		return func() {
			d.child = decide.Child{Key: key, State: decide.ChildRunning}
		}, nil
	})
}

func (d *Daemon) awaitChild(key string, child Child) {
	ctx := d.bg.steps
	select {
	case <-child.Done():
	case <-ctx.Done():
		return
	}
	r := child.Result()
	d.post(ctx, func() {
		d.child = decide.Child{Key: key, State: decide.ChildSucceeded, Ended: d.now()}
		if err := r.Failure(); err != nil {
			d.child.State, d.child.Problem = decide.ChildFailed, err.Error()
		}
	})
}

// publish brings the Node's conditions, and the report of a drain that has just
// begun, up to date. It returns when it wants to be asked again.
func (d *Daemon) publish(step decide.Step, now time.Time) time.Time {
	if d.DryRun {
		return now.Add(heartbeat)
	}
	status := conditionsPatch(d.conditionFor(step, d.record != nil), d.lifecycleChanges(d.record, step))
	report := ""
	if d.drainKey != d.reportWritten {
		report = d.reportToWrite() // the pods seen, before any of them is gone
	}
	if status == nil && report == "" {
		return now.Add(heartbeat)
	}
	if due := d.publishedAt.Add(publishPause); now.Before(due) && d.node.condition != nil {
		return due
	}
	data, err := d.statusPatch(status, report)
	if err != nil {
		d.stepFailed(step, err)
		return now.Add(heartbeat)
	}
	d.publishedAt = now
	reported := d.reportWritten
	if report != "" {
		reported = d.drainKey
	}
	d.step(decide.Step{Do: decide.Wait, Reason: step.Reason}, func(ctx context.Context) (func(), error) {
		n, err := d.patchNode(ctx, data, "status")
		if err != nil {
			return nil, err
		}
		return func() {
			d.seeNode(n)
			d.reportWritten = reported
		}, nil
	})
	return now.Add(heartbeat)
}
