package sim

import (
	"context"
	"fmt"
	"sync"

	"rebootd.dev/daemon/hook"
)

// Hooks are an admin's own programs on a machine, one in each directory: it runs until the
// test ends it. It implements daemon.HookRunner.
type Hooks struct {
	m *Machine

	mu       sync.Mutex
	ends     map[string]*string // how the programs end that run: "" or what is wrong
	slowUndo bool
	removed  map[string]bool // directories whose program is not there
	running  int
	changed  chan struct{}
}

// End ends the program of a directory that runs, with what is wrong, or "".
func (h *Hooks) End(dir, problem string) {
	h.update(func() { h.ends = map[string]*string{dir: &problem} })
}

// SlowUndo has the undoing go on until it is ended, too: End("undo", "").
func (h *Hooks) SlowUndo() { h.update(func() { h.slowUndo = true }) }

// Remove removes the program of a directory, and Add adds it again.
func (h *Hooks) Remove(dir string) { h.set(dir, true) }

// Add undoes Remove.
func (h *Hooks) Add(dir string) { h.set(dir, false) }

func (h *Hooks) set(dir string, removed bool) {
	h.update(func() {
		if h.removed == nil {
			h.removed = map[string]bool{}
		}
		h.removed[dir] = removed
	})
}

// Any implements daemon.HookRunner.
func (h *Hooks) Any(dir string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !h.removed[dir]
}

// Running is how many programs run.
func (h *Hooks) Running() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.running
}

func (h *Hooks) update(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
	close(h.changed)
	h.changed = make(chan struct{})
}

// Do implements daemon.HookRunner.
func (h *Hooks) Do(ctx context.Context, dir string) ([]hook.Outcome, error) {
	problem, err := h.run(ctx, dir, "do")
	if err == nil && problem != "" {
		err = fmt.Errorf("the hook %s/10-db do: %s", dir, problem)
	}
	return []hook.Outcome{{Stage: dir, Name: "10-db", Error: problem}}, err
}

// Undo implements daemon.HookRunner.
func (h *Hooks) Undo(ctx context.Context, dirs ...string) (out []hook.Outcome, err error) {
	for _, dir := range dirs {
		if !h.Any(dir) {
			continue
		}
		problem, err := h.run(ctx, dir, "undo")
		if err != nil {
			return out, err
		}
		out = append(out, hook.Outcome{Stage: dir, Name: "10-db", Undo: true, Error: problem})
	}
	return out, nil
}

func (h *Hooks) run(ctx context.Context, dir, verb string) (problem string, err error) {
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	h.m.World.Note(h.m.Name, "hook", "%s/10-db %s", dir, verb)
	key := dir
	if verb == "undo" {
		key = verb
	}
	h.mu.Lock()
	h.running++
	slow := verb == "do" || h.slowUndo
	delete(h.ends, key) // how an earlier run was to end
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.running--
		h.mu.Unlock()
	}()
	for slow {
		h.mu.Lock()
		end, changed := h.ends[key], h.changed
		delete(h.ends, key)
		h.mu.Unlock()
		if end != nil {
			return *end, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "it was ended", ctx.Err()
		}
	}
	return "", nil
}
