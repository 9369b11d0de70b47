package reboot

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/godbus/dbus/v5"
)

type scheduled struct {
	Kind string
	USec uint64
}

// GetAll is org.freedesktop.DBus.Properties' of the manager.
func (m *manager) GetAll(string) (map[string]dbus.Variant, *dbus.Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return map[string]dbus.Variant{"PreparingForShutdown": dbus.MakeVariant(m.preparing), "ScheduledShutdown": dbus.MakeVariant(m.scheduled)}, nil
}

func TestShutdownOf(t *testing.T) {
	at := time.Date(2026, 5, 4, 2, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		m    *manager
		want Shutdown
	}{
		"nothing":   {&manager{scheduled: scheduled{USec: 1<<64 - 1}}, Shutdown{}},
		"scheduled": {&manager{scheduled: scheduled{"reboot", uint64(at.UnixMicro())}}, Shutdown{Kind: "reboot", At: at}},
		"rehearsed": {&manager{scheduled: scheduled{"dry-reboot", uint64(at.UnixMicro())}}, Shutdown{}},
		"under way": {&manager{scheduled: scheduled{"soft-reboot", 0}, preparing: true}, Shutdown{Preparing: true}},
		"uptime":    {&manager{scheduled: scheduled{"reboot", 39_769_000_000}}, Shutdown{}},
		"preparing": {&manager{preparing: true}, Shutdown{Preparing: true}},
		"inhibited": {&manager{inhibitors: []inhibitor{
			{What: "sleep", Who: "music", Why: "plays", Mode: "block"},
			{What: "shutdown", Who: "kubelet", Why: "wants time", Mode: "delay"},
			{What: "idle:shutdown", Who: "dpkg", Why: "unpacks\nit", Mode: "block"},
			{What: "shutdown", Who: "backup", Why: "copies", Mode: "block-weak"},
		}}, Shutdown{Inhibited: "dpkg (unpacks it), backup (copies)"}},
	} {
		t.Run(name, func(t *testing.T) {
			bus(t, c.m)
			conn, manager, err := connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if s, err := shutdownOf(t.Context(), manager); err != nil || s != c.want {
				t.Errorf("%+v, %v; want %+v", s, err, c.want)
			}
		})
	}
}

// A change that logind announces is seen at once.
func TestWatchShutdown(t *testing.T) {
	m := &manager{}
	bus(t, m)
	ctx, cancel := context.WithTimeout(t.Context(), lookEvery)
	defer cancel()
	states := make(chan Shutdown, 8)
	go WatchShutdown(ctx, func(s Shutdown, err error) {
		if err != nil {
			t.Error(err)
		}
		states <- s
	})
	if s := <-states; s != (Shutdown{}) {
		t.Errorf("at first %+v", s)
	}
	m.mu.Lock()
	m.inhibitors = []inhibitor{{What: "shutdown", Who: "dpkg", Why: "unpacks", Mode: "block"}}
	m.mu.Unlock()
	began := time.Now()
	if err := m.conn.Emit(logindPath, "org.freedesktop.DBus.Properties.PropertiesChanged", logindManager, map[string]dbus.Variant{}, []string{"BlockInhibited"}); err != nil {
		t.Fatal(err)
	}
	select {
	case s := <-states:
		if s.Inhibited != "dpkg (unpacks)" || time.Since(began) > lookEvery/2 {
			t.Errorf("%+v after %s", s, time.Since(began))
		}
	case <-ctx.Done():
		t.Error("not seen")
	}
}

// Without a bus it says so, as often as it has tried.
func TestWatchShutdownWithoutABus(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*lookEvery+time.Second)
		defer cancel()
		said := 0
		WatchShutdown(ctx, func(_ Shutdown, err error) {
			if err == nil || !strings.Contains(err.Error(), "/nonexistent/bus") {
				t.Errorf("error %v", err)
			}
			said++
		})
		if said != 3 {
			t.Errorf("said it %d times", said)
		}
	})
}

// A bus that takes the connection and says nothing is given up.
func TestSilentBus(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bus")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path="+path)
	ctx, cancel := context.WithTimeout(t.Context(), 3*askLimit)
	defer cancel()
	said := make(chan error, 1)
	go WatchShutdown(ctx, func(_ Shutdown, err error) {
		select {
		case said <- err:
		default:
		}
	})
	select {
	case err := <-said:
		if err == nil {
			t.Error("it has answered")
		}
	case <-ctx.Done():
		t.Error("still waits")
	}
}

// lasting is a context that does not end, and tells when one that was made of it is let go.
type lasting struct {
	context.Context
	ended chan struct{}
	letGo chan struct{}
}

func (c *lasting) Done() <-chan struct{} { return c.ended }

// AfterFunc is what the standard library asks for of a context that is not its own.
func (c *lasting) AfterFunc(func()) func() bool {
	return func() bool {
		c.letGo <- struct{}{}
		return true
	}
}

// A node may wait for weeks, and connect anew every few seconds where logind is not there:
// a connection that was closed leaves nothing behind.
func TestClosedConnectionLeavesNothing(t *testing.T) {
	bus(t, &manager{})
	ctx := &lasting{Context: t.Context(), ended: make(chan struct{}), letGo: make(chan struct{}, 1)}
	conn, _, err := connect(ctx)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	select {
	case <-ctx.letGo:
	case <-time.After(5 * time.Second):
		t.Error("the context of a connection outlives it")
	}
}
