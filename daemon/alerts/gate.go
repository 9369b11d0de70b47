// Package alerts is the gate of alerts: no node is rebooted while alerts fire that people
// have chosen, and none counts as healthy after its boot while alerts about it do. It asks
// Prometheus, or what answers as Prometheus does, by one query.
//
// An answer without alerts is what a Prometheus gives that has just started, one that
// evaluates no rules, and one that is not the right one. So an answer counts only with
// proof that alerts are evaluated: an alert that fires always, evaluated a moment ago, and
// for as long as is looked back. Whatever else comes back closes the gate.
package alerts

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

const (
	// again is how often it is asked while the answers are good.
	again = 30 * time.Second
	// firstAgain and lastAgain are the pauses after failures, each twice as long as the one
	// before.
	firstAgain, lastAgain = 15 * time.Second, time.Minute
	// mostGrace bounds for how long a node that has been rebooted waits for an answer.
	mostGrace = 5 * time.Minute
)

// Gate is the gate. It is made once for a daemon.
type Gate struct {
	// Ask puts a query, and returns the answer, complete; [Server.Query] does.
	Ask func(ctx context.Context, query string) ([]Sample, error)
	// Alerts are those that count, besides rebootd's own and the watchdog.
	Alerts []Selector
	Ignore string // a regular expression for the names of alerts that do not; "": none
	// Watchdog is the alert that fires always; nil: no proof is demanded.
	Watchdog *Selector
	// Lookback is for how long no alert must have fired; 0: alerts that fire now count.
	Lookback time.Duration
	// HealthTimeout is how long the node may take after the boot to become healthy.
	HealthTimeout time.Duration
	// Overdue finds the nodes that wait for a slot and are past their deadline, so that
	// alerts do not keep them from it: this one gives its own up for the first of them. nil:
	// it gives way to nobody.
	Overdue func(ctx context.Context) ([]string, error)
	Log     func(format string, args ...any)

	gaveWay map[string]time.Time // to whom, though this node held a slot
}

// Kind is what is to be known of the gate. What holds everybody up, an answer that does not
// come included, has a node keep its slot: the others wait in the queue then, and ask
// nobody.
func (g *Gate) Kind() gate.Kind {
	k := gate.Kind{
		Name: "alerts", Reason: api.ReasonAlertsFiring, Binds: gate.WithSlot, Soft: true,
		Meaning: "an alert that `--alerts` selects fires, or has within `--alerts-lookback`; or Prometheus does not answer, or not as it should. After the boot: an alert about the node fires, and has begun since",
	}
	if len(g.Alerts) == 0 || slices.ContainsFunc(g.Alerts, Selector.OfNode) {
		k.Binds |= gate.OnTurn | gate.BeforeUncordon
	}
	return k
}

// Key tells before the boot from after it, and what the node is called.
func (g *Gate) Key(v gate.View) string { return g.query(v) }

// rebooted says whether the gate is asked after the boot.
func rebooted(v gate.View) bool {
	return v.Record != nil && v.Record.Phase != api.PhaseWaiting && v.Record.Phase != api.PhaseQueued
}

// Run asks until ctx ends, and says each change.
func (g *Gate) Run(ctx context.Context, v gate.View, say func(gate.Verdict)) {
	if v.Node.Name == "" {
		return // it is asked anew when the Node has been read
	}
	query, began := g.query(v), time.Now()
	var last gate.Verdict
	way := way{Gate: g}
	defer func() { way.ended(last) }()
	pause := firstAgain
	for {
		verdict, err := g.ask(ctx, query, v)
		if ctx.Err() != nil {
			return
		}
		wait := again
		if err != nil {
			verdict = g.failed(v, err, began)
			wait, pause = pause, min(2*pause, lastAgain)
		} else {
			pause = firstAgain
		}
		if verdict = way.given(ctx, verdict, v.HasSlot && !rebooted(v)); ctx.Err() != nil {
			return
		}
		if verdict != last {
			if err != nil && verdict.State == gate.Open {
				g.Log("cannot find out whether alerts are firing: %v; not waiting any longer for that: the other checks decide whether the node is healthy", err)
			}
			last = verdict
			say(verdict)
		}
		select {
		case <-time.After(wait - wait/8 + rand.N(wait/4)):
		case <-ctx.Done():
			return
		}
	}
}

func (g *Gate) ask(ctx context.Context, query string, v gate.View) (gate.Verdict, error) {
	answer, err := g.Ask(ctx, query)
	if err != nil {
		return gate.Verdict{}, err
	}
	r, err := read(answer)
	if err != nil {
		return gate.Verdict{}, err
	}
	now := time.Now()
	if err := g.proof(r, now); err != nil {
		return gate.Verdict{}, err
	}
	if !rebooted(v) {
		return g.judge(r)
	}
	var ordered time.Duration
	if o := v.Record.Order; o != nil {
		ordered = now.Sub(o.At)
	}
	return g.judgeAfter(r, ordered), nil
}

// failed is the verdict where it cannot be found out whether alerts fire. After the boot
// the node does not wait for that without end: what answers may be a pod that can run
// nowhere but here, and no other node is cordoned before it answers.
func (g *Gate) failed(v gate.View, err error, began time.Time) gate.Verdict {
	why := "cannot find out whether alerts are firing: " + err.Error()
	if !rebooted(v) {
		return gate.Verdict{State: gate.Closed, At: gate.WithSlot, Why: why}
	}
	if grace := min(mostGrace, g.HealthTimeout/2); time.Since(began) < grace {
		return gate.Verdict{State: gate.Closed, At: gate.BeforeUncordon, Why: why, Until: began.Add(grace).Round(0)}
	}
	return gate.Verdict{State: gate.Open}
}

var _ gate.Keyed = (*Gate)(nil)
