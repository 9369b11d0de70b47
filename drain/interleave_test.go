package drain

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// simulated is the truth about a node's pods, of which the core learns by events
// that may be late, lost until the next list, or come from an old list.
type simulated struct {
	rng   *rand.Rand
	here  map[types.UID]podInfo
	there map[string]types.UID // the same names, on other nodes
	next  int
}

// A thousand interleavings: no pod of another node is ever asked to go, the node
// is never drained while a pod is on it that has to go, and it is drained in the
// end.
func TestInterleavings(t *testing.T) {
	for seed := range uint64(1000) {
		interleave(t, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func interleave(t *testing.T, seed uint64) {
	s := &simulated{rng: rand.New(rand.NewPCG(seed, 3)), here: map[types.UID]podInfo{}, there: map[string]types.UID{}}
	add := func(name string) podInfo {
		s.next++
		p := pod(name, types.UID(fmt.Sprint(s.next)))
		p.owner = "StatefulSet " + name
		s.here[p.uid] = p
		return p
	}
	for i := range 1 + s.rng.IntN(6) {
		add(fmt.Sprintf("db-%d", i))
	}
	now := t0
	c := newCore(testTiming, now)
	list := func() {
		var pods []podInfo
		for _, p := range s.here {
			pods = append(pods, p)
		}
		c.list(pods, now)
	}
	list()
	events := true // whether the watch works
	var out []request
	for step := range 4000 {
		now = now.Add(time.Duration(s.rng.IntN(400)) * time.Millisecond)
		quiet := step > 300
		switch s.rng.IntN(12) {
		case 0:
			if !quiet {
				events = !events
			} else {
				events = true
			}
			if events {
				list()
			}
		case 1:
			if !quiet && s.rng.IntN(10) == 0 { // a late binding
				p := add(fmt.Sprintf("late-%d", step))
				if events {
					c.seen(p, now)
				}
			}
		case 2, 3: // a pod that was told to end does
			for uid, p := range s.here {
				if p.deleting() {
					delete(s.here, uid)
					s.next++
					s.there[p.name] = types.UID(fmt.Sprint("elsewhere-", s.next))
					if events && s.rng.IntN(4) > 0 {
						c.gone(uid, nil, now)
					}
					break
				}
			}
		case 4:
			if events || quiet {
				list()
			}
		}
		out = append(out, c.due(now)...)
		if len(out) > 0 && s.rng.IntN(2) == 0 {
			r := out[0]
			out = out[1:]
			if strings.HasPrefix(string(r.pod.uid), "elsewhere") {
				t.Errorf("a pod of another node was asked to go")
			}
			p, ok := s.here[r.pod.uid]
			switch {
			case !ok:
				c.answered(r, verdict{gone: true}, now)
			case !quiet && s.rng.IntN(3) == 0:
				c.answered(r, judge(budgetError("The disruption budget web needs 1 healthy pods and has 1 currently", 0)), now)
				c.budget("ns", "web", nil, now)
			default:
				p.graceEnds = now.Add(p.grace)
				s.here[r.pod.uid] = p
				if s.rng.IntN(5) == 0 {
					c.answered(r, judge(fmt.Errorf("the answer was lost")), now)
				} else {
					c.answered(r, judge(nil), now)
				}
				if events {
					c.seen(p, now)
				}
			}
		}
		if c.drained(now) {
			list() // the last look
			if c.drained(now) {
				if len(s.here) > 0 {
					t.Errorf("drained with %d pods on the node", len(s.here))
				}
				return
			}
		}
	}
	t.Errorf("not drained in the end: %d pods left, %+v", len(s.here), c.progress("op", now, time.Time{}).Counts)
}
