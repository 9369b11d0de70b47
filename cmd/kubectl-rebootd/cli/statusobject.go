package cli

import (
	"time"

	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/daemon/api"
)

// statusObject is what status -o json prints. docs/kubectl-rebootd.md describes it.
type statusObject struct {
	object
	At      time.Time     `json:"at"`
	Summary statusSummary `json:"summary"`
	Nodes   []nodeObject  `json:"nodes"`
	Slots   []slotObject  `json:"slots"`
	Pauses  []pauseObject `json:"pauses"`
}

type statusSummary struct {
	Verdict string `json:"verdict"`
	Code    int    `json:"code"` // of --exit-code
	Nodes   int    `json:"nodes"`
	Needed  int    `json:"needed"`
	// States has every state, with how many nodes are in it.
	States     map[string]int `json:"states"`
	Versions   map[string]int `json:"versions"` // of daemons
	NextWindow time.Time      `json:"nextWindow,omitzero"`
	// Done is when all that is foreseen of the fleet will have ended; absent if that
	// cannot be said.
	Done time.Time `json:"done,omitzero"`
	// LeasesError is why Leases could not be read: then there are no slots and pauses.
	LeasesError string `json:"leasesError,omitempty"`
}

type nodeObject struct {
	Name      string           `json:"name"`
	UID       string           `json:"uid"`
	State     string           `json:"state"`
	Needed    string           `json:"needed"` // Yes, No, Unknown; - without a daemon
	Phase     api.Phase        `json:"phase,omitempty"`
	Reason    string           `json:"reason,omitempty"`
	Message   string           `json:"message,omitempty"`
	Since     time.Time        `json:"since,omitzero"`
	Slot      string           `json:"slot,omitempty"`
	Place     int              `json:"place,omitempty"` // in the queue, from 1
	Ready     bool             `json:"ready"`
	Cordoned  bool             `json:"cordoned"`
	Deleting  bool             `json:"deleting,omitempty"`
	Kernel    string           `json:"kernel,omitempty"`
	BootID    string           `json:"bootID,omitempty"`
	Daemon    *api.Daemon      `json:"daemon,omitempty"`
	Hold      *string          `json:"hold,omitempty"`
	Operation *operationObject `json:"operation,omitempty"`
	// RecordError is why the record of the operation cannot be read.
	RecordError string `json:"recordError,omitempty"`
}

// operationObject is what is told of an operation that is under way.
type operationObject struct {
	ID        string       `json:"id"`
	Requested time.Time    `json:"requested,omitzero"`
	Request   string       `json:"request,omitempty"`
	Lock      string       `json:"lock,omitempty"`
	Deadline  time.Time    `json:"deadline,omitzero"`
	Attempts  int          `json:"attempts"` // that failed
	NotBefore time.Time    `json:"notBefore,omitzero"`
	Failure   *api.Failure `json:"failure,omitempty"`
	// Status is the daemon's own, nil where it does not write one.
	Status *api.Status `json:"status,omitempty"`
}

type slotObject struct {
	Name    string    `json:"name"`
	Lock    string    `json:"lock"`
	Index   int       `json:"index"`
	Holder  string    `json:"holder,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Renewed time.Time `json:"renewed,omitzero"`
	Next    []string  `json:"next,omitempty"`
}

type pauseObject struct {
	Lease  string    `json:"lease"`
	Lock   string    `json:"lock"`
	Reason string    `json:"reason"`
	Until  time.Time `json:"until,omitzero"`
	Over   bool      `json:"over"` // it has ended by itself
}

func (v *view) object() statusObject {
	o := statusObject{
		object: kind("Status"), At: v.f.At.UTC(), Nodes: []nodeObject{}, Slots: []slotObject{}, Pauses: []pauseObject{},
		Summary: statusSummary{
			Verdict: v.verdict(), Code: statusCode(v.nodes), Nodes: len(v.nodes), NextWindow: v.nextWindow(), Done: v.forecast.Done,
			States: map[string]int{}, Versions: map[string]int{},
		},
	}
	for s := fleet.Halted; s <= fleet.Idle; s++ {
		o.Summary.States[s.String()] = 0
	}
	if v.f.Unread != nil {
		o.Summary.LeasesError = v.f.Unread.Error()
	}
	for _, n := range v.nodes {
		o.Summary.States[n.State().String()]++
		if version := n.Version(); version != "" {
			o.Summary.Versions[version]++
		}
		if n.Needs() {
			o.Summary.Needed++
		}
		o.Nodes = append(o.Nodes, v.nodeObject(n))
	}
	for _, s := range v.f.Slots {
		o.Slots = append(o.Slots, slotObject{s.Name, s.Lock, s.Index, s.Holder, s.Since.UTC(), s.Renewed.UTC(), s.Next})
	}
	for _, p := range v.f.Pauses {
		o.Pauses = append(o.Pauses, pauseObject{p.Lease, p.Lock, p.Why, p.Until, p.Over(v.f.At)})
	}
	return o
}

func (v *view) nodeObject(n fleet.Node) nodeObject {
	o := nodeObject{
		Name: n.Name, UID: n.UID, State: n.State().String(), Needed: needed(n), Reason: reasonOf(n), Message: messageOf(n), Since: sinceOf(n).UTC(),
		Place: v.places[n.Name], Ready: n.Ready, Cordoned: n.Cordoned, Deleting: n.Going, Kernel: n.Kernel, BootID: n.BootID, Daemon: n.Daemon, Hold: n.Hold,
	}
	if s, ok := v.f.SlotOf(n.Name); ok {
		o.Slot = s.Name
	}
	if n.RecordErr != nil {
		o.RecordError = n.RecordErr.Error()
	}
	if r := n.Record; r != nil {
		o.Phase = r.Phase
		o.Operation = &operationObject{r.ID, r.Requested, r.Request, r.Lock, r.Deadline, r.Attempts, r.NotBefore, r.Failure, n.Status}
	}
	return o
}
