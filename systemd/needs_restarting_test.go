package systemd

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

const needsRestarting = "usr/libexec/rebootd/needs-restarting"

// What dnf and yum-utils say, with its exit status.
const (
	dnfNo  = "No core libraries or services have been updated since boot-up.\nReboot should not be necessary.\n0"
	dnfYes = "Core libraries or services have been updated since boot-up:\n%s\nReboot is required to fully utilize these updates.\nMore information: https://access.redhat.com/solutions/27943\n1"
	yumNo  = "No core libraries or services have been updated.\nReboot is probably not necessary.\n0"
	yumYes = "Core libraries or services have been updated:\n  dbus -> 1:1.10.24-14.el7_8\n  systemd -> 219-73.el7_8.9\n\nReboot is required to ensure that your system benefits from these updates.\n\nMore information:\nhttps://access.redhat.com/solutions/27943\n1"
)

// yes is dnf's answer when these packages were updated.
func yes(packages ...string) string {
	var lines strings.Builder
	for _, p := range packages {
		fmt.Fprintf(&lines, "  * %s\n", p)
	}
	return fmt.Sprintf(dnfYes, lines.String())
}

// onEveryRPM runs a test on a host with rpm and a package manager that says what the
// test has it say.
func onEveryRPM(t *testing.T, test func(h *host)) {
	onEvery(t, func(h *host) {
		h.install("needs-restarting", needsRestarting)
		h.boot("a")
		h.installed("dbus=1", "kernel=1", "kernel=2", "glibc=1", "systemd=1")
		h.tool("rpm", `shift 3; for n; do grep "^$n-" '`+h.path("installed")+`' || echo "package $n is not installed"; done`)
		test(h)
	})
}

// boot boots the machine: it has a new boot ID and an empty /run.
func (h *host) boot(id string) {
	h.Helper()
	h.must(errors.Join(os.RemoveAll(h.path("run")), os.MkdirAll(h.path("run/systemd/system"), 0o755)))
	h.write("proc/sys/kernel/random/boot_id", id+"\n")
}

// installed says which versions of packages there are; with "kernel=1@7" it was installed
// at the time 7.
func (h *host) installed(packages ...string) {
	h.Helper()
	var lines strings.Builder
	for _, p := range packages {
		p, at, found := strings.Cut(p, "@")
		if !found {
			at = "100"
		}
		fmt.Fprintf(&lines, "%s-1.x86_64 %s\n", strings.Replace(p, "=", "-", 1), at)
	}
	h.write("installed", lines.String())
}

// says has a package manager answer, with the exit status that the answer ends with; and
// so without its repositories, if no other answer is given for that.
func (h *host) says(manager, answer string, offline ...string) {
	h.Helper()
	of := func(answer string) string {
		i := strings.LastIndexByte(answer, '\n')
		return "cat <<'E'\n" + answer[:i] + "\nE\nexit " + answer[i+1:]
	}
	script := of(answer)
	if len(offline) > 0 {
		script = "case \"$*\" in *disablerepo*)\n" + of(offline[0]) + "\n;; esac\n" + script
	}
	h.tool(manager, script)
}

// check runs the script, which says want, and says whether it has requested a reboot.
func (h *host) check(want string) bool {
	h.Helper()
	before := h.inode("run/reboot-needed")
	out := h.run(needsRestarting)
	if want == "" && out != "" || !strings.Contains(out, want) {
		h.Errorf("it says %q, not %q", out, want)
	}
	return h.inode("run/reboot-needed") != before
}

func (h *host) requests(packages string) {
	h.Helper()
	if !h.check("requested a reboot for updated packages: " + packages + "\n") {
		h.Errorf("no reboot is requested for %s", packages)
	}
	for p := range strings.FieldsSeq(packages) {
		if !strings.Contains("\n"+h.read("run/reboot-needed.pkgs"), "\n"+p+"\n") {
			h.Errorf("%s is not among the packages", p)
		}
	}
}

func (h *host) requestsNot(says string) {
	h.Helper()
	if h.check(says) {
		h.Errorf("a reboot is requested (%s)", says)
	}
}

// One request for each installation of a package, and none that nobody needs.
func TestNeedsRestarting(t *testing.T) {
	onEveryRPM(t, func(h *host) {
		h.requestsNot("") // nothing to ask
		h.says("dnf", dnfNo)
		h.requestsNot("")
		h.says("dnf", yes("kernel"))
		h.requests("kernel")
		if got := h.read("run/reboot-needed"); got != "reboot\n" {
			h.Errorf("the file says %q", got)
		}
		h.requestsNot("")
		h.must(os.Remove(h.path("run/reboot-needed"))) // somebody wants no reboot
		h.requestsNot("")
		h.installed("kernel=2", "glibc=1") // an old one is removed
		h.requestsNot("")
		h.says("dnf", yes("glibc"))
		h.requests("glibc")
		h.says("dnf", yes("glibc", "kernel"))
		h.requestsNot("")
		h.installed("kernel=2", "glibc=1@200") // installed again
		h.requests("glibc kernel")
		h.boot("b")
		h.says("dnf", dnfNo)
		h.requestsNot("")
		h.installed("kernel=2", "kernel=3", "glibc=1@200")
		h.says("dnf", yes("kernel"))
		h.requests("kernel")
	})
}

// A package that is named after every boot, for the clock was wrong, does not reboot the
// machine again and again; others are not held up by it.
func TestNeedsRestartingForEver(t *testing.T) {
	onEveryRPM(t, func(h *host) {
		h.says("dnf", yes("kernel"))
		h.requests("kernel")
		for i := range 3 {
			h.boot(fmt.Sprint("b", i))
			h.requestsNot("<4>still named as in need of a reboot after the reboot that was requested for them: kernel-1-1.x86_64 kernel-2-1.x86_64.")
			h.requestsNot("") // said once
		}
		h.says("dnf", yes("glibc", "kernel"))
		h.requests("glibc kernel")
		h.boot("c")
		h.says("dnf", yes("kernel"))
		h.requestsNot("<4>still named")
		h.says("dnf", yes("glibc", "kernel"))
		h.requestsNot("<4>still named")
		// A dead clock: everything was installed after the boot.
		h.says("dnf", yes("dbus", "glibc", "kernel", "systemd"))
		h.requests("dbus glibc kernel systemd")
		h.boot("d")
		h.requestsNot("<4>still named")
		h.says("dnf", dnfNo) // the clock was set
		h.requestsNot("")
		h.boot("e") // and is dead again
		h.says("dnf", yes("dbus", "glibc", "kernel", "systemd"))
		h.requestsNot("<4>still named")
	})
}

// An answer that is none is no "yes", although the exit status is that of one; people are
// told once.
func TestNeedsRestartingHasNoAnswer(t *testing.T) {
	const unknown = "No such command: needs-restarting. Please use /usr/bin/dnf --help\nIt could be a DNF plugin command, try: \"dnf install 'dnf-command(needs-restarting)'\"\n1"
	onEveryRPM(t, func(h *host) {
		h.says("dnf", unknown)
		h.requestsNot(`<4>cannot find out whether updated packages need a reboot: It could be a DNF plugin command, try: "dnf install 'dnf-command(needs-restarting)'".`)
		h.requestsNot("")
		h.says("dnf", "Error: Failed to download metadata for repo 'updates'\n1", dnfNo)
		h.requestsNot("")
		h.says("dnf", "Error: Failed to download metadata for repo 'updates'\n1", yes("kernel"))
		h.requests("kernel")
		h.tool("timeout", `[ $(($2 + $3)) -le 280 ] || exit 1; shift 3; case $1 in dnf) exit 124 ;; esac; "$@"`)
		h.tool("dnf", "echo it was not limited")
		h.requestsNot("<4>cannot find out whether updated packages need a reboot: no answer within 4 minutes.")
		h.restore("timeout")
		h.must(os.Remove(h.path("bin/dnf")))
		h.says("dnf5", "Unknown argument \"needs-restarting\" for command \"dnf5\".\n2")
		h.requestsNot("<4>cannot find out whether updated packages need a reboot: Unknown argument")
		h.says("dnf5", yes("glibc"))
		h.requests("glibc")
		h.must(os.Remove(h.path("bin/dnf5")))
		h.says("needs-restarting", "Traceback (most recent call last):\n1")
		h.requestsNot("<4>cannot find out")
		h.says("needs-restarting", yumNo)
		h.requestsNot("")
		h.says("needs-restarting", yumYes)
		h.requests("dbus systemd")
		h.says("needs-restarting", yes("gone"))
		h.requestsNot("<4>a reboot is needed, but rpm does not say for which packages: gone.")
	})
}

// Killed before it has requested what it remembers, it requests it the next time; what it
// cannot remember it does not request.
func TestNeedsRestartingIsInterrupted(t *testing.T) {
	onEveryRPM(t, func(h *host) {
		h.says("dnf", yes("kernel"))
		h.tool("mv", "exit 1") // a full disk
		h.requestsNot("<4>cannot write")
		h.restore("mv")

		h.must(os.Mkdir(h.path("run/reboot-needed"), 0o755))
		h.requestsNot("is a directory")
		if !strings.Contains(h.read("var/lib/rebootd/needs-restarting"), "a\nkernel-1-1.x86_64 100\nkernel-2-1.x86_64 100\n") {
			h.Error("it was requested before it was remembered")
		}
		h.must(os.Remove(h.path("run/reboot-needed")))
		h.requests("kernel")
		h.requestsNot("")
	})
}
