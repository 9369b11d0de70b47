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
	// OnTurn: as WithSlot, once all that bind there are open: the last look before the
	// cordon, at what concerns this node alone. The node gives its slot up to whoever is
	// next, leaves the queue, and comes back after a pause that doubles from a minute to half
	// an hour.
	OnTurn
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

// Names of gates of which a metric of their own tells.
const (
	Window = "window"
	Freeze = "freeze"
)

// All is every point.
const All = BeforeQueue | InQueue | WithSlot | OnTurn | WhileDraining | BeforeOrder | BeforeUncordon

// effects are what a closed gate has the node do, in the words of the reference.
var effects = []struct {
	at   Points
	does string
}{
	{BeforeQueue, "waits before the queue"},
	{InQueue, "waits in the queue without a slot"},
	{WithSlot, "waits with its slot, before the cordon"},
	{OnTurn, "gives its slot up, before the cordon, and comes back after a pause"},
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
	// Opens is what people are told when the gate says what has opened it; "" for a gate that
	// never does.
	Opens api.Reason
	// Soft says that it does not count any more once the deadline of the reboot has passed,
	// until the machine has been rebooted.
	Soft bool
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
	// Until is when it will open by itself, of which people are told; zero if that is not
	// known. Each change of it is told, too.
	Until time.Time
	// Again is when to ask again though nothing has changed, of which nobody is told.
	Again time.Time
	// At are those of the gate's points at which it is closed; 0: at all of them.
	At Points
	// Note is what people are told besides while the node waits, also by a gate that is
	// open: a sentence that stays the same while nothing changes for them.
	Note string
	// Opened says of a gate that is open what has opened it: people are told that once for an
	// operation, by an Event and in the log.
	Opened string
	// GiveWay names a node that could make use of the slot that this one holds in vain,
	// "" for none. It counts at the point WithSlot only.
	GiveWay string
}

// Gate is something that can say "not now". It is a [Looker] or an [Asker].
type Gate interface {
	Kind() Kind
}

// Looker is a gate whose standing follows from what the daemon knows anyway: it asks
// nobody, reads no clock, and so costs nothing while a node waits.
type Looker interface {
	Gate
	// Look says how the gate stands. The same view gives the same verdict.
	Look(v View) Verdict
}

// Reader is a gate that goes by annotations of the Node.
type Reader interface {
	Gate
	// Invalid says what is wrong with them, "" for nothing, for people who have set them
	// before a reboot is requested. The same Node gives the same sentence.
	Invalid(n Node) string
}

// Timed is a gate that goes by times that people have named.
type Timed interface {
	Gate
	// Times are those that count for the node, in the words of the settings or of its
	// annotations.
	Times(n Node) []string
}

// Asker is a gate that has to ask somebody.
type Asker interface {
	Gate
	// Run finds out how the gate stands, says each change by say, and returns when ctx
	// ends, or when it has nothing more to say: the last verdict stands as long as the
	// gate is asked. v is what is known when it begins. It is called, in a goroutine of its
	// own, only while an operation has come to a point at which the gate binds; a node that
	// is idle asks no gate. say may block for a moment.
	Run(ctx context.Context, v View, say func(Verdict))
}

// Keyed is an [Asker] whose answer depends on what it was given. When its key changes it
// is asked anew; until it has answered, what it said before does not count.
type Keyed interface {
	Asker
	Key(v View) string
}

// View is what a gate may know of the node and of its operation. Whoever is given one
// changes nothing of it.
type View struct {
	Now    time.Time     // by the machine's clock as it is set at present
	Uptime time.Duration // of the machine
	BootID string        // of the boot that runs
	Node   Node
	// Record is that of the operation; nil when a reboot is requested and nothing is on
	// record yet, or nothing is requested.
	Record *api.Record
	Past   *api.Past // of the node; nil: nothing is known of it
	// Booted is when the machine booted, by the kernel's account and the clock as it was set
	// when that was read.
	Booted time.Time
	// HasSlot says that the node holds a slot.
	HasSlot bool
	// OnTurn says that it does, and that no gate that binds before its turn is closed or has
	// yet to answer.
	OnTurn bool
	// Vacated is until when a node was last worked on under the slot that this one holds: by
	// that node's clock, and not later than this one's when it was seen. Zero: not known.
	Vacated time.Time
	// Trial is the patch of the Node that would cordon it for the operation. It is there
	// for an [Asker] only.
	Trial []byte
}

// Node is what a gate may know of the Node.
type Node struct {
	Name, UID           string
	BootID              string // of the boot that the kubelet has reported
	Labels, Annotations map[string]string
	// SetBy is who has set those of the annotations that somebody asks about, by the API
	// server's account: a field manager.
	SetBy      map[string]Setter
	Conditions []Condition
	Addresses  []string // host name and IP addresses
	// Unschedulable says that it is cordoned, by whomever.
	Unschedulable bool
}

// Setter is who has set something.
type Setter struct {
	Manager string    // the field manager
	At      time.Time // when it last changed something of the Node
}

// Condition is a condition of the Node.
type Condition struct {
	Type, Status, Reason, Message string
	Since                         time.Time // when it last changed its status
}

// Status is a gate and what it says.
type Status struct {
	Kind
	Verdict
}

// FirstClosed is the first of gates that is closed and binds at one of the points.
func FirstClosed(gates []Status, at Points) (Status, bool) { return first(gates, at, Closed) }

// AllClosed are those of gates that are closed and bind at one of the points.
func AllClosed(gates []Status, at Points) (out []Status) {
	for _, g := range gates {
		if g.stands(Closed, at) {
			out = append(out, g)
		}
	}
	return out
}

// FirstUnknown is the first of gates that has not answered yet and binds at one of the
// points.
func FirstUnknown(gates []Status, at Points) (Status, bool) { return first(gates, at, Unknown) }

func first(gates []Status, at Points, state State) (Status, bool) {
	for _, g := range gates {
		if g.stands(state, at) {
			return g, true
		}
	}
	return Status{}, false
}

// stands says whether the gate stands so at one of the points.
func (s Status) stands(state State, at Points) bool {
	binds := s.Binds
	if s.At != 0 && s.State == Closed {
		binds &= s.At
	}
	return s.State == state && binds&at != 0
}
