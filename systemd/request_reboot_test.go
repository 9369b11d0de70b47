// Package systemd has what the packages of the unit install, and tests its scripts as
// they are, each in every shell that is here.
package systemd

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// host is a directory that the scripts take for a machine's root.
type host struct {
	testing.TB
	root  string
	shell []string
}

// onEvery runs a test in every shell that is here.
func onEvery(t *testing.T, test func(h *host)) {
	found := 0
	for _, shell := range [][]string{{"dash"}, {"bash", "--posix"}, {"busybox", "sh"}, {"sh"}} {
		path, err := exec.LookPath(shell[0])
		if err != nil || shell[0] == "sh" && found > 0 {
			continue
		}
		found++
		t.Run(shell[0], func(t *testing.T) {
			t.Parallel()
			h := &host{TB: t, root: t.TempDir(), shell: append([]string{path}, shell[1:]...)}
			for _, dir := range []string{"run/systemd/system", "var/lib", "proc/sys/kernel/random", "bin"} {
				h.must(os.MkdirAll(h.path(dir), 0o755))
			}
			for _, name := range []string{"cat", "cut", "grep", "head", "mkdir", "mv", "rm", "sed", "sort", "tail", "timeout", "uname"} {
				h.restore(name)
			}
			h.install("request-reboot", "usr/libexec/rebootd/request-reboot")
			test(h)
		})
	}
	if found == 0 {
		t.Fatal("no shell")
	}
}

func (h *host) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *host) path(name string) string { return filepath.Join(h.root, name) }

func (h *host) write(name, content string) {
	h.Helper()
	h.must(os.WriteFile(h.path(name), []byte(content), 0o644))
}

// read is a file's content, "-" if there is none.
func (h *host) read(name string) string {
	h.Helper()
	data, err := os.ReadFile(h.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return "-"
	}
	h.must(err)
	return string(data)
}

// install puts a script where the package does, with the machine's paths below the root
// and the shell of the test.
func (h *host) install(name, to string) {
	h.Helper()
	data, err := os.ReadFile(name)
	h.must(err)
	script := string(data)
	for _, dir := range []string{"/run/", "/var/lib/", "/proc/", "/usr/libexec/"} {
		script = strings.ReplaceAll(script, dir, h.root+dir)
	}
	script = strings.Replace(script, "#!/bin/sh", "#!"+strings.Join(h.shell, " "), 1)
	h.must(os.MkdirAll(filepath.Dir(h.path(to)), 0o755))
	h.must(os.WriteFile(h.path(to), []byte(script), 0o755))
}

// tool makes a program of the host. It is never a link, through which a test could write
// to a program of the machine that it runs on.
func (h *host) tool(name, script string) {
	h.Helper()
	h.must(os.WriteFile(h.path("bin/"+name), []byte("#!"+strings.Join(h.shell, " ")+"\n"+script+"\n"), 0o755))
}

// restore makes a tool what it is on every machine: busybox's own with its shell.
func (h *host) restore(name string) {
	h.Helper()
	argv := h.shell[0] + " " + name
	if filepath.Base(h.shell[0]) != "busybox" {
		path, err := exec.LookPath(name)
		h.must(err)
		argv = path
	}
	h.tool(name, "exec "+argv+` "$@"`)
}

// command is a program of the host.
func (h *host) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(h.path(name), args...)
	cmd.Env = []string{"PATH=" + h.path("bin")}
	return cmd
}

// run runs a program of the host, which must succeed, and returns what it prints.
func (h *host) run(name string, args ...string) string {
	h.Helper()
	out, err := h.command(name, args...).CombinedOutput()
	if err != nil {
		h.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

// inode tells one request from another, as the daemon does; 0 if there is no file.
func (h *host) inode(name string) uint64 {
	var st syscall.Stat_t
	if syscall.Stat(h.path(name), &st) != nil {
		return 0
	}
	return st.Ino
}

// onlySentinels says that nothing else was left in /run.
func (h *host) onlySentinels() {
	h.Helper()
	files, err := os.ReadDir(h.path("run"))
	h.must(err)
	for _, f := range files {
		if !slices.Contains([]string{"systemd", "reboot-needed", "reboot-needed.pkgs", "reboot-required"}, f.Name()) {
			h.Errorf("%s was left in /run", f.Name())
		}
	}
}

// Whatever stands in the file, a kernel makes it a new request of a full reboot, and what
// people wrote is kept.
func TestRequestReboot(t *testing.T) {
	onEvery(t, func(h *host) {
		for _, tt := range []struct{ before, after string }{
			{"-", "reboot\n"},
			{"", "reboot\n"},
			{" \n", "reboot\n"},
			{"reboot", "reboot\n"},
			{"soft-reboot", "reboot\n"},
			{"soft-reboot\n", "reboot\n"},
			{"kexec\n", "reboot\n"},
			{"\n kexec\tnew libc, ask *\n", "reboot\tnew libc, ask *\n"},
			{"soft-reboot new libc\nticket 7 'x' \\n\n", "reboot new libc\nticket 7 'x' \\n\n"},
			{"soft-reboots are fine\n", "soft-reboots are fine\n"},
			{"kernel update; $(reboot)\n", "kernel update; $(reboot)\n"},
		} {
			for _, file := range []string{"run/reboot-needed", "run/reboot-required"} {
				_ = os.Remove(h.path("run/reboot-required"))
				_ = os.Remove(h.path(file))
				if tt.before != "-" {
					h.write(file, tt.before)
				} else if file == "run/reboot-required" {
					continue // only Debian's own tools make it
				}
				before := h.inode(file)
				if out := h.run("usr/libexec/rebootd/request-reboot", "linux-image-7"); out != "" {
					h.Errorf("says %q", out)
				}
				if got := h.read(file); got != tt.after {
					h.Errorf("%s: %q became %q, not %q", file, tt.before, got, tt.after)
				}
				if h.inode(file) == before {
					h.Errorf("%s: %q is no new request", file, tt.before)
				}
				if h.read("run/reboot-needed") == "-" {
					h.Errorf("with %s there is no /run/reboot-needed", file)
				}
			}
		}
		h.run("usr/libexec/rebootd/request-reboot", "linux-image-7", "-x", "linux-image")
		if got := h.read("run/reboot-needed.pkgs"); got != "linux-image-7\n-x\nlinux-image\n" {
			h.Errorf("the packages are %q", got)
		}
		info, err := os.Stat(h.path("run/reboot-needed"))
		h.must(err)
		if info.Mode() != 0o644 {
			h.Errorf("the mode is %v", info.Mode())
		}
		h.onlySentinels()
	})
}

// What is no file cannot be one: the hooks say so and do not stop those of the boot
// loader.
func TestKernelHooks(t *testing.T) {
	onEvery(t, func(h *host) {
		h.install("kernel-postinst", "etc/kernel/postinst.d/zz-rebootd")
		h.install("kernel-install", "usr/lib/kernel/install.d/95-rebootd.install")
		postinst := func() string { return h.run("etc/kernel/postinst.d/zz-rebootd", "6.1", "/boot/vmlinuz-6.1") }
		install := func(args ...string) string {
			return h.run("usr/lib/kernel/install.d/95-rebootd.install", args...)
		}
		release, err := exec.Command("uname", "-r").Output()
		h.must(err)
		install("add", strings.TrimSpace(string(release)), "/x")
		install("remove", "6.2", "/x")
		h.must(os.Remove(h.path("run/systemd/system")))
		postinst()
		install("add", "6.2", "/x")
		h.must(os.Mkdir(h.path("run/systemd/system"), 0o755))
		if got := h.read("run/reboot-needed"); got != "-" {
			h.Errorf("requested without need: %q", got)
		}

		for want, hook := range map[string]func() string{"linux-image-6.1": postinst, "kernel-6.2": func() string { return install("add", "6.2", "/x") }} {
			_ = os.Remove(h.path("run/reboot-needed.pkgs"))
			h.write("run/reboot-needed", "soft-reboot libc\n")
			if out := hook(); out != "" {
				h.Errorf("it says %q", out)
			}
			if got := h.read("run/reboot-needed") + h.read("run/reboot-needed.pkgs"); got != "reboot libc\n"+want+"\n" {
				h.Errorf("requested: %q", got)
			}
		}

		h.must(os.Remove(h.path("run/reboot-needed")))
		h.must(os.Mkdir(h.path("run/reboot-needed"), 0o755))
		for _, out := range []string{postinst(), install("add", "6.2", "/x")} {
			if !strings.Contains(out, "reboot-needed is a directory") || !strings.Contains(out, "cannot request a reboot for the kernel 6.") {
				h.Errorf("with a directory they say %q", out)
			}
		}
		if files, _ := os.ReadDir(h.path("run/reboot-needed")); len(files) > 0 {
			h.Errorf("the directory has %v", files)
		}
		h.onlySentinels()

		h.must(errors.Join(os.Remove(h.path("run/reboot-needed")), os.RemoveAll(h.path("usr/libexec/rebootd"))))
		if out := postinst(); out != "" || h.inode("run/reboot-needed") != 0 {
			h.Errorf("after the package was removed the hook that stays says %q", out)
		}
	})
}

// Whoever reads the file while it is written, or after the writer was killed, reads what
// was there before or what is there afterwards.
func TestRequestRebootIsKilled(t *testing.T) {
	onEvery(t, func(h *host) {
		const before, after = "soft-reboot libc\n", "reboot libc\n"
		killed := 0
		for i := range 30 {
			h.write("run/reboot-needed", before)
			cmd := h.command("usr/libexec/rebootd/request-reboot", "kernel")
			h.must(cmd.Start())
			kill := time.AfterFunc(time.Duration(i)*200*time.Microsecond, func() { _ = cmd.Process.Kill() })
			done := make(chan error, 1)
			go func() { done <- cmd.Wait() }()
			for ended := false; !ended; {
				select {
				case err := <-done:
					ended = true
					if err != nil {
						killed++
					} else if got := h.read("run/reboot-needed"); got != after {
						h.Fatalf("it has ended, and the file says %q", got)
					}
				default:
				}
				if got := h.read("run/reboot-needed"); got != before && got != after {
					h.Fatalf("a reader reads %q", got)
				}
			}
			kill.Stop()
		}
		if killed == 0 {
			h.Error("it was never killed")
		}
	})
}

// One that is told to end before it is done leaves nothing behind.
func TestRequestRebootIsTerminated(t *testing.T) {
	onEvery(t, func(h *host) {
		h.write("run/reboot-needed", "soft-reboot libc\n")
		h.tool("mv", "kill $PPID")
		if err := h.command("usr/libexec/rebootd/request-reboot").Run(); err == nil {
			h.Error("it has ended well")
		}
		if got := h.read("run/reboot-needed"); got != "soft-reboot libc\n" {
			h.Errorf("the file says %q", got)
		}
		h.onlySentinels()
	})
}
