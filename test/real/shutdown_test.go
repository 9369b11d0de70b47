package real

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/test/cluster"
)

// dpkg holds a block inhibitor, as package managers do while they work.
const dpkg = "systemd-run --unit=dpkg systemd-inhibit --what=shutdown --mode=block --who=dpkg --why='unpacks a kernel' sleep infinity"

// While somebody inhibits a reboot, nothing is begun; one who comes during the drain is
// waited for. Both also where logind itself would not refuse, before systemd 257.
func TestInhibited(t *testing.T) {
	t.Parallel()
	onEvery(t, 2*time.Minute, func(b *bed) {
		m := b.machine()
		b.pod(m)
		b.shell(m, dpkg)
		b.shell(m, "touch /run/reboot-needed")
		b.reason(m, "Blocked", "inhibited by dpkg (unpacks a kernel)")
		if n := b.node(m, "there", func(*corev1.Node) bool { return true }); n.Spec.Unschedulable || phaseOf(n) != "Waiting" {
			t.Errorf("while it was inhibited the node was cordoned (%t) in phase %s", n.Spec.Unschedulable, phaseOf(n))
		}
		b.shell(m, "systemctl stop dpkg")
		b.phase(m, "Draining")
		b.shell(m, dpkg)
		b.reason(m, "Blocked", "drained; a reboot is inhibited by dpkg (unpacks a kernel)")
		if n := b.node(m, "there", func(*corev1.Node) bool { return true }); !n.Spec.Unschedulable || phaseOf(n) != "Draining" || len(m.Boots()) != 1 {
			t.Errorf("drained and inhibited, the node is cordoned %t, in phase %s, after %d boots", n.Spec.Unschedulable, phaseOf(n), len(m.Boots()))
		}
		b.shell(m, "systemctl stop dpkg")
		b.rebooted(m, 1)
		if held := b.exec(m, "systemd-inhibit", "--list", "--no-pager"); strings.Contains(held, "rebootd") {
			t.Errorf("an inhibitor was left behind:\n%s", held)
		}
	})
}

// A reboot that is scheduled for later is scheduled once, whatever becomes of the
// daemon in between, and its time is not put off.
func TestDelayedReboot(t *testing.T) {
	t.Parallel()
	onEvery(t, 3*time.Minute, func(b *bed) {
		// The time limit is shorter than the delay.
		m := b.machine(`REBOOTD_REBOOT_COMMAND="shutdown -r +1"`, "REBOOTD_REBOOT_TIMEOUT=20s")
		b.shell(m, "touch /run/reboot-needed")
		b.reason(m, "Rebooting", "scheduled")
		scheduled := b.shell(m, "cat /run/systemd/shutdown/scheduled")
		b.exec(m, "systemctl", "restart", "rebootd")
		b.exec(m, "systemctl", "kill", "-s", "KILL", "rebootd")
		b.eventually("the daemon is back", func() bool {
			out, _ := m.Exec(b.ctx, "systemctl", "is-active", "rebootd")
			return strings.TrimSpace(out) == "active"
		})
		if again := b.shell(m, "cat /run/systemd/shutdown/scheduled"); again != scheduled {
			t.Errorf("what was scheduled was\n%s\nand is\n%s", scheduled, again)
		}
		b.rebooted(m, 1)
		if log := b.exec(m, "journalctl", "-b", "-1", "-u", "rebootd", "-o", "cat"); strings.Count(log, `"message":"ordering the reboot"`) != 1 {
			t.Errorf("it was ordered %d times:\n%s", strings.Count(log, `"message":"ordering the reboot"`), log)
		}
	})
}

// The machine is going down already, held up by somebody's delay inhibitor, when the
// reboot command fails: nothing is undone, and nothing ordered again.
func TestGoingDownWhenTheCommandFails(t *testing.T) {
	t.Parallel()
	onEvery(t, 3*time.Minute, func(b *bed) {
		m := b.machine("REBOOTD_REBOOT_COMMAND=/usr/local/bin/fails")
		b.must(m.Write("/usr/local/bin/fails", "#!/bin/sh\nsystemctl reboot\nexit 1\n", 0o755))
		b.must(m.Write("/etc/systemd/logind.conf.d/delay.conf", "[Login]\nInhibitDelayMaxSec=45\n", 0o644))
		b.exec(m, "systemctl", "restart", "systemd-logind")
		b.shell(m, "systemd-run --unit=backup systemd-inhibit --what=shutdown --mode=delay --who=backup --why='writes a snapshot' sleep infinity")
		b.shell(m, "touch /run/reboot-needed")
		b.rebooted(m, 1)
		log := b.exec(m, "journalctl", "-b", "-1", "-u", "rebootd", "-o", "cat")
		if n := strings.Count(log, `"message":"ordering the reboot"`); n != 1 || strings.Contains(log, "the node back") || !strings.Contains(log, "the machine is going down") {
			t.Errorf("it was ordered %d times:\n%s", n, log)
		}
	})
}

// Somebody cancels the reboot that was scheduled: the node is put back.
func TestScheduledRebootIsCancelled(t *testing.T) {
	t.Parallel()
	onEvery(t, 2*time.Minute, func(b *bed) {
		m := b.machine(`REBOOTD_REBOOT_COMMAND="shutdown -r +60"`)
		b.shell(m, "touch /run/reboot-needed")
		b.reason(m, "Rebooting", "scheduled")
		b.exec(m, "shutdown", "-c")
		b.node(m, "put back", func(n *corev1.Node) bool {
			return phaseOf(n) == "Waiting" && !n.Spec.Unschedulable && strings.Contains(condition(n).Message, "somebody cancelled the reboot")
		})
		if len(m.Boots()) != 1 {
			t.Error("it has rebooted")
		}
	})
}

// The power fails in a phase: after the boot everything comes to its end, and a reboot
// that was asked for has happened.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	for phase, reach := range map[string]func(b *bed, m *machine){
		"Waiting": func(b *bed, m *machine) { b.patch(m, `{"metadata":{"annotations":{"rebootd.dev/hold":"x"}}}`) },
		"Queued":  func(b *bed, _ *machine) { b.take() },
		"Draining": func(b *bed, m *machine) {
			b.Namespace(b.prefix)
			b.pod(m)
			b.must(shared.Budget(b.ctx, b.prefix, m.Name, 1))
			b.configure(m, "REBOOTD_PREFLIGHT=tell")
		},
		"Rebooting": func(b *bed, m *machine) { b.configure(m, "REBOOTD_REBOOT_COMMAND=true") },
		"Verifying": func(_ *bed, m *machine) { m.silent.Store(true) },
		"Halted":    func(b *bed, m *machine) { b.configure(m, "REBOOTD_REBOOT_COMMAND=true", "REBOOTD_REBOOT_TIMEOUT=1s") },
	} {
		t.Run(phase, func(t *testing.T) {
			t.Parallel()
			onEvery(t, 2*time.Minute, func(b *bed) {
				m := b.machine()
				reach(b, m)
				b.exec(m, "systemctl", "restart", "rebootd")
				b.shell(m, "touch /run/reboot-needed")
				b.phase(m, phase)
				m.Crash()
				m.silent.Store(false)
				b.patch(m, `{"metadata":{"annotations":{"rebootd.dev/hold":null}}}`)
				b.give()
				b.must(m.Boot(b.ctx))
				boots := len(m.Boots())
				b.node(m, "idle, schedulable and Ready", func(n *corev1.Node) bool {
					return phaseOf(n) == "" && !n.Spec.Unschedulable && cluster.Ready(n) && n.Status.NodeInfo.BootID == m.Boots()[boots-1] && condition(n).Status == corev1.ConditionFalse
				})
				if n := len(m.Boots()); n != boots {
					t.Errorf("it was booted %d times more", n-boots)
				}
				b.eventually("the slot is free", func() bool { return b.holder() == "" })
			})
		})
	}
}

// A soft reboot that is asked for, allowed and ordered is proved as what it is, and the
// sentinel, which survives it, is spent. One that takes the place of a reboot is noticed.
func TestSoftReboot(t *testing.T) {
	t.Parallel()
	t.Run("asked for", func(t *testing.T) {
		t.Parallel()
		b := newBed(t, "trixie", 2*time.Minute)
		m := b.machine("REBOOTD_ALLOW_SOFT_REBOOT=true")
		b.pod(m)
		b.shell(m, "echo soft-reboot >/run/reboot-needed")
		b.softRebooted(m)
		if out := b.shell(m, "ls /run/reboot-needed; systemctl show -P SoftRebootsCount; systemctl is-active rebootd"); out != "/run/reboot-needed\n1\nactive" {
			t.Errorf("afterwards: %s", out)
		}
		b.shell(m, kernel) // its hook raises it
		b.rebooted(m, 1)
	})
	t.Run("in place of a reboot", func(t *testing.T) {
		t.Parallel()
		b := newBed(t, "trixie", 2*time.Minute)
		m := b.machine("REBOOTD_REBOOT_COMMAND=/usr/local/bin/once")
		b.must(m.Write("/usr/local/bin/once", "#!/bin/sh\n[ \"$(systemctl show -P SoftRebootsCount)\" = 0 ] && exec systemctl soft-reboot\nexec systemctl reboot\n", 0o755))
		b.shell(m, "echo reboot >/run/reboot-needed")
		b.rebooted(m, 1)
		if log := b.exec(m, "journalctl", "-u", "rebootd", "-o", "cat"); !strings.Contains(log, "the machine has only soft-rebooted: its kernel is the same") {
			t.Errorf("the log does not say so:\n%s", log)
		}
	})
	t.Run("not allowed", func(t *testing.T) {
		t.Parallel()
		onEvery(t, 2*time.Minute, func(b *bed) {
			m := b.machine()
			b.shell(m, "echo soft-reboot >/run/reboot-needed")
			b.rebooted(m, 1)
		})
	})
	t.Run("over the bus", func(t *testing.T) {
		t.Parallel()
		b := newBed(t, "trixie", 2*time.Minute)
		m := b.machine("REBOOTD_REBOOT_METHOD=logind", "REBOOTD_ALLOW_SOFT_REBOOT=true")
		b.shell(m, "echo soft-reboot >/run/reboot-needed")
		b.softRebooted(m)
		b.shell(m, "touch /run/reboot-required")
		b.rebooted(m, 1)
	})
}

// softRebooted has the kubelet say that it is back, and waits until the operation is
// over without a boot.
func (b *bed) softRebooted(m *machine) {
	b.Helper()
	b.phase(m, "Verifying")
	b.status(m, "the kubelet has not reported since the soft reboot")
	b.must(cluster.Kubelet{Cluster: shared, Node: m.Name}.Report(b.ctx))
	b.node(m, "idle, schedulable and Ready", func(n *corev1.Node) bool {
		return phaseOf(n) == "" && !n.Spec.Unschedulable && cluster.Ready(n) && condition(n).Status == corev1.ConditionFalse
	})
	if n := len(m.Boots()); n != 1 {
		b.Errorf("a soft reboot booted it %d times", n-1)
	}
}
