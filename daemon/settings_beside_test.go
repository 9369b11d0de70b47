package daemon_test

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/sim"
)

// Two daemons on one node, each with a lock of its own, as in a move from one installation to
// another, do not have it leave one queue for the other all the time, and say
// what is wrong.
func TestTwoDaemonsOfTwoLocks(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		sent := new(atomic.Int64)
		for _, s := range []settings{{}, {lock: otherLock}} {
			bringTo(t, w.AddMachine("holder"+s.lock), s, api.PhaseDraining)
			start(t, m, s).Link.Meet(func(sim.Request) sim.Fate {
				sent.Add(1)
				return sim.Fate{Delay: 5 * time.Millisecond}
			})
		}
		pass(time.Minute)
		before := sent.Load()
		m.Touch(sentinelPath, "")
		pass(25 * time.Minute)
		if n := sent.Load() - before; n > 400 {
			t.Errorf("%d requests in 25 minutes in which it waits", n)
		}
		if r := w.Record("a"); r == nil || r.Phase != api.PhaseQueued {
			t.Errorf("%+v", r)
		}
		if !slices.ContainsFunc(w.Events("a"), func(e *corev1.Event) bool { return strings.Contains(e.Message, "run one daemon on a node") }) {
			t.Error("nobody is told")
		}
	})
}
