package window_test

import (
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/window"
)

var rewrite = flag.Bool("rewrite", false, "write the errors of the parser to testdata")

func TestParse(t *testing.T) {
	for _, tt := range []struct{ spec, want string }{
		{"Mon-Fri 22:00-04:00 Europe/Berlin", ""},
		{"last Sun 02:00-06:00 America/New_York", ""},
		{"2nd Tue 01:00-05:00 UTC", ""},
		{"Sat,Sun 00:00-24:00", "Sat,Sun 00:00-24:00 UTC"},
		{"22:00-04:00", "Mon-Sun 22:00-04:00 UTC"},
		{"Mon,Tue,Wed,Thu,Fri,Sat,Sun 22:00-00:00", "Mon-Sun 22:00-24:00 UTC"},
		{"  mon-FRI\u00a0", "error"},
		{"  monday-FRI   22:00-04:00   Europe/Berlin ", "Mon-Fri 22:00-04:00 Europe/Berlin"},
		{"Fri-Mon 01:00-02:00 UTC", ""},
		{"Sat-Mon 01:00-02:00 UTC", ""},
		{"Sun,Mon,Wed 01:00-02:00 UTC", "Wed,Sun,Mon 01:00-02:00 UTC"},
		{"Sun,Sat-Sun,Thu 01:00-02:00 UTC", "Thu,Sat,Sun 01:00-02:00 UTC"},
		{"Mon-Wed,Fri,Sat 01:00-02:00 UTC", ""},
		{"04:00-03:59", "Mon-Sun 04:00-03:59 UTC"},
		{"Sun-Sat 01:00-02:00 UTC", "Mon-Sun 01:00-02:00 UTC"},
		{"LAST,1st fri 01:00-02:00", "1st,last Fri 01:00-02:00 UTC"},
		{"1st,2nd,3rd,4th,5th Sun,Sat,Fri 01:00-02:00 UTC", "1st,2nd,3rd,4th,5th Fri,Sat,Sun 01:00-02:00 UTC"},
		{"freeze: 2026-12-20..2027-01-03 Europe/Berlin", ""},
		{"freeze: 2026-12-20T18:00..2027-01-03T24:00 Europe/Berlin", ""},
		{" Freeze:2026-12-20..2026-12-20", "freeze: 2026-12-20..2026-12-20 UTC"},
		{"freeze: 2028-02-29..2028-03-01T00:00 UTC", ""},
		{"freeze: 12-20..01-03 Europe/Berlin", ""},
		{" Freeze:12-20..12-20", "freeze: 12-20..12-20 UTC"},
		{"freeze: 02-29..02-29 UTC", ""},
		{"freeze: 01-01..12-30 UTC", ""},
		{"freeze: 12-31..12-29 UTC", ""},
	} {
		s, err := window.Parse([]string{tt.spec}, load)
		switch {
		case err != nil && tt.want == "error":
		case err != nil:
			t.Error(err)
		case tt.want == "" && s.Entries()[0].String() != tt.spec, tt.want != "" && s.Entries()[0].String() != tt.want:
			t.Errorf("%q is %q, want %q", tt.spec, s.Entries()[0], tt.want)
		}
	}
	s := parse(t)
	if at := time.Now(); !s.IsZero() || s.HasWindows() || show(s.Next(at)) != "none" {
		t.Error("nothing is something")
	} else if _, open := s.Open(at); !open {
		t.Error("nothing does not permit always")
	}
	s = parse(t, "freeze: 2026-12-20..2027-01-03")
	if s.IsZero() || s.HasWindows() {
		t.Error("a freeze is a window, or nothing")
	}
	if _, open := s.Open(instant(t, "2026-12-24T12:00:00Z")); !open {
		t.Error("without windows, there is one that is not open")
	}
}

// What is wrong is told in words that say what would be right.
func TestParseErrors(t *testing.T) {
	const golden = "testdata/errors.txt"
	var out strings.Builder
	for _, spec := range []string{
		"", "   ", "freeze:", "Mon", "Mon 22:00", "22:00 - 04:00", "22:00-04:00-05:00", "-04:00 UTC",
		"Mon-Fry 22:00-04:00", "Mon- 22:00-04:00", "Mon,,Tue 22:00-04:00", "Mon - Fri 22:00-04:00", "Mon-Mon 22:00-04:00", "Mon–Fri 22:00-04:00",
		"last 22:00-04:00", "6th Mon 22:00-04:00", "0th Mon 22:00-04:00", "2nd Mon-Wed 22:00-04:00", "first Mon 22:00-04:00", "2nd 22:00-04:00 Tue",
		"9:00-10:00", "22:00-04:60", "22:00-25:00", "22:00-24:01", "24:00-04:00", "00:00-00:00", "02:30-02:30", "10pm:-11pm", "22:00–04:00", "22:00:00-04:00:00", "+1:00-04:00",
		"22:00-04:00 Local", "22:00-04:00 local", "22:00-04:00 CEST", "22:00-04:00 europe/berlin", "22:00-04:00 Europe/Berlin UTC", "22:00-04:00 +02:00", "22:00-04:00 ../etc/passwd", "22:00-04:00 right/UTC",
		"22:00-04:00\tUTC", "22:00-04:00\nUTC", "22:00-04:00 \x1b[0mUTC", "22:00-04:00 \xff", "22:00-04:00 \u202eUTC", strings.Repeat("Mon,", 100) + "Mon 22:00-04:00", strings.Repeat("é", 150),
		"freeze: 2026-12-20", "freeze: 2026-12-20 2027-01-03", "freeze: 2026-12-20 .. 2027-01-03", "freeze: 2026-12-20-2027-01-03", "freeze: ..2027-01-03", "freeze: 2026-12-20..",
		"freeze: 2026-12-20..2026-12-19", "freeze: 2026-12-20T18:00..2026-12-20T18:00", "freeze: 2026-12-20T18:00..2026-12-20T17:00", "freeze: 2026-02-30..2026-03-03", "freeze: 2026-13-01..2027-01-03", "freeze: 2027-02-29..2027-03-01",
		"freeze: 20.12.2026..03.01.2027", "freeze: 2026-1-2..2026-1-3", "freeze: 2026-12-20T..2027-01-03", "freeze: 2026-12-20T18..2027-01-03", "freeze: 2026-12-20T18:00Z..2027-01-03", "freeze: 2026-12-20..2027-01-03 Local", "freeze: 2026-12-20..2027-01-03 Europe/Berlin 18:00",
		"freeze: 2026-01-01..2027-12-31", "freeze: 2026-03-29T02:10..2026-03-29T02:50 Europe/Berlin", "freeze 2026-12-20..2027-01-03", "freeze: Mon-Fri 22:00-04:00",
		"freeze: 12-20..12-19", "freeze: 01-01..12-31", "freeze: 03-01..02-28", "freeze: 03-01..02-29", "freeze: 02-29..02-28 Europe/Berlin",
		"freeze: 12-20", "freeze: 12-20..", "freeze: ..01-03", "freeze: 12-20-01-03", "freeze: 20-12..03-01", "freeze: 12-20..01-32", "freeze: 02-30..03-01", "freeze: 00-01..01-00", "freeze: 12-20..1-3",
		"freeze: 2026-12-20..01-03", "freeze: 12-20..2027-01-03", "freeze: 12-20T18:00..2027-01-03", "freeze: 12-20T18:00..01-03T08:00", "freeze: 12-20..01-03T08:00", "freeze: 12-20T..01-03", "freeze: December",
		"freeze: 12-20..01-03 CEST", "freeze: 12-20..01-03 Europe/Berlin 18:00",
	} {
		s, err := window.Parse([]string{spec}, load)
		if err == nil {
			t.Errorf("%q is %q, and should be refused", spec, s.Entries()[0])
			continue
		}
		if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r == 0x7f || r == 0x202e }) {
			t.Errorf("%q: the error has control characters", spec)
		}
		out.WriteString(err.Error() + "\n")
	}
	_, err := window.Parse([]string{"22:00-04:00", "x", "24:00-01:00"}, load)
	out.WriteString("\nseveral:\n" + err.Error() + "\n")
	_, err = window.Parse(make([]string, 101), load)
	out.WriteString("\ntoo many:\n" + err.Error() + "\n")
	if *rewrite {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(golden, []byte(out.String()), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("the errors are not those of %s; look at the difference after go test ./daemon/window -run ParseErrors -rewrite:\n%s", golden, out.String())
	}
}

// Whatever is written, it is read or refused. What is read is written so that it is read
// as the same; and it opens in an order, each time after the last.
func FuzzParse(f *testing.F) {
	for _, spec := range []string{
		"Mon-Fri 22:00-04:00 Europe/Berlin", "1st,last Sat-Sun,Wed 02:00-06:00 America/New_York", "2nd Tue 01:00-00:00", "freeze: 2026-12-20..2027-01-03 Europe/Berlin",
		"freeze: 2026-12-20T18:00..2027-01-03T24:00 Africa/Cairo", "freeze: 12-20..01-03 Europe/Berlin", "freeze: 02-29..02-29", "freeze: 03-02..02-28 Pacific/Apia", "freeze: 12-20..12-19", "", "é", "freeze:", "00:00-24:00 UTC",
	} {
		f.Add(spec, int64(1795780800))
	}
	f.Fuzz(func(t *testing.T, spec string, sec int64) {
		s, err := window.Parse([]string{spec}, load)
		if err != nil {
			return
		}
		e := s.Entries()[0]
		again, err := window.Parse([]string{e.String()}, load)
		if err != nil {
			t.Fatalf("%q is %q, which is refused: %v", spec, e, err)
		}
		if !reflect.DeepEqual(s, again) {
			t.Fatalf("%q is %q, which is another: %q", spec, e, again.Entries()[0])
		}
		at := time.Unix(sec%(1<<34), 0)
		until, _, frozen := s.Frozen(at)
		if frozen && !until.After(at) {
			t.Fatalf("%q is frozen at %s until %s", spec, at, until)
		}
		freezes := 0
		for _, o := range e.Openings(at, 3) {
			if until, _, is := s.Frozen(o.Start); e.IsFreeze() && (!is || until.Before(o.End)) || !o.End.After(at) {
				t.Fatalf("%q at %s: %v, frozen %t until %s", spec, at, o, is, until)
			}
			freezes++
		}
		if e.IsFreeze() && e.Past(at) != (freezes == 0) {
			t.Fatalf("%q at %s is past: %t, and comes %d times", spec, at, e.Past(at), freezes)
		}
		o, open := s.Open(at)
		if open && (o.Start.After(at) || !o.End.After(at)) {
			t.Fatalf("%q is open at %s from %s until %s", spec, at, o.Start, o.End)
		}
		next, is := s.Next(at)
		if is && (!next.Start.After(at) || !next.End.After(next.Start) || open && !next.Start.After(o.End)) {
			t.Fatalf("%q, at %s: next from %s until %s", spec, at, next.Start, next.End)
		}
		if s.HasWindows() && !is && o.End.Sub(at) < 400*24*time.Hour {
			t.Fatalf("%q does not open after %s", spec, at)
		}
	})
}

// Finding a zone takes milliseconds where the system has none, and the same is named by
// many windows.
func TestZoneIsFoundOnce(t *testing.T) {
	var asked []string
	_, err := window.Parse([]string{"22:00-23:00 Europe/Berlin", "01:00-02:00 Asia/Tokyo", "freeze: 2026-12-20..2027-01-03 Europe/Berlin", "03:00-04:00 UTC"}, func(name string) (*time.Location, error) {
		asked = append(asked, name)
		return load(name)
	})
	if err != nil || strings.Join(asked, " ") != "Europe/Berlin Asia/Tokyo" {
		t.Errorf("asked for %v: %v", asked, err)
	}
}
