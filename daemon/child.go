package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/lock"
)

// flushLimit is how long the last Events may hold up the reboot.
const flushLimit = time.Second

// childWorker knows what became of the reboot command.
type childWorker struct {
	bg    *background
	clock clock
	child decide.Child

	running Child // the command that runs; nil: none
}

func newChildWorker(_ Config, bg *background, k clock) *childWorker {
	return &childWorker{bg: bg, clock: k}
}

func (w *childWorker) follow(decided) bool { return true }

func (w *childWorker) facts(f *decide.Facts) { f.Child = w.child }

// runs says whether the reboot command of the record's order runs.
func (w *childWorker) runs(r *api.Record) bool {
	return phaseOf(r) == api.PhaseRebooting && w.child.State == decide.ChildRunning && w.child.Key == r.OrderKey()
}

// spawned notes that the command was started, or could not be.
func (w *childWorker) spawned(key string, c Child, err error) {
	if err != nil {
		w.child = decide.Child{Key: key, State: decide.ChildFailed, Ended: w.clock.now(), Problem: err.Error()}
		return
	}
	w.child, w.running = decide.Child{Key: key, State: decide.ChildRunning}, c
	w.resume()
}

// resume waits for the command that runs, if there is one.
func (w *childWorker) resume() {
	if w.running == nil {
		return
	}
	key := w.child.Key
	// Until the steps end, which is later than the tasks: what became of the order is
	// noted even when the daemon is told to stop.
	startWithin(w.bg, w.bg.steps, childWaiter{w.running}.run, func(struct{}) {}, func(failure error, _ bool) { w.ended(key, failure) })
}

// childWaiter waits for the reboot command, in the background.
type childWaiter struct{ child Child }

func (w childWaiter) run(ctx context.Context, _ func(struct{})) error {
	select {
	case <-w.child.Done():
		return w.child.Result().Failure()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (w *childWorker) ended(key string, failure error) {
	w.running = nil
	w.child = decide.Child{Key: key, State: decide.ChildSucceeded, Ended: w.clock.now()}
	if failure != nil {
		w.child.State, w.child.Problem = decide.ChildFailed, failure.Error()
	}
}

// spawner confirms the claims and starts the reboot command, in the background: the
// point of no return. The record says already that it is about to happen.
type spawner struct {
	events *events
	leases NodeLeaser // nil if the node lease is not held
	lock   lock.Locker
	start  func(level api.Level, output func(line string)) (Child, error)
	level  api.Level
	wanted context.Context // ends when the command must not be started any more
	log    zerolog.Logger
}

// spawnResult is what came of it: a claim that is lost, the lock paused, a command that
// runs, one that could not be started, or one that is not wanted any more.
type spawnResult struct {
	recalled                      bool
	leaseLost, slotLost, startErr error
	paused                        lock.Pause
	child                         Child
}

func (s spawner) run(ctx context.Context) (spawnResult, error) {
	flush, cancel := context.WithTimeout(ctx, flushLimit)
	s.events.flush(flush)
	cancel()
	if s.leases != nil {
		if err := s.leases.Renew(ctx); errors.Is(err, lock.ErrLost) {
			return spawnResult{leaseLost: err}, nil
		} else if err != nil {
			return spawnResult{}, fmt.Errorf("renew the node lease before the reboot: %w", err)
		}
	}
	if err := s.lock.Fence(ctx); err != nil {
		var paused *lock.PausedError
		switch {
		case errors.Is(err, lock.ErrLost):
			return spawnResult{slotLost: err}, nil
		case errors.As(err, &paused):
			return spawnResult{paused: paused.Pause}, nil
		}
		return spawnResult{}, fmt.Errorf("confirm the slot before the reboot: %w", err)
	}
	if s.wanted.Err() != nil { // it takes a while to confirm the claims
		return spawnResult{recalled: true}, nil
	}
	child, err := s.start(s.level, func(line string) { s.log.Info().Str("output", line).Msg("reboot command") })
	return spawnResult{child: child, startErr: err}, nil
}
