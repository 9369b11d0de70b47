package real

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// An admin's own programs run before the drain, before the reboot and after the boot.
// One that fails stops the reboot: what they have done is undone, and the node is put
// back. One that fails after the boot keeps the node from being called healthy.
func TestHooks(t *testing.T) {
	t.Parallel()
	onEvery(t, 4*time.Minute, func(b *bed) {
		m := b.machine("REBOOTD_HEALTH_TIMEOUT=10s", "REBOOTD_HOOK_TIMEOUT=20s")
		const say = "#!/bin/sh\necho \"$(basename $(dirname $0)) $1\" >>/run/hooks\n"
		b.must(m.Write("/etc/rebootd/pre-drain.d/10-podman", say, 0o755))
		b.must(m.Write("/etc/rebootd/pre-reboot.d/10-db", say+"[ $1 = undo ] || ! [ -e /run/lags ] || { echo replica lags; exit 1; }\n", 0o755))
		b.must(m.Write("/etc/rebootd/post-boot.d/10-db", say+"[ -e /var/lib/db-is-up ] || { echo no database; exit 1; }\n", 0o755))
		// The unit may write nowhere but to /run's of its own: what leads out of it is
		// systemd's, as the documentation says.
		b.must(m.Write("/etc/systemd/system/rebootd.service.d/hooks.conf", "[Service]\nReadWritePaths=/run\n", 0o644))
		b.shell(m, "systemctl daemon-reload; systemctl restart rebootd")
		b.pod(m)
		b.shell(m, "touch /run/lags /run/reboot-needed")
		b.node(m, "put back", func(n *corev1.Node) bool {
			c := condition(n)
			return c.Reason == "HookFailed" && strings.Contains(c.Message, "the hook pre-reboot.d/10-db do: exit status 1: replica lags") && phaseOf(n) == "Waiting" && !n.Spec.Unschedulable
		})
		if got := b.shell(m, "cat /run/hooks"); got != "pre-drain.d do\npre-reboot.d do\npre-reboot.d undo\npre-drain.d undo" {
			t.Errorf("the hooks were called so:\n%s", got)
		}
		if len(m.Boots()) != 1 {
			t.Fatal("it has rebooted")
		}
		b.shell(m, "rm /run/lags /run/hooks") // tried again after a minute
		b.reason(m, "Unhealthy", "the hook post-boot.d/10-db do: exit status 1: no database")
		b.shell(m, "touch /var/lib/db-is-up")
		b.rebooted(m, 1)
		n := b.node(m, "there", func(*corev1.Node) bool { return true })
		for _, want := range []string{`{"stage":"pre-drain.d","name":"10-podman","seconds":`, `"error":"exit status 1: replica lags"`, `"undo":true`} {
			if !strings.Contains(n.Annotations["rebootd.dev/report"], want) {
				t.Errorf("the report lacks %s: %s", want, n.Annotations["rebootd.dev/report"])
			}
		}
	})
}

// The daemon is killed while a hook runs, which the unit leaves running. It runs to its
// end, although it prints; the next start waits for it before it runs it again.
func TestHookOutlivesTheDaemon(t *testing.T) {
	t.Parallel()
	onEvery(t, 4*time.Minute, func(b *bed) {
		m := b.machine()
		b.must(m.Write("/etc/rebootd/pre-drain.d/10-slow", `#!/bin/sh
[ $1 = do ] || exit 0
echo begins; echo begins >>/srv/hooks
until [ -e /run/go ]; do sleep 0.2; done
echo ends; echo ends >>/srv/hooks
`, 0o755))
		b.must(m.Write("/etc/systemd/system/rebootd.service.d/hooks.conf", "[Service]\nReadWritePaths=/srv\n", 0o644))
		b.shell(m, "systemctl daemon-reload; systemctl restart rebootd; touch /run/reboot-needed")
		hooks := func() string { return b.shell(m, "cat /srv/hooks 2>/dev/null || true") }
		b.eventually("the hook runs", func() bool { return hooks() == "begins" })
		b.exec(m, "systemctl", "kill", "--kill-whom=main", "-s", "KILL", "rebootd")
		b.eventually("the next start waits for the hook", func() bool {
			return strings.Contains(b.exec(m, "journalctl", "-u", "rebootd", "-o", "cat"), "the hook pre-drain.d/10-slow do, which an earlier run of the daemon started, is still running")
		})
		if got := hooks(); got != "begins" {
			t.Errorf("before it has ended:\n%s", got)
		}
		b.shell(m, "touch /run/go")
		b.rebooted(m, 1)
		if got := hooks(); got != "begins\nends\nbegins\nends" {
			t.Errorf("the hook ran so:\n%s", got)
		}
		if log := b.exec(m, "journalctl", "-b", "-1", "-u", "rebootd", "-o", "cat"); strings.Count(log, "ends") < 2 {
			t.Errorf("what it printed is not in the journal:\n%s", log)
		}
	})
}
