package locktest

import (
	"context"
	"errors"
	"strings"
	"time"

	"rebootd.dev/lock"
)

// recovery: what is held is found again, what is not held is not, and no call is harmed
// by being repeated.
func recovery() []promise {
	return []promise{
		{"a slot is found again after a crash", keepFound},
		{"Find takes nothing, and waits for nobody", keepFindTakesNothing},
		{"a process of the same node is the same holder", keepSameNode},
		{"a release is idempotent and leaves no trace", keepReleased},
		{"nodes whose long names begin alike are two", keepLongNames},
		{"who has released its slot may not begin", keepNotAfterRelease},
		{"waiting ends with its context", keepContext},
		{"the holder keeps its slot however long it is silent", keepSilent},
	}
}

func keepFound(b *bed) {
	m := b.member("m", 2)
	slot := m.acquires()
	for _, as := range []lock.Claimant{m.as, m.begun()} {
		m.restart()
		if got, held := m.finds(as); !held || got != slot {
			b.Errorf("Find: %q, %t, want %q", got, held, slot)
		}
		if err := m.Fence(m.ctx); err != nil {
			b.Errorf("Fence of a slot that was found: %v", err)
		}
	}
	m.restart()
	if got := m.acquires(); got != slot {
		b.Errorf("Acquire took %q, and %q is held already", got, slot)
	}
	m.goesDown()
	if held := b.Held(); len(held) != 1 || held[slot] != m.node.Name {
		b.Errorf("held are %v", held)
	}
}

func keepFindTakesNothing(b *bed) {
	m, other := b.member("m", 1), b.member("other", 1)
	for range 2 {
		if slot, held := m.finds(m.as); held {
			b.Errorf("nothing is held, and Find says %q", slot)
		}
		other.acquires()
		if slot, held := m.finds(m.as); held {
			b.Errorf("another holds the slot, and Find says %q", slot)
		}
		b.isLost("Fence of one that holds nothing", m.Fence(m.ctx))
		b.isLost("Keep of one that holds nothing", m.Keep(m.ctx, func(lock.Pause) {}))
		other.releases()
		if held := b.Held(); len(held) != 0 {
			b.Errorf("held are %v", held)
		}
	}
}

func keepSameNode(b *bed) {
	m, again := b.member("m", 1), b.member("other", 1)
	slot := m.acquires()
	again.process.Node, again.as, again.node = m.process.Node, m.as, m.node // the old process still runs
	again.start()
	if got := again.acquires(); got != slot {
		b.Errorf("the second process has %q, the first one %q", got, slot)
	}
	for _, p := range []*member{m, again, m} {
		if err := p.Fence(p.ctx); err != nil {
			b.Errorf("Fence: %v", err)
		}
	}
	m.releases()
	b.isLost("Fence of the other process, when one has released", again.Fence(again.ctx))
	again.releases()
	b.clean(m)
}

func keepReleased(b *bed) {
	m := b.member("m", 2, zone("zone=a"), controlPlane)
	m.releases() // nothing
	m.acquires()
	m.goesDown()
	m.comesBack()
	for range 3 {
		m.releases("x", "y")
		b.clean(m)
	}
	m.restart()
	m.releases()
	b.clean(m)
	if line := m.Line(); len(line.Nodes) != 0 {
		b.Errorf("who holds nothing has a line: %v", line)
	}
	b.passes(2)
}

func keepLongNames(b *bed) {
	long := strings.Repeat("a", 60) + "." + strings.Repeat("b", 60) + "." + strings.Repeat("c", 60)
	first, second := b.member(long+".one", 1), b.member(long+".two", 1)
	first.acquires()
	first.goesDown()
	w := second.waits()
	w.staysOut("the other holds the slot")
	first.comesBack()
	first.releases()
	w.gets()
	second.goesDown()
}

func keepNotAfterRelease(b *bed) {
	m := b.member("m", 1)
	m.acquires()
	m.releases()
	b.isLost("Fence after a release", m.Fence(m.ctx))
	b.isLost("Keep after a release", m.Keep(m.ctx, func(lock.Pause) {}))
	if held := b.Held(); len(held) != 0 {
		b.Errorf("released, and held are %v", held)
	}
}

// Whatever it waits for, Acquire ends soon when its context does, and says why; Keep ends
// without an error.
func keepContext(b *bed) {
	why := errors.New("the request was withdrawn")
	holder := b.member("holder", 1)
	slot := holder.acquires()
	for _, step := range []struct {
		what   string
		change func(w *member)
	}{
		{"for a slot that is held", func(*member) {}},
		{"during a pause", func(*member) { b.Pause("x") }},
		{"without an answer", func(w *member) { b.Pause(""); w.process.Link.goAway() }},
		{"for a node at work", func(*member) { holder.goesDown(); b.Clear(slot) }},
	} {
		m := b.member("waits-"+strings.ReplaceAll(step.what, " ", "-"), 1)
		ctx, cancel := context.WithCancelCause(b.ctx)
		told := make(chan string, 64)
		ended := make(chan error, 1)
		go func() {
			_, err := m.Acquire(ctx, m.as, func(w lock.Waiting) {
				select {
				case told <- w.String():
				default:
				}
			})
			ended <- err
		}()
		b.eventually("it waits "+step.what, func() bool { return len(told) > 0 })
		step.change(m)
		time.Sleep(b.while / 2)
		cancel(why)
		began := time.Now()
		if err := <-ended; !errors.Is(err, why) {
			b.Errorf("Acquire, waiting %s: %v, want %v", step.what, err, why)
		}
		if took := time.Since(began); took > 5*time.Second+b.late {
			b.Errorf("Acquire, waiting %s, ended after %s", step.what, took)
		}
	}
	m := b.member("keeps", 2)
	kept := make(chan error, 1)
	ctx, cancel := context.WithCancelCause(b.ctx)
	holder.comesBack()
	m.acquires()
	go func() { kept <- m.Keep(ctx, func(lock.Pause) {}) }()
	time.Sleep(b.while / 2)
	cancel(why)
	if err := <-kept; err != nil {
		b.Errorf("Keep, when its context has ended: %v", err)
	}
}

func keepSilent(b *bed) {
	m := b.member("m", 1)
	m.acquires()
	m.goesDown()
	m.kill()
	w := b.member("next", 1).waits()
	if b.fakeTime {
		b.never("the slot is taken", 3*time.Hour, w.has)
	} else {
		w.staysOut("its holder is silent")
	}
	m.start()
	if _, held := m.finds(m.begun()); !held {
		b.Error("the slot is lost")
	}
	m.comesBack()
	m.releases()
	w.gets()
}
