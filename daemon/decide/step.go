package decide

import (
	"errors"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

// Action is what a step wants done.
type Action string

// The actions. DoWait, DoClaim, DoStage and DoUndo last until another step says
// otherwise; the others are done once, and the facts that they change lead to the next
// step. An action that failed is asked for again, and finds its own work done.
const (
	DoWait    Action = "wait"    // nothing, until a fact changes
	DoClaim   Action = "claim"   // take a claim
	DoRelease Action = "release" // give back every claim that is held, the last one first
	DoWrite   Action = "write"   // write the record
	DoCordon  Action = "cordon"  // cordon the node and write the record, in one patch
	DoRestore Action = "restore" // put the node back and write the record, in one patch
	DoStage   Action = "stage"   // run a stage until it is done or has failed
	DoUndo    Action = "undo"    // undo a stage
	DoSpawn   Action = "spawn"   // confirm the claims, then start the reboot command
)

// Lasts says whether the action lasts until another step says otherwise.
func (a Action) Lasts() bool {
	return a == DoWait || a == DoClaim || a == DoStage || a == DoUndo
}

// Writes says whether the action is a patch of the Node.
func (a Action) Writes() bool { return a == DoWrite || a == DoCordon || a == DoRestore }

// Step is what is to be done next, and why.
type Step struct {
	Do      Action
	Reason  api.Reason
	Message string // one sentence; does not change while nothing changes for people
	Detail  string // what changes more often, for the log and systemd's status only
	// Silent says that people need not be told of this step by an Event or in the log.
	Silent bool

	Asks gate.Points // the gates that bind there are asked; the others rest

	Claim string // DoClaim: which, by its kind's name
	// LookOnly says of DoClaim that it must not be taken now: the node stands in the queue,
	// and watches what the claim itself says of a gate, such as a pause.
	LookOnly bool
	Stage    string // DoStage, DoUndo: which, by its name; DoWrite: which goes on meanwhile, if it runs
	// KeepUp says that the lasting stage goes on, whatever else is done; Limit by when,
	// on its own clock, it may use force to come to its end, 0 if it may not.
	KeepUp bool
	Limit  time.Duration

	Record       *api.Record // what DoWrite, DoCordon and DoRestore write; nil: no record
	Uncordon     bool        // DoRestore: the cordon is ours, and to be removed
	ClearRequest bool        // the annotation api.RequestAnnotation has been served
	GiveWay      string      // DoRelease: the node that the slot is left to, "" for whoever is next
	Level        api.Level   // DoSpawn: of the reboot
	Until        time.Time   // ask again at this time, if nothing has changed before; zero: no need
}

// HandsOff is the step for a record that api.ParseRecord refused: nothing on the
// node or in the cluster is touched, and people are told why.
func HandsOff(err error) Step {
	s := Step{Do: DoWait, Reason: api.ReasonRecordInvalid, Message: err.Error() + "; no action until the annotation " + api.OperationAnnotation + " is corrected or removed"}
	if errors.Is(err, api.ErrTooNew) {
		s.Reason, s.Message = api.ReasonRecordTooNew, err.Error()+"; no action until this node runs that version"
	}
	return s
}
