package real

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/test/cluster"
)

// denied is a policy of the system bus that refuses everybody who asks logind for
// something, with the error that a container gets where AppArmor keeps it off the bus.
const denied = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><policy context="mandatory"><deny send_destination="org.freedesktop.login1"/></policy></busconfig>
`

const deniedFile = "/etc/dbus-1/system.d/denied.conf"

func (b *bed) denyBus(m *machine) {
	b.Helper()
	b.must(m.Write(deniedFile, denied, 0o644))
	b.exec(m, "busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "ReloadConfig")
}

func (b *bed) allowBus(m *machine) {
	b.Helper()
	b.shell(m, "rm "+deniedFile)
	b.exec(m, "busctl", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "ReloadConfig")
}

// untouched waits until people are told why the machine cannot be rebooted, and sees that
// nothing was done to its node.
func (b *bed) untouched(m *machine, why string) {
	b.Helper()
	b.reason(m, "CannotReboot", why)
	if n := b.node(m, "there", func(*corev1.Node) bool { return true }); n.Spec.Unschedulable || phaseOf(n) != "Waiting" || n.Annotations["rebootd.dev/report"] != "" {
		b.Errorf("the node is cordoned (%t) in phase %s", n.Spec.Unschedulable, phaseOf(n))
	}
}

// The shipped pod on a machine whose bus denies it: nothing is drained, people are told,
// and it continues by itself once the bus allows it.
func TestPodIsDenied(t *testing.T) {
	t.Parallel()
	ds, err := deployOnce()
	if err != nil {
		t.Fatal(err)
	}
	b := newBed(t, "trixie", 4*time.Minute)
	m := b.kubeletNode(runtime{}, ds)
	b.node(m, "Ready", cluster.Ready)
	b.daemonPod(m)
	b.workload(m)
	b.denyBus(m)
	b.shell(m, "touch /run/reboot-needed")
	b.untouched(m, "ask logind whether a reboot is possible: ")
	b.allowBus(m)
	b.rebooted(m, 1)
}

// systemctl, which the unit runs, cannot reboot a machine whose bus denies it logind, or
// whose reboot.target is masked, and can reboot one that has no bus.
func TestUnitIsDenied(t *testing.T) {
	t.Parallel()
	onEvery(t, 2*time.Minute, func(b *bed) {
		m := b.machine()
		b.pod(m)
		b.denyBus(m)
		b.shell(m, "touch /run/reboot-needed")
		b.untouched(m, "ask logind whether a reboot is possible: ")
		b.exec(m, "systemctl", "mask", "reboot.target")
		b.allowBus(m)
		b.untouched(m, "reboot.target is masked")
		b.exec(m, "systemctl", "unmask", "reboot.target")
		b.rebooted(m, 1)
		b.shell(m, "systemctl stop dbus.socket dbus.service && rm /run/dbus/system_bus_socket")
		b.shell(m, "touch /run/reboot-needed")
		b.rebooted(m, 2)
	})
}
