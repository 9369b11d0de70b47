package decide

import (
	"fmt"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

// Stage is something that is done between the cordon and the order, and undone in
// reverse before the node is put back: an admin's hooks, the drain.
type Stage struct {
	Name    string
	Reason  api.Reason // that people are told while it runs
	Message string     // likewise; of the drain it is known
	Failed  api.Reason // that people are told when it has failed
	// Undoable says that it leaves something behind that is undone before the node is
	// put back.
	Undoable bool
	// Lasting says that what it reaches may be lost again, so that it goes on until the
	// command is spawned: pods may come. There is one such stage at the most.
	Lasting bool
	// Last says that it is run only when the gates before the order are open.
	Last bool

	Limit   time.Duration // for how long a lasting stage may run; 0: no limit
	OnLimit TimeoutPolicy
	// Blocked is the reason while something keeps the stage from coming to its end, and
	// TimedOut the one when it has come to its limit.
	Blocked, TimedOut api.Reason
}

// TimeoutPolicy says what happens to a stage that takes too long.
type TimeoutPolicy string

// The policies for a stage that takes too long.
const (
	Rollback TimeoutPolicy = "rollback" // put the node back, try again later
	Force    TimeoutPolicy = "force"    // end it by force, then reboot
	Reboot   TimeoutPolicy = "reboot"   // reboot with what is left
)

// StageState is how far a stage has come.
type StageState int

// The states of a stage.
const (
	StageNone StageState = iota // not begun in this attempt by this start of the daemon
	StageRunning
	StageDone // for a lasting stage: at present
	StageFailed
)

// Progress is what is known of a stage.
type Progress struct {
	Key     string // which attempt: [api.Record.DrainKey]
	State   StageState
	Undone  bool   // its undoing has come to its end
	Summary string // what blocks it, why it failed, or what it has done: stable and short
	Numbers string // how far it has come, for people: changes seldom
	Detail  string // how far it has come
	Blocked bool   // something keeps it from its end
	// Empty says that there is nothing to do at present, whatever the attempt: a directory
	// without a program.
	Empty bool
	// Ran is for how long it has been at work in this attempt, by its own clock and over
	// all starts of the daemon; Before how much of that was before this run of it; Starting
	// for how long it has been trying to begin.
	Ran, Before, Starting time.Duration
	DoneFor               time.Duration // since a lasting stage has been done
}

// progress is how far a stage has come in this attempt.
func progress(r *api.Record, f Facts, i int) Progress {
	switch {
	case i >= len(f.Stages):
		return Progress{}
	case f.Stages[i].Key != r.DrainKey():
		return Progress{Empty: f.Stages[i].Empty}
	}
	return f.Stages[i]
}

// over says whether a stage holds nothing up any more: it is done, it has nothing to do,
// or its time has passed. What is put before the lasting stage while that runs is for the
// next attempt.
func over(p Policy, r *api.Record, f Facts, i int) bool {
	now := progress(r, f, i)
	if now.State != StageNone {
		return now.State == StageDone
	}
	l, ok := lasting(p)
	return now.Empty || ok && i < l && progress(r, f, l).State != StageNone
}

// begun says whether any stage has begun in this attempt.
func begun(p Policy, r *api.Record, f Facts) bool {
	for i := range p.Stages {
		if progress(r, f, i).State != StageNone {
			return true
		}
	}
	return false
}

// reached is what the stages have come to: what people are told when the order follows,
// and in a word or two while it has to wait.
type reached struct {
	reason         api.Reason
	message, state string
}

// forward is the next step of a node that is cordoned and may be rebooted: the stages,
// then the order. From the lasting stage on that one goes on, whatever else is done.
func forward(p Policy, r *api.Record, f Facts) Step {
	s := stages(p, r, f)
	s.Asks = gate.WhileDraining | gate.BeforeOrder
	i, ok := lasting(p)
	if !ok || turnsBack(s) {
		return s
	}
	for earlier := range i {
		if !over(p, r, f, earlier) {
			return s
		}
	}
	k := p.Stages[i]
	if s.KeepUp = true; k.OnLimit == Force {
		s.Limit = k.Limit
	}
	return noteRan(r, k, progress(r, f, i), s)
}

// stages runs the stages in their order, and orders the reboot after the last.
func stages(p Policy, r *api.Record, f Facts) Step {
	if u, ok := failed(p, r, f); ok {
		return back(p, r, f, u)
	}
	done := reached{api.ReasonDrained, "not drained, as configured", "not drained, as configured"}
	for i, k := range p.Stages {
		now := progress(r, f, i)
		switch {
		case k.Lasting:
			s, over := lastingStage(p, r, f, k, now)
			if over == nil {
				return s
			}
			done = *over
			continue
		case over(p, r, f, i):
			continue
		case k.Last && now.State == StageNone:
			if s, ok := awaitGates(p, r, f, done.state); ok {
				return s
			}
		}
		return runOrNote(r, f, k, now)
	}
	if s, ok := awaitGates(p, r, f, done.state); ok {
		return s
	}
	return order(p, r, f, done.reason, done.message)
}

// failed is why the node is to be put back when a stage has failed, or is undone though
// that was not written down: somebody has changed the record.
func failed(p Policy, r *api.Record, f Facts) (api.Undo, bool) {
	for i, k := range p.Stages {
		switch now := progress(r, f, i); {
		case now.State == StageFailed:
			return api.Undo{Reason: k.Failed, Message: now.Summary, Failed: true}, true
		case now.Undone:
			return api.Undo{Reason: k.Failed, Message: k.Name + " was undone", Failed: true}, true
		}
	}
	return api.Undo{}, false
}

// drainWords are what people are told from the cordon on, whatever stage runs.
func drainWords(r *api.Record, f Facts) string {
	m := "cordoned by rebootd; draining"
	if !r.Cordoned {
		m = "was cordoned already and will stay cordoned; draining"
	}
	if mine := slot(f); mine.State == ClaimHeld {
		m += " under the " + mine.Title
	}
	return m
}

// run is the step that runs a stage.
func run(r *api.Record, f Facts, k Stage, now Progress) Step {
	s := Step{Do: DoStage, Stage: k.Name, Reason: k.Reason, Message: k.Message, Detail: now.Detail}
	if k.Reason == api.ReasonDraining {
		s.Message, s.More = drainWords(r, f), k.Message
	}
	return s
}

// runOrNote runs a stage. That one which has to be undone may have run is written down
// before it does: when the node was cordoned there may have been none.
func runOrNote(r *api.Record, f Facts, k Stage, now Progress) Step {
	s := run(r, f, k, now)
	if k.Undoable && !r.Hooked {
		s.Do, s.Silent, s.Record = DoWrite, true, r.Clone()
		s.Record.Hooked = true
	}
	return s
}

// awaitGates waits for the gates before the order, for as long as the drain may take,
// and has the node put back then.
func awaitGates(p Policy, r *api.Record, f Facts, state string) (Step, bool) {
	g, is := closed(f, gate.BeforeOrder)
	if !is {
		g, is := unknown(f, gate.BeforeOrder)
		return Step{Do: DoWait, Reason: g.Reason, Message: state + "; waiting for the answer of gate " + g.Name}, is
	}
	s := Step{Do: DoWait, Reason: g.Reason, Message: state + "; " + g.Why, Until: g.Until}
	limit, waited := p.OrderWait, age(r, f)
	if i, ok := lasting(p); ok {
		limit, waited = p.Stages[i].end(), progress(r, f, i).Ran
	}
	switch {
	case limit == 0:
	case waited >= limit:
		return back(p, r, f, api.Undo{Reason: g.Reason, Message: fmt.Sprintf("%s, still %s after the drain began", s.Message, limit), Failed: true}), true
	default:
		if end := f.Now.Add(limit - waited); s.Until.IsZero() || end.Before(s.Until) {
			s.Until = end
		}
	}
	return s, true
}
