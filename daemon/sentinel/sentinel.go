// Package sentinel watches the files by which a host asks for a reboot. It knows
// files and inotify; it knows neither Kubernetes nor what a reboot is.
//
// What it reports is always what stat(2) said after the last event, never what
// an event said: an event is only the reason to look. It watches before it
// looks, so nothing falls between. The directories on the way to a sentinel are
// watched too, as far as they exist, so a directory that appears, goes away and
// comes back, or is a link that is turned elsewhere, is followed.
//
// Paths are those of the host, below a root directory: a symbolic link on the
// way, absolute or not, is resolved below the root and cannot lead out of it.
//
// When the kernel has no inotify instance or watch left, the package says so and
// looks every pollEvery, until it gets them.
package sentinel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/fsnotify/fsnotify"

	"rebootd.dev/daemon/api"
)

const (
	// pollEvery is how often the files are looked at while inotify is not to be
	// had.
	pollEvery = 30 * time.Second
	// lookEvery is how often they are looked at anyway.
	lookEvery = 5 * time.Minute
)

// State is what is known at one moment: the sentinels that are present, in the
// order in which they were configured.
type State struct {
	Files []File
	// Problems are sentences about what is there and is no sentinel, or cannot be
	// read, about directories that are not there, and about inotify.
	Problems []string
	// Notes are sentences about paths that are looked at by another name.
	Notes []string
}

// File is a sentinel that is present.
type File struct {
	api.SentinelFile
	ModTime  time.Time
	Content  string   // its beginning, on one line
	Packages []string // from Path.pkgs, sorted, each once
}

// Watcher watches sentinels.
type Watcher struct {
	root   string
	paths  []string
	states chan State

	inotify *fsnotify.Watcher
	watched map[string]os.FileInfo // by directory, as it was when the watch began
	names   map[string]map[string]bool
	broken  error // why there is no inotify

	newInotify func() (*fsnotify.Watcher, error)
}

// New makes a watcher of paths, absolute paths on the host, below root. It
// touches nothing until Run.
func New(root string, paths []string) (*Watcher, error) {
	if len(paths) == 0 {
		return nil, errors.New("watch the sentinels: no path was given")
	}
	for _, p := range paths {
		if !filepath.IsAbs(p) {
			return nil, fmt.Errorf("watch the sentinel %q: not an absolute path", p)
		}
	}
	return &Watcher{root: filepath.Clean(root), paths: paths, states: make(chan State, 1), newInotify: fsnotify.NewWatcher}, nil
}

// States gives the newest state whenever it has changed, the first as soon as
// the files were looked at. A slow receiver misses what is outdated, never the
// newest.
func (w *Watcher) States() <-chan State { return w.states }

// Run watches until ctx ends.
func (w *Watcher) Run(ctx context.Context) {
	defer w.close()
	var said *State
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		s := w.look()
		if said == nil || !reflect.DeepEqual(*said, s) {
			w.publish(s)
			said = &s
		}
		if w.broken != nil {
			timer.Reset(pollEvery)
		} else {
			timer.Reset(lookEvery)
		}
		if !w.wait(ctx, timer.C) {
			return
		}
	}
}

// wait returns true when there is reason to look, false when ctx has ended.
func (w *Watcher) wait(ctx context.Context, timer <-chan time.Time) bool {
	var events chan fsnotify.Event
	var errs chan error
	if w.inotify != nil {
		events, errs = w.inotify.Events, w.inotify.Errors
	}
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer:
			return true
		case <-errs:
			// An overflow of the queue, or a watch that broke: what was watched may not be
			// the same any more.
			clear(w.watched)
			return true
		case e := <-events:
			dir, name := filepath.Split(e.Name)
			dir, self := filepath.Clean(dir), filepath.Clean(e.Name)
			watched := w.watched[self] != nil
			if watched && e.Has(fsnotify.Remove|fsnotify.Rename) {
				// Its watch has ended with it, although what is there now may look the same:
				// a new directory may have the number of one that was removed.
				_ = w.inotify.Remove(self)
				delete(w.watched, self)
			}
			if w.names[dir][name] || watched {
				return true
			}
		}
	}
}

func (w *Watcher) publish(s State) {
	for {
		select {
		case w.states <- s:
			return
		default:
		}
		select {
		case <-w.states: // outdated
		default:
		}
	}
}

// look makes the watches what they must be and then reads the sentinels.
func (w *Watcher) look() State {
	var s State
	paths, found := w.distinct(&s), []resolved(nil)
	// The watches must be in place before what they watch is looked at.
	for range 10 {
		found = found[:0]
		for _, p := range paths {
			found = append(found, resolve(w.root, p.at), resolve(w.root, p.at+pkgsSuffix))
		}
		if !w.rewatch(found) {
			break
		}
	}
	for i, p := range paths {
		f, problem := read(p.path, found[2*i], found[2*i+1])
		if f != nil {
			s.Files = append(s.Files, *f)
		}
		if problem != "" {
			s.Problems = append(s.Problems, problem)
		}
	}
	if w.broken != nil {
		s.Problems = append(s.Problems, fmt.Sprintf("inotify is not available (%v): checking every %s instead", w.broken, pollEvery))
	}
	return s
}

// rewatch watches the directories that were looked into, and no others. It says
// whether a watch was added.
func (w *Watcher) rewatch(found []resolved) (added bool) {
	w.broken = nil
	if w.inotify == nil {
		inotify, err := w.newInotify()
		if err != nil {
			w.broken = err
			return false
		}
		w.inotify, w.watched = inotify, map[string]os.FileInfo{}
	}
	w.names = map[string]map[string]bool{}
	for _, r := range found {
		for _, l := range r.lookups {
			if w.names[l.dir] == nil {
				w.names[l.dir] = map[string]bool{}
			}
			w.names[l.dir][l.name] = true
		}
	}
	for dir, was := range w.watched {
		now, err := os.Lstat(dir)
		if w.names[dir] == nil || err != nil || !os.SameFile(was, now) {
			_ = w.inotify.Remove(dir) // gone already, when the directory is
			delete(w.watched, dir)
		}
	}
	for dir := range w.names {
		if w.watched[dir] != nil {
			continue
		}
		info, err := os.Lstat(dir)
		if err != nil {
			continue // gone since: its parent's watch will tell
		}
		if err := w.inotify.Add(dir); err != nil {
			if !errors.Is(err, os.ErrNotExist) {
				w.close()
				w.broken = fmt.Errorf("watch %s: %w", dir, err)
				return false
			}
			continue
		}
		w.watched[dir] = info
		added = true
	}
	return added
}

func (w *Watcher) close() {
	if w.inotify != nil {
		_ = w.inotify.Close()
		w.inotify, w.watched = nil, nil
	}
}
