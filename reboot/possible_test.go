package reboot

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
)

// CanReboot is logind's.
func (m *manager) CanReboot() (string, *dbus.Error) {
	m.note("CanReboot")
	if m.denied != nil {
		return "", m.denied
	}
	if m.can == "" {
		return "yes", nil
	}
	return m.can, nil
}

// units stand in for systemd on a private bus.
type units struct{ target string }

func (s units) GetUnitFileState(name string) (string, *dbus.Error) {
	if name != "reboot.target" {
		return "", dbus.NewError("org.freedesktop.DBus.Error.FileNotFound", nil)
	}
	return s.target, nil
}

// busWithSystemd is bus with a systemd whose reboot.target is in a state.
func busWithSystemd(t *testing.T, m *manager, target string) {
	t.Helper()
	bus(t, m)
	if err := m.conn.Export(units{target}, systemdPath, systemdManager); err != nil {
		t.Fatal(err)
	}
	if _, err := m.conn.RequestName(systemdName, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
}

const noCanReboot = `<deny send_destination="org.freedesktop.login1" send_interface="org.freedesktop.login1.Manager" send_member="CanReboot"/>`

// appArmor is what dbus-daemon answers a container that AppArmor keeps off the bus.
const appArmor = `An AppArmor policy prevents this sender from sending this message to this recipient; type="method_call", sender="(null)" (inactive) interface="org.freedesktop.DBus" member="Hello" error name="(unset)" requested_reply="0" destination="org.freedesktop.DBus" (bus)`

// refusingBus is a bus that takes connections and answers their first message, Hello, as
// dbus-daemon does where a security module does not let it through.
func refusingBus(t *testing.T, words string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+path)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go refuse(c, words)
		}
	}()
}

func refuse(c net.Conn, words string) {
	defer c.Close()
	in := bufio.NewReader(c)
	answers := map[string]string{"AUTH": "REJECTED EXTERNAL\r\n", "NEGOTIATE_UNIX_FD": "AGREE_UNIX_FD\r\n", "BEGIN": ""}
	for begun := false; !begun; {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.Trim(line, "\x00\r\n")
		answer, ok := answers[line]
		if !ok {
			answer = "OK 0123456789abcdef0123456789abcdef\r\n"
		}
		if _, err := c.Write([]byte(answer)); err != nil {
			return
		}
		begun = line == "BEGIN"
	}
	hello, err := dbus.DecodeMessage(in)
	if err != nil {
		return
	}
	answer := &dbus.Message{Type: dbus.TypeError, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldErrorName: dbus.MakeVariant(errAccessDenied), dbus.FieldReplySerial: dbus.MakeVariant(hello.Serial()),
		dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf("")),
	}, Body: []any{words}}
	var out bytes.Buffer
	if answer.EncodeTo(&out, binary.LittleEndian) == nil {
		out.Bytes()[8] = 1 // the serial number
		_, _ = out.WriteTo(c)
	}
}

// refusal is why something is not possible; it fails the test if there is an error of
// another kind.
func refusal(t *testing.T, err error) ImpossibleError {
	t.Helper()
	e, ok := errors.AsType[*ImpossibleError](err)
	if err != nil && !ok {
		t.Fatalf("an error of another kind: %v", err)
	}
	if !ok {
		return ImpossibleError{}
	}
	return *e
}

// logind's word counts, and where it cannot be had, why. What is refused for good is told
// apart from what a restart of the bus or of logind looks like.
func TestLogindCanReboot(t *testing.T) {
	answers := func(m *manager) func(*testing.T) { return func(t *testing.T) { bus(t, m) } }
	for name, c := range map[string]struct {
		world   func(*testing.T)
		why     []string // "": it is possible
		passing bool
	}{
		"yes":                          {answers(&manager{}), nil, false},
		"no":                           {answers(&manager{can: "no"}), []string{"CanReboot: no"}, false},
		"challenge":                    {answers(&manager{can: "challenge"}), []string{"CanReboot: challenge", "run rebootd as root"}, false},
		"na":                           {answers(&manager{can: "na"}), []string{"CanReboot: na", "systemctl status reboot.target"}, false},
		"another":                      {answers(&manager{can: "not-today\n"}), []string{"CanReboot: not-today)"}, false},
		"inhibited":                    {answers(&manager{can: "inhibited"}), nil, false},
		"inhibited for good":           {answers(&manager{can: "inhibitor-blocked"}), nil, false},
		"inhibited and challenged":     {answers(&manager{can: "challenge-inhibitor-blocked"}), []string{"CanReboot: challenge-inhibitor-blocked", "run rebootd as root"}, false},
		"a target as it is everywhere": {func(t *testing.T) { busWithSystemd(t, &manager{}, "static") }, nil, false},
		"a target that is masked": {
			func(t *testing.T) { busWithSystemd(t, &manager{}, "masked") }, []string{"reboot.target is masked", "systemctl unmask reboot.target"}, false,
		},
		"one that is masked until the next boot and of which logind knows": {
			func(t *testing.T) { busWithSystemd(t, &manager{can: "no"}, "masked-runtime") }, []string{"reboot.target is masked"}, false,
		},
		"polkit is not there": {
			answers(&manager{denied: dbus.NewError(errAccessDenied, []any{"Access denied"})}), []string{"ask logind whether a reboot is possible: Access denied; "}, false,
		},
		"the bus denies": {
			func(t *testing.T) { busWith(t, &manager{}, noCanReboot) }, []string{"ask logind whether a reboot is possible: ", "; allow it in the policy of the system bus (/etc/dbus-1/system.d)"}, false,
		},
		"AppArmor denies": {
			func(t *testing.T) { refusingBus(t, appArmor) },
			[]string{"connect to the system bus at unix:path=", ": An AppArmor policy prevents this sender from sending this message to this recipient; set appArmorProfile: Unconfined for rebootd's container"},
			false,
		},
		"SELinux denies": {
			func(t *testing.T) {
				refusingBus(t, strings.Replace(appArmor, "AppArmor", "SELinux", 1))
			},
			[]string{"An SELinux policy prevents this sender from sending this message to this recipient; ", "spc_t"},
			false,
		},
		"no bus": {
			func(t *testing.T) { t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus") },
			[]string{"connect to the system bus at unix:path=/nonexistent/bus: ", "mount the host's /run/dbus", "DBUS_SYSTEM_BUS_ADDRESS"},
			true,
		},
		"no logind": {
			func(t *testing.T) {
				m := &manager{}
				bus(t, m)
				if _, err := m.conn.ReleaseName(logindName); err != nil {
					t.Fatal(err)
				}
			},
			[]string{"start systemd-logind"},
			true,
		},
		"the bus does not answer any more": {
			func(t *testing.T) { deaf(t) }, []string{"connection refused"}, true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.world(t)
			e := refusal(t, Rebooter{Logind: true}.Possible(t.Context()))
			if (e.Why == "") != (c.why == nil) || e.Passing != c.passing || len(e.Why) > 300 || strings.ContainsAny(e.Why, "\n\"") {
				t.Errorf("%+v", e)
			}
			for _, words := range c.why {
				if !strings.Contains(e.Why, words) {
					t.Errorf("%q does not say %q", e.Why, words)
				}
			}
		})
	}
}

// deaf leaves the socket of a bus that has ended.
func deaf(t *testing.T) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "bus")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+path)
}

// systemctl, run by root, asks systemd itself where logind cannot be asked; where it is
// refused, it asks nobody else.
func TestSystemctlCanReboot(t *testing.T) {
	noBus := func(t *testing.T) { t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus") }
	for name, c := range map[string]struct {
		world         func(*testing.T)
		root, private bool
		why           string // "": it is possible
		passing       bool
	}{
		"yes":                                 {func(t *testing.T) { bus(t, &manager{}) }, true, false, "", false},
		"yes and not root":                    {func(t *testing.T) { bus(t, &manager{}) }, false, false, "", false},
		"no":                                  {func(t *testing.T) { bus(t, &manager{can: "no"}) }, true, true, "CanReboot: no", false},
		"the bus denies":                      {func(t *testing.T) { busWith(t, &manager{}, noCanReboot) }, true, true, "ask logind", false},
		"no bus":                              {noBus, true, true, "", false},
		"no bus and not root":                 {noBus, false, true, "connect to the system bus", true},
		"no bus and no systemd":               {noBus, true, false, "systemctl cannot ask systemd itself either: dial unix", true},
		"a connection that is refused":        {func(t *testing.T) { refusingBus(t, appArmor) }, true, true, "", false},
		"one that is refused and not by root": {func(t *testing.T) { refusingBus(t, appArmor) }, false, true, "appArmorProfile", false},
	} {
		t.Run(name, func(t *testing.T) {
			c.world(t)
			private := filepath.Join(t.TempDir(), "private")
			if c.private {
				l, err := net.Listen("unix", private)
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
			}
			e := refusal(t, bySystemctl(t.Context(), c.root, private))
			if (e.Why == "") != (c.why == "") || !strings.Contains(e.Why, c.why) || e.Passing != c.passing {
				t.Errorf("%+v", e)
			}
		})
	}
}

// A command has to be there and to be executable. What it needs is known of one only.
func TestCommandCanReboot(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"systemctl": 0o755, "mine": 0o755, "text": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	m := &manager{can: "no"}
	bus(t, m)
	t.Setenv("PATH", dir)
	for _, c := range []struct {
		command string
		why     string // "": it is possible
		asks    bool
	}{
		{"systemctl reboot", "CanReboot: no", true},
		{dir + "/systemctl reboot", "CanReboot: no", true},
		{"systemctl reboot --force --force", "", false},
		{"systemctl kexec", "", false},
		{"mine reboot", "", false},
		{dir + "/mine", "", false},
		{"theirs", `exec: "theirs": executable file not found in $PATH`, false},
		{dir + "/theirs", "no such file or directory", false},
		{dir + "/text", "permission denied", false},
		{"text", "not found", false},
		{dir, "is a directory", false},
	} {
		m.mu.Lock()
		m.called = nil
		m.mu.Unlock()
		e := refusal(t, Rebooter{Command: strings.Fields(c.command)}.Possible(t.Context()))
		if (e.Why == "") != (c.why == "") || !strings.Contains(e.Why, c.why) || e.Passing {
			t.Errorf("%s: %+v", c.command, e)
		}
		if asked := m.calls() != "[]"; asked != c.asks {
			t.Errorf("%s: logind was asked %s", c.command, m.calls())
		}
	}
}

// Whoever does not wait any longer is not kept.
func TestPossibleEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	bus(t, &manager{})
	if err := (Rebooter{Logind: true}).Possible(ctx); err == nil {
		t.Error("it is possible")
	}
}
