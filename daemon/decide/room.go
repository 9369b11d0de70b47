package decide

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

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
		return Limit{}, fmt.Errorf("%q is no number of nodes, such as 3, and no percentage, such as 10%%", s)
	case percent && n > 100:
		return Limit{}, fmt.Errorf("%q is more than all nodes", s)
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
	HoldsSlot     bool // is about to be unavailable, if it is not yet
	Halted        bool
}

func (p Peer) unavailable() bool { return !p.Ready || p.Unschedulable || p.HoldsSlot || p.Halted }

// HasRoom says whether a node may become unavailable under the limit, and if not,
// why. One that is unavailable already makes nothing worse, and may go: a reboot
// may be what it needs. Its own slot does not count.
func HasRoom(limit Limit, self string, nodes []Peer) (ok bool, why string) {
	var others []string
	for _, p := range nodes {
		switch {
		case p.Name == self && (!p.Ready || p.Unschedulable):
			return true, ""
		case p.Name != self && p.unavailable():
			others = append(others, p.Name)
		}
	}
	most := limit.of(len(nodes))
	if len(others) < most {
		return true, ""
	}
	slices.Sort(others)
	named := others
	if len(named) > 3 {
		named = append(slices.Clip(named[:3]), fmt.Sprintf("%d more", len(others)-3))
	}
	return false, fmt.Sprintf("%d of %d nodes are unavailable already (%s), and no more than %d may be", len(others), len(nodes), strings.Join(named, ", "), most)
}
