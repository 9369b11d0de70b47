package locktest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/lock"
)

// bed is where one promise is checked. It is the judge of mutual exclusion, too: it
// knows which nodes are down.
type bed struct {
	testing.TB
	World
	ctx      context.Context
	while    time.Duration // for how long is looked whether something happens that must not
	fakeTime bool
	late     time.Duration // by how much a machine under load may be late

	mu     sync.Mutex
	down   map[string]*member // have passed the fence, and have not come back
	atWork map[string]bool    // by their own word
}

// grace is for how long slots are left alone that were deleted while they were held.
const grace = 3 * time.Second

// member is a node that takes part, and its daemon's process.
type member struct {
	lock.Locker
	b       *bed
	node    Node
	as      lock.Claimant
	process Process
	ctx     context.Context
	kill    func() // the process; what it has sent is lost if it was not carried out
}

// member makes a node and starts its daemon.
func (b *bed) member(name string, slots int, as ...func(*lock.Claimant)) *member {
	b.Helper()
	node := b.AddNode(name)
	m := &member{b: b, node: node, as: lock.Claimant{UID: node.UID}, process: Process{Node: node, Slots: slots, DeletedGrace: grace}}
	for _, f := range as {
		f(&m.as)
	}
	m.start()
	return m
}

func zone(z string) func(*lock.Claimant) { return func(c *lock.Claimant) { c.Zone = z } }
func controlPlane(c *lock.Claimant)      { c.ControlPlane = true }

// start starts the node's daemon, which does not run.
func (m *member) start() {
	link := newLink()
	ctx, cancel := context.WithCancel(m.b.ctx)
	m.process.Link, m.ctx = link, ctx
	m.kill = func() { cancel(); link.goAway() }
	m.Locker = m.b.Start(m.process)
}

// restart is a crash of the daemon, and its next start.
func (m *member) restart() {
	m.kill()
	m.start()
}

func (m *member) begun() lock.Claimant {
	c := m.as
	c.Begun = true
	return c
}

// acquires waits for a slot.
func (m *member) acquires() string {
	m.b.Helper()
	slot, err := m.Acquire(m.ctx, m.as, func(lock.Waiting) {})
	if err != nil {
		m.b.Fatalf("%s: Acquire: %v", m.node.Name, err)
	}
	return slot
}

// waiter is a call of Acquire in the background.
type waiter struct {
	b    *bed
	node string
	got  chan string
	err  chan error

	mu   sync.Mutex
	last lock.Waiting
}

func (m *member) waits() *waiter {
	w := &waiter{b: m.b, node: m.node.Name, got: make(chan string, 1), err: make(chan error, 1)}
	ctx, l, as := m.ctx, m.Locker, m.as
	go func() {
		slot, err := l.Acquire(ctx, as, func(note lock.Waiting) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.last = note
		})
		if err != nil {
			w.err <- err
			return
		}
		w.got <- slot
	}()
	return w
}

// note is what it was last told.
func (w *waiter) note() lock.Waiting {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// has says whether Acquire has returned a slot.
func (w *waiter) has() bool { return len(w.got) > 0 }

// gets waits until it has.
func (w *waiter) gets() string {
	w.b.Helper()
	w.b.eventually(w.node+" gets a slot", w.has)
	return <-w.got
}

// staysOut looks for a while that it does not.
func (w *waiter) staysOut(why string) {
	w.b.Helper()
	w.b.never(fmt.Sprintf("%s gets a slot: %s", w.node, why), w.b.while, w.has)
}

// says that the node is at work, or is not any more.
func (m *member) says(atWork bool) {
	m.b.mu.Lock()
	defer m.b.mu.Unlock()
	if atWork {
		m.b.atWork[m.node.Name] = true
	} else {
		delete(m.b.atWork, m.node.Name)
	}
	var nodes []string
	for n := range m.b.atWork {
		nodes = append(nodes, n)
	}
	slices.Sort(nodes)
	m.b.SetAtWork(nodes)
}

// begins says that it is at work, and goes down if the fence lets it.
func (m *member) begins() error {
	m.says(true)
	err := m.Fence(m.ctx)
	if err == nil {
		m.b.enter(m)
	}
	return err
}

// goesDown is for one that must be let.
func (m *member) goesDown() {
	m.b.Helper()
	if err := m.begins(); err != nil {
		m.b.Fatalf("%s: Fence: %v", m.node.Name, err)
	}
}

// comesBack is up again, and has nothing more to do.
func (m *member) comesBack() {
	m.b.leave(m)
	m.says(false)
}

// releases gives its slot up, for those named in line.
func (m *member) releases(line ...string) {
	m.b.Helper()
	if err := m.Release(m.ctx, api.Line{Nodes: line, At: time.Now()}); err != nil {
		m.b.Fatalf("%s: Release: %v", m.node.Name, err)
	}
}

// finds looks up its slot.
func (m *member) finds(as lock.Claimant) (slot string, held bool) {
	m.b.Helper()
	slot, held, err := m.Find(m.ctx, as)
	if err != nil {
		m.b.Fatalf("%s: Find: %v", m.node.Name, err)
	}
	if held != (slot != "") {
		m.b.Errorf("%s: Find: %q, %t", m.node.Name, slot, held)
	}
	return slot, held
}

// isLost checks that a node is told that its slot is lost.
func (b *bed) isLost(what string, err error) {
	b.Helper()
	var lost *lock.LostError
	if !errors.Is(err, lock.ErrLost) || !errors.As(err, &lost) || errors.Is(err, lock.ErrPaused) || lost.What == "" || lost.How == "" {
		b.Errorf("%s: %v, want a LostError", what, err)
	}
}

// enter is the judge: who is down together must be no more than there are slots, by
// the highest of their numbers, of one zone, and one control-plane node at most.
func (b *bed) enter(m *member) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.down[m.node.Name] = m
	var names []string
	slots, planes := 0, 0
	for name, n := range b.down {
		names = append(names, name)
		slots = max(slots, n.process.Slots)
		if n.as.ControlPlane {
			planes++
		}
		if n.as.Zone != m.as.Zone && n.as.Zone != "" && m.as.Zone != "" {
			b.Errorf("down together are %s of %s and %s of %s", m.node.Name, m.as.Zone, name, n.as.Zone)
		}
	}
	slices.Sort(names)
	if len(names) > slots || planes > 1 {
		b.Errorf("down together are %s, with %d slots, and %d control-plane nodes", strings.Join(names, ", "), slots, planes)
	}
}

func (b *bed) leave(m *member) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.down, m.node.Name)
}

// isDown says whether a node is.
func (b *bed) isDown(m *member) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.down[m.node.Name] != nil
}

func (b *bed) allDown() []*member {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Values(b.down))
}

// patience is for how long is waited for what should happen in less than a minute.
const patience = 10 * time.Minute

// eventually waits until ok.
func (b *bed) eventually(what string, ok func() bool) {
	b.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for !ok() {
		select {
		case <-ctx.Done():
			b.Fatalf("waited in vain until %s; held: %v", what, b.Held())
		case <-tick.C:
		}
	}
}

// never looks for a while that something does not happen.
func (b *bed) never(what string, while time.Duration, happens func() bool) {
	b.Helper()
	tick := time.NewTicker(max(20*time.Millisecond, while/100))
	defer tick.Stop()
	for end := time.Now().Add(while); time.Now().Before(end); <-tick.C {
		if happens() {
			b.Fatalf("%s; held: %v", what, b.Held())
		}
	}
}

// clean checks that nothing is held, and that nothing is left of these.
func (b *bed) clean(members ...*member) {
	b.Helper()
	if held := b.Held(); len(held) != 0 {
		b.Errorf("all have released, and held are %v", held)
	}
	for _, m := range members {
		if left := b.Traces(m.node.Name); len(left) != 0 {
			b.Errorf("%s has released, and left is %v", m.node.Name, left)
		}
	}
}

// passes checks that the lock is as good as new: another node takes it and releases it.
func (b *bed) passes(slots int) {
	b.Helper()
	next := b.member("afterwards", slots)
	next.acquires()
	next.goesDown()
	next.comesBack()
	next.releases()
}
