package daemon_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/sim"
)

const otherLock = "other"

// setting is the name of the lock by the configuration, which may change.
type setting struct{ atomic.Pointer[string] }

func newSetting(lock string) *setting {
	s := new(setting)
	s.set(lock)
	return s
}

func (s *setting) set(lock string) { s.Store(&lock) }

// wants keeps to the lock that the node is not done with.
func (s *setting) wants(now daemon.Standing) string {
	if now.Lock != "" {
		return now.Lock
	}
	return *s.Load()
}

// ends brings the operation of a node to its end: its reboot happens, if it has not, and
// it becomes healthy.
func ends(t *testing.T, m *sim.Machine, s settings) {
	t.Helper()
	m.Edit(func(n *corev1.Node) { delete(n.Annotations, api.HoldAnnotation) })
	m.Drain.Pods(0)
	for range 5 {
		pass(time.Minute)
		if r := m.World.Record(m.Name); r != nil && r.Phase == api.PhaseRebooting {
			m.GoesDown()
			m.Boots()
			start(t, m, s)
		}
		m.KubeletReports(true, "")
	}
	pass(5 * time.Minute)
}

// The lock is given another name at any phase, in the same process or with the next start
// of the daemon. The operation under way is brought to its end under the lock under which
// it has begun, one that has not begun yet goes over to the other, and no slot is left.
func TestLockIsRenamed(t *testing.T) {
	phases := append([]api.Phase{api.PhaseIdle}, api.Phases()...)
	for _, restarted := range []bool{false, true} {
		for _, phase := range phases {
			t.Run(string(phase)+map[bool]string{true: ", restarted"}[restarted], func(t *testing.T) {
				simulate(t, func(t *testing.T, w *sim.World) {
					m := w.AddMachine("a")
					name := newSetting(lockName)
					s := settings{wants: name.wants}
					p := bringTo(t, m, s, phase)
					command := m.Command()
					name.set(otherLock)
					if restarted {
						p.Kill()
						s.lock = otherLock
						start(t, m, s)
					}
					pass(30 * time.Second)
					begun := phase != api.PhaseIdle && phase != api.PhaseWaiting && phase != api.PhaseQueued
					r := w.Record("a")
					if held := len(w.SlotsOf(lockName, "a")) > 0; held != begun {
						t.Fatalf("%s is held: %t", slot0, held)
					}
					switch {
					case begun && (r == nil || r.Phase != phase || r.Lock != lockName || r.Attempts > 0):
						t.Fatalf("the operation under way: %+v", r)
					case phase == api.PhaseQueued && (r == nil || r.Lock != otherLock):
						t.Fatalf("the queue: %+v", r)
					}
					if phase == api.PhaseIdle {
						return
					}
					if !restarted && m.Command() != command && phase == api.PhaseRebooting {
						t.Fatal("the reboot command was started again")
					}
					ends(t, m, s)
					wantIdle(t, m)
					if got := w.SlotsOf(otherLock, "a"); len(got) > 0 {
						t.Errorf("slots of the other lock: %v", got)
					}
				})
			})
		}
	}
}

// What a reboot command says that was started before other settings came is heard after.
func TestCommandOutlivesSettings(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		made, generation := 0, new(atomic.Int64)
		s := settings{wants: func(daemon.Standing) string { return lockName }, made: func(*daemon.Daemon) { made++ }, change: func(c *daemon.Config, _ *sim.Process) {
			mine := generation.Load()
			c.Fits = func(daemon.Standing) bool { return generation.Load() == mine }
		}}
		m.Drain.Pods(0)
		startMade(t, m, s)
		pass(time.Minute)
		m.Touch(sentinelPath, "")
		pass(20 * time.Second)
		first := m.Command()
		if first == nil {
			t.Fatalf("no command: %+v", w.Record("a"))
		}
		order := *w.Record("a").Order
		generation.Add(1)
		pass(20 * time.Second)
		if made != 2 {
			t.Fatalf("%d daemons were made", made)
		}
		if r := w.Record("a"); r == nil || r.Phase != api.PhaseRebooting || *r.Order != order || m.Command() != first {
			t.Fatalf("%+v", r)
		}
		first.End(1, "no such unit")
		pass(time.Minute)
		r := w.Record("a")
		if r == nil || r.Order == nil || r.Order.Try != 2 || r.Order.By != order.By || m.Command() == first {
			t.Errorf("the command that failed is not tried again: %+v", r)
		}
	})
}

// A hook that runs is waited for, is not run again, and nothing else begins meanwhile.
func TestHooksOutliveSettings(t *testing.T) {
	for _, stage := range []string{"pre-drain", "post-boot"} {
		t.Run(stage, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				m.Drain.Pods(3)
				m.Drain.Stuck()
				made, generation := new(atomic.Int64), new(atomic.Int64)
				running, runs, killed := new(atomic.Int64), new(atomic.Int64), new(atomic.Int64)
				work := func(ctx context.Context) error {
					running.Add(1)
					defer running.Add(-1)
					runs.Add(1)
					select {
					case <-time.After(time.Minute):
						return nil
					case <-ctx.Done():
						killed.Add(1)
						return ctx.Err()
					}
				}
				done := new(atomic.Bool) // the daemons of one process share what a boot needs once
				s := settings{made: func(*daemon.Daemon) { made.Add(1) }, change: func(c *daemon.Config, _ *sim.Process) {
					mine := generation.Load()
					c.Fits = func(daemon.Standing) bool { return generation.Load() == mine }
					if stage == "post-boot" {
						c.Checks = []func(context.Context) error{func(ctx context.Context) error {
							if done.Load() {
								return nil
							}
							err := work(ctx)
							done.Store(err == nil)
							return err
						}}
					}
				}}
				if stage == "pre-drain" {
					s.pre = []daemon.Stage{slowStage{work}}
				} else {
					m.Drain.Pods(0)
				}
				startMade(t, m, s)
				pass(time.Minute)
				m.Touch(sentinelPath, "")
				pass(20 * time.Second)
				if stage == "post-boot" {
					m.GoesDown()
					m.Boots()
					startMade(t, m, s)
					m.KubeletReports(true, "")
					pass(10 * time.Second)
				}
				if running.Load() != 1 {
					t.Fatalf("no hook runs: %+v", w.Record("a"))
				}
				before := made.Load()
				generation.Add(1)
				pass(20 * time.Second)
				if made.Load() != before || running.Load() != 1 {
					t.Fatalf("%d daemons were made while the hook ran (%d)", made.Load()-before, running.Load())
				}
				pass(5 * time.Minute)
				if made.Load() != before+1 || runs.Load() != 1 || killed.Load() != 0 {
					t.Errorf("%d daemons were made, the hook was run %d times and killed %d times", made.Load()-before, runs.Load(), killed.Load())
				}
			})
		})
	}
}

// A daemon whose settings do not fit any more leaves only when the order that it has
// written is carried out, also when they change while the order is being written.
func TestOrderIsCarriedOutBeforeSettingsChange(t *testing.T) {
	for name, changes := range map[string]func(*sim.Machine, sim.Request) bool{
		"while the order is written": func(_ *sim.Machine, r sim.Request) bool { return strings.Contains(r.Body, `\"phase\":\"Rebooting\"`) },
		"while the slot is confirmed": func(m *sim.Machine, r sim.Request) bool {
			return r.Resource == "leases" && phaseOn(m) == api.PhaseRebooting
		},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				m.Drain.Pods(0)
				made, madeThen, generation := 0, 0, new(atomic.Int64)
				m.OnCommand = func(*sim.Command) error { madeThen = made; return nil }
				s := settings{made: func(*daemon.Daemon) { made++ }, change: func(c *daemon.Config, p *sim.Process) {
					mine := generation.Load()
					c.Fits = func(daemon.Standing) bool { return generation.Load() == mine }
					p.Link.Meet(func(r sim.Request) sim.Fate {
						if changes(m, r) && generation.CompareAndSwap(0, 1) {
							return sim.Fate{AnswerDelay: 100 * time.Millisecond}
						}
						return sim.Fate{}
					})
				}}
				startMade(t, m, s)
				pass(time.Minute)
				m.Touch(sentinelPath, "")
				pass(time.Minute)
				if r := w.Record("a"); generation.Load() != 1 || madeThen != 1 || made != 2 || r == nil || r.Order.Try != 1 {
					t.Errorf("generation %d, %d daemons, %d when the command was started; %+v", generation.Load(), made, madeThen, r)
				}
			})
		})
	}
}

func phaseOn(m *sim.Machine) api.Phase {
	if r := m.World.Record(m.Name); r != nil {
		return r.Phase
	}
	return api.PhaseIdle
}

// People are told once, whatever settings come: what has been told is not told again, what
// has not been delivered yet is, and what a dry run has told counts for nothing.
func TestTellingOutlivesSettings(t *testing.T) {
	for name, c := range map[string]struct {
		dryRun, away bool
	}{"changed": {}, "from a dry run": {dryRun: true}, "without the API server": {away: true}} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				generation := new(atomic.Int64)
				made := 0
				s := settings{made: func(*daemon.Daemon) { made++ }, change: func(cfg *daemon.Config, p *sim.Process) {
					mine := generation.Load()
					cfg.Fits = func(daemon.Standing) bool { return generation.Load() == mine }
					cfg.DryRun = c.dryRun && mine == 0
				}}
				p := startMade(t, m, s)
				pass(time.Minute)
				m.Annotate(api.HoldAnnotation, "people")
				if c.away {
					p.Link.Meet(func(r sim.Request) sim.Fate { return sim.Fate{RequestLost: r.Resource == "events", Delay: time.Second} })
				}
				m.Touch(sentinelPath, "")
				pass(30 * time.Second)
				generation.Add(1)
				pass(30 * time.Second)
				p.Link.Meet(func(sim.Request) sim.Fate { return sim.Fate{} })
				pass(5 * time.Minute)
				held := 0
				for _, e := range w.Events("a") {
					if e.Reason == string(api.ReasonHeld) {
						held++
					}
				}
				if made != 2 || held != 1 {
					t.Errorf("%d daemons, %d Events of the hold", made, held)
				}
			})
		})
	}
}

// startMade is start for a daemon that another follows whenever its own Fits says so.
func startMade(t *testing.T, m *sim.Machine, s settings) *sim.Process {
	t.Helper()
	return m.Start(func(ctx context.Context, p *sim.Process) {
		var before *daemon.Daemon
		for ctx.Err() == nil {
			c := configOf(t, p, s)
			c.Before = before
			d, err := daemon.New(c)
			if err != nil {
				t.Error(err)
				return
			}
			s.made(d)
			d.Run(ctx)
			before = d
		}
	})
}

// slowStage is a stage that takes its time.
type slowStage struct{ work func(context.Context) error }

func (slowStage) Kind() decide.Stage {
	return decide.Stage{Name: "pre-drain.d", Reason: api.ReasonDraining, Message: "running the hooks", Failed: api.ReasonHookFailed, Undoable: true}
}
func (slowStage) Empty() bool                                         { return false }
func (s slowStage) Do(ctx context.Context) ([]api.HookOutcome, error) { return nil, s.work(ctx) }
func (slowStage) Undo(context.Context) ([]api.HookOutcome, error)     { return nil, nil }
