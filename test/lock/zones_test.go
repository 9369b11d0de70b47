package lock

import (
	"testing"
	"time"

	words "rebootd.dev/daemon/api"
	"rebootd.dev/lock"
	"rebootd.dev/lock/lease"
)

// Two nodes of a zone that take turns do not keep it open for ever: when it is the
// turn of another, who comes to the open one leaves free slots alone.
func TestZoneIsClosedForTheTurnOfAnother(t *testing.T) {
	b := newBed(t)
	zone := func(z string) lock.Claimant { return lock.Claimant{Zone: z} }
	one, two, other, late := b.lock("one", 2), b.lock("two", 2), b.lock("other", 2), b.lock("late", 2)
	for _, l := range []*lease.Lock{one, two} {
		_, err := l.Acquire(b.ctx, zone("zone=a"), func(lock.Waiting) {})
		b.must(err)
	}
	turn, _ := b.ask(other, zone("zone=b"))
	b.must(one.Release(b.ctx, words.Line{Nodes: []string{"other"}, Turn: []string{"other"}, At: time.Now()}))
	rest, _ := b.ask(late, zone("zone=a"))
	stays := func(d time.Duration) {
		b.Helper()
		select {
		case slot := <-rest:
			b.Fatalf("who comes late to the open zone has taken %s", slot)
		case <-time.After(d):
		}
	}
	stays(4 * time.Second)
	b.must(two.Release(b.ctx, words.Line{Nodes: []string{"other", "late"}, Turn: []string{"other"}, At: time.Now()}))
	b.gets(turn)
	stays(time.Second)
	b.must(other.Release(b.ctx, words.Line{Nodes: []string{"late"}, Turn: []string{"late"}, At: time.Now()}))
	b.gets(rest)
}
