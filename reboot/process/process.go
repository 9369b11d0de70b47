// Package process runs a program with a time limit and follows what it prints. It knows
// processes, and not what they are for.
package process

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"rebootd.dev/daemon/printable"
)

const (
	// MaxLine is the longest line that is passed on, in bytes; the rest of it is left out.
	MaxLine = 4 << 10
	// maxReason is how much of the last line an error has.
	maxReason = 1 << 10
)

// Command is a program to run.
type Command struct {
	Argv  []string
	Env   []string      // besides this process's
	Limit time.Duration // how long it may take
	// Output is given what it prints, line by line, from one goroutine, within Pace; nil:
	// nobody.
	Output func(line string)
	Pace   *Pace // nil: one of its own
	// Stderr is its standard error; nil: Output is given that, too.
	Stderr *os.File
}

// Run runs a program in a process group of its own and is nil if it succeeds. It kills the
// group once the limit is over or ctx has ended. An error says what happened, with the
// last line that was printed. Processes that the program has left running when it ended
// are neither waited for nor killed, and are no failure; what they print is refused
// (SIGPIPE).
func Run(ctx context.Context, c Command) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.Limit, fmt.Errorf("took longer than %s", c.Limit))
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Argv[0], c.Argv[1:]...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	read, write := io.Pipe()
	cmd.Stdout, cmd.Stderr = write, write
	if c.Stderr != nil {
		cmd.Stderr = c.Stderr
	}
	printed := make(chan string)
	go func() { printed <- Lines(read, c.Pace, c.Output) }()
	err := cmd.Run()
	write.Close()
	last := <-printed
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if last = printable.Line(last, maxReason); last != "" {
		return fmt.Errorf("%w: %s", err, last)
	}
	return err
}

// Lines passes the lines of from on to output, within the pace, and returns the last one.
// All is read, so that a program never waits. A nil pace is one of its own; a nil output is
// nobody.
func Lines(from io.Reader, pace *Pace, output func(line string)) (last string) {
	pass := func(string) {}
	if output != nil {
		paced := cmp.Or(pace, new(Pace)).Start(output)
		defer paced.End()
		pass = paced.Line
	}
	r := bufio.NewReaderSize(from, MaxLine)
	for {
		line, more, err := r.ReadLine()
		if err != nil {
			return last
		}
		if text := printable.Line(string(line), MaxLine); text != "" {
			last = text
			pass(text)
		}
		for more && err == nil {
			_, more, err = r.ReadLine()
		}
	}
}
