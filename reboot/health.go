package reboot

import (
	"context"
	"fmt"
	"strings"
	"time"

	"rebootd.dev/reboot/process"
)

const (
	// checkLimit is how long a check may take.
	checkLimit = 30 * time.Second
	// maxFailed is how many failed units are named.
	maxFailed = 5
)

// SystemRunning asks systemd over the system bus whether it has started everything, and
// is nil if it has and no unit has failed; else it says what it waits for, or which have
// (systemctl(1), is-system-running).
func SystemRunning(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	conn, _, err := connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	systemd := conn.Object(systemdName, systemdPath)
	var state string
	if err := property(ctx, systemd, "SystemState", &state); err != nil {
		return err
	}
	switch state {
	case "running":
		return nil
	case "degraded":
		var units []struct {
			Name, Description, LoadState, ActiveState, SubState, Following string
			Path                                                           string
			JobID                                                          uint32
			JobType, JobPath                                               string
		}
		if err := systemd.CallWithContext(ctx, systemdManager+".ListUnitsFiltered", 0, []string{"failed"}).Store(&units); err != nil {
			return fmt.Errorf("ask systemd which units have failed: %w", err)
		}
		var names []string
		for _, u := range units {
			names = append(names, u.Name)
		}
		if len(names) > maxFailed {
			names = append(names[:maxFailed], "…")
		}
		return fmt.Errorf("units have failed: %s", strings.Join(names, ", "))
	default:
		return fmt.Errorf("systemd reports that the system is %s", state)
	}
}

// Check runs a command in the daemon's own root and is nil if it succeeds within 30
// seconds; else it says what became of it, with the last line that it printed.
func Check(ctx context.Context, argv []string) error {
	if err := process.Run(ctx, process.Command{Argv: argv, Limit: checkLimit}); err != nil {
		return fmt.Errorf("health check %q: %w", strings.Join(argv, " "), err)
	}
	return nil
}
