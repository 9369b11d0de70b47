package daemon

import (
	"context"
	"sync"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
)

// worker keeps one part of what the daemon knows, and what goes on in the background
// for it. Its fields are its own: they are touched only by its methods and by the
// functions that it hands to start to be called on the loop's goroutine. What it has
// done in the background is a method of a type that cannot reach these fields, and
// brings its findings back as values.
type worker interface {
	// follow starts what a decision calls for and ends what it does not. It says whether
	// nothing of the latter is left, so that a step may begin.
	follow(decided) (idle bool)
	// facts adds what the worker knows.
	facts(f *decide.Facts)
}

// decided is a decision, with what it was made from.
type decided struct {
	record *api.Record // nil: none
	obeyed bool        // the record, if there is one, can be obeyed
	node   *nodeView   // nil: there is no Node, or it is not known
	step   decide.Step
	now    time.Time
}

func (s decided) phase() api.Phase { return phaseOf(s.record) }

// operationOf is the ID of the operation that goes on, begins or ends; "idle" if there is none.
func operationOf(s decided) string {
	for _, r := range []*api.Record{s.record, s.step.Record} {
		if r != nil {
			return r.ID
		}
	}
	return "idle"
}

func phaseOf(r *api.Record) api.Phase {
	if r == nil {
		return api.PhaseIdle
	}
	return r.Phase
}

// background runs what waits, beside the loop.
type background struct {
	wg    *sync.WaitGroup
	inbox chan<- func()   // what is sent here is called by the loop
	tasks context.Context // ends when the daemon is told to stop
	steps context.Context // ends a little later
}

// post hands f to the loop. It blocks while the loop is busy, and gives up when ctx
// ends; when it has ended already, nothing is handed over.
func (b *background) post(ctx context.Context, f func()) {
	if ctx.Err() != nil {
		return
	}
	select {
	case b.inbox <- f:
	case <-ctx.Done():
	}
}

// task is something that goes on in the background until it ends or is cancelled.
type task struct{ cancel context.CancelFunc }

// start has work done in the background. What it says meanwhile is given to seen, and
// what it returns to ended, both on the loop's goroutine; ended is called when the task
// was cancelled, too, but not when the daemon stops. What is said after the
// cancellation may get lost.
//
// work must not be a closure over anything that the loop owns: it is a method of a value
// of its own.
func start[Said, Result any](b *background, work func(ctx context.Context, say func(Said)) Result, seen func(Said), ended func(result Result, cancelled bool)) *task {
	return startWithin(b, b.tasks, work, seen, ended)
}

// startWithin is start for work that ends with another of the background's contexts.
func startWithin[Said, Result any](b *background, parent context.Context, work func(ctx context.Context, say func(Said)) Result, seen func(Said), ended func(result Result, cancelled bool)) *task {
	ctx, cancel := context.WithCancel(parent)
	b.wg.Go(func() {
		defer cancel()
		result := work(ctx, func(s Said) { b.post(ctx, func() { seen(s) }) })
		cancelled := ctx.Err() != nil
		b.post(parent, func() { ended(result, cancelled) })
	})
	return &task{cancel: cancel}
}
