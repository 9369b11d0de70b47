package locktest

import (
	"context"
	"slices"

	"rebootd.dev/lock"
)

// atWork: a machine may be down whose slot was taken away. Who takes a slot that nobody
// has vouched for waits for it.
func atWork() []promise {
	var out []promise
	for how := range byPeople {
		out = append(out, promise{"who takes a slot that was " + how + " waits for the node at work", func(b *bed) { waitsForAtWork(b, how) }})
	}
	return append(
		out,
		promise{"a node at work without a slot counts as one", keepCounts},
		promise{"nodes at work without slots are waited for by all", keepBoth},
		promise{"who waits for a node at work vouches for nothing", keepUnsure},
		promise{"who waits for a node at work does not begin during a pause", keepPausedAtWork},
		promise{"a slot that nobody takes is no reason to wait for ever", keepNobodyTakes},
	)
}

func waitsForAtWork(b *bed, how string) {
	down, next := b.member("down", 1), b.member("next", 1)
	slot := down.acquires()
	down.goesDown()
	w := next.waits()
	b.eventually("it waits", func() bool { return len(w.note().Holders) == 1 })
	byPeople[how](b, slot, next.node.Name)
	b.eventually("it holds the slot, and waits for the node at work", func() bool {
		return slices.Equal(w.note().AtWork, []string{down.node.Name}) && w.note().Slot == slot && b.Held()[slot] == next.node.Name
	})
	w.staysOut("the node at work is down")
	down.comesBack()
	if got := w.gets(); got != slot {
		b.Errorf("has %q", got)
	}
	next.goesDown()
	next.comesBack()
	down.releases()
	next.releases()
	b.clean(down, next)
}

// Two slots and a node at work without one: one more may go, and no third, also not when
// the other slot is between two holders.
func keepCounts(b *bed) {
	down, holder, waiter, next := b.member("down", 2), b.member("holder", 2), b.member("waiter", 2), b.member("next", 2)
	lost := down.acquires()
	holder.acquires()
	down.goesDown()
	holder.goesDown()
	b.Delete(lost)
	w := waiter.waits()
	b.eventually("it waits for the node at work", func() bool { return slices.Equal(w.note().AtWork, []string{down.node.Name}) })
	w.staysOut("two are down")
	line := []string{next.node.Name}
	for range 14 {
		line = append(line, line[len(line)-1]+"x") // so that it is long enough in nobody's hands
	}
	holder.comesBack()
	holder.releases(line...)
	b.never("it goes, and the other slot may be taken at any instant", min(b.while, 12e9), w.has)
	next.acquires()
	next.goesDown()
	w.staysOut("two are down")
	next.comesBack()
	next.releases("somebody")
	down.comesBack()
	w.gets()
	waiter.goesDown()
}

func keepBoth(b *bed) {
	down := []*member{b.member("down0", 2), b.member("down1", 2)}
	var slots []string
	for _, m := range down {
		slots = append(slots, m.acquires())
		m.goesDown()
	}
	next := []*member{b.member("next0", 2), b.member("next1", 2)}
	var ws []*waiter
	for _, m := range next {
		ws = append(ws, m.waits())
	}
	for _, slot := range slots {
		b.Clear(slot)
	}
	for _, w := range ws {
		b.eventually("it waits for both", func() bool { return len(w.note().AtWork) == 2 })
	}
	ws[0].staysOut("two are down")
	down[0].comesBack()
	down[1].comesBack()
	for i, w := range ws {
		w.gets()
		next[i].goesDown()
	}
}

// A node that holds a slot and may not use it is started again, or ends: it keeps no slot
// for which it would have to wait, and the next one waits as well.
func keepUnsure(b *bed) {
	down, first, second, third := b.member("down", 1), b.member("first", 1), b.member("second", 1), b.member("third", 1)
	slot := down.acquires()
	down.goesDown()
	b.Clear(slot)
	w := first.waits()
	b.eventually("it waits for the node at work", func() bool { return len(w.note().AtWork) == 1 })
	first.restart()
	if got, held := first.finds(first.as); held {
		b.Errorf("Find: %q, and the node at work is down", got)
	}
	if held := b.Held(); len(held) != 0 {
		b.Errorf("held are %v", held)
	}
	w = second.waits()
	b.eventually("the next waits for the node at work, too", func() bool { return len(w.note().AtWork) == 1 })
	second.kill()
	second.start()
	second.releases(third.node.Name)
	w = third.waits()
	w.staysOut("the node at work is down")
	third.restart()
	if got, held := third.finds(third.begun()); !held || got != slot {
		b.Errorf("who has begun does not find its slot: %q, %t", got, held)
	}
	down.comesBack()
	third.goesDown()
}

func keepPausedAtWork(b *bed) {
	down, next := b.member("down", 1), b.member("next", 1)
	slot := down.acquires()
	down.goesDown()
	b.Clear(slot)
	w := next.waits()
	b.eventually("it waits for the node at work", func() bool { return len(w.note().AtWork) == 1 })
	b.Pause("Black Friday")
	down.comesBack()
	b.eventually("it knows of the pause", func() bool { return w.note().Paused.Why == "Black Friday" })
	w.staysOut("the lock is paused")
	b.Pause("")
	w.gets()
	next.goesDown()
}

// With two slots and one node at work without one, another may go in the end though
// nobody takes the slot that was handed on; and whoever comes for that waits.
func keepNobodyTakes(b *bed) {
	down, holder, waiter, third := b.member("down", 2), b.member("holder", 2), b.member("waiter", 2), b.member("third", 2)
	lost := down.acquires()
	holder.acquires()
	down.goesDown()
	holder.goesDown()
	b.Delete(lost)
	w := waiter.waits()
	b.eventually("it waits for the node at work", func() bool { return len(w.note().AtWork) == 1 })
	holder.comesBack()
	holder.releases("gone")
	w.gets()
	waiter.goesDown()
	rest := third.waits()
	rest.staysOut("two are down")
	waiter.comesBack()
	waiter.releases()
	rest.gets()
	third.goesDown()
}

// tries is Acquire for at most so long, for one that need not succeed.
func (m *member) tries(ctx context.Context) (got bool) {
	_, err := m.Acquire(ctx, m.as, func(lock.Waiting) {})
	return err == nil
}
