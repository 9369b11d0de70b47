package hook

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"rebootd.dev/reboot/process"
)

// Command is the argument by which this program, started once more by a [Runner], runs
// one hook: main gives [Supervise] what follows it. Other versions of the daemon find a
// hook that runs by this and the order of the arguments: neither may change.
const Command = "run-hook"

// The arguments of a supervisor, after Command.
const (
	argDaemon = iota // the process of the daemon that started it
	argLimit         // a duration
	argDir           // Runner.Dir
	argStage
	argName
	argDo // do or undo
	supervisorArgs
)

// grace is how much more time a supervisor gives than the daemon, which has more to say
// about a hook that takes too long.
const grace = time.Second

// Supervise runs one hook, and returns the exit status of this process. It stays the hook's
// parent for as long as the hook runs, whatever becomes of the daemon: its command line
// tells the daemon's next start of the hook, which survives the daemon's death without a
// broken pipe, and is killed at its limit even if there is no next start.
//
// A supervisor that does not find its daemon any more runs nothing. One that finds it can
// be seen by the next start: that begins after the daemon's end, and so after the
// supervisor's command line is there.
func Supervise(args []string) int {
	// The hook dies with the thread that has started it (prctl(2), PR_SET_PDEATHSIG).
	runtime.LockOSThread()
	if len(args) != supervisorArgs {
		fmt.Fprintln(os.Stderr, "rebootd: run-hook is for the daemon's own use")
		return 2
	}
	limit, err := time.ParseDuration(args[argLimit])
	if err != nil {
		fmt.Fprintln(os.Stderr, "rebootd: run a hook:", err)
		return 2
	}
	out := &output{to: os.Stdout}
	defer out.end()
	// To be caught is not to be ignored, which the hook would inherit. When the machine
	// goes down the hook is sent the signal, too, and decides for both.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	if strconv.Itoa(os.Getppid()) != args[argDaemon] {
		fmt.Fprintln(out, "the daemon that started this hook has ended; not running it")
		return 1
	}
	time.AfterFunc(limit+grace, func() { _ = syscall.Kill(-os.Getpid(), syscall.SIGKILL) })
	cmd := exec.Command(filepath.Join(args[argDir], args[argStage], args[argName]), args[argDo])
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) { // what it has left running is no failure
		return 0
	}
	if code := cmd.ProcessState.ExitCode(); code > 0 {
		return code
	}
	fmt.Fprintln(out, err)
	if ended, ok := errors.AsType[*exec.ExitError](err); ok {
		return 128 + int(ended.Sys().(syscall.WaitStatus).Signal()) // as a shell does
	}
	return 127
}

// output is the daemon, which puts a name to each line, and once that is gone the daemon's
// own standard error, within the same bounds. It takes everything. It is for one goroutine
// at a time.
type output struct {
	to    io.Writer
	alone *io.PipeWriter // nil: the daemon is there
	ended chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	if o.alone == nil {
		if _, err := o.to.Write(p); err == nil {
			return len(p), nil
		}
		var read *io.PipeReader
		read, o.alone = io.Pipe()
		o.ended = make(chan struct{})
		go func() {
			defer close(o.ended)
			process.Lines(read, nil, func(line string) { fmt.Fprintln(os.Stderr, line) })
		}()
	}
	return o.alone.Write(p)
}

// end passes on what is left.
func (o *output) end() {
	if o.alone != nil {
		o.alone.Close()
		<-o.ended
	}
}
