package locktest

import (
	"context"
	"time"

	"rebootd.dev/daemon/api"
)

func vacated() []promise {
	return []promise{
		{"who takes a slot is told when a node was last worked on under it", keepVacated},
		{"the word of the last that was worked on stays over releases of others, over crashes and when people clear the slot", keepVacatedOver},
		{"of a slot that was made anew nothing is told", keepNothingVacated},
	}
}

// worked releases its slot as a node that was worked on until at.
func (m *member) worked(at time.Time) {
	m.b.Helper()
	if err := m.ReleaseWorked(m.ctx, api.Line{}, at); err != nil {
		m.b.Fatalf("%s: ReleaseWorked: %v", m.node.Name, err)
	}
}

// isTold checks what a node that holds a slot is told of it.
func (m *member) isTold(want time.Time) {
	m.b.Helper()
	if got := m.Vacated(); got.Sub(want).Abs() >= time.Second || got.IsZero() != want.IsZero() {
		m.b.Errorf("%s is told that a node was worked on until %s, want %s", m.node.Name, got, want)
	}
}

func keepVacated(b *bed) {
	first, second, third := b.member("first", 1), b.member("second", 1), b.member("third", 1)
	first.isTold(time.Time{})
	first.acquires()
	first.isTold(time.Time{})
	first.goesDown()
	first.comesBack()
	at := time.Now().Add(-3 * time.Hour) // whatever its clock says
	first.worked(at)
	first.isTold(time.Time{}) // it holds nothing
	if left := b.Traces(first.node.Name); len(left) != 0 {
		b.Errorf("left of it is %v", left)
	}
	second.acquires()
	second.isTold(at)
	second.restart()
	second.finds(second.as)
	second.isTold(at)
	ahead := time.Now().Add(30 * time.Minute)
	second.worked(ahead)
	if err := second.ReleaseWorked(second.ctx, api.Line{}, at); err != nil { // repeated
		b.Errorf("a release that is repeated: %v", err)
	}
	third.acquires()
	third.isTold(ahead)
	if err := second.ReleaseWorked(second.ctx, api.Line{}, at); err != nil { // late
		b.Errorf("a release that comes late: %v", err)
	}
	third.isTold(ahead)
	third.worked(at.Add(time.Hour))
	first.acquires()
	first.isTold(at.Add(time.Hour))
	first.releases()
	b.clean(first, second, third)
}

func keepVacatedOver(b *bed) {
	worked := b.member("worked", 1)
	worked.acquires()
	worked.goesDown()
	worked.comesBack()
	at := time.Now().Add(-time.Minute)
	// Its answer is lost, or it dies meanwhile, and another start of it tries again.
	ctx, cancel := context.WithCancel(worked.ctx)
	cancel()
	_ = worked.ReleaseWorked(ctx, api.Line{}, at)
	worked.restart()
	worked.finds(worked.as)
	worked.worked(at)
	unused := b.member("unused", 1)
	for range 3 {
		unused.acquires()
		unused.isTold(at)
		unused.releases()
	}
	cleared := b.member("cleared", 1)
	cleared.acquires()
	for slot := range b.Held() {
		b.Clear(slot)
	}
	cleared.restart()
	cleared.finds(cleared.as)
	last := b.member("last", 1)
	last.acquires()
	last.isTold(at)
	last.releases()
	b.clean(worked, unused, cleared, last)
}

func keepNothingVacated(b *bed) {
	worked := b.member("worked", 1)
	worked.acquires()
	var slots []string
	for slot := range b.Held() {
		slots = append(slots, slot)
	}
	worked.goesDown()
	worked.comesBack()
	worked.worked(time.Now())
	for _, slot := range slots {
		b.Delete(slot)
	}
	next := b.member("next", 1)
	next.acquires()
	next.isTold(time.Time{})
	next.releases()
}
