package drain

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
)

// made is a pod of one owner, created at a time by the API server's clock, which
// counts whole seconds.
func made(uid string, created float64) podInfo {
	p := pod("web-"+uid, types.UID(uid))
	p.created = at(created).Truncate(time.Second)
	return p
}

// goNow has everything that is due evicted, and accepted; what is told to go is gone
// a moment later. It returns who was.
func goNow(c *core, now float64) (asked []string) {
	for _, r := range c.due(at(now)) {
		asked = append(asked, string(r.pod.uid))
		c.answered(r, judge(nil), at(now))
		p := deleting(r.pod, at(now+30))
		p.deletedAt = at(now).Truncate(time.Second)
		c.seen(p, at(now+0.01))
		c.gone(p.uid, &p, at(now+0.02))
	}
	return asked
}

func skipped(c *core) (n int) {
	for _, t := range c.order {
		if t.state == done && t.outcome == api.OutcomeSkipped {
			n++
		}
	}
	return n
}

// A scheduler may take long to bind what it had decided on before the cordon: however
// many pods of one owner come late, they were created before any of it was evicted
// here, and are evicted.
func TestPodsThatAreBoundLate(t *testing.T) {
	for name, tc := range map[string]struct {
		first   []podInfo // of the first list
		created float64
		come    float64
	}{
		"after an empty list":            {nil, -3, 1},
		"of which the first list lagged": {[]podInfo{made("a", -3), made("b", -3)}, -3, 0.3},
		"a minute later":                 {[]podInfo{made("a", -600)}, -3, 60},
		"in the second of the eviction":  {[]podInfo{made("a", -600)}, 0.2, 0.9},
		"by a scheduler that is behind":  {[]podInfo{made("a", -600)}, 3, 3.5},
	} {
		t.Run(name, func(t *testing.T) {
			c := testCore(tc.first...)
			goNow(c, 0.1)
			for i := range 6 {
				c.seen(made(fmt.Sprint("late-", i), tc.created), at(tc.come))
				goNow(c, tc.come)
			}
			for s := tc.come; s < tc.come+10; s += 0.1 {
				goNow(c, s)
			}
			if n := skipped(c); n > 0 || !c.drained(at(tc.come+10)) {
				t.Errorf("%d pods were left running, drained %t", n, c.drained(at(tc.come+10)))
			}
		})
	}
}

// Pods that come back for ever are evicted a few times, and then left alone: whoever
// owns them, whatever the clocks say, and if nobody sees them go.
func TestPodsThatComeBackForEver(t *testing.T) {
	for name, tc := range map[string]struct {
		here   int
		owner  func(generation int) string
		clock  float64 // the creations' clock, against that of the deletions
		unseen bool    // the watch misses each deletion
		slow   float64 // how long each takes to come back
		atMost int
	}{
		"of one controller": {here: 2, atMost: 6},
		"one by one, slowly": {
			here: 1, slow: 30, atMost: 3,
		},
		"many":                     {here: 40, atMost: 3 * 40},
		"without a controller":     {here: 1, owner: func(n int) string { return fmt.Sprint("pod ns/pinned-", n) }, atMost: 20},
		"each with its controller": {here: 2, owner: func(n int) string { return fmt.Sprint("Instance ", n) }, atMost: 22},
		"clocks that differ":       {here: 1, clock: -10, atMost: 45},
		"clocks that are wrong":    {here: 1, clock: -3600, atMost: 100},
		"deletions that nobody saw": {
			here: 2, unseen: true, atMost: 8,
		},
	} {
		t.Run(name, func(t *testing.T) {
			owner := tc.owner
			if owner == nil {
				owner = func(int) string { return "ReplicaSet rs" }
			}
			next := 0
			create := func(now float64) podInfo {
				p := made(fmt.Sprint(next), now)
				p.owner = owner(next)
				next++
				return p
			}
			var first []podInfo
			for range tc.here {
				first = append(first, create(-100))
			}
			c := testCore(first...)
			asked := 0
			var comeBack []float64
			end := 20.0 + 4*tc.slow
			if tc.clock < 0 {
				end += 4000
			}
			step := 0.1
			for s := 0.0; s < end; s += step {
				for _, r := range c.due(at(s)) {
					asked++
					c.answered(r, judge(nil), at(s))
					p := r.pod
					if !tc.unseen {
						p = deleting(p, at(s+30))
						p.deletedAt = at(s).Truncate(time.Second)
						c.seen(p, at(s))
					}
					c.gone(p.uid, nil, at(s+0.01))
					comeBack = append(comeBack, s+tc.slow)
				}
				for len(comeBack) > 0 && comeBack[0] <= s {
					comeBack = comeBack[1:]
					c.seen(create(s+tc.clock), at(s+0.05))
				}
			}
			if asked > tc.atMost {
				t.Errorf("%d evictions, want at most %d", asked, tc.atMost)
			}
			if !c.drained(at(end)) {
				t.Errorf("not drained after %g s: %d pods left, %d evictions", end, c.remaining(), asked)
			}
		})
	}
}

// What comes to a namespace is not what was evicted there, as long as it is not much.
func TestPodsOfOthersInTheNamespace(t *testing.T) {
	c := testCore(made("a", -100))
	goNow(c, 0.1)
	for i := range 10 {
		p := made(fmt.Sprint("other-", i), 8)
		p.owner = fmt.Sprint("Job ", i)
		c.seen(p, at(9))
	}
	goNow(c, 9)
	if n := skipped(c); n > 0 || c.remaining() > 0 {
		t.Errorf("%d pods were left running, %d are waited for", n, c.remaining())
	}
}

// A list may tell at once that a pod goes and what has come in its place.
func TestListWithPodsAndWhatCameInTheirPlace(t *testing.T) {
	old := made("z", -100)
	c := testCore(old)
	for _, r := range c.due(t0) {
		c.answered(r, judge(nil), t0)
	}
	old = deleting(old, at(30))
	old.deletedAt = t0
	c.list([]podInfo{made("a", 20), made("b", 20), made("c", 20), old}, at(21))
	if n := skipped(c); n != 2 {
		t.Errorf("%d of three pods are known as coming back, want all but as many as there were", n)
	}
}

// What may come in place of a pod that has come back is waited for a moment: it would
// be on the node that was called empty.
func TestQuietAfterAPodThatCameBack(t *testing.T) {
	c := testCore(made("a", -100))
	goNow(c, 0.1)
	if !c.drained(at(5)) {
		t.Error("waits although nothing has come back")
	}
	c.seen(made("b", 5), at(5.5))
	goNow(c, 5.6)
	if c.drained(at(6.5)) || !c.drained(at(6.7)) {
		t.Error("does not wait a second")
	}
	if next := c.nextWake(at(6)); next.Before(at(6.5)) || next.After(at(6.7)) {
		t.Errorf("looks again at %s", next)
	}
}
