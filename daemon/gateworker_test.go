package daemon

import (
	"context"
	"testing"
	"testing/synctest"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

// tellingGate says whatever a test has it say.
type tellingGate struct {
	says  chan gate.Verdict
	asked int
}

func (*tellingGate) Kind() gate.Kind {
	return gate.Kind{Name: "telling", Reason: api.ReasonBlocked, Binds: gate.WithSlot}
}

func (g *tellingGate) Run(ctx context.Context, _ gate.View, say func(gate.Verdict)) {
	g.asked++
	for {
		select {
		case v := <-g.says:
			say(v)
		case <-ctx.Done():
			return
		}
	}
}

// What a gate has said while a slot was held that was given up is not believed of the
// next one, however that was come by: a node would give way to the same one again.
func TestVerdictIsForgottenWithTheSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bg, settle := testBackground(t)
		g := &tellingGate{says: make(chan gate.Verdict)}
		w := askerWorker(bg, g)
		at := func(asks gate.Points) {
			s := decided{record: &api.Record{ID: "op", Phase: api.PhaseQueued}, obeyed: true, node: &nodeView{}}
			s.step.Asks = asks
			w.follow(s)
		}
		at(gate.BeforeQueue | gate.InQueue)
		settle()
		if g.asked != 0 || w.verdict().State != gate.Unknown {
			t.Fatalf("asked %d times before it binds: %+v", g.asked, w.verdict())
		}
		at(gate.InQueue | gate.WithSlot)
		g.says <- gate.Verdict{State: gate.Closed, GiveWay: "other"}
		settle()
		if v := w.verdict(); v.GiveWay != "other" {
			t.Fatalf("%+v", v)
		}
		at(gate.InQueue)
		if v := w.verdict(); v != (gate.Verdict{}) {
			t.Errorf("without a slot: %+v", v)
		}
		settle()
		at(gate.InQueue | gate.WithSlot)
		settle()
		if v := w.verdict(); v != (gate.Verdict{}) || g.asked != 2 {
			t.Errorf("with the next slot, asked %d times: %+v", g.asked, v)
		}
	})
}
