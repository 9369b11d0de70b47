// Package fleet is what the Nodes and Leases of a cluster say of its reboots, read into one
// value: [Build]. It asks nobody, reads no clock, and has no rule of its own: the order of
// the queue is package decide's, and what a node waits for is what its daemon has written.
//
// Whatever is on a Node may have been written by anybody who may edit it: words are made
// printable here, and what cannot be read is said to be unreadable.
package fleet

import (
	"cmp"
	"errors"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/printable"
)

// Fleet is a cluster at one moment.
type Fleet struct {
	At    time.Time
	Nodes []Node // by name
	Slots []Slot // by name
	// Pauses are the Leases that pause a lock.
	Pauses []Pause
	// OpenZones are what the nodes share that hold slots of a lock, and ControlPlanes who of
	// the control plane holds one, by the lock's own Leases.
	OpenZones, ControlPlanes map[string]string
	// Unread is why Leases could not be read; nil: they were.
	Unread error
	// Zones finds the time zones of maintenance windows by their names; nil: UTC is known.
	Zones func(name string) (*time.Location, error)
}

// Node is one Node.
type Node struct {
	Name         string
	UID          string
	Labels       map[string]string
	ControlPlane bool
	Ready        bool
	Cordoned     bool
	Kernel       string
	BootID       string
	Going        bool // it is being deleted

	// Condition is RebootRequired, nil where there is none.
	Condition *Condition
	Record    *api.Record // of the operation that is under way; nil: none, or RecordErr
	RecordErr error
	Status    *api.Status // nil: none, or one that is not of the record's operation and phase
	Daemon    *api.Daemon // nil: not known

	// What people have set; nil: not set.
	Hold, Request, Abort, Approval, Deadline, Windows, Priority *string

	report, history, operation, served string
}

// Condition is a condition of a Node.
type Condition struct {
	Status, Reason, Message string
	Since                   time.Time // when Status last changed
	At                      time.Time // when it was last written
}

// maxWords bounds what is shown of a message, and maxName of a name or a word, in bytes.
const maxWords, maxName = 1000, 253

// NodeOf reads a Node. It keeps nothing of n but strings.
func NodeOf(n *corev1.Node) Node {
	a := n.Annotations
	out := Node{
		Name: n.Name, UID: string(n.UID), Labels: n.Labels, Cordoned: n.Spec.Unschedulable, Going: n.DeletionTimestamp != nil,
		Kernel: printable.Line(n.Status.NodeInfo.KernelVersion, maxName), BootID: printable.Line(n.Status.NodeInfo.BootID, maxName),
		report: a[api.ReportAnnotation], history: a[api.HistoryAnnotation], operation: a[api.OperationAnnotation], served: a[api.ServedAnnotation],
		Hold: people(a, api.HoldAnnotation), Request: people(a, api.RequestAnnotation), Abort: people(a, api.AbortAnnotation), Approval: people(a, api.ApprovalAnnotation),
		Deadline: people(a, api.DeadlineAnnotation), Windows: people(a, api.WindowsAnnotation), Priority: people(a, api.PriorityAnnotation),
	}
	_, out.ControlPlane = n.Labels[api.ControlPlaneLabel]
	for _, c := range n.Status.Conditions {
		switch c.Type {
		case corev1.NodeReady:
			out.Ready = c.Status == corev1.ConditionTrue
		case api.RebootRequired:
			out.Condition = &Condition{
				Status: string(c.Status), Reason: printable.Line(c.Reason, maxWords), Message: printable.Line(c.Message, maxWords),
				Since: c.LastTransitionTime.Time, At: c.LastHeartbeatTime.Time,
			}
		}
	}
	if out.operation != "" {
		out.Record, out.RecordErr = api.ParseRecord([]byte(out.operation))
		recordWords(out.Record)
	}
	if d, err := api.ParseDaemon(a[api.DaemonAnnotation]); err == nil {
		d.Version, d.Settings, d.Pool = printable.Line(d.Version, maxName), printable.Line(d.Settings, maxName), printable.Line(d.Pool, maxName)
		out.Daemon = &d
	}
	if text := a[api.StatusAnnotation]; text != "" && out.Record != nil {
		if s, err := api.ParseStatus([]byte(text)); err == nil && s.ID == out.Record.ID && s.Phase == out.Record.Phase {
			statusWords(s)
			out.Status = s
		}
	}
	return out
}

func people(annotations map[string]string, key string) *string {
	if v, ok := annotations[key]; ok {
		v = printable.Line(v, maxWords)
		return &v
	}
	return nil
}

// Report is that of the node's last drain, nil if there is none that can be read.
func (n Node) Report() *api.Report {
	if n.report == "" {
		return nil
	}
	r, err := api.ParseReport([]byte(n.report))
	if err != nil {
		return nil
	}
	return r
}

// History is what the node's last operations came to, the latest first, and why that cannot
// be read.
func (n Node) History() ([]api.Summary, error) {
	if n.history == "" {
		return nil, nil
	}
	h, err := api.ParseHistory([]byte(n.history))
	if err != nil {
		return nil, err
	}
	return h.Operations, nil
}

// Served are the sentinels whose requests have been served, nil if there are none, and why
// that cannot be read.
func (n Node) Served() (*api.Served, error) { return api.ParseServed(n.served) }

// State is where a node stands, for people; the order is that in which nodes need one.
type State int

// The states.
const (
	Halted     State = iota // not down in time, or not healthy in time
	Unreadable              // its record cannot be read: the daemon takes no action
	Blocked                 // it drains, and pods cannot be evicted
	UnderWay                // it is drained, rebooted or verified
	Queued                  // it waits for a slot
	Waiting                 // a gate is closed, or a pause after a failure runs
	Needed                  // a reboot is needed, and there is no record yet
	Unknown                 // its condition is neither True nor False
	NoDaemon                // no daemon has ever run there
	Idle                    // nothing is to be done
)

// State is where the node stands.
func (n Node) State() State {
	switch {
	case n.RecordErr != nil:
		return Unreadable
	case n.Record != nil:
		return n.inPhase()
	case n.Condition == nil && n.Daemon == nil:
		return NoDaemon
	case n.Condition != nil && n.Condition.Status == string(corev1.ConditionTrue):
		return Needed
	case n.Condition != nil && n.Condition.Status == string(corev1.ConditionUnknown):
		return Unknown
	default:
		return Idle
	}
}

func (n Node) inPhase() State {
	switch n.Record.Phase {
	case api.PhaseHalted:
		return Halted
	case api.PhaseWaiting:
		return Waiting
	case api.PhaseQueued:
		return Queued
	case api.PhaseDraining:
		if n.Record.Undoing() != nil {
			return UnderWay // no pod has to leave any more
		}
		if n.Status != nil && n.Status.Drain != nil && n.Status.Drain.BlockedTotal > 0 || n.Condition != nil && n.Condition.Reason == string(api.ReasonDrainBlocked) {
			return Blocked
		}
	}
	return UnderWay
}

// Newer says that the node's daemon is newer than this program: its record cannot be read
// here, and the daemon tells of its operation.
func (n Node) Newer() bool {
	return errors.Is(n.RecordErr, api.ErrTooNew) && n.Condition != nil && n.Condition.Status == string(corev1.ConditionTrue) &&
		n.Condition.Reason != string(api.ReasonRecordTooNew)
}

// ByNeed orders nodes by what needs a person first.
func ByNeed(a, b Node) int {
	return cmp.Or(cmp.Compare(a.State(), b.State()), cmp.Compare(a.Name, b.Name))
}

// Node finds one by its name.
func (f Fleet) Node(name string) (Node, bool) {
	i, ok := slices.BinarySearchFunc(f.Nodes, name, func(n Node, name string) int { return cmp.Compare(n.Name, name) })
	if !ok {
		return Node{}, false
	}
	return f.Nodes[i], true
}

// Queue is the nodes that wait for a slot of a lock and have none, in the order in which they
// are to have one, as far as that is known now: by package decide.
func (f Fleet) Queue(lock string) []string {
	var all []decide.Candidate
	zone := ""
	for _, n := range f.Nodes {
		if n.Record == nil || n.Going {
			continue
		}
		own := ""
		if n.Status != nil {
			own = n.Status.Zone
		}
		c, ok := decide.CandidateOf(lock, n.Name, n.operation, value(n.Priority), own, n.ControlPlane)
		if !ok || n.Hold != nil && c.Phase == api.PhaseQueued {
			continue
		}
		holds := f.holds(n.Name, lock)
		if holds || c.Phase != api.PhaseQueued {
			zone = own // it is open, or is the next to be free
		}
		if holds && c.Phase == api.PhaseQueued {
			continue
		}
		all = append(all, c)
	}
	var out []string
	for {
		line := decide.Line(all, zone, f.At).Nodes
		if len(line) == 0 {
			return out
		}
		out = append(out, line...)
		last := line[len(line)-1]
		all = slices.DeleteFunc(all, func(c decide.Candidate) bool {
			if c.Node == last {
				zone = c.Zone
			}
			return slices.Contains(line, c.Node)
		})
	}
}

func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
