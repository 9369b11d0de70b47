package locktest

import (
	"slices"
	"strings"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/lock"
)

// zones: what nodes that are down together must share, and what they must not.
func zones() []promise {
	var out []promise
	for _, handedOn := range []bool{true, false} {
		name := map[bool]string{true: "whose slot was handed on", false: "whose slot was cleared"}[handedOn]
		out = append(out, promise{"a node of another zone " + name + " waits for a node at work", func(b *bed) { zoneOfAtWork(b, handedOn) }})
	}
	for what, as := range map[string][2]func(*lock.Claimant){
		"zone":                    {zone("zone=a"), zone("zone=b")},
		"being the control plane": {controlPlane, controlPlane},
	} {
		out = append(out, promise{"who has lost its slot at work goes on saying its " + what, func(b *bed) { keepsSaying(b, as) }})
	}
	return append(
		out,
		promise{"nodes that hold slots share a zone", keepZone},
		promise{"a zone that is left over stands in nobody's way", keepLeftOver},
		promise{"whose zone was taken away does not begin, and keeps no slot", keepZoneLost},
		promise{"an open zone is closed for the turn of another", keepTurn},
		promise{"a turn that was taken is waited for no more", keepTurnTaken},
		promise{"control-plane nodes go one at a time, and workers with them", keepControlPlane},
		promise{"the control-plane node at work keeps the others from going", keepControlPlaneAtWork},
	)
}

func keepZone(b *bed) {
	one, two, three := b.member("one", 3, zone("zone=a")), b.member("two", 3, zone("zone=a")), b.member("three", 3, zone("zone"))
	one.acquires()
	two.acquires()
	one.goesDown()
	two.goesDown()
	w := three.waits()
	b.eventually("the waiter knows why", func() bool { return w.note().Constraint != "" && strings.Contains(w.note().String(), "zone a") })
	w.staysOut("another zone is open")
	one.comesBack()
	one.releases()
	w.staysOut("another zone is open")
	two.comesBack()
	two.releases()
	w.gets()
	three.goesDown()
	three.comesBack()
	three.releases()
	b.clean(one, two, three)
}

func keepLeftOver(b *bed) {
	dead, alive := b.member("dead", 1, zone("zone=a")), b.member("alive", 1, zone("zone=b"))
	b.Delete(dead.acquires())
	alive.acquires()
	alive.goesDown()
	b.isLost("the former holder's Fence", dead.Fence(dead.ctx))
	dead.releases()
	if err := alive.Fence(alive.ctx); err != nil {
		b.Errorf("when the former holder has released: %v", err)
	}
}

func keepZoneLost(b *bed) {
	one, two, three := b.member("one", 2, zone("zone=a")), b.member("two", 2, zone("zone=b")), b.member("three", 2, zone("zone=b"))
	slot := one.acquires()
	one.says(true)
	b.ForgetZone()
	two.acquires()
	b.isLost("Fence of one whose zone is another", one.Fence(one.ctx))
	if holder := b.Held()[slot]; holder == one.node.Name {
		b.Error("it keeps the slot")
	}
	two.goesDown()
	w := three.waits()
	w.staysOut("a node of another zone is at work")
	one.comesBack()
	one.releases()
	w.gets()
	three.goesDown()
}

// zoneOfAtWork has a zone left over that is that of a node at work without a slot. The
// slot that was handed on is the only one that there is for the next; of slots that were
// cleared there are enough.
func zoneOfAtWork(b *bed, handedOn bool) {
	before, now := 3, 3
	if handedOn {
		before, now = 2, 1
	}
	first, down, next := b.member("one", before, zone("zone=a")), b.member("two", before, zone("zone=a")), b.member("next", now, zone("zone=b"))
	kept, lost := first.acquires(), down.acquires()
	if lost < kept {
		first, down, kept, lost = down, first, lost, kept
	}
	first.goesDown()
	down.goesDown()
	b.Delete(lost)
	first.comesBack()
	if handedOn {
		first.releases(next.node.Name)
	} else {
		b.Clear(kept)
	}
	w := next.waits()
	b.eventually("it waits for the node at work", func() bool { return slices.Equal(w.note().AtWork, []string{down.node.Name}) })
	w.staysOut("another zone is down")
	down.comesBack()
	w.gets()
	next.goesDown()
}

func keepsSaying(b *bed, as [2]func(*lock.Claimant)) {
	down, first, next := b.member("down", 2, as[0]), b.member("first", 2), b.member("next", 2, as[1])
	first.as.Zone = down.as.Zone
	lost := down.acquires()
	first.acquires()
	down.goesDown()
	b.Delete(lost)
	b.isLost("Keep", down.Keep(down.ctx, func(lock.Pause) {}))
	b.isLost("Fence", down.Fence(down.ctx))
	down.restart()
	if slot, held := down.finds(down.begun()); held {
		b.Errorf("Find: %q", slot)
	}
	first.releases(next.node.Name)
	w := next.waits()
	w.staysOut("the other is down")
	down.comesBack()
	if slot, held := down.finds(down.as); held {
		b.Errorf("Find: %q", slot)
	}
	w.gets()
	next.goesDown()
	next.comesBack()
	next.releases()
	b.clean(down, first, next)
}

// Two nodes of a zone that take turns do not keep it open for ever.
func keepTurn(b *bed) {
	one, two, other, late := b.member("one", 2, zone("zone=a")), b.member("two", 2, zone("zone=a")), b.member("other", 2, zone("zone=b")), b.member("late", 2, zone("zone=a"))
	one.acquires()
	two.acquires()
	turn := other.waits()
	b.eventually("it waits", func() bool { return len(turn.note().Holders) == 2 })
	line := api.Line{Nodes: []string{other.node.Name}, Turn: []string{other.node.Name}, At: time.Now()}
	if err := one.Release(one.ctx, line); err != nil {
		b.Fatal(err)
	}
	rest := late.waits()
	rest.staysOut("it is the turn of another zone")
	line.Nodes = append(line.Nodes, late.node.Name)
	if err := two.Release(two.ctx, line); err != nil {
		b.Fatal(err)
	}
	turn.gets()
	other.goesDown()
	rest.staysOut("the other zone is open")
	other.comesBack()
	other.releases(late.node.Name)
	rest.gets()
	if b.fakeTime { // whose turn it is, and does not come, is waited for no longer than ZoneLimit
		began := time.Now()
		more := b.member("more", 2, zone("zone=a"))
		more.acquires()
		if err := more.Release(more.ctx, api.Line{Nodes: []string{"gone"}, Turn: []string{"gone"}, At: time.Now()}); err != nil {
			b.Fatal(err)
		}
		last := b.member("last", 2, zone("zone=a"))
		last.process.ZoneLimit = 20 * time.Minute
		last.start()
		last.acquires()
		if took := time.Since(began); took < 20*time.Minute || took > 21*time.Minute {
			b.Errorf("waited for the turn of one that does not come for %s", took)
		}
	}
}

// What was left on another slot says that it is the turn of one that has had it.
func keepTurnTaken(b *bed) {
	one, two, other := b.member("one", 2, zone("zone=a")), b.member("two", 2, zone("zone=a")), b.member("other", 2, zone("zone=b"))
	next, late := b.member("next", 2, zone("zone=a")), b.member("late", 2, zone("zone=a"))
	one.acquires()
	two.acquires()
	line := api.Line{Nodes: []string{other.node.Name, "later"}, Turn: []string{other.node.Name}, At: time.Now()}
	for _, m := range []*member{one, two} {
		m.goesDown()
		m.comesBack()
		if err := m.Release(m.ctx, line); err != nil {
			b.Fatal(err)
		}
	}
	took := other.acquires()
	other.releases()
	b.Give(took, next.node.Name) // that one, not the one on which the line is left
	next.acquires()
	began := time.Now()
	late.acquires()
	if waited := time.Since(began); waited > 5*time.Second+b.late {
		b.Errorf("waited for %s", waited)
	}
}

func keepControlPlane(b *bed) {
	one, two, worker := b.member("one", 3, controlPlane), b.member("two", 3, controlPlane), b.member("worker", 3)
	one.acquires()
	one.goesDown()
	w := two.waits()
	b.eventually("the waiter knows why", func() bool {
		return w.note().Constraint != "" && strings.Contains(w.note().String(), one.node.Name)
	})
	worker.acquires()
	worker.goesDown()
	w.staysOut("another control-plane node is down")
	one.comesBack()
	one.releases()
	w.gets()
	two.goesDown()
}

func keepControlPlaneAtWork(b *bed) {
	down, next := b.member("down", 2, controlPlane), b.member("next", 2, controlPlane)
	slot := down.acquires()
	down.goesDown()
	b.Delete(slot)
	w := next.waits()
	w.staysOut("another control-plane node is down")
	down.restart()
	down.finds(down.begun())
	w.staysOut("another control-plane node is at work")
	down.comesBack()
	down.finds(down.as)
	w.gets()
	next.goesDown()
}
