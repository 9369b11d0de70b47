package daemon_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/sim"
	"rebootd.dev/lock/lease"
)

const (
	lockName      = "rebootd"
	slot0         = lockName + "-0"
	sentinelPath  = "/run/reboot-needed"
	drainTimeout  = 30 * time.Minute
	rebootTimeout = 15 * time.Minute
	healthTimeout = 15 * time.Minute
)

// settings are what a daemon under test is configured with besides its machine.
type settings struct {
	slots     int
	same      string
	nodeLease string // "": off; auto, required
	noDrain   bool
	limit     time.Duration // of the drain
	onLimit   decide.TimeoutPolicy
	pre, last []daemon.Stage // before the drain, and after it
	dryRun    bool
	lock      string // its name, "" for lockName
	// wants is the name of the lock that a daemon is to be made for, by what stands on its
	// Node; nil: lock, whatever stands there.
	wants  func(daemon.Standing) string
	change func(*daemon.Config, *sim.Process) // has the last word
	made   func(*daemon.Daemon)
}

// start starts a real daemon on a machine.
func start(t testing.TB, m *sim.Machine, s settings) *sim.Process {
	t.Helper()
	return m.Start(func(ctx context.Context, p *sim.Process) {
		var before *daemon.Daemon
		for ctx.Err() == nil {
			c := configOf(t, p, s)
			var now daemon.Standing
			if c.Before = before; s.wants != nil {
				c.Fits = func(stands daemon.Standing) bool {
					now = stands
					return s.wants(now) == c.Policy.Lock
				}
			}
			d, err := daemon.New(c)
			if err != nil {
				t.Error(err)
				return
			}
			if s.made != nil {
				s.made(d)
			}
			d.Run(ctx)
			if before = d; s.wants != nil {
				s.lock = s.wants(now)
			}
		}
	})
}

// configOf is what a daemon on a simulated machine is made of.
func configOf(t testing.TB, p *sim.Process, s settings) daemon.Config {
	t.Helper()
	if s.lock == "" {
		s.lock = lockName
	}
	l, err := lease.New(lease.Config{
		API: p.Client, Namespace: sim.Namespace, Name: s.lock, Slots: max(1, s.slots), Node: p.Name, Duration: 15 * time.Minute,
		AtWork: daemon.AtWork(p.Client, p.Name, s.lock), DryRun: s.dryRun,
		Now: p.Now, ClockSkew: func() time.Duration { return time.Until(p.Now()) },
	})
	if err != nil {
		t.Error(err)
	}
	var stages []daemon.Stage
	stages = append(stages, s.pre...)
	if s.limit == 0 {
		s.limit = drainTimeout
	}
	if s.onLimit == "" {
		s.onLimit = decide.Rollback
	}
	if !s.noDrain {
		stages = append(stages, daemon.Drain(p.Drainer(), s.limit, s.onLimit))
	}
	stages = append(stages, s.last...)
	c := daemon.Config{
		NodeName: p.Name, Same: s.same,
		Policy: decide.Policy{Lock: s.lock, Slots: max(1, s.slots), Same: s.same, OrderWait: s.limit, RebootTimeout: rebootTimeout, HealthTimeout: healthTimeout},
		API:    p.Client, Lock: l, LeaseRequired: s.nodeLease == "required", Host: p, Sentinels: p.Sentinels(), Now: p.Now,
		Gates: daemon.OwnGates(), Stages: stages,
		WatchShutdown: p.WatchShutdown, CancelShutdown: p.CancelShutdown, Userspace: p.Userspace,
		Spawn: func(level api.Level, output func(string)) (daemon.Child, error) {
			c, err := p.Spawn(level, output)
			if err != nil {
				return nil, err
			}
			return c, nil
		},
		DryRun: s.dryRun, Status: p.SetStatus, Alive: p.Alive,
		Log: zerolog.New(p), Metrics: daemon.NewMetrics(prometheus.NewRegistry(), "test"),
	}
	if s.nodeLease != "" {
		c.NodeLease = p.NodeLeaser()
	}
	if s.change != nil {
		s.change(&c, p)
	}
	return c
}

// pass lets time pass, and all that is due then happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// simulate runs a test in a world of its own, and fails it for what must never happen. All
// processes are killed at its end.
func simulate(t *testing.T, f func(t *testing.T, w *sim.World)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := sim.NewWorld()
		defer func() {
			for _, m := range w.Machines() {
				m.GoesDown()
			}
			time.Sleep(10 * time.Second) // until all have ended: no time passes after the test
			if t.Failed() {
				for _, e := range w.Journal(0) {
					t.Logf("%s %s %s: %s", e.At.UTC().Format(time.TimeOnly), e.Node, e.Kind, e.Text)
				}
			}
			for _, v := range w.Violations() {
				t.Error(v)
			}
		}()
		f(t, w)
	})
}
