package reboot

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"rebootd.dev/daemon/printable"
)

// Host is a machine as seen through its root file system.
type Host struct {
	Root string // "/", or where the host's root is mounted
}

// Boot identifies one boot of a machine.
type Boot struct {
	// ID is the kernel's random number for this boot (random(4), boot_id), which
	// the kubelet reports as the Node's status.nodeInfo.bootID.
	ID string
	// Time is when the kernel started by today's clock (proc(5), btime), to the
	// second.
	Time time.Time
}

// maxBootID is more than any boot ID has.
const maxBootID = 128

// Boot reads which boot the machine runs.
func (h Host) Boot() (Boot, error) {
	path := filepath.Join(h.Root, "proc/sys/kernel/random/boot_id")
	f, err := os.Open(path)
	if err != nil {
		return Boot{}, fmt.Errorf("read the boot ID: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxBootID+1))
	if err != nil {
		return Boot{}, fmt.Errorf("read the boot ID from %s: %w", path, err)
	}
	id := strings.TrimSpace(string(data))
	if id == "" || len(id) > maxBootID || strings.ContainsFunc(id, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return Boot{}, fmt.Errorf("read the boot ID from %s: %q is not a boot ID", path, printable.Line(string(data), 40))
	}
	t, err := h.bootTime()
	if err != nil {
		return Boot{}, err
	}
	return Boot{ID: id, Time: t}, nil
}

func (h Host) bootTime() (time.Time, error) {
	path := filepath.Join(h.Root, "proc/stat")
	f, err := os.Open(path)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the boot time: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20) // the line of interrupts is long on large machines
	for lines.Scan() {
		value, ok := strings.CutPrefix(lines.Text(), "btime ")
		if !ok {
			continue
		}
		seconds, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		if err != nil || seconds < 0 {
			return time.Time{}, fmt.Errorf("read the boot time from %s: %q is not a time", path, printable.Line(value, 40))
		}
		return time.Unix(seconds, 0), nil
	}
	if err := lines.Err(); err != nil {
		return time.Time{}, fmt.Errorf("read the boot time from %s: %w", path, err)
	}
	return time.Time{}, fmt.Errorf("read the boot time from %s: no btime line", path)
}

// Uptime is how long the machine has been up, including the time in which it
// slept (clock_gettime(2), CLOCK_BOOTTIME). Setting the clock does not move it.
func (Host) Uptime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &t) // fails for no clock that there is
	return time.Duration(t.Nano())
}

// KexecLoaded says whether a kernel is loaded for a kexec (sysfs, ABI/testing/sysfs-kernel-kexec).
// Where the host's /sys is not below Root it looks at its own: they are of one kernel.
func (h Host) KexecLoaded() bool {
	for _, root := range []string{h.Root, "/"} {
		if data, err := os.ReadFile(filepath.Join(root, "sys/kernel/kexec_loaded")); err == nil {
			return strings.TrimSpace(string(data)) == "1"
		}
	}
	return false
}
