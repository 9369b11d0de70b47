package daemon

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/backoff"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/reply"
	"rebootd.dev/lock"
	"rebootd.dev/lock/nodelease"
)

// NodeLeaser is the node lease as the daemon uses it: the Lease by which operators that
// work on single nodes (medik8s: Node Maintenance Operator, NodeHealthCheck) keep out of
// each other's way. Package lock/nodelease implements it and documents what its methods
// promise.
type NodeLeaser interface {
	Find(ctx context.Context) (nodelease.Status, error)
	Take(ctx context.Context, nodeUID types.UID) (nodelease.Status, error)
	Renew(ctx context.Context) error
	Release(ctx context.Context) error
	RenewEvery() time.Duration
}

const (
	// nodeLeaseClaim is the name of the claim to the node lease.
	nodeLeaseClaim = "node-lease"
	// leasePause is how long another operator's hold on the node is believed before
	// it is looked at again, and how long our own is before the last step under it.
	leasePause = time.Minute
)

var nodeLeaseKind = decide.ClaimKind{Name: nodeLeaseClaim, Lost: api.ReasonNodeLeaseLost, Fresh: leasePause}

// leaseWorker knows how the node lease stands.
type leaseWorker struct {
	bg       *background
	clock    clock
	reach    *reach
	log      zerolog.Logger
	leases   NodeLeaser // nil: it is neither looked at nor taken
	required bool
	dryRun   bool

	state decide.ClaimState
	at    time.Time // when it was last seen so
	note  string
	told  string // why there is none, as it was said in the log
	asked string // the attempt for which it was asked for last
	uid   types.UID

	task *task
	does leaseTask
}

// leaseTask is what goes on for the node lease.
type leaseTask int

const (
	leaseRests leaseTask = iota
	leaseIsLookedUp
	leaseIsTaken
	leaseIsRenewed
)

func newLeaseWorker(c Config, bg *background, k clock, r *reach) *leaseWorker {
	return &leaseWorker{bg: bg, clock: k, reach: r, log: c.Log, leases: c.NodeLease, required: c.LeaseRequired, dryRun: c.DryRun}
}

// follow looks the node lease up at first, takes it when it is due, and renews it while
// an operation needs it. While somebody else has it, or there is none, it looks again
// each leasePause, as long as anything depends on it.
func (w *leaseWorker) follow(s decided) bool {
	if w.leases == nil {
		return true
	}
	want := w.wanted(s)
	if w.task != nil {
		if w.does == want {
			return true
		}
		w.task.cancel()
		return false
	}
	w.does = want
	c := leaseClient{leases: w.leases, uid: w.uid, dryRun: w.dryRun}
	switch want {
	case leaseIsLookedUp:
		w.task = start(w.bg, c.find, w.failed, w.looked)
	case leaseIsTaken:
		w.task = start(w.bg, c.take, w.failed, w.looked)
	case leaseIsRenewed:
		c.fresh = !w.at.IsZero()
		w.task = start(w.bg, c.keep, w.renewed, w.kept)
	}
	return true
}

func (w *leaseWorker) wanted(s decided) leaseTask {
	if s.node == nil {
		w.forget("")
		return leaseRests
	}
	if s.node.uid != w.uid {
		w.forget(s.node.uid)
	}
	if s.phase() == api.PhaseQueued && w.state == decide.ClaimNone && w.asked != s.record.DrainKey() {
		w.asked, w.state = s.record.DrainKey(), decide.ClaimUnknown // medik8s may have come since
	}
	again := s.step.Asks != 0 && !w.clock.now().Before(w.at.Add(leasePause))
	switch {
	case s.step.Do == decide.DoRelease || !s.obeyed:
		return leaseRests
	case s.step.Do == decide.DoClaim && s.step.Claim == nodeLeaseClaim:
		return leaseIsTaken
	case w.state == decide.ClaimHeld && !w.dryRun && needsLease(s.phase()):
		return leaseIsRenewed
	case w.state == decide.ClaimUnknown,
		w.state == decide.ClaimLost && dependsOnLease(s),
		(w.state == decide.ClaimAnothers || w.state == decide.ClaimNone && w.required) && again:
		return leaseIsLookedUp
	default:
		return leaseRests
	}
}

// dependsOnLease says whether what follows depends on how a node lease that was lost stands
// now, and nothing else finds that out. During the pause after a failed attempt nothing does.
func dependsOnLease(s decided) bool {
	p := s.phase()
	return p == api.PhaseIdle || p == api.PhaseQueued || p == api.PhaseHalted || p == api.PhaseWaiting && s.step.Reason == api.ReasonQueued
}

// needsLease says whether the node lease is kept up in a phase. A node that has halted
// waits for people, or for those who take care of nodes when the lease has lapsed.
func needsLease(p api.Phase) bool {
	return p == api.PhaseQueued || p == api.PhaseDraining || p == api.PhaseRebooting || p == api.PhaseVerifying
}

func (w *leaseWorker) forget(uid types.UID) {
	w.uid, w.state, w.at, w.note = uid, decide.ClaimUnknown, time.Time{}, ""
}

func (w *leaseWorker) failed(err error) {
	if reply.Unreachable(err) {
		w.reach.see(err)
		return
	}
	w.log.Error().Err(err).Msg("the node lease could not be read or taken; retrying")
}

// looked notes how the node lease stands.
func (w *leaseWorker) looked(f leaseFound, cancelled bool) {
	w.task = nil
	if f.err != nil {
		if w.does == leaseIsTaken && cancelled {
			w.forget(w.uid) // it may have been taken
		}
		return
	}
	was := w.state
	w.state, w.at, w.note = decide.ClaimFree, w.clock.now(), ""
	switch s := f.status; {
	case s.Held:
		w.state = decide.ClaimHeld
		if was != decide.ClaimHeld {
			w.log.Info().Msg("the node lease is held")
		}
		if w.does == leaseIsLookedUp {
			w.at = time.Time{} // it was found, and not renewed
		}
	case s.Foreign != "":
		w.state, w.note = decide.ClaimAnothers, s.Foreign
	case s.Unavailable != "":
		w.state, w.note = decide.ClaimNone, s.Unavailable
		if w.told != s.Unavailable {
			w.told = s.Unavailable
			w.log.Info().Str("why", s.Unavailable).Bool("required", w.required).Msg("no node lease is available")
		}
	}
}

func (w *leaseWorker) renewed(err error) {
	switch {
	case err != nil:
		w.log.Warn().Err(err).Msg("renewing the node lease failed; retrying")
	case w.state == decide.ClaimHeld:
		w.at = w.clock.now()
	}
}

func (w *leaseWorker) kept(err error, _ bool) {
	w.task = nil
	if errors.Is(err, lock.ErrLost) {
		w.lose(err)
	}
}

// lose notes that the node lease was taken away.
func (w *leaseWorker) lose(err error) {
	if w.state != decide.ClaimHeld {
		return
	}
	w.state, w.at, w.note = decide.ClaimLost, w.clock.now(), err.Error()
	w.log.Warn().Err(err).Str("reason", string(api.ReasonNodeLeaseLost)).Msg("the node lease was taken away")
}

// released notes that the node lease is nobody's.
func (w *leaseWorker) released() { w.state, w.at, w.note = decide.ClaimFree, w.clock.now(), "" }

func (w *leaseWorker) facts(f *decide.Facts) {
	if w.leases != nil {
		f.Claims = append(f.Claims, decide.Claim{ClaimKind: nodeLeaseKind, State: w.state, Title: "node lease", Note: w.note, At: w.at})
	}
}

// freeVerdict is closed while another has the node lease.
func (w *leaseWorker) freeVerdict() gate.Verdict {
	switch {
	case w.leases == nil:
	case w.state == decide.ClaimAnothers:
		return gate.Verdict{State: gate.Closed, Why: w.note, Again: w.at.Add(leasePause)}
	case w.state == decide.ClaimUnknown || w.state == decide.ClaimLost:
		return gate.Verdict{} // it is looked up
	}
	return gate.Verdict{State: gate.Open}
}

// thereVerdict is closed while the node lease is required and cannot be had.
func (w *leaseWorker) thereVerdict() gate.Verdict {
	return verdictOf("the node lease is required but not available: "+w.note, w.required && w.state == decide.ClaimNone)
}

// leaseClient asks for the node lease, in the background.
type leaseClient struct {
	leases NodeLeaser
	uid    types.UID
	dryRun bool
	fresh  bool // it was renewed just now
}

type leaseFound struct {
	status nodelease.Status
	err    error
}

func (c leaseClient) find(ctx context.Context, failed func(error)) leaseFound {
	return c.until(ctx, failed, c.leases.Find)
}

// take takes the node lease. A dry run takes what is free in its mind.
func (c leaseClient) take(ctx context.Context, failed func(error)) leaseFound {
	if c.dryRun {
		f := c.find(ctx, failed)
		f.status.Held = f.status == nodelease.Status{}
		return f
	}
	return c.until(ctx, failed, func(ctx context.Context) (nodelease.Status, error) { return c.leases.Take(ctx, c.uid) })
}

func (c leaseClient) until(ctx context.Context, failed func(error), ask func(context.Context) (nodelease.Status, error)) leaseFound {
	var pauses backoff.Pauses
	for {
		s, err := ask(ctx)
		if err == nil || ctx.Err() != nil {
			return leaseFound{s, err}
		}
		failed(err)
		pauses.Wait(ctx, err)
	}
}

// keep renews the lease until ctx ends or the lease is lost.
func (c leaseClient) keep(ctx context.Context, said func(error)) error {
	var pauses backoff.Pauses
	for {
		if c.fresh {
			t := time.NewTimer(c.leases.RenewEvery())
			select {
			case <-t.C:
			case <-ctx.Done():
				t.Stop()
				return nil
			}
		}
		err := c.leases.Renew(ctx)
		if ctx.Err() != nil || errors.Is(err, lock.ErrLost) {
			return err
		}
		said(err)
		if c.fresh = err == nil; c.fresh {
			pauses.Reset()
			continue
		}
		pauses.Wait(ctx, err)
	}
}
