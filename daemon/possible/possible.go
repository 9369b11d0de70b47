// Package possible is the gate of what cannot be done: no node is drained for a reboot
// that its machine will refuse. It knows when to ask again; what a reboot needs is known
// to package reboot.
package possible

import (
	"context"
	"errors"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/reboot"
)

const (
	// openAgain is how often it is asked while a reboot is possible: it has to be right
	// when the drain has ended.
	openAgain = 5 * time.Second
	// firstAgain and lastAgain are the pauses while it is not, each twice as long as the
	// one before: whoever refuses may write an audit log.
	firstAgain, lastAgain = time.Second, 15 * time.Second
	// passes is for how long what may pass is not believed: the system bus and logind are
	// back within seconds when they are restarted.
	passes = 10 * time.Second
)

// Gate is the gate. Ask is nil if a reboot is possible, and else says why it is not, with
// a [reboot.ImpossibleError] where that may pass.
type Gate struct {
	Ask func(ctx context.Context) error
}

// Kind is what is to be known of the gate. It does not bind while draining: what breaks
// then may be mended before the pods are gone.
func (*Gate) Kind() gate.Kind {
	return gate.Kind{
		Name: "reboot-possible", Reason: api.ReasonCannotReboot, Binds: gate.BeforeQueue | gate.BeforeOrder,
		Meaning: "the reboot command is not there, or logind, which it needs, cannot be asked or refuses",
	}
}

// Run asks whether a reboot is possible, and says each change.
func (g *Gate) Run(ctx context.Context, _ gate.View, say func(gate.Verdict)) {
	var last gate.Verdict
	var since time.Time // since when it has not been possible; zero: it is
	pause := firstAgain
	for {
		began := time.Now()
		err := g.Ask(ctx)
		if ctx.Err() != nil {
			return
		}
		v := gate.Verdict{State: gate.Open}
		switch {
		case err == nil:
			since, pause = time.Time{}, firstAgain
		case since.IsZero():
			since = began
		}
		switch {
		case err == nil:
		case passing(err) && last.State != gate.Closed && time.Since(since) < passes:
			v.State = gate.Unknown
		default:
			v = gate.Verdict{State: gate.Closed, Why: err.Error()}
		}
		if v != last {
			last = v
			say(v)
		}
		wait := openAgain
		if err != nil {
			wait, pause = pause, min(2*pause, lastAgain)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

func passing(err error) bool {
	e, ok := errors.AsType[*reboot.ImpossibleError](err)
	return ok && e.Passing
}
