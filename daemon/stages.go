package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/printable"
)

// stageWorkers runs the stages.
type stageWorkers struct {
	stages   []stageRunner
	drain    *drainWorker // nil: there is none
	outcomes *outcomes
}

// stageRunner is the worker of one stage.
type stageRunner interface {
	worker
	kind() decide.Stage
}

func newStageWorkers(c Config, bg *background, k clock) (*stageWorkers, error) {
	w := &stageWorkers{outcomes: &outcomes{log: c.Log}}
	var names []string
	for _, s := range c.Stages {
		kind := s.Kind()
		if slices.Contains(names, kind.Name) {
			return nil, fmt.Errorf("the stage %q is registered twice", kind.Name)
		}
		names = append(names, kind.Name)
		d, drains := s.(*drainStage)
		switch {
		case kind.Lasting != drains || drains && w.drain != nil:
			return nil, errors.New("only the drain may be a lasting stage, and only once")
		case drains:
			w.drain = newDrainWorker(c, bg, k, d)
			w.stages = append(w.stages, w.drain)
		default:
			w.stages = append(w.stages, &stageWorker{bg: bg, stage: s, is: kind, outcomes: w.outcomes})
		}
	}
	return w, nil
}

func (w *stageWorkers) kinds() (out []decide.Stage) {
	for _, s := range w.stages {
		out = append(out, s.kind())
	}
	return out
}

func (w *stageWorkers) follow(s decided) bool {
	idle := true
	for _, stage := range w.stages {
		idle = stage.follow(s) && idle
	}
	w.outcomes.forget(s.record)
	return idle
}

func (w *stageWorkers) facts(f *decide.Facts) {
	for _, stage := range w.stages {
		stage.facts(f)
	}
}

// runs says whether a stage is being done, or undone, that would have to begin again.
func (w *stageWorkers) runs() bool {
	return slices.ContainsFunc(w.stages, func(r stageRunner) bool {
		s, is := r.(*stageWorker)
		return is && s.task != nil
	})
}

// follows takes over what is known of stages of the same names.
func (w *stageWorkers) follows(before *stageWorkers) {
	w.outcomes.id, w.outcomes.kept = before.outcomes.id, before.outcomes.kept
	for _, r := range w.stages {
		for _, b := range before.stages {
			is, ok := r.(*stageWorker)
			was, had := b.(*stageWorker)
			if ok && had && is.is.Name == was.is.Name {
				is.progress = was.progress
			}
		}
	}
	if w.drain != nil && before.drain != nil {
		w.drain.follows(before.drain)
	}
}

// show brings what people are told of the drain up to date, and returns when it next
// may be.
func (w *stageWorkers) show(now time.Time) time.Time {
	if w.drain == nil {
		return now.Add(heartbeat)
	}
	return w.drain.show(now)
}

// stageWorker runs one stage that comes to an end.
type stageWorker struct {
	bg       *background
	stage    Stage
	is       decide.Stage
	outcomes *outcomes

	progress decide.Progress
	task     *task
	undoing  bool // what task does
}

func (w *stageWorker) kind() decide.Stage { return w.is }

func (w *stageWorker) follow(s decided) bool {
	named := s.step.Stage == w.is.Name
	do, undo := named && s.step.Do == decide.DoStage, named && s.step.Do == decide.DoUndo
	if w.task != nil {
		goesOn := do && !w.undoing || undo && w.undoing || named && s.step.Do == decide.DoWrite
		if goesOn && w.progress.Key == s.record.DrainKey() {
			return true
		}
		w.task.cancel()
		return false
	}
	if !do && !undo {
		return true
	}
	if key := s.record.DrainKey(); w.progress.Key != key {
		w.progress = decide.Progress{Key: key}
	}
	if w.undoing = undo; !undo {
		w.progress.State = decide.StageRunning
	}
	id := s.record.ID
	w.task = start(w.bg, stageCall{w.stage, undo}.run, func(struct{}) {}, func(r stageResult, cancelled bool) { w.ended(id, r, cancelled) })
	return true
}

// ended notes what became of the stage. What cannot be undone is said, and left.
func (w *stageWorker) ended(id string, r stageResult, cancelled bool) {
	w.task = nil
	w.outcomes.add(id, r.outcomes)
	switch {
	case w.undoing:
		w.progress.Undone = !cancelled
	case cancelled:
		w.progress.State = decide.StageNone
	case r.err != nil:
		w.progress.State, w.progress.Summary = decide.StageFailed, r.err.Error()
	default:
		w.progress.State = decide.StageDone
	}
}

func (w *stageWorker) facts(f *decide.Facts) {
	p := w.progress
	p.Empty = w.stage.Empty()
	f.Stages = append(f.Stages, p)
}

// stageCall does or undoes a stage, in the background.
type stageCall struct {
	stage Stage
	undo  bool
}

type stageResult struct {
	outcomes []api.HookOutcome
	err      error
}

func (c stageCall) run(ctx context.Context, _ func(struct{})) stageResult {
	work := c.stage.Do
	if c.undo {
		work = c.stage.Undo
	}
	out, err := work(ctx)
	return stageResult{out, err}
}

const (
	maxHooks     = 32  // programs of which a report tells
	maxHookError = 200 // bytes of what went wrong
)

// hooks are the outcomes of an operation's hooks, as this start of the daemon knows them.
func (w *stageWorkers) hooks(r *api.Record) []api.HookOutcome {
	if r == nil {
		return nil
	}
	return w.outcomes.of(r.ID)
}

// outcomes keeps what became of the parts of the current operation's stages, as far as
// its report has room: an operation that fails is tried again for days.
type outcomes struct {
	log  zerolog.Logger
	id   string // of the operation
	kept []api.HookOutcome
}

func (o *outcomes) add(id string, all []api.HookOutcome) {
	if id != o.id {
		o.id, o.kept = id, nil
	}
	for _, x := range all {
		line := o.log.Info()
		if x.Error != "" {
			line = o.log.Warn().Str("error", printable.Line(x.Error, maxMessage))
		}
		line.Str("stage", x.Stage).Str("hook", x.Name).Bool("undo", x.Undo).Float64("seconds", x.Seconds).Msg("ran a hook")
		x.Error = printable.Line(x.Error, maxHookError)
		o.kept = append(o.kept, x)
	}
	if n := len(o.kept) - maxHooks; n > 0 {
		o.kept = slices.Delete(o.kept, 0, n)
	}
}

// forget drops what is of another operation.
func (o *outcomes) forget(r *api.Record) {
	if r == nil || r.ID != o.id {
		o.id, o.kept = "", nil
	}
}

// of are the outcomes of an operation, the last ones.
func (o *outcomes) of(id string) []api.HookOutcome {
	if id != o.id {
		return nil
	}
	return slices.Clone(o.kept)
}

// drainKey tells which drain was begun last; "" if none was.
func (w *stageWorkers) drainKey() string {
	if w.drain == nil {
		return ""
	}
	return w.drain.key
}
