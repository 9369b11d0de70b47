package fleet

import (
	"slices"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
)

// recordWords makes the words of a record printable, nil included.
func recordWords(r *api.Record) {
	if r == nil {
		return
	}
	r.ID, r.Request, r.Lock = printable.Line(r.ID, maxName), printable.Line(r.Request, maxWords), printable.Line(r.Lock, maxName)
	if f := r.Failure; f != nil {
		f.Reason, f.Message = api.Reason(printable.Line(string(f.Reason), maxName)), printable.Line(f.Message, maxWords)
	}
	if u := r.Undo; u != nil {
		u.Reason, u.Message = api.Reason(printable.Line(string(u.Reason), maxName)), printable.Line(u.Message, maxWords)
	}
}

// No node has more pods than maxPods, and no lock more slots than maxSlots: larger numbers
// are not believed.
const maxPods, maxSlots = 1 << 20, 1000

// statusWords makes the words of a status printable, and keeps its numbers within bounds:
// anybody who may edit the Node can write it.
func statusWords(s *api.Status) {
	s.Slots = min(max(s.Slots, 0), maxSlots)
	if d := s.Drain; d != nil {
		d.Total = min(max(d.Total, 0), maxPods)
		d.Left, d.BlockedTotal = min(max(d.Left, 0), d.Total), min(max(d.BlockedTotal, 0), maxPods)
	}
	s.Reason, s.Zone = api.Reason(printable.Line(string(s.Reason), maxName)), printable.Line(s.Zone, maxWords)
	for i, w := range s.Windows {
		s.Windows[i] = printable.Line(w, maxWords)
	}
	for i := range s.Gates {
		g := &s.Gates[i]
		g.Name, g.Reason, g.Why = printable.Line(g.Name, maxName), api.Reason(printable.Line(string(g.Reason), maxName)), printable.Line(g.Why, maxWords)
		g.State = api.GateState(printable.Line(string(g.State), maxName))
	}
	if d := s.Drain; d != nil {
		for i := range d.Blocked {
			p := &d.Blocked[i]
			p.Namespace, p.Name = printable.Line(p.Namespace, maxName), printable.Line(p.Name, maxName)
			p.Reason, p.Message = api.PodReason(printable.Line(string(p.Reason), maxName)), printable.Line(p.Message, maxWords)
		}
	}
}

var stateNames = [...]string{
	Halted: "Halted", Unreadable: "Unreadable", Blocked: "Blocked", UnderWay: "UnderWay", Queued: "Queued",
	Waiting: "Waiting", Needed: "Needed", Unknown: "Unknown", NoDaemon: "NoDaemon", Idle: "Idle",
}

// String is the state in one word, for programs, too.
func (s State) String() string { return stateNames[s] }

// Needs says whether the node is known to need a reboot.
func (n Node) Needs() bool {
	return n.Record != nil || n.Condition != nil && n.Condition.Status == "True"
}

// Closed are the names of the gates that are closed, in their order of precedence. known
// says whether the daemon has told: an older one does not. A hold is always known.
func (n Node) Closed() (gates []string, known bool) {
	if n.Status != nil {
		known = true
		for _, g := range n.Status.Gates {
			if g.State == api.GateClosed {
				gates = append(gates, g.Name)
			}
		}
	}
	if n.Hold != nil && n.State() >= Queued && !slices.Contains(gates, HoldGate) {
		gates = slices.Insert(gates, 0, HoldGate)
	}
	return gates, known
}

// HoldGate is the name of the gate that the annotation rebootd.dev/hold closes.
const HoldGate = "hold"

// Version is the version of the daemon that runs on the node: "" if there is none, "?" if
// it has not said which.
func (n Node) Version() string {
	switch {
	case n.Daemon != nil && n.Daemon.Version != "":
		return n.Daemon.Version
	case n.State() == NoDaemon:
		return ""
	default:
		return "?"
	}
}

// Places are the places in the queue of the nodes that wait for a slot, from 1. Who holds one
// has none.
func (f Fleet) Places() map[string]int {
	places := map[string]int{}
	locks := f.Locks()
	if len(locks) == 0 {
		locks = []string{DefaultLock}
	}
	for _, lock := range locks {
		place := 0
		for _, node := range f.Queue(lock) {
			if _, has := places[node]; has {
				continue
			}
			place++
			places[node] = place
		}
	}
	return places
}
