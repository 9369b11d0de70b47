package lock

import "errors"

// ErrPaused says that people have paused the lock.
var ErrPaused = errors.New("the lock is paused")

// PausedError is ErrPaused with what they have said of the pause.
type PausedError struct{ Pause }

func (e *PausedError) Error() string { return e.String() }

// Is makes errors.Is(err, ErrPaused) true.
func (e *PausedError) Is(target error) bool { return target == ErrPaused }

// ErrLost says that what was held, a slot or the node lease, is not held any more.
var ErrLost = errors.New("the slot or lease is lost")

// LostError is ErrLost with what became of it.
type LostError struct {
	What   string // was held: "the slot rebootd-0", "the node lease"
	How    string // "was deleted", "was cleared", "is held by another node"
	Holder string // who holds it now; "" when nobody does, or How says it
}

func (e *LostError) Error() string {
	s := e.What + " " + e.How
	if e.Holder != "" {
		s += ": " + e.Holder
	}
	return s
}

// Is makes errors.Is(err, ErrLost) true.
func (e *LostError) Is(target error) bool { return target == ErrLost }
