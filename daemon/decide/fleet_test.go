package decide

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// A simulated fleet: many nodes, each with a machine and a daemon that knows only
// what it has read, one lock, one API server, and everything that can go wrong.
// The world keeps the truth and checks it after every event.

// simNode is one node, in truth.
type simNode struct {
	name string

	// The machine.
	boot      int
	bootTime  time.Time
	up        bool
	backAt    time.Time   // when it is up again
	goesDown  []time.Time // reboots that were agreed to and are to come
	sentinel  time.Time   // zero: none
	sick      time.Time   // not healthy until then
	requests  int         // how often a reboot was asked for anew
	served    int         // the last of them that a reboot has served
	broken    brokenKind  // the reboot command
	byOurself int         // reboots by rebootd
	off       bool        // down, by rebootd

	// The Node object.
	version       int
	unschedulable bool
	ours          bool // the cordon is rebootd's
	record        string
	read          map[string]*Record // what record says, and has said
	annotation    bool
	held          bool
	kubeletBoot   int

	slots int // as this node is configured, which a rollout may be about to change
	zone  int

	lease      string    // who holds the node lease, "" for nobody
	leaseUntil time.Time // when another operator gives it up

	d *simDaemon // nil: it does not run
}

type brokenKind int

const (
	works brokenKind = iota
	fails
	doesNothing
	delays
)

// simDaemon is what a daemon knows: it is gone with it.
type simDaemon struct {
	f       Facts
	skew    time.Duration // of its clock
	version int           // of the Node that it has seen
	record  string
	request bool
	retryAt time.Time
	drainAt time.Time // when the drain will be done
}

type world struct {
	t      *testing.T
	seed   uint64
	rng    *rand.Rand
	now    time.Time
	p      Policy
	slots  int
	next   func(Policy, *Record, Facts) Step
	nodes  []*simNode
	leases []string // holders
	// handedOn says which slots are free and were given up by their last holder.
	handedOn []bool
	apiOff   time.Time
	faults   bool
	stolen   bool // somebody has taken a slot away in this run
	zones    bool // nodes that are down together share their zone
	paused   bool // by people
	trace    []string
	broken   string // the first rule that was broken
}

func newWorld(t *testing.T, seed uint64, next func(Policy, *Record, Facts) Step) *world {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := &world{t: t, seed: seed, rng: rng, next: next, now: t0, faults: true}
	n := 3 + rng.IntN(4)
	if rng.IntN(25) == 0 {
		n = 3 + rng.IntN(48)
	}
	w.slots = 1 + rng.IntN(3)
	w.zones = rng.IntN(2) == 0
	w.leases, w.handedOn = make([]string, w.slots), make([]bool, w.slots)
	w.p = Policy{
		Drain: rng.IntN(8) > 0, DrainTimeout: 10 * time.Minute, OnDrainTimeout: []TimeoutPolicy{Rollback, Rollback, Force, Reboot}[rng.IntN(4)],
		NodeLease:     []LeaseMode{LeaseOff, LeaseAuto, LeaseRequired}[rng.IntN(3)],
		RebootTimeout: 5 * time.Minute, HealthTimeout: 5 * time.Minute, Settle: time.Duration(rng.IntN(3)) * 30 * time.Second,
	}
	for i := range n {
		w.nodes = append(w.nodes, &simNode{name: fmt.Sprintf("n%d", i), boot: 1, kubeletBoot: 1, up: true, bootTime: w.now.Add(-time.Hour), version: 1, read: map[string]*Record{}, slots: 1 + rng.IntN(w.slots), zone: rng.IntN(3)})
	}
	return w
}

func (w *world) log(n *simNode, format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%8s %s %s", w.now.Sub(t0), n.name, fmt.Sprintf(format, args...)))
}

func (w *world) chance(oneIn int) bool { return w.rng.IntN(oneIn) == 0 }

func (w *world) violated(n *simNode, format string, args ...any) {
	if w.broken == "" {
		w.broken = fmt.Sprintf(format, args...)
		w.log(n, "BROKEN: %s", w.broken)
	}
}

func (n *simNode) bootID() string { return fmt.Sprintf("%s-boot-%d", n.name, n.boot) }

func (n *simNode) parsed() *Record { return n.parse(n.record) }

// parse reads a record once.
func (n *simNode) parse(record string) *Record {
	if record == "" {
		return nil
	}
	if r := n.read[record]; r != nil {
		return r
	}
	r, err := ParseRecord([]byte(record))
	if err != nil {
		panic(err)
	}
	n.read[record] = r
	return r
}

func (n *simNode) asked() bool { return n.requests > n.served }

// slotOf is the slot that a node holds, -1 for none.
func (w *world) slotOf(n *simNode) int {
	for i, h := range w.leases {
		if h == n.name {
			return i
		}
	}
	return -1
}

// check holds the truth against the rules.
func (w *world) check(n *simNode) {
	disturbed := 0
	for _, x := range w.nodes {
		if r := x.parsed(); r != nil {
			switch r.Phase {
			case Draining, Rebooting, Verifying, Halted:
				disturbed++
				if r := n.parsed(); w.zones && !w.stolen && x.zone != n.zone && r != nil && r.Phase == Draining {
					w.violated(n, "%s, of another zone, is drained or down at the same time", x.name)
				}
			}
		}
	}
	if disturbed > w.slots && !w.stolen {
		w.violated(n, "%d nodes are drained or down under %d slots", disturbed, w.slots)
	}
}

// goDown takes a machine down, by rebootd's order or by a power cut.
func (w *world) goDown(n *simNode, ordered bool) {
	if !n.up {
		return
	}
	if n.off = ordered; ordered {
		n.byOurself++
		off := 0
		for _, x := range w.nodes {
			if x.off && !x.up || x == n {
				off++
			}
		}
		if off > w.slots {
			w.violated(n, "%d machines are off at the same time under %d slots", off, w.slots)
		}
	}
	n.up, n.d, n.goesDown = false, nil, nil
	n.sentinel = time.Time{}
	n.served = n.requests
	if r := n.parsed(); n.annotation && (r == nil || !r.Annotated) {
		n.requests++ // nobody has seen it yet: it stands
	}
	n.backAt = w.now.Add(time.Duration(10+w.rng.IntN(120)) * time.Second)
	w.log(n, "down (ordered %t)", ordered)
}

// outside is what happens without rebootd's doing.
func (w *world) outside(n *simNode) {
	for _, at := range n.goesDown {
		if n.up && !w.now.Before(at) {
			w.goDown(n, true)
			break
		}
	}
	if !n.up {
		if !w.now.Before(n.backAt) {
			n.up, n.boot, n.bootTime = true, n.boot+1, w.now
			w.log(n, "boots as %s", n.bootID())
		}
		return
	}
	if n.lease == "node-maintenance" && (!w.faults || w.now.After(n.leaseUntil)) {
		n.lease = ""
	}
	if n.kubeletBoot != n.boot && w.chance(3) && w.apiUp() {
		n.kubeletBoot = n.boot
		n.version++
	}
	if n.d == nil && (!w.faults || w.chance(3)) {
		n.d = &simDaemon{f: Facts{Instance: fmt.Sprint(w.rng.Uint64())}}
		if w.faults && w.chance(4) {
			n.d.skew = time.Duration(w.rng.IntN(7200)-3600) * time.Second
		}
		w.log(n, "daemon starts, clock %+v", n.d.skew)
	}
	if !w.faults {
		n.broken, n.held = works, false
		return
	}
	switch w.rng.IntN(400) {
	case 0, 1, 2, 3:
		if n.sentinel.IsZero() {
			n.sentinel, n.requests = w.now, n.requests+1
			w.log(n, "sentinel")
		}
	case 4:
		if !n.annotation {
			n.annotation, n.version, n.requests = true, n.version+1, n.requests+1
			w.log(n, "request by annotation")
		}
	case 5:
		if !n.sentinel.IsZero() && !n.annotation {
			n.sentinel, n.served = time.Time{}, n.requests
			w.log(n, "sentinel removed")
		}
	case 6:
		n.held = !n.held
		n.version++
		w.log(n, "held %t", n.held)
	case 7:
		if !n.unschedulable {
			n.unschedulable, n.ours = true, false
			n.version++
			w.log(n, "admin cordons")
		}
	case 8:
		if n.unschedulable {
			n.unschedulable, n.ours = false, false
			n.version++
			w.log(n, "admin uncordons")
		}
	case 9:
		if w.seed%3 == 0 {
			i := w.rng.IntN(w.slots)
			w.log(n, "somebody clears slot %d of %s", i, w.leases[i])
			w.leases[i], w.stolen = "", true
		}
	case 10:
		w.log(n, "power cut")
		w.goDown(n, false)
	case 11:
		n.broken = brokenKind(w.rng.IntN(4))
	case 12:
		n.sick = w.now.Add(time.Duration(w.rng.IntN(600)) * time.Second)
		n.version++
	case 13:
		if n.d != nil {
			w.log(n, "daemon is killed")
			n.d = nil
		}
	case 15:
		n.slots = 1 + w.rng.IntN(w.slots)
		w.log(n, "has now %d slots", n.slots)
	case 17, 18:
		if w.p.NodeLease.inUse() && (n.lease == "" || n.lease == "rebootd" && w.chance(4)) { // by its rules, or because ours lapsed
			n.lease, n.leaseUntil = "node-maintenance", w.now.Add(time.Duration(60+w.rng.IntN(600))*time.Second)
			w.log(n, "node-maintenance takes the node lease")
		}
	case 16:
		w.paused = w.chance(2)
		w.log(n, "paused: %t", w.paused)
	case 14:
		if w.chance(4) {
			w.apiOff = w.now.Add(time.Duration(w.rng.IntN(600)) * time.Second)
			w.log(n, "API server away until %s", w.apiOff.Sub(t0))
		}
	}
}

func (w *world) apiUp() bool { return !w.now.Before(w.apiOff) }

// run lets the fleet run, with faults and then without, and says what rule was
// broken, "" for none.
func (w *world) run() string {
	for range 600 {
		w.tick(5 * time.Second)
		if w.broken != "" {
			return w.broken
		}
	}
	w.faults, w.paused = false, false
	w.apiOff = time.Time{}
	for range 3000 {
		w.tick(10 * time.Second)
		if w.broken != "" {
			return w.broken
		}
		if w.quiet() {
			return ""
		}
	}
	for _, n := range w.nodes {
		if why := w.unrest(n); why != "" {
			w.violated(n, "not at rest in the end: %s", why)
		}
	}
	return w.broken
}

func (w *world) tick(d time.Duration) {
	w.now = w.now.Add(d)
	for _, i := range w.rng.Perm(len(w.nodes)) {
		n := w.nodes[i]
		w.outside(n)
		for range 1 + w.rng.IntN(4) {
			w.act(n)
			w.check(n)
		}
		if !w.faults && n.up {
			// A person goes to a machine that has halted since it did not go down.
			if r := n.parsed(); r != nil && r.Phase == Halted && r.BootID == n.bootID() && w.chance(30) {
				w.log(n, "a person reboots it")
				w.goDown(n, false)
			}
		}
	}
}

func (w *world) quiet() bool {
	for _, n := range w.nodes {
		if w.unrest(n) != "" {
			return false
		}
	}
	return true
}

// unrest is what is left to do on a node.
func (w *world) unrest(n *simNode) string {
	switch {
	case !n.up:
		return "down"
	case n.record != "":
		return "record " + n.record
	case n.unschedulable && n.ours:
		return "cordoned by rebootd"
	case w.slotOf(n) >= 0:
		return "holds a slot"
	case n.lease == "rebootd":
		return "holds its node lease"
	case n.asked():
		return "a request was not served"
	}
	return ""
}

// fleets is how many seeds are run; the environment variable FLEETS asks for
// another number, FLEET_SEED for one only.
func fleets(t *testing.T, usual int) (from, to uint64) {
	if s := os.Getenv("FLEET_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n, n + 1
	}
	if s := os.Getenv("FLEETS"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return 0, n
	}
	return 0, uint64(usual)
}

func TestFleet(t *testing.T) {
	from, to := fleets(t, 1000)
	reboots, nodes := 0, 0
	for seed := from; seed < to; seed++ {
		w := newWorld(t, seed, Next)
		if broken := w.run(); broken != "" {
			t.Fatalf("seed %d (FLEET_SEED=%d): %s\n%s", seed, seed, broken, strings.Join(w.trace[max(0, len(w.trace)-80):], "\n"))
		}
		nodes += len(w.nodes)
		for _, n := range w.nodes {
			reboots += n.byOurself
		}
	}
	t.Logf("%d fleets, %d nodes, %d reboots by rebootd", to-from, nodes, reboots)
	if reboots < int(to-from) {
		t.Errorf("only %d reboots in %d fleets: the simulation does not do its work", reboots, to-from)
	}
}
