package decide

import (
	"reflect"
	"slices"
	"time"

	"rebootd.dev/daemon/api"
)

// reached says whether the stages before the lasting one are done, so that it runs.
func (s situation) reached() bool {
	for i, k := range s.p.Stages {
		if k.Lasting {
			return true
		}
		if !s.over(i) {
			return false
		}
	}
	return false
}

// undoable says whether there is such a stage, with something to do.
func (s situation) undoable(name string, now Progress) bool {
	return slices.ContainsFunc(s.p.Stages, func(k Stage) bool { return k.Name == name && k.Undoable && !now.Empty })
}

// over says whether a stage is done, or left out: there was nothing to do when it was due.
func (s situation) over(i int) bool {
	_, drained, lasts := s.lasting()
	now := s.stage(i)
	late := lasts && s.p.Stages[i].Name == "pre-drain" && drained.State != StageNone
	return now.State == StageDone || now.State == StageNone && (s.f.Stages[i].Empty || late)
}

var stageInvariants = []invariant{
	{"stages are run in their order", func(s situation, step Step) bool {
		if step.Do != DoStage {
			return true
		}
		for i, k := range s.p.Stages {
			switch {
			case k.Name == step.Stage:
				return !s.over(i)
			case !s.over(i) && !(k.Lasting && (s.late() || s.last.Key == s.drainKey && s.last.State == StageRunning)):
				return false
			}
		}
		return false
	}},
	{"a stage that has failed has the node put back", func(s situation, step Step) bool {
		if !s.in(api.PhaseDraining) || !s.ongoing() || s.refused() || s.leftAlone(step) || step.Do == DoWait || step.Do == DoClaim {
			return true
		}
		failed := slices.ContainsFunc(s.f.Stages, func(now Progress) bool { return now.Key == s.drainKey && now.State == StageFailed })
		return !failed || s.returns(step) || s.notes(step)
	}},
	{"that stages are undone is on record before the first of them is", func(s situation, step Step) bool {
		return step.Do != DoUndo || s.undoing()
	}},
	{"stages are undone in reverse, all that may have left something, before the node is put back without a reboot", func(s situation, step Step) bool {
		if step.Do != DoUndo && step.Do != DoRestore || s.rebooted() || !s.r.Hooked {
			return step.Do != DoUndo
		}
		for i, k := range slices.Backward(s.p.Stages) {
			if step.Do == DoUndo && step.Stage == k.Name {
				return k.Undoable && !s.stage(i).Undone
			}
			if k.Undoable && !s.stage(i).Undone {
				return false
			}
		}
		return step.Do == DoRestore
	}},
	{"once undoing is on record nothing leads to the reboot", func(s situation, step Step) bool {
		if !s.undoing() || s.rebooted() || s.softRebooted() && s.r.Level == api.SoftReboot {
			return true
		}
		if step.Do == DoWrite {
			return step.Record != nil && reflect.DeepEqual(step.Record.Undo, s.r.Undo) && step.Record.Phase == s.phase() && !s.newOrder(step)
		}
		return !s.advances(step) && step.Do != DoClaim && !step.KeepUp
	}},
	{"what was undone, though nothing on record says so, leads to no reboot", func(s situation, step Step) bool {
		undone := s.in(api.PhaseDraining) && slices.ContainsFunc(s.f.Stages, func(now Progress) bool { return now.Key == s.drainKey && now.Undone })
		return !undone || !s.newOrder(step) && step.Do != DoStage
	}},
	{"whether stages may leave something behind is on record with the cordon", func(s situation, step Step) bool {
		return step.Do != DoCordon || step.Record.Hooked == (s.undoable("pre-drain", s.hooks) || s.undoable("pre-reboot", s.last))
	}},
	{"a stage that leaves something behind is run only when the record says so", func(s situation, step Step) bool {
		return step.Do != DoStage || s.r.Hooked || step.Stage == drain.Name
	}},
	{"a stage with nothing to do is not begun", func(s situation, step Step) bool {
		empty := step.Stage == "pre-drain" && s.hooks.Empty || step.Stage == "pre-reboot" && s.last.Empty
		return step.Do != DoStage || !empty || s.last.State == StageRunning || s.hooks.State == StageRunning
	}},
	{"the lasting stage goes on until the command is spawned, whatever the order waits for", func(s situation, step Step) bool {
		if !s.ongoing() || !s.reached() || s.undoing() || s.softRebooted() {
			return true
		}
		goes := step.Do == DoStage || step.Do == DoSpawn || s.newOrder(step) && s.in(api.PhaseDraining)
		return !goes || step.KeepUp
	}},
	{"the lasting stage goes on only while nobody minds", func(s situation, step Step) bool {
		_, _, there := s.lasting()
		return !step.KeepUp || there && s.ongoing() && !s.returns(step) && !s.undoing() && !s.r.Soft
	}},
	{"what is left is ended by force only by that policy, and only after the time limit by the stage's own clock", func(s situation, step Step) bool {
		k, _, _ := s.lasting()
		return step.Limit == 0 || k.OnLimit == Force && step.Limit == k.Limit && step.KeepUp && s.in(api.PhaseDraining)
	}},
	{"a node that is not drained is rebooted only after the drain has run for its time, by its own clock", func(s situation, step Step) bool {
		_, now, there := s.lasting()
		if !there || now.State == StageDone || s.late() {
			return true
		}
		return step.Do != DoSpawn && (!s.newOrder(step) || s.ordered() || s.in(api.PhaseRebooting))
	}},
	{"a drain that cannot begin for its time has the node put back, whatever the policy", func(s situation, step Step) bool {
		k, now, there := s.lasting()
		stuck := there && k.Limit > 0 && now.Starting >= k.Limit && now.State == StageRunning && s.in(api.PhaseDraining) && s.ongoing() && s.reached()
		other := s.last.Key == s.drainKey && s.last.State == StageRunning
		return !stuck || s.leftAlone(step) || other || !s.advances(step) && !(step.Do == DoWait && step.KeepUp)
	}},
	{"for how long the drain has run is on record, to the minute", func(s situation, step Step) bool {
		k, now, there := s.lasting()
		if !there || k.Limit == 0 || !s.in(api.PhaseDraining) || !step.KeepUp || s.refused() {
			return true
		}
		noted := time.Duration(0)
		if was := s.r.DrainRan; was != nil && was.Since.Equal(s.r.DrainBegan()) {
			noted = time.Duration(was.Seconds) * time.Second
		}
		return now.Ran-noted < time.Minute || step.Do.Writes()
	}},
	{"a lasting stage that has come to its limit under the policy rollback has the node put back", func(s situation, step Step) bool {
		k, now, there := s.lasting()
		over := there && k.Limit > 0 && k.OnLimit == Rollback && now.Ran >= k.Limit && now.State == StageRunning && s.in(api.PhaseDraining) && s.reached()
		return !over || !step.Do.Lasts() || !step.KeepUp || step.Stage == preReboot.Name
	}},
	{"a stage that runs goes on while something is written beside it", func(s situation, step Step) bool {
		if step.Do != DoWrite || !s.in(api.PhaseDraining) || step.Record == nil || step.Record.Phase != api.PhaseDraining || s.returns(step) {
			return true
		}
		after := s
		after.r = step.Record
		then := after.ready().step()
		return then.Do != DoStage || then.Stage == step.Stage
	}},
	{"nobody is told of a step that only notes the time", func(s situation, step Step) bool {
		notes := step.Do == DoWrite && step.Record != nil && s.r != nil && s.in(api.PhaseDraining) && step.Record.Phase == api.PhaseDraining && !reflect.DeepEqual(step.Record.DrainRan, s.r.DrainRan)
		return !notes || step.Silent
	}},
}
