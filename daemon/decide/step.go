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
	DoRecall  Action = "recall"  // cancel the reboot that the machine has scheduled
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
	// More is what people are told besides by the Node's condition and systemd's status, and
	// what makes no Event when it changes: numbers, what other nodes do. It changes seldom,
	// since each change is a write of the Node.
	More   string
	Detail string // what changes more often, for the log and systemd's status only
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
	Served       *api.Served // what api.ServedAnnotation is to say, in the same patch; nil: leave it as it is
	// Summary is what the operation has come to that ends with this step, for
	// [api.HistoryAnnotation], but for what became of its pods; nil: none ends.
	Summary    *api.Summary
	ClearAbort bool      // what the annotation api.AbortAnnotation asks for is done with this step, or comes too late
	GiveWay    string    // DoRelease: the node that the slot is left to, "" for whoever is next
	Level      api.Level // DoSpawn: of the reboot
	Until      time.Time // ask again at this time, if nothing has changed before; zero: no need
}

// HandsOff is the step for a record that api.ParseRecord refused: nothing on the
// node or in the cluster is touched, and people are told why.
func HandsOff(err error) Step {
	s := Step{Do: DoWait, Reason: api.ReasonRecordInvalid, Message: err.Error() + "; no action until the annotation " + api.AbortAnnotation + " is set, which removes the record"}
	if errors.Is(err, api.ErrTooNew) {
		s.Reason, s.Message = api.ReasonRecordTooNew, err.Error()+"; no action until this node runs that version, or the annotation "+api.AbortAnnotation+" is set, which removes the record"
	}
	return s
}

// Ends says whether a step brings an operation, or an attempt of it, to an end when it is
// done: r is the record from before. The step's reason is the result.
func (s Step) Ends(r *api.Record) bool {
	if r == nil || !s.Do.Writes() {
		return false
	}
	halts := s.Record != nil && s.Record.Phase == api.PhaseHalted && r.Phase != api.PhaseHalted
	return s.Record == nil || s.Do == DoRestore || halts
}
