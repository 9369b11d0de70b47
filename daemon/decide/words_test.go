package decide

import (
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
)

// shownWords are what the condition says of a step.
func shownWords(s Step) string { return joined(s.Message, s.More) }

// A node that has halted says that the rollout is halted, who reboots meanwhile, which slot it
// keeps until when, and what to do: all of it fits into the condition.
func TestWordsOfTheHalted(t *testing.T) {
	node := strings.Repeat("n", 63)
	same := ""
	words := func(slots int, reason api.Reason, slot ClaimState) string {
		s := base(aRecord(api.PhaseHalted, func(r *api.Record) {
			r.Failure = &api.Failure{Reason: reason, Message: "not healthy within 15m0s: " + strings.Repeat("x", 2000)}
		})).but(func(s *situation) {
			s.p.Node, s.p.Slots, s.p.Same = node, slots, same
			s.slot.State = slot
			if reason == api.ReasonUnhealthy {
				s.f.Boot.ID = "boot-2"
				s.f.Node.Ready = false
			}
		})
		step := s.step()
		if step.Do != DoWait || step.Reason != reason {
			t.Fatalf("%+v", step)
		}
		if n := len(shownWords(step)); n > 1000 {
			t.Errorf("%d bytes: %s", n, shownWords(step))
		}
		return shownWords(step)
	}
	const todo = "kubectl rebootd why NODE; to give the operation up: kubectl rebootd abort NODE, or kubectl annotate node NODE rebootd.dev/abort=REASON; https://rebootd.dev/docs/runbooks/rollout-halted.md"
	for _, c := range []struct {
		slots  int
		reason api.Reason
		slot   ClaimState
		want   string
	}{
		{1, api.ReasonUnhealthy, ClaimHeld, "; the rollout is halted; no other node reboots, since this node keeps the slot rebootd-0 until it is healthy; to find out more: " + todo},
		{3, api.ReasonUnhealthy, ClaimHeld, "; the rollout is halted under this slot; this node keeps the slot rebootd-0 of 3 until it is healthy; other nodes continue under the other slots; to find out more: " + todo},
		{1, api.ReasonRebootOverdue, ClaimHeld, "; the rollout is halted; no other node reboots, since this node keeps the slot rebootd-0 until the machine has rebooted: reboot it by hand; to find out more: " + todo},
		{1, api.ReasonUnhealthy, ClaimLost, "; the rollout is halted; this node waits until it is healthy; to find out more: " + todo},
	} {
		got := words(c.slots, c.reason, c.slot)
		if want := strings.ReplaceAll(c.want, "NODE", node); !strings.HasPrefix(got, "not healthy within 15m0s: xxx") || !strings.HasSuffix(got, want) {
			t.Errorf("%+v:\n%s\nwant\n%s", c, got, want)
		}
	}
	same = "topology.kubernetes.io/zone" // nodes of other zones have to wait
	if got := words(3, api.ReasonUnhealthy, ClaimHeld); !strings.Contains(got, "; other nodes of the same zone continue under the other slots; ") {
		t.Error(got)
	}
}

// What is over says that all is well: how long it took, what became of the pods, and whether
// the node takes pods again.
func TestWordsOfTheVerified(t *testing.T) {
	order := func(r *api.Record) { r.Order = &api.Order{At: t0.Add(-3*time.Minute - 5*time.Second)} }
	for name, c := range map[string]struct {
		change func(*situation)
		want   string
	}{
		"as a rule":              {func(s *situation) { s.f.Pods = "4 drained, 2 skipped" }, "rebooted: boot boot-2 follows boot-1, the node is healthy and back in service, 3m7s after the reboot was ordered; pods: 4 drained, 2 skipped"},
		"by a clock that is set": {func(s *situation) { s.r.Order.At = t0.Add(time.Hour) }, "rebooted: boot boot-2 follows boot-1, the node is healthy and back in service"},
		"by a clock that was wrong when the daemon started": {func(s *situation) {
			at := t0.Add(-2*time.Hour - 3*time.Minute - 5*time.Second)
			s.f.ClockSet, s.r.Order.At, s.r.Times = -2*time.Hour, at, &api.Times{Since: s.r.Since, Ordered: at}
		}, "rebooted: boot boot-2 follows boot-1, the node is healthy and back in service, 3m7s after the reboot was ordered"},
		"without an order":             {func(s *situation) { s.r.Order = nil }, "rebooted: boot boot-2 follows boot-1, the node is healthy and back in service"},
		"cordoned by others":           {func(s *situation) { s.r.Cordoned, s.f.Node.Unschedulable = false, true }, "rebooted: boot boot-2 follows boot-1, the node is healthy and stays cordoned by somebody else, 3m7s after the reboot was ordered"},
		"uncordoned by others already": {func(s *situation) { s.r.Cordoned, s.f.Node.Unschedulable = false, false }, "rebooted: boot boot-2 follows boot-1, the node is healthy and back in service, 3m7s after the reboot was ordered"},
	} {
		s := base(aRecord(api.PhaseVerifying, order)).but(func(s *situation) {
			s.f.Boot.ID, s.f.Node.KubeletBoot, s.f.HealthySince = "boot-2", "boot-2", t0.Add(-time.Hour)
			c.change(s)
		})
		if step := s.step(); step.Do != DoRestore || step.Message != c.want {
			t.Errorf("%s: %s\n%s\nwant\n%s", name, step.Do, step.Message, c.want)
		}
	}
}
