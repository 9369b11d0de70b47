package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/labels"

	"rebootd.dev/cmd/kubectl-rebootd/client"
	"rebootd.dev/cmd/kubectl-rebootd/live"
	"rebootd.dev/daemon/printable"
	"rebootd.dev/daemon/window/zones"
)

const (
	// drawPause is the least time between two frames.
	drawPause = time.Second
	// refreshPause is the time after which how long things last is shown anew.
	refreshPause = 10 * time.Second
)

// watch shows the fleet until ctx or a key ends it: live on a terminal, else a line a change.
func (e *env) watch(ctx context.Context, api client.API, o statusOptions, wanted labels.Selector) error {
	ctx, cancel := context.WithCancel(ctx)
	events, failed := make(chan live.Event), make(chan error, 1)
	go func() {
		defer close(events)
		failed <- live.Follow(ctx, api, e.flags.timeout, events)
	}()
	w := &watcher{e: e, o: o, wanted: wanted}
	var err error
	if w.ready(events) {
		if _, _, is := e.terminal(); is {
			err = w.screen(ctx, events)
		} else {
			err = w.lines(events)
		}
	}
	cancel()
	for range events { // until Follow has ended
	}
	if first := <-failed; first != nil {
		return e.cannotRead(ctx, first)
	}
	return err
}

// watcher is one run of status --watch.
type watcher struct {
	e      *env
	o      statusOptions
	wanted labels.Selector
	model  live.Model
	told   map[string]string // what was printed last of each node
	// leases says that Leases are known, or why they are not; unread that they may not be read.
	leases, unread bool
}

// ready waits until Nodes are known, and says whether they are.
func (w *watcher) ready(events <-chan live.Event) bool {
	for ev := range events {
		w.apply(ev)
		if ev.Nodes != nil {
			return true
		}
	}
	return false
}

// apply takes in an event. On a terminal the footer says that Leases cannot be read.
func (w *watcher) apply(ev live.Event) {
	if _, _, is := w.e.terminal(); !is && ev.Unread != nil && !w.unread {
		w.e.sayf("showing less, since Leases cannot be read: which slots are held, and whether the lock is paused, is not known: %v", ev.Unread)
	}
	if ev.OfLeases {
		w.leases, w.unread = true, ev.Unread != nil
	}
	w.model.Apply(ev, w.e.now())
}

func (w *watcher) view() *view {
	f := w.model.Fleet(w.e.now())
	f.Zones = zones.Load
	return w.e.view(f, w.o, w.wanted)
}

// screen shows the present state in place, until q, Ctrl-C or the end of ctx. Its last frame
// stays on the terminal.
func (w *watcher) screen(ctx context.Context, events <-chan live.Event) (err error) {
	restore, keys := w.keys(ctx)
	s := live.NewScreen(w.e.out)
	defer func() {
		closed := s.Close()
		restore()
		if err == nil {
			err = closed
		}
		if err == nil {
			err = w.e.show(w.view(), w.o)
		}
	}()
	var resized <-chan os.Signal
	if w.e.resizes != nil {
		resized = w.e.resizes(ctx)
	}
	due := time.NewTimer(0)
	defer due.Stop()
	var drawn time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case ev, ok := <-events:
			if !ok {
				return nil
			}
			w.model.Apply(ev, w.e.now())
			due.Reset(max(0, drawPause-time.Since(drawn)))
			continue
		case key, ok := <-keys:
			if !ok {
				keys = nil
			} else if key == 'q' || key == 'Q' || key == 3 || key == 4 { // Ctrl-C, Ctrl-D
				return nil
			}
			continue
		case <-resized:
		case <-due.C:
		}
		width, height, _ := w.e.terminal()
		if err := s.Draw(w.frame(width, height), width, height); err != nil {
			return fmt.Errorf("write to the terminal: %w", err)
		}
		drawn = time.Now()
		due.Reset(refreshPause)
	}
}

// frame is what the screen shows.
func (w *watcher) frame(width, height int) []string {
	const footer = 2
	room := max(height-footer, 1)
	lines := w.view().lines(width, room)
	if len(lines) > room {
		more := len(lines) - room + 1
		lines = append(lines[:room-1], w.e.paint(dim, fmt.Sprintf("... %d more lines: the terminal is too small", more)))
	}
	return append(lines, "", w.footer())
}

func (w *watcher) footer() string {
	if since, err := w.model.Away(); err != nil {
		return w.e.paint(red, fmt.Sprintf("not up to date since %s, retrying: %s", since.In(w.e.zone).Format("15:04:05 MST"), printable.Line(err.Error(), 300)))
	}
	text := "q quits"
	if w.model.Fleet(w.e.now()).Unread != nil {
		text += "; Leases cannot be read: slots and pauses are not known"
	}
	return w.e.paint(dim, text)
}

// keys are those that are typed, and restore gives the terminal back.
func (w *watcher) keys(ctx context.Context) (restore func(), keys <-chan byte) {
	restore = func() {}
	if f, ok := w.e.in.(*os.File); ok {
		fd := int(f.Fd())
		was, err := term.MakeRaw(fd)
		if err != nil {
			return restore, nil // not a terminal: a signal ends the watch
		}
		restore = func() { _ = term.Restore(fd, was) }
	}
	c := make(chan byte)
	go func() { // ends with the program at the latest: a terminal cannot be interrupted while it is read
		defer close(c)
		var b [1]byte
		for {
			if _, err := io.ReadFull(w.e.in, b[:]); err != nil {
				return
			}
			select {
			case c <- b[0]:
			case <-ctx.Done():
				return
			}
		}
	}()
	return restore, c
}

// lines prints how things stand, and then a line a change, until events end.
func (w *watcher) lines(events <-chan live.Event) error {
	w.told = map[string]string{}
	for !w.leases { // else it would be said that no lock is paused, and no slot is held
		ev, ok := <-events
		if !ok {
			return nil
		}
		w.apply(ev)
	}
	if _, err := w.model.Away(); err != nil {
		w.e.sayf("not up to date, retrying: %v", err)
	}
	v := w.view()
	if err := w.print("-", v.verdict()); err != nil {
		return err
	}
	if err := w.changes(v, true); err != nil {
		return err
	}
	for ev := range events {
		_, was := w.model.Away()
		w.apply(ev)
		switch _, err := w.model.Away(); {
		case err != nil && was == nil:
			w.e.sayf("not up to date any more, retrying: %v", err)
		case err == nil && was != nil:
			w.e.sayf("up to date again")
		}
		if ev.Away != nil || ev.Back {
			continue
		}
		if err := w.changes(w.view(), false); err != nil {
			return err
		}
	}
	return nil
}

// changes prints a line for all that is different from what was printed last. At first
// nodes with nothing to do are left out.
func (w *watcher) changes(v *view, first bool) error {
	now := map[string]string{}
	for _, n := range v.nodes {
		now[n.Name] = strings.Join([]string{phaseOf(n), orDash(reasonOf(n)) + ":", orDash(messageOf(n))}, " ")
		if w.told[n.Name] == now[n.Name] || first && codeOf(n) == exitOK {
			continue
		}
		if err := w.print(n.Name, now[n.Name]); err != nil {
			return err
		}
	}
	for _, p := range v.f.Pauses {
		if p.Over(v.f.At) {
			continue
		}
		key := strings.Join([]string{" ", p.Lease, p.Until.UTC().String(), p.UntilText, p.Why}, "\n") // no Node has such a name
		if now[key] = w.told[key]; now[key] != "" {
			continue // what it says of today and tomorrow changes at midnight
		}
		if now[key] = v.pause(p); !first {
			if err := w.print("-", now[key]); err != nil {
				return err
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.told)) {
		if _, there := now[name]; there {
			continue
		}
		var err error
		if strings.HasPrefix(name, " ") {
			err = w.print("-", "no longer "+w.told[name])
		} else {
			err = w.print(name, "Deleted")
		}
		if err != nil {
			return err
		}
	}
	w.told = now
	return nil
}

func (w *watcher) print(node, text string) error {
	_, err := fmt.Fprintf(w.e.out, "%s %s %s\n", w.e.now().In(w.e.zone).Format(time.RFC3339), node, text)
	return err
}
