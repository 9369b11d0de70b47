package reboot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/godbus/dbus/v5"

	"rebootd.dev/daemon/printable"
)

const (
	errAccessDenied = "org.freedesktop.DBus.Error.AccessDenied"

	// privateSocket is where PID 1 answers root without a bus.
	privateSocket = "/run/systemd/private"
	// maxReply is how much of what the bus, logind and the kernel answer is repeated, in bytes.
	maxReply = 200
)

// ImpossibleError says why the machine cannot be rebooted at present, and how to mend it.
type ImpossibleError struct {
	Why string // stays the same while nothing changes
	// Passing says that it may be nothing but a restart of the system bus or of logind.
	Passing bool

	answered bool // logind, or the bus in its name, has refused
}

func (e *ImpossibleError) Error() string { return e.Why }

// Possible is nil if the command for a reboot can be expected to succeed, and else an
// [ImpossibleError]. It looks at what the command needs and at nothing else: one that is
// not `systemctl reboot` only has to be there. It takes milliseconds where everything is
// in place, and at most twenty seconds.
func (r Rebooter) Possible(ctx context.Context) error {
	if r.Logind {
		return canReboot(ctx)
	}
	if _, err := exec.LookPath(r.Command[0]); err != nil {
		return &ImpossibleError{Why: fmt.Sprintf("the reboot command cannot be started: %s; set --reboot-command to a program that rebootd can run, or use --reboot-method=logind", line(err.Error()))}
	}
	if len(r.Command) != 2 || filepath.Base(r.Command[0]) != "systemctl" || r.Command[1] != "reboot" {
		return nil
	}
	return bySystemctl(ctx, os.Geteuid() == 0, privateSocket)
}

// bySystemctl says whether systemctl can reboot the machine. It asks logind, and where
// that cannot be asked PID 1, which answers nobody but root without a bus. A refusal it
// takes for the last word (systemctl's verb_start_special; seen with systemd 252 and 257).
func bySystemctl(ctx context.Context, root bool, private string) error {
	err := canReboot(ctx)
	e, refused := errors.AsType[*ImpossibleError](err)
	if !refused || e.answered || !root {
		return err
	}
	dialer := net.Dialer{Timeout: askLimit}
	conn, err := dialer.DialContext(ctx, "unix", private)
	if err != nil {
		return &ImpossibleError{Why: fmt.Sprintf("%s; systemctl cannot ask systemd itself either: %s", e.Why, err), Passing: true}
	}
	return conn.Close()
}

// canReboot asks logind over the system bus whether this process may reboot the machine.
func canReboot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	conn, manager, err := connect(ctx)
	if err != nil {
		return unanswered(err)
	}
	defer conn.Close()
	var answer string
	err = manager.CallWithContext(ctx, logindManager+".CanReboot", 0).Store(&answer)
	if err != nil {
		e := unanswered(fmt.Errorf("ask logind whether a reboot is possible: %w", err))
		e.answered = isError(err, errAccessDenied)
		return e
	}
	e := &ImpossibleError{answered: true}
	switch {
	case masked(ctx, conn): // of which logind says yes before systemd 257
		e.Why = "reboot.target is masked, so that nobody can reboot this machine; systemctl unmask reboot.target"
	case answer == "yes", answer == "inhibited", answer == "inhibitor-blocked":
		return nil // who inhibits it, and for how long, is told by WatchShutdown
	case answer == "challenge" || answer == "challenge-inhibitor-blocked" || answer == "no" && os.Geteuid() != 0:
		e.Why = fmt.Sprintf("logind does not allow rebootd to reboot this machine (CanReboot: %s); %s", answer, allowUser)
	default:
		e.Why = fmt.Sprintf("logind says that this machine cannot be rebooted (CanReboot: %s); see systemctl status reboot.target", line(answer))
	}
	return e
}

// masked says whether somebody has masked reboot.target. A systemd that cannot be asked
// says nothing against a reboot.
func masked(ctx context.Context, conn *dbus.Conn) bool {
	var state string
	err := conn.Object(systemdName, systemdPath).CallWithContext(ctx, systemdManager+".GetUnitFileState", 0, "reboot.target").Store(&state)
	return err == nil && strings.HasPrefix(state, "masked") // or masked-runtime
}

// allowUser mends what polkit refuses.
const allowUser = "run rebootd as root, or allow org.freedesktop.login1.reboot to its user by a polkit rule"

// unanswered says why logind could not be asked, and how to mend it.
func unanswered(err error) *ImpossibleError {
	why, all := sentence(err), err.Error()
	switch {
	case strings.Contains(all, "AppArmor policy"): // dbus-daemon's words
		return &ImpossibleError{Why: why + "; set appArmorProfile: Unconfined for rebootd's container"}
	case strings.Contains(all, "SELinux policy"):
		return &ImpossibleError{Why: why + "; run rebootd's container with the SELinux type spc_t"}
	case isError(err, errAccessDenied) && os.Geteuid() != 0:
		return &ImpossibleError{Why: why + "; " + allowUser}
	case isError(err, errAccessDenied):
		return &ImpossibleError{Why: why + "; allow it in the policy of the system bus (/etc/dbus-1/system.d)"}
	case errors.Is(err, fs.ErrPermission):
		return &ImpossibleError{Why: why + "; run rebootd as root and, in a container where SELinux is enforced, with the type spc_t"}
	case errors.Is(err, fs.ErrNotExist):
		why += "; mount the host's /run/dbus, and name the bus in DBUS_SYSTEM_BUS_ADDRESS"
	case isError(err, errServiceUnknown):
		why += "; start systemd-logind"
	}
	return &ImpossibleError{Why: why, Passing: true}
}

// sentence is an error without the particulars of a message that a bus puts after its
// own, and without the path that the bus's address has already.
func sentence(err error) string {
	all := err.Error()
	if e, ok := errors.AsType[dbus.Error](err); ok {
		first, _, _ := strings.Cut(e.Error(), ";")
		return line(strings.TrimSuffix(all, e.Error()) + first)
	}
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return line(strings.TrimSuffix(all, e.Error()) + e.Err.Error())
	}
	return line(all)
}

func line(s string) string { return printable.Line(s, maxReply) }
