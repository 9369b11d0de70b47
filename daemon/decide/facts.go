package decide

import (
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

// Policy is what the configuration says about an operation.
type Policy struct {
	Node   string  // its name
	Lock   string  // its name
	Slots  int     // that it has
	Same   string  // the label that nodes share that are down together, "" for none
	Stages []Stage // in their order

	// OrderWait is for how long a node without a lasting stage waits for the gates before
	// the order; 0: no limit. One with such a stage waits for as long as that may take.
	OrderWait time.Duration
	// Deadline is how long after the request was first seen soft gates are obeyed, where the
	// request says nothing that is sooner, and people nothing else; 0: for ever.
	Deadline      time.Duration
	RebootTimeout time.Duration // from the spawn until the machine must be down
	HealthTimeout time.Duration // from the begin of the verification until the node must be healthy
	Settle        time.Duration // how long it must stay healthy

	// The levels of a reboot that may take the place of a whole one, when asked for.
	AllowSoftReboot, AllowKexec bool
}

// Facts are what is known of the world at one moment. They are complete: Next is
// not asked before the sentinel, the Node and the boot have been read once.
type Facts struct {
	Now time.Time // by the machine's clock as it was at the start of the daemon
	// ClockSet is by how much that clock has been set since then.
	ClockSet time.Duration
	Instance string        // this start of the daemon
	Running  time.Duration // since this start of the daemon
	Uptime   time.Duration // of the machine, CLOCK_BOOTTIME

	Request Request
	Abort   Abort
	Boot    Boot
	Node    Node
	Gates   []gate.Status // in the order of their precedence
	Claims  []Claim       // in the order in which they are taken
	Stages  []Progress    // as Policy.Stages

	// Pods is what became of the pods of the operation, by the report on the Node; "" if
	// that is not known.
	Pods string

	Child    Child
	Shutdown Shutdown
	Refused  Refused

	// Notices are sentences that people are told while nothing is done to the node.
	Notices []string

	HealthySince time.Time // since when Ailing has been ""; zero: it is not
	Ailing       string    // by the function Ailing
}

// Wall is the time by the machine's clock as it is set at present: what others name by
// the calendar is compared with it.
func (f Facts) Wall() time.Time { return f.Now.Round(0).Add(f.ClockSet) }

// due is when a time of the calendar comes, by Now.
func (f Facts) due(at time.Time) time.Time { return at.Add(-f.ClockSet) }

// Boot identifies the running boot. An empty ID means that it cannot be read;
// Problem says why.
type Boot struct {
	ID      string
	Time    time.Time
	Problem string

	Userspace   Userspace
	KexecLoaded bool // a kernel is loaded for a kexec
}

// Userspace is what the machine's service manager knows of its own starts; where it
// does not count soft reboots nothing is known.
type Userspace struct {
	Pending     bool // it could not be asked yet, and is asked again
	Known       bool
	SoftReboots int       // in this boot
	Since       time.Time // when the userspace that runs was started
}

// Node is what matters of the Node object.
type Node struct {
	Unschedulable bool
	// Foreign says that the cordon was set by somebody else, by what the API
	// server knows of who has set it.
	Foreign bool
	// Ours says that it was set by rebootd, by the same account. Where that names nobody
	// it is neither.
	Ours bool
	// Unprotected are the annotations that protect a node from autoscalers and that
	// this one has not, or has from an operation of which nothing else is left.
	Unprotected []string

	Ready        bool
	ReadyMessage string    // why it is not
	Heartbeat    time.Time // when the kubelet last said so
	KubeletBoot  string    // the boot ID that the kubelet has reported
	Kernel       string    // its version, as reported with that
	// Checks is why the checks that are made besides have not all passed; "" if they have.
	Checks string
}

// ChildState is what became of the reboot command.
type ChildState int

// The states of the reboot command.
const (
	ChildNone ChildState = iota // not started by this start of the daemon
	ChildRunning
	ChildSucceeded
	ChildFailed // could not be started, or ended with an error
)

// Child is the reboot command, started for one order.
type Child struct {
	Key     string // which order: [api.Record.OrderKey]
	State   ChildState
	Ended   time.Time
	Problem string // why it failed, with the end of its output
}

// of is the state of the command for the record's order.
func (c Child) of(r *api.Record) ChildState {
	if c.Key != r.OrderKey() {
		return ChildNone
	}
	return c.State
}

// Shutdown is what the machine's login manager knows of shutdowns of the machine.
// Where it cannot be asked there is nothing to know.
type Shutdown struct {
	Pending   bool   // it has not been asked yet
	Known     bool   // it has answered
	Kind      string // what is scheduled, reboot or the like; "": nothing
	At        time.Time
	Preparing bool // one has begun; delay inhibitors are waited for
}

// Refused is a write of the Node that the API server has refused for good, by a policy
// of the cluster's for instance. The zero Refused is none.
type Refused struct {
	Do    Action    // of the step
	Words string    // the API server's own
	Until time.Time // when the next try is due
}
