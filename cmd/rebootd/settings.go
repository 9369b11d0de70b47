package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"

	"github.com/rs/zerolog"
	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
)

// settings knows the settings that are in force, and which of them a daemon is made for. It
// is safe for concurrent use.
type settings struct {
	args, environ []string
	file          string // the configuration file; "": there is none
	metrics       *daemon.Metrics

	reading sync.Mutex // held while the file is read and taken in; before mu
	mu      sync.Mutex
	config  *config
	refused string  // why the file as it stands is not obeyed; "": it is
	running *wiring // what the daemon that runs is made for
	next    *wiring // what the next one is made for
	seen    seen    // what running was found to fit for last
	coming  seen    // what next is for
	wake    func()  // has the daemon that runs look again; may be nil
	log     zerolog.Logger
}

// wiring is what a daemon is made for.
type wiring struct {
	cfg  *config
	pool string // its name, "" for none
	mark string // the annotation that says which daemon runs here
}

// seen is all that the settings of a node depend on.
type seen struct {
	config *config
	pool   *pool
	lock   string
}

// first is what the first daemon is made for, which has not read its Node yet: until it has,
// it does nothing but wait.
func (s *settings) first() *wiring {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running, s.seen = s.choose(nil, ""), seen{config: s.config}
	return s.running
}

// runs notes which daemon runs, and is the wiring to use for it.
func (s *settings) runs(log zerolog.Logger, wake func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log, s.wake = log, wake
}

// following is what the next daemon is made for.
func (s *settings) following() *wiring {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next != nil {
		s.running, s.seen, s.next = s.next, s.coming, nil
	}
	return s.running
}

// fits says whether the daemon that runs is made for what stands on its Node.
func (s *settings) fits(now daemon.Standing) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	depends := seen{s.config, s.config.of(now.Labels), now.Lock}
	if depends == s.seen {
		s.next = nil
		return true
	}
	w := s.choose(depends.pool, now.Lock)
	if reflect.DeepEqual(w, s.running) {
		s.seen, s.next = depends, nil
		return true
	}
	s.next, s.coming = w, depends
	return false
}

// choose is what a daemon is to be made for. An operation keeps what its claims depend on
// until they are given back.
func (s *settings) choose(p *pool, lock string) *wiring {
	own := s.config.in(p)
	cfg := *own
	cfg.pools = nil
	if lock != "" {
		cfg.LockName = lock
		if was := s.knows(lock); was != nil {
			cfg.Slots, cfg.Same, cfg.NodeLease, cfg.NodeLeaseNamespace = was.Slots, was.Same, was.NodeLease, was.NodeLeaseNamespace
		}
	}
	return &wiring{&cfg, poolName(p), api.Daemon{Version: versionString(), Settings: own.hash(), Pool: poolName(p)}.String()}
}

// knows are settings for a lock: those of the daemon that runs, or else of whichever pool
// has it now.
func (s *settings) knows(lock string) *config {
	if s.running != nil && s.running.cfg.LockName == lock {
		return s.running.cfg
	}
	for _, p := range s.config.pools {
		if p.settings.LockName == lock {
			return p.settings
		}
	}
	if s.config.LockName == lock {
		return s.config
	}
	return nil
}

// whyRefused is why the configuration file as it stands is not obeyed.
func (s *settings) whyRefused() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// reload reads the configuration file again. What is wrong with it is said, and changes
// nothing.
func (s *settings) reload() {
	s.reading.Lock()
	defer s.reading.Unlock()
	var c *config
	var err error
	if s.file != "" {
		c, err = s.readAgain() // without mu: the daemon that runs must not wait for a disk
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == "" {
		s.log.Info().Msg("asked to read the configuration again, but there is no configuration file; nothing changes")
		return
	}
	if err != nil {
		s.refuse(err)
		return
	}
	if s.refused != "" {
		s.log.Info().Str("file", s.file).Msg("the configuration file is valid again")
	}
	s.refused = ""
	s.metrics.ConfigRefused(false)
	if !reflect.DeepEqual(c, s.config) {
		s.log.Info().Str("file", s.file).Strs("changed", changed(s.config, c)).Msg("the configuration file has changed; its settings take effect")
		s.config = c
	}
	s.awaken()
}

func (s *settings) refuse(err error) {
	var all []string
	for _, e := range flatten(err) {
		all = append(all, printable.Line(e.Error(), maxField))
	}
	why := strings.Join(all, "; ")
	if why != s.refused {
		s.log.Error().Str("file", s.file).Strs("problems", all).Str("reason", string(api.ReasonConfigRefused)).
			Msg("the configuration file is refused; the settings from before stay in force")
	}
	s.refused = why
	s.metrics.ConfigRefused(true)
	s.awaken()
}

func (s *settings) awaken() {
	if s.wake != nil {
		s.wake()
	}
}

// ofStart are settings that stay as they were at the start of the process: with another, it
// would be another daemon.
var ofStart = []string{"node-name", "kubeconfig", "namespace", "host-root"}

// readAgain is the configuration as it is now. It is called with reading held.
func (s *settings) readAgain() (*config, error) {
	c, _, err := load(s.args, s.environ)
	if err != nil {
		return nil, err // what c has instead is not what anybody wants
	}
	s.mu.Lock()
	was := s.config
	s.mu.Unlock()
	var errs []error
	for _, o := range options() {
		if is := o.get(c); slices.Contains(ofStart, o.flag) && is != o.get(was) {
			errs = append(errs, fmt.Errorf("%s: key %s: cannot be changed to %v while the daemon runs; restart it", s.file, keyName(o.flag), is))
		}
	}
	return c, errors.Join(errs...)
}

// changed are the keys of the file that two configurations differ in.
func changed(a, b *config) (out []string) {
	for _, o := range options() {
		if !reflect.DeepEqual(o.get(a), o.get(b)) {
			out = append(out, keyName(o.flag))
		}
	}
	if !reflect.DeepEqual(a.pools, b.pools) {
		out = append(out, poolsKey)
	}
	return out
}

// hash is short, and the same for nodes that have the same settings, but for those of the
// process. What check-config hides is not in it.
func (c *config) hash() string {
	sum := sha256.New()
	for _, o := range options() {
		if !slices.Contains(ofProcess, o.flag) {
			data, _ := json.Marshal(o.get(c)) // strings, numbers and lists of them always can be
			fmt.Fprintf(sum, "%s=%s\n", o.flag, data)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)[:6])
}
