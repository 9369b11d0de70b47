package daemon

import (
	"context"
	"strings"
	"time"

	"github.com/rs/zerolog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

const (
	// ownNodePolicy is the admission policy that the daemon looks for
	// (deploy/base/policy.yaml), and policyWords are what it says.
	ownNodePolicy = "rebootd-own-node"
	policyWords   = "denied request: rebootd may change nothing of its node's metadata"
	// policyBait is a write that the policy must refuse. It is sent as a dry run.
	policyBait = `{"metadata":{"labels":{"rebootd.dev/policy-probe":"x"}}}`
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

// policyProbe asks the API server, in the background.
type policyProbe struct {
	api     NodeAPI
	node    string
	log     zerolog.Logger
	metrics *Metrics
}

// run finds out, once, whether an admission policy keeps the daemon to its own
// node, and says so if none does. Nothing waits for it.
func (p policyProbe) run(ctx context.Context) {
	switch p.metrics.policy(probePolicy(ctx, func(ctx context.Context) error {
		return p.api.DryRunPatchNode(ctx, p.node, []byte(policyBait))
	})) {
	case unconfined:
		p.log.Warn().Str("policy", ownNodePolicy).Msg("no admission policy keeps this daemon to its own node: anyone who steals its credentials can write every Node and every slot. " +
			"Install deploy/base/policy.yaml; docs/security.md says where it has no effect")
	case confined:
		p.log.Debug().Str("policy", ownNodePolicy).Msg("an admission policy keeps this daemon to its own node")
	default:
		if ctx.Err() == nil {
			p.log.Info().Str("policy", ownNodePolicy).Msg("cannot find out whether an admission policy keeps this daemon to its own node; asking again at the next start")
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
