package real

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// kernel stands in for a kernel's package: what Debian's do when they are installed
// is run what is in /etc/kernel/postinst.d.
const kernel = `set -e
mkdir -p /tmp/k/DEBIAN
printf 'Package: linux-image-99-test\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: a kernel\n' >/tmp/k/DEBIAN/control
printf '#!/bin/sh\nset -e\nDEB_MAINT_PARAMS="$*" run-parts --verbose --exit-on-error --arg=99-test --arg=/boot/vmlinuz-99-test /etc/kernel/postinst.d\n' >/tmp/k/DEBIAN/postinst
chmod 755 /tmp/k/DEBIAN/postinst
dpkg-deb -b /tmp/k /tmp/linux-image-99-test.deb
apt-get install -y -q /tmp/linux-image-99-test.deb
`

// Three machines that want to be rebooted, each in another way, are rebooted one after
// the other, each once, and drained before.
func TestRollingReboot(t *testing.T) {
	t.Parallel()
	onEvery(t, 4*time.Minute, func(b *bed) {
		var ms []*machine
		for range 3 {
			m := b.machine(`REBOOTD_WALL_MESSAGE="rebootd was here"`)
			b.pod(m)
			ms = append(ms, m)
		}
		b.shell(ms[0], kernel)
		b.shell(ms[1], "touch /run/reboot-needed")
		b.patch(ms[2], `{"metadata":{"annotations":{"rebootd.dev/request":"reboot"}}}`)
		for _, m := range ms {
			b.rebooted(m, 1)
			n := b.node(m, "there", func(*corev1.Node) bool { return true })
			var report struct{ Totals map[string]int }
			b.must(json.Unmarshal([]byte(n.Annotations["rebootd.dev/report"]), &report))
			if report.Totals["drained"]+report.Totals["relocated"] != 1 || report.Totals["failed"] != 0 {
				t.Errorf("%s: the report's totals are %v", m.Name, report.Totals)
			}
		}
		if most := mostDown(ms); most != 1 {
			t.Errorf("%d machines were down at the same time", most)
		}
		if log := b.exec(ms[0], "journalctl", "-b", "-1", "-u", "rebootd", "-o", "cat"); !strings.Contains(log, "linux-image-99-test") {
			t.Errorf("the log does not say which package wants the reboot:\n%s", log)
		}
		if log := b.exec(ms[1], "journalctl", "-b", "-1", "-u", "systemd-logind", "-o", "cat"); !strings.Contains(log, "rebootd was here") {
			t.Errorf("users were not told:\n%s", log)
		}
		for _, m := range ms {
			show := b.exec(m, "systemctl", "show", "rebootd", "-p", "NRestarts", "-p", "ActiveState", "-p", "StatusText")
			lines := strings.Split(show, "\n")
			said := slices.ContainsFunc(lines, func(l string) bool {
				return strings.HasPrefix(l, "StatusText=RebootVerified: rebooted: boot ") && strings.Contains(l, "the node is healthy and back in service")
			})
			if !said || !slices.Contains(lines, "NRestarts=0") || !slices.Contains(lines, "ActiveState=active") {
				t.Errorf("%s: the unit is %q", m.Name, show)
			}
			if before := b.exec(m, "journalctl", "-b", "-1", "-o", "cat", "_PID=1"); strings.Contains(before, "rebootd.service: Scheduled restart") || strings.Contains(before, "rebootd.service: Failed") {
				t.Errorf("%s: the unit was restarted, or failed, during the shutdown:\n%s", m.Name, before)
			}
		}
	})
}

// mostDown is how many machines were down at the same time.
func mostDown(ms []*machine) (most int) {
	for _, m := range ms {
		for _, o := range m.Outages() {
			n := 0
			for _, other := range ms {
				for _, x := range other.Outages() {
					if !x.From.After(o.From) && (x.To.IsZero() || x.To.After(o.From)) {
						n++
					}
				}
			}
			most = max(most, n)
		}
	}
	return most
}

// The daemon tells systemd that it lives; one that hangs is replaced.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	b := newBed(t, "bookworm", 3*time.Minute)
	m := b.machine()
	b.must(m.Write("/etc/systemd/system/rebootd.service.d/watchdog.conf", "[Service]\nWatchdogSec=21\n", 0o644))
	b.shell(m, "systemctl daemon-reload; systemctl restart rebootd")
	show := func(property string) string { return b.exec(m, "systemctl", "show", "rebootd", "-P", property) }
	last, times := show("WatchdogTimestampMonotonic"), 0
	b.eventually("it has said three times that it lives", func() bool {
		if now := show("WatchdogTimestampMonotonic"); now != last {
			last, times = now, times+1
		}
		return times == 3
	})
	if n := show("NRestarts"); n != "0" {
		t.Errorf("it was restarted %s times while it lived", n)
	}
	b.exec(m, "systemctl", "kill", "-s", "STOP", "rebootd")
	b.eventually("it was replaced", func() bool { return show("NRestarts") == "1" && show("ActiveState") == "active" })
}

// Hardened as far as its job allows: what systemd thinks of the exposure of the unit,
// from 0 (none) to 10.
func TestExposure(t *testing.T) {
	t.Parallel()
	onEvery(t, 2*time.Minute, func(b *bed) {
		m := b.machine()
		b.shell(m, "rm -r /etc/systemd/system/rebootd.service.d; systemctl daemon-reload")
		out := b.exec(m, "systemd-analyze", "security", "--no-pager", "rebootd.service")
		i := strings.LastIndex(out, "Overall exposure level for rebootd.service: ")
		if i < 0 {
			t.Fatal(out)
		}
		var level float64
		if _, err := fmt.Sscanf(out[i:], "Overall exposure level for rebootd.service: %f", &level); err != nil {
			t.Fatal(err)
		}
		t.Logf("exposure %.1f", level)
		if level > 2.0 {
			t.Errorf("the unit's exposure is %.1f, more than 2.0:\n%s", level, out)
		}
	})
}
