package reboot

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"rebootd.dev/daemon/printable"
	"rebootd.dev/reboot/process"
)

const (
	// outputSize is how much a command may write. What it writes beyond that is
	// refused (EPERM), without blocking or ending it.
	outputSize = 256 << 10
	// outputEvery is how often new output is looked for while the command runs.
	outputEvery = 200 * time.Millisecond
	// maxTail is how much of the output's end a Result has.
	maxTail = 1 << 10
)

// Child is a reboot command that was started. Its methods are safe for
// concurrent use.
type Child struct {
	cmd    *exec.Cmd
	done   chan struct{}
	result Result
}

// Result is how a reboot command ended.
type Result struct {
	ExitCode int    // -1 if it ended otherwise
	Signal   string // that ended it, "" for none
	Err      error  // waiting for it failed
	Output   string // the end of what it printed
}

// Failure is nil if the command succeeded, and else says what happened, with the
// end of its output.
func (r Result) Failure() error {
	var what string
	switch {
	case r.Err != nil:
		what = r.Err.Error()
	case r.Signal != "":
		what = "ended by signal: " + r.Signal
	case r.ExitCode != 0:
		what = fmt.Sprintf("exit status %d", r.ExitCode)
	default:
		return nil
	}
	if r.Output != "" {
		what += ": " + r.Output
	}
	return errors.New(what)
}

// Start starts a command, in a session and process group of its own, with
// nothing on standard input. The lines that it prints are given to output, as far
// as process.Pace lets them pass, from one goroutine. The command's environment is the daemon's, and asks systemctl
// for what "reboot" says: not for kexec or a soft reboot in its place, which it
// would choose by itself if one was prepared (systemctl(1)).
//
// Output goes through a file in memory and not through a pipe: a pipe would
// break with the daemon, and the command with it. The file has a fixed size, and
// its offset, which is shared with the command, tells how much was written.
func Start(argv []string, output func(line string)) (*Child, error) {
	if len(argv) == 0 {
		return nil, errors.New("start the reboot command: it is empty")
	}
	fail := func(err error) (*Child, error) {
		return nil, fmt.Errorf("start the reboot command %q: %w", strings.Join(argv, " "), err)
	}
	file, err := memoryFile()
	if err != nil {
		return fail(err)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = file, file
	cmd.Env = append(os.Environ(), "SYSTEMCTL_SKIP_AUTO_KEXEC=1", "SYSTEMCTL_SKIP_AUTO_SOFT_REBOOT=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		file.Close()
		return fail(err)
	}
	c := &Child{cmd: cmd, done: make(chan struct{})}
	go c.wait(&reader{file: file, paced: new(process.Pace).Start(output)})
	return c, nil
}

// Done is closed when the command has ended and all its output was passed on.
// Processes that it left behind are not waited for.
func (c *Child) Done() <-chan struct{} { return c.done }

// Result is how the command ended; it may be asked for once Done is closed.
func (c *Child) Result() Result { return c.result }

// PID is the command's process.
func (c *Child) PID() int { return c.cmd.Process.Pid }

func (c *Child) wait(r *reader) {
	defer close(c.done)
	defer r.file.Close()
	ended := make(chan error, 1)
	go func() { ended <- c.cmd.Wait() }()
	tick := time.NewTicker(outputEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.read()
		case err := <-ended:
			r.read()
			r.flush()
			c.result = resultOf(err, c.cmd.ProcessState, r.tail())
			return
		}
	}
}

func resultOf(err error, state *os.ProcessState, tail string) Result {
	r := Result{ExitCode: -1, Output: tail}
	if state == nil {
		r.Err = err
		return r
	}
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		r.Signal = status.Signal().String()
		return r
	}
	r.ExitCode = state.ExitCode()
	return r
}

// memoryFile makes a file in memory that can neither grow nor shrink.
func memoryFile() (*os.File, error) {
	fd, err := unix.MemfdCreate("reboot-command-output", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory for its output: %w", err)
	}
	f := os.NewFile(uintptr(fd), "reboot-command-output")
	if err := f.Truncate(outputSize); err != nil {
		f.Close()
		return nil, fmt.Errorf("size the file in memory for its output: %w", err)
	}
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK); err != nil {
		f.Close()
		return nil, fmt.Errorf("seal the file in memory for its output: %w", err)
	}
	return f, nil
}

// reader passes on what is written to a memoryFile.
type reader struct {
	file  *os.File
	paced *process.Paced
	at    int64 // read up to here
	part  []byte
	last  []byte
}

func (r *reader) read() {
	end, err := r.file.Seek(0, 1) // the writer's offset: it is the same open file
	if err != nil || end <= r.at {
		return
	}
	buf := make([]byte, min(end, outputSize)-r.at)
	n, _ := r.file.ReadAt(buf, r.at)
	r.at += int64(n)
	r.last = append(r.last, buf[:n]...)
	if len(r.last) > maxTail {
		r.last = r.last[len(r.last)-maxTail:]
	}
	r.part = append(r.part, buf[:n]...)
	for {
		line, rest, ok := cutLine(r.part)
		if !ok {
			return
		}
		r.part = rest
		r.say(line)
	}
}

func cutLine(b []byte) (line, rest []byte, ok bool) {
	for i, c := range b {
		if c == '\n' {
			return b[:i], b[i+1:], true
		}
		if i == process.MaxLine {
			return b[:i], b[i:], true
		}
	}
	return nil, b, false
}

func (r *reader) flush() {
	r.say(r.part)
	r.part = nil
	r.paced.End()
}

func (r *reader) say(line []byte) {
	if s := printable.Line(string(line), process.MaxLine); s != "" {
		r.paced.Line(s)
	}
}

func (r *reader) tail() string { return printable.Line(string(r.last), maxTail) }
