package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// lookEvery is how often a hook that an earlier start has left running is looked at:
	// there is no way to wait for a process that is not one's own child.
	lookEvery = 100 * time.Millisecond
	// clockTicks is the unit of times in /proc (proc(5), USER_HZ), the same on every
	// architecture that Go knows on Linux.
	clockTicks = 100
)

// leftover is the supervisor of a hook that an earlier start of the daemon has left
// running.
type leftover struct {
	pid  int
	hook string // as people write it
	age  time.Duration
}

// awaitLeftovers waits until no hook of an earlier start runs any more. Those that run for
// longer than the limit are killed.
func (r *Runner) awaitLeftovers(ctx context.Context) error {
	waiting, killed := map[int]bool{}, map[int]bool{} // what was said, by process
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		left, err := r.leftovers()
		if err != nil || len(left) == 0 {
			return err
		}
		for _, l := range left {
			switch {
			case l.age > r.Limit && !killed[l.pid]:
				killed[l.pid] = true
				r.Log("the hook %s, which an earlier run of the daemon started, has run for longer than %s; killing it (process group %d)", l.hook, r.Limit, l.pid)
				_ = syscall.Kill(-l.pid, syscall.SIGKILL)
			case l.age <= r.Limit && !waiting[l.pid]:
				waiting[l.pid] = true
				r.Log("the hook %s, which an earlier run of the daemon started, is still running (process group %d); waiting up to %s for it to end", l.hook, l.pid, (r.Limit - l.age).Round(time.Second))
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the hook %s, which an earlier run of the daemon started: %w", left[0].hook, context.Cause(ctx))
		}
	}
}

// leftovers finds supervisors that are not this process's own, by their command lines.
func (r *Runner) leftovers() (out []leftover, err error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("look for hooks that an earlier run of the daemon started: %w", err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil { // it has ended
			continue
		}
		args := strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
		if len(args) != 2+supervisorArgs || args[1] != Command {
			continue
		}
		args = args[2:]
		p, err := processOf(pid)
		if err != nil || args[argDir] != r.Dir || p.parent == os.Getpid() || p.user != os.Getuid() {
			continue
		}
		out = append(out, leftover{pid: pid, hook: title(args[argStage], args[argName], args[argDo]), age: p.age})
	}
	return out, nil
}

// proc is what the kernel says of a process.
type proc struct {
	parent int
	user   int // the real one: whatever the program is, who has started it
	age    time.Duration
}

// processOf reads it from /proc (proc(5), status and stat).
func processOf(pid int) (p proc, err error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	status, err := os.ReadFile(filepath.Join(dir, "status"))
	if err != nil {
		return p, err
	}
	p.parent, p.user = -1, -1
	for line := range strings.Lines(string(status)) {
		if v, ok := strings.CutPrefix(line, "PPid:"); ok {
			_, _ = fmt.Sscan(v, &p.parent)
		}
		if v, ok := strings.CutPrefix(line, "Uid:"); ok {
			_, _ = fmt.Sscan(v, &p.user)
		}
	}
	stat, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return p, err
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // from the third one on
	if len(fields) < 20 {
		return p, errors.New("too few fields")
	}
	began, err := strconv.ParseInt(fields[19], 10, 64)
	if err != nil {
		return p, err
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return p, err
	}
	p.age = time.Duration(now.Nano()) - time.Duration(began)*time.Second/clockTicks
	return p, nil
}
