package hook

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rebootd.dev/reboot/process"
)

type bed struct {
	*Runner
	t   *testing.T
	log []string
}

func newBed(t *testing.T) *bed {
	b := &bed{t: t}
	b.Runner = &Runner{Dir: t.TempDir(), Limit: 10 * time.Second, Env: []string{"REBOOTD_NODE=n"}, Log: t.Logf, Output: func(stage, name, line string) {
		b.log = append(b.log, stage+"/"+name+": "+line)
	}}
	return b
}

func (b *bed) add(path, script string, mode os.FileMode) {
	full := filepath.Join(b.Dir, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte("#!/bin/sh\n"+script+"\n"), mode); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) said(want ...string) {
	b.t.Helper()
	if got := strings.Join(b.log, "\n"); got != strings.Join(want, "\n") {
		b.t.Errorf("said\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
	b.log = nil
}

// One after the other, in the order of their names, up to the first that fails; undone
// all, the last first.
func TestOrder(t *testing.T) {
	b := newBed(t)
	if b.Any(PreDrain) {
		t.Error("there are hooks, and none was made")
	}
	for _, name := range []string{"20-b", "10-a", "40-d"} {
		b.add(PreDrain+"/"+name, "echo $1 $REBOOTD_NODE", 0o755)
	}
	b.add(PreDrain+"/30-c", `echo $1; [ "$1" = undo ] || { echo no space; exit 3; }`, 0o755)
	b.add(PreReboot+"/x", "echo $1", 0o755)
	for _, not := range []string{".hidden", "old~", "a.dpkg-old", "b.rpmsave"} {
		b.add(PreDrain+"/"+not, "echo wrong", 0o755)
	}
	b.add(PreDrain+"/README", "echo wrong", 0o644)
	if !b.Any(PreDrain) || !b.Any(PreReboot) || b.Any(PostBoot) {
		t.Error("not the hooks that there are")
	}
	out, err := b.Do(t.Context(), PreDrain)
	if err == nil || err.Error() != "the hook pre-drain.d/30-c do: exit status 3: no space" || len(out) != 3 || out[2].Error == "" || out[0].Error != "" {
		t.Errorf("%+v, %v", out, err)
	}
	b.said("pre-drain.d/10-a: do n", "pre-drain.d/20-b: do n", "pre-drain.d/30-c: do", "pre-drain.d/30-c: no space")
	if out, err := b.Undo(t.Context(), PreDrain, PreReboot); err != nil || len(out) != 5 || !out[0].Undo {
		t.Errorf("%+v, %v", out, err)
	}
	b.said("pre-reboot.d/x: undo", "pre-drain.d/40-d: undo n", "pre-drain.d/30-c: undo", "pre-drain.d/20-b: undo n", "pre-drain.d/10-a: undo n")
	if out, err := b.Do(t.Context(), PostBoot); err != nil || out != nil {
		t.Errorf("a stage without hooks: %+v, %v", out, err)
	}
}

// What cannot be undone keeps nothing else from being undone.
func TestUndoGoesOn(t *testing.T) {
	b := newBed(t)
	b.add(PreDrain+"/a", "echo $1", 0o755)
	b.add(PreDrain+"/b", "exit 1", 0o755)
	if out, err := b.Undo(t.Context(), PreDrain); err == nil || len(out) != 2 {
		t.Errorf("%+v, %v", out, err)
	}
	b.said("pre-drain.d/a: undo")
}

// A hook that takes too long is ended with what it has started, as is one that is no
// longer wanted.
func TestTooLong(t *testing.T) {
	b := newBed(t)
	b.Limit = 2 * time.Second // in which it begins, however slow the machine is
	b.add(PreDrain+"/a", "cd "+b.Dir+"; sleep 60 & echo $! >pid; echo waits; sleep 60", 0o755)
	began := time.Now()
	_, err := b.Do(t.Context(), PreDrain)
	if err == nil || !strings.Contains(err.Error(), "took longer than 2s: waits") || time.Since(began) > 20*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
	b.dead(b.read("pid"))
	b.Limit = time.Minute
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := b.Do(ctx, PreDrain); err == nil || time.Since(began) > 20*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
}

// Endless output is neither kept nor blocks.
func TestEndlessLine(t *testing.T) {
	b := newBed(t)
	b.add(PreDrain+"/a", "head -c 10000000 /dev/zero | tr '\\0' x; echo; echo end", 0o755)
	if _, err := b.Do(t.Context(), PreDrain); err != nil {
		t.Error(err)
	}
	if len(b.log) != 2 || len(b.log[0]) > 2*process.MaxLine || !strings.HasSuffix(b.log[1], "end") {
		t.Errorf("%d lines", len(b.log))
	}
}

// A hook that prints without end does not fill the log, nor waits for anybody, nor does
// the next one.
func TestEndlessLines(t *testing.T) {
	b := newBed(t)
	b.add(PreDrain+"/a", "yes | head -n 100000; echo last words; exit 1", 0o755)
	for range 3 {
		_, err := b.Do(t.Context(), PreDrain)
		if err == nil || err.Error() != "the hook pre-drain.d/a do: exit status 1: last words" {
			t.Errorf("error %v", err)
		}
	}
	if n := len(b.log); n < 100 || n > 600 || !strings.Contains(b.log[n-1], "(lines left out: ") {
		t.Errorf("%d lines, the last %q", n, b.log[max(0, n-1)])
	}
}

// What a hook leaves running is no failure.
func TestLeavesSomethingRunning(t *testing.T) {
	b := newBed(t)
	b.add(PreDrain+"/a", "sleep 60 & echo $! >"+b.Dir+"/pid", 0o755)
	began := time.Now()
	if _, err := b.Do(t.Context(), PreDrain); err != nil || time.Since(began) > 30*time.Second {
		t.Errorf("%v after %s", err, time.Since(began))
	}
	b.killed("pid")
}

// What cannot be started is a failure.
func TestNoInterpreter(t *testing.T) {
	b := newBed(t)
	b.add(PreDrain+"/a", "", 0o755)
	if err := os.WriteFile(filepath.Join(b.Dir, PreDrain, "a"), []byte("#!/nonexistent\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Do(t.Context(), PreDrain); err == nil || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("error %v", err)
	}
}

// One that a signal ends is a failure, and says which.
func TestEndedByASignal(t *testing.T) {
	b := newBed(t)
	b.add(PreDrain+"/a", "echo works; kill -TERM $$", 0o755)
	if _, err := b.Do(t.Context(), PreDrain); err == nil || err.Error() != "the hook pre-drain.d/a do: exit status 143: signal: terminated" {
		t.Errorf("error %v", err)
	}
}

// A directory without a program that could be run has no hooks.
func TestNoProgram(t *testing.T) {
	b := newBed(t)
	if err := os.MkdirAll(filepath.Join(b.Dir, PreDrain, "a-directory"), 0o755); err != nil {
		t.Fatal(err)
	}
	if b.add(PreDrain+"/README", "echo wrong", 0o644); b.Any(PreDrain) {
		t.Error("there is a hook")
	}
	if err := os.WriteFile(filepath.Join(b.Dir, PreReboot), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if !b.Any(PreReboot) {
		t.Error("what cannot be listed has no hooks")
	}
}

// What was run and is gone cannot be undone: that is said once, and the others are undone.
func TestRemovedAfterItHadRun(t *testing.T) {
	b := newBed(t)
	for _, name := range []string{"a", "b"} {
		b.add(PreDrain+"/"+name, "echo $1", 0o755)
	}
	if _, err := b.Do(t.Context(), PreDrain); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(b.Dir, PreDrain, "b")); err != nil {
		t.Fatal(err)
	}
	b.log = nil
	out, err := b.Undo(t.Context(), PreDrain)
	if err == nil || err.Error() != "the hook pre-drain.d/b undo: the program was removed after it had run; what it did is not undone" || len(out) != 2 || out[0].Name != "b" || !out[0].Undo || out[0].Error == "" {
		t.Errorf("%+v, %v", out, err)
	}
	b.said("pre-drain.d/a: undo")
	if out, err := b.Undo(t.Context(), PreDrain); err != nil || len(out) != 1 {
		t.Errorf("once more: %+v, %v", out, err)
	}
}
