package locktest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// races: something happens right before each of the requests by which a node takes a
// slot. Which slot that is, and which another takes, is left to chance: where time is
// fake, there are several rounds; where it is not, a few requests must do.
func races(backend Backend) []promise {
	first, last, rounds := 3, 6, 1
	if backend.FakeTime {
		first, last, rounds = 1, most, 4
	}
	var out []promise
	for i := range (last - first + 1) * rounds {
		k := first + i%(last-first+1)
		for name, f := range map[string]func(b *bed, k int){
			"another takes a slot meanwhile, and fewer are left":              raceFewer,
			"another of another zone takes a slot meanwhile":                  raceZones,
			"another replaces a zone that is left over meanwhile":             raceLeftOver,
			"another control-plane node takes a slot meanwhile":               raceControlPlane,
			"another begins and loses its slot meanwhile":                     raceAtWork,
			"the slot is held and cleared meanwhile":                          raceCleared,
			"another takes the slot meanwhile, and is killed, and comes back": raceKilled,
		} {
			out = append(out, promise{fmt.Sprintf("%s/request %d", name, k), func(b *bed) { f(b, k) }})
		}
	}
	return out
}

// within is a context for what need not succeed.
func (b *bed) within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(b.ctx, d)
}

// soon is for how long one tries in the middle of another's request.
const soon = 2500 * time.Millisecond

// meets has f happen before the k-th request of m's, and then has m go down as soon as it
// may. The others are those that f has do something.
func (b *bed) meets(m *member, k int, f func(), others ...*member) {
	m.process.Link.once(k, func() Fate {
		f()
		return Carried
	})
	w := m.waits()
	limit := 20 * time.Second
	if !b.fakeTime {
		limit = 5 * time.Second
	}
	for end := time.Now().Add(limit); !w.has() && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
	}
	if w.has() {
		_ = m.begins()
		return
	}
	// It gets a slot when the others have finished.
	for _, other := range b.allDown() {
		other.comesBack()
		other.releases()
	}
	b.eventually(m.node.Name+" gets a slot", func() bool {
		// Whoever was interrupted may hold a slot: what it has sent may come late.
		for _, other := range others {
			if !b.isDown(other) {
				other.releases()
			}
		}
		return w.has()
	})
	_ = m.begins()
}

// dashes is a node that takes a slot and goes down, if it can soon.
func (b *bed) dashes(m *member) {
	ctx, cancel := b.within(soon)
	defer cancel()
	if !m.tries(ctx) || m.begins() != nil {
		m.says(false)
		m.releases() // it may hold a slot all the same
	}
}

// Slots are made fewer while the highest are held, so many that one more node may go down;
// two nodes want one. The race is one only where they try two slots: the more are free, the
// surer they do.
func raceFewer(b *bed, k int) {
	left := 2
	if b.fakeTime {
		left = 5
	}
	all := 2*left - 1
	slots := map[string]*member{}
	for i := range all {
		m := b.member(fmt.Sprintf("old%d", i), all)
		slots[m.acquires()] = m
	}
	for i, slot := range slices.Sorted(maps.Keys(slots)) {
		m := slots[slot]
		m.process.Slots = left
		m.goesDown()
		if i < left {
			m.comesBack()
			m.releases()
		}
	}
	a, other := b.member("a", left), b.member("b", left)
	b.meets(a, k, func() { b.dashes(other) }, other)
}

func raceZones(b *bed, k int) {
	a, other := b.member("a", 3, zone("zone=a")), b.member("b", 3, zone("zone=b"))
	b.meets(a, k, func() { b.dashes(other) }, other)
}

func raceControlPlane(b *bed, k int) {
	a, other := b.member("a", 3, controlPlane), b.member("b", 3, controlPlane)
	b.meets(a, k, func() { b.dashes(other) }, other)
}

// A zone is left over; one that is about to replace it loses its slot, and another is
// quicker.
func raceLeftOver(b *bed, k int) {
	dead := b.member("dead", 2, zone("zone=x"))
	b.Delete(dead.acquires())
	dead.kill()
	a, other := b.member("a", 2, zone("zone=a")), b.member("b", 2, zone("zone=b"))
	b.meets(a, k, func() {
		for slot, node := range b.Held() {
			if node == a.node.Name {
				b.Clear(slot)
			}
		}
		b.dashes(other)
	}, other)
}

// Two slots, one of them taken away from a node that is down: who is given that one looks
// who is at work. Meanwhile the other is taken by its heir, who goes down, and loses it.
func raceAtWork(b *bed, k int) {
	down, before, a, heir := b.member("down", 2), b.member("before", 2), b.member("a", 2), b.member("heir", 2)
	lost, kept := down.acquires(), before.acquires()
	before.goesDown()
	before.comesBack()
	before.releases(heir.node.Name)
	down.goesDown()
	b.Give(lost, a.node.Name)
	b.meets(a, k, func() {
		b.dashes(heir)
		if b.Held()[kept] == heir.node.Name {
			b.Clear(kept)
		}
	}, heir)
}

// Who takes a slot for one that was handed on is told by the answer that it was held, and
// cleared, since.
func raceCleared(b *bed, k int) {
	before, a, down := b.member("before", 1), b.member("a", 1), b.member("down", 1)
	before.acquires()
	before.goesDown()
	before.comesBack()
	before.releases()
	b.meets(a, k, func() {
		b.dashes(down)
		for slot, node := range b.Held() {
			if node == down.node.Name {
				b.Clear(slot)
			}
		}
	}, down)
}

func raceKilled(b *bed, k int) {
	a, other := b.member("a", 1), b.member("b", 1)
	b.meets(a, k, func() { b.dashes(other) }, other)
	if !b.isDown(other) {
		return
	}
	other.restart()
	if _, held := other.finds(other.begun()); !held {
		b.Error("who is down has lost its slot")
	}
	other.comesBack()
	other.releases()
}
