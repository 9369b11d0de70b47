package locktest

import (
	"time"
)

// nodes: what a node has held goes with it, and with nothing else.
func nodes() []promise {
	return []promise{
		{"the slot of a node that is deleted goes with it", keepDeleted},
		{"the slot of a node that is deleted above the number of slots goes with it", keepDeletedAbove},
		{"a node of the same name is another one", keepSameName},
		{"a slot that was released goes with no node", keepReleasedSlot},
	}
}

func keepDeleted(b *bed) {
	dead, next := b.member("dead", 1, zone("zone=a"), controlPlane), b.member("next", 1, zone("zone=b"), controlPlane)
	dead.acquires()
	dead.goesDown()
	w := next.waits()
	b.eventually("it waits", func() bool { return len(w.note().Holders) == 1 })
	began := time.Now()
	b.DeleteNode(dead.node)
	dead.comesBack() // for good
	w.gets()
	if took := time.Since(began); took < grace {
		b.Errorf("taken after %s, before it is sure that the machine is not in the middle of a reboot", took)
	}
	b.isLost("the former holder's Fence", dead.Fence(dead.ctx))
	next.goesDown()
	next.comesBack()
	next.releases()
	b.clean(next)
}

func keepDeletedAbove(b *bed) {
	one, two, next := b.member("one", 2), b.member("two", 2), b.member("next", 1)
	slots := map[string]*member{one.acquires(): one, two.acquires(): two}
	w := next.waits()
	b.eventually("it waits for both", func() bool { return len(w.note().Holders) == 2 })
	low, high := "", ""
	for slot := range slots {
		if high == "" || slot > high {
			low, high = high, slot
		} else {
			low = slot
		}
	}
	b.DeleteNode(slots[high].node)
	b.eventually("it waits for the other", func() bool { return len(w.note().Holders) == 1 })
	w.staysOut("the other slot is held")
	slots[low].releases()
	w.gets()
}

func keepSameName(b *bed) {
	m := b.member("m", 1)
	m.acquires()
	b.DeleteNode(m.node)
	again := b.member("m", 1)
	if again.node.UID == m.node.UID || again.node.Name != m.node.Name {
		b.Fatalf("%v is no other node of the same name than %v", again.node, m.node)
	}
	if slot, held := again.finds(again.as); held {
		b.Errorf("the new node has found the slot of the old one: %q", slot)
	}
	again.acquires()
	again.goesDown()
	b.never("the new node's slot is taken away", b.while, func() bool { return again.Fence(again.ctx) != nil })
	again.comesBack()
	again.releases()
	b.clean(again)
}

func keepReleasedSlot(b *bed) {
	first, second := b.member("first", 1), b.member("second", 1)
	slot := first.acquires()
	first.goesDown()
	first.comesBack()
	first.releases()
	second.acquires()
	second.goesDown()
	b.DeleteNode(first.node)
	b.never("the slot goes with a node that has released it", b.while, func() bool { return b.Held()[slot] != second.node.Name })
	second.comesBack()
	b.Clear(slot) // not released
	third := b.member("third", 1)
	third.acquires()
	b.DeleteNode(second.node)
	b.never("the slot goes with a node from which it was taken", b.while, func() bool { return b.Held()[slot] != third.node.Name })
	if err := third.Fence(third.ctx); err != nil {
		b.Errorf("Fence: %v", err)
	}
}
