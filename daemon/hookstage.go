package daemon

import (
	"context"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/hook"
)

// HookRunner runs an admin's own programs; package daemon/hook implements it.
type HookRunner interface {
	Any(dir string) bool
	Do(ctx context.Context, dir string) ([]hook.Outcome, error)
	Undo(ctx context.Context, dirs ...string) ([]hook.Outcome, error)
}

// hookStage is a directory of hooks as a stage of an operation.
type hookStage struct {
	runner HookRunner
	is     decide.Stage
}

// PreDrainHooks makes the stage of the hooks that run before the drain.
func PreDrainHooks(r HookRunner) Stage {
	return hookStage{r, decide.Stage{
		Name: hook.PreDrain, Reason: api.ReasonDraining, Message: "running the hooks of " + hook.PreDrain, Failed: api.ReasonHookFailed, Undoable: true,
	}}
}

// PreRebootHooks makes the stage of the hooks that run when the node is drained and
// nothing speaks against its reboot.
func PreRebootHooks(r HookRunner) Stage {
	return hookStage{r, decide.Stage{
		Name: hook.PreReboot, Reason: api.ReasonDrained, Message: "running the hooks of " + hook.PreReboot, Failed: api.ReasonHookFailed, Undoable: true, Last: true,
	}}
}

// Kind is what is to be known of the stage.
func (s hookStage) Kind() decide.Stage { return s.is }

// Empty says that there is no program in the directory.
func (s hookStage) Empty() bool { return !s.runner.Any(s.is.Name) }

// Do runs the hooks up to the first that fails.
func (s hookStage) Do(ctx context.Context) ([]api.HookOutcome, error) {
	out, err := s.runner.Do(ctx, s.is.Name)
	return outcomesOf(out), err
}

// Undo undoes all hooks of the stage.
func (s hookStage) Undo(ctx context.Context) ([]api.HookOutcome, error) {
	out, err := s.runner.Undo(ctx, s.is.Name)
	return outcomesOf(out), err
}

func outcomesOf(all []hook.Outcome) (out []api.HookOutcome) {
	for _, o := range all {
		out = append(out, api.HookOutcome(o))
	}
	return out
}
