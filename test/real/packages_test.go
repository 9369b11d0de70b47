package real

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rebootd.dev/test/cluster"
)

// packaged is a machine whose unit has its settings from a file that no package knows
// of, so that they are still there when the package was purged.
func (b *bed) packaged(packages string) *machine {
	b.Helper()
	m := b.machineWith(packages)
	env := fmt.Sprintf("[Service]\nEnvironment=REBOOTD_MIN_UPTIME=0 REBOOTD_NAMESPACE=%s REBOOTD_LOCK_NAME=%s REBOOTD_METRICS_ADDRESS=127.0.0.1:%d\n", cluster.Namespace, b.lock, m.port)
	b.must(m.Write("/etc/systemd/system/rebootd.service.d/settings.conf", env, 0o644))
	// Without a sync for each file, for the speed of it.
	b.must(m.Write("/etc/dpkg/dpkg.cfg.d/unsafe", "force-unsafe-io\n", 0o644))
	b.shell(m, "systemctl daemon-reload")
	return m
}

// unit is whether the unit is enabled and whether it is active.
func (b *bed) unit(m *machine, name string) string {
	b.Helper()
	return strings.Join(strings.Fields(b.shell(m, "enabled=$(systemctl is-enabled "+name+" 2>/dev/null || true); echo ${enabled:-not-found}; systemctl is-active "+name+" || true")), " ")
}

// steps are commands, each with the unit's state afterwards.
func (b *bed) steps(m *machine, steps ...[2]string) {
	b.Helper()
	for _, s := range steps {
		out := b.shell(m, s[0]+" 2>&1")
		if got := b.unit(m, "rebootd"); got != s[1] {
			b.Errorf("after %q the unit is %s, not %s:\n%s", s[0], got, s[1], out)
		}
	}
}

// The package: what an admin has decided of the unit survives an upgrade and a removal,
// and what was only removed comes back as it was.
func TestPackage(t *testing.T) {
	t.Parallel()
	onEvery(t, 4*time.Minute, func(b *bed) {
		m := b.packaged("")
		if out := b.exec(m, "rebootd", "version"); out == "" {
			t.Error("rebootd has no version")
		}
		if out := b.shell(m, "stat -c %a /etc/rebootd"); out != "750" {
			t.Errorf("/etc/rebootd has the mode %s", out)
		}
		b.exec(m, "systemd-analyze", "verify", "--man=no", "/usr/lib/systemd/system/rebootd.service")
		pid := func() string { return b.exec(m, "systemctl", "show", "rebootd", "-P", "MainPID") }
		before := pid()
		b.exec(m, "systemctl", "reload", "rebootd") // no more than a signal, of which the daemon lives on
		if out := b.exec(m, "systemctl", "is-active", "rebootd"); out != "active" || pid() != before {
			t.Errorf("after a reload it is %s, with the process %s in place of %s", out, pid(), before)
		}
		// An uncompressed copy, for the speed of it.
		b.shell(m, "dpkg-deb -R /root/rebootd.deb /tmp/new; dpkg-deb -Znone -b /tmp/new /new.deb")
		const install = "dpkg -i /new.deb"
		b.steps(m, [2]string{install, "enabled active"})
		if pid() == before {
			t.Error("an upgrade does not restart the daemon")
		}
		b.steps(m,
			[2]string{"apt-get remove -y -q rebootd", "not-found inactive"},
			[2]string{"apt-get install -y -q /root/rebootd.deb", "enabled active"},
			[2]string{"systemctl stop rebootd", "enabled inactive"},
			[2]string{install, "enabled inactive"},
			[2]string{"dpkg -r rebootd; " + install, "enabled active"},
			[2]string{"systemctl disable rebootd", "disabled active"},
			[2]string{install, "disabled active"},
			[2]string{"systemctl stop rebootd; " + install, "disabled inactive"},
			[2]string{"dpkg -r rebootd; " + install, "disabled inactive"},
			[2]string{"dpkg -P rebootd; " + install, "enabled active"},
			[2]string{"systemctl mask --now rebootd", "masked inactive"},
			[2]string{install, "masked inactive"},
			[2]string{"dpkg -r rebootd; " + install, "masked inactive"},
			[2]string{"dpkg -P rebootd; " + install, "masked inactive"},
			[2]string{"systemctl unmask rebootd; systemctl enable --now rebootd", "enabled active"},
			// In an image that is being built, no systemd runs.
			[2]string{"dpkg -P rebootd; unshare -m sh -ec 'mount -t tmpfs tmpfs /run; " + install + "'", "enabled inactive"},
			// Where policy-rc.d says that no service may be started.
			[2]string{"dpkg -P rebootd; echo 'exit 101' >/usr/sbin/policy-rc.d; sed -i '1i #!/bin/sh' /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; " + install + "; rm /usr/sbin/policy-rc.d", "enabled inactive"},
			[2]string{"systemctl start rebootd", "enabled active"},
		)
		b.withoutKubeconfig(m, "dpkg -P rebootd; "+install, install)
		b.shell(m, "systemctl stop rebootd; rm /etc/rebootd/kubeconfig; dpkg -P rebootd")
		if out := b.shell(m, "ls -d /usr/bin/rebootd /usr/libexec/rebootd /etc/rebootd /etc/default/rebootd /etc/kernel/postinst.d/zz-rebootd /run/rebootd* 2>/dev/null || true; systemctl list-unit-files 'rebootd*' --no-legend || true; find /etc/systemd /var/lib/systemd -name 'rebootd*' ! -name '*.d' || true"); out != "" {
			t.Errorf("after it was purged there are: %s", out)
		}
	})
}

// withoutKubeconfig installs the package where there is no kubeconfig: that succeeds, and
// says what is missing, as the start of the unit does. It leaves the unit active.
func (b *bed) withoutKubeconfig(m *machine, install, upgrade string) {
	b.Helper()
	out := b.shell(m, "mv /etc/rebootd/kubeconfig /root; "+install+" 2>&1")
	if !strings.Contains(out, "rebootd is not started: it needs /etc/rebootd/kubeconfig. Provide it, then: systemctl start rebootd") {
		b.Errorf("without a kubeconfig the installation says:\n%s", out)
	}
	out, err := m.Exec(b.ctx, "systemctl", "start", "rebootd")
	if err == nil || !strings.Contains(out, "Assertion failed") {
		b.Errorf("without a kubeconfig the start says %q, %v", out, err)
	}
	if out, _ := m.Exec(b.ctx, "systemctl", "status", "rebootd"); !strings.Contains(out, "AssertPathExists=/etc/rebootd/kubeconfig was not met") {
		b.Errorf("without a kubeconfig the status says %q", out)
	}
	b.steps(m,
		[2]string{"true", "enabled inactive"},
		[2]string{"mkdir -p /etc/rebootd; mv /root/kubeconfig /etc/rebootd; systemctl start rebootd", "enabled active"},
		// It is gone when the daemon is to be restarted.
		[2]string{"mv /etc/rebootd/kubeconfig /root; " + upgrade, "enabled inactive"},
		[2]string{"mv /root/kubeconfig /etc/rebootd; systemctl start rebootd", "enabled active"},
	)
}

// From the version before the scripts kept a record of what an admin has decided.
func TestUpgradeFromEarlierPackage(t *testing.T) {
	t.Parallel()
	onEvery(t, 3*time.Minute, func(b *bed) {
		m := b.packaged("")
		scripts, err := filepath.Glob("testdata/earlier/*")
		b.must(err)
		for _, s := range scripts {
			b.must(m.Copy(s, "/root/earlier/"+filepath.Base(s), os.FileMode(0o755)))
		}
		b.shell(m, `dpkg-deb -R /root/rebootd.deb /tmp/p; dpkg-deb -Znone -b /tmp/p /new.deb
mv /root/earlier/zz-rebootd /tmp/p/etc/kernel/postinst.d/; rm /tmp/p/DEBIAN/preinst; mv /root/earlier/* /tmp/p/DEBIAN/
rm -r /tmp/p/usr/libexec; sed -i '/libexec/d; /zz-rebootd/d' /tmp/p/DEBIAN/md5sums; sed -i 's/^Version:.*/Version: 0.0.0~earlier/' /tmp/p/DEBIAN/control
dpkg-deb -Znone -b /tmp/p /earlier.deb; dpkg -P rebootd`)
		const earlier, install = "dpkg -P rebootd; dpkg -i /earlier.deb", "dpkg -i /new.deb"
		b.steps(m,
			[2]string{earlier, "enabled active"},
			[2]string{install, "enabled active"},
			[2]string{earlier + "; systemctl stop rebootd; " + install, "enabled inactive"},
			[2]string{earlier + "; systemctl disable rebootd; " + install, "disabled active"},
			[2]string{earlier + "; systemctl disable --now rebootd; " + install, "disabled inactive"},
			[2]string{earlier + "; dpkg -r rebootd; " + install, "enabled active"},
			[2]string{"systemctl mask --now rebootd; dpkg -i /earlier.deb; " + install, "masked inactive"},
			[2]string{"systemctl unmask rebootd; systemctl start rebootd", "enabled active"},
			[2]string{"dpkg -i /earlier.deb", "enabled active"}, // and back
		)
		b.shell(m, install)
		b.shell(m, kernel)
		b.rebooted(m, 1)
	})
}
