package real

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// buildRPM builds a package with nothing in it but its name.
const buildRPM = `for name in kernel glibc; do
	printf 'Name: %s\nVersion: 9\nRelease: 1\nSummary: x\nLicense: x\nBuildArch: noarch\n%%description\nx\n%%files\n' $name >/tmp/$name.spec
	rpmbuild -bb --define '_rpmdir /root' /tmp/$name.spec
done`

// The RPM package, by rpm and dnf themselves: installed, upgraded and removed. What dnf
// knows of updated packages requests a reboot, once.
func TestRPM(t *testing.T) {
	t.Parallel()
	b := newBed(t, "trixie", 5*time.Minute)
	m := b.packaged("dnf,dnf-plugins-core,rpm,faketime")
	b.exec(m, "apt-get", "purge", "-y", "-q", "rebootd")
	found, err := filepath.Glob(filepath.Join(filepath.Dir(deb), "rebootd-*.rpm"))
	if err != nil || len(found) != 1 {
		t.Fatalf("make packages made %q, %v", found, err)
	}
	b.must(m.Copy(found[0], "/root/rebootd.rpm", 0o644))
	const (
		fresh   = "rpm -i --nodeps /root/rebootd.rpm"
		upgrade = "rpm -U --force --nodeps /root/rebootd.rpm"
		timer   = "rebootd-needs-restarting.timer"
	)
	b.steps(m, [2]string{"dnf install -y --disablerepo='*' /root/rebootd.rpm", "enabled active"})
	if got := b.unit(m, timer); got != "enabled active" {
		t.Errorf("the timer is %s", got)
	}
	before := b.exec(m, "systemctl", "show", "-P", "MainPID", "rebootd")
	b.steps(m, [2]string{upgrade, "enabled active"})
	if b.exec(m, "systemctl", "show", "-P", "MainPID", "rebootd") == before {
		t.Error("an upgrade does not restart the daemon")
	}
	b.steps(m,
		[2]string{"systemctl stop rebootd; " + upgrade, "enabled inactive"},
		[2]string{"systemctl disable rebootd; systemctl disable --now " + timer + "; " + upgrade, "disabled inactive"},
		[2]string{"systemctl start rebootd; " + upgrade, "disabled active"},
		[2]string{"systemctl mask --now rebootd; " + upgrade, "masked inactive"},
	)
	if got := b.unit(m, timer); got != "disabled inactive" {
		t.Errorf("an upgrade makes the timer %s", got)
	}
	if out := b.shell(m, "rpm -e --nodeps rebootd 2>&1; "+fresh+" 2>&1"); strings.Contains(out, "scriptlet failed") {
		t.Errorf("with a masked unit: %s", out)
	}
	b.steps(m,
		[2]string{"systemctl unmask rebootd; rpm -e --nodeps rebootd", "not-found inactive"},
		[2]string{fresh, "enabled active"},
		[2]string{"rpm -e --nodeps rebootd; mkdir -p /etc/systemd/system-preset; echo 'disable *' >/etc/systemd/system-preset/00-none.preset; " + fresh, "disabled inactive"},
		[2]string{"rpm -e --nodeps rebootd; rm -r /etc/systemd/system-preset; unshare -m sh -ec 'mount -t tmpfs tmpfs /run; " + fresh + "'", "enabled inactive"},
	)
	b.withoutKubeconfig(m, "rpm -e --nodeps rebootd; "+fresh, upgrade)

	check := func(packages string) {
		b.Helper()
		b.exec(m, "systemctl", "start", "rebootd-needs-restarting.service")
		if got := b.shell(m, "cat /run/reboot-needed /run/reboot-needed.pkgs 2>/dev/null || true"); got != packages {
			t.Errorf("requested: %q, not %q\n%s", got, packages, b.exec(m, "journalctl", "-b", "-o", "cat", "-u", "rebootd-needs-restarting.service"))
		}
		if out := b.exec(m, "systemctl", "show", "-P", "Result", "rebootd-needs-restarting.service"); out != "success" {
			t.Errorf("the unit has ended with %s", out)
		}
	}
	check("")
	b.shell(m, buildRPM)
	b.shell(m, "systemctl stop rebootd; rpm -i --nodeps /root/noarch/kernel-9-1.noarch.rpm")
	check("reboot\nkernel")
	b.exec(m, "systemctl", "start", "rebootd")
	b.rebooted(m, 1)
	check("")
	// Installed while the clock was two days ahead: dnf names it after every boot.
	b.shell(m, "systemctl stop rebootd; faketime '+2 days' rpm -i --nodeps /root/noarch/glibc-9-1.noarch.rpm")
	check("reboot\nglibc")
	b.exec(m, "systemctl", "start", "rebootd")
	b.rebooted(m, 2)
	check("")
	check("")
	b.exec(m, "journalctl", "--sync") // what the unit has just said may not be written yet
	if log := b.exec(m, "journalctl", "-b", "-o", "cat", "-p", "warning", "-u", "rebootd-needs-restarting.service"); strings.Count(log, "still named as in need of a reboot after the reboot that was requested for them: glibc-9-1.noarch.") != 1 {
		t.Errorf("the log says:\n%s", log)
	}

	if out := b.shell(m, "rpm -e --nodeps rebootd 2>/dev/null; rm -rf /etc/rebootd; ls -d /usr/bin/rebootd /usr/libexec/rebootd /var/lib/rebootd /run/rebootd-needs-restarting 2>/dev/null || true; systemctl list-unit-files 'rebootd*' --no-legend || true; find /etc/systemd -name 'rebootd*' ! -name '*.d'"); out != "" {
		t.Errorf("after it was removed there are: %s", out)
	}
}
