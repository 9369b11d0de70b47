package reboot

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// manager stands in for logind's manager on a private bus.
type manager struct {
	mu         sync.Mutex
	called     []string
	old        bool // does not know RebootWithFlags
	denied     *dbus.Error
	inhibitors []inhibitor
	scheduled  scheduled
	preparing  bool
	can        string // its answer to CanReboot; "": yes
	conn       *dbus.Conn
}

type inhibitor struct {
	What, Who, Why, Mode string
	UID, PID             uint32
}

func (m *manager) RebootWithFlags(flags uint64) *dbus.Error {
	if m.old {
		return dbus.NewError(errUnknownMethod, []any{"Unknown method RebootWithFlags"})
	}
	m.note("RebootWithFlags %d", flags)
	return m.denied
}

func (m *manager) Reboot(interactive bool) *dbus.Error {
	m.note("Reboot %t", interactive)
	return m.denied
}

func (m *manager) CancelScheduledShutdown() (bool, *dbus.Error) {
	m.note("CancelScheduledShutdown")
	return true, m.denied
}

func (m *manager) SetWallMessage(text string, enable bool) *dbus.Error {
	m.note("SetWallMessage %s %t", text, enable)
	return nil
}

func (m *manager) note(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.called = append(m.called, fmt.Sprintf(format, args...))
}

func (m *manager) calls() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprint(m.called)
}

func (m *manager) ListInhibitors() ([]inhibitor, *dbus.Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.inhibitors, nil
}

// bus starts a private bus with m on it, and has Logind use it.
func bus(t *testing.T, m *manager) {
	t.Helper()
	busWith(t, m, "")
}

// busConfig has everybody do everything that the rules which are put into it do not deny.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
<listen>%s</listen>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/></policy>
<policy context="mandatory">%s</policy>
</busconfig>`

// busWith is bus with more rules.
func busWith(t *testing.T, m *manager, rules string) {
	t.Helper()
	program, err := exec.LookPath("dbus-daemon")
	if err != nil && testing.Short() {
		t.Skip("there is no dbus-daemon; `make test` installs it")
	} else if err != nil {
		t.Fatal("this test needs dbus-daemon (Debian's package dbus; `make deps` installs it)")
	}
	dir := t.TempDir()
	address, config := "unix:path="+filepath.Join(dir, "bus"), filepath.Join(dir, "config")
	if err := os.WriteFile(config, fmt.Appendf(nil, busConfig, address, rules), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--config-file="+config, "--nofork", "--nopidfile")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var conn *dbus.Conn
	for deadline := time.Now().Add(10 * time.Second); ; {
		if conn, err = dbus.Connect(address); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Cleanup(func() { conn.Close() })
	m.conn = conn
	for _, name := range []string{logindManager, "org.freedesktop.DBus.Properties"} {
		if err := conn.Export(m, logindPath, name); err != nil {
			t.Fatal(err)
		}
	}
	if reply, err := conn.RequestName(logindName, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(reply, err)
	}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
}

func TestLogindAgrees(t *testing.T) {
	m := &manager{}
	bus(t, m)
	if err := Logind(t.Context(), "reboot", ""); err != nil || m.calls() != "[RebootWithFlags 0]" {
		t.Errorf("%v; called %s", err, m.calls())
	}
}

// Users who are logged in are told before.
func TestWallMessage(t *testing.T) {
	m := &manager{}
	bus(t, m)
	if err := Logind(t.Context(), "reboot", "back at nine"); err != nil || m.calls() != "[SetWallMessage back at nine true RebootWithFlags 0]" {
		t.Errorf("%v; called %s", err, m.calls())
	}
}

func TestLevels(t *testing.T) {
	m := &manager{}
	bus(t, m)
	for _, level := range []string{"kexec", "soft-reboot"} {
		if err := Logind(t.Context(), level, ""); err != nil {
			t.Error(err)
		}
	}
	if m.calls() != "[RebootWithFlags 2 RebootWithFlags 4]" {
		t.Errorf("called %s", m.calls())
	}
	if err := Logind(t.Context(), "poweroff", ""); err == nil {
		t.Error("poweroff is no reboot")
	}
}

// One that knows no flags cannot do less than a reboot, and is not asked for one.
func TestOldLogindAndKexec(t *testing.T) {
	m := &manager{old: true}
	bus(t, m)
	if err := Logind(t.Context(), "kexec", ""); err == nil || m.calls() != "[]" {
		t.Errorf("%v; called %s", err, m.calls())
	}
}

func TestOldLogind(t *testing.T) {
	m := &manager{old: true}
	bus(t, m)
	if err := Logind(t.Context(), "reboot", ""); err != nil || m.calls() != "[Reboot false]" {
		t.Errorf("%v; called %s", err, m.calls())
	}
}

// Refused, it says why, and who inhibits it.
func TestLogindRefuses(t *testing.T) {
	m := &manager{
		denied: dbus.NewError("org.freedesktop.login1.BlockedByInhibitorLock", []any{"Operation denied due to active block inhibitor"}),
		inhibitors: []inhibitor{
			{What: "sleep", Who: "music", Why: "plays", Mode: "block"},
			{What: "shutdown:sleep", Who: "dpkg", Why: "unpacks the kernel", Mode: "block"},
			{What: "shutdown", Who: "kubelet", Why: "wants time", Mode: "delay"},
		},
	}
	bus(t, m)
	err := Logind(t.Context(), "reboot", "")
	if err == nil || !strings.Contains(err.Error(), "active block inhibitor") || !strings.Contains(err.Error(), "dpkg (unpacks the kernel)") ||
		strings.Contains(err.Error(), "music") || strings.Contains(err.Error(), "kubelet") {
		t.Errorf("error %v", err)
	}
}

func TestNoBus(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "none"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := Logind(ctx, "reboot", ""); err == nil || !strings.Contains(err.Error(), "connect to the system bus") {
		t.Errorf("error %v", err)
	}
}

// A shutdown that is scheduled is cancelled; that logind refuses that is an error.
func TestCancelShutdown(t *testing.T) {
	m := &manager{}
	bus(t, m)
	if err := CancelShutdown(t.Context()); err != nil || m.calls() != "[CancelScheduledShutdown]" {
		t.Errorf("%v; called %s", err, m.calls())
	}
	bus(t, &manager{denied: dbus.NewError("org.freedesktop.DBus.Error.AccessDenied", []any{"Permission denied"})})
	if err := CancelShutdown(t.Context()); err == nil || !strings.Contains(err.Error(), "ask logind to cancel the scheduled shutdown: Permission denied") {
		t.Errorf("refused: %v", err)
	}
}
