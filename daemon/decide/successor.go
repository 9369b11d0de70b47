package decide

import (
	"cmp"
	"slices"
	"strconv"
	"time"
)

// Candidate is another node, as far as the order of succession goes.
type Candidate struct {
	Node         string
	Priority     int
	ControlPlane bool
	Zone         string
	Failed       bool // its last attempt
	Since        time.Time
}

// CandidateOf reads a candidate from a Node: its record, its priority as people
// have written it, and so on. Only a node that waits for a slot of the lock is one.
func CandidateOf(lock, node, record, priority, zone string, controlPlane bool) (Candidate, bool) {
	r, err := ParseRecord([]byte(record))
	if err != nil || r.Phase != Queued || r.Lock != "" && r.Lock != lock {
		return Candidate{}, false
	}
	p, err := strconv.Atoi(priority)
	if err != nil {
		p = 0 // none, or none that can be read
	}
	return Candidate{Node: node, Priority: p, ControlPlane: controlPlane, Zone: zone, Failed: r.Attempts > 0, Since: r.Requested}, true
}

// Successor chooses who is to have a slot next: of the zone that the slot's holder
// was in, so that one zone is finished before the next; then those whose last
// attempt has not failed, of higher priority, workers before control-plane nodes,
// and who have waited longest. "" if nobody waits.
func Successor(waiting []Candidate, zone string) string {
	if len(waiting) == 0 {
		return ""
	}
	return slices.MinFunc(waiting, func(a, b Candidate) int {
		return cmp.Or(
			less(a.Zone != zone, b.Zone != zone), less(a.Failed, b.Failed), cmp.Compare(b.Priority, a.Priority),
			less(a.ControlPlane, b.ControlPlane), a.Since.Compare(b.Since), cmp.Compare(a.Node, b.Node),
		)
	}).Node
}

// less orders false before true.
func less(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}
