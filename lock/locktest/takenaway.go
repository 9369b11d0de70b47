package locktest

import (
	"fmt"

	"rebootd.dev/daemon/api"
	"rebootd.dev/lock"
)

// byPeople are the ways in which people take a slot away.
var byPeople = map[string]func(b *bed, slot, to string){
	"deleted": func(b *bed, slot, _ string) { b.Delete(slot) },
	"cleared": func(b *bed, slot, _ string) { b.Clear(slot) },
	"given":   func(b *bed, slot, to string) { b.Give(slot, to) },
}

// takenAway: people have the last word, and whoever has lost its slot learns of it.
func takenAway() []promise {
	var out []promise
	for how := range byPeople {
		out = append(
			out,
			promise{"a slot that is " + how + " is lost, which Keep tells", func(b *bed) { lostWhile(b, how, true) }},
			promise{"a slot that is " + how + " is lost, which Fence tells", func(b *bed) { lostWhile(b, how, false) }},
		)
		for k := 1; k <= 4; k++ {
			out = append(
				out,
				promise{fmt.Sprintf("a slot that is %s during Fence is lost/request %d", how, k), func(b *bed) { lostInFence(b, how, k) }},
				promise{fmt.Sprintf("a slot that is %s during Release is another's/request %d", how, k), func(b *bed) { lostInRelease(b, how, k) }},
			)
		}
	}
	return append(
		out,
		promise{"a slot that people give to a node that waits is its own", keepGiven},
		promise{"a slot that was deleted is left alone for a while, as its holder may reboot", keepDeletedGrace},
		promise{"who releases touches nothing of another's", keepRelease},
	)
}

func lostWhile(b *bed, how string, keep bool) {
	m, other := b.member("m", 1), b.member("other", 1)
	slot := m.acquires()
	if keep {
		paused := make(chan string, 64)
		kept := make(chan error, 1)
		go func() { kept <- m.Keep(m.ctx, func(p lock.Pause) { paused <- p.Why }) }()
		b.eventually("Keep has told once that the lock is not paused", func() bool { return len(paused) > 0 })
		if why := <-paused; why != "" {
			b.Errorf("Keep tells that the lock is paused: %q", why)
		}
		byPeople[how](b, slot, other.node.Name)
		b.eventually("Keep ends", func() bool { return len(kept) > 0 })
		b.isLost("Keep", <-kept)
	} else {
		byPeople[how](b, slot, other.node.Name)
	}
	for range 2 {
		b.isLost("Fence", m.Fence(m.ctx))
	}
	b.isLost("Keep, afterwards", m.Keep(m.ctx, func(lock.Pause) {}))
	if holder := b.Held()[slot]; holder == m.node.Name {
		b.Error("the slot was taken back")
	}
	if slot, held := m.finds(m.as); held {
		b.Errorf("Find: %q", slot)
	}
	m.releases()
	if holder := b.Held()[slot]; how == "given" && holder != other.node.Name {
		b.Errorf("who has lost the slot has released it: it is held by %q", holder)
	}
	if how != "given" {
		other.acquires()
	} else if _, held := other.finds(other.as); !held {
		b.Error("to whom the slot was given does not find it")
	}
	other.goesDown()
	other.comesBack()
	other.releases()
	b.clean(m, other)
}

// When the slot is taken away in the middle of Fence, that may have been a moment too
// late; but then the node is at work by its own word, and the slot is not taken back.
func lostInFence(b *bed, how string, k int) {
	m, other := b.member("m", 1), b.member("other", 1)
	slot := m.acquires()
	met := m.process.Link.once(k, func() Fate {
		byPeople[how](b, slot, other.node.Name)
		return Carried
	})
	_ = m.begins()
	if !met() {
		return
	}
	b.isLost("Fence, afterwards", m.Fence(m.ctx))
	if holder := b.Held()[slot]; holder == m.node.Name {
		b.Error("the slot was taken back")
	}
	w := other.waits()
	if b.isDown(m) {
		w.staysOut("the node that has lost its slot is down")
	}
	m.comesBack()
	m.releases()
	w.gets()
	other.goesDown()
}

func lostInRelease(b *bed, how string, k int) {
	m, other := b.member("m", 1), b.member("other", 1)
	slot := m.acquires()
	m.goesDown()
	m.comesBack()
	met := m.process.Link.once(k, func() Fate {
		byPeople[how](b, slot, other.node.Name)
		if how != "given" {
			other.acquires()
		}
		return Carried
	})
	m.releases("next")
	if !met() {
		return
	}
	if held := b.Held(); len(held) != 1 || held[slot] != other.node.Name {
		b.Errorf("held are %v, want only %s, by %s", held, slot, other.node.Name)
	}
	if _, held := other.finds(other.begun()); !held {
		b.Error("the other has lost its slot")
	}
	if line := other.Line(); len(line.Nodes) != 0 {
		b.Errorf("the other's slot is reserved for %v", line.Nodes)
	}
	other.goesDown()
	other.comesBack()
	other.releases()
	b.clean(m, other)
}

func keepGiven(b *bed) {
	first, second := b.member("first", 1), b.member("second", 1)
	slot := first.acquires()
	w := second.waits()
	b.eventually("it waits", func() bool { return len(w.note().Holders) == 1 })
	b.Give(slot, second.node.Name)
	if got := w.gets(); got != slot {
		b.Errorf("has %q", got)
	}
	second.goesDown()
	b.isLost("the former holder's Fence", first.Fence(first.ctx))
	if left := b.Traces(first.node.Name); len(left) != 0 {
		b.Errorf("of the former holder is left %v", left)
	}
	b.DeleteNode(first.node)
	b.never("the slot goes with its former holder", b.while, func() bool { return b.Held()[slot] != second.node.Name })
	second.comesBack()
	second.releases()
	b.clean(first, second)
	b.passes(1)
}

func keepDeletedGrace(b *bed) {
	m, next := b.member("m", 1), b.member("next", 1)
	slot := m.acquires()
	w := next.waits()
	b.eventually("it waits", func() bool { return len(w.note().Holders) == 1 })
	b.Delete(slot)
	b.eventually("it knows of it", func() bool { return !w.note().Deleted.IsZero() })
	b.never("it takes the slot at once", grace/2, func() bool { return len(b.Held()) > 0 })
	w.gets()
	next.goesDown()
	next.comesBack()
	next.releases()
	last := b.member("last", 1)
	b.Delete(slot) // nobody holds it
	last.acquires()
}

// A second process that is late, a node that has lost its slot, one that never had any:
// none of them can release what is another's.
func keepRelease(b *bed) {
	lost, holder, none := b.member("lost", 2), b.member("holder", 2), b.member("none", 2)
	slot := lost.acquires()
	b.Give(slot, holder.node.Name)
	if got, held := holder.finds(holder.as); !held || got != slot {
		b.Fatalf("to whom the slot was given finds %q", got)
	}
	for _, m := range []*member{lost, none} {
		for range 2 {
			if err := m.Release(m.ctx, api.Line{Nodes: []string{"x"}}); err != nil {
				b.Errorf("%s: Release: %v", m.node.Name, err)
			}
		}
		m.restart()
		m.finds(m.as)
	}
	if held := b.Held(); len(held) != 1 || held[slot] != holder.node.Name {
		b.Errorf("held are %v", held)
	}
	holder.goesDown()
}
