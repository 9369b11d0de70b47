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
