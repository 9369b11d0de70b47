package locktest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/lock"
)

// storms: everything at once, at random: daemons are killed, requests and answers are
// lost, people delete and clear slots and pause the lock. Never are too many down, and in
// the end everybody has had its turns.
func storms(backend Backend) []promise {
	seeds := 2
	if backend.FakeTime {
		seeds = 12
	}
	var out []promise
	for seed := range seeds {
		out = append(
			out,
			promise{fmt.Sprintf("whatever happens, no more nodes are down than there are slots/seed %d", seed), func(b *bed) { b.storm(uint64(seed), 1+seed%3, func(int, *lock.Claimant) {}) }},
			promise{fmt.Sprintf("whatever happens, two zones are never down together/seed %d", seed), func(b *bed) {
				b.storm(uint64(seed), 2+seed%2, func(i int, c *lock.Claimant) { c.Zone, c.ControlPlane = fmt.Sprintf("zone=%d", i%2), i%3 == 0 })
			}},
		)
	}
	return out
}

// chance is a source of chances for several goroutines.
type chance struct {
	mu sync.Mutex
	r  *rand.Rand
}

func (c *chance) of(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.r.IntN(n)
}

func (c *chance) upTo(d time.Duration) time.Duration { return time.Duration(c.of(int(d))) }

// stormNode is a member whose process others may kill.
type stormNode struct {
	*member
	b      *bed
	chance *chance
	mu     sync.Mutex
	stop   func()
}

func (b *bed) storm(seed uint64, slots int, as func(int, *lock.Claimant)) {
	const nodes, turns = 5, 2
	c := &chance{r: rand.New(rand.NewPCG(seed, 1))}
	var all []*stormNode
	for i := range nodes {
		n := &stormNode{member: b.member(fmt.Sprintf("n%d", i), slots), b: b, chance: c}
		as(i, &n.as)
		n.begin()
		all = append(all, n)
	}
	over := make(chan struct{})
	var people, work sync.WaitGroup
	people.Go(func() { b.trouble(c, all, over) })
	for _, n := range all {
		work.Go(func() {
			for range turns {
				if !n.turn() {
					b.Errorf("%s has not had its turns; held: %v", n.node.Name, b.Held())
					return
				}
			}
		})
	}
	work.Wait()
	close(over)
	people.Wait()
	b.Pause("")
	for _, n := range all {
		n.begin()
		n.process.Link.meet(nil)
		n.releases()
	}
	b.clean() // traces there may be of those whose slots were cleared
}

// trouble is what people and machines do meanwhile; not for ever.
func (b *bed) trouble(c *chance, all []*stormNode, over <-chan struct{}) {
	for range 25 {
		select {
		case <-over:
			return
		case <-time.After(c.upTo(2 * time.Second)):
		}
		held := b.Held()
		var slots []string
		for slot := range held {
			slots = append(slots, slot)
		}
		slices.Sort(slots)
		switch what := c.of(8); {
		case what < 3:
			all[c.of(len(all))].end()
		case what < 4:
			b.Pause("storm")
			time.Sleep(c.upTo(time.Second))
			b.Pause("")
		case len(slots) == 0:
		case what < 6:
			b.Clear(slots[c.of(len(slots))])
		default:
			b.Delete(slots[c.of(len(slots))])
		}
	}
}

// begin is a start of the daemon.
func (n *stormNode) begin() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.start()
	n.stop = n.kill
	n.process.Link.meet(func(int) Fate {
		switch n.chance.of(40) {
		case 0:
			return RequestLost
		case 1:
			return AnswerLost
		default:
			return Carried
		}
	})
}

// end kills the daemon.
func (n *stormNode) end() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stop()
}

// alive starts the daemon again if it has been killed, and says whether the test goes on.
func (n *stormNode) alive() bool {
	if n.ctx.Err() != nil && n.b.ctx.Err() == nil {
		n.begin()
	}
	return n.b.ctx.Err() == nil
}

// until repeats a call until it has an answer, across crashes.
func (n *stormNode) until(call func() error) bool {
	for n.alive() {
		err := call()
		if err == nil {
			return true
		}
		time.Sleep(50*time.Millisecond + n.chance.upTo(100*time.Millisecond))
	}
	return false
}

// turn brings the node through one reboot, as the daemon does it.
func (n *stormNode) turn() bool {
	for n.alive() {
		if _, err := n.Acquire(n.ctx, n.as, func(lock.Waiting) {}); err != nil {
			n.until(func() error { _, _, err := n.Find(n.ctx, n.as); return err })
			continue
		}
		n.says(true)
		time.Sleep(n.chance.upTo(200 * time.Millisecond))
		down := n.fence()
		if down {
			time.Sleep(n.chance.upTo(2 * time.Second))
			n.end() // the machine goes down
			n.begin()
			n.comesBack()
		} else {
			n.says(false)
		}
		released := n.until(func() error { return n.Release(n.ctx, api.Line{}) })
		if down || !released {
			return released
		}
	}
	return false
}

// fence asks until it is known whether the node may go down.
func (n *stormNode) fence() (down bool) {
	for n.alive() {
		err := n.Fence(n.ctx)
		switch {
		case err == nil:
			n.b.enter(n.member)
			return true
		case errors.Is(err, lock.ErrLost) || errors.Is(err, lock.ErrPaused):
			return false
		case n.ctx.Err() != nil && n.alive():
			held := false
			if !n.until(func() (err error) { _, held, err = n.Find(n.ctx, n.begun()); return err }) || !held {
				return false
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	return false
}
