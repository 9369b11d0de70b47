package reboot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/godbus/dbus/v5"
)

// Userspace is what systemd knows of its own starts.
type Userspace struct {
	SoftReboots int       // in this boot
	Since       time.Time // when this userspace was started
}

// ErrNoSoftReboots says that there is nothing to ask: there is no system bus, no systemd
// is to be found by way of it, or it does not count soft reboots, as before version 256.
// None of this changes while the daemon runs.
var ErrNoSoftReboots = errors.New("this machine does not count soft reboots")

const (
	errServiceUnknown  = "org.freedesktop.DBus.Error.ServiceUnknown" // neither there nor to be started
	errUnknownProperty = "org.freedesktop.DBus.Error.UnknownProperty"
)

// ReadUserspace asks systemd over the system bus (org.freedesktop.systemd1(5)). What it says
// does not change while the daemon runs: a soft reboot ends it
// (systemd-soft-reboot.service(8)). An error that is no [ErrNoSoftReboots] may pass, and it
// can be asked again: the bus or systemd is being restarted, does not answer within ten
// seconds, or refuses.
func ReadUserspace(ctx context.Context) (Userspace, error) {
	u, err := readUserspace(ctx)
	if errors.Is(err, fs.ErrNotExist) || isError(err, errServiceUnknown) || isError(err, errUnknownProperty) {
		err = fmt.Errorf("%w: %w", ErrNoSoftReboots, err)
	}
	return u, err
}

func readUserspace(ctx context.Context) (u Userspace, err error) {
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
