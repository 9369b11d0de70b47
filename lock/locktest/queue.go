package locktest

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/lock"
)

// queue: pauses, and the order in which slots are handed on.
func queue() []promise {
	return []promise{
		{"during a pause nobody takes a slot, and nobody begins", keepPause},
		{"a pause that people have set before there was a slot stands, and outlives the slots", keepEarlyPause},
		{"the one that is named has the slot at once", keepNamed},
		{"one that is named and does not come costs a second", keepDeadNamed},
		{"the line goes with the slot", keepLine},
		{"a slot for which nobody is named goes soon, whoever waits", keepSpread},
		{"a handoff costs little, however many wait", keepCheap},
		{"a slot that is free is taken at once", keepAtOnce},
	}
}

func keepPause(b *bed) {
	m, next := b.member("m", 2), b.member("next", 2)
	m.acquires()
	b.Pause("an outage")
	w := next.waits()
	b.eventually("the waiter knows why", func() bool { return w.note().Paused.Why == "an outage" })
	w.staysOut("the lock is paused")
	var paused *lock.PausedError
	if err := m.Fence(m.ctx); !errors.Is(err, lock.ErrPaused) || !errors.As(err, &paused) || paused.Why != "an outage" || errors.Is(err, lock.ErrLost) {
		b.Errorf("Fence: %v", err)
	}
	told := make(chan string, 1024)
	go func() { _ = m.Keep(m.ctx, func(p lock.Pause) { told <- p.Why }) }()
	tells := func(want string) {
		b.Helper()
		b.eventually(fmt.Sprintf("Keep tells %q", want), func() bool {
			for len(told) > 0 {
				if why := <-told; why == want {
					return true
				}
			}
			return false
		})
	}
	tells("an outage")
	b.Pause("")
	tells("")
	w.gets()
	m.goesDown()
	next.goesDown()
	b.Pause("another")
	tells("another")
	m.comesBack()
	m.releases() // a pause keeps nobody from finishing
	next.comesBack()
	next.releases()
	b.clean()
}

func keepEarlyPause(b *bed) {
	b.Pause("not yet in use")
	m := b.member("m", 1)
	m.finds(m.as)
	w := m.waits()
	paused := func(why string) func() bool { return func() bool { return w.note().Paused.Why == why } }
	b.eventually("it knows why", paused("not yet in use"))
	w.staysOut("the lock is paused")
	b.Pause("")
	slot := w.gets()
	m.goesDown()
	b.Pause("an outage")
	next := b.member("next", 1)
	w = next.waits()
	b.eventually("it knows why", paused("an outage"))
	m.comesBack()
	m.releases()
	b.Delete(slot)
	w.staysOut("the lock is paused, and its slot was deleted")
	if w.note().Paused.Why != "an outage" {
		b.Errorf("it waits as %q", w.note())
	}
	next.restart() // and makes sure that there is what is needed for a pause
	next.finds(next.as)
	w = next.waits()
	b.eventually("it still knows why", paused("an outage"))
	b.Pause("")
	w.gets()
	next.releases()
	b.clean()
}

// queue makes nodes that wait.
func (b *bed) queue(n, slots int) (members []*member, waiters []*waiter) {
	for i := range n {
		m := b.member(fmt.Sprintf("waits%d", i), slots)
		w := m.waits()
		members, waiters = append(members, m), append(waiters, w)
		b.eventually("it waits", func() bool { return len(w.note().Holders) == slots })
	}
	return members, waiters
}

func anyHas(waiters []*waiter) bool { return slices.ContainsFunc(waiters, (*waiter).has) }

func keepNamed(b *bed) {
	m, named := b.member("m", 1), b.member("named", 1)
	m.acquires()
	_, others := b.queue(5, 1)
	w := named.waits()
	b.eventually("it waits", func() bool { return len(w.note().Holders) == 1 })
	released := time.Now()
	m.releases(named.node.Name)
	w.gets()
	if took := time.Since(released); took > time.Second+b.late {
		b.Errorf("handed on after %s", took)
	}
	named.goesDown()
	if anyHas(others) {
		b.Error("another has it, too")
	}
}

func keepDeadNamed(b *bed) {
	m, second := b.member("m", 1), b.member("second", 1)
	m.acquires()
	_, others := b.queue(5, 1)
	w := second.waits()
	b.eventually("it waits", func() bool { return len(w.note().Holders) == 1 })
	released := time.Now()
	m.releases("dead", second.node.Name)
	w.gets()
	if took := time.Since(released); took < 900*time.Millisecond || took > 2*time.Second+b.late {
		b.Errorf("after one that does not come it was handed on after %s, want 1 s", took)
	}
	released = time.Now()
	second.releases("dead", "dead too")
	b.eventually("one of the others has it", func() bool { return anyHas(others) })
	if took := time.Since(released); took < 1900*time.Millisecond || took > 4*time.Second+b.late {
		b.Errorf("after two that do not come it was handed on after %s, want 2 to 3 s", took)
	}
}

func keepLine(b *bed) {
	m, next := b.member("m", 1), b.member("next", 1)
	m.acquires()
	if line := m.Line(); len(line.Nodes) != 0 || len(line.Turn) != 0 {
		b.Errorf("of a slot that nobody has handed on, the line is %v", line)
	}
	at := time.Now().Add(-time.Minute)
	line := api.Line{Nodes: []string{next.node.Name, "b", "c"}, At: at, Turn: []string{"c"}}
	for i := range 40 {
		line.Nodes = append(line.Nodes, fmt.Sprintf("d%d", i))
	}
	if err := m.Release(m.ctx, line); err != nil {
		b.Fatal(err)
	}
	next.acquires()
	got := next.Line()
	if want := line.Nodes[1:api.MaxLine]; !slices.Equal(got.Nodes, want) || !slices.Equal(got.Turn, line.Turn) || got.At.Sub(at).Abs() > time.Millisecond {
		b.Errorf("the line is %+v, want %v", got, want)
	}
	next.restart()
	next.finds(next.as)
	if line := next.Line(); !slices.Equal(line.Nodes, got.Nodes) {
		b.Errorf("after a restart the line is %v, want %v", line, got)
	}
	if err := next.Release(next.ctx, api.Line{}); err != nil {
		b.Fatal(err)
	}
	if line := next.Line(); len(line.Nodes) != 0 {
		b.Errorf("who has released the slot still has a line: %v", line)
	}
	m.acquires()
	if line := m.Line(); len(line.Nodes) != 0 {
		b.Errorf("nobody was named, and the line is %v", line)
	}
}

func keepSpread(b *bed) {
	m := b.member("m", 1)
	m.acquires()
	members, others := b.queue(20, 1)
	before := requests(members)
	freed := time.Now()
	m.releases()
	b.eventually("one of them has it", func() bool { return anyHas(others) })
	if took := time.Since(freed); took > 2*time.Second+b.late {
		b.Errorf("it was taken after %s", took)
	}
	if n := len(b.Held()); n != 1 {
		b.Errorf("%d slots are held", n)
	}
	// Few ask before they have heard that another was quicker: how few depends on how fast
	// they hear.
	if n := requests(members) - before; b.fakeTime && n > 12 {
		b.Errorf("%d requests by 20 that wait", n)
	}
}

// requests are how many these have sent.
func requests(members []*member) (n int) {
	for _, m := range members {
		n += m.process.Link.requests()
	}
	return n
}

// The requests of all that wait, from a release until the next one holds the slot.
func keepCheap(b *bed) {
	const waiting = 20
	m, named := b.member("m", 1), b.member("named", 1)
	m.acquires()
	members, _ := b.queue(waiting, 1)
	w := named.waits()
	b.eventually("it waits", func() bool { return len(w.note().Holders) == 1 })
	members = append(members, named)
	before := requests(members)
	m.releases(named.node.Name)
	w.gets()
	named.goesDown()
	time.Sleep(b.while)
	if n := requests(members) - before; n > waiting {
		b.Errorf("%d requests by %d that wait and one that is named", n, waiting)
	}
}

func keepAtOnce(b *bed) {
	began := time.Now()
	m := b.member("m", 1)
	m.acquires()
	if took := time.Since(began); took > 3*time.Second+b.late {
		b.Errorf("taken after %s", took)
	}
	w := b.member("next", 1).waits()
	b.eventually("it waits", func() bool { return len(w.note().Holders) == 1 })
	if h := w.note().Holders[0]; h.Node != m.node.Name || b.Held()[h.Slot] != m.node.Name {
		b.Errorf("it is told that the holder is %+v", h)
	}
	if w.note().String() == "" || w.note().Slot != "" || w.note().Err != nil {
		b.Errorf("it is told %+v", w.note())
	}
}
