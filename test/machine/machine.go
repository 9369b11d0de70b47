// Package machine simulates a machine for tests: a directory that is its root
// file system, a Node in the cluster, a real rebootd, and a reboot command that
// does to them what a reboot does. The daemon dies by SIGKILL, /run is empty, the
// boot ID is another, and the Node is NotReady for a while and then Ready with
// that boot ID.
package machine

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/proc"
)

// Sentinel is the file that asks for a reboot.
const Sentinel = "/run/reboot-needed"

// Behaviour is what the machine does when its reboot command is called.
type Behaviour struct {
	Fail    string        // refuse, with these words
	Nothing bool          // agree, and do nothing
	Hang    bool          // never answer
	Delay   time.Duration // agree, and go down after this
}

// Options make a machine.
type Options struct {
	Cluster *cluster.Cluster
	Name    string // of the Node
	Dir     string // for its root, its log and its socket
	Args    []string
	Binary  string // of rebootd; "" builds it
	// Boot is how long it is down.
	Boot time.Duration
	// NoDaemonAfterBoot leaves the daemon down after a boot.
	NoDaemonAfterBoot bool
}

// Machine is a simulated machine. Its methods are safe for concurrent use.
type Machine struct {
	Options
	Root        string
	MetricsPort int
	Kubeconfig  string // the file of its daemon
	socket      string
	simreboot   string
	listener    net.Listener
	ctx         context.Context
	cancel      context.CancelFunc
	wg          sync.WaitGroup

	mu        sync.Mutex
	behaviour Behaviour
	daemon    *proc.Process
	down      bool
	bootID    string
	orders    int       // calls of the reboot command that were agreed to
	calls     int       // all calls
	outages   []Outage  // when it was down
	unhealthy time.Time // the kubelet stays away until then
}

// Outage is a time in which a machine was down.
type Outage struct{ From, To time.Time }

// New makes a machine, with its Node, and boots it. Its daemon is not started.
func New(ctx context.Context, o Options) (*Machine, error) {
	m := &Machine{Options: o, Root: filepath.Join(o.Dir, "root"), Kubeconfig: filepath.Join(o.Dir, "kubeconfig")}
	m.ctx, m.cancel = context.WithCancel(context.WithoutCancel(ctx))
	var err error
	if m.simreboot, err = cluster.Simreboot(); err != nil {
		return nil, err
	}
	if m.Binary == "" {
		if m.Binary, err = cluster.Rebootd(); err != nil {
			return nil, err
		}
	}
	for _, d := range []string{"run", "proc/sys/kernel/random"} {
		if err := os.MkdirAll(filepath.Join(m.Root, d), 0o755); err != nil {
			return nil, fmt.Errorf("make the machine %s: %w", o.Name, err)
		}
	}
	// The path of a socket may not be long; one in a directory of its own is not.
	sockets, err := os.MkdirTemp("", "sim")
	if err != nil {
		return nil, fmt.Errorf("make the machine %s: %w", o.Name, err)
	}
	m.socket = filepath.Join(sockets, "s")
	if m.listener, err = net.Listen("unix", m.socket); err != nil {
		return nil, fmt.Errorf("make the machine %s: %w", o.Name, err)
	}
	ports, err := cluster.FreePorts(1)
	if err != nil {
		return nil, err
	}
	m.MetricsPort = ports[0]
	if err := o.Cluster.AddNode(ctx, o.Name); err != nil {
		return nil, err
	}
	if err := o.Cluster.DaemonKubeconfig(ctx, o.Name, m.Kubeconfig); err != nil {
		return nil, err
	}
	if err := m.newBoot(); err != nil {
		return nil, err
	}
	if err := m.kubelet().Boots(ctx, m.bootID); err != nil {
		return nil, err
	}
	m.wg.Go(m.answer)
	return m, nil
}

// Stop ends the machine and waits for whatever it was doing. Its Node stays.
func (m *Machine) Stop() {
	m.cancel()
	m.listener.Close()
	m.KillDaemon()
	m.wg.Wait()
	_ = os.RemoveAll(filepath.Dir(m.socket))
}

// kernelLead is how long a kernel runs before anything can touch a file. Without it a
// sentinel could seem to be older than the boot: file times are taken from a clock that
// is behind by up to a tick, and by more on a busy machine.
const kernelLead = 200 * time.Millisecond

// newBoot writes what the kernel of another boot says.
func (m *Machine) newBoot() error {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	id := fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	if err := os.WriteFile(filepath.Join(m.Root, "proc/sys/kernel/random/boot_id"), []byte(id+"\n"), 0o644); err != nil {
		return fmt.Errorf("boot the machine %s: %w", m.Name, err)
	}
	if err := m.BootedAt(time.Now().Add(-kernelLead)); err != nil {
		return fmt.Errorf("boot the machine %s: %w", m.Name, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bootID = id
	return nil
}

// BootedAt has the kernel say when it was booted: another time when the clock is set.
func (m *Machine) BootedAt(t time.Time) error {
	stat := fmt.Sprintf("cpu  1 2 3 4 5 6 7 8 9 10\nctxt 1\nbtime %d\nprocesses 1\n", t.Unix())
	return os.WriteFile(filepath.Join(m.Root, "proc/stat"), []byte(stat), 0o644)
}

// Behave says what the reboot command does from now on.
func (m *Machine) Behave(b Behaviour) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.behaviour = b
}

// StayUnhealthy keeps the kubelet away after boots until the time, which may be
// changed meanwhile.
func (m *Machine) StayUnhealthy(until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unhealthy = until
}

func (m *Machine) isUnhealthy() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return time.Now().Before(m.unhealthy)
}

// BootID is the current boot's.
func (m *Machine) BootID() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bootID
}

// Orders is how often the reboot command was called, and how often the machine
// agreed.
func (m *Machine) Orders() (calls, agreed int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls, m.orders
}

// Outages are the times in which the machine was down; one that is not over has
// no To.
func (m *Machine) Outages() []Outage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]Outage(nil), m.outages...)
}

// answer answers the reboot command.
func (m *Machine) answer() {
	for {
		conn, err := m.listener.Accept()
		if err != nil {
			return
		}
		m.mu.Lock()
		b := m.behaviour
		m.calls++
		if b.Fail == "" && !b.Hang {
			m.orders++
		}
		m.mu.Unlock()
		switch {
		case b.Hang:
			m.wg.Go(func() {
				<-m.ctx.Done()
				conn.Close()
			})
			continue
		case b.Fail != "":
			fmt.Fprintf(conn, "1\n%s\n", b.Fail)
		default:
			fmt.Fprintf(conn, "0\nthe machine %s reboots in %s\n", m.Name, b.Delay)
		}
		conn.Close()
		if b.Fail == "" && !b.Nothing {
			m.wg.Go(func() {
				if m.sleep(b.Delay) {
					_ = m.Crash()
				}
			})
		}
	}
}

func (m *Machine) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-m.ctx.Done():
		return false
	}
}

// Crash takes the machine down at once, as its reboot or a power cut does, and
// boots it. It returns when the kubelet and the daemon run again; a machine that
// is down already stays so.
func (m *Machine) Crash() error {
	m.mu.Lock()
	if m.down {
		m.mu.Unlock()
		return nil
	}
	m.down = true
	m.outages = append(m.outages, Outage{From: time.Now()})
	m.mu.Unlock()
	m.KillDaemon()

	if err := m.kubelet().Down(m.ctx); err != nil {
		return err
	}
	run := filepath.Join(m.Root, "run")
	entries, err := os.ReadDir(run)
	if err != nil {
		return fmt.Errorf("empty /run of %s: %w", m.Name, err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(run, e.Name())); err != nil {
			return fmt.Errorf("empty /run of %s: %w", m.Name, err)
		}
	}
	if !m.sleep(m.Boot) {
		return nil
	}
	if err := m.newBoot(); err != nil {
		return err
	}
	m.mu.Lock()
	m.down = false
	m.outages[len(m.outages)-1].To = time.Now()
	m.mu.Unlock()
	if !m.NoDaemonAfterBoot {
		if err := m.StartDaemon(); err != nil {
			return err
		}
	}
	for m.isUnhealthy() {
		if !m.sleep(100 * time.Millisecond) {
			return nil
		}
	}
	return m.kubelet().Up(m.ctx, m.BootID())
}

func (m *Machine) kubelet() cluster.Kubelet { return cluster.Kubelet{Cluster: m.Cluster, Node: m.Name} }

// Register makes the Node anew, after somebody has deleted it, as a kubelet does.
func (m *Machine) Register(ctx context.Context) error {
	if err := m.Cluster.AddNode(ctx, m.Name); err != nil {
		return err
	}
	return m.kubelet().Boots(ctx, m.BootID())
}

// Touch makes the sentinel, with a reason for people.
func (m *Machine) Touch(reason string, packages ...string) error {
	path := filepath.Join(m.Root, Sentinel)
	if len(packages) > 0 {
		if err := os.WriteFile(path+".pkgs", []byte(strings.Join(packages, "\n")+"\n"), 0o644); err != nil {
			return fmt.Errorf("touch the sentinel of %s: %w", m.Name, err)
		}
	}
	if err := os.WriteFile(path, []byte(reason), 0o644); err != nil {
		return fmt.Errorf("touch the sentinel of %s: %w", m.Name, err)
	}
	return nil
}

// Withdraw removes the sentinel.
func (m *Machine) Withdraw() error {
	if err := os.Remove(filepath.Join(m.Root, Sentinel)); err != nil {
		return fmt.Errorf("remove the sentinel of %s: %w", m.Name, err)
	}
	return nil
}

// Node reads the machine's Node.
func (m *Machine) Node(ctx context.Context) (*corev1.Node, error) {
	return m.Cluster.Client.CoreV1().Nodes().Get(ctx, m.Name, metav1.GetOptions{})
}
