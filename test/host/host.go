package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"rebootd.dev/test/proc"
)

// rebooted is the exit status of systemd-nspawn when the machine wants to boot again.
const rebooted = 133

// limit is how long a boot, or a shutdown, may take.
const limit = 2 * time.Minute

// Options make a machine.
type Options struct {
	Image *Image
	Name  string
	Dir   string // for what it writes, and its console
	Args  []string
	// Controllers are the cgroup v1 controllers that it gets a cgroup of its own in,
	// besides systemd's: those that a kubelet needs.
	Controllers []string
	// Booted is called after each boot, before the machine is fully up; Down when it
	// has gone down, for whatever reason. Both may be nil.
	Booted func(bootID string)
	Down   func()
}

// Host is a machine with a real systemd. Its methods are safe for concurrent use.
type Host struct {
	Options
	Root string // its root, while it is there

	nspawn  string
	group   string
	janitor *janitor

	mu      sync.Mutex
	boots   []string // boot IDs
	outages []Outage
	up      *running // nil: down
	off     bool     // it is to stay down
	wg      sync.WaitGroup
	end     atomic.Bool
}

type running struct {
	*proc.Process
	leader int
	ready  chan struct{} // closed when the leader is known
}

var serial atomic.Int64

// New makes a machine that is down. Whatever it writes to its root stays across
// boots, and the image as it is.
func New(o Options) (*Host, error) {
	h := &Host{Options: o, Root: filepath.Join(o.Dir, "root"), group: fmt.Sprintf("rebootd-test-%d-%d", os.Getpid(), serial.Add(1))}
	var err error
	if h.nspawn, err = nspawn(); err != nil {
		return nil, err
	}
	upper, work := filepath.Join(o.Dir, "upper"), filepath.Join(o.Dir, "work")
	for _, d := range []string{h.Root, upper, work} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("make the machine %s: %w", o.Name, err)
		}
	}
	data := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", o.Image.dir, upper, work)
	if err := syscall.Mount("overlay", h.Root, "overlay", 0, data); err != nil {
		return nil, fmt.Errorf("mount the root of %s: %w", o.Name, err)
	}
	var groups []string
	for _, c := range h.hierarchies() {
		groups = append(groups, filepath.Join("/sys/fs/cgroup", c, h.group))
		if err := h.makeGroup(c); err != nil {
			return nil, err
		}
	}
	if h.janitor, err = hire(h.Root, groups); err != nil {
		return nil, err
	}
	return h, errors.Join(h.Write("/etc/hostname", o.Name+"\n", 0o644), h.Write("/etc/machine-id", fmt.Sprintf("%032x\n", serial.Load()+0x1000), 0o444))
}

// hierarchies are the cgroup hierarchies that the machine has a cgroup of its own in.
func (h *Host) hierarchies() (out []string) {
	for _, c := range append([]string{"systemd", "unified"}, h.Controllers...) {
		if _, err := os.Stat(filepath.Join("/sys/fs/cgroup", c, "cgroup.procs")); err == nil {
			out = append(out, c)
		}
	}
	if len(out) == 0 { // cgroup v2 alone
		out = []string{""}
	}
	return out
}

func (h *Host) makeGroup(hierarchy string) error {
	dir := filepath.Join("/sys/fs/cgroup", hierarchy, h.group)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make a cgroup for %s: %w", h.Name, err)
	}
	if hierarchy != "cpuset" {
		return nil
	}
	// A cpuset without a CPU takes no process.
	for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
		data, err := os.ReadFile(filepath.Join("/sys/fs/cgroup/cpuset", f))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, f), data, 0)
		}
		if err != nil {
			return fmt.Errorf("make a cgroup for %s: %w", h.Name, err)
		}
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.clone_children"), []byte("1"), 0)
}

// Write writes a file of the machine, which may be up or down. Its /run and /tmp are
// out of reach.
func (h *Host) Write(path, content string, mode os.FileMode) error {
	full := filepath.Join(h.Root, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return fmt.Errorf("write %s of %s: %w", path, h.Name, err)
	}
	if err := os.WriteFile(full, []byte(content), mode); err != nil {
		return fmt.Errorf("write %s of %s: %w", path, h.Name, err)
	}
	return os.Chmod(full, mode)
}

// Copy copies a file of the machine that the tests run on.
func (h *Host) Copy(from, to string, mode os.FileMode) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("copy to %s: %w", h.Name, err)
	}
	return h.Write(to, string(data), mode)
}

// Boot boots the machine, and from then on again whenever it reboots. It returns when
// systemd has started everything.
func (h *Host) Boot(ctx context.Context) error {
	h.mu.Lock()
	h.off = false
	h.mu.Unlock()
	first, err := h.start()
	if err != nil {
		return err
	}
	h.wg.Go(func() { h.keep(first) })
	return h.WaitUp(ctx)
}

// keep boots the machine again as long as it reboots.
func (h *Host) keep(r *running) {
	for {
		h.lead(r)
		<-r.Done()
		h.mu.Lock()
		h.outages = append(h.outages, Outage{From: time.Now()})
		h.up = nil
		h.mu.Unlock()
		if h.Options.Down != nil && !h.end.Load() {
			h.Options.Down()
		}
		if r.ExitCode() != rebooted {
			return
		}
		var err error
		if r, err = h.start(); err != nil {
			return
		}
	}
}

func (h *Host) start() (*running, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.up != nil || h.off {
		return nil, fmt.Errorf("boot %s: it is up, or is to stay down", h.Name)
	}
	var enter strings.Builder
	for _, c := range h.hierarchies() {
		fmt.Fprintf(&enter, "echo 0 >/sys/fs/cgroup/%s/%s/cgroup.procs; ", c, h.group)
	}
	args := []string{
		"/bin/sh", "-ec", enter.String() + `exec "$0" "$@"`, filepath.Join(h.nspawn, "usr/bin/systemd-nspawn"),
		"--directory=" + h.Root, "--boot", "--register=no", "--keep-unit", "--machine=" + h.Name, "--hostname=" + h.Name,
		"--console=read-only", "--link-journal=no",
	}
	if _, err := os.Stat("/proc/sysrq-trigger"); err == nil {
		args = append(args, "--inaccessible=/proc/sysrq-trigger")
	}
	env := append(os.Environ(), "LD_LIBRARY_PATH="+filepath.Join(h.nspawn, "usr/lib/x86_64-linux-gnu/systemd"))
	p, err := proc.Start(h.Console(), env, append(args, h.Args...)...)
	if err != nil {
		return nil, err
	}
	h.up = &running{Process: p, ready: make(chan struct{})}
	return h.up, nil
}

// Console is the file with what the machine has printed.
func (h *Host) Console() string { return filepath.Join(h.Dir, "console") }

// lead finds the machine's first process.
func (h *Host) lead(r *running) {
	for {
		if pid := h.leader(r.PID()); pid != 0 {
			h.mu.Lock()
			r.leader = pid
			id := h.bootID(pid)
			h.boots = append(h.boots, id)
			if n := len(h.outages); n > 0 {
				h.outages[n-1].To = time.Now()
			}
			h.mu.Unlock()
			close(r.ready)
			if h.Booted != nil {
				h.Booted(id)
			}
			return
		}
		select {
		case <-r.Done():
			close(r.ready)
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// leader is the process below nspawn that is the first in a PID namespace and has
// pivoted into the machine's root.
func (h *Host) leader(nspawn int) int {
	for _, child := range children(nspawn) {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", child))
		if err != nil || !strings.Contains(string(status), "\nNSpid:\t"+strconv.Itoa(child)+"\t1\n") {
			continue
		}
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", child))
		if err == nil && filepath.Base(exe) == "systemd" && h.bootID(child) != "" {
			return child
		}
	}
	return 0
}

func children(pid int) (out []int) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, t := range threads {
		data, _ := os.ReadFile(t)
		for _, f := range strings.Fields(string(data)) {
			if n, err := strconv.Atoi(f); err == nil {
				out = append(append(out, n), children(n)...)
			}
		}
	}
	return out
}

func (h *Host) bootID(leader int) string {
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/root/proc/sys/kernel/random/boot_id", leader))
	return strings.TrimSpace(string(data))
}

// Outage is a time in which a machine was down; one that is not over has no To.
type Outage struct{ From, To time.Time }

// Outages are the times in which it was down, after the first boot.
func (h *Host) Outages() []Outage {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Outage(nil), h.outages...)
}

// Boots are the IDs of its boots.
func (h *Host) Boots() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.boots...)
}

// current is what runs, with its leader; nil if the machine is down.
func (h *Host) current() *running {
	h.mu.Lock()
	r := h.up
	h.mu.Unlock()
	if r == nil {
		return nil
	}
	<-r.ready
	if r.leader == 0 {
		return nil
	}
	return r
}

// errDown says that the machine is down.
var errDown = errors.New("the machine is down")

// Exec runs a program in the machine and returns what it prints.
func (h *Host) Exec(ctx context.Context, argv ...string) (string, error) {
	r := h.current()
	if r == nil {
		return "", fmt.Errorf("run %q in %s: %w", argv, h.Name, errDown)
	}
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"-t", strconv.Itoa(r.leader), "-m", "-p", "-u", "-i", "-C", "--"}, argv...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("run %q in %s: %w\n%s", argv, h.Name, err, out)
	}
	return string(out), nil
}

// Shell runs a command of the shell in the machine and returns what it prints.
func (h *Host) Shell(ctx context.Context, command string) (string, error) {
	return h.Exec(ctx, "/bin/sh", "-ec", command)
}

// WaitUp waits until systemd has started everything.
func (h *Host) WaitUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		out, err := h.Exec(ctx, "systemctl", "is-system-running")
		if s := strings.TrimSpace(out); s == "running" || s == "degraded" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not come up: %w\n%s", h.Name, err, h.tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (h *Host) tail() string {
	data, err := os.ReadFile(h.Console())
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-3000):])
}

// Crash ends the machine as a power cut does. It stays down until it is booted.
func (h *Host) Crash() {
	h.mu.Lock()
	h.off = true
	h.mu.Unlock()
	if r := h.current(); r != nil {
		_ = syscall.Kill(r.leader, syscall.SIGKILL)
		<-r.Done()
	}
	h.wg.Wait()
}

// Close ends the machine and removes what it has of the machine that the tests run
// on.
func (h *Host) Close() {
	h.end.Store(true)
	h.Crash()
	h.janitor.clean()
}
