// Package locktest checks that a backend of the lock keeps the contract of
// lock.Locker. Run is the suite: one subtest for each promise, in words. It knows
// nothing of how a backend stores its slots; a backend brings a World for that.
//
// The same suite judges the backend in front of an API server that is a fake, where
// time is fake, too, and hours cost nothing, and in front of a real one.
package locktest

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/lock"
)

// Backend is what is to be checked.
type Backend struct {
	// New makes a lock that nobody has used yet, and a cluster without nodes. What it
	// needs ends with t.
	New func(t testing.TB) World
	// FakeTime runs each test in a bubble of testing/synctest: then New must start no
	// goroutine that waits for anything outside of it.
	FakeTime bool
}

// Node is a node of the cluster.
type Node struct {
	Name string // by which the lock knows it
	UID  types.UID
}

// Process is one run of a node's daemon.
type Process struct {
	Node  Node
	Slots int // as it is configured
	// DeletedGrace is for how long it leaves a slot alone that was deleted while it was held.
	DeletedGrace time.Duration
	// ZoneLimit is for how long it leaves free slots alone for the turn of another zone.
	ZoneLimit time.Duration
	// Link is what all that it asks for must pass through.
	Link *Link
}

// World is what there is besides the daemons: what the backend has stored, the people
// who may change it, the nodes. What cannot be done fails the test. All methods are
// safe for concurrent use.
type World interface {
	// Start starts a process.
	Start(p Process) lock.Locker

	// Held is who holds which slot by what is stored, by the slots' names.
	Held() map[string]string
	// Traces are what is stored of a node besides that, in words: there are none of one that
	// has released its slot.
	Traces(node string) []string

	// Delete, Clear and Give are what people do to slots: they delete one, clear its
	// holder, or write another node's name into it.
	Delete(slot string)
	Clear(slot string)
	Give(slot, node string)
	// ForgetZone deletes what is stored of the zone that is open.
	ForgetZone()
	// Pause pauses the lock with a reason; "" ends the pause.
	Pause(why string)
	// PauseUntil pauses the lock with a reason and what people have written for its end: on
	// what is there for a pause, or, if that is not "", on a slot.
	PauseUntil(slot, why, until string)

	// AddNode makes a node of the cluster. A name that was deleted makes another node.
	AddNode(name string) Node
	// DeleteNode deletes a node from the cluster. What it has held goes with it, a moment
	// later.
	DeleteNode(n Node)
	// SetAtWork says which nodes are at work, as the lock is to find them, by their own
	// word: they write it before they begin, and remove it before they release.
	SetAtWork(nodes []string)
}
