package decide

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"rebootd.dev/daemon/api"
)

// Candidate is another node of the same lock: one that waits for a slot, or that is
// at work under one.
type Candidate struct {
	Node         string
	Phase        api.Phase
	Priority     int
	ControlPlane bool
	Zone         string
	Attempts     int       // that have failed
	Deferrals    int       // turns in a row that a gate on the turn had come to nothing
	Entered      time.Time // the queue
	Asked        time.Time
	Deadline     time.Time // by which its reboot is to begin; zero: none
}

// CandidateOf reads a candidate from a Node: its record, its priority as people
// have written it, and so on. Only a node that has a slot of the lock, or waits for
// one, is one.
func CandidateOf(lock, node, record, priority, zone string, controlPlane bool) (Candidate, bool) {
	r, err := api.ParseRecord([]byte(record))
	if err != nil || r.Phase == api.PhaseWaiting || r.Lock != "" && r.Lock != lock {
		return Candidate{}, false
	}
	p, err := strconv.Atoi(priority)
	if err != nil {
		p = 0 // none, or none that can be read
	}
	return Candidate{
		Node: node, Phase: r.Phase, Priority: p, ControlPlane: controlPlane, Zone: zone,
		Attempts: r.Attempts, Deferrals: r.Deferrals, Entered: r.Since, Asked: r.Requested, Deadline: r.Deadline,
	}, true
}

// overtaking is by how much later a node may have come to the queue and still go
// before another, because it is of the zone that is open, or for any other reason
// but its priority and a deadline that has passed; and by how much later the deadline of
// one may be that is past it, and goes before another such.
const overtaking = time.Hour

// Line puts those that share a lock in the order in which they are to have a slot
// next, at most [api.MaxLine]. zone is the one that the slot's holder is in. now is when
// the line is put together.
//
// The queue is fair: whoever is able to go goes, whoever else fails, and however many
// ask anew. Before a node that stands in it go at most
//
//   - those that are past their deadline, until they fail: each once for each deadline that
//     people, a sentinel or the settings give it, since one from before a boot does not
//     count any more;
//   - those that came to the queue before it did, or within an hour after it, once for
//     each time that they came;
//   - those to which people have given a higher priority, until they fail;
//   - for each slot two more: one that has found it free, and one whose name was left
//     on it; and for a control-plane node, while another is at work, whoever is named
//     before that one has ended.
//
// Before a node that is past its deadline itself, whatever its priority, go of all those
// only such nodes as are past theirs, and of these only the ones whose deadline is not more
// than an hour later.
//
// A node that fails leaves the queue and comes to its end after its pause, with the
// lowest priority that anybody in it has, and no deadline: it goes before a node that stays there once
// at the most, but for that hour. A turn that came to nothing, since a gate was closed, counts as a failure,
// until the deadline has passed: then the soft gates that were closed do not count any more. So do all when each of the others fails for ever.
// Clocks that differ add to the hour. One that is named and does not come, since its
// daemon does not run, costs the next a second, and the promise is then only that
// everybody goes some time.
//
// Within the hour those come first that have failed less often; then the zone that is
// open, so that one is finished before the next; workers before control-plane nodes; who has
// the earlier deadline; and who has asked first. Among those that are past their deadline,
// within the hour that lies between theirs, people's priority comes before all of that. A zone in which a node has halted stays open for nobody
// knows how long: then nobody is kept from it for another's sake.
func Line(others []Candidate, zone string, now time.Time) api.Line {
	all, halted, controlPlane := split(others, zone, now)
	waiting := make([]*Candidate, len(all)) // a queue may have thousands, and is gone through for each place
	for i := range all {
		waiting[i] = &all[i]
	}
	if controlPlane {
		// They go one at a time, and another is at work.
		waiting = preferably(waiting, func(c *Candidate) bool { return !c.ControlPlane })
	}
	if halted {
		waiting = preferably(waiting, func(c *Candidate) bool { return c.Zone == zone })
	}
	var o api.Line
	open := zone
	for len(waiting) > 0 && len(o.Nodes) < api.MaxLine {
		next := successor(waiting, zone, now)
		zone = next.Zone
		if zone != open && !halted {
			o.Turn = append(o.Turn, next.Node)
		}
		o.Nodes = append(o.Nodes, next.Node)
		waiting = slices.DeleteFunc(waiting, func(c *Candidate) bool { return c.Node == next.Node })
	}
	return o
}

// split tells those that wait, and says whether one of the zone has halted, and
// whether a control-plane node is at work. Those that have failed lose what they had over
// others, their priority and their deadline.
func split(others []Candidate, zone string, now time.Time) (waiting []Candidate, halted, controlPlane bool) {
	lowest := 0
	waiting = make([]Candidate, 0, len(others))
	for _, c := range others {
		if c.Phase == api.PhaseQueued {
			waiting = append(waiting, c)
			lowest = min(lowest, c.Priority)
			continue
		}
		halted = halted || c.Phase == api.PhaseHalted && c.Zone == zone
		controlPlane = controlPlane || c.ControlPlane
	}
	for i, c := range waiting {
		late := !c.Deadline.IsZero() && !now.Before(c.Deadline)
		if c.Attempts > 0 || c.Deferrals > 0 && !late {
			waiting[i].Priority, waiting[i].Deadline = lowest, time.Time{}
		}
	}
	return waiting, halted, controlPlane
}

// successor chooses the next of those that wait; there is at least one.
func successor(waiting []*Candidate, zone string, now time.Time) *Candidate {
	urgent := only(waiting, func(c *Candidate) bool { return !c.Deadline.IsZero() && !now.Before(c.Deadline) })
	if len(urgent) > 0 {
		head := slices.MinFunc(urgent, func(a, b *Candidate) int { return a.Deadline.Compare(b.Deadline) })
		last := head.Deadline.Add(overtaking)
		urgent = only(urgent, func(c *Candidate) bool { return !c.Deadline.After(last) })
		most := slices.MaxFunc(urgent, func(a, b *Candidate) int { return cmp.Compare(a.Priority, b.Priority) }).Priority
		return preferred(only(urgent, func(c *Candidate) bool { return c.Priority == most }), zone)
	}
	head := slices.MinFunc(waiting, func(a, b *Candidate) int {
		if a.Priority != b.Priority {
			return cmp.Compare(b.Priority, a.Priority)
		}
		return a.Entered.Compare(b.Entered)
	})
	last := head.Entered.Add(overtaking)
	return preferred(only(waiting, func(c *Candidate) bool { return c.Priority == head.Priority && !c.Entered.After(last) }), zone)
}

// preferred is the first of those that came within an hour.
func preferred(waiting []*Candidate, zone string) *Candidate {
	return slices.MinFunc(waiting, func(a, b *Candidate) int {
		if first := cmp.Or(
			cmp.Compare(a.Attempts+a.Deferrals, b.Attempts+b.Deferrals), less(a.Zone != zone, b.Zone != zone),
			less(a.ControlPlane, b.ControlPlane), byDeadline(a, b),
		); first != 0 {
			return first
		}
		return cmp.Or(a.Asked.Compare(b.Asked), cmp.Compare(a.Node, b.Node))
	})
}

// byDeadline orders those that have one before those that have none.
func byDeadline(a, b *Candidate) int {
	return cmp.Or(less(a.Deadline.IsZero(), b.Deadline.IsZero()), a.Deadline.Compare(b.Deadline))
}

// preferably are those which, or all if there are none.
func preferably(all []*Candidate, which func(*Candidate) bool) []*Candidate {
	if some := only(all, which); len(some) > 0 {
		return some
	}
	return all
}

func only[C any](all []C, which func(C) bool) []C {
	var out []C
	for _, c := range all {
		if which(c) {
			out = append(out, c)
		}
	}
	return out
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
