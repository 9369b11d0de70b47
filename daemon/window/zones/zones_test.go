package zones

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"flag"
	"fmt"
	"go/version"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "make zones.gz from the zone data of the Go that runs the test")

// release is that of the Go whose data is embedded.
func release(t *testing.T) string {
	t.Helper()
	z, err := gzip.NewReader(strings.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(z).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// ofGo is the zone data of the Go that runs the test, by name.
func ofGo(t *testing.T) map[string][]byte {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	z, err := zip.OpenReader(filepath.Join(strings.TrimSpace(string(root)), "lib/time/zoneinfo.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	out := map[string][]byte{}
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if out[f.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// pack writes zones in the format of zones.gz.
func pack(t *testing.T, zones map[string][]byte) []byte {
	t.Helper()
	names := map[string][]string{} // by data
	for _, name := range slices.Sorted(maps.Keys(zones)) {
		names[string(zones[name])] = append(names[string(zones[name])], name)
	}
	backwards := func(s string) string {
		b := []byte(s)
		slices.Reverse(b)
		return string(b)
	}
	// Zones of the same rule, which stands at the end, compress best side by side.
	data := slices.SortedFunc(maps.Keys(names), func(a, b string) int { return strings.Compare(backwards(a), backwards(b)) })
	var out bytes.Buffer
	z, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(z, runtime.Version())
	for _, d := range data {
		fmt.Fprintln(z, len(d), strings.Join(names[d], ","))
	}
	fmt.Fprintln(z)
	for _, d := range data {
		io.WriteString(z, d)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// offsets are the changes of a zone from 2020 to 2040, and what follows each.
func offsets(loc *time.Location) (out []string) {
	end := time.Date(2041, 1, 1, 0, 0, 0, 0, time.UTC)
	for at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC); at.Before(end); {
		name, offset := at.In(loc).Zone()
		out = append(out, fmt.Sprint(at.Unix(), " ", name, " ", offset))
		_, until := at.In(loc).ZoneBounds()
		switch {
		case until.IsZero():
			return out
		case !until.After(at): // on the last day of a leap year, Go 1.26
			until = at.AddDate(0, 0, 1)
		}
		at = until
	}
	return out
}

// What is embedded is what the Go that runs the test knows. An older Go than the one
// that the data is from may know less. A newer one may know more: that some country has
// changed its clocks is what this test is there to notice.
func TestZones(t *testing.T) {
	zones := ofGo(t)
	if *rewrite {
		if err := os.WriteFile("zones.gz", pack(t, zones), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Log("made zones.gz anew; run the test again without -rewrite")
		return
	}
	complain := t.Errorf
	if version.Compare(runtime.Version(), release(t)) < 0 {
		complain = t.Logf
	}
	if len(zones) < 500 {
		t.Fatalf("Go knows only %d zones", len(zones))
	}
	none := func(string) (*time.Location, error) { return nil, errors.New("no data") }
	for _, name := range slices.Sorted(maps.Keys(zones)) {
		const mend = "the data is of %s, this is %s; run: go generate ./daemon/window/zones"
		loc, err := load(name, none)
		if err != nil {
			complain("%s: %v; "+mend, name, err, release(t), runtime.Version())
			continue
		}
		want, err := time.LoadLocationFromTZData(name, zones[name])
		if err != nil {
			t.Fatal(err)
		}
		if loc.String() != name || !slices.Equal(offsets(loc), offsets(want)) {
			complain("%s: other offsets than those of Go, from 2020 to 2040; "+mend, name, release(t), runtime.Version())
		}
	}
}

// The guard sees what it is for.
func TestOffsetsDiffer(t *testing.T) {
	berlin, err1 := Load("Europe/Berlin")
	london, err2 := Load("Europe/London")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if len(offsets(berlin)) < 42 || slices.Equal(offsets(berlin), offsets(london)) {
		t.Error("does not tell Berlin from London")
	}
}

func TestLoad(t *testing.T) {
	mine := time.FixedZone("mine", 60)
	system := func(name string) (*time.Location, error) {
		if name == "Europe/Berlin" || name == "Local" || name == "posixrules" || strings.HasPrefix(name, "right/") {
			return mine, nil
		}
		return nil, errors.New("unknown time zone " + name)
	}
	for _, tt := range []struct{ name, want string }{
		{"Europe/Berlin", "mine"}, // the system's first
		{"Europe/Paris", "Europe/Paris"},
		{"US/Eastern", "US/Eastern"}, // one of several names
		{"UTC", "UTC"},
		{"europe/paris", "not found; did you mean Europe/Paris?"},
		{"CEST", "not found, neither in the system's data nor in the built-in data"},
		{"Europe", "not found, neither in the system's data nor in the built-in data"},
		{"UTC\n", "not found, neither in the system's data nor in the built-in data"},
		{"", "not the name of a time zone that is the same on every machine"},
		{"Local", "not the name of a time zone that is the same on every machine"},
		{"posixrules", "not the name of a time zone that is the same on every machine"},
		{"right/Europe/Berlin", "not the name of a time zone that is the same on every machine"},
		{"/etc/localtime", "not the name of a time zone that is the same on every machine"},
	} {
		loc, err := load(tt.name, system)
		if err != nil {
			if err.Error() != tt.want {
				t.Errorf("%q: %v, want %s", tt.name, err, tt.want)
			}
		} else if loc.String() != tt.want {
			t.Errorf("%q: %s, want %s", tt.name, loc, tt.want)
		}
	}
}

func BenchmarkEmbedded(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if data, _, err := embedded("Pacific/Chatham"); data == nil || err != nil {
			b.Fatal(err)
		}
	}
}
