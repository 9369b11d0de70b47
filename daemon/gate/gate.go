// Package gate is the concept of a gate: something that can say "not now" to a
// reboot, why, and until when. Maintenance windows, people who hold a node, other
// operators at work, inhibitors and the limit of unavailable nodes are gates.
//
// It knows no gate. What follows from a closed one is the same for all and stands in
// package decide: it depends on nothing but the points at which the gate binds. A new
// gate is a package of its own that implements [Gate], and one line in the slice in
// cmd/rebootd that registers it; its place there is its precedence: of several closed
// gates people are told of the first.
package gate

import (
	"context"
	"strings"
	"time"

	"rebootd.dev/daemon/api"
)

// Points are places in an operation at which a gate can bind.
type Points uint8

// The points, in the order of an operation.
const (
	// BeforeQueue: nothing has been done. The node waits, without a slot; closed while
	// the node stands in the queue, the gate has it leave.
	BeforeQueue Points = 1 << iota
	// InQueue: the node stands in the queue, but takes no slot, and gives one up.
	InQueue
	// WithSlot: the node holds its slot and is not cordoned yet. It keeps the slot and
	// waits.
	WithSlot
	// WhileDraining: the node is cordoned and the reboot is not ordered. It is put back. A
	// gate that binds here binds at one of the points above, too, or the node would be
	// cordoned again at once.
	// Closed before that, the gate keeps the node from being cordoned, as WithSlot does.
	WhileDraining
	// BeforeOrder: the node is drained. It waits so, for as long as a drain may take, and
	// is put back then.
	BeforeOrder
	// BeforeUncordon: the machine has been rebooted. It does not count as healthy, and so
	// is not uncordoned.
	BeforeUncordon
)

// All is every point.
const All = BeforeQueue | InQueue | WithSlot | WhileDraining | BeforeOrder | BeforeUncordon

// effects are what a closed gate has the node do, in the words of the reference.
var effects = []struct {
	at   Points
	does string
}{
	{BeforeQueue, "waits before the queue"},
	{InQueue, "waits in the queue without a slot"},
	{WithSlot, "waits with its slot, before the cordon"},
	{WhileDraining, "is put back while it drains"},
	{BeforeOrder, "waits, drained, for as long as a drain may take; then is put back"},
	{BeforeUncordon, "does not count as healthy after the boot"},
}

// String is what a closed gate that binds at these points has the node do.
func (p Points) String() string {
	var does []string
	for _, e := range effects {
		if p&e.at != 0 {
			does = append(does, e.does)
		}
	}
	return strings.Join(does, "; ")
}

// Kind is what is to be known of a gate beforehand.
type Kind struct {
	Name    string     // for metrics and references: lower-case words, joined by dashes
	Reason  api.Reason // that people are told while it is closed
	Binds   Points
	Meaning string // when it is closed, in a sentence, for the reference
}

// State is how a gate stands.
type State uint8

// The states. A gate that has not answered yet keeps a node from its next step, and has
// none put back. One that cannot find out how it stands must not stay
// unknown for long: it says open or closed, whatever its configuration prefers, and
// why.
const (
	Unknown State = iota
	Open
	Closed
)

// Verdict is what a gate says.
type Verdict struct {
	State State
	// Why it is closed: a sentence that stays the same while nothing changes for people.
	Why string
	// Until is when it will open by itself; zero if that is not known.
	Until time.Time
	// GiveWay names a node that could make use of the slot that this one holds in vain,
	// "" for none. It counts at the point WithSlot only.
	GiveWay string
}

// Gate is something that can say "not now".
type Gate interface {
	Kind() Kind
	// Run finds out how the gate stands, says each change by say, and returns when ctx
	// ends, or when it has nothing more to say: the last verdict stands as long as the
	// gate is asked. It is called, in a goroutine of its own, only while an operation has
	// come to a point at which the gate binds; a node that is idle asks no gate. say may
	// block for a moment.
	Run(ctx context.Context, say func(Verdict))
}

// Status is a gate and what it says.
type Status struct {
	Kind
	Verdict
}

// FirstClosed is the first of gates that is closed and binds at one of the points.
func FirstClosed(gates []Status, at Points) (Status, bool) { return first(gates, at, Closed) }

// FirstUnknown is the first of gates that has not answered yet and binds at one of the
// points.
func FirstUnknown(gates []Status, at Points) (Status, bool) { return first(gates, at, Unknown) }

func first(gates []Status, at Points, state State) (Status, bool) {
	for _, g := range gates {
		if g.Binds&at != 0 && g.State == state {
			return g, true
		}
	}
	return Status{}, false
}
