package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"rebootd.dev/daemon"
)

// What a file has in place of a text may be a password with its quotes forgotten: what is
// said of it stands in the log, in an Event and on the Node.
func TestErrorsHoldNoValueOfAHeader(t *testing.T) {
	for _, text := range []string{
		"prometheusHeader:\n- Authorization: Bearer s3cret\n",
		"prometheusHeader:\n  Authorization: Bearer s3cret\n",
		"prometheusHeader:\n- [Bearer s3cret]\n",
		"prometheusHeader: [[Bearer s3cret]]\n",
		"prometheusHeader: [Bearer s3cret]\n",
		"pools:\n- name: p\n  match: a=b\n  prometheusHeader:\n  - Authorization: Bearer s3cret\n",
	} {
		_, _, err := load([]string{"--config=" + file(t, text)}, env)
		if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "prometheusHeader") {
			t.Errorf("%q: %v", text, err)
		}
	}
	_, _, err := load([]string{"--config=" + file(t, "window: [Mon: 22:00-04:00]\n")}, env)
	if err == nil || !strings.Contains(err.Error(), "quotes") {
		t.Errorf("a text with a colon and without quotes: %v", err)
	}
}

// Whatever is in the place of the file, it is read in a moment, and the daemon that runs is
// not held up.
func TestAFileThatCannotBeRead(t *testing.T) {
	huge := strings.Repeat("# 3456789012345678901234567890123456789012345678901234567890123\n", 1<<14+1)
	for what, c := range map[string]struct {
		put  func(path string) error
		want string
	}{
		"a pipe that nobody writes to": {func(p string) error { return syscall.Mkfifo(p, 0o644) }, "is empty"},
		"endless":                      {func(p string) error { return os.Symlink("/dev/zero", p) }, "larger than 1 MiB"},
		"huge":                         {func(p string) error { return os.WriteFile(p, []byte(huge), 0o644) }, "larger than 1 MiB"},
		"a directory":                  {func(p string) error { return os.Mkdir(p, 0o755) }, "is a directory"},
		"a link to itself":             {func(p string) error { return os.Symlink(p, p) }, "too many levels"},
	} {
		f := newInForce(t, "slots: 2\n")
		f.first()
		if err := os.Remove(f.path); err != nil {
			t.Fatal(err)
		}
		if err := c.put(f.path); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { defer close(done); f.reload() }()
		select {
		case <-done:
			if !strings.Contains(f.whyRefused(), c.want) || f.config.Slots != 2 {
				t.Errorf("%s: %s", what, f.whyRefused())
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: it is still being read", what)
		}
	}
}

// While a file is read that does not come to an end soon, the settings are there.
func TestSettingsAreThereWhileTheFileIsRead(t *testing.T) {
	f := newInForce(t, "slots: 2\n")
	f.first()
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(f.path, 0o644); err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile(f.path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() { defer close(read); f.reload() }()
	_, _ = writer.WriteString("slots: 3\n")
	for range 100 {
		said := make(chan struct{})
		go func() { defer close(said); f.fits(daemon.Standing{}); f.whyRefused(); f.following() }()
		select {
		case <-said:
		case <-time.After(3 * time.Second):
			t.Fatal("the daemon waits for the file")
		}
	}
	_ = writer.Close()
	<-read
}

// A file of no length is what is left of one after a power cut: its defaults must not be
// taken for settings, at the start either.
func TestAnEmptyFileIsRefusedAtTheStart(t *testing.T) {
	for _, text := range []string{"", "\n \n"} {
		if _, _, err := load([]string{"--config=" + file(t, text)}, env); err == nil || !strings.Contains(err.Error(), "is empty") {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"{}", "# all by default\n"} {
		if _, _, err := load([]string{"--config=" + file(t, text)}, env); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// What is read is checked: one and the same content.
func TestAliasesAreBounded(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x]\n")
	for i := range 20 {
		fmt.Fprintf(&bomb, "a%d: &a%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i), 9), ","))
	}
	path := filepath.Join(t.TempDir(), "bomb.yaml")
	if err := os.WriteFile(path, []byte(bomb.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := load([]string{"--config=" + path}, env); err == nil || len(err.Error()) > 2000 {
		t.Errorf("%v", err)
	}
}

// What cannot be read says nothing of settings that stay as they were at the start.
func TestAMalformedFileChangesNoNamespace(t *testing.T) {
	f := newInForce(t, "namespace: ours\n")
	f.first()
	for _, text := range []string{"slots: [", ""} {
		f.write(text)
		if why := f.whyRefused(); why == "" || strings.Contains(why, "cannot be changed") {
			t.Errorf("%q: %s", text, why)
		}
	}
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	f.reload()
	if why := f.whyRefused(); why == "" || strings.Contains(why, "cannot be changed") {
		t.Errorf("gone: %s", why)
	}
}
