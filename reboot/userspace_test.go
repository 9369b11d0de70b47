package reboot

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// systemd stands in for systemd's manager: what it answers to who asks for a property.
type systemd map[string]any

func (s systemd) Get(_, name string) (dbus.Variant, *dbus.Error) {
	switch v := s[name].(type) {
	case nil:
		return dbus.Variant{}, dbus.NewError("org.freedesktop.DBus.Error.UnknownProperty", []any{"Unknown property or interface."})
	case *dbus.Error:
		return dbus.Variant{}, v
	default:
		return dbus.MakeVariant(v), nil
	}
}

// systemBus starts a bus that has activatable services, and systemd on it unless that
// is nil.
func systemBus(t *testing.T, s systemd, services map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, exec := range services {
		text := fmt.Sprintf("[D-BUS Service]\nName=%s\nExec=%s\n", name, exec)
		if err := os.WriteFile(filepath.Join(dir, name+".service"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	address, config := "unix:path="+filepath.Join(dir, "bus"), filepath.Join(dir, "bus.conf")
	text := `<busconfig><type>session</type><listen>` + address + `</listen><servicedir>` + dir + `</servicedir>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/></policy></busconfig>`
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("dbus-daemon", "--config-file="+config, "--nofork", "--nopidfile")
	if err := cmd.Start(); err != nil {
		t.Fatalf("this test needs dbus-daemon (Debian's package dbus; `make deps` installs it): %v", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	var conn *dbus.Conn
	for deadline := time.Now().Add(10 * time.Second); conn == nil; time.Sleep(5 * time.Millisecond) {
		var err error
		if conn, err = dbus.Connect(address); err != nil && time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", address)
	if s == nil {
		return
	}
	if err := conn.Export(s, systemdPath, "org.freedesktop.DBus.Properties"); err != nil {
		t.Fatal(err)
	}
	if reply, err := conn.RequestName(systemdName, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(reply, err)
	}
}

// What there is to know of the userspace, that there is nothing to know, and that it
// cannot be asked now, are three answers.
func TestReadUserspace(t *testing.T) {
	since := time.UnixMicro(1777777777000000)
	counts := systemd{"SoftRebootsCount": uint32(2), "UserspaceTimestamp": uint64(since.UnixMicro())}
	refuses := dbus.NewError("org.freedesktop.DBus.Error.AccessDenied", []any{"no"})
	for name, c := range map[string]struct {
		bus     func(t *testing.T)
		nothing bool // to know; else it may be asked again
		known   bool
	}{
		"known": {bus: func(t *testing.T) { systemBus(t, counts, nil) }, known: true},
		"no bus": {bus: func(t *testing.T) {
			t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+filepath.Join(t.TempDir(), "none"))
		}, nothing: true},
		"no systemd on the bus": {bus: func(t *testing.T) { systemBus(t, nil, nil) }, nothing: true},
		"an old systemd":        {bus: func(t *testing.T) { systemBus(t, systemd{}, nil) }, nothing: true},
		"nobody listens at the bus's socket": {bus: func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "bus")
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
			if err != nil {
				t.Fatal(err)
			}
			l.SetUnlinkOnClose(false)
			l.Close()
			t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+path)
		}},
		"systemd has not come back to the bus": {bus: func(t *testing.T) { systemBus(t, nil, map[string]string{systemdName: "/bin/false"}) }},
		"systemd refuses":                      {bus: func(t *testing.T) { systemBus(t, systemd{"SoftRebootsCount": refuses}, nil) }},
		"systemd refuses the time": {bus: func(t *testing.T) {
			systemBus(t, systemd{"SoftRebootsCount": uint32(1), "UserspaceTimestamp": refuses}, nil)
		}},
		"an answer that is none": {bus: func(t *testing.T) { systemBus(t, systemd{"SoftRebootsCount": "two"}, nil) }},
	} {
		t.Run(name, func(t *testing.T) {
			c.bus(t)
			u, err := ReadUserspace(t.Context())
			switch {
			case c.known && (err != nil || u != Userspace{SoftReboots: 2, Since: since}):
				t.Errorf("%+v, %v", u, err)
			case !c.known && (err == nil || u != Userspace{}):
				t.Errorf("%+v, %v", u, err)
			case errors.Is(err, ErrNoSoftReboots) != c.nothing:
				t.Errorf("nothing to know is not %t: %v", c.nothing, err)
			}
		})
	}
	t.Run("too late", func(t *testing.T) {
		systemBus(t, counts, nil)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := ReadUserspace(ctx); err == nil || errors.Is(err, ErrNoSoftReboots) {
			t.Error(err)
		}
	})
}
