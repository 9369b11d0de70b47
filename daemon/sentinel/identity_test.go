package sentinel

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
)

// Whatever is done to a sentinel makes another of it, and nothing else does.
func TestIdentity(t *testing.T) {
	root := t.TempDir()
	run := filepath.Join(root, "run")
	path := filepath.Join(run, "reboot-needed")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(run, 0o755))
	must(os.WriteFile(path, nil, 0o644))
	look := func() File {
		t.Helper()
		w, err := New(root, []string{"/run/reboot-needed"})
		must(err)
		defer w.close()
		s := w.look()
		if len(s.Files) != 1 {
			t.Fatalf("%+v", s)
		}
		return s.Files[0]
	}
	hourAgo := time.Now().Add(-time.Hour)
	was := look()
	if is := look(); !is.Same(was.SentinelFile) || was.Inode == 0 || time.Since(was.Changed) > time.Minute {
		t.Fatalf("nothing was done: %+v, then %+v", was, is)
	}
	for _, c := range []struct {
		what string
		do   func() error
	}{
		{"touched at another time", func() error { return os.Chtimes(path, hourAgo, hourAgo) }},
		{"written", func() error { return os.WriteFile(path, []byte("soft-reboot"), 0o644) }},
		{"more of its content than is shown is written", func() error { return os.WriteFile(path, []byte("soft-reboot\n"), 0o644) }},
		{"packages", func() error { return os.WriteFile(path+".pkgs", []byte("libc6\n"), 0o644) }},
		{"a package again", func() error { return os.WriteFile(path+".pkgs", []byte("libc6\nlibc6\n"), 0o644) }},
		{"an old one is moved there", func() error {
			other := filepath.Join(root, "old")
			if err := os.WriteFile(other, nil, 0o644); err != nil {
				return err
			}
			if err := os.Chtimes(other, hourAgo, hourAgo); err != nil {
				return err
			}
			return os.Rename(other, path)
		}},
	} {
		for scratch := filepath.Join(root, "scratch"); ; { // until the kernel's clock for files has ticked
			must(os.WriteFile(scratch, nil, 0o644))
			info, err := os.Stat(scratch)
			must(err)
			if info.ModTime().After(was.Changed) {
				break
			}
		}
		must(c.do())
		is := look()
		if is.Same(was.SentinelFile) {
			t.Errorf("%s: it is the same, %+v", c.what, is)
		}
		was = is
	}
}

// A file system that is made at boot is told from one that is not.
func TestVolatile(t *testing.T) {
	for _, dir := range []string{t.TempDir(), "/dev/shm"} {
		f, err := os.CreateTemp(dir, "rebootd")
		if err != nil {
			t.Fatal(err)
		}
		defer os.Remove(f.Name())
		defer f.Close()
		var fs syscall.Statfs_t
		if err := syscall.Fstatfs(int(f.Fd()), &fs); err != nil {
			t.Fatal(err)
		}
		const tmpfs = 0x01021994
		if dir == "/dev/shm" && fs.Type != tmpfs {
			t.Fatalf("%s is a file system of type %#x; this test needs a tmpfs there", dir, fs.Type)
		}
		w, err := New("/", []string{f.Name()})
		if err != nil {
			t.Fatal(err)
		}
		defer w.close()
		if s := w.look(); len(s.Files) != 1 || s.Files[0].Volatile != (fs.Type == tmpfs) {
			t.Errorf("%s, of type %#x: %+v", dir, fs.Type, s)
		}
	}
}

// What is written of a sentinel's identity is read as the same, whatever its path.
func TestIdentityIsWritten(t *testing.T) {
	root := t.TempDir()
	path := "/a\xff<&>\u2028"
	if err := os.WriteFile(filepath.Join(root, path), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	w, err := New(root, []string{path})
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	s := w.look()
	if len(s.Files) != 1 {
		t.Fatalf("%+v", s)
	}
	var again api.SentinelFile
	data, err := json.Marshal(s.Files[0].SentinelFile)
	if err == nil {
		err = json.Unmarshal(data, &again)
	}
	if err != nil || !again.Same(s.Files[0].SentinelFile) {
		t.Errorf("%+v was written as %s, %v", s.Files[0].SentinelFile, data, err)
	}
}
