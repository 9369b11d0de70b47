// Package hook runs the programs by which an admin prepares a machine for what
// Kubernetes does not know of: containers of podman, a database on the host. It knows
// processes; it knows neither Kubernetes nor when a hook is due.
//
// The programs are in a directory for each stage, and run one after the other in the
// order of their names, with one argument: do, or undo. They may be called again when
// the daemon was restarted, and must not mind; undo may come without a do before.
//
// No hook runs beside another, and none beside itself. One that still runs when the
// daemon has been killed runs on, and the next start waits for it before it runs any;
// it has no longer for that than any hook, from its own begin, and is killed then with
// its process group. A hook has ended when its program has: what that leaves running,
// a service for instance, is neither waited for nor killed, and should not keep the
// program's output open.
//
// Each hook runs below a supervisor (see [Supervise]), which is this program once more.
// It is by the supervisor's command line that a hook is found: nothing is written to the
// machine, and nothing can be left over from an earlier boot.
package hook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"rebootd.dev/reboot/process"
)

// The stages, by the names of their directories.
const (
	PreDrain  = "pre-drain.d"
	PreReboot = "pre-reboot.d"
	PostBoot  = "post-boot.d"
)

// Outcome is what became of one program.
type Outcome struct {
	Stage   string  `json:"stage"`
	Name    string  `json:"name"`
	Undo    bool    `json:"undo,omitempty"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"` // "": it succeeded
}

// Runner runs hooks. Its methods are safe for concurrent use.
type Runner struct {
	Dir   string        // with a directory for each stage
	Limit time.Duration // for each program
	Env   []string      // besides the daemon's
	// Output is given what they print, line by line, as far as process.Pace lets it pass.
	Output func(stage, name, line string)
	// Log is told what an admin should know of hooks that an earlier start has left running.
	Log func(format string, args ...any)

	mu  sync.Mutex
	ran map[string][]string // by stage: what was run and is not undone

	pace process.Pace // of what all hooks print
}

// Any says whether a stage has programs. A directory that cannot be listed counts as one
// that has: Do then fails, and says why.
func (r *Runner) Any(stage string) bool {
	names, err := r.programs(stage)
	return len(names) > 0 || err != nil
}

// Do runs the programs of a stage up to the first that fails. A hook of any stage that an
// earlier start of the daemon has left running is waited for before.
func (r *Runner) Do(ctx context.Context, stage string) ([]Outcome, error) {
	if err := r.awaitLeftovers(ctx); err != nil {
		return nil, err
	}
	names, err := r.programs(stage)
	if err != nil {
		return nil, err
	}
	var out []Outcome
	for _, name := range names {
		r.note(stage, name)
		o, err := r.run(ctx, stage, name, false)
		if out = append(out, o); err != nil {
			return out, err
		}
	}
	return out, nil
}

// Undo runs all programs that Do of these stages may have run, the last first,
// whatever becomes of them. The error is the first. It waits as Do does. A program that
// this start of the daemon has run and that is gone since is an error, too.
func (r *Runner) Undo(ctx context.Context, stages ...string) (out []Outcome, first error) {
	if err := r.awaitLeftovers(ctx); err != nil {
		return nil, err
	}
	for _, stage := range slices.Backward(stages) {
		names, err := r.programs(stage)
		if first == nil {
			first = err
		}
		ran := r.forget(stage)
		all := slices.Compact(slices.Sorted(slices.Values(slices.Concat(names, ran))))
		for _, name := range slices.Backward(all) {
			o, err := r.undo(ctx, stage, name, slices.Contains(names, name))
			out = append(out, o)
			if first == nil {
				first = err
			}
		}
	}
	return out, first
}

// undo runs one program, if it is there.
func (r *Runner) undo(ctx context.Context, stage, name string, there bool) (Outcome, error) {
	if there {
		return r.run(ctx, stage, name, true)
	}
	o := Outcome{Stage: stage, Name: name, Undo: true, Error: "the program was removed after it had run; what it did is not undone"}
	return o, fmt.Errorf("the hook %s: %s", title(stage, name, "undo"), o.Error)
}

// note notes that a program is run.
func (r *Runner) note(stage, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ran == nil {
		r.ran = map[string][]string{}
	}
	r.ran[stage] = append(r.ran[stage], name)
}

// forget is what was run of a stage; it is undone now.
func (r *Runner) forget(stage string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer delete(r.ran, stage)
	return r.ran[stage]
}

// programs are the programs of a stage, without what editors and package managers leave
// behind.
func (r *Runner) programs(stage string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(r.Dir, stage)) // sorted
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the hooks: %w", err)
	}
	var out []string
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") || strings.Contains(name, ".dpkg-") || strings.HasSuffix(name, ".rpmsave") || strings.HasSuffix(name, ".rpmnew") {
			continue
		}
		info, err := os.Stat(filepath.Join(r.Dir, stage, name))
		if err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			out = append(out, name)
		}
	}
	return out, nil
}

func (r *Runner) run(ctx context.Context, stage, name string, undo bool) (Outcome, error) {
	arg := "do"
	if undo {
		arg = "undo"
	}
	began := time.Now()
	err := process.Run(ctx, process.Command{
		// This very program, also while a package manager replaces its file.
		Argv: []string{"/proc/self/exe", Command, strconv.Itoa(os.Getpid()), r.Limit.String(), r.Dir, stage, name, arg},
		Env:  r.Env, Limit: r.Limit, Stderr: os.Stderr,
		Output: func(line string) { r.Output(stage, name, line) }, Pace: &r.pace,
	})
	o := Outcome{Stage: stage, Name: name, Undo: undo, Seconds: time.Since(began).Round(100 * time.Millisecond).Seconds()}
	if err != nil {
		o.Error = err.Error()
		err = fmt.Errorf("the hook %s: %w", title(stage, name, arg), err)
	}
	return o, err
}

func title(stage, name, arg string) string { return stage + "/" + name + " " + arg }
