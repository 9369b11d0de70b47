package sentinel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"rebootd.dev/daemon/printable"
)

// Each file in testdata is a script of a few lines that a shell would understand,
// and `expect` lines that say what the watcher must come to report. Paths are
// those of the host. The watcher runs from the line `watch PATH…` on.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			f, err := os.Open(file)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			s := &script{T: t, root: t.TempDir()}
			for lines, n := bufio.NewScanner(f), 1; lines.Scan(); n++ {
				line := strings.TrimSpace(lines.Text())
				if line == "" || line[0] == '#' {
					continue
				}
				if err := s.run(strings.Fields(line)); err != nil {
					t.Fatalf("%s:%d: %s: %v", file, n, line, err)
				}
			}
		})
	}
}

type script struct {
	*testing.T
	root   string
	w      *Watcher
	states <-chan State
	newest State
	touch  time.Time // when the one sentinel was changed last before it is touched at another time
	last   string
}

func (s *script) path(p string) string { return filepath.Join(s.root, p) }

func (s *script) run(f []string) error {
	arg := func(i int) string {
		if i < len(f) {
			return f[i]
		}
		return ""
	}
	switch f[0] {
	case "watch":
		var err error
		if s.w, err = New(s.root, f[1:]); err != nil {
			return err
		}
		s.states = s.w.States()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			s.w.Run(ctx)
			close(done)
		}()
		s.Cleanup(func() {
			cancel()
			<-done
		})
		return nil
	case "touch":
		now := time.Now()
		if err := os.Chtimes(s.path(f[1]), now, now); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return os.WriteFile(s.path(f[1]), nil, 0o644)
	case "touch-at":
		at, err := time.Parse(time.RFC3339, arg(2))
		if err != nil {
			return err
		}
		s.touch = s.newest.Files[0].Changed
		return os.Chtimes(s.path(f[1]), at, at)
	case "write":
		return os.WriteFile(s.path(f[1]), []byte(strings.ReplaceAll(strings.Join(f[2:], " "), `\n`, "\n")), 0o644)
	case "truncate":
		return os.Truncate(s.path(f[1]), 0)
	case "mv":
		return os.Rename(s.path(f[1]), s.path(f[2]))
	case "rm":
		return os.Remove(s.path(f[1]))
	case "rm-r":
		return os.RemoveAll(s.path(f[1]))
	case "mkdir":
		return os.MkdirAll(s.path(f[1]), 0o755)
	case "mkfifo":
		return mkfifo(s.path(f[1]))
	case "ln": // ln TARGET PATH, symbolic
		_ = os.Remove(s.path(f[2]))
		return os.Symlink(f[1], s.path(f[2]))
	case "churn": // other files come and go
		for i := range 2000 {
			p := s.path(filepath.Join(f[1], fmt.Sprintf("other-%d", i)))
			if err := errors.Join(os.WriteFile(p, nil, 0o644), os.Remove(p)); err != nil {
				return err
			}
		}
		return nil
	case "overflow": // the kernel's queue of events has overflown
		s.w.inotify.Errors <- fsnotify.ErrEventOverflow
		return nil
	case "lose-watches": // what happens is not seen, until the next event
		for d := range s.w.watched {
			if err := s.w.inotify.Remove(d); err != nil {
				return err
			}
		}
		return nil
	case "expect":
		return s.expect(strings.Join(f[1:], " "))
	}
	return fmt.Errorf("no such command")
}

// expect waits until the watcher reports that.
func (s *script) expect(want string) error {
	limit := time.NewTimer(5 * time.Second)
	defer limit.Stop()
	want = strings.ReplaceAll(want, "ROOT", s.root)
	for s.last != want {
		select {
		case st := <-s.states:
			s.newest, s.last = st, render(st)
			if !s.touch.IsZero() && st.Files[0].Changed.After(s.touch) {
				s.last += " again"
			}
		case <-limit.C:
			return fmt.Errorf("reports %q", s.last)
		}
	}
	return nil
}

func render(st State) string {
	if len(st.Files) == 0 && len(st.Problems) == 0 && len(st.Notes) == 0 {
		return "nothing"
	}
	var parts []string
	for _, f := range st.Files {
		p := f.Path
		if f.Content != "" {
			p += " [" + f.Content + "]"
		}
		if len(f.Packages) > 0 {
			p += " {" + strings.Join(f.Packages, " ") + "}"
		}
		parts = append(parts, p)
	}
	for _, p := range st.Problems {
		parts = append(parts, "problem: "+p)
	}
	for _, n := range st.Notes {
		parts = append(parts, "note: "+n)
	}
	return strings.Join(parts, ", ")
}

// When the kernel has no watch to give, the watcher says so, still reports, and
// takes up inotify again when it can.
func TestWithoutInotify(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "run"), 0o755); err != nil {
		t.Fatal(err)
	}
	w, err := New(root, []string{"/run/reboot-needed"})
	if err != nil {
		t.Fatal(err)
	}
	refuse := true
	w.newInotify = func() (*fsnotify.Watcher, error) {
		if refuse {
			return nil, errors.New("too many open files")
		}
		return fsnotify.NewWatcher()
	}
	defer w.close()
	if err := os.WriteFile(filepath.Join(root, "run/reboot-needed"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s := w.look()
	if len(s.Files) != 1 || len(s.Problems) != 1 || !strings.Contains(s.Problems[0], "too many open files") || w.broken == nil {
		t.Errorf("without inotify: %+v", s)
	}
	refuse = false
	if s = w.look(); len(s.Files) != 1 || len(s.Problems) != 0 || w.broken != nil || w.inotify == nil {
		t.Errorf("with inotify again: %+v, %v", s, w.broken)
	}
}

func TestBadPaths(t *testing.T) {
	for _, paths := range [][]string{nil, {"run/x"}, {"/run/x", ""}} {
		if _, err := New("/", paths); err == nil {
			t.Errorf("New(%q) has no error", paths)
		}
	}
}

func FuzzPackages(f *testing.F) {
	f.Add([]byte("libc6\nlinux-image\nlibc6\n"))
	f.Add([]byte("\xff\x00\n \t\n\u200b"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got := packages(data)
		if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
			t.Errorf("not sorted, or not each once: %q", got)
		}
		for _, p := range append(got, printable.Line(string(data), maxContent)) {
			if len(p) > maxContent || strings.ContainsAny(p, "\n\r\x00\x1b") || strings.ToValidUTF8(p, "") != p {
				t.Errorf("%q is not one line of printable text", p)
			}
		}
	})
}

// How long it takes from touch to the report.
func BenchmarkTouchToState(b *testing.B) {
	root := b.TempDir()
	path := filepath.Join(root, "reboot-needed")
	w, err := New(root, []string{"/reboot-needed"})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	go w.Run(ctx)
	<-w.States()
	for b.Loop() {
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			b.Fatal(err)
		}
		for s := range w.States() {
			if len(s.Files) == 1 {
				break
			}
		}
		if err := os.Remove(path); err != nil {
			b.Fatal(err)
		}
		for s := range w.States() {
			if len(s.Files) == 0 {
				break
			}
		}
	}
}

// A directory that is removed and made anew is watched anew, also where it has the
// inode number of the old one, as on ext4, and is there again before anybody looks.
func TestDirectoryIsReplacedUnseen(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "run")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	w, err := New(root, []string{"/run/reboot-needed"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	w.look()
	if err := errors.Join(os.Remove(dir), os.Mkdir(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	w.look() // the same directory, as it seems
	// What Run does, until nothing is heard any more.
	heard := func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		return w.wait(ctx, nil)
	}
	for heard() {
		w.look()
	}
	if err := os.WriteFile(filepath.Join(dir, "reboot-needed"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if !heard() {
		t.Error("a file in the new directory is not heard of")
	}
}

// A sentinel that is there and cannot be read asks for a reboot all the same, and people
// are told why its content is not known. The kernel lets nobody read the beginning of
// /proc/self/mem, not even root.
func TestASentinelThatCannotBeRead(t *testing.T) {
	const mem = "/proc/self/mem"
	info, err := os.Lstat(mem)
	if err != nil {
		t.Fatal(err)
	}
	f, problem := read("/run/reboot-needed", resolved{path: mem, info: info}, resolved{err: os.ErrNotExist})
	if f == nil || f.Content != "" || !strings.HasPrefix(problem, "cannot read /run/reboot-needed: ") {
		t.Errorf("%+v, %q", f, problem)
	}
	readable := filepath.Join(t.TempDir(), "reboot-needed")
	if err := os.WriteFile(readable, []byte("kernel"), 0o600); err != nil {
		t.Fatal(err)
	}
	if info, err = os.Lstat(readable); err != nil {
		t.Fatal(err)
	}
	memInfo, _ := os.Lstat(mem)
	f, problem = read("/run/reboot-needed", resolved{path: readable, info: info}, resolved{path: mem, info: memInfo})
	if f == nil || f.Content != "kernel" || len(f.Packages) > 0 || !strings.HasPrefix(problem, "cannot read /run/reboot-needed.pkgs: ") {
		t.Errorf("%+v, %q", f, problem)
	}
}

// One that cannot even be looked at asks for nothing, and people are told.
func TestASentinelThatCannotBeLookedAt(t *testing.T) {
	path := "/" + strings.Repeat("x", 300)
	w, err := New(t.TempDir(), []string{path})
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if s := w.look(); len(s.Files) != 0 || len(s.Problems) != 1 || !strings.HasPrefix(s.Problems[0], "cannot look at "+path) {
		t.Errorf("%+v", s)
	}
}
