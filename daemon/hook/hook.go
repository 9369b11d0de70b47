// Package hook runs the programs by which an admin prepares a machine for what
// Kubernetes does not know of: containers of podman, a database on the host. It knows
// processes; it knows neither Kubernetes nor when a hook is due.
//
// The programs are in a directory for each stage, and run one after the other in the
// order of their names, with one argument: do, or undo. They may be called again when
// the daemon was restarted, and must not mind; undo may come without a do before.
package hook

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
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
	// Output is given what they print, line by line.
	Output func(stage, name, line string)
}

// Any says whether there is a directory of a stage.
func (r *Runner) Any() bool {
	return slices.ContainsFunc([]string{PreDrain, PreReboot, PostBoot}, func(stage string) bool {
		info, err := os.Stat(filepath.Join(r.Dir, stage))
		return err == nil && info.IsDir()
	})
}

// Do runs the programs of a stage up to the first that fails.
func (r *Runner) Do(ctx context.Context, stage string) ([]Outcome, error) {
	names, err := r.programs(stage)
	if err != nil {
		return nil, err
	}
	var out []Outcome
	for _, name := range names {
		o, err := r.run(ctx, stage, name, false)
		if out = append(out, o); err != nil {
			return out, err
		}
	}
	return out, nil
}

// Undo runs all programs that Do of these stages may have run, the last first,
// whatever becomes of them. The error is the first.
func (r *Runner) Undo(ctx context.Context, stages ...string) (out []Outcome, first error) {
	for _, stage := range slices.Backward(stages) {
		names, err := r.programs(stage)
		if first == nil {
			first = err
		}
		for _, name := range slices.Backward(names) {
			o, err := r.run(ctx, stage, name, true)
			out = append(out, o)
			if first == nil {
				first = err
			}
		}
	}
	return out, first
}

// programs are the programs of a stage; what editors and package managers leave behind
// is none.
func (r *Runner) programs(stage string) ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(r.Dir, stage)) // sorted
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for hooks: %w", err)
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

// maxLine is the longest line that is passed on; the rest of it is left out.
const maxLine = 4 << 10

func (r *Runner) run(ctx context.Context, stage, name string, undo bool) (Outcome, error) {
	arg := "do"
	if undo {
		arg = "undo"
	}
	began := time.Now()
	err := r.exec(ctx, stage, name, arg)
	o := Outcome{Stage: stage, Name: name, Undo: undo, Seconds: time.Since(began).Round(100 * time.Millisecond).Seconds()}
	if err != nil {
		o.Error = err.Error()
		err = fmt.Errorf("the hook %s/%s %s: %w", stage, name, arg, err)
	}
	return o, err
}

func (r *Runner) exec(ctx context.Context, stage, name, arg string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, r.Limit, fmt.Errorf("took longer than %s", r.Limit))
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(r.Dir, stage, name), arg)
	cmd.Env = append(os.Environ(), r.Env...)
	// With whatever it has started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	read, write := io.Pipe()
	cmd.Stdout, cmd.Stderr = write, write
	passed := make(chan string)
	go func() { passed <- r.pass(read, stage, name) }()
	err := cmd.Run()
	write.Close()
	last := <-passed
	if err == nil || errors.Is(err, exec.ErrWaitDelay) { // what it has left behind is no failure
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if last != "" {
		return fmt.Errorf("%w: %s", err, last)
	}
	return err
}

// pass passes on what a program prints, and returns its last line.
func (r *Runner) pass(from io.Reader, stage, name string) (last string) {
	lines := bufio.NewReaderSize(from, maxLine)
	for {
		line, more, err := lines.ReadLine()
		if err != nil {
			return last
		}
		if text := strings.ToValidUTF8(strings.TrimSpace(string(line)), "�"); text != "" {
			last = text
			r.Output(stage, name, text)
		}
		for more && err == nil {
			_, more, err = lines.ReadLine()
		}
	}
}
