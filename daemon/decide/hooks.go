package decide

// Stage is when hooks run: an admin's own programs, for what Kubernetes does not know
// of. Those that run after the boot are among the checks of the node's health.
type Stage string

// The stages.
const (
	NoStage   Stage = ""
	PreDrain  Stage = "pre-drain"
	PreReboot Stage = "pre-reboot"
	UndoHooks Stage = "undo" // what those two have done
)

// Hooks are what became of the hooks of one drain, and of their undoing.
type Hooks struct {
	Key     string // which drain: [Record.DrainKey]
	Done    []Stage
	Failed  Stage  // that has
	Problem string // and why
	Running Stage  // that has begun and not ended
	Undoing bool   // they are being undone, or have been: there is no way on but back
}

func (h Hooks) done(r *Record, stage Stage) bool {
	if h.Key != r.DrainKey() {
		return false
	}
	for _, s := range h.Done {
		if s == stage {
			return true
		}
	}
	return false
}

// hooksFirst has the hooks of a stage run before anything else, and puts the node back
// if one fails.
func hooksFirst(p Policy, r *Record, f Facts, stage Stage, reason Reason) (Step, bool) {
	switch {
	case !r.Hooked || !p.Hooks: // there may be none any more
		return Step{}, false
	case f.Hooks.Key == r.DrainKey() && (f.Hooks.Failed != NoStage || f.Hooks.Undoing):
		return hooksUndone(r, f), true
	case f.Hooks.done(r, stage):
		return Step{}, false
	}
	return runHooks(stage, reason), true
}

func runHooks(stage Stage, reason Reason) Step {
	return Step{Do: Hook, Stage: stage, Reason: reason, Message: "runs the hooks of " + string(stage) + ".d"}
}

// hooksUndone puts the node back because a hook has failed, or because hooks have been
// undone for another reason, which may have gone meanwhile.
func hooksUndone(r *Record, f Facts) Step {
	if f.Hooks.Failed != NoStage {
		return putBack(r, f, HookFailed, f.Hooks.Problem)
	}
	return putBack(r, f, HookFailed, "the hooks were undone")
}

// undoHooksFirst has hooks undone before a node is put back that has not been rebooted.
func undoHooksFirst(p Policy, r *Record, f Facts, restore Step) Step {
	if !r.Hooked || !p.Hooks || anew(r, f) || f.Hooks.done(r, UndoHooks) {
		return restore
	}
	return Step{Do: Hook, Stage: UndoHooks, Reason: restore.Reason, Message: restore.Message, Detail: "undoes the hooks first"}
}
