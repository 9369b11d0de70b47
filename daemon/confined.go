package daemon

import (
	"context"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	// ownNodePolicy is the admission policy that the daemon looks for
	// (deploy/base/policy.yaml), and policyWords are what it says.
	ownNodePolicy = "rebootd-own-node"
	policyWords   = "denied request: rebootd may change nothing of its node's metadata"
	// policyProbe is a write that the policy must refuse. It is sent as a dry run.
	policyProbe = `{"metadata":{"labels":{"rebootd.dev/policy-probe":"x"}}}`
	// An API server that has just been given a policy takes some seconds to obey it:
	// a probe that is accepted is made again after this.
	policyDelay = 15 * time.Second
	// The pauses after an answer that says nothing double from the first, so often.
	firstProbePause = 10 * time.Second
	maxProbes       = 8
)

// confinement is what a probe of the policy has found out.
type confinement int

const (
	unclear    confinement = iota // nothing in the end
	confined                      // the policy refuses what it must
	unconfined                    // the write would have been accepted
)

// checkPolicy finds out, once, whether an admission policy keeps the daemon to its own
// node, and says so if none does. Nothing waits for it.
func (d *Daemon) checkPolicy(ctx context.Context) {
	switch d.Metrics.policy(probePolicy(ctx, func(ctx context.Context) error {
		return d.API.DryRunPatchNode(ctx, d.NodeName, []byte(policyProbe))
	})) {
	case unconfined:
		d.Log.Warn().Str("policy", ownNodePolicy).Msg("no admission policy keeps this daemon to its own node: whoever steals its credentials can write every Node and every slot. " +
			"Install deploy/base/policy.yaml; docs/security.md says for whom it has no effect")
	case confined:
		d.Log.Debug().Str("policy", ownNodePolicy).Msg("an admission policy keeps this daemon to its own node")
	default:
		if ctx.Err() == nil {
			d.Log.Info().Str("policy", ownNodePolicy).Msg("cannot find out whether an admission policy keeps this daemon to its own node; continuing without that knowledge until the next start")
		}
	}
}

// probePolicy makes the probe until its answer says something.
func probePolicy(ctx context.Context, probe func(context.Context) error) confinement {
	accepted := false
	pause := firstProbePause
	for range maxProbes {
		err := probe(ctx)
		wait := pause
		switch {
		case apierrors.IsForbidden(err) && strings.Contains(err.Error(), policyWords):
			return confined
		case err == nil && accepted:
			return unconfined
		case err == nil:
			accepted, wait = true, policyDelay
		default: // not allowed at all, refused by something else, or no answer
			accepted = false
			pause *= 2
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return unclear
		case <-t.C:
		}
	}
	return unclear
}
