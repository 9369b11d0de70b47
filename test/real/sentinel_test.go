package real

import (
	"testing"
	"time"
)

// Each touch is one reboot. Nothing in /run is older than the boot, whatever its time says;
// and what stays on a disk is served by one reboot, though its time is hours ahead. The time
// of the boot says nothing here: within nspawn it is the host's.
func TestSentinelsAreServedOnce(t *testing.T) {
	t.Parallel()
	b := newBed(t, "trixie", 4*time.Minute)
	m := b.machine("REBOOTD_SENTINEL=/run/reboot-needed,/var/run/reboot-required,/var/lib/reboot-needed")
	b.shell(m, "touch -d yesterday /run/old; mv /run/old /run/reboot-required")
	b.rebooted(m, 1)
	b.shell(m, "touch -d '8 hours' /var/lib/reboot-needed")
	b.rebooted(m, 2)
	b.exec(m, "systemctl", "restart", "rebootd")
	b.status(m, "/var/lib/reboot-needed is spent, because operation ")
	b.shell(m, "touch /var/lib/reboot-needed /run/reboot-needed")
	b.rebooted(m, 3)
	b.status(m, "/var/lib/reboot-needed is spent, because operation ")
	b.exec(m, "systemctl", "restart", "rebootd")
	b.status(m, "/var/lib/reboot-needed is spent, because operation ")
	if n := len(m.Boots()); n != 4 {
		t.Errorf("%d boots", n)
	}
}
