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

// Logind asks the machine's login manager over the system bus to reboot, and
// returns when it has agreed to: the reboot follows once delay inhibitors are
// gone. The address of the bus is taken from DBUS_SYSTEM_BUS_ADDRESS.
func Logind(ctx context.Context) error {
	conn, manager, err := connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()

	// Flags 0: a reboot, whatever is prepared in kexec or /run/nextroot.
	err = manager.CallWithContext(ctx, logindManager+".RebootWithFlags", 0, uint64(0)).Err
	if isError(err, errUnknownMethod) { // before systemd 246
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
