package live

import (
	"cmp"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"rebootd.dev/cmd/kubectl-rebootd/fleet"
)

// Model is the fleet that events have led to. The zero Model knows nothing. It is not safe
// for concurrent use.
type Model struct {
	nodes  map[string]fleet.Node
	leases map[string]coordinationv1.Lease
	unread error
	away   [2]trouble // of Nodes, of Leases
}

type trouble struct {
	err   error
	since time.Time
}

// Apply takes in an event that has come at a moment.
func (m *Model) Apply(e Event, now time.Time) {
	if m.nodes == nil {
		m.nodes, m.leases = map[string]fleet.Node{}, map[string]coordinationv1.Lease{}
	}
	switch {
	case e.Nodes != nil:
		clear(m.nodes)
		for _, n := range e.Nodes {
			m.nodes[n.Name] = n
		}
	case e.Node != nil:
		m.nodes[e.Node.Name] = *e.Node
	case e.GoneNode != "":
		delete(m.nodes, e.GoneNode)
	case e.Leases != nil:
		m.unread = nil
		clear(m.leases)
		for _, l := range e.Leases {
			m.leases[l.Name] = l
		}
	case e.Lease != nil:
		m.leases[e.Lease.Name] = *e.Lease
	case e.GoneLease != "":
		delete(m.leases, e.GoneLease)
	case e.Unread != nil:
		m.unread = e.Unread
		clear(m.leases)
	}
	of := &m.away[0]
	if e.OfLeases {
		of = &m.away[1]
	}
	switch {
	case e.Away == nil:
		*of = trouble{}
	case of.err == nil:
		*of = trouble{e.Away, now}
	default:
		of.err = e.Away
	}
}

// Fleet is the fleet as far as it is known.
func (m *Model) Fleet(now time.Time) fleet.Fleet {
	nodes := make([]fleet.Node, 0, len(m.nodes))
	for _, n := range m.nodes {
		nodes = append(nodes, n)
	}
	leases := make([]coordinationv1.Lease, 0, len(m.leases))
	for _, l := range m.leases {
		leases = append(leases, l)
	}
	slices.SortFunc(leases, func(a, b coordinationv1.Lease) int { return cmp.Compare(a.Name, b.Name) })
	return fleet.Build(nodes, leases, m.unread, now)
}

// Away is since when, and why, the fleet is not up to date; nil: it is.
func (m *Model) Away() (since time.Time, err error) {
	for _, t := range m.away {
		if t.err != nil && (err == nil || t.since.Before(since)) {
			err, since = t.err, t.since
		}
	}
	return since, err
}
