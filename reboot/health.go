package reboot

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	// checkLimit is how long a check may take.
	checkLimit = 30 * time.Second
	// maxFailed is how many failed units are named.
	maxFailed = 5
)

// SystemRunning asks systemd over the system bus whether it has started everything, and
// is nil if it has and no unit has failed; else it says what it waits for, or which have
// (systemctl(1), is-system-running).
func SystemRunning(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	conn, _, err := connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	systemd := conn.Object(systemdName, systemdPath)
	var state string
	if err := property(ctx, systemd, "SystemState", &state); err != nil {
		return err
	}
	switch state {
	case "running":
		return nil
	case "degraded":
		var units []struct {
			Name, Description, LoadState, ActiveState, SubState, Following string
			Path                                                           string
			JobID                                                          uint32
			JobType, JobPath                                               string
		}
		if err := systemd.CallWithContext(ctx, systemdManager+".ListUnitsFiltered", 0, []string{"failed"}).Store(&units); err != nil {
			return fmt.Errorf("ask systemd which units have failed: %w", err)
		}
		var names []string
		for _, u := range units {
			names = append(names, u.Name)
		}
		if len(names) > maxFailed {
			names = append(names[:maxFailed], "…")
		}
		return fmt.Errorf("units have failed: %s", strings.Join(names, ", "))
	default:
		return fmt.Errorf("systemd says that the system is %s", state)
	}
}

// tail keeps the end of what is written to it.
type tail []byte

func (t *tail) Write(p []byte) (int, error) {
	*t = append(*t, p...)
	if n := len(*t); n > maxTail {
		*t = append((*t)[:0], (*t)[n-maxTail:]...)
	}
	return len(p), nil
}

// Check runs a command and is nil if it succeeds within its time limit; else it says
// what became of it, with the end of what it printed.
func Check(ctx context.Context, argv []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, checkLimit, fmt.Errorf("took longer than %s", checkLimit))
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	// With whatever it has started.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var out tail
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if err == nil || errors.Is(err, exec.ErrWaitDelay) { // what it has left behind is no failure
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if text := printable(out); text != "" {
		err = errors.New(err.Error() + ": " + text)
	}
	return fmt.Errorf("the check %q: %w", strings.Join(argv, " "), err)
}
