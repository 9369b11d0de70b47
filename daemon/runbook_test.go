package daemon_test

import (
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/sim"
)

// What docs/runbooks/slot-held-too-long.md has people do about a holder that is down for
// good, and whose Node must stay, lets the others continue.
func TestRunbookOfAHolderThatIsDown(t *testing.T) {
	page, err := os.ReadFile("../docs/runbooks/slot-held-too-long.md")
	if err != nil {
		t.Fatal(err)
	}
	_, steps, found := strings.Cut(string(page), "If the Node must stay")
	if !found {
		t.Fatal("the runbook says nothing of a Node that must stay")
	}
	for _, controlPlane := range []bool{false, true} {
		simulate(t, func(t *testing.T, w *sim.World) {
			dead, next := w.AddMachine("dead"), w.AddMachine("next")
			for _, m := range []*sim.Machine{dead, next} {
				if controlPlane {
					m.Edit(func(n *corev1.Node) { n.Labels = map[string]string{api.ControlPlaneLabel: ""} })
				}
			}
			bringTo(t, dead, settings{}, api.PhaseRebooting)
			dead.GoesDown()
			next.Touch(sentinelPath, "")
			start(t, next, settings{noDrain: true})
			pass(3 * time.Hour)
			if r := w.Record("next"); r == nil || r.Phase != api.PhaseQueued {
				t.Fatalf("the next node does not wait: %v", r)
			}
			for line := range strings.Lines(steps) {
				switch {
				case strings.HasPrefix(line, "    kubectl annotate node NODE "+api.OperationAnnotation+"-"):
					dead.Annotate(api.OperationAnnotation, "")
				case strings.HasPrefix(line, "    kubectl patch lease -n rebootd rebootd-0 --type=merge -p '{\"spec\":{\"holderIdentity\":null}}'"):
					w.ClearSlot(slot0)
				case strings.HasPrefix(line, "    kubectl delete lease -n rebootd rebootd-control-plane"):
					w.DeleteSlot(api.ControlPlaneName(lockName))
				}
				pass(time.Second)
			}
			pass(10 * time.Minute)
			if r := w.Record("next"); r == nil || r.Phase != api.PhaseRebooting {
				t.Errorf("control plane %t: after the runbook the next node has not begun: %v\n%s", controlPlane, r, w.Condition("next", api.RebootRequired).Message)
			}
		})
	}
}

// A node that has a slot, and waits with it for one at work without, says so where people
// look who have kubectl only, and no longer whom it waited for before.
func TestWaitingForANodeAtWorkIsShown(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		dead, next := w.AddMachine("dead"), w.AddMachine("next")
		bringTo(t, dead, settings{}, api.PhaseRebooting)
		dead.GoesDown()
		next.Touch(sentinelPath, "")
		p := start(t, next, settings{})
		shows := func(want string) {
			t.Helper()
			pass(time.Minute)
			if c := w.Condition("next", api.RebootRequired); c.Message != want {
				t.Errorf("it shows %q, want %q", c.Message, want)
			}
		}
		shows("waiting for a slot; rebootd-0 is held by dead, Rebooting since 2000-01-01T00:01:10Z")
		w.ClearSlot(slot0)
		const holds = "waiting for a slot; holds slot rebootd-0; waiting for dead, rebooting without a slot"
		shows(holds)
		if p.Status() != "Queued: "+holds {
			t.Errorf("the status is %q", p.Status())
		}
		next.RemoveSentinel(sentinelPath)
		pass(time.Minute)
		next.Touch(sentinelPath, "")
		w.Nodes.Edit("dead", "kubectl", func(n *corev1.Node) { delete(n.Annotations, api.OperationAnnotation) })
		pass(time.Minute)
		if c := w.Condition("next", api.RebootRequired); strings.Contains(c.Message, "dead") {
			t.Errorf("it still shows %q", c.Message)
		}
	})
}
