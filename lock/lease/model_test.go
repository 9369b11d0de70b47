package lease

import (
	"fmt"
	"math/bits"
	"testing"
)

// A model of the protocol, gone through exhaustively: every interleaving of three
// nodes' requests to the API server, with crashes of daemons at every point, a
// machine that is gone for good, a person who clears slots, those of machines that
// are down included, two zones, and numbers of slots that differ while a rollout
// changes them. Each transition is one request, which the API server carries out as a
// whole, or one crash.
//
// What a node believes from its watch may be old, so the model lets it try whatever
// it might believe: what counts is what the API server answers.
//
// What it is for, beside the suite of package locktest: the suite judges the code, by the
// interleavings that it has been taught and by chance; the model judges the protocol, by
// all of them. It says that no order of requests, crashes and deaths breaks a rule or
// leaves a node waiting for ever, and it is where a change of the protocol is tried first.
// Its faults are planted into the code, too (protocolFaults).

const (
	nodes    = 3
	maxSlots = 3
	nobody   = -1
)

// Where a node stands.
type step uint8

const (
	waits      step = iota // for a slot
	took                   // a slot, by apply
	counted                // and may keep it: not more are held than there are slots
	refused                // the zone was another's
	mayReplace             // and looked: nobody else holds a slot, the zone is left over
	zoned                  // has slot and zone
	looked                 // and has read who holds slots, to read next who is at work
	inside                 // cordons, drains
	down                   // has passed the fence: reboots
	leaves                 // gives up zone and slot, to try again
	returns                // has rebooted: gives up zone and slot, and is done
	gaveZone               // of leaves
	backZone               // of returns
	finished
	dead // the machine is gone, and its Node
)

type modelNode struct {
	at    step
	slot  int8 // in took … backZone
	stale bool // what it has read has changed since: its guard will not hold
	// Nobody can be at work without a slot but for whom there is room: the slot was
	// handed on to it, or it has looked.
	sure  bool
	saw   uint8 // in looked: which others hold slots
	marks int8  // and how many are free and were handed on
}

type model struct {
	node   [nodes]modelNode
	holder [maxSlots]int8
	marked [maxSlots]bool // free, and was given up as it should be
	zone   int8           // its value
	says   uint8          // which nodes say it
	clears uint8          // how often a person may still clear a slot
	deaths uint8
	crash  uint8
}

// setting is what a run of the model is about.
type setting struct {
	slots  [nodes]int8 // as each node is configured
	zones  [nodes]int8 // nobody: no rule
	held   []int8      // who holds which slot at the beginning, inside
	given  []int8      // which slots have been given up as they should be
	clears uint8
	deaths uint8
	crash  uint8
	limit  int // how many may be down
	bug    string
}

func (s setting) start() model {
	m := model{zone: nobody, clears: s.clears, deaths: s.deaths, crash: s.crash}
	for i := range m.holder {
		m.holder[i] = nobody
	}
	for _, slot := range s.given {
		m.marked[slot] = true
	}
	for slot, n := range s.held {
		if n != nobody {
			m.holder[slot] = n
			m.node[n] = modelNode{at: inside, slot: int8(slot), sure: true}
		}
	}
	return m
}

// zoneChanged makes every other node's reads of the zone old.
func (m *model) zoneChanged(by int) {
	for j := range m.node {
		if n := &m.node[j]; j != by && n.at == mayReplace {
			n.stale = true
		}
	}
}

// applyZone is an apply without force: it succeeds if nobody says otherwise.
func (m *model) applyZone(i int, z int8) bool {
	if z == nobody {
		return true
	}
	if m.zone != nobody && m.zone != z {
		return false
	}
	m.zone = z
	m.says |= 1 << i
	m.zoneChanged(i)
	return true
}

func (m *model) releaseZone(i int) {
	m.says &^= 1 << i
	if m.says == 0 {
		m.zone = nobody
	}
	m.zoneChanged(i)
}

// others are the other nodes that hold slots.
func (m *model) others(i int) (out uint8) {
	for _, h := range m.holder {
		if h != nobody && h != int8(i) {
			out |= 1 << h
		}
	}
	return out
}

// atWork are the nodes that are between cordon and release by their records.
func (m *model) atWork() (out uint8) {
	for i, n := range m.node {
		if n.at == inside || n.at == down {
			out |= 1 << i
		}
	}
	return out
}

func (m *model) taken() (n int) {
	for _, h := range m.holder {
		if h != nobody {
			n++
		}
	}
	return n
}

// next calls f with each state that can follow m, by a step of a node that is fair
// (it will be taken in the end) or by something that may never happen.
func (s setting) next(m model, f func(fair bool, n model)) {
	for i := range m.node {
		s.step(m, i, func(change func(*model, *modelNode)) {
			n := m
			change(&n, &n.node[i])
			f(true, n)
		})
		at := m.node[i].at
		alive := at != dead && at != finished
		if m.crash > 0 && alive && at != waits {
			n := m
			n.crash--
			switch at {
			case took, counted, refused, mayReplace, zoned, looked:
				// The next start looks up its slot, and goes on from there.
				n.node[i] = modelNode{at: took, slot: m.node[i].slot}
				if m.holder[m.node[i].slot] != int8(i) {
					n.node[i] = modelNode{}
				}
			case leaves, gaveZone:
				n.node[i].at, n.node[i].sure = leaves, false
			case returns, backZone:
				n.node[i].at, n.node[i].sure = returns, false
			}
			f(false, n)
		}
		if m.deaths > 0 && alive {
			n := m
			n.deaths--
			n.node[i] = modelNode{at: dead}
			f(false, n)
		}
	}
	for slot, h := range m.holder {
		// A person clears a slot, be its holder down.
		if m.clears > 0 && h != nobody {
			n := m
			n.clears--
			n.holder[slot] = nobody
			f(false, n)
		}
		// The garbage collector deletes what a Node that is gone has owned.
		if h != nobody && m.node[h].at == dead && s.bug != "no owner" {
			n := m
			n.holder[slot] = nobody
			f(true, n)
		}
	}
}

// step is what the daemon of node i may do next.
func (s setting) step(m model, i int, do func(func(*model, *modelNode))) {
	me := int8(i)
	at := m.node[i]
	mine := at.slot >= 0 && m.holder[at.slot] == me
	switch at.at {
	case waits:
		for slot, h := range m.holder {
			if slot := int8(slot); h == nobody && slot < s.slots[i] {
				do(func(m *model, n *modelNode) {
					*n = modelNode{at: took, slot: slot, sure: m.marked[slot]}
					m.holder[slot], m.marked[slot] = me, false
				})
			}
		}
	case took:
		do(func(m *model, n *modelNode) {
			n.at = counted
			if m.taken() > int(s.slots[i]) && s.bug != "does not count again" {
				n.at = leaves
			}
		})
	case counted:
		do(func(m *model, n *modelNode) {
			n.at = refused
			if m.applyZone(i, s.zones[i]) {
				n.at = zoned
			}
		})
	case refused:
		do(func(m *model, n *modelNode) {
			n.at, n.stale = leaves, false
			if m.others(i) == 0 || s.bug == "takes any zone for left over" {
				n.at = mayReplace
			}
		})
	case mayReplace:
		do(func(m *model, n *modelNode) {
			if n.stale && s.bug != "replaces a zone without a precondition" {
				n.at, n.stale = leaves, false
				return
			}
			m.zone, m.says = s.zones[i], 1<<i
			m.zoneChanged(i)
			n.at, n.stale, n.sure = zoned, false, n.sure && s.bug == "replaces a zone and does not look"
		})
	case zoned:
		do(func(m *model, n *modelNode) {
			switch {
			case n.sure || s.bug == "does not look":
				n.at, n.sure = inside, true
				return
			case !mine:
				n.at = leaves
				return
			}
			n.at, n.saw, n.marks = looked, m.others(i), 0
			for slot := range m.holder {
				if m.marked[slot] && slot < int(s.slots[i]) && s.bug != "takes a slot between two holders for free" {
					n.marks++
				}
			}
			if s.bug == "reads who is at work first" {
				n.saw = m.atWork() &^ (1 << i)
			}
		})
	case looked:
		do(func(m *model, n *modelNode) {
			all := n.saw | 1<<i
			without := m.atWork() &^ all
			if s.bug == "reads who is at work first" {
				without = m.others(i) &^ all
			}
			n.at = zoned
			room := bits.OnesCount8(all|without)+int(n.marks) <= int(s.slots[i])
			if room && (without == 0 || s.zones[i] == nobody || s.bug == "takes anybody at work for one of its zone") {
				n.at, n.sure = inside, true
			}
			n.saw, n.marks = 0, 0
		})
		// Where it could go but for slots between two holders, for which nobody comes, it
		// has their next holders look. It may do so whenever it waits.
		if at.marks > 0 {
			for slot := range m.holder {
				if m.marked[slot] {
					do(func(m *model, n *modelNode) {
						m.marked[slot] = false
						n.at, n.saw, n.marks = zoned, 0, 0
					})
				}
			}
		}
	case inside:
		do(func(m *model, n *modelNode) {
			n.at = leaves
			if s.bug == "no fence" || mine && m.applyZone(i, s.zones[i]) {
				n.at = down
			}
		})
	case down:
		do(func(_ *model, n *modelNode) { n.at = returns })
	case leaves, returns:
		do(func(m *model, n *modelNode) {
			if s.bug != "keeps the zone" {
				m.releaseZone(i)
			}
			n.at = map[step]step{leaves: gaveZone, returns: backZone}[n.at]
		})
	case gaveZone, backZone:
		do(func(m *model, n *modelNode) {
			if mine {
				m.holder[n.slot], m.marked[n.slot] = nobody, n.sure || s.bug == "marks what it was not sure of"
			}
			*n = modelNode{at: map[step]step{gaveZone: waits, backZone: finished}[at.at]}
		})
	}
}

// broken is the rule that a state breaks, "" if none.
func (s setting) broken(m model) string {
	zone, n := int8(nobody), 0
	for i, x := range m.node {
		if x.at != down {
			continue
		}
		n++
		if z := s.zones[i]; zone != nobody && z != zone {
			return "two zones are down at the same time"
		} else {
			zone = z
		}
	}
	if n > s.limit {
		return fmt.Sprintf("%d are down at the same time, more than %d", n, s.limit)
	}
	return ""
}

// ended says whether every node that lives has rebooted.
func (m model) ended() bool {
	for _, n := range m.node {
		if n.at != finished && n.at != dead {
			return false
		}
	}
	return true
}

// explore goes through every state that can be reached, and says what rule is
// broken, and by which way.
func (s setting) explore() (states int, broken string) {
	start := s.start()
	index := map[model]int{start: 0}
	all := []model{start}
	var back [][]int // which states lead to one by a fair step
	back = append(back, nil)
	for at := 0; at < len(all); at++ {
		m := all[at]
		if why := s.broken(m); why != "" {
			return len(all), fmt.Sprintf("%s: %+v", why, m)
		}
		s.next(m, func(fair bool, n model) {
			to, ok := index[n]
			if !ok {
				to = len(all)
				index[n] = to
				all = append(all, n)
				back = append(back, nil)
			}
			if fair {
				back[to] = append(back[to], at)
			}
		})
	}
	// From everywhere the end can be reached by the nodes' own steps: there is no
	// deadlock, no slot is lost, and nobody is left behind for ever by anything but
	// bad luck, which the jitter of the pauses ends.
	good := make([]bool, len(all))
	var todo []int
	for i, m := range all {
		if !m.ended() {
			continue
		}
		good[i] = true
		todo = append(todo, i)
		for slot, h := range m.holder {
			if h != nobody && m.node[h].at != dead {
				return len(all), fmt.Sprintf("all have rebooted, and slot %d is still held: %+v", slot, m)
			}
		}
	}
	for len(todo) > 0 {
		i := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for _, j := range back[i] {
			if !good[j] {
				good[j] = true
				todo = append(todo, j)
			}
		}
	}
	for i, ok := range good {
		if !ok {
			return len(all), fmt.Sprintf("the end cannot be reached from %+v", all[i])
		}
	}
	return len(all), ""
}

func settings() map[string]setting {
	all := func(n int8) [nodes]int8 { return [nodes]int8{n, n, n} }
	noZones := all(nobody)
	return map[string]setting{
		"one slot":                          {slots: all(1), zones: noZones, limit: 1, crash: 2, clears: 1, deaths: 1},
		"two slots":                         {slots: all(2), zones: noZones, limit: 2, crash: 2, clears: 1, deaths: 1},
		"two slots, two zones":              {slots: all(2), zones: [nodes]int8{0, 1, 0}, limit: 2, crash: 1, clears: 1, deaths: 1},
		"three slots, two zones":            {slots: all(3), zones: [nodes]int8{0, 1, 0}, limit: 3, crash: 1, deaths: 1},
		"three slots are lowered to two":    {slots: all(2), zones: noZones, held: []int8{nobody, nobody, 2}, given: []int8{0, 1}, limit: 2, crash: 1, deaths: 1},
		"two slots, both handed on":         {slots: all(2), zones: noZones, given: []int8{0, 1}, limit: 2, crash: 1, clears: 2},
		"two are lowered to one, two zones": {slots: all(1), zones: [nodes]int8{0, 1, 0}, held: []int8{nobody, 2}, limit: 1, crash: 1},
		"one slot and two, mixed":           {slots: [nodes]int8{1, 2, 2}, zones: noZones, limit: 2, crash: 1, clears: 1, deaths: 1},
	}
}

func TestModel(t *testing.T) {
	for name, s := range settings() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			states, broken := s.explore()
			t.Logf("%d states", states)
			if broken != "" {
				t.Error(broken)
			}
		})
	}
}

// What the model is worth: each of these faults in the protocol is found.
func TestModelFindsFaults(t *testing.T) {
	for bug, in := range map[string]string{
		"no fence":                                  "one slot",
		"no owner":                                  "one slot and two, mixed",
		"does not count again":                      "three slots are lowered to two",
		"takes any zone for left over":              "two slots, two zones",
		"replaces a zone without a precondition":    "two slots, two zones",
		"does not look":                             "one slot",
		"marks what it was not sure of":             "two slots, two zones",
		"takes a slot between two holders for free": "two slots, both handed on",
		"reads who is at work first":                "two slots, both handed on",
		"takes anybody at work for one of its zone": "two slots, two zones",
		"replaces a zone and does not look":         "two slots, two zones",
	} {
		t.Run(bug, func(t *testing.T) {
			t.Parallel()
			s := settings()[in]
			s.bug = bug
			states, broken := s.explore()
			if broken == "" {
				t.Errorf("not found in %d states", states)
			}
			t.Log(broken)
		})
	}
}
