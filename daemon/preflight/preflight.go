// Package preflight is the gate of what could not be drained: people are told days before
// the turn of their node which of its pods could not be evicted, and no pod is moved where
// some would stay for good. It knows when to look and what follows; pods and budgets are
// known to package drain.
package preflight

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/backoff"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/printable"
	"rebootd.dev/drain"
)

const (
	// limit is for how long a node keeps its slot to find out. Then it drains all the same.
	limit = time.Minute
	// maxWords bounds what people are told of one group of pods, in bytes.
	maxWords = 200
	// maxPods and maxGroups bound what is named.
	maxPods, maxGroups = 2, 3
)

// Drainer is what the gate needs of the drain; package drain implements it.
type Drainer interface {
	// Foresee says what would keep pods on the node, by what is known of budgets, at first
	// and whenever that changes, until ctx ends.
	Foresee(ctx context.Context, say func([]drain.Blocker))
	// Rehearse asks about each pod, as a dry run.
	Rehearse(ctx context.Context) (drain.Rehearsal, error)
}

// Gate is the gate. It is made once for a daemon.
type Gate struct {
	Drainer Drainer
	// TellOnly has it stay open: people are told, and no more.
	TellOnly bool
	Log      zerolog.Logger

	foreseen []drain.Blocker // the last time
}

// Kind is what is to be known of the gate.
func (*Gate) Kind() gate.Kind {
	return gate.Kind{
		Name: "preflight", Reason: api.ReasonWouldNotDrain, Binds: gate.BeforeQueue | gate.OnTurn, Soft: true,
		Meaning: "pods on the node could not be evicted, and no time would change that; told while the node waits, closed on its turn (`--preflight`)",
	}
}

// Key has it asked anew when the node's turn has come, which may be long after it has got
// its slot, and when that is over.
func (*Gate) Key(v gate.View) string {
	if !v.OnTurn || v.Record == nil {
		return ""
	}
	return v.Record.ID
}

// Run foresees while the node waits, and rehearses on its turn.
func (g *Gate) Run(ctx context.Context, v gate.View, say func(gate.Verdict)) {
	if !v.OnTurn {
		if v.Record == nil {
			g.foreseen = nil // of an operation before this one
		}
		say(gate.Verdict{State: gate.Open, Note: words(g.foreseen)})
		g.Drainer.Foresee(ctx, func(b []drain.Blocker) {
			g.foreseen = b
			say(gate.Verdict{State: gate.Open, Note: words(b)})
		})
		return
	}
	if g.TellOnly {
		say(gate.Verdict{State: gate.Open, Note: words(g.foreseen)})
		return
	}
	soon, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := g.rehearse(soon)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		g.Log.Warn().Err(err).Msg("cannot find out whether the pods could be evicted; draining all the same")
		say(gate.Verdict{State: gate.Open, Note: "cannot find out whether the pods could be evicted: " + printable.Line(err.Error(), maxWords)})
	default:
		say(g.judge(r))
	}
}

func (g *Gate) rehearse(ctx context.Context) (drain.Rehearsal, error) {
	var pauses backoff.Pauses
	for {
		r, err := g.Drainer.Rehearse(ctx)
		if err == nil || ctx.Err() != nil {
			return r, err
		}
		pauses.Wait(ctx, err)
	}
}

// judge says whether a node had better not be drained.
func (g *Gate) judge(r drain.Rehearsal) gate.Verdict {
	stay := r.Stay(g.foresaw)
	if len(stay) > 0 {
		g.Log.Info().Int("pods", r.Pods).Str("what", words(stay)).Msg("the node is not drained: pods could not be evicted")
		return gate.Verdict{State: gate.Closed, At: gate.OnTurn, Why: words(stay)}
	}
	return gate.Verdict{State: gate.Open, Note: words(r.Blockers)}
}

func (g *Gate) foresaw(b drain.Blocker) bool {
	return slices.ContainsFunc(g.foreseen, func(f drain.Blocker) bool {
		return f.Reason == b.Reason && slices.ContainsFunc(b.Pods, func(p string) bool { return slices.Contains(f.Pods, p) })
	})
}

// todo is what people can do about it.
var todo = map[api.PodReason]string{
	api.PodBudgetNeverAllows: "change the budget, run more pods, or delete the pod",
	api.PodMultipleBudgets:   "remove all but one of them, or delete the pod",
	api.PodUnhealthySiblings: "mend the pods that are not Ready",
	api.PodForbidden:         "grant rebootd the permission, or delete the pod",
}

// words are what blocks, in a sentence that stays the same while nothing changes for
// people; "" for nothing.
func words(all []drain.Blocker) string {
	var parts []string
	for i, b := range all {
		pods := b.Pods
		if more := len(pods) - maxPods; more > 1 {
			pods = append(slices.Clip(pods[:maxPods]), fmt.Sprintf("%d more", more))
		}
		switch {
		case i == maxGroups:
			n := 0
			for _, x := range all[i:] {
				n += len(x.Pods)
			}
			parts = append(parts, fmt.Sprintf("and %d more pods", n))
			return strings.Join(parts, "; ")
		case i > 0:
			parts = append(parts, fmt.Sprintf("%s too (%s)", strings.Join(pods, ", "), b.Reason))
			continue
		}
		s := fmt.Sprintf("would not be able to evict %s: %s: %s", strings.Join(pods, ", "), b.Reason, printable.Line(b.Message, maxWords))
		switch {
		case b.Managed:
			s += "; its operator may make room when the node is cordoned"
		case todo[b.Reason] != "":
			s += "; " + todo[b.Reason]
		}
		parts = append(parts, s)
	}
	return strings.Join(parts, "; ")
}
