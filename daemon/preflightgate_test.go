package daemon_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/preflight"
	"rebootd.dev/daemon/sim"
	"rebootd.dev/drain"
)

// stuckPod is a pod that could not be evicted until it is let go.
type stuckPod struct {
	free      atomic.Bool
	rehearsed atomic.Int64
}

func (s *stuckPod) blockers() []drain.Blocker {
	if s.free.Load() {
		return nil
	}
	return []drain.Blocker{{Pods: []string{"shop/web-0"}, Reason: api.PodBudgetNeverAllows, Message: "the budget web allows no eviction"}}
}

func (s *stuckPod) Foresee(ctx context.Context, say func([]drain.Blocker)) {
	for ctx.Err() == nil {
		say(s.blockers())
		select {
		case <-time.After(10 * time.Second):
		case <-ctx.Done():
		}
	}
}

func (s *stuckPod) Rehearse(context.Context) (drain.Rehearsal, error) {
	s.rehearsed.Add(1)
	return drain.Rehearsal{Pods: 5, Blockers: s.blockers()}, nil
}

// A node that could not be drained says so while it waits, gives its slot to the next
// before its cordon, comes back after growing pauses, and reboots when the pod may go.
func TestANodeThatWouldNotDrain(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m, next := w.AddMachine("a"), w.AddMachine("b")
		pod := new(stuckPod)
		p := start(t, m, settings{change: func(c *daemon.Config, p *sim.Process) {
			c.Gates = append(c.Gates, &preflight.Gate{Drainer: pod, Log: zerolog.New(p)})
		}})
		start(t, next, settings{})
		next.Drain.Pods(0)
		next.OnCommand = func(cmd *sim.Command) error {
			cmd.End(0, "")
			time.AfterFunc(time.Second, func() {
				next.Boots()
				next.KubeletReports(true, "")
				start(t, next, settings{})
			})
			return nil
		}
		m.Annotate(api.HoldAnnotation, "wait")
		pass(time.Minute)
		m.Touch(sentinelPath, "")
		pass(time.Minute)
		if c := w.Condition("a", api.RebootRequired); c == nil || c.Reason != string(api.ReasonHeld) || !strings.Contains(c.Message, "would not be able to evict shop/web-0") {
			t.Errorf("while it waits, people are told %+v", c)
		}
		if n := pod.rehearsed.Load(); n != 0 {
			t.Errorf("%d evictions were tried while it waits", n)
		}
		m.Annotate(api.HoldAnnotation, "")
		pass(20 * time.Second)
		c := w.Condition("a", api.RebootRequired)
		if got := where(m); got != "Waiting" || c == nil || c.Reason != string(api.ReasonWouldNotDrain) || strings.Count(c.Message, "change the budget") != 1 {
			t.Errorf("the node is %s, and people are told %+v", got, c)
		}
		next.Touch(sentinelPath, "")
		pass(20 * time.Second)
		if c := w.Condition("a", api.RebootRequired); c == nil || strings.Count(c.Message, "change the budget") != 1 {
			t.Errorf("during the pause people are told %+v", c)
		}
		pass(5*time.Minute - 20*time.Second)
		if got := where(next); got != "idle" || next.BootID() == "boot-1-b" {
			t.Errorf("the next node is %s", got)
		}
		pass(2 * time.Hour)
		if _, done := cordons(p); len(done) != 0 || pod.rehearsed.Load() > 9 {
			t.Errorf("cordoned %d times, evictions tried %d times", len(done), pod.rehearsed.Load())
		}
		pod.free.Store(true)
		pass(31 * time.Minute)
		if _, done := cordons(p); len(done) != 1 {
			t.Errorf("the pod may go, and the node is %s, cordoned %d times", where(m), len(done))
		}
	})
}

// What is asked on the turn is asked when the turn has come, not when the slot was taken:
// a node may hold that for an hour before, for the interval between two reboots.
func TestPreflightIsOfTheTurn(t *testing.T) {
	for name, stuckThen := range map[string]bool{"mended meanwhile": false, "stuck since": true} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m, pod := w.AddMachine("a"), new(stuckPod)
				holds := newToy("toy", gate.WithSlot, closed)
				p := start(t, m, settings{change: func(c *daemon.Config, p *sim.Process) {
					c.Gates = append(c.Gates, holds, &preflight.Gate{Drainer: pod, Log: zerolog.New(p)})
				}})
				pod.free.Store(stuckThen)
				m.Touch(sentinelPath, "")
				pass(time.Minute)
				if got := where(m); got != "Queued, with a slot" || pod.rehearsed.Load() != 0 {
					t.Fatalf("the node is %s, evictions tried %d times", got, pod.rehearsed.Load())
				}
				pod.free.Store(!stuckThen)
				pass(time.Hour)
				holds.set(open)
				pass(30 * time.Second)
				_, done := cordons(p)
				if got := where(m); (len(done) == 0) != stuckThen || (got == "Waiting") != stuckThen || pod.rehearsed.Load() != 1 {
					t.Errorf("the node is %s, cordoned %d times, evictions tried %d times", got, len(done), pod.rehearsed.Load())
				}
			})
		})
	}
}
