// Package lock is a lock with N slots for the nodes of a cluster. A slot is one
// Lease; a node holds it while the Lease's spec.holderIdentity is the node's
// name. The package knows Leases; it knows nothing of nodes' health, pods or
// reboots.
//
// A slot is taken by server-side apply with a field manager that is the node's
// own, and without force: the API server refuses the write while another manager
// owns the field. Taking is one request, with no look before it and no clock in
// it; taking again what is ours already succeeds. Giving up is a patch that leaves
// nothing of what the holder has said.
//
// A slot does not expire. acquireTime, renewTime and leaseDurationSeconds tell
// people and tools how things stand, and decide nothing. Nobody writes a Lease that
// another holds. A holder whose Node has been deleted from the cluster is no
// exception: the slot that it holds names that Node as its owner, and so the
// garbage collector of the cluster deletes it.
//
// Who gives a slot up says who is next in line; the others leave it to those for a
// moment, by their own clocks, so that a handoff costs a handful of requests,
// however many wait (line.go).
//
// Zones, and control-plane nodes, which go one at a time, are companions of a slot:
// Leases whose value its holders must agree on (companion.go).
//
// People may delete a Lease or clear its holder at any time. The former holder
// learns of it from Keep or Fence, and never takes the slot back on its own:
// confirming and renewing carry the UID and resourceVersion that were seen when
// the slot was last known to be held. The next holder waits for it if it is at work
// (look.go). They may also give a slot to a node that waits, and pause the lock.
package lock

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	// SchemaAnnotation carries the number of the schema by which a Lease was
	// written. A slot with a newer number is left alone.
	SchemaAnnotation = "rebootd.dev/schema"
	// PausedAnnotation, set by people on any Lease of the lock with a reason as its
	// value, keeps every node from rebooting.
	PausedAnnotation = "rebootd.dev/paused"
	// NextAnnotation names the node for which a free slot is kept, for a moment, by
	// the one that has given it up.
	NextAnnotation = "rebootd.dev/next"
	// LineAnnotation names those that come after that one, as JSON.
	LineAnnotation = "rebootd.dev/line"
	// ReleasedByAnnotation says that a slot was given up as it should be, and by whom:
	// not made anew, and not cleared by people.
	ReleasedByAnnotation = "rebootd.dev/released-by"
	// HolderUIDAnnotation is the UID of the holder's Node: a Node that is made anew
	// under the same name is another one.
	HolderUIDAnnotation = "rebootd.dev/holder-uid"
)

const schema = 1

// DefaultDeletedGrace is about what a reboot takes that was ordered already.
const DefaultDeletedGrace = time.Minute

// API is what the lock needs of the API server.
type API interface {
	GetLease(ctx context.Context, namespace, name string) (*coordinationv1.Lease, error)
	ListLeases(ctx context.Context, namespace string, opts metav1.ListOptions) (*coordinationv1.LeaseList, error)
	WatchLeases(ctx context.Context, namespace string, opts metav1.ListOptions) (watch.Interface, error)
	ApplyLease(ctx context.Context, namespace, name string, body []byte, opts metav1.PatchOptions) (*coordinationv1.Lease, error)
	MergePatchLease(ctx context.Context, namespace, name string, body []byte) (*coordinationv1.Lease, error)
}

// Config says which lock it is and who asks for it.
type Config struct {
	API       API
	Namespace string
	Name      string // the slots are the Leases Name-0 … Name-(Slots-1)
	Slots     int
	Node      string // the holder's identity
	// DeletedGrace is how long a slot is left alone that was deleted while it was
	// held, by the clock of a waiter that has seen it: the machine of a Node that was
	// deleted by mistake may be down. 0 means DefaultDeletedGrace.
	DeletedGrace time.Duration
	// AtWork finds the nodes, other than this one, that are between cordon and release
	// under this lock by what they have written of themselves, whether they hold a slot
	// or not. nil: nodes at work hold slots.
	AtWork func(ctx context.Context) ([]string, error)
	// ZoneLimit is for how long free slots are left alone so that the zone that is open
	// becomes free for another, whose turn it is: as long as a node may hold its slot
	// that has begun. 0 means DefaultZoneLimit.
	ZoneLimit time.Duration
	// Duration is what leaseDurationSeconds says; a third of it lies between two
	// renewals.
	Duration time.Duration
	// DryRun has the API server answer as it would and change nothing.
	DryRun bool
	// Log is told what is worth knowing and is no error of a call; may be nil.
	Log func(format string, args ...any)
}

// Ask is what a node says of itself when it asks for a slot.
type Ask struct {
	// UID is that of the Node. With it a slot goes when its holder's Node does.
	UID types.UID
	// Zone: the nodes that hold slots at the same time must share it. "" is no rule.
	Zone string
	// ControlPlane: of the nodes that are, only one at a time holds a slot.
	ControlPlane bool
	// Begun: the node has begun to make use of the slot that it holds. It keeps it
	// then, whatever else has changed; Fence has the last word.
	Begun bool
}

// ErrPaused says that people have paused the lock.
var ErrPaused = errors.New("the lock is paused")

// PausedError is ErrPaused with the reason that they have given.
type PausedError struct{ Why string }

func (e *PausedError) Error() string { return "paused: " + e.Why }

// Is makes errors.Is(err, ErrPaused) true.
func (e *PausedError) Is(target error) bool { return target == ErrPaused }

// ErrLost says that a slot that was held is not held any more.
var ErrLost = errors.New("the slot is lost")

// LostError is ErrLost with what became of the slot.
type LostError struct {
	Slot   string
	Holder string // who holds it now; "" when nobody does
	How    string // "was deleted", "was cleared", "is held by another"
}

func (e *LostError) Error() string {
	if e.Holder != "" {
		return fmt.Sprintf("the slot %s %s: %s", e.Slot, e.How, e.Holder)
	}
	return fmt.Sprintf("the slot %s %s", e.Slot, e.How)
}

// Is makes errors.Is(err, ErrLost) true.
func (e *LostError) Is(target error) bool { return target == ErrLost }

// Lock is one node's view of the lock. Its methods are safe for concurrent use;
// Acquire, Find and Release should not run at the same time.
type Lock struct {
	cfg     Config
	manager string

	mu   sync.Mutex
	held *coordinationv1.Lease // as last seen when it was ours
	ask  Ask                   // with which it was taken
	may  bool                  // the slot that is held may be made use of
}

// New makes the lock's view for one node. It sends nothing.
func New(c Config) (*Lock, error) {
	switch {
	case c.API == nil || c.Namespace == "" || c.Name == "" || c.Node == "":
		return nil, errors.New("make a lock: API, namespace, name and node must be given")
	case c.Slots < 1:
		return nil, fmt.Errorf("make a lock: %d slots, want at least 1", c.Slots)
	case c.Duration < time.Second:
		return nil, fmt.Errorf("make a lock: duration %s, want at least 1s", c.Duration)
	}
	if c.DeletedGrace == 0 {
		c.DeletedGrace = DefaultDeletedGrace
	}
	if c.ZoneLimit == 0 {
		c.ZoneLimit = DefaultZoneLimit
	}
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	return &Lock{cfg: c, manager: fieldManager(c.Node)}, nil
}

// maxManager is how long a field manager may be
// (k8s.io/apimachinery/pkg/apis/meta/v1/validation.FieldManagerMaxLength).
const maxManager = 128

// fieldManager is unique to the node: its name where that fits, else the
// beginning of the name with a hash of all of it.
func fieldManager(node string) string {
	if m := "rebootd/" + node; len(m) <= maxManager {
		return m
	}
	sum := sha256.Sum256([]byte(node))
	hash := hex.EncodeToString(sum[:16])
	const prefix = "rebootd#"
	return prefix + node[:maxManager-len(prefix)-1-len(hash)] + "#" + hash
}

func (l *Lock) slotName(i int) string { return l.cfg.Name + "-" + strconv.Itoa(i) }

// index is which slot of this lock a Lease is.
func (l *Lock) index(lease string) (int, bool) {
	digits, ok := strings.CutPrefix(lease, l.cfg.Name+"-")
	if !ok {
		return 0, false
	}
	i, err := strconv.Atoi(digits)
	if err != nil || i < 0 || strconv.Itoa(i) != digits {
		return 0, false
	}
	return i, true
}

func holderOf(lease *coordinationv1.Lease) string {
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// tooNew says whether a Lease was written by a schema that this version does not
// know.
func tooNew(lease *coordinationv1.Lease) bool {
	v := lease.Annotations[SchemaAnnotation]
	if v == "" {
		return false
	}
	n, err := strconv.Atoi(v)
	return err != nil || n > schema
}

func (l *Lock) setHeld(lease *coordinationv1.Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = lease
	l.may = l.may && lease != nil
}

// setMay says whether the slot that is held may be made use of.
func (l *Lock) setMay(may bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.may = may && l.held != nil
}

func (l *Lock) mayUse() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.may
}

func (l *Lock) getHeld() *coordinationv1.Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}

func (l *Lock) setAsk(a Ask) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ask = a
}

func (l *Lock) getAsk() Ask {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ask
}

// lost forgets the slot and says what became of it. now is nil when the Lease is
// gone.
func (l *Lock) lost(was, now *coordinationv1.Lease) *LostError {
	l.setHeld(nil)
	switch {
	case now == nil || now.UID != was.UID:
		return &LostError{Slot: was.Name, How: "was deleted"}
	case holderOf(now) == "":
		return &LostError{Slot: was.Name, How: "was cleared"}
	default:
		return &LostError{Slot: was.Name, How: "is held by another", Holder: holderOf(now)}
	}
}

// stillOurs says whether now is the Lease that we hold, unchanged in that.
func (l *Lock) stillOurs(was, now *coordinationv1.Lease) bool {
	return now != nil && now.UID == was.UID && holderOf(now) == l.cfg.Node
}

// guard is what an apply says of the object that it expects to find.
type guard struct {
	uid             types.UID
	resourceVersion string
}
