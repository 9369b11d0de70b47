package reboot

import (
	"context"
	"fmt"
	"time"

	"github.com/godbus/dbus/v5"
)

// Userspace is what systemd knows of its own starts.
type Userspace struct {
	SoftReboots int       // in this boot
	Since       time.Time // when this userspace was started
}

// ReadUserspace asks systemd over the system bus. Versions that do not count soft
// reboots, those before 256, give an error. What it says does not change while the
// daemon runs: a soft reboot ends it (org.freedesktop.systemd1(5),
// systemd-soft-reboot.service(8)).
func ReadUserspace(ctx context.Context) (u Userspace, err error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	conn, _, err := connect(ctx)
	if err != nil {
		return u, err
	}
	defer conn.Close()
	systemd := conn.Object(systemdName, systemdPath)
	var count uint32
	if err := property(ctx, systemd, "SoftRebootsCount", &count); err != nil {
		return u, err
	}
	var since uint64
	if err := property(ctx, systemd, "UserspaceTimestamp", &since); err != nil {
		return u, err
	}
	return Userspace{SoftReboots: int(count), Since: time.UnixMicro(int64(since))}, nil
}

// The names of systemd on the bus (org.freedesktop.systemd1(5)).
const (
	systemdName    = "org.freedesktop.systemd1"
	systemdPath    = "/org/freedesktop/systemd1"
	systemdManager = "org.freedesktop.systemd1.Manager"
)

// property reads a property of systemd's manager.
func property(ctx context.Context, systemd dbus.BusObject, name string, value any) error {
	var v dbus.Variant
	err := systemd.CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, systemdManager, name).Store(&v)
	if err == nil {
		err = v.Store(value)
	}
	if err != nil {
		return fmt.Errorf("ask systemd for its %s: %w", name, err)
	}
	return nil
}
