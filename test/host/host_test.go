package host

import (
	"strings"
	"testing"
	"time"
)

// A machine boots, reboots when it is asked to, with another boot ID and an empty
// /run, and boots again after a power cut.
func TestBoots(t *testing.T) {
	for _, suite := range Suites {
		t.Run(suite, func(t *testing.T) {
			t.Parallel()
			img, err := Debian(suite, "")
			if err != nil {
				t.Fatal(err)
			}
			h, err := New(Options{Image: img, Name: "boots-" + suite, Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(h.Close)
			began := time.Now()
			if err := h.Boot(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Logf("up after %s", time.Since(began))
			if out, err := h.Shell(t.Context(), "touch /run/x /root/x; systemctl --failed --no-legend; systemd-detect-virt"); err != nil || strings.TrimSpace(out) != "systemd-nspawn" {
				t.Errorf("%q, %v", out, err)
			}
			began = time.Now()
			_, _ = h.Exec(t.Context(), "systemctl", "reboot")
			for len(h.Boots()) < 2 {
				if time.Since(began) > limit {
					t.Fatal("does not reboot")
				}
				time.Sleep(10 * time.Millisecond)
			}
			if err := h.WaitUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Logf("up again after %s", time.Since(began))
			h.Crash()
			if err := h.Boot(t.Context()); err != nil {
				t.Fatal(err)
			}
			if out, err := h.Shell(t.Context(), "ls /root/x; ls /run/x 2>&1 || true"); err != nil || !strings.HasPrefix(out, "/root/x") || !strings.Contains(out, "No such file") {
				t.Errorf("%q, %v", out, err)
			}
			if b := h.Boots(); len(b) != 3 || b[0] == b[1] || b[1] == b[2] {
				t.Errorf("boots %q", b)
			}
		})
	}
}
