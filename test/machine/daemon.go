package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/proc"
)

// Change has every later start of the daemon be of another binary, with other
// arguments.
func (m *Machine) Change(binary string, args ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Binary, m.Args = binary, args
}

// StartDaemon starts the daemon if it does not run.
func (m *Machine) StartDaemon() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down || m.ctx.Err() != nil || m.runs() {
		return nil
	}
	argv := append([]string{
		m.Binary, "--node-name=" + m.Name, "--kubeconfig=" + m.Kubeconfig, "--namespace=" + cluster.Namespace,
		"--host-root=" + m.Root, fmt.Sprintf("--metrics-address=127.0.0.1:%d", m.MetricsPort),
		"--reboot-command=" + m.simreboot + " " + m.socket, "--log-level=debug",
	}, m.Args...)
	var err error
	// The uptime is that of the machine that the tests run on, and here it boots every moment.
	env := append(os.Environ(), "REBOOTD_MIN_UPTIME=0")
	m.daemon, err = proc.Start(m.LogFile(), env, argv...)
	return err
}

func (m *Machine) runs() bool {
	if m.daemon == nil {
		return false
	}
	select {
	case <-m.daemon.Done():
		return false
	default:
		return true
	}
}

// Running says whether the daemon runs.
func (m *Machine) Running() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.runs()
}

// Daemon is the daemon's process, nil before the first start.
func (m *Machine) Daemon() *proc.Process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.daemon
}

// KillDaemon ends the daemon at once, and nothing else.
func (m *Machine) KillDaemon() {
	if d := m.Daemon(); d != nil {
		d.Kill()
	}
}

// StopDaemon sends SIGTERM and returns the exit status and how long that took.
func (m *Machine) StopDaemon() (status int, took time.Duration) {
	d := m.Daemon()
	began := time.Now()
	d.Signal(syscall.SIGTERM)
	<-d.Done()
	return d.ExitCode(), time.Since(began)
}

// LogFile is the daemon's log, of all its starts.
func (m *Machine) LogFile() string { return filepath.Join(m.Dir, "rebootd.log") }

// Log is what the daemon has logged, of all its starts.
func (m *Machine) Log() string {
	data, err := os.ReadFile(m.LogFile())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err.Error()
	}
	return string(data)
}
