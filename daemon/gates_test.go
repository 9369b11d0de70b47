package daemon

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/gate"
)

// scriptedGate runs what it is given to.
type scriptedGate struct {
	run func(ctx context.Context, say func(gate.Verdict))
}

func (scriptedGate) Kind() gate.Kind {
	return gate.Kind{Name: "scripted", Reason: api.ReasonBlocked, Binds: gate.BeforeQueue}
}

func (g scriptedGate) Run(ctx context.Context, _ gate.View, say func(gate.Verdict)) { g.run(ctx, say) }

func askerWorker(bg *background, g gate.Asker) *gateWorker {
	return &gateWorker{bg: bg, asker: g, kind: g.Kind(), view: func() gate.View { return gate.View{} }, trial: func() []byte { return nil }}
}

// A gate ends by itself in the moment in which it is not asked any more, and is asked again
// at once: it is run again, and what it said before does not count.
func TestGateThatEndsAsItIsDropped(t *testing.T) {
	for name, waits := range map[string]bool{"it has ended": false, "it is about to speak": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				runs, release := 0, make(chan struct{})
				open := gate.Verdict{State: gate.Open}
				g := scriptedGate{func(ctx context.Context, say func(gate.Verdict)) {
					if runs++; runs > 1 {
						<-release
					}
					say(open)
					if waits && runs == 1 {
						<-ctx.Done()
						<-release
					}
				}}
				bg, settle := testBackground(t)
				w := askerWorker(bg, g)
				asked := decided{obeyed: true, step: decide.Step{Asks: gate.BeforeQueue}}
				w.follow(asked)
				synctest.Wait() // what it has to say is on its way
				w.follow(decided{obeyed: true})
				settle()
				w.follow(asked)
				if v := w.verdict(); v.State != gate.Unknown {
					t.Errorf("what it said before counts: %+v", v)
				}
				close(release)
				settle()
				w.follow(asked)
				settle()
				if v := w.verdict(); v != open || runs != 2 {
					t.Errorf("asked again it says %+v, and was run %d times", v, runs)
				}
				time.Sleep(time.Second)
			})
		})
	}
}
