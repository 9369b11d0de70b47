package daemon_test

import (
	"fmt"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/sim"
)

// Whatever becomes of any one write after people have given an operation up, the node is
// put back in the end, holds nothing, has no annotation left, and what had asked for the
// reboot asks for none.
func TestAbortSurvivesEveryWrite(t *testing.T) {
	fates := map[string]func(m *sim.Machine, p *sim.Process) sim.Fate{
		"killed after it":    func(_ *sim.Machine, p *sim.Process) sim.Fate { return sim.Fate{Then: p.Kill} },
		"its answer is lost": func(*sim.Machine, *sim.Process) sim.Fate { return sim.Fate{AnswerLost: true} },
		"it is lost":         func(*sim.Machine, *sim.Process) sim.Fate { return sim.Fate{RequestLost: true} },
		"the server is away": func(*sim.Machine, *sim.Process) sim.Fate {
			return sim.Fate{Refused: apierrors.NewServiceUnavailable("away")}
		},
		"the Node has changed": func(m *sim.Machine, _ *sim.Process) sim.Fate { m.Annotate("example.com/x", "y"); return sim.Fate{} },
		"a hold comes": func(m *sim.Machine, _ *sim.Process) sim.Fate {
			m.Annotate(api.HoldAnnotation, "disk")
			return sim.Fate{}
		},
	}
	for _, phase := range []api.Phase{api.PhaseWaiting, api.PhaseQueued, api.PhaseDraining, api.PhaseVerifying, api.PhaseHalted} {
		for name, fate := range fates {
			writes := 0
			for k := 1; k == 1 || k <= writes; k++ {
				t.Run(fmt.Sprintf("%s, write %d: %s", phase, k, name), func(t *testing.T) {
					writes = max(writes, abortWith(t, phase, k, fate))
				})
			}
			if writes == 0 {
				t.Errorf("%s: no write was met", phase)
			}
		}
	}
}

// abortWith aborts an operation in a phase, lets the k-th write after that meet its fate,
// and returns how many there were.
func abortWith(t *testing.T, phase api.Phase, k int, fate func(*sim.Machine, *sim.Process) sim.Fate) (writes int) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		s := settings{nodeLease: "auto", last: []daemon.Stage{daemon.PreRebootHooks(m.Hooks)}}
		if phase == api.PhaseHalted {
			s.last = nil
		}
		p := bringTo(t, m, s, phase)
		if phase == api.PhaseVerifying || phase == api.PhaseHalted {
			m.KubeletReports(false, "PLEG is not healthy")
		}
		commands := m.Command()
		p.Link.Meet(func(r sim.Request) sim.Fate {
			if r.DryRun || r.Resource == "events" || r.Verb == "get" || r.Verb == "list" || r.Verb == "watch" {
				return sim.Fate{}
			}
			if writes++; writes == k {
				return fate(m, p)
			}
			return sim.Fate{}
		})
		m.Annotate(api.AbortAnnotation, "wrong kernel")
		pass(30 * time.Second)
		if p.Dead() {
			start(t, m, s)
		}
		pass(30 * time.Minute)
		if wantIdle(t, m); m.Command() != commands {
			t.Error("a reboot was ordered")
		}
		n := m.Node()
		for _, k := range []string{api.AbortAnnotation, "karpenter.sh/do-not-disrupt", "cluster-autoscaler.kubernetes.io/scale-down-disabled"} {
			if v, there := n.Annotations[k]; there {
				t.Errorf("%s=%s is left", k, v)
			}
		}
		if c := w.Condition("a", api.RebootRequired); c == nil || c.Status != "False" {
			t.Errorf("the condition is %+v", c)
		}
	})
	return writes
}

// Something that sets the annotation again whenever it is removed costs a write now and
// then.
func TestAbortThatIsSetAgain(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		p := start(t, m, settings{})
		pass(time.Minute)
		writes := 0
		p.Link.Meet(func(r sim.Request) sim.Fate {
			if r.Verb != "patch" || r.Resource != "nodes" || r.DryRun {
				return sim.Fate{}
			}
			if writes++; writes > 1000 {
				return sim.Fate{RequestLost: true, AnswerDelay: time.Hour}
			}
			return sim.Fate{Then: func() { go m.Annotate(api.AbortAnnotation, "again") }}
		})
		m.Annotate(api.AbortAnnotation, "again")
		pass(5 * time.Minute)
		if writes < 10 || writes > 40 {
			t.Errorf("%d writes in five minutes", writes)
		}
		p.Link.Meet(nil)
	})
}
