package real

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// After the boot a unit has failed: the node is not healthy, and the reason names it,
// until somebody has seen to it. The same with a check of one's own.
func TestChecksAfterBoot(t *testing.T) {
	t.Parallel()
	onEvery(t, 2*time.Minute, func(b *bed) {
		m := b.machine("REBOOTD_SYSTEM_RUNNING=true", `REBOOTD_HEALTH_COMMAND="cat /var/lib/disk-is-mounted"`, "REBOOTD_HEALTH_TIMEOUT=10s")
		b.must(m.Write("/etc/systemd/system/broken.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n[Install]\nWantedBy=multi-user.target\n", 0o644))
		b.exec(m, "systemctl", "enable", "broken")
		b.shell(m, "touch /run/reboot-needed")
		b.reason(m, "Unhealthy", "units have failed: broken.service")
		b.exec(m, "systemctl", "reset-failed")
		b.status(m, `health check "cat /var/lib/disk-is-mounted": exit status 1: cat: /var/lib/disk-is-mounted: No such file or directory`)
		if n := b.node(m, "there", func(*corev1.Node) bool { return true }); !n.Spec.Unschedulable || phaseOf(n) != "Halted" {
			t.Errorf("unhealthy, the node is cordoned %t, in phase %s", n.Spec.Unschedulable, phaseOf(n))
		}
		b.shell(m, "touch /var/lib/disk-is-mounted")
		b.rebooted(m, 1)
	})
}

// status waits until systemd's status of the daemon has these words.
func (b *bed) status(m *machine, words string) {
	b.Helper()
	b.eventually("the status says: "+words, func() bool {
		out, _ := m.Exec(b.ctx, "systemctl", "show", "rebootd", "-P", "StatusText")
		return strings.Contains(out, words)
	})
}

// Debian's own way to say that a machine wants a reboot, as unattended-upgrades goes
// it when a kernel is installed, is heeded as it is.
func TestUnattendedUpgrades(t *testing.T) {
	t.Parallel()
	onEvery(t, 3*time.Minute, func(b *bed) {
		m := b.machineWith("unattended-upgrades")
		b.shell(m, "rm /etc/kernel/postinst.d/zz-rebootd") // only Debian's
		b.shell(m, kernel)
		b.rebooted(m, 1)
		if log := b.exec(m, "journalctl", "-b", "-1", "-u", "rebootd", "-o", "cat"); !strings.Contains(log, "/run/reboot-required since") {
			t.Errorf("the log does not say what asked for it:\n%s", log)
		}
	})
}
