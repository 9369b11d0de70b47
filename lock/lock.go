// Package lock is the contract of a lock with N slots for the nodes of a cluster:
// what a backend promises (Locker), the words it is spoken to in (Claimant,
// Waiting, Holder) and its errors. It stores nothing and asks nobody. The names under
// which other programs find the lock in the cluster are in daemon/api.
//
// Package lock/lease is the backend that keeps its slots in Leases. Package
// lock/locktest checks that a backend keeps the contract. Package lock/nodelease is
// not a backend: it takes part in medik8s' lease of single nodes, and shares the
// errors.
package lock

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
)

// Locker is one node's place in the lock. A backend promises to all that use it under
// one name, whatever happens to them:
//
//   - Mutual exclusion. No more nodes than there are slots pass Fence between two
//     releases; of control-plane nodes no more than one, and only nodes of one zone.
//     While nodes disagree on the number of slots, the highest of theirs counts.
//   - No expiry. A slot stays its holder's however long that is silent, unless people
//     take it away or the holder's Node is deleted from the cluster.
//   - No surprise. A slot that was taken away is not taken back by its former holder,
//     which is told by Keep, and by Fence at the latest. Who takes such a slot may
//     begin only when nobody is at work without a slot that would be one too many.
//   - No trace. What a holder has written goes with its release, and a release that is
//     repeated, or comes late, touches nothing of another's. What remains is the releaser's
//     word for those that come after it: who is next, and when the last of them that had
//     worked on its node was done.
//   - Pauses end. A pause counts until the time that people have named for its end, and
//     of several the one that lasts longest; one whose end cannot be read, or has none, until
//     they remove it. Its end needs no request.
//   - Idempotence. Every call may be cut off at any point, by a crash, a lost request or
//     a lost answer, and repeated by the same or another process of the node.
//
// Acquire and Keep watch and wait by themselves: they retry whatever fails, with pauses
// that grow. The others return an error when they cannot tell, having changed
// nothing that a repeated call would not put right.
//
// All methods are safe for concurrent use, except that of Find, Acquire and Release
// only one may run at a time. Two processes of the same node count as one.
type Locker interface {
	// Find looks up the slot that this node holds already: after a restart, or when the
	// answer to a call was lost. It returns held false if there is none. It never takes
	// a slot that is free, and it waits for nobody.
	//
	// Of several slots it keeps the lowest and releases the others. A slot that
	// an earlier Node of this name has held is released. Unless the claimant has begun,
	// a slot that it may not use at once is released, too.
	Find(ctx context.Context, c Claimant) (slot string, held bool, err error)

	// Acquire waits until this node holds a slot, and may begin, and returns the slot's
	// name. A slot that it holds already is as good as a new one. It returns an error
	// only when ctx ends, with its cause; a slot may be held then, or, if a request was on
	// its way, be held a moment later: Find tells.
	//
	// waiting is called, from Acquire's own goroutine, whenever the sentence changes that
	// says what it waits for, or who holds the slots.
	Acquire(ctx context.Context, c Claimant, waiting func(Waiting)) (slot string, err error)

	// Keep holds on to the slot until ctx ends, when it returns nil, or until the slot is
	// not this node's any more, when it returns a LostError. That the backend cannot
	// be reached is no loss.
	//
	// paused is called, from Keep's own goroutine, with the pause that people have set, the
	// zero Pause if there is none: once at first, and whenever something has changed.
	Keep(ctx context.Context, paused func(Pause)) error

	// Fence confirms the slot, and whatever else it depends on, immediately before a step
	// that cannot be undone. Only nil permits the step. A LostError says that the
	// slot is not this node's any more, a PausedError that people have paused the lock;
	// after any other error it is not known, and the call may be repeated.
	Fence(ctx context.Context) error

	// Line is who was to come after this node, by the word of whoever released the slot to
	// it. It asks nobody; the zero Line if there is no such word.
	Line() api.Line

	// Release gives up every slot that this node holds, and whatever else it has said.
	// The first is reserved for those named in next, for about a second each. Once it has
	// returned nil this node holds nothing, and repeating it changes nothing.
	//
	// A slot of which its holder may not have made use, as it was waiting for others, is
	// released without vouching for it: the next holder looks for nodes at work.
	Release(ctx context.Context, next api.Line) error

	// ReleaseWorked is Release by a node that was worked on under the slot: whoever holds
	// the slot afterwards is told that it was so until at, by Vacated. What is not told,
	// since the backend refuses to keep it, keeps no slot from being released.
	ReleaseWorked(ctx context.Context, next api.Line, at time.Time) error

	// Vacated is until when a node was last worked on under the slot that this node holds,
	// by that node's clock and word; zero if there is no such word. Releases of nodes that
	// were not worked on do not change it; that a slot is deleted does. It asks nobody.
	Vacated() time.Time

	// Holders are those that hold slots now, in the order of the slots.
	Holders(ctx context.Context) ([]Holder, error)
}

// Claimant is what a node says of itself when it asks for a slot.
type Claimant struct {
	// UID is that of the Node. With it a slot goes when its holder's Node does, and a
	// Node that is created again under the same name is another one. "": neither.
	UID types.UID
	// Zone: the nodes that hold slots at the same time must share it. It is a label and its
	// value, "label=value", or only the label, of nodes without it. "" is no rule.
	Zone string
	// ControlPlane: of the nodes that are, only one at a time holds a slot.
	ControlPlane bool
	// Begun: the node has begun to make use of the slot that it holds. It keeps it
	// then, whatever else has changed; Fence has the last word.
	Begun bool
}

// NewerHolder stands for the node that holds a slot by a schema that this version does
// not know.
const NewerHolder = "a newer version of rebootd"

// Holder is who holds a slot.
type Holder struct {
	Slot, Node string    // Node may be NewerHolder
	Since      time.Time // by the holder's clock; zero if it has not said so
}
