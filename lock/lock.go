// Package lock is a lock with N slots for the nodes of a cluster. A slot is one
// Lease; a node holds it while the Lease's spec.holderIdentity is the node's
// name. The package knows Leases; it knows nothing of nodes' health, pods or
// reboots.
//
// A slot is taken by server-side apply with a field manager that is the node's
// own, and without force: the API server refuses the write while another manager
// owns the field. Taking is one request, with no look before it and no clock in
// it; taking again what is ours already succeeds. Giving up is an apply without
// the fields.
//
// A slot does not expire. acquireTime, renewTime and leaseDurationSeconds tell
// people and tools how things stand, and decide nothing.
//
// People may delete a Lease or clear its holder at any time. The former holder
// learns of it from Keep or Fence, and never takes the slot back on its own:
// confirming and renewing carry the UID and resourceVersion that were seen when
// the slot was last known to be held.
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

// SchemaAnnotation carries the number of the schema by which a Lease was
// written. A slot with a newer number is left alone.
const SchemaAnnotation = "rebootd.dev/schema"

const schema = 1

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
	// Duration is what leaseDurationSeconds says; a third of it lies between two
	// renewals.
	Duration time.Duration
	// DryRun has the API server answer as it would and change nothing.
	DryRun bool
	// Log is told what is worth knowing and is no error of a call; may be nil.
	Log func(format string, args ...any)
}

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
}

func (l *Lock) getHeld() *coordinationv1.Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
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
