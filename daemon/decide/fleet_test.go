package decide

import (
	"encoding/json"
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
	apiOff time.Time
	faults bool
	stolen bool // somebody has taken a slot away in this run
	paused bool // by people
	trace  []string
	broken string // the first rule that was broken
}

func newWorld(t *testing.T, seed uint64, next func(Policy, *Record, Facts) Step) *world {
	rng := rand.New(rand.NewPCG(seed, 1))
	w := &world{t: t, seed: seed, rng: rng, next: next, now: t0, faults: true}
	n := 3 + rng.IntN(4)
	if rng.IntN(25) == 0 {
		n = 3 + rng.IntN(48)
	}
	w.slots = 1 + rng.IntN(3)
	w.leases = make([]string, w.slots)
	w.p = Policy{
		Drain: rng.IntN(8) > 0, DrainTimeout: 10 * time.Minute, OnDrainTimeout: []TimeoutPolicy{Rollback, Rollback, Force, Reboot}[rng.IntN(4)],
		RebootTimeout: 5 * time.Minute, HealthTimeout: 5 * time.Minute, Settle: time.Duration(rng.IntN(3)) * 30 * time.Second,
	}
	for i := range n {
		w.nodes = append(w.nodes, &simNode{name: fmt.Sprintf("n%d", i), boot: 1, kubeletBoot: 1, up: true, bootTime: w.now.Add(-time.Hour), version: 1, read: map[string]*Record{}, slots: 1 + rng.IntN(w.slots)})
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
	if ordered {
		n.byOurself++
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

// observe brings what a daemon knows up to date, or does not.
func (w *world) observe(n *simNode) (known bool) {
	d := n.d
	f := &d.f
	f.Now = w.now.Add(d.skew)
	f.Boot = Boot{ID: n.bootID(), Time: n.bootTime}
	f.Uptime = w.now.Sub(n.bootTime)
	fresh := d.version == 0 || !w.faults || !w.chance(5)
	if fresh && w.apiUp() {
		d.version, d.record = n.version, n.record
		f.Held, f.Node = n.held, Node{Unschedulable: n.unschedulable, Foreign: n.unschedulable && !n.ours}
		d.request = n.annotation
		healthy := n.kubeletBoot == n.boot && !w.now.Before(n.sick)
		switch {
		case !healthy:
			f.HealthySince, f.Ailing = time.Time{}, "not Ready"
		case f.HealthySince.IsZero():
			f.HealthySince = f.Now
		}
		switch held := w.slotOf(n) >= 0; {
		case f.Slot.State == SlotUnknown && w.chance(2): // not looked up yet
		case f.Slot.State == SlotUnknown && held:
			f.Slot.State = SlotHeld
		case f.Slot.State == SlotUnknown:
			f.Slot.State = SlotNone
		case f.Slot.State == SlotHeld && !held:
			f.Slot.State = SlotGone
		}
		f.Slot.Paused = ""
		if w.paused {
			f.Slot.Paused = "an outage"
		}
	}
	var s []Sentinel
	if !n.sentinel.IsZero() {
		s = []Sentinel{{Path: "/run/reboot-needed", ModTime: n.sentinel}}
	}
	annotation := ""
	if d.request {
		annotation = "reboot"
	}
	f.Request = RequestOf(s, f.Boot, annotation)
	if f.Drain.Key != "" && !w.now.Before(d.drainAt) {
		f.Drain.Done = true
	}
	return d.version != 0
}

// act is one turn of a daemon, with a crash or a lost answer wherever one can be.
func (w *world) act(n *simNode) {
	if n.d == nil || !n.up || !w.observe(n) || w.now.Before(n.d.retryAt) {
		return
	}
	d := n.d
	r := n.parse(d.record)
	step := w.next(w.p, r, d.f)
	switch step.Do {
	case Wait:
		return
	case Evict:
		if d.f.Slot.Paused != "" {
			w.violated(n, "pods are evicted although the daemon knows of the pause")
		}
		if d.f.Drain.Key != r.DrainKey() {
			d.f.Drain = Drain{Key: r.DrainKey()}
			d.drainAt = w.now.Add(time.Duration(5+w.rng.IntN(60)) * time.Second)
			if w.faults && w.chance(4) {
				d.drainAt = w.now.Add(24 * time.Hour)
			}
		}
		return
	}
	w.log(n, "%s %s", step.Do, step.Reason)
	if w.faults && w.chance(40) {
		w.log(n, "killed before it")
		n.d = nil
		return
	}
	if !w.apiUp() {
		d.retryAt = w.now.Add(10 * time.Second)
		return
	}
	lost := w.faults && w.chance(30)
	w.do(n, r, step, lost)
	if lost {
		d.retryAt = w.now.Add(time.Second)
	}
	if w.faults && n.d == d && w.chance(40) {
		w.log(n, "killed after it")
		n.d = nil
	}
}

// do carries a step out. lost: it is done, and the daemon does not learn of it.
func (w *world) do(n *simNode, r *Record, step Step, lost bool) {
	d := n.d
	switch step.Do {
	case Write, Cordon, Restore:
		if d.version != n.version {
			d.version = 0 // a conflict: reads anew
			return
		}
		w.patch(n, r, step)
		if lost {
			d.version = 0
			return
		}
		d.version, d.record = n.version, n.record
		d.f.Node = Node{Unschedulable: n.unschedulable, Foreign: n.unschedulable && !n.ours}
	case Acquire:
		taken := 0
		for _, h := range w.leases {
			if h != "" {
				taken++
			}
		}
		if w.paused || taken >= n.slots {
			return
		}
		for i, h := range w.leases[:n.slots] {
			if h == "" && w.slotOf(n) < 0 {
				w.leases[i] = n.name
				d.f.Slot.State = SlotHeld
				if lost {
					d.f.Slot.State = SlotUnknown
				}
				return
			}
		}
	case Release:
		if i := w.slotOf(n); i >= 0 {
			w.leases[i] = ""
		}
		if !lost {
			d.f.Slot.State = SlotNone
		}
	case Spawn:
		if w.slotOf(n) < 0 { // the fence
			d.f.Slot.State = SlotGone
			return
		}
		if d.f.Slot.Paused != "" {
			w.violated(n, "a reboot is ordered although the daemon knows of the pause")
		}
		if w.paused { // the fence sees it at the latest
			d.f.Slot.Paused = "an outage"
			return
		}
		w.order(n, r)
	}
}

// patch writes the record, and the cordon with it.
func (w *world) patch(n *simNode, r *Record, step Step) {
	switch step.Do {
	case Cordon:
		if !n.unschedulable {
			n.unschedulable, n.ours = true, true
		}
	case Restore:
		if step.Uncordon {
			if !n.ours {
				w.violated(n, "somebody else's cordon was removed")
			}
			n.unschedulable, n.ours = false, false
		}
	}
	n.record = ""
	if step.Record != nil {
		data, err := json.Marshal(step.Record)
		if err != nil {
			panic(err)
		}
		n.record = string(data)
	}
	if step.ClearRequest {
		n.annotation = false
	}
	n.version++
}

// order is the reboot command.
func (w *world) order(n *simNode, r *Record) {
	d := n.d
	if truth := n.parsed(); truth == nil || truth.Phase != Rebooting || truth.OrderKey() != r.OrderKey() {
		w.violated(n, "the reboot command was called for an order that is not on record")
	}
	if !n.unschedulable && d.version == n.version {
		w.violated(n, "the reboot command was called on a node that is not cordoned")
	}
	if !n.asked() {
		w.violated(n, "a reboot was ordered for a request that was served already")
	}
	if len(n.goesDown) > 0 {
		w.violated(n, "a reboot was ordered although one was still to come")
	}
	d.f.Child = Child{Key: r.OrderKey(), State: ChildSucceeded, Ended: d.f.Now}
	w.log(n, "command: %d", n.broken)
	switch n.broken {
	case works:
		n.goesDown = append(n.goesDown, w.now.Add(time.Duration(w.rng.IntN(5))*time.Second))
	case delays:
		n.goesDown = append(n.goesDown, w.now.Add(time.Duration(w.rng.IntN(240))*time.Second))
	case fails:
		d.f.Child.State, d.f.Child.Problem = ChildFailed, "exit status 1"
	}
}

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

// What the simulation is worth: each of these faults in the decision is found.
func TestFleetFindsFaults(t *testing.T) {
	faults := map[string]func(Policy, *Record, Facts) Step{
		"takes an unknown slot for held": func(p Policy, r *Record, f Facts) Step {
			if f.Slot.State == SlotUnknown {
				f.Slot.State = SlotHeld
			}
			return Next(p, r, f)
		},
		"orders without having written it ahead": func(p Policy, r *Record, f Facts) Step {
			s := Next(p, r, f)
			if s.Do == Write && s.Record != nil && s.Record.Phase == Rebooting {
				return Step{Do: Spawn, Reason: RebootOrdered, Record: s.Record}
			}
			return s
		},
		"uncordons whoever has cordoned": func(p Policy, r *Record, f Facts) Step {
			s := Next(p, r, f)
			s.Uncordon = s.Do == Restore && f.Node.Unschedulable
			return s
		},
		"gives up the slot before the node is verified": func(p Policy, r *Record, f Facts) Step {
			if r != nil && r.Phase == Verifying && f.Slot.State == SlotHeld {
				return Step{Do: Release, Reason: Released}
			}
			return Next(p, r, f)
		},
		"keeps the slot of an operation that has ended": func(p Policy, r *Record, f Facts) Step {
			s := Next(p, r, f)
			if s.Do == Release {
				s.Do = Wait
			}
			return s
		},
		"orders again what an earlier start has ordered": func(p Policy, r *Record, f Facts) Step {
			if r != nil && r.Phase == Rebooting && r.Order.By != f.Instance && f.Boot.ID == r.BootID {
				c := *r
				c.Order = new(*r.Order)
				c.Order.By = f.Instance
				return Next(p, &c, f)
			}
			return Next(p, r, f)
		},
		"obeys no pause": func(p Policy, r *Record, f Facts) Step {
			f.Slot.Paused = ""
			return Next(p, r, f)
		},
		"does not clear the request that was served": func(p Policy, r *Record, f Facts) Step {
			s := Next(p, r, f)
			s.ClearRequest = false
			return s
		},
		"never gives up on an order that came to nothing": func(p Policy, r *Record, f Facts) Step {
			s := Next(p, r, f)
			if r != nil && r.Phase == Rebooting && s.Do == Write && s.Record != nil && (s.Record.Phase == Draining || s.Record.Phase == Halted) {
				s.Do = Wait
			}
			return s
		},
	}
	for name, next := range faults {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(500) {
				if broken := newWorld(t, seed, next).run(); broken != "" {
					t.Logf("found with seed %d: %s", seed, broken)
					return
				}
			}
			t.Error("not found in 500 fleets")
		})
	}
}
