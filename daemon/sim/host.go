package sim

import (
	"context"
	"sync"
	"time"

	"rebootd.dev/reboot"
)

// Logind is a machine's login manager.
type Logind struct {
	mu      sync.Mutex
	state   reboot.Shutdown
	err     error
	silent  bool
	changed chan struct{}
}

func newLogind() *Logind { return &Logind{changed: make(chan struct{})} }

// Set changes what is known of shutdowns; nil: nothing is.
func (l *Logind) Set(change func(*reboot.Shutdown)) {
	l.update(func() {
		if change == nil {
			l.state = reboot.Shutdown{}
			return
		}
		change(&l.state)
	})
}

// Fail has it answer with err; nil ends that.
func (l *Logind) Fail(err error) { l.update(func() { l.err = err }) }

// Silence has it answer nothing to those who ask, until it is ended.
func (l *Logind) Silence(silent bool) { l.update(func() { l.silent = silent }) }

// cancel cancels what is scheduled.
func (l *Logind) cancel() error {
	l.mu.Lock()
	err := l.err
	l.mu.Unlock()
	if err != nil {
		return err
	}
	l.Set(func(s *reboot.Shutdown) { s.Kind, s.At = "", time.Time{} })
	return nil
}

func (l *Logind) update(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *Logind) watch(ctx context.Context, seen func(reboot.Shutdown, error)) {
	var said reboot.Shutdown
	var saidErr error
	first := true
	for ctx.Err() == nil {
		l.mu.Lock()
		state, err, silent, changed := l.state, l.err, l.silent, l.changed
		l.mu.Unlock()
		if err != nil {
			state = reboot.Shutdown{}
		}
		if !silent && (first || state != said || err != saidErr) {
			first, said, saidErr = false, state, err
			seen(state, err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
}

// Systemd is a machine's service manager, as far as it knows of soft reboots.
type Systemd struct {
	mu     sync.Mutex
	counts bool
	err    error
	found  reboot.Userspace
}

// Counts has it count soft reboots, which versions before 256 do not.
func (s *Systemd) Counts() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts = true
}

// Fail has it answer with err; nil ends that.
func (s *Systemd) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *Systemd) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found = reboot.Userspace{}
}

func (s *Systemd) softReboots(at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found = reboot.Userspace{SoftReboots: s.found.SoftReboots + 1, Since: at}
}

func (s *Systemd) read() (reboot.Userspace, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.err != nil:
		return reboot.Userspace{}, s.err
	case !s.counts:
		return reboot.Userspace{}, reboot.ErrNoSoftReboots
	}
	return s.found, nil
}
