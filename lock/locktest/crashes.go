package locktest

import (
	"fmt"

	"rebootd.dev/daemon/api"
)

// most is at which requests of a call the suite meddles: no call sends more in the time
// of a test.
const most = 9

// crashes: each call is cut off at each of its requests, before it is carried out, and
// after; and the process is killed there, or not.
func crashes() []promise {
	var out []promise
	for how, fate := range map[string]Fate{"a lost request": RequestLost, "a lost answer": AnswerLost} {
		for _, killed := range []bool{false, true} {
			name := how
			if killed {
				name = "a crash after " + how
			}
			for k := 1; k <= most; k++ {
				for call, f := range map[string]func(b *bed, k int, fate Fate, killed bool){
					"Acquire": cutAcquire, "Fence": cutFence, "Release": cutRelease,
				} {
					out = append(out, promise{fmt.Sprintf("%s of %s harms nothing/request %d", name, call, k), func(b *bed) { f(b, k, fate, killed) }})
				}
			}
		}
	}
	return out
}

// cut cuts off the k-th request of a process from now on; killed ends it with that.
func (m *member) cut(k int, fate Fate, killed bool) (met func() bool) {
	link, kill := m.process.Link, m.kill
	return link.once(k, func() Fate {
		switch {
		case killed && fate == RequestLost:
			kill()
		case killed:
			link.thenKill(kill)
		}
		return fate
	})
}

func cutAcquire(b *bed, k int, fate Fate, killed bool) {
	m := b.member("m", 2, zone("zone=a"), controlPlane)
	met := m.cut(k, fate, killed)
	w := m.waits()
	b.eventually("it has a slot, or is dead", func() bool { return w.has() || len(w.err) > 0 })
	if !met() {
		return
	}
	if killed {
		m.start()
		if _, held := m.finds(m.as); !held {
			m.acquires()
		}
	}
	if held := b.Held(); len(held) != 1 {
		b.Errorf("held are %v", held)
	}
	m.goesDown()
	m.comesBack()
	m.releases()
	b.clean(m)
	b.passes(2)
}

func cutFence(b *bed, k int, fate Fate, killed bool) {
	m := b.member("m", 2, zone("zone=a"), controlPlane)
	slot := m.acquires()
	met := m.cut(k, fate, killed)
	err := m.begins()
	if !met() {
		return
	}
	if killed {
		m.start()
		if got, held := m.finds(m.begun()); !held || got != slot {
			b.Errorf("Find: %q, %t", got, held)
		}
	}
	if err != nil {
		m.goesDown()
	}
	m.comesBack()
	m.releases()
	b.clean(m)
	b.passes(2)
}

func cutRelease(b *bed, k int, fate Fate, killed bool) {
	m := b.member("m", 2, zone("zone=a"), controlPlane)
	m.acquires()
	m.goesDown()
	m.comesBack()
	met := m.cut(k, fate, killed)
	err := m.Release(m.ctx, api.Line{Nodes: []string{"x"}})
	if !met() {
		return
	}
	if err == nil && len(b.Held()) > 0 {
		b.Errorf("released, and held are %v", b.Held())
	}
	if killed {
		m.start()
		m.finds(m.as)
	}
	if err != nil {
		m.releases()
	}
	m.releases()
	b.clean(m)
	b.passes(2)
}
