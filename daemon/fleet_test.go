package daemon_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/sim"
)

// A simulated fleet: many machines, each with a real daemon and its place in the real
// lock, one API server, and everything that can go wrong (fleet_events_test.go). The
// fleet keeps the truth and holds it against the rules after every event
// (fleet_judge_test.go).
//
// A seed says what happens from outside, and when. In which order goroutines run that are
// ready at the same instant it does not say: a seed that was broken may have to be run a
// few times until it is again.

// fleet is one of them.
type fleet struct {
	judge
	t     *testing.T
	seed  uint64
	w     *sim.World
	cfg   settings
	nodes []*fleetNode
	plant fault

	faults  bool // while things go wrong; under judge.mu
	apiOff  moment
	ticks   int
	urgent  chan *fleetNode
	regrets chan *fleetNode
	aborted map[string]int // by phase; "requested": before there is an operation
	closing chan *fleetNode

	dice sync.Mutex
	rng  *rand.Rand
}

// fault is what is planted into the daemon; the zero fault is none.
type fault struct {
	// next takes the place of the decision.
	next decision
	// parts changes what the daemon is made of.
	parts func(c *daemon.Config)
	// gates chooses the gates that the fault is about: they are there, and close whenever that
	// matters.
	gates func(g *fleetGates)
}

// fleetNode is one machine of a fleet, in the driver's hands. What others touch is in its
// embedded truth, under the judge's lock.
type fleetNode struct {
	truth
	m     *sim.Machine
	p     *sim.Process // nil: no daemon runs
	slots int          // as configured from its next start on

	stopping chan struct{} // closed when the daemon that was told to stop has
	backAt   time.Time     // when the machine is up again
	cutUntil moment        // it cannot reach the API server
	sick     time.Time     // not healthy until then
	ready    bool          // as the kubelet has reported it
	reported string        // the boot that the kubelet has reported
	leased   time.Time     // another operator has the node lease until then
	busy     time.Time     // others are at work until then
	inhibits time.Time     // a shutdown is inhibited until then
}

const (
	fleetZone     = "zone"
	fleetSettle   = 30 * time.Second
	fleetDrain    = 10 * time.Minute // limit
	fleetReboot   = 5 * time.Minute  // limit
	fleetHealth   = 5 * time.Minute  // limit
	faultyFor     = 50 * time.Minute
	peacefulFor   = 9 * time.Hour
	controlPlane  = "node-role.kubernetes.io/control-plane"
	othersTaint   = "medik8s.io/drain"
	otherOperator = "node-maintenance"
)

func newFleet(t *testing.T, seed uint64, plant fault) *fleet {
	rng := rand.New(rand.NewPCG(seed, 1))
	f := &fleet{t: t, seed: seed, w: sim.NewWorld(), plant: plant, rng: rng, faults: true, urgent: make(chan *fleetNode, 1), regrets: make(chan *fleetNode, 1), closing: make(chan *fleetNode, 1), aborted: map[string]int{}}
	n := 3 + rng.IntN(3)
	if rng.IntN(25) == 0 {
		n = 3 + rng.IntN(20)
	}
	f.slots = 1 + rng.IntN(3)
	f.zones = rng.IntN(2) == 0
	settle := time.Duration(rng.IntN(3)) * fleetSettle
	if f.zealous() {
		settle = 0
	}
	f.cfg = settings{
		limit:     fleetDrain,
		onLimit:   []decide.TimeoutPolicy{decide.Rollback, decide.Rollback, decide.Force, decide.Reboot}[rng.IntN(4)],
		noDrain:   rng.IntN(8) == 0,
		nodeLease: []string{"", "auto", "required"}[rng.IntN(3)],
	}
	f.hooked = rng.IntN(3) == 0
	f.drains, f.onLimit, f.leases = !f.cfg.noDrain, f.cfg.onLimit, f.cfg.nodeLease != ""
	if f.zones {
		f.cfg.same = fleetZone
	}
	f.cfg.change = func(c *daemon.Config, p *sim.Process) {
		c.Policy.RebootTimeout, c.Policy.HealthTimeout, c.Policy.Settle = fleetReboot, fleetHealth, settle
		c.Log = zerolog.Nop()
	}
	f.gates = newFleetGates(seed)
	if plant.gates != nil {
		f.gates.deadline = 0
		plant.gates(&f.gates)
	}
	f.quiet.set(true)
	f.begin(f.w)
	f.onMove = f.regretsMove
	for i := range n {
		f.nodes = append(f.nodes, f.newNode(fmt.Sprintf("n%d", i), i))
	}
	return f
}

func (f *fleet) newNode(name string, i int) *fleetNode {
	n := &fleetNode{slots: 1 + f.rng.IntN(f.slots), ready: true}
	n.zone, n.controlPlane = strconv.Itoa(f.rng.IntN(3)), i < 3 && f.seed%2 == 0
	if f.seed%6 == 0 { // at first: daemons end and start between the command and the boot
		n.broken = delays
	}
	f.add(name, &n.truth)
	n.unapproved.set(true)
	n.window, n.setAt = f.gates.window, time.Now()
	n.m = f.w.AddMachine(name)
	n.clock = n.m.Now
	n.reported = n.m.BootID()
	n.m.Edit(func(node *corev1.Node) {
		node.Labels = map[string]string{fleetZone: n.zone}
		if n.controlPlane {
			node.Labels[controlPlane] = ""
		}
	})
	n.m.OnCommand = func(c *sim.Command) error { return f.command(n, c) }
	n.m.Drain.Takes(func() time.Duration {
		if f.faulty() && f.chance(4) {
			return 24 * time.Hour
		}
		return f.upTo(time.Minute)
	})
	return n
}

// chance is true once in so many times.
func (f *fleet) chance(oneIn int) bool { return f.number(oneIn) == 0 }

func (f *fleet) number(below int) int {
	f.dice.Lock()
	defer f.dice.Unlock()
	return f.rng.IntN(below)
}

func (f *fleet) upTo(d time.Duration) time.Duration { return time.Duration(f.number(int(d))) }

// start starts the daemon of a node.
func (f *fleet) start(n *fleetNode) {
	skew := time.Duration(0)
	if f.faults && f.chance(4) {
		skew = f.upTo(2*time.Hour) - time.Hour
	}
	slow := f.faults && (f.zealous() || f.chance(3))
	s := f.cfg
	s.slots = n.slots
	reaches := f.apiUp(n)
	f.starts(&n.truth, reaches, slow, skew)
	n.p = n.m.Start(func(ctx context.Context, p *sim.Process) {
		p.Link.Meet(func(r sim.Request) sim.Fate { return f.fate(n, p, r) })
		if slow {
			p.Link.DelayEvents(func() time.Duration { return f.upTo(8 * time.Second) })
		}
		if !reaches {
			p.Link.Cut()
		}
		c := configOf(f.t, p, s)
		f.stages(&c, n, p)
		f.gatesOf(&c, n)
		cancel := c.CancelShutdown
		c.CancelShutdown = func(ctx context.Context) error {
			err := cancel(ctx)
			if err == nil && !p.Dead() {
				f.recalled(n)
			}
			return err
		}
		c.Alive = func() {
			if f.spins(&n.truth) {
				p.Kill()
			}
		}
		if f.plant.parts != nil {
			f.plant.parts(&c)
		}
		d, err := daemon.New(c)
		if err != nil {
			f.t.Error(err)
			return
		}
		next := decide.Next
		if f.plant.next != nil {
			next = f.plant.next
		}
		d.DecideBy(skewed(next, skew))
		d.Run(ctx)
	})
}

// stages puts the judge between the daemon and its stages.
func (f *fleet) stages(c *daemon.Config, n *fleetNode, p *sim.Process) {
	c.Stages = nil
	if f.hooked {
		c.Stages = append(c.Stages, &hookStage{f, n, p})
	}
	if f.drains {
		c.Stages = append(c.Stages, daemon.Drain(&judgedDrainer{f, n, p}, f.cfg.limit, f.cfg.onLimit))
	}
}

func (f *fleet) faulty() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.faults
}

// run lets the fleet run, with faults and then without, and says what rule was broken, ""
// for none.
func (f *fleet) run() string {
	defer f.end()
	for began := time.Now(); time.Since(began) < faultyFor; {
		f.tick(time.Second + f.upTo(5*time.Second))
		if s := f.broken(); s != "" {
			return s
		}
	}
	f.peace()
	for began := time.Now(); time.Since(began) < peacefulFor; {
		f.tick(10 * time.Second)
		if s := f.broken(); s != "" {
			return s
		}
		if f.unrest() == "" {
			return ""
		}
	}
	return "not at rest in the end: " + f.unrest()
}

// end ends all that runs.
func (f *fleet) end() {
	for _, n := range f.nodes {
		n.m.GoesDown()
	}
	time.Sleep(5 * time.Second)
}

func (f *fleet) tick(d time.Duration) {
	f.ticks++
	for due := time.After(d); due != nil; {
		select {
		case <-due:
			due = nil
		case n := <-f.urgent:
			time.Sleep(f.upTo(time.Second))
			f.mischief(n)
		case n := <-f.closing:
			time.Sleep(f.upTo(time.Second))
			f.gateMischief(n)
		case n := <-f.regrets:
			time.Sleep(f.upTo(time.Second))
			f.abort(n)
		}
	}
	for _, n := range f.nodes {
		f.outside(n)
	}
	synctest.Wait()
	f.checkAll(f.ticks%10 == 0)
}

// peace ends all faults but those that a person has to end.
func (f *fleet) peace() {
	f.mu.Lock()
	f.faults = false
	f.mu.Unlock()
	f.pause(false)
	f.apiOff.set(time.Time{})
	for _, n := range f.nodes {
		n.cutUntil.set(time.Time{})
	}
}

// unrest is what is left to do.
func (f *fleet) unrest() string {
	for _, n := range f.nodes {
		if !n.m.Up() {
			return n.name + " is down"
		}
		if s := f.unrestOf(&n.truth); s != "" {
			return n.name + ": " + s
		}
	}
	for slot, holder := range f.holders() {
		return fmt.Sprintf("%s holds %s", holder, slot)
	}
	for _, n := range f.nodes {
		if f.leases && n.m.Lease.Holder() != "" {
			return n.name + ": its node lease is held"
		}
	}
	return ""
}

// fleets is how many seeds are run; the environment variable FLEETS asks for another
// number, FLEET_SEED for one only.
func fleets(t *testing.T, usual int) (from, to uint64) {
	number := func(key string) (uint64, bool) {
		s := os.Getenv(key)
		if s == "" {
			return 0, false
		}
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n, true
	}
	if n, ok := number("FLEET_SEED"); ok {
		return n, n + 1
	}
	if n, ok := number("FLEETS"); ok {
		return 0, n
	}
	return 0, uint64(usual)
}

// outcome is what a fleet has come to.
type outcome struct {
	broken         string
	nodes, reboots int
	aborts         map[string]int // by the phase of the operation that people have given up
	simulated      time.Duration  // all nodes together
	trace          string
}

func runFleet(t *testing.T, seed uint64, plant fault) (o outcome) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		f := newFleet(t, seed, plant)
		o.broken = f.run()
		o.aborts = f.aborted
		o.nodes, o.simulated = len(f.nodes), time.Duration(len(f.nodes))*time.Since(began)
		for _, n := range f.nodes {
			o.reboots += n.byRebootd
		}
		if o.broken != "" {
			o.trace = f.trace(began, 150)
		}
	})
	return o
}

// trace is the end of what has happened.
func (f *fleet) trace(began time.Time, most int) string {
	all := f.w.Journal(0)
	var b strings.Builder
	for _, e := range all[max(0, len(all)-most):] {
		fmt.Fprintf(&b, "%8s %s %s: %s\n", e.At.Sub(began).Round(time.Millisecond), e.Node, e.Kind, e.Text)
	}
	return b.String()
}

func TestFleet(t *testing.T) {
	usual := 800
	if testing.Short() {
		usual = 40
	}
	from, to := fleets(t, usual)
	sum := outcome{aborts: map[string]int{}}
	began := time.Now()
	for seed := from; seed < to; seed++ {
		o := runFleet(t, seed, fault{})
		if o.broken != "" {
			t.Fatalf("seed %d (FLEET_SEED=%d): %s\n%s", seed, seed, o.broken, o.trace)
		}
		sum.nodes, sum.reboots, sum.simulated = sum.nodes+o.nodes, sum.reboots+o.reboots, sum.simulated+o.simulated
		for phase, n := range o.aborts {
			sum.aborts[phase] += n
		}
	}
	t.Logf("%d fleets, %d nodes, %d reboots by rebootd; %.0f node-hours, %.0f a second", to-from, sum.nodes, sum.reboots,
		sum.simulated.Hours(), sum.simulated.Hours()/time.Since(began).Seconds())
	for _, phase := range append(api.Phases(), "requested") {
		if to-from >= 400 && sum.aborts[string(phase)] == 0 {
			t.Errorf("people never abort what is %s: %v", phase, sum.aborts)
		}
	}
	if sum.reboots < int(to-from) {
		t.Errorf("only %d reboots in %d fleets: the simulation does not do its work", sum.reboots, to-from)
	}
}

// moment is a time that is changed while daemons look at it.
type moment struct{ at atomic.Pointer[time.Time] }

func (m *moment) set(t time.Time) { m.at.Store(&t) }

func (m *moment) get() time.Time {
	if t := m.at.Load(); t != nil {
		return *t
	}
	return time.Time{}
}
