package host

import (
	"os"
	"os/exec"
	"path/filepath"
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

// When the tests are killed, nothing of their machines is left.
func TestNothingIsLeft(t *testing.T) {
	if dir := os.Getenv("HOST_TEST_KILLED"); dir != "" {
		img, err := Debian("trixie", "")
		if err != nil {
			t.Fatal(err)
		}
		h, err := New(Options{Image: img, Name: "left", Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Boot(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "group"), []byte(h.group), 0o644); err != nil {
			t.Fatal(err)
		}
		self, _ := os.FindProcess(os.Getpid())
		_ = self.Kill()
		select {}
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestNothingIsLeft$")
	cmd.Env = append(os.Environ(), "HOST_TEST_KILLED="+dir)
	out, _ := cmd.CombinedOutput()
	group, err := os.ReadFile(filepath.Join(dir, "group"))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		groups, _ := filepath.Glob("/sys/fs/cgroup/*/" + string(group))
		mounts, err := os.ReadFile("/proc/self/mounts")
		if err != nil {
			t.Fatal(err)
		}
		if len(groups) == 0 && !strings.Contains(string(mounts), dir) {
			return
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("left: %q, and mounts: %t", groups, strings.Contains(string(mounts), dir))
		}
	}
}
