package daemon_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/sim"
	"rebootd.dev/daemon/windows"
)

// withWindows has a daemon go by windows and freezes.
func withWindows(set windows.Settings) settings {
	set.Zone = time.LoadLocation
	return settings{change: func(c *daemon.Config, _ *sim.Process) {
		window, freeze := windows.New(set)
		c.Gates = append(c.Gates, freeze, window)
	}}
}

// A node that waits for its window asks nobody and writes nothing, for as long as that is.
// When the window opens, nodes begin one after the other.
func TestWaitingForAWindowMakesNoRequest(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		const nodes = 12
		all := map[string]*sim.Process{}
		for n := range nodes {
			m := w.AddMachine(fmt.Sprintf("worker-%d", n))
			all[m.Name] = start(t, m, withWindows(windows.Settings{Entries: []string{"Sat 06:00-09:00", "freeze: 2000-01-08..2000-01-08"}, Auto: true}))
			m.Touch(sentinelPath, "")
		}
		pass(10 * time.Minute)
		before := map[string]int{}
		for name, p := range all {
			before[name] = len(p.Link.Requests())
		}
		pass(5*time.Hour + 49*time.Minute)
		for name, p := range all {
			if r := p.Link.Requests()[before[name]:]; len(r) > 0 {
				t.Errorf("%s has made %d requests while it waited: %+v", name, len(r), r[0])
			}
			if want := "OutsideWindow: outside the maintenance windows, until 2000-01-01T06:0"; !strings.HasPrefix(p.Status(), want) {
				t.Errorf("%s says %s", name, p.Status())
			}
		}
		seconds := map[string]bool{}
		pass(10*time.Minute + 30*time.Second)
		for _, e := range w.Journal(0) {
			if e.Kind == "node" && strings.HasPrefix(e.Text, "Waiting → Queued") {
				seconds[e.At.Format(time.TimeOnly)] = true
			}
		}
		if len(seconds) < nodes*3/4 {
			t.Errorf("%d nodes joined the queue at %d moments", nodes, len(seconds))
		}
	})
}

// maintained is a machine with windows and freezes, whose clock is set at any time and whose
// daemon is restarted at any time, and which is asked to reboot again and again.
type maintained struct {
	t   *testing.T
	w   *sim.World
	m   *sim.Machine
	p   *sim.Process
	cfg settings
	// window and freeze say how it is by the machine's clock.
	window windows.Window
	freeze windows.Freeze

	mu      sync.Mutex
	rng     *rand.Rand
	set     time.Time // when the clock was set last, by the world's
	cordons int
}

func (x *maintained) number(below int) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.rng.IntN(below)
}

// closedFor says whether the gates have been closed at a point for so long, by a clock that
// has not been set meanwhile.
func (x *maintained) closedFor(d time.Duration, at gate.Points) bool {
	x.mu.Lock()
	set := x.set
	x.mu.Unlock()
	if time.Since(set) < d {
		return false
	}
	for ago := time.Duration(0); ago <= d; ago += time.Second {
		n := x.m.Node()
		v := gate.View{Now: x.m.Now().Add(-ago), Node: gate.Node{Name: n.Name, Annotations: n.Annotations}}
		all := []gate.Status{{Kind: x.window.Kind(), Verdict: x.window.Look(v)}, {Kind: x.freeze.Kind(), Verdict: x.freeze.Look(v)}}
		if _, is := gate.FirstClosed(all, at); !is {
			return false
		}
	}
	return true
}

// admit looks at each change of the Node.
func (x *maintained) admit(r sim.Request) error {
	if !strings.Contains(r.Body, `"unschedulable":true`) || r.DryRun {
		return nil
	}
	x.mu.Lock()
	x.cordons++
	x.mu.Unlock()
	if x.closedFor(12*time.Second, gate.BeforeQueue) {
		x.t.Errorf("cordoned at %s by its clock, and the gates have been closed for a while", x.m.Now().Format(time.DateTime))
	}
	return nil
}

func (x *maintained) tick(putBack bool) {
	pass(time.Duration(20+x.number(60)) * time.Second)
	if !x.m.Up() {
		x.m.Boots()
		x.m.KubeletReports(true, "")
		x.p = start(x.t, x.m, x.cfg)
		return
	}
	if x.number(80) == 0 {
		x.mu.Lock()
		x.set = time.Now()
		x.mu.Unlock()
		x.m.SetClock(x.m.Now().Add(time.Duration(x.number(int(10*time.Hour))) - 5*time.Hour))
	}
	if x.number(60) == 0 {
		x.p.Kill()
		x.p.Wait()
		x.p = start(x.t, x.m, x.cfg)
	}
	if x.number(30) == 0 {
		x.m.Touch(sentinelPath, "")
	}
	if x.number(200) == 0 {
		x.m.Annotate(api.WindowsAnnotation, []string{"", "02:00-03:00", "nonsense", "freeze: 2000-01-02T00:00..2000-01-02T12:00"}[x.number(4)])
		x.mu.Lock()
		x.set = time.Now() // likewise another time
		x.mu.Unlock()
	}
	r := x.w.Record(x.m.Name)
	if draining := r != nil && r.Phase == api.PhaseDraining; draining && putBack && x.closedFor(19*time.Second, gate.WhileDraining) && time.Since(r.Since) > time.Minute {
		pass(10 * time.Second)
		if r := x.w.Record(x.m.Name); r != nil && r.Phase == api.PhaseDraining {
			x.t.Errorf("it still drains at %s by its clock, and is to be put back: %s", x.m.Now().Format(time.DateTime), x.p.Status())
		}
	}
}

// Whatever is done to the clock, to the annotation and to the daemon: no node is cordoned
// while the gates are closed, and none drains on where it is to be put back.
func TestModelNoCordonOutsideTheWindows(t *testing.T) {
	seeds := 12
	if testing.Short() {
		seeds = 3
	}
	cordons := 0
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				rng := rand.New(rand.NewPCG(uint64(seed), 15))
				set := windows.Settings{
					Entries: []string{"Sat,Sun 01:00-03:00", "Sun 22:00-04:00 Europe/Berlin", "Sat 12:00-12:09", "freeze: 2000-01-02T02:00..2000-01-02T22:00"},
					Zone:    time.LoadLocation, Reserve: time.Duration(rng.IntN(40)) * time.Minute, PutBack: seed%2 == 0,
				}
				x := &maintained{t: t, w: w, m: w.AddMachine("a"), cfg: withWindows(set), rng: rng}
				x.window, x.freeze = windows.New(set)
				w.Admit(x.admit)
				x.m.Drain.Takes(func() time.Duration { return time.Duration(x.number(20*60)) * time.Second })
				x.m.OnCommand = func(cmd *sim.Command) error {
					cmd.End(0, "")
					time.AfterFunc(5*time.Second, x.m.GoesDown)
					return nil
				}
				x.p = start(t, x.m, x.cfg)
				for end := time.Now().Add(60 * time.Hour); time.Now().Before(end); {
					x.tick(set.PutBack)
				}
				cordons += x.cordons
			})
		})
	}
	if cordons < seeds*2 {
		t.Errorf("%d cordons in all", cordons)
	}
	t.Logf("%d cordons", cordons)
}

// An idle node shows when its next window opens, past a freeze; and nothing while it is open.
func TestTheNextWindowIsShown(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("worker-0")
		x, s := metricsOf(t, withWindows(windows.Settings{Entries: []string{"06:00-06:05", "freeze: 2000-01-02..2000-01-02"}}))
		start(t, m, s)
		day := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
		for _, c := range []struct{ at, want time.Duration }{
			{time.Minute, 6 * time.Hour},
			{6*time.Hour + 2*time.Minute, 0}, // it is open
			{6*time.Hour + 6*time.Minute, 54 * time.Hour},
			{30*time.Hour + time.Minute, 54 * time.Hour}, // frozen
		} {
			pass(time.Until(day.Add(c.at)))
			want := float64(day.Add(c.want).Unix())
			if c.want == 0 {
				want = 0
			}
			if got := x.all()["window_next_timestamp_seconds"]; got < want || got > want+60 {
				t.Errorf("after %s: %v, want %v", c.at, got, want)
			}
		}
	})
}
