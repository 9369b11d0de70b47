package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"rebootd.dev/test/machine"
)

// The clock is set a day forward while a node waits for its turn, a package is added to the
// list, and the daemon starts again: the request stands. It is served by one reboot, though
// the sentinel outlives the boot and the next clock says 1970.
func TestClockIsSet(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	first := b.machine("--drain=false")
	first.Behave(machine.Behaviour{Nothing: true})
	b.must(first.Touch("the slot is taken"))
	b.phase(first, "Rebooting")

	const disk = "/var/lib/reboot-needed"
	m := b.stopped("--drain=false", "--sentinel="+disk)
	path := filepath.Join(m.Root, disk)
	b.must(os.MkdirAll(filepath.Dir(path), 0o755))
	b.must(m.StartDaemon())
	before := m.BootID()
	b.must(os.WriteFile(path, nil, 0o644))
	b.phase(m, "Queued")
	b.must(m.BootedAt(time.Now().Add(24 * time.Hour)))
	b.must(os.WriteFile(path+".pkgs", []byte("linux-image\nlibc6\n"), 0o644))
	m.StopDaemon()
	b.must(m.StartDaemon())
	b.eventually("the daemon has seen it all", func() bool { return b.metric(m, "rebootd_reboot_required") == "1" })
	b.phase(m, "Queued")
	if e := b.events(m); slices.Contains(e, "Cancelled") {
		t.Errorf("after the clock was set: %v", e)
	}

	b.must(first.Crash())
	b.rebooted(m, before)
	b.must(m.BootedAt(time.Unix(30, 0)))
	served := m.BootID()
	m.StopDaemon()
	b.must(m.StartDaemon())
	b.eventually("the daemon is ready", func() bool { status, _ := b.get(m, "/readyz"); return status == 200 })
	if got := b.metric(m, "rebootd_reboot_required"); got != "0" || m.BootID() != served {
		t.Errorf("rebootd_reboot_required is %s, under a clock from 1970", got)
	}
	if calls, _ := m.Orders(); calls != 1 {
		t.Errorf("the reboot command was called %d times", calls)
	}
}
