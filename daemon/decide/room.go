package decide

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"rebootd.dev/daemon/api"
)

// Room is whether the limit of unavailable nodes leaves room for one more.
type Room struct {
	OK  bool
	Why string // there is none
	// Way are nodes that could go in place of this one.
	Way []string
}

// Limit is how many nodes of a cluster may be unavailable at once: a number, or a
// percentage of all. The zero Limit is none.
type Limit struct {
	Number  int
	Percent int
}

// ParseLimit reads "3" or "10%"; "" is no limit.
func ParseLimit(s string) (Limit, error) {
	if s == "" {
		return Limit{}, nil
	}
	digits, percent := strings.CutSuffix(s, "%")
	n, err := strconv.Atoi(digits)
	switch {
	case err != nil || n < 1:
		return Limit{}, fmt.Errorf("%q is not a valid number of nodes, such as 3, or percentage, such as 10%%", s)
	case percent && n > 100:
		return Limit{}, fmt.Errorf("%q is more than 100%%", s)
	case percent:
		return Limit{Percent: n}, nil
	default:
		return Limit{Number: n}, nil
	}
}

// IsSet says whether there is a limit.
func (l Limit) IsSet() bool { return l != Limit{} }

// of is the limit in a cluster of so many nodes: a percentage is rounded down, but
// one node may always go, or none ever would.
func (l Limit) of(nodes int) int {
	if l.Percent > 0 {
		return max(1, nodes*l.Percent/100)
	}
	return l.Number
}

// Peer is a node of the cluster, as far as its availability goes.
type Peer struct {
	Name          string
	Ready         bool
	Unschedulable bool
	Phase         api.Phase // of its operation under this lock
	Held          bool      // by people
	Zone          string    // of the lock
	// Slot is the slot that it holds, if it does.
	Slot *Holding
}

// Holding is a slot that a node holds.
type Holding struct {
	Index int
	Since time.Time // by the clock of its holder
}

// before says whether one slot was taken before another, as all that hold one see it.
func (h *Holding) before(other *Holding) bool {
	return cmp.Or(h.Since.Compare(other.Since), cmp.Compare(h.Index, other.Index)) < 0
}

// Down says whether a node is unavailable already.
func (p Peer) Down() bool { return !p.Ready || p.Unschedulable || p.Phase == api.PhaseHalted }

// comes says whether a node is about to be unavailable: it holds a slot, has not given
// its operation up, and comes before self. Of those that hold slots and wait for room,
// the one that has held its own for longest goes first, and counts none of the
// others: two never wait for each other, and of two that see room for one exactly one
// goes. Whoever has come just now counts all, whatever their clocks say: one of them
// may be about to go.
func (p Peer) comes(self *Holding, fresh bool) bool {
	return p.Slot != nil && (p.Phase == api.PhaseQueued || disturbs(p.Phase)) && (p.Phase != api.PhaseQueued || self == nil || fresh || p.Slot.before(self))
}

// disturbs says whether the node is cordoned in this phase.
func disturbs(p api.Phase) bool {
	return p == api.PhaseDraining || p == api.PhaseRebooting || p == api.PhaseVerifying || p == api.PhaseHalted
}

// RoomFor finds out whether a node may become unavailable under the limit, and if not,
// why, and who might go in its place. One that is unavailable already makes nothing
// worse, and may go: a reboot may be what it needs. fresh says that self has held its
// slot for a moment only.
func RoomFor(limit Limit, self string, nodes []Peer, fresh bool) Room {
	i := slices.IndexFunc(nodes, func(p Peer) bool { return p.Name == self })
	var me Peer
	if i >= 0 {
		me = nodes[i]
		if !me.Ready || me.Unschedulable {
			return Room{OK: true}
		}
	}
	var others []string
	for _, p := range nodes {
		if p.Name != self && (p.Down() || p.comes(me.Slot, fresh)) {
			others = append(others, p.Name)
		}
	}
	most := limit.of(len(nodes))
	if len(others) < most {
		return Room{OK: true}
	}
	slices.Sort(others)
	named := others
	if len(named) > 3 {
		named = append(slices.Clip(named[:3]), fmt.Sprintf("%d more", len(others)-3))
	}
	return Room{
		Why: fmt.Sprintf("%d of %d nodes are already unavailable (%s); the limit is %d", len(others), len(nodes), strings.Join(named, ", "), most),
		Way: instead(me, nodes),
	}
}

// instead are those that wait for a slot and could go at once, since they are
// unavailable already, were this node not holding one of which it can make no use. A
// node of another zone can go only when all that hold slots give way.
func instead(self Peer, nodes []Peer) []string {
	alone := !slices.ContainsFunc(nodes, func(p Peer) bool { return p.Name != self.Name && p.Slot != nil && p.Phase != api.PhaseQueued })
	var out []string
	for _, p := range nodes {
		if p.Name != self.Name && p.Slot == nil && p.Phase == api.PhaseQueued && !p.Held && (!p.Ready || p.Unschedulable) && (p.Zone == self.Zone || alone) {
			out = append(out, p.Name)
		}
	}
	slices.Sort(out)
	return out
}
