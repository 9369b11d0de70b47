package api_test

import (
	"strings"
	"testing"

	"rebootd.dev/daemon/api"
)

// Which daemon runs here is read as it was written, by older and newer versions, too.
func TestDaemonAnnotation(t *testing.T) {
	for text, want := range map[string]api.Daemon{
		`{"version":"v1.2.3","settings":"0a1b2c3d4e5f"}`:                         {Version: "v1.2.3", Settings: "0a1b2c3d4e5f"},
		`{"version":"v1.2.3","settings":"0a1b2c3d4e5f","pool":"db"}`:             {Version: "v1.2.3", Settings: "0a1b2c3d4e5f", Pool: "db"},
		`{"version":"v9","settings":"0a1b2c3d4e5f","pool":"db","later":{"x":1}}`: {Version: "v9", Settings: "0a1b2c3d4e5f", Pool: "db"},
	} {
		d, err := api.ParseDaemon(text)
		if err != nil || d != want {
			t.Errorf("%s: %+v, %v", text, d, err)
		}
		if again, err := api.ParseDaemon(d.String()); err != nil || again != d {
			t.Errorf("%s: %+v, %v", d, again, err)
		}
	}
	for _, text := range []string{"", "words", `{"version":1}`, `{"version":"` + strings.Repeat("x", 5000) + `"}`} {
		if d, err := api.ParseDaemon(text); err == nil || d != (api.Daemon{}) {
			t.Errorf("%.40s: %+v", text, d)
		}
	}
}

// The lock of a slot follows from the name of its Lease.
func TestLockOf(t *testing.T) {
	for lease, want := range map[string]struct {
		lock string
		slot int
		ok   bool
	}{
		"rebootd-0": {"rebootd", 0, true}, "rebootd-db-12": {"rebootd-db", 12, true}, "a-1-2": {"a-1", 2, true},
		"rebootd": {}, "rebootd-zone": {"rebootd", 0, false}, "rebootd-01": {"rebootd", 0, false}, "-1": {}, "": {}, "rebootd-": {"rebootd", 0, false},
	} {
		lock, slot, ok := api.LockOf(lease)
		if ok != want.ok || ok && (lock != want.lock || slot != want.slot) {
			t.Errorf("%s: %s, %d, %t", lease, lock, slot, ok)
		}
	}
}
