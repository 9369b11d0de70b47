package locktest

import (
	"fmt"
	"sync"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/lock"
)

// exclusion: never more than N, and everybody in the end.
func exclusion() []promise {
	var out []promise
	for _, slots := range []int{1, 3} {
		out = append(out, promise{fmt.Sprintf("no more nodes are down than there are slots/%d", slots), func(b *bed) { b.takeTurns(8, slots, 2) }})
	}
	return append(
		out,
		promise{"nodes of two zones are never down together", func(b *bed) {
			b.takeTurns(6, 3, 2, func(i int, c *lock.Claimant) { c.Zone = fmt.Sprintf("zone=%d", i%2) })
		}},
		promise{"two control-plane nodes are never down together", func(b *bed) {
			b.takeTurns(6, 3, 2, func(i int, c *lock.Claimant) { c.ControlPlane = i%2 == 0 })
		}},
		promise{"with more slots more may go", keepRaised},
		promise{"with fewer slots fewer may go", keepLowered},
		promise{"of two slots the lower one is kept", keepLowest},
		promise{"those that hold slots are known", keepHolders},
	)
}

// takeTurns has nodes take a slot at the same time, several times each.
func (b *bed) takeTurns(nodes, slots, turns int, as ...func(int, *lock.Claimant)) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	had := 0
	var members []*member
	for i := range nodes {
		m := b.member(fmt.Sprintf("n%d", i), slots)
		for _, f := range as {
			f(i, &m.as)
		}
		members = append(members, m)
	}
	for _, m := range members {
		wg.Go(func() {
			for range turns {
				if _, err := m.Acquire(m.ctx, m.as, func(lock.Waiting) {}); err != nil {
					b.Errorf("%s: Acquire: %v", m.node.Name, err)
					return
				}
				if err := m.begins(); err != nil {
					b.Errorf("%s: Fence: %v", m.node.Name, err)
					return
				}
				time.Sleep(30 * time.Millisecond)
				m.comesBack()
				if err := m.Release(m.ctx, api.Line{}); err != nil {
					b.Errorf("%s: Release: %v", m.node.Name, err)
					return
				}
				mu.Lock()
				had++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if had != nodes*turns {
		b.Errorf("%d turns, want %d", had, nodes*turns)
	}
	b.clean(members...)
}

func keepRaised(b *bed) {
	old, new1, new2 := b.member("old", 1), b.member("new1", 2), b.member("new2", 2)
	old.acquires()
	old.goesDown()
	new1.acquires()
	new1.goesDown()
	w := new2.waits()
	w.staysOut("two hold slots")
	old.comesBack()
	old.releases()
	w.gets()
	new2.goesDown()
}

func keepLowered(b *bed) {
	first, second, third := b.member("first", 2), b.member("second", 2), b.member("third", 1)
	if first.acquires() > second.acquires() {
		first, second = second, first // the lower one will be free
	}
	first.goesDown()
	second.goesDown()
	w := third.waits()
	w.staysOut("two hold slots")
	first.comesBack()
	before := third.process.Link.requests()
	first.releases()
	w.staysOut("the other still holds its slot, and there is only one now")
	if n := third.process.Link.requests() - before; n > 3 {
		b.Errorf("%d requests for a slot that is not to be had", n)
	}
	second.comesBack()
	second.releases()
	w.gets()
	third.goesDown()
	third.comesBack()
	third.releases()
	b.clean(first, second, third)
}

// A node may hold two slots when people have given it one. It keeps one, and does not
// vouch for the other.
func keepLowest(b *bed) {
	m, down := b.member("m", 2), b.member("down", 2)
	slots := map[string]bool{m.acquires(): true, down.acquires(): true}
	down.goesDown()
	lowest := ""
	for slot := range slots {
		b.Give(slot, m.node.Name)
		if lowest == "" || slot < lowest {
			lowest = slot
		}
	}
	m.restart()
	if slot, held := m.finds(m.begun()); !held || slot != lowest {
		b.Errorf("Find: %q, %t, want %q", slot, held, lowest)
	}
	if held := b.Held(); len(held) != 1 || held[lowest] != m.node.Name {
		b.Errorf("held are %v, want only %s", held, lowest)
	}
	m.goesDown()
	w := b.member("next", 2).waits()
	w.staysOut("two are down with two slots")
	down.comesBack()
	w.gets()
}

func keepHolders(b *bed) {
	started := time.Now()
	members := map[string]*member{}
	for _, name := range []string{"a", "b", "c"} {
		m := b.member(name, 3)
		members[m.node.Name] = m
		m.acquires()
	}
	asks := b.member("asks", 3)
	holders, err := asks.Holders(b.ctx)
	if err != nil || len(holders) != 3 {
		b.Fatalf("Holders: %v, %v", holders, err)
	}
	held := b.Held()
	for i, h := range holders {
		if held[h.Slot] != h.Node || members[h.Node] == nil {
			b.Errorf("%s is said to hold %s", h.Node, h.Slot)
		}
		if h.Since.Before(started.Add(-time.Second)) || h.Since.After(time.Now().Add(time.Second)) {
			b.Errorf("%s is said to hold it since %s", h.Node, h.Since)
		}
		if i > 0 && h.Slot <= holders[i-1].Slot {
			b.Errorf("%s comes after %s", h.Slot, holders[i-1].Slot)
		}
	}
}
