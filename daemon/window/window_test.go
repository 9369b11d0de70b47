package window_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/window"
	"rebootd.dev/daemon/window/zones"
)

// The zone data is that of Go, whatever the machine's: as in an image without any, the
// changes of these years follow from rules, not from tables.
func TestMain(m *testing.M) {
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, "go env GOROOT:", err)
		os.Exit(1)
	}
	os.Setenv("ZONEINFO", filepath.Join(strings.TrimSpace(string(root)), "lib/time/zoneinfo.zip"))
	os.Exit(m.Run())
}

var loaded = map[string]*time.Location{}

// load is quicker than zones.Load, for tests that parse often.
func load(name string) (*time.Location, error) {
	if loc := loaded[name]; loc != nil {
		return loc, nil
	}
	loc, err := zones.Load(name)
	if err == nil {
		loaded[name] = loc
	}
	return loc, err
}

func parse(t testing.TB, specs ...string) window.Schedule {
	t.Helper()
	s, err := window.Parse(specs, load)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func instant(t testing.TB, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func show(s window.Span, is bool) string {
	if !is {
		return "none"
	}
	return s.Start.Format("2006-01-02T15:04Z07:00") + ".." + s.End.Format("2006-01-02T15:04Z07:00")
}

func TestOpenAndNext(t *testing.T) {
	for _, tt := range []struct {
		specs string // joined by ;
		at    string
		open  string
		next  string
	}{
		{"Mon-Fri 22:00-04:00 Europe/Berlin", "2026-11-27T12:00:00Z", "none", "2026-11-27T21:00Z..2026-11-28T03:00Z"},
		// The window of Friday is open on Saturday; Saturday has none.
		{"Mon-Fri 22:00-04:00 Europe/Berlin", "2026-11-28T01:00:00Z", "2026-11-27T21:00Z..2026-11-28T03:00Z", "2026-11-30T21:00Z..2026-12-01T03:00Z"},
		// The start is included, the end is not.
		{"Mon-Fri 22:00-04:00 Europe/Berlin", "2026-11-27T20:59:59Z", "none", "2026-11-27T21:00Z..2026-11-28T03:00Z"},
		{"Mon-Fri 22:00-04:00 Europe/Berlin", "2026-11-27T21:00:00Z", "2026-11-27T21:00Z..2026-11-28T03:00Z", "2026-11-30T21:00Z..2026-12-01T03:00Z"},
		{"Mon-Fri 22:00-04:00 Europe/Berlin", "2026-11-28T03:00:00Z", "none", "2026-11-30T21:00Z..2026-12-01T03:00Z"},
		{"Fri 04:00-03:59", "2026-11-27T12:00:00Z", "2026-11-27T04:00Z..2026-11-28T03:59Z", "2026-12-04T04:00Z..2026-12-05T03:59Z"},
		{"last Sun 02:00-06:00 America/New_York", "2026-11-27T12:00:00Z", "none", "2026-11-29T07:00Z..2026-11-29T11:00Z"},
		{"2nd Tue 01:00-05:00", "2026-11-27T12:00:00Z", "none", "2026-12-08T01:00Z..2026-12-08T05:00Z"},
		{"5th Mon 01:00-05:00", "2026-12-01T12:00:00Z", "none", "2027-03-29T01:00Z..2027-03-29T05:00Z"},
		{"1st,3rd Tue,Wed 01:00-05:00", "2026-11-27T12:00:00Z", "none", "2026-12-01T01:00Z..2026-12-01T05:00Z"},
		// Windows end to end are one, and so are days.
		{"Sat,Sun 00:00-24:00", "2026-11-29T12:00:00Z", "2026-11-28T00:00Z..2026-11-30T00:00Z", "2026-12-05T00:00Z..2026-12-07T00:00Z"},
		{"Fri-Mon 00:00-24:00", "2026-11-29T12:00:00Z", "2026-11-27T00:00Z..2026-12-01T00:00Z", "2026-12-04T00:00Z..2026-12-08T00:00Z"},
		{"22:00-24:00;00:00-04:00", "2026-11-29T23:00:00Z", "2026-11-29T22:00Z..2026-11-30T04:00Z", "2026-11-30T22:00Z..2026-12-01T04:00Z"},
		{"20:00-23:00;23:00-02:00 Europe/Berlin", "2026-11-29T23:30:00Z", "2026-11-29T20:00Z..2026-11-30T01:00Z", "2026-11-30T20:00Z..2026-12-01T01:00Z"},
	} {
		s := parse(t, strings.Split(tt.specs, ";")...)
		at := instant(t, tt.at)
		if got := show(s.Open(at)); got != tt.open {
			t.Errorf("%s: open at %s: %s, want %s", tt.specs, tt.at, got, tt.open)
		}
		if got := show(s.Next(at)); got != tt.next {
			t.Errorf("%s: next after %s: %s, want %s", tt.specs, tt.at, got, tt.next)
		}
	}
}
