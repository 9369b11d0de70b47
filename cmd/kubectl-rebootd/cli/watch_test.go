package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/cmd/kubectl-rebootd/client"
	"rebootd.dev/daemon/api"
)

// watching is a run of status -w in a bubble of synctest.
type watching struct {
	t       *testing.T
	f       *fakeAPI
	out     safeBuffer
	err     safeBuffer
	keys    *io.PipeWriter
	cancel  context.CancelFunc
	done    chan int
	began   time.Time
	picture *picture // nil: not on a terminal
}

// safeBuffer is a buffer that one goroutine writes and another reads.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// take returns what was written since it was taken last.
func (s *safeBuffer) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.b.Reset()
	return s.b.String()
}

// watched runs test beside status -w with these arguments. With a width it runs on a
// terminal.
func watched(t *testing.T, f *fakeAPI, width, height int, args string, test func(*watching)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		in, keys := io.Pipe()
		w := &watching{t: t, f: f, keys: keys, cancel: cancel, done: make(chan int, 1), began: time.Now()}
		if width > 0 {
			w.picture = newPicture(width, height)
		}
		e := &env{
			version: "v1.2.0", name: "kubectl rebootd", in: in, out: &w.out, err: &w.err, now: w.now, zone: time.UTC,
			connect: func() (client.API, error) { return f, nil }, getenv: func(string) string { return "" },
			terminal: func() (int, int, bool) {
				if w.picture == nil {
					return 0, 0, false
				}
				return w.picture.size()
			},
		}
		go func() { w.done <- e.run(ctx, strings.Fields("status -w --no-color "+args)) }()
		synctest.Wait()
		test(w)
		cancel()
		keys.Close()
		if status := <-w.done; status != exitOK {
			t.Errorf("exit status %d: %s", status, w.err.take())
		}
	})
}

// now is the moment of the situations, and runs on from there.
func (w *watching) now() time.Time { return at.Add(time.Since(w.began)) }

// screen is what stands on the terminal some time later.
func (w *watching) screen(after time.Duration) string {
	time.Sleep(after)
	synctest.Wait()
	w.picture.write(w.out.take())
	return w.picture.String()
}

// TestWatchLines: in a pipe there is a line a change, and nothing while nothing changes.
func TestWatchLines(t *testing.T) {
	var log strings.Builder
	watched(t, blocked(), 0, 0, "", func(w *watching) {
		step := func(what string, change func()) {
			time.Sleep(time.Minute)
			change()
			synctest.Wait()
			fmt.Fprintf(&log, "# %s\n%s", what, w.out.take())
			if err := w.err.take(); err != "" {
				fmt.Fprintf(&log, "--- stderr\n%s", err)
			}
		}
		synctest.Wait()
		fmt.Fprintf(&log, "$ kubectl rebootd status -w | cat\n%s", w.out.take())
		step("nothing changes", func() { w.f.change("node-04") })
		step("node-03 has drained", func() {
			w.f.underWay("node-03", api.PhaseRebooting, 0, api.ReasonRebooting, "the reboot was ordered")
		})
		step("the lock is paused", func() { w.f.pause("storage migration", at.Add(30*time.Hour)) })
		step("... and is not any more", func() {
			l := w.f.leases[api.PauseName("rebootd")].DeepCopy()
			delete(l.Annotations, api.PausedAnnotation)
			w.f.setLease(l)
		})
		step("node-05 is deleted", func() { w.f.remove("node-05") })
		step("node-03 is done", func() { w.f.idle("node-03", patched) })
	})
	golden(t, "watch/lines.txt", log.String())
}

// TestWatchScreen: a whole roll of three nodes as it is seen on a terminal.
func TestWatchScreen(t *testing.T) {
	var log strings.Builder
	f := newFake()
	names := []string{"node-a", "node-b", "node-c"}
	for _, n := range names {
		f.idle(n)
	}
	f.slot(0, "", 0)
	watched(t, f, 110, 16, "", func(w *watching) {
		look := func(what string) {
			fmt.Fprintf(&log, "# %s\n%s\n", what, w.screen(2*time.Second))
		}
		look("nothing to do")
		for _, n := range names {
			f.queued(n, 0, "rebootd-0 is free")
		}
		look("a new kernel on all three")
		for i, n := range names {
			f.slot(0, n, 0)
			f.draining(n, 0, 8, 8)
			look(n + " has the slot")
			if i == 1 {
				f.draining(n, 3*time.Minute, 8, 2, api.BlockedPod{
					Namespace: "db", Name: "pg-0", Reason: api.PodBudgetExhausted, Message: "the budget pg needs 2 healthy pods and has 2", Since: before(90 * time.Second),
				})
				look(n + " is blocked")
			}
			f.underWay(n, api.PhaseRebooting, 0, api.ReasonRebooting, "the reboot was ordered")
			f.underWay(n, api.PhaseVerifying, 0, api.ReasonVerifying, "waiting for the node to be healthy", notReady)
			look(n + " is back")
			f.idle(n, patched)
			f.slot(0, "", 0)
		}
		look("all three are done")
		if _, err := w.keys.Write([]byte("q")); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		fmt.Fprintf(&log, "# what q leaves on the terminal\n%s\n", w.screen(0))
	})
	golden(t, "watch/roll.txt", log.String())
}

// TestWatchIsCalm: however often nodes change, there is a frame a second at most, and only
// lines that have changed are written; while nothing changes, next to nothing is.
func TestWatchIsCalm(t *testing.T) {
	watched(t, situations["queue"](), 120, 30, "", func(w *watching) {
		w.screen(time.Minute)
		frames, lines := 0, 0
		for i := range 100 { // ten seconds
			w.f.draining("node-00", 4*time.Minute, 120, 120-i)
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			if text := w.out.take(); text != "" {
				frames++
				w.picture.write(text)
				lines += strings.Count(text, ";1H")
			}
		}
		if frames < 8 || frames > 11 || lines > 60 { // once all lines, as a minute is over
			t.Errorf("%d frames with %d lines in ten seconds", frames, lines)
		}
		w.screen(2 * time.Second)
		frames = 0
		for range 600 {
			time.Sleep(time.Second)
			synctest.Wait()
			if w.out.take() != "" {
				frames++
			}
		}
		if frames > 60 {
			t.Errorf("%d frames in ten minutes without a change", frames)
		}
	})
}

// TestWatchResizes: a terminal that becomes smaller keeps its last line, which says how to
// leave.
func TestWatchResizes(t *testing.T) {
	watched(t, situations["queue"](), 140, 40, "", func(w *watching) {
		w.screen(time.Second)
		for _, size := range [][2]int{{60, 12}, {20, 5}, {200, 50}, {1, 1}, {80, 24}} {
			w.picture.resize(size[0], size[1])
			text := w.screen(refreshPause)
			lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
			if size[1] > 3 && size[0] > 10 && !strings.HasPrefix("q quits", strings.TrimSpace(lines[len(lines)-1])) {
				t.Errorf("%dx%d: the last line is not there:\n%s", size[0], size[1], text)
			}
			if len(lines) > size[1] {
				t.Errorf("%dx%d: %d lines", size[0], size[1], len(lines))
			}
		}
	})
}

// TestWatchAway: while the API server is away, the last line says since when, and all stays
// as it was.
func TestWatchAway(t *testing.T) {
	f := rolling()
	watched(t, f, 120, 24, "", func(w *watching) {
		before := w.screen(time.Second)
		f.away(errors.New("dial tcp 10.0.0.1:6443: connect: connection refused"))
		text := w.screen(5 * time.Second)
		if !strings.Contains(text, "not up to date since 01:30:01 UTC, retrying: watch: dial tcp 10.0.0.1:6443: connect: connection refused") {
			t.Errorf("it is not told that the API server is away:\n%s", text)
		}
		if !strings.Contains(text, "worker-a1   Yes      Draining") {
			t.Errorf("what was known is gone:\n%s", text)
		}
		f.away(nil)
		text = w.screen(time.Minute)
		if strings.Contains(text, "not up to date") || strings.Count(text, "\n") != strings.Count(before, "\n") {
			t.Errorf("the API server is back:\n%s", text)
		}
	})
	watched(t, f, 0, 0, "", func(w *watching) {
		synctest.Wait()
		w.out.take()
		f.away(errors.New("connection refused"))
		time.Sleep(time.Minute)
		f.away(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		const want = "kubectl rebootd: not up to date any more, retrying: watch: connection refused\nkubectl rebootd: up to date again\n"
		if out, err := w.out.take(), w.err.take(); out != "" || err != want {
			t.Errorf("out: %q\nerr: %q\nwant: %q", out, err, want)
		}
	})
}

// TestWatchEnds: Ctrl-C ends it as q does, also as a signal, and so does an error at first.
func TestWatchEnds(t *testing.T) {
	for name, end := range map[string]func(*watching){
		"Ctrl-C": func(w *watching) { w.keys.Write([]byte{3}) },
		"signal": func(w *watching) { w.cancel() },
	} {
		watched(t, rolling(), 120, 24, "", func(w *watching) {
			w.screen(time.Second)
			end(w)
			if text := w.screen(0); w.picture.alternate || !strings.Contains(text, "worker-a1") || strings.Contains(text, "q quits") {
				t.Errorf("%s: alternate screen: %v\n%s", name, w.picture.alternate, text)
			}
			w.done <- <-w.done // it has ended before its context
		})
	}
	f := rolling()
	f.denied["EachNode"] = true
	if r := runIn(f, []string{"status", "-w"}); r.status != exitFailed || !strings.Contains(r.err, "rebootd-viewer") {
		t.Errorf("Nodes cannot be listed: %+v", r)
	}
}

// remove deletes a Node.
func (f *fakeAPI) remove(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.nodes[name]
	delete(f.nodes, name)
	for _, w := range f.watchers {
		w.Action(watch.Deleted, n.DeepCopy())
	}
}

// TestWatchLinesBegin: the first line says how things stand only when Leases are known, too.
func TestWatchLinesBegin(t *testing.T) {
	f := pausedForWeeks()
	f.leasesIn = 2 * time.Second
	watched(t, f, 0, 0, "", func(w *watching) {
		if out := w.out.take(); out != "" {
			t.Errorf("before Leases are known:\n%s", out)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if first, _, _ := strings.Cut(w.out.take(), "\n"); !strings.Contains(first, "paused until") {
			t.Errorf("the first line: %s", first)
		}
	})
	f = queueWithoutLeases()
	watched(t, f, 0, 0, "", func(w *watching) {
		if out, err := w.out.take(), w.err.take(); !strings.Contains(out, "3 of 3 nodes") || !strings.Contains(err, "Leases cannot be read") {
			t.Errorf("without rights on Leases:\n%s%s", out, err)
		}
	})
}

func queueWithoutLeases() *fakeAPI {
	f := newFake()
	for i := range 3 {
		f.queued(nodeName(i), time.Hour, "")
	}
	f.denied["Leases"] = true
	return f
}

// TestWatchLinesAtMidnight: that a day has passed ends no pause.
func TestWatchLinesAtMidnight(t *testing.T) {
	f := newFake()
	f.idle("node-1")
	f.pause("incident", at.Add(30*time.Hour))
	watched(t, f, 0, 0, "", func(w *watching) {
		w.out.take()
		time.Sleep(25 * time.Hour)
		w.f.change("node-1", says(api.ReasonRebootRequested, "a reboot is requested", 0))
		synctest.Wait()
		if out := w.out.take(); strings.Contains(out, "pause") || !strings.Contains(out, "node-1") {
			t.Errorf("%s", out)
		}
		time.Sleep(6 * time.Hour)
		w.f.change("node-1", quiet(api.ReasonNotRequired, "no reboot is requested"))
		synctest.Wait()
		if out := w.out.take(); !strings.Contains(out, "- no longer paused until") {
			t.Errorf("after its end: %s", out)
		}
	})
}
