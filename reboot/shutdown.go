package reboot

import (
	"context"
	"fmt"
	"math"
	"os"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"rebootd.dev/daemon/printable"
)

// Shutdown is what logind knows of shutdowns of the machine, reboots among them.
type Shutdown struct {
	// Inhibited is who holds block inhibitors against it, and why; "": nobody.
	Inhibited string
	// Kind is what is scheduled, in logind's words (reboot, poweroff, …); "": nothing.
	Kind string
	At   time.Time // for when
	// Preparing says that one has begun: delay inhibitors are waited for.
	Preparing bool
}

const (
	// lookEvery is how often logind is asked although it has announced no change: what
	// is scheduled it does not announce (org.freedesktop.login1(5)).
	lookEvery = 5 * time.Second
	// askLimit bounds a call.
	askLimit = 10 * time.Second
)

// WatchShutdown tells seen what logind knows, at first and whenever that changes,
// until ctx ends. When logind cannot be asked, seen is told why, and is told again
// when it can; seen is called from one goroutine.
func WatchShutdown(ctx context.Context, seen func(Shutdown, error)) {
	for {
		err := watchShutdown(ctx, func(s Shutdown) { seen(s, nil) })
		if ctx.Err() != nil {
			return
		}
		seen(Shutdown{}, err)
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return
		}
	}
}

func watchShutdown(ctx context.Context, seen func(Shutdown)) error {
	conn, manager, err := connect(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	signals := make(chan *dbus.Signal, 16)
	conn.Signal(signals)
	ask, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	if err := conn.AddMatchSignalContext(ask, dbus.WithMatchSender(logindName), dbus.WithMatchObjectPath(logindPath)); err != nil {
		return fmt.Errorf("ask the system bus for logind's signals: %w", err)
	}
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for first, last := true, (Shutdown{}); ; {
		s, err := shutdownOf(ctx, manager)
		if err != nil {
			return err
		}
		if first || s != last {
			seen(s)
		}
		first, last = false, s
		select {
		case _, open := <-signals:
			if !open {
				return fmt.Errorf("watch logind: %w", dbus.ErrClosed)
			}
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func shutdownOf(ctx context.Context, manager dbus.BusObject) (s Shutdown, err error) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	if s.Inhibited, err = blockers(ctx, manager); err != nil {
		return s, err
	}
	var properties map[string]dbus.Variant
	if err := manager.CallWithContext(ctx, "org.freedesktop.DBus.Properties.GetAll", 0, logindManager).Store(&properties); err != nil {
		return s, fmt.Errorf("ask logind what is scheduled: %w", err)
	}
	s.Preparing, _ = properties["PreparingForShutdown"].Value().(bool)
	if v, ok := properties["ScheduledShutdown"]; ok {
		var scheduled struct {
			Kind string
			USec uint64
		}
		if err := v.Store(&scheduled); err != nil {
			return s, fmt.Errorf("ask logind what is scheduled: %w", err)
		}
		// A rehearsal takes nothing down. Of one that is under way logind says 0, or how long
		// the machine has been up.
		at := time.UnixMicro(int64(min(scheduled.USec, math.MaxInt64))).UTC()
		if scheduled.Kind != "" && !strings.HasPrefix(scheduled.Kind, "dry-") && !s.Preparing && at.Year() > 2000 {
			s.Kind, s.At = printable.Line(scheduled.Kind, maxWords), at
		}
	}
	return s, nil
}

// connect connects to the system bus, whose address DBUS_SYSTEM_BUS_ADDRESS may say.
func connect(ctx context.Context) (*dbus.Conn, dbus.BusObject, error) {
	address := os.Getenv("DBUS_SYSTEM_BUS_ADDRESS")
	if address == "" {
		address = busAddress
	}
	// The context is the connection's for as long as it lasts: it is ended early only
	// where the bus takes the connection and says nothing.
	ctx, cancel := context.WithCancel(ctx)
	limit := time.AfterFunc(askLimit, cancel)
	conn, err := dbus.Connect(address, dbus.WithContext(ctx))
	if !limit.Stop() && err == nil {
		err = context.DeadlineExceeded
	}
	if err != nil {
		cancel()
		return nil, nil, fmt.Errorf("connect to the system bus at %s: %w", address, err)
	}
	context.AfterFunc(conn.Context(), cancel) // closed, it leaves nothing with ctx
	return conn, conn.Object(logindName, logindPath), nil
}

// maxWords bounds what is repeated of the words of those who hold inhibitors, in bytes.
const maxWords = 100

// blockers names who holds a block inhibitor on shutdown, "" if that is nobody.
func blockers(ctx context.Context, manager dbus.BusObject) (string, error) {
	var inhibitors []struct {
		What, Who, Why, Mode string
		UID, PID             uint32
	}
	if err := manager.CallWithContext(ctx, logindManager+".ListInhibitors", 0).Store(&inhibitors); err != nil {
		return "", fmt.Errorf("ask logind who inhibits a shutdown: %w", err)
	}
	var names []string
	for _, i := range inhibitors {
		blocks := strings.HasPrefix(i.Mode, "block")
		for what := range strings.SplitSeq(i.What, ":") {
			if blocks && what == "shutdown" {
				names = append(names, fmt.Sprintf("%s (%s)", printable.Line(i.Who, maxWords), printable.Line(i.Why, maxWords)))
			}
		}
	}
	return strings.Join(names, ", "), nil
}
