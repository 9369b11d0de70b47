package reboot

import (
	"context"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"
)

// The names of systemd's login manager on the bus
// (org.freedesktop.login1(5)).
const (
	logindName    = "org.freedesktop.login1"
	logindPath    = "/org/freedesktop/login1"
	logindManager = "org.freedesktop.login1.Manager"

	errUnknownMethod = "org.freedesktop.DBus.Error.UnknownMethod"
)

// busAddress is where the system bus is if DBUS_SYSTEM_BUS_ADDRESS does not say.
// The bus's own default is below /var/run, which an image without a shell does
// not have.
const busAddress = "unix:path=/run/dbus/system_bus_socket"

// levels are logind's flags for the kinds of a reboot; it has no flag for a full
// reboot whatever is prepared in kexec or /run/nextroot.
var levels = map[string]uint64{"reboot": 0, "kexec": 1 << 1, "soft-reboot": 1 << 2}

// Logind asks the machine's login manager over the system bus to reboot, and
// returns when it has agreed to: the reboot follows once delay inhibitors are
// gone. level is reboot, kexec or soft-reboot; message, if there is one, is what users
// who are logged in are told. The address of the bus is taken from
// DBUS_SYSTEM_BUS_ADDRESS.
func Logind(ctx context.Context, level, message string) error {
	flags, ok := levels[level]
	if !ok {
		return fmt.Errorf("ask logind to reboot: %q is not a level of a reboot", level)
	}
	conn, manager, err := connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()

	if message != "" {
		if err := manager.CallWithContext(ctx, logindManager+".SetWallMessage", 0, message, true).Err; err != nil {
			return fmt.Errorf("set logind's wall message: %w", err)
		}
	}
	err = manager.CallWithContext(ctx, logindManager+".RebootWithFlags", 0, flags).Err
	if isError(err, errUnknownMethod) && flags == 0 { // before systemd 246
		err = manager.CallWithContext(ctx, logindManager+".Reboot", 0, false).Err
	}
	if err == nil {
		return nil
	}
	if who, listErr := blockers(ctx, manager); listErr == nil && who != "" {
		return fmt.Errorf("ask logind to reboot: %w; shutdown is inhibited by %s", err, who)
	}
	return fmt.Errorf("ask logind to reboot: %w", err)
}

func isError(err error, name string) bool {
	var e dbus.Error
	return errors.As(err, &e) && e.Name == name
}

// CancelShutdown asks logind to cancel the shutdown that is scheduled. That there is none
// any more is no error.
func CancelShutdown(ctx context.Context) error {
	conn, manager, err := connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	if err := manager.CallWithContext(ctx, logindManager+".CancelScheduledShutdown", 0).Err; err != nil {
		return fmt.Errorf("ask logind to cancel the scheduled shutdown: %w", err)
	}
	return nil
}
