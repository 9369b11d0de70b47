package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/decide"
	"rebootd.dev/lock"
	"rebootd.dev/lock/nodelease"
)

// NodeLeaser is the node lease as the daemon uses it; package lock/nodelease
// implements it and documents what its methods promise.
type NodeLeaser interface {
	Find(ctx context.Context) (nodelease.Status, error)
	Take(ctx context.Context, nodeUID types.UID) (nodelease.Status, error)
	Renew(ctx context.Context) error
	Release(ctx context.Context) error
	RenewEvery() time.Duration
}

// leaseNeeded says whether the node lease is to be kept up. A node that has halted
// waits for people, or for those who take care of nodes when the lease has lapsed.
func (d *Daemon) leaseNeeded() bool {
	switch d.phase() {
	case decide.Queued, decide.Draining, decide.Rebooting, decide.Verifying:
		return d.nodeLease.State == decide.LeaseHeld && !d.DryRun
	default:
		return false
	}
}

// keepLeaseTask looks up the node lease at first, and renews it while it is needed.
func (d *Daemon) keepLeaseTask(step decide.Step) (idle bool) {
	if d.NodeLease == nil {
		return true
	}
	want, any := keepLease, false
	switch {
	case step.Do == decide.Take || step.Do == decide.Look || step.Do == decide.Release || d.recordErr != nil:
	case d.nodeLease.State == decide.LeaseUnknown:
		want, any = findLease, true
	case d.leaseNeeded():
		any = true
	}
	if d.leaseTask != nil {
		if any && d.leaseTask.kind == want {
			return true
		}
		d.leaseTask.cancel()
		return false
	}
	switch {
	case !any:
	case want == findLease:
		d.leaseTask = d.begin(findLease, d.findLease)
	default:
		fresh := !d.nodeLease.At.IsZero()
		d.leaseTask = d.begin(keepLease, func(ctx context.Context) func() { return d.keepLease(ctx, fresh) })
	}
	return true
}

func (d *Daemon) findLease(ctx context.Context) func() {
	var backoff backoff
	for {
		s, err := d.NodeLease.Find(ctx)
		switch {
		case err == nil:
			return func() {
				d.leaseTask = nil
				d.seeLease(s)
				if s.Held {
					d.nodeLease.At = time.Time{} // it was found, and not renewed
				}
			}
		case ctx.Err() != nil:
			return func() { d.leaseTask = nil }
		case unreachable(err):
			d.post(ctx, func() { d.apiDown(err) })
		default:
			d.Log.Error().Err(err).Msg("looking up the node lease failed; tries again")
		}
		backoff.wait(ctx, err)
	}
}

// keepLease renews the lease until ctx ends or the lease is lost. fresh: it was
// taken just now.
func (d *Daemon) keepLease(ctx context.Context, fresh bool) func() {
	var backoff backoff
	for {
		if fresh {
			t := time.NewTimer(d.NodeLease.RenewEvery())
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				return func() { d.leaseTask = nil }
			}
		}
		err := d.NodeLease.Renew(ctx)
		switch {
		case err == nil:
			fresh = true
			backoff.reset()
			d.post(ctx, func() {
				if d.nodeLease.State == decide.LeaseHeld {
					d.nodeLease.At = d.now()
				}
			})
		case ctx.Err() != nil:
			return func() { d.leaseTask = nil }
		case errors.Is(err, nodelease.ErrLost):
			return func() {
				d.leaseTask = nil
				d.loseLease(err)
			}
		default:
			fresh = false
			d.Log.Warn().Err(err).Msg("tries again to renew the node lease")
			backoff.wait(ctx, err)
		}
	}
}

func (d *Daemon) loseLease(err error) {
	if d.nodeLease.State == decide.LeaseHeld {
		d.nodeLease = decide.NodeLease{State: decide.LeaseLost, At: d.now(), Why: err.Error()}
		d.Log.Warn().Err(err).Str("reason", string(decide.NodeLeaseLost)).Msg("the node lease was taken away")
	}
}

// seeLease notes how the node lease stands.
func (d *Daemon) seeLease(s nodelease.Status) {
	was := d.nodeLease
	d.nodeLease = decide.NodeLease{State: decide.LeaseFree, At: d.now()}
	switch {
	case s.Held:
		d.nodeLease.State = decide.LeaseHeld
		if was.State != decide.LeaseHeld {
			d.Log.Info().Msg("holds the node lease")
		}
	case s.Foreign != "":
		d.nodeLease.State, d.nodeLease.Why = decide.LeaseForeign, s.Foreign
	case s.Unavailable != "":
		d.nodeLease.State, d.nodeLease.Why = decide.LeaseUnavailable, s.Unavailable
		if d.leaseTold != s.Unavailable {
			d.leaseTold = s.Unavailable
			d.Log.Info().Str("why", s.Unavailable).Str("mode", string(d.Policy.NodeLease)).Msg("there is no node lease to be had")
		}
	}
}

// take takes the node lease, or only looks at it. A dry run takes what is free in
// its mind.
func (d *Daemon) take(step decide.Step) {
	uid := d.node.uid
	d.step(step, func(ctx context.Context) (func(), error) {
		ask := func() (nodelease.Status, error) { return d.NodeLease.Take(ctx, uid) }
		if step.Do == decide.Look || d.DryRun {
			ask = func() (nodelease.Status, error) { return d.NodeLease.Find(ctx) }
		}
		s, err := ask()
		if err != nil {
			return nil, fmt.Errorf("%s the node lease: %w", step.Do, err)
		}
		if d.DryRun && step.Do == decide.Take && s == (nodelease.Status{}) {
			s.Held = true
		}
		return func() { d.seeLease(s) }, nil
	})
}

// release gives up the node lease and the slot, whichever is held. A lease that
// cannot be given up lapses; the slot does not, and is waited for.
func (d *Daemon) release(step decide.Step) {
	lease, slot, name := d.nodeLease.State == decide.LeaseHeld, d.slot.State == decide.SlotHeld, d.slot.Name
	zone, way := zoneOf(d.Same, d.node.labels), d.giveWay()
	d.step(step, func(ctx context.Context) (func(), error) {
		if lease {
			if err := d.NodeLease.Release(ctx); unreachable(err) {
				return nil, err
			} else if err != nil {
				d.Log.Warn().Err(err).Msg("the node lease cannot be given up; it will lapse")
			}
		}
		if slot {
			next := lock.Line{Nodes: []string{way, d.NodeName}, At: d.now()} // and back
			if way == "" {
				next = d.line(ctx, zone)
			}
			if err := d.Lock.Release(ctx, next); err != nil {
				return nil, fmt.Errorf("release the slot %s: %w", name, err)
			}
		}
		return func() {
			if slot {
				d.slot = decide.Slot{State: decide.SlotNone}
			}
			if way != "" {
				d.gaveWay[way] = d.now()
			}
			if lease {
				d.nodeLease = decide.NodeLease{State: decide.LeaseFree, At: d.now()}
			}
			before := d.told
			d.tell(step)
			d.told = before // what the node waits for has been told, and goes on
		}, nil
	})
}
