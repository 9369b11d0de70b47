package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"rebootd.dev/test/cluster"
)

// A reboot on a machine whose root has no room left, and on one whose root is
// read-only, is like any other: nothing is written there.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	m := b.stopped()
	// A small file system in place of /run, which has no room left: what a machine that
	// boots writes is elsewhere.
	run := filepath.Join(m.Root, "run")
	b.mount("tmpfs", run, "tmpfs", 0, "size=64k,mode=755")
	f, err := os.Create(filepath.Join(run, "ballast"))
	b.must(err)
	defer f.Close()
	for buf := make([]byte, 4096); ; {
		if _, err := f.Write(buf); errors.Is(err, syscall.ENOSPC) {
			break
		} else if err != nil {
			b.Fatal(err)
		}
	}
	b.must(m.StartDaemon())
	before := m.BootID()
	b.must(m.Touch("")) // an empty file needs no room
	b.rebooted(m, before)
	b.released()
}

func TestReadOnlyRoot(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	m := b.stopped()
	rebootd, err := cluster.Rebootd()
	b.must(err)
	// In a mount namespace of its own the daemon sees the root read-only; the machine,
	// which has to boot, does not.
	script := filepath.Join(t.TempDir(), "rebootd")
	b.must(os.WriteFile(script, fmt.Appendf(nil, `#!/bin/sh
exec unshare --mount sh -ec 'mount --bind "$0" "$0"; mount -o remount,bind,ro "$0"; if touch "$0/run/x" 2>/dev/null; then exit 1; fi; exec "$@"' %q %q "$@"
`, m.Root, rebootd), 0o755))
	m.Change(script, "--lock-name="+b.lock)
	b.must(m.StartDaemon())
	before := m.BootID()
	b.must(m.Touch("x"))
	b.rebooted(m, before)
	b.released()
}

// mount mounts for the time of the test. It needs root.
func (b *bed) mount(source, target, kind string, flags uintptr, data string) {
	b.Helper()
	if err := syscall.Mount(source, target, kind, flags, data); err != nil {
		b.Fatalf("this test mounts a file system, which needs root: %v", err)
	}
	b.Cleanup(func() { _ = syscall.Unmount(target, syscall.MNT_DETACH) })
}
