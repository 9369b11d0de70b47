package daemon_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/sim"
)

// toy is a new gate. That it is one costs this type and the line that registers it.
type toy struct {
	kind gate.Kind

	mu      sync.Mutex
	verdict gate.Verdict
	changed chan struct{}
	running int
}

func newToy(name string, binds gate.Points, v gate.Verdict) *toy {
	return &toy{kind: gate.Kind{Name: name, Reason: api.ReasonBlocked, Binds: binds, Meaning: "the toy is in the way"}, verdict: v, changed: make(chan struct{})}
}

// Kind implements gate.Gate.
func (g *toy) Kind() gate.Kind { return g.kind }

// Run implements gate.Gate.
func (g *toy) Run(ctx context.Context, _ gate.View, say func(gate.Verdict)) {
	g.mu.Lock()
	g.running++
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.running--
	}()
	for ctx.Err() == nil {
		g.mu.Lock()
		v, changed := g.verdict, g.changed
		g.mu.Unlock()
		if v.State != gate.Unknown {
			say(v)
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

func (g *toy) set(v gate.Verdict) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.verdict = v
	close(g.changed)
	g.changed = make(chan struct{})
}

func (g *toy) isAsked() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.running > 0
}

var (
	open   = gate.Verdict{State: gate.Open}
	closed = gate.Verdict{State: gate.Closed, Why: "the toy is in the way"}
)

// where a node is: its phase, whether it holds a slot, and whether it is cordoned.
func where(m *sim.Machine) string {
	out := "idle"
	if r := m.World.Record(m.Name); r != nil {
		out = string(r.Phase)
	}
	if len(m.World.SlotsOf(lockName, m.Name)) > 0 {
		out += ", with a slot"
	}
	if m.Node().Spec.Unschedulable {
		out += ", cordoned"
	}
	return out
}

// A new gate has the effect of the point at which it binds, in the real loop, and no other
// one: closed, or without an answer, it keeps the node there; when it opens, the node goes
// on.
func TestANewGate(t *testing.T) {
	for _, c := range []struct {
		name            string
		binds           gate.Points
		closed, unknown string // where the node stays
		afterwards      string // and after half an hour, if closed
	}{
		{
			name: "before the queue", binds: gate.BeforeQueue, closed: "Waiting", unknown: "idle", afterwards: "Waiting",
		},
		{
			name: "in the queue", binds: gate.InQueue, closed: "Queued", unknown: "Queued, with a slot", afterwards: "Queued",
		},
		{
			name: "with a slot", binds: gate.WithSlot, closed: "Queued, with a slot", unknown: "Queued, with a slot", afterwards: "Queued, with a slot",
		},
		{
			name: "on its turn", binds: gate.OnTurn, closed: "Waiting", unknown: "Queued, with a slot", afterwards: "Waiting",
		},
		{
			name: "before the order", binds: gate.BeforeOrder, closed: "Draining, with a slot, cordoned", unknown: "Draining, with a slot, cordoned",
			afterwards: "Waiting",
		},
		{
			name: "before uncordoning", binds: gate.BeforeUncordon, closed: "Verifying, with a slot, cordoned", unknown: "Verifying, with a slot, cordoned",
			afterwards: "Halted, with a slot, cordoned",
		},
	} {
		for state, v := range map[string]gate.Verdict{"closed": closed, "unknown": {}} {
			t.Run(c.name+" "+state, func(t *testing.T) {
				simulate(t, func(t *testing.T, w *sim.World) {
					m := w.AddMachine("a")
					m.Drain.Pods(0)
					g := newToy("toy", c.binds, v)
					s := settings{change: func(cfg *daemon.Config, _ *sim.Process) { cfg.Gates = append(cfg.Gates, g) }}
					m.OnCommand = func(cmd *sim.Command) error {
						cmd.End(0, "")
						time.AfterFunc(time.Second, func() {
							m.Boots()
							m.KubeletReports(true, "")
							start(t, m, s)
						})
						return nil
					}
					p := start(t, m, s)
					pass(time.Minute)
					if g.isAsked() {
						t.Error("it is asked though nothing asks for a reboot")
					}
					m.Touch(sentinelPath, "")
					pass(30 * time.Second)
					want := c.closed
					if state == "unknown" {
						want = c.unknown
					}
					if got := where(m); got != want {
						t.Errorf("the node is %s, want %s: %s", got, want, p.Status())
					}
					if c := w.Condition("a", api.RebootRequired); state == "closed" && (c == nil || !strings.Contains(c.Message, closed.Why)) && c.Reason != string(api.ReasonVerifying) {
						t.Errorf("people are told %+v", c)
					}
					if state == "closed" {
						pass(30*time.Minute - 10*time.Second)
						if got := where(m); got != c.afterwards {
							t.Errorf("half an hour later the node is %s, want %s", got, c.afterwards)
						}
					}
					g.set(open)
					pass(5 * time.Minute)
					if got := where(m); got != "idle" || m.BootID() == "boot-1-a" {
						t.Errorf("it has opened, and the node is %s", got)
					}
					if g.isAsked() {
						t.Error("it is asked though all is over")
					}
				})
			})
		}
	}
}

// A gate that binds while draining has a node put back when it closes; one that does not
// bind there lets it drain.
func TestANewGateWhileDraining(t *testing.T) {
	for binds, want := range map[gate.Points]string{
		gate.BeforeQueue | gate.WhileDraining: "Waiting",
		gate.BeforeQueue:                      "Draining, with a slot, cordoned",
		gate.WithSlot:                         "Draining, with a slot, cordoned",
		gate.BeforeUncordon:                   "Draining, with a slot, cordoned",
	} {
		simulate(t, func(t *testing.T, w *sim.World) {
			m := w.AddMachine("a")
			g := newToy("toy", binds, open)
			bringTo(t, m, settings{change: func(cfg *daemon.Config, _ *sim.Process) { cfg.Gates = append(cfg.Gates, g) }}, api.PhaseDraining)
			g.set(closed)
			pass(time.Minute)
			if got := where(m); got != want {
				t.Errorf("%d: the node is %s, want %s", binds, got, want)
			}
		})
	}
}

// Of several gates that are closed people are told of the first.
func TestThePrecedenceOfNewGates(t *testing.T) {
	for _, turned := range []bool{false, true} {
		simulate(t, func(t *testing.T, w *sim.World) {
			m := w.AddMachine("a")
			one := newToy("one", gate.BeforeQueue, gate.Verdict{State: gate.Closed, Why: "the first"})
			two := newToy("two", gate.BeforeQueue, gate.Verdict{State: gate.Closed, Why: "the second"})
			want := "Blocked: the first; also Blocked: the second"
			if turned {
				one, two, want = two, one, "Blocked: the second; also Blocked: the first"
			}
			p := start(t, m, settings{change: func(cfg *daemon.Config, _ *sim.Process) {
				cfg.Gates = append([]gate.Gate{one}, append(cfg.Gates, two)...)
			}})
			pass(time.Minute)
			m.Touch(sentinelPath, "")
			pass(time.Minute)
			if p.Status() != want {
				t.Errorf("%s, want %s", p.Status(), want)
			}
		})
	}
}

// A gate that has a node put back, and lets it begin again at once, would do so for ever.
func TestAGateThatPutsBackBindsBefore(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		made := func(binds gate.Points) (err error) {
			p := m.Start(func(_ context.Context, p *sim.Process) {
				c := configOf(t, p, settings{})
				c.Gates = append(c.Gates, newToy("toy", binds, open))
				_, err = daemon.New(c)
			})
			p.Wait()
			return err
		}
		if err := made(gate.WhileDraining); err == nil || !strings.Contains(err.Error(), `"toy"`) {
			t.Errorf("accepted, or: %v", err)
		}
		for _, before := range []gate.Points{gate.BeforeQueue, gate.InQueue, gate.WithSlot, gate.OnTurn} {
			if err := made(before | gate.WhileDraining); err != nil {
				t.Error(err)
			}
		}
	})
}
