// Package policy is the gate of the cluster's own admission: the patch that would cordon
// the node is tried as a dry run, and what an admission policy or webhook says to it
// closes the gate, in its own words. It knows when to ask again; what the patch is, and
// what follows from a closed gate, is known to others.
package policy

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/backoff"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/printable"
	"rebootd.dev/daemon/reply"
)

const (
	// firstAgain and lastAgain are the pauses while the patch is refused, each twice as long
	// as the one before: what a policy looks at besides the Node is not seen here.
	firstAgain, lastAgain = time.Minute, 30 * time.Minute
	// soonest lies between two requests, however often the Node changes.
	soonest = 10 * time.Second
	// believed is for how long refusals that are not by an admission policy, and answers
	// that say nothing, are not believed: an API server that has just started knows neither
	// roles nor policies, and a webhook may be restarting.
	believed = 30 * time.Second
	// unclearAgain and lastUnclear are the pauses while it cannot be found out.
	unclearAgain, lastUnclear = 15 * time.Second, 5 * time.Minute
	// maxWords bounds what is quoted of a refusal, in bytes.
	maxWords = 250
)

// API is what the gate needs of the API server.
type API interface {
	// DryRunPatchNode asks whether a patch of a Node would be accepted, and changes nothing.
	DryRunPatchNode(ctx context.Context, name string, data []byte) error
}

// Gate is the gate. It is made once for a daemon.
type Gate struct {
	API  API
	Node string // this one
	Log  zerolog.Logger

	asked time.Time // the last time
}

// Kind is what is to be known of the gate.
func (*Gate) Kind() gate.Kind {
	return gate.Kind{
		Name: "policy", Reason: api.ReasonPolicyDenies, Binds: gate.BeforeQueue,
		Meaning: "an admission policy or webhook of the cluster's denies the cordon, which is tried as a dry run",
	}
}

// ours are the annotations of the Node that the daemon writes: they say nothing new to a
// policy.
var ours = []string{api.OperationAnnotation, api.ReportAnnotation, api.ServedAnnotation, api.DaemonAnnotation, api.StatusAnnotation, api.HistoryAnnotation}

// Key is what admission policies can see of the Node and that others change: labels,
// annotations, the cordon, and how its conditions stand. Heartbeats, reasons and messages
// of conditions are not part of it.
func (*Gate) Key(v gate.View) string {
	h := fnv.New64a()
	n := v.Node
	put := func(kind, key, value string) { _, _ = io.WriteString(h, kind+key+"\x00"+value+"\x00") }
	put("node", n.UID, fmt.Sprint(n.Unschedulable))
	for _, k := range slices.Sorted(maps.Keys(n.Labels)) {
		put("label", k, n.Labels[k])
	}
	for _, k := range slices.Sorted(maps.Keys(n.Annotations)) {
		if !slices.Contains(ours, k) {
			put("annotation", k, n.Annotations[k])
		}
	}
	conditions := make([]string, 0, len(n.Conditions))
	for _, c := range n.Conditions {
		if c.Type != api.RebootRequired && c.Reason != api.Ours {
			conditions = append(conditions, c.Type+"\x00"+c.Status)
		}
	}
	slices.Sort(conditions)
	put("conditions", strings.Join(conditions, "\x00"), "")
	return fmt.Sprintf("%x", h.Sum64())
}

// Run tries the patch until it would be accepted.
func (g *Gate) Run(ctx context.Context, v gate.View, say func(gate.Verdict)) {
	if !wait(ctx, time.Until(g.asked.Add(soonest))) {
		return
	}
	var (
		retries backoff.Pauses // while nothing is certain
		doubted time.Time      // since when answers are not believed
		again   = firstAgain
		unclear = unclearAgain
		last    gate.Verdict
	)
	for {
		g.asked = time.Now()
		err := g.API.DryRunPatchNode(ctx, g.Node, v.Trial)
		if ctx.Err() != nil {
			return
		}
		now := g.judge(err)
		_, denied := reply.Denial(err)
		_, refused := reply.Refusal(err)
		if now.State == gate.Open {
			say(now)
			return
		}
		if !denied && (reply.NoAnswer(err) || reply.Busy(err)) {
			// Without the API server nothing begins anyway. Whoever closed the gate then would
			// have to open it first when the API server is back.
			doubted = time.Time{}
			retries.Wait(ctx, err)
			continue
		}
		if doubted.IsZero() {
			doubted = g.asked
		}
		if !denied && last.State != gate.Closed && time.Since(doubted) < believed {
			retries.Wait(ctx, err)
			continue
		}
		retries.Reset()
		if now != last {
			g.Log.Info().Err(err).Msg("the dry run of the cordon is refused")
			last = now
			say(now)
		}
		pause := again
		if denied || refused {
			again = min(2*again, lastAgain)
		} else {
			pause, unclear = unclear, min(2*unclear, lastUnclear)
		}
		if !wait(ctx, pause) {
			return
		}
	}
}

// judge is what an answer means, once it is believed.
func (g *Gate) judge(err error) gate.Verdict {
	if err == nil {
		return gate.Verdict{State: gate.Open}
	}
	if reply.NoDryRun(err) {
		return gate.Verdict{State: gate.Open, Note: "whether the cordon will be denied cannot be tried beforehand: " + g.words(err.Error())}
	}
	if words, denied := reply.Denial(err); denied {
		return gate.Verdict{State: gate.Closed, Why: "the cordon of the node would be denied: " + g.words(words)}
	}
	if words, refused := reply.Refusal(err); refused {
		return gate.Verdict{State: gate.Closed, Why: "the cordon of the node would be refused: " + g.words(words)}
	}
	return gate.Verdict{State: gate.Closed, Why: "cannot find out whether the cordon of the node would be denied: " + g.words(err.Error())}
}

// words are those of an answer without the node's name in front, which people know and
// which may be longer than what the policy has to say.
func (g *Gate) words(s string) string {
	return printable.Line(strings.TrimPrefix(s, fmt.Sprintf("nodes %q is forbidden: ", g.Node)), maxWords)
}

// wait returns false when ctx has ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
