package e2e

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/test/machine"
)

// The condition is there wherever a daemon is, and says that there is nothing to do; it
// says so again some time after an operation has ended.
func TestConditionOfAnIdleNode(t *testing.T) {
	t.Parallel()
	b := newBed(t, time.Minute)
	m := b.machine()
	n := b.node(m, "a condition", func(n *corev1.Node) bool { return condition(n).Reason != "" })
	if c := condition(n); c.Status != corev1.ConditionFalse || c.Reason != "NotRequired" || c.Message != "no reboot is requested" {
		t.Errorf("the condition is %+v", c)
	}
}

// A node that has halted says that the rollout is halted, which slot it keeps and what to
// do; one that waits says for whom, and that it has halted.
func TestConditionsWhileTheRolloutIsHalted(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	bad, waits := b.machine("--health-timeout=2s"), b.machine()
	bad.StayUnhealthy(time.Now().Add(time.Hour))
	b.must(bad.Touch("x"))
	says := func(m *machine.Machine, reason string, words ...string) {
		b.node(m, reason+": "+strings.Join(words, ", "), func(n *corev1.Node) bool {
			for _, w := range words {
				if !strings.Contains(condition(n).Message, w) {
					return false
				}
			}
			return condition(n).Reason == reason
		})
	}
	says(bad, "Unhealthy", "the rollout is halted", "keeps the slot "+b.lock+"-0", "kubectl annotate node "+bad.Name+" rebootd.dev/abort=")
	b.must(waits.Touch("x"))
	says(waits, "Queued", b.lock+"-0 is held by "+bad.Name+", Halted since ", "Unhealthy: not healthy within 2s")
	bad.StayUnhealthy(time.Now())
	b.released()
}

// The condition is there for whoever waits for it by kubectl: of a node that was never
// rebooted, after somebody has deleted the condition, and of one that reboots. Nothing of the
// status is left behind.
func TestKubectlWaitsForTheCondition(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	m := b.machine()
	is := func(status string) {
		b.kubectl("wait", "node/"+m.Name, "--for=condition=RebootRequired="+status, "--timeout=60s")
	}
	is("false")
	b.kubectl("patch", "node", m.Name, "--subresource=status", "-p", `{"status":{"conditions":[{"$patch":"delete","type":"RebootRequired"}]}}`)
	b.node(m, "the condition is there again", func(n *corev1.Node) bool { return condition(n).Reason == "NotRequired" })
	is("false")
	before := m.BootID()
	b.must(m.Touch("x"))
	is("true")
	is("false")
	n := b.rebooted(m, before)
	if c := condition(n); c.Reason != "RebootVerified" || !strings.Contains(c.Message, "the node is healthy and back in service, ") {
		t.Errorf("the condition is %+v", c)
	}
	if s, there := n.Annotations["rebootd.dev/status"]; there {
		t.Errorf("the status is %s", s)
	}
}
