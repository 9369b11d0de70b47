// Package lease keeps the slots of a lock (package lock) in Leases. A slot is one
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
// Zones, and control-plane nodes, which go one at a time, are constraints of a slot:
// Leases whose value its holders must agree on (constraint.go).
//
// People may delete a Lease or clear its holder at any time. The former holder
// learns of it from Keep or Fence, and never takes the slot back on its own:
// confirming and renewing carry the UID and resourceVersion that were seen when
// the slot was last known to be held. The next holder waits for it if it is at work
// (look.go). They may also give a slot to a node that waits, and pause the lock by
// an annotation of any of its Leases; one is there for nothing else (pause.go).
package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
	"rebootd.dev/lock"
)

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
	// Now is the machine's clock; nil means time.Now. ClockSkew is by how much it is ahead of
	// the API server's, as far as that is known; nil: it is not. They must not block, and
	// nothing but the end of a pause is compared with them.
	Now       func() time.Time
	ClockSkew func() time.Duration
	// Duration is what leaseDurationSeconds says; a third of it lies between two
	// renewals.
	Duration time.Duration
	// DryRun has the API server answer as it would and change nothing.
	DryRun bool
	// Log is told what is worth knowing and is no error of a call; may be nil.
	Log func(format string, args ...any)
}

var _ lock.Locker = (*Lock)(nil)

// Lock is one node's place in the lock; it keeps the contract of lock.Locker, which
// says what its methods promise.
type Lock struct {
	cfg     Config
	manager string

	saidPause sync.Once // that the Lease for a pause cannot be made

	mu   sync.Mutex
	held *coordinationv1.Lease // as last seen when it was ours
	as   lock.Claimant         // as which it was taken
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
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	return &Lock{cfg: c, manager: api.LeaseFieldManager(c.Node)}, nil
}

func (l *Lock) slotName(i int) string { return api.SlotName(l.cfg.Name, i) }

// index is which slot of this lock a Lease is.
func (l *Lock) index(lease string) (int, bool) { return api.SlotIndex(l.cfg.Name, lease) }

func holderOf(lease *coordinationv1.Lease) string {
	if lease.Spec.HolderIdentity == nil {
		return ""
	}
	return *lease.Spec.HolderIdentity
}

// tooNew says whether a Lease was written by a schema that this version does not
// know.
func tooNew(lease *coordinationv1.Lease) bool { return api.LeaseTooNew(lease.Annotations) }

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

func (l *Lock) setClaimant(c lock.Claimant) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.as = c
}

func (l *Lock) claimant() lock.Claimant {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.as
}

// lost forgets the slot and says what became of it. now is nil when the Lease is
// gone.
func (l *Lock) lost(was, now *coordinationv1.Lease) *lock.LostError {
	l.setHeld(nil)
	e := &lock.LostError{What: "the slot " + was.Name}
	switch {
	case now == nil || now.UID != was.UID:
		e.How = "was deleted"
	case holderOf(now) == "":
		e.How = "was cleared"
	default:
		e.How, e.Holder = "is held by another node", printable.Line(holderOf(now), maxReason)
	}
	return e
}

// notHeld is the error of a call that needs a slot and finds none.
func (l *Lock) notHeld() *lock.LostError {
	return &lock.LostError{What: "a slot of " + l.cfg.Name, How: "is not held"}
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
