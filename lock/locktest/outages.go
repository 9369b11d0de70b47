package locktest

import (
	"errors"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/lock"
)

// outages: that the backend cannot be reached is no loss.
func outages() []promise {
	return []promise{
		{"a holder keeps its slot through an outage", keepOutageOfHolder},
		{"a waiter waits through an outage, and says so", keepOutageOfWaiter},
		{"a holder learns after an outage that its slot was taken away", keepLostInOutage},
		{"what cannot be reached is an error of Find, Holders, Fence and Release", keepErrors},
	}
}

func (b *bed) outage() time.Duration {
	if b.fakeTime {
		return time.Hour
	}
	return b.while
}

func keepOutageOfHolder(b *bed) {
	m := b.member("m", 1)
	slot := m.acquires()
	kept, paused := make(chan error, 1), make(chan string, 1024)
	go func() { kept <- m.Keep(m.ctx, func(p lock.Pause) { paused <- p.Why }) }()
	b.eventually("Keep has told that the lock is not paused", func() bool { return len(paused) > 0 })
	m.process.Link.goAway()
	b.never("Keep ends", b.outage(), func() bool { return len(kept) > 0 })
	for len(paused) > 0 {
		<-paused
	}
	m.process.Link.comeBack()
	b.Pause("now")
	b.eventually("Keep works again", func() bool { return len(paused) > 0 && <-paused == "now" })
	b.Pause("")
	m.goesDown()
	if b.Held()[slot] != m.node.Name {
		b.Errorf("held are %v", b.Held())
	}
}

func keepOutageOfWaiter(b *bed) {
	holder, m := b.member("holder", 1), b.member("m", 1)
	holder.acquires()
	m.process.Link.goAway()
	w := m.waits()
	b.eventually("it says so", func() bool { return w.note().Err != nil && w.note().String() != "" })
	b.never("it gives up", b.outage(), func() bool { return len(w.err) > 0 || w.has() })
	m.process.Link.comeBack()
	b.eventually("it knows who holds the slot", func() bool { return w.note().Err == nil && len(w.note().Holders) == 1 })
	m.process.Link.goAway()
	holder.releases(m.node.Name)
	b.never("it gives up", b.outage(), func() bool { return len(w.err) > 0 || w.has() })
	m.process.Link.comeBack()
	w.gets()
	m.goesDown()
}

func keepLostInOutage(b *bed) {
	m, other := b.member("m", 1), b.member("other", 1)
	slot := m.acquires()
	kept, paused := make(chan error, 1), make(chan string, 1024)
	go func() { kept <- m.Keep(m.ctx, func(p lock.Pause) { paused <- p.Why }) }()
	b.eventually("Keep has told that the lock is not paused", func() bool { return len(paused) > 0 })
	m.process.Link.goAway()
	b.Delete(slot)
	other.acquires()
	b.never("Keep ends", b.outage(), func() bool { return len(kept) > 0 })
	m.process.Link.comeBack()
	b.eventually("Keep ends", func() bool { return len(kept) > 0 })
	b.isLost("Keep", <-kept)
	b.isLost("Fence", m.Fence(m.ctx))
	m.releases()
	other.goesDown()
}

func keepErrors(b *bed) {
	m := b.member("m", 1)
	slot := m.acquires()
	m.process.Link.goAway()
	_, _, find := m.Find(m.ctx, m.as)
	_, holders := m.Holders(m.ctx)
	for call, err := range map[string]error{
		"Find": find, "Holders": holders, "Fence": m.Fence(m.ctx), "Release": m.Release(m.ctx, api.Line{}),
	} {
		if err == nil || errors.Is(err, lock.ErrLost) || errors.Is(err, lock.ErrPaused) {
			b.Errorf("%s, without an answer: %v", call, err)
		}
	}
	m.process.Link.comeBack()
	if got, held := m.finds(m.begun()); !held || got != slot {
		b.Errorf("Find, afterwards: %q, %t", got, held)
	}
	m.goesDown()
	m.comesBack()
	m.releases()
	b.clean(m)
}
