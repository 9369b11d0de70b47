package reboot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

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
	address := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS")
	if address == "" {
		address = busAddress
	}
	conn, err := dbus.Connect(address, dbus.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("connect to the system bus at %s: %w", address, err)
	}
	defer conn.Close()
	manager := conn.Object(logindName, logindPath)

	// Flags 0: a reboot, whatever is prepared in kexec or /run/nextroot.
	err = manager.CallWithContext(ctx, logindManager+".RebootWithFlags", 0, uint64(0)).Err
	if isError(err, errUnknownMethod) { // before systemd 246
		err = manager.CallWithContext(ctx, logindManager+".Reboot", 0, false).Err
	}
	if err == nil {
		return nil
	}
	if blockers := blockers(ctx, manager); blockers != "" {
		return fmt.Errorf("ask logind to reboot: %w; shutdown is inhibited by %s", err, blockers)
	}
	return fmt.Errorf("ask logind to reboot: %w", err)
}

func isError(err error, name string) bool {
	var e dbus.Error
	return errors.As(err, &e) && e.Name == name
}

// blockers names who holds a block inhibitor on shutdown, "" if that is nobody or
// cannot be found out.
func blockers(ctx context.Context, manager dbus.BusObject) string {
	var inhibitors []struct {
		What, Who, Why, Mode string
		UID, PID             uint32
	}
	if err := manager.CallWithContext(ctx, logindManager+".ListInhibitors", 0).Store(&inhibitors); err != nil {
		return ""
	}
	var names []string
	for _, i := range inhibitors {
		blocks := strings.HasPrefix(i.Mode, "block")
		for what := range strings.SplitSeq(i.What, ":") {
			if blocks && what == "shutdown" {
				names = append(names, fmt.Sprintf("%s (%s)", i.Who, i.Why))
			}
		}
	}
	return strings.Join(names, ", ")
}
