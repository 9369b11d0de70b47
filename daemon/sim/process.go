package sim

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/sentinel"
	"rebootd.dev/reboot"
)

// Process is one start of the daemon on a machine: its way to the API server, and what it
// sees of the machine. It implements daemon.Host.
type Process struct {
	*Machine
	Link   *Link
	Client *Client

	states chan sentinel.State
	cancel context.CancelFunc
	ended  chan struct{}
	alive  atomic.Int64
	status atomic.Value
}

// Start starts run, which is to run a daemon made of the process's parts until ctx ends.
func (m *Machine) Start(run func(ctx context.Context, p *Process)) *Process {
	link := NewLink()
	ctx, cancel := context.WithCancel(context.Background())
	p := &Process{
		Machine: m, Link: link, Client: &Client{world: m.World, link: link, manager: api.FieldManager},
		states: make(chan sentinel.State, 1), cancel: cancel, ended: make(chan struct{}),
	}
	m.mu.Lock()
	m.starts++
	m.processes = append(m.processes, p)
	p.tellSentinels(m.sentinels())
	m.mu.Unlock()
	go func() {
		defer close(p.ended)
		run(ctx, p)
	}()
	return p
}

// Kill kills the process: nothing that it does from now on has an effect. It does not
// wait, and may be called by the process itself.
func (p *Process) Kill() {
	p.Link.kill()
	p.cancel()
}

// Terminate tells the process to stop.
func (p *Process) Terminate() { p.cancel() }

// Wait waits until the process has ended.
func (p *Process) Wait() { <-p.ended }

// Stop tells the process to stop, and waits until it has.
func (p *Process) Stop() {
	p.Terminate()
	p.Wait()
	p.Kill()
}

// Dead says whether the process was killed.
func (p *Process) Dead() bool { return p.Link.isDead() }

// tellSentinels gives the process the newest state: what is outdated is dropped.
func (p *Process) tellSentinels(s sentinel.State) {
	select {
	case <-p.states:
	default:
	}
	p.states <- s
}

// Sentinels is for daemon.Config, of each daemon that the process runs, one after the
// other: the newest state comes first.
func (p *Process) Sentinels() <-chan sentinel.State {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tellSentinels(p.sentinels())
	return p.states
}

// Boot implements daemon.Host.
func (p *Process) Boot() (reboot.Boot, error) {
	p.mu.Lock()
	err := p.bootErr
	p.mu.Unlock()
	if err != nil {
		return reboot.Boot{}, err
	}
	id, at := p.boot()
	return reboot.Boot{ID: id, Time: p.Now().Add(-time.Since(at)).Truncate(time.Second)}, nil
}

// Uptime implements daemon.Host.
func (p *Process) Uptime() time.Duration {
	_, at := p.boot()
	return time.Since(at)
}

// CancelShutdown is for daemon.Config.
func (p *Process) CancelShutdown(context.Context) error { return p.Logind.cancel() }

// WatchShutdown is for daemon.Config.
func (p *Process) WatchShutdown(ctx context.Context, seen func(reboot.Shutdown, error)) {
	p.Logind.watch(ctx, seen)
}

// Userspace is for daemon.Config.
func (p *Process) Userspace(context.Context) (reboot.Userspace, error) { return p.Systemd.read() }

// Alive is for daemon.Config: it counts the turns of the loop.
func (p *Process) Alive() { p.alive.Add(1) }

// Turns is how often Alive was called.
func (p *Process) Turns() int { return int(p.alive.Load()) }

// SetStatus is for daemon.Config.
func (p *Process) SetStatus(text string) { p.status.Store(text) }

// Status is what people read in systemd's status.
func (p *Process) Status() string {
	s, _ := p.status.Load().(string)
	return s
}

// Write takes lines of the log into the journal.
func (p *Process) Write(line []byte) (int, error) {
	if !p.Dead() {
		p.World.Note(p.Name, "log", "%s", line)
	}
	return len(line), nil
}

// Spawn starts a reboot command.
func (p *Process) Spawn(level api.Level, output func(string)) (*Command, error) {
	if p.Dead() {
		return nil, errors.New("the process is dead")
	}
	c := &Command{Level: level, Process: p, output: output, done: make(chan struct{})}
	p.mu.Lock()
	p.command = c
	p.mu.Unlock()
	p.World.Note(p.Name, "machine", "the reboot command is started: %s", level)
	if p.OnCommand != nil {
		if err := p.OnCommand(c); err != nil {
			return nil, err
		}
	}
	return c, nil
}
