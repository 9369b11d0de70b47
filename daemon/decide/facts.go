package decide

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Policy is what the configuration says about an operation.
type Policy struct {
	Lock           string // its name
	MaxUnavailable Limit  // of nodes, for whatever reason
	NodeLease      LeaseMode
	Drain          bool          // false: cordon and reboot without draining
	DrainTimeout   time.Duration // from the cordon; 0: no limit
	OnDrainTimeout TimeoutPolicy
	RebootTimeout  time.Duration // from the order until the machine must be down
	HealthTimeout  time.Duration // from the boot until the node must be healthy
	Settle         time.Duration // how long it must stay healthy

	Hooks bool // there are hooks to run

	// The levels of a reboot that may take the place of a whole one, when asked for.
	AllowSoftReboot, AllowKexec bool
}

// TimeoutPolicy says what happens to a drain that takes too long.
type TimeoutPolicy string

// The policies for a drain that takes too long.
const (
	Rollback TimeoutPolicy = "rollback" // put the node back, try again later
	Force    TimeoutPolicy = "force"    // delete what is left, then reboot
	Reboot   TimeoutPolicy = "reboot"   // reboot with what is left
)

// Facts are what is known of the world at one moment. They are complete: Next is
// not asked before the sentinel, the Node and the boot have been read once.
type Facts struct {
	Now      time.Time
	Instance string        // this start of the daemon
	Uptime   time.Duration // of the machine, CLOCK_BOOTTIME

	Request Request
	Held    bool   // people want the node left alone
	Hold    string // and why
	Others  string // who else is at work on the node, "" if nobody

	Boot Boot
	Node Node
	Slot Slot
	Room Room

	NodeLease NodeLease

	Drain    Drain
	Child    Child
	Shutdown Shutdown
	Hooks    Hooks

	HealthySince time.Time // zero: not healthy
	Ailing       string    // which check fails, when not healthy
}

// Boot identifies the running boot. An empty ID means that it cannot be read;
// Problem says why.
type Boot struct {
	ID      string
	Time    time.Time
	Problem string

	Userspace Userspace
}

// Node is what matters of the Node object.
type Node struct {
	Unschedulable bool
	// Foreign says that the cordon was set by somebody else, by what the API
	// server knows of who has set it.
	Foreign bool
	// Unprotected are the annotations that protect a node from autoscalers and that
	// this one has not.
	Unprotected []string
}

// SlotState is what is known of the slot of this node.
type SlotState int

// The states of the slot.
const (
	SlotUnknown SlotState = iota // not looked up yet, or an answer was lost
	SlotNone                     // none is ours
	SlotHeld
	SlotGone // was ours, and was taken away
)

// Slot is the node's place in the lock.
type Slot struct {
	State  SlotState
	Name   string
	Note   string // who holds it instead, or whom we wait for
	Paused string // why people have paused the lock, while it is held; "" when they have not
}

// Room is whether the limit of unavailable nodes leaves room for this one.
type Room struct {
	Key string    // for which attempt it was looked for: [Record.DrainKey]
	At  time.Time // when
	OK  bool
	Why string // there is none
	// Way are nodes that could go in place of this one, and to which it has not given
	// way lately, if there is no room.
	Way []string
}

// Drain is the progress of one drain.
type Drain struct {
	Key     string // which drain: [Record.DrainKey]
	Done    bool   // the node is drained at present
	Blocked int    // pods that cannot be evicted at present
	Summary string // which and why, stable and short; or the totals when done
	Detail  string // how far it has come
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
	Key     string // which order: [Record.OrderKey]
	State   ChildState
	Ended   time.Time
	Problem string // why it failed, with the end of its output
}

// Shutdown is what the machine's login manager knows of shutdowns of the machine.
// Where it cannot be asked there is nothing to know.
type Shutdown struct {
	Pending   bool   // it has not been asked yet
	Known     bool   // it has answered
	Inhibited string // who inhibits one, and why; "": nobody
	Kind      string // what is scheduled, reboot or the like; "": nothing
	At        time.Time
	Preparing bool // one has begun; delay inhibitors are waited for
}

// Request is whether a reboot is asked for, and by what.
type Request struct {
	Wanted    bool
	Why       string
	Annotated bool // by the annotation, perhaps among others
	Level     Level
}

// Sentinel is a file that asks for a reboot.
type Sentinel struct {
	Path     string
	ModTime  time.Time
	Content  string
	Packages []string
}

// maxWhy bounds the human reason, which goes into the record and the log.
const maxWhy = 300

// RequestOf finds out whether a reboot is asked for. A sentinel that is older
// than the boot is spent: the reboot that it asked for has happened. The level is the
// highest that any asks for; the annotation asks for everything. annotation is the
// value of rebootd.dev/request, "" when there is none.
func RequestOf(sentinels []Sentinel, boot Boot, annotation string) Request {
	var why []string
	level := SoftReboot
	for _, s := range sentinels {
		if spent(s, boot) {
			continue
		}
		level = higher(level, levelOf(s.Content))
		w := fmt.Sprintf("%s since %s", s.Path, s.ModTime.UTC().Format(time.RFC3339))
		if s.Content != "" {
			w += fmt.Sprintf(" (%s)", s.Content)
		}
		if n := len(s.Packages); n > 0 {
			w += " for " + strings.Join(s.Packages[:min(n, 3)], ", ")
			if n > 3 {
				w += fmt.Sprintf(" and %d more", n-3)
			}
		}
		why = append(why, w)
	}
	annotated := annotation == "reboot"
	if annotated {
		why = append(why, "annotation rebootd.dev/request")
		level = FullReboot
	}
	if len(why) == 0 {
		return Request{}
	}
	return Request{Wanted: true, Annotated: annotated, Level: level, Why: cut(strings.Join(slices.Compact(why), "; "), maxWhy)}
}

// cut shortens s to at most n bytes without splitting a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len("…")], "") + "…"
}
