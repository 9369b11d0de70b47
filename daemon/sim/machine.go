package sim

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/sentinel"
)

// Machine is a machine and its Node.
type Machine struct {
	World   *World
	Name    string
	Logind  *Logind
	Systemd *Systemd
	Drain   *Drain
	Lease   *NodeLease
	Hooks   *Hooks
	// OnCommand is told of each reboot command that is started; an error is why it cannot
	// be. nil: it runs until the test ends it.
	OnCommand func(*Command) error

	mu        sync.Mutex
	up        bool
	boots     int
	booted    time.Time
	clock     time.Duration // ahead of the world's
	files     []sentinel.File
	inodes    int
	problems  []string
	processes []*Process // of this boot
	starts    int
	command   *Command
	bootErr   error
	kernel    bool // one is loaded for a kexec
}

// AddMachine makes a machine that is up, with a Node that is Ready.
func (w *World) AddMachine(name string) *Machine {
	m := &Machine{
		World: w, Name: name, Logind: newLogind(), Systemd: &Systemd{}, up: true, boots: 1, booted: time.Now(),
	}
	m.Drain = newDrain(m)
	m.Lease = &NodeLease{m: m}
	m.Hooks = &Hooks{m: m, changed: make(chan struct{})}
	w.mu.Lock()
	w.machines[name] = m
	w.mu.Unlock()
	m.Join()
	return m
}

// Join makes the machine's Node, as a kubelet does that finds none.
func (m *Machine) Join() {
	uid, err := m.World.Leases.AddNode(context.Background(), m.Name)
	if err != nil {
		panic(err)
	}
	n := &corev1.Node{}
	n.Name, n.UID = m.Name, uid
	m.World.Nodes.Create(n)
	m.KubeletReports(true, "")
}

// Leave deletes the machine's Node, and with it, a moment later, the Leases that it owns.
func (m *Machine) Leave() {
	m.World.Nodes.Delete(m.Name)
	_ = m.World.Leases.DeleteNode(context.Background(), m.Name)
}

// Edit changes the Node as people do, by kubectl.
func (m *Machine) Edit(change func(*corev1.Node)) { m.World.Nodes.Edit(m.Name, "kubectl", change) }

// Node is a copy of the Node, nil if there is none.
func (m *Machine) Node() *corev1.Node { return m.World.Nodes.Get(m.Name) }

// Annotate sets an annotation as people do, or removes it if value is "".
func (m *Machine) Annotate(key, value string) {
	m.Edit(func(n *corev1.Node) {
		if value == "" {
			delete(n.Annotations, key)
			return
		}
		if n.Annotations == nil {
			n.Annotations = map[string]string{}
		}
		n.Annotations[key] = value
	})
}

// KubeletReports has the kubelet report this boot, and whether the node is ready.
func (m *Machine) KubeletReports(ready bool, message string) {
	boot, _ := m.boot()
	now := metav1.NewTime(m.Now().Truncate(time.Second))
	c := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: now, LastTransitionTime: now}
	if !ready {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, "KubeletNotReady", message
	}
	m.World.Nodes.Edit(m.Name, "kubelet", func(n *corev1.Node) {
		n.Status.NodeInfo.BootID, n.Status.NodeInfo.KernelVersion = boot, "of "+boot
		if old := conditionOf(n, corev1.NodeReady); old != nil {
			*old = c
			return
		}
		n.Status.Conditions = append(n.Status.Conditions, c)
	})
}

// Now is the time by the machine's clock.
func (m *Machine) Now() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Add(m.clock)
}

// SetClock sets the machine's clock, and with it the time of its boot (proc(5), btime). No
// process is told.
func (m *Machine) SetClock(to time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clock = time.Until(to)
	m.World.Note(m.Name, "machine", "its clock is set to %s", to.UTC().Format(time.DateTime))
}

func (m *Machine) boot() (id string, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprintf("boot-%d-%s", m.boots, m.Name), m.booted
}

// BootID is that of the boot that runs.
func (m *Machine) BootID() string {
	id, _ := m.boot()
	return id
}

// HideBoot has reading the boot's identity fail with err; nil ends that.
func (m *Machine) HideBoot(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bootErr = err
}

// LoadKernel loads a kernel for a kexec, until the next boot.
func (m *Machine) LoadKernel() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.kernel = true
}

// KexecLoaded implements daemon.Host.
func (m *Machine) KexecLoaded() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kernel
}

// Up says whether the machine is up.
func (m *Machine) Up() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.up
}

// Touch makes a sentinel, or touches it.
func (m *Machine) Touch(path, content string) { m.touch(path, content, m.Now()) }

// TouchOld makes a sentinel that has been there since before the boot.
func (m *Machine) TouchOld(path, content string) {
	_, at := m.boot()
	m.touch(path, content, at.Add(time.Until(m.Now())-time.Hour))
}

func (m *Machine) touch(path, content string, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(path)
	m.inodes++
	f := api.SentinelFile{Path: path, Device: 1, Inode: uint64(m.inodes), Changed: at, Sum: content, Volatile: strings.HasPrefix(path, "/run/")}
	m.files = append(m.files, sentinel.File{SentinelFile: f, ModTime: at, Content: content})
	m.tellSentinels()
}

// RemoveSentinel removes a sentinel.
func (m *Machine) RemoveSentinel(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(path)
	m.tellSentinels()
}

// HasSentinel says whether there is a sentinel.
func (m *Machine) HasSentinel(path string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, f := range m.files {
		if f.Path == path {
			return true
		}
	}
	return false
}

func (m *Machine) remove(path string) {
	var left []sentinel.File
	for _, f := range m.files {
		if f.Path != path {
			left = append(left, f)
		}
	}
	m.files = left
}

// Problem has the watcher of the sentinels say that something is wrong; "" ends that.
func (m *Machine) Problem(says string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.problems = nil; says != "" {
		m.problems = []string{says}
	}
	m.tellSentinels()
}

func (m *Machine) sentinels() sentinel.State {
	return sentinel.State{Files: slices.Clone(m.files), Problems: m.problems}
}

func (m *Machine) tellSentinels() {
	for _, p := range m.processes {
		p.tellSentinels(m.sentinels())
	}
}

// GoesDown takes the machine down, with all that runs on it.
func (m *Machine) GoesDown() {
	m.killAll()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.up = false
}

func (m *Machine) killAll() {
	m.mu.Lock()
	all := m.processes
	m.processes = nil
	c := m.command
	m.mu.Unlock()
	for _, p := range all {
		p.Kill()
	}
	c.forget()
}

// Boots boots the machine: what was in /run is gone, and nothing was reported by the
// kubelet yet. No daemon is started.
func (m *Machine) Boots() {
	m.GoesDown()
	m.Logind.Set(nil)
	m.Systemd.reset()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.up, m.boots, m.booted, m.command, m.kernel = true, m.boots+1, time.Now(), nil, false
	var left []sentinel.File
	for _, f := range m.files {
		if !strings.HasPrefix(f.Path, "/run/") {
			left = append(left, f)
		}
	}
	m.files = left
}

// SoftReboots starts the machine's userspace over. No daemon is started.
func (m *Machine) SoftReboots() {
	m.killAll()
	m.Logind.Set(nil)
	m.Systemd.softReboots(m.Now())
	m.mu.Lock()
	defer m.mu.Unlock()
	m.command = nil
}

// Command is the reboot command that was started last in this boot, nil if none was.
func (m *Machine) Command() *Command {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.command
}
