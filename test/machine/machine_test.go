package machine

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"rebootd.dev/reboot"
)

// A sentinel that is touched right after a boot is not older than the boot: the time
// of a file may be some milliseconds behind the clock. The boot's time is in full
// seconds, and in a bubble the clock starts at one.
func TestNothingIsTouchedBeforeTheBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &Machine{Root: t.TempDir()}
		if err := os.MkdirAll(filepath.Join(m.Root, "proc/sys/kernel/random"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := m.newBoot(); err != nil {
			t.Fatal(err)
		}
		boot, err := reboot.Host{Root: m.Root}.Boot()
		if err != nil {
			t.Fatal(err)
		}
		if lead := time.Since(boot.Time); lead < 100*time.Millisecond {
			t.Errorf("the machine booted %s ago, which a file that is touched now may seem to precede", lead)
		}
	})
}
