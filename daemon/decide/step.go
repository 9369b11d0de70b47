package decide

import (
	"errors"
	"time"
)

// Action is what a step wants done.
type Action string

// The actions. Wait, Acquire, Drain, Count and Hook go on until another step says otherwise;
// the others are done once, and the facts that they change lead to the next
// step. An action that failed is asked for again, and finds its own work done.
const (
	Wait    Action = "wait"    // nothing, until a fact changes
	Write   Action = "write"   // write the record
	Cordon  Action = "cordon"  // cordon the node and write the record, in one patch
	Restore Action = "restore" // put the node back and write the record, in one patch
	Acquire Action = "acquire" // stand in the queue for a slot
	Take    Action = "take"    // take the node lease
	Look    Action = "look"    // look who has the node lease
	Release Action = "release" // give up the slot and the node lease
	Evict   Action = "drain"   // drain the node
	Count   Action = "count"   // watch whether the limit of unavailable nodes leaves room
	Spawn   Action = "spawn"   // make sure of the slot, then start the reboot command
	Hook    Action = "hook"    // run the hooks of a stage until they are done, or one fails
)

// Step is what is to be done next, and why.
type Step struct {
	Do      Action
	Reason  Reason
	Message string // one sentence; does not change while nothing changes for people
	Detail  string // what changes more often, for the log and systemd's status only

	Record       *Record   // what Write, Cordon and Restore write; nil: no record
	Uncordon     bool      // Restore: the cordon is ours, and to be removed
	ClearRequest bool      // the annotation rebootd.dev/request has been served
	Draining     bool      // the drain goes on, whatever else is done
	Deadline     time.Time // of the drain: by then every pod has ended, by force; zero: none is used
	Level        Level     // Spawn: of the reboot
	Stage        Stage     // Hook: which
	Until        time.Time // ask again at this time, if nothing has changed before; zero: no need
}

// HandsOff is the step for a record that ParseRecord refused: nothing on the
// node or in the cluster is touched, and people are told why.
func HandsOff(err error) Step {
	s := Step{Do: Wait, Reason: RecordInvalid, Message: err.Error() + "; hands off until the annotation rebootd.dev/operation is mended or removed"}
	if errors.Is(err, ErrTooNew) {
		s.Reason, s.Message = RecordTooNew, err.Error()+"; hands off until this node runs that version"
	}
	return s
}
