package daemon_test

import (
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/sim"
)

// An abort that has come too late is forgotten by the write that says so: the condition
// that goes with it does not claim that the node is put back.
func TestAnAbortThatComesTooLateIsNotTold(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		bringTo(t, m, settings{}, api.PhaseRebooting)
		m.Annotate(api.AbortAnnotation, "wrong kernel")
		pass(10 * time.Second)
		m.GoesDown()
		m.Boots()
		p := start(t, m, settings{})
		pass(10 * time.Second)
		if r := w.Record("a"); r == nil || r.Phase != api.PhaseVerifying {
			t.Fatalf("%+v", r)
		}
		for _, r := range p.Link.Requests() {
			if r.Verb == "patch" && r.Resource == "nodes" && strings.Contains(r.Body, `"reason":"Aborted"`) {
				t.Errorf("told: %s", r.Body)
			}
		}
	})
}
