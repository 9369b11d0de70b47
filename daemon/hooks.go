package daemon

import (
	"context"
	"slices"
	"strings"

	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/hook"
	"rebootd.dev/drain"
)

// Hooks runs an admin's own programs; package daemon/hook implements it.
type Hooks interface {
	Do(ctx context.Context, stage string) ([]hook.Outcome, error)
	Undo(ctx context.Context, stages ...string) ([]hook.Outcome, error)
}

// hookDirs are the stages by the names of their directories.
var hookDirs = map[decide.Stage]string{decide.PreDrain: hook.PreDrain, decide.PreReboot: hook.PreReboot}

// keepHookTask runs the hooks that step wants, and ends those that it does not. It says
// whether none of the latter is left.
func (d *Daemon) keepHookTask(step decide.Step) (idle bool) {
	wanted := step.Do == decide.Hook && !d.DryRun
	if d.hookTask != nil {
		if wanted && d.hookStage == step.Stage && d.hooks.Key == d.record.DrainKey() {
			return true
		}
		d.hookTask.cancel()
		return false
	}
	if !wanted {
		return true
	}
	key, stage := d.record.DrainKey(), step.Stage
	if d.hooks.Key != key {
		d.hooks = decide.Hooks{Key: key}
	}
	d.hooks.Undoing = d.hooks.Undoing || stage == decide.UndoHooks
	d.hooks.Running = stage
	d.hookStage = stage
	d.hookTask = d.begin(runHooks, func(ctx context.Context) func() {
		var outcomes []hook.Outcome
		var err error
		if stage == decide.UndoHooks {
			outcomes, err = d.Hooks.Undo(ctx, hook.PreDrain, hook.PreReboot)
		} else {
			outcomes, err = d.Hooks.Do(ctx, hookDirs[stage])
		}
		cancelled := ctx.Err() != nil
		return func() {
			d.hookTask = nil
			d.seeHooks(key, stage, outcomes, err, cancelled)
		}
	})
	return true
}

// seeHooks notes what became of the hooks. What cannot be undone is said, and left.
func (d *Daemon) seeHooks(key string, stage decide.Stage, outcomes []hook.Outcome, err error, cancelled bool) {
	for _, o := range outcomes {
		line := d.Log.Info()
		if o.Error != "" {
			line = d.Log.Warn().Str("error", o.Error)
		}
		line.Str("stage", o.Stage).Str("hook", o.Name).Bool("undo", o.Undo).Float64("seconds", o.Seconds).Msg("ran a hook")
	}
	if d.record != nil {
		d.keepOutcomes(outcomes)
	}
	if d.hooks.Key != key {
		return
	}
	d.hooks.Running = decide.NoStage
	if cancelled {
		return
	}
	if err != nil && stage != decide.UndoHooks {
		d.hooks.Failed, d.hooks.Problem = stage, err.Error()
		return
	}
	d.hooks.Done = append(slices.Clone(d.hooks.Done), stage)
}

// operationOutcome is what became of a hook of an operation.
type operationOutcome struct {
	id string
	drain.HookOutcome
}

// keepOutcomes keeps what became of the current operation's hooks, as far as its report
// has room: an operation that fails is tried again for days.
func (d *Daemon) keepOutcomes(outcomes []hook.Outcome) {
	const most, longest = 32, 200 // of programs, and of what went wrong
	for _, o := range outcomes {
		if len(o.Error) > longest {
			o.Error = strings.ToValidUTF8(o.Error[:longest], "") + "…"
		}
		d.hookOutcomes = append(d.hookOutcomes, operationOutcome{d.record.ID, drain.HookOutcome(o)})
	}
	if n := len(d.hookOutcomes) - most; n > 0 {
		d.hookOutcomes = slices.Delete(d.hookOutcomes, 0, n)
	}
}

// reportHooks are the current operation's hooks as its report has them: the last ones.
func (d *Daemon) reportHooks() (out []drain.HookOutcome) {
	d.hookOutcomes = slices.DeleteFunc(d.hookOutcomes, func(o operationOutcome) bool { return o.id != d.record.ID })
	for _, o := range d.hookOutcomes {
		out = append(out, o.HookOutcome)
	}
	return out
}
