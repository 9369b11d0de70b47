package window_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"rebootd.dev/daemon/window"
)

// The openings of a window are in order and apart, one at most for each of its days; and
// between them, it is closed. In the years that follow, too.
func TestOpeningsAreInOrder(t *testing.T) {
	for range 300 {
		name := shortZones[rand.IntN(len(shortZones))]
		start, end := rand.IntN(24*60), rand.IntN(24*60)
		if start == end {
			continue
		}
		spec := fmt.Sprintf("%02d:%02d-%02d:%02d %s", start/60, start%60, end/60, end%60, name)
		s := parse(t, spec)
		from := time.Date(2026+rand.IntN(30), time.Month(1+rand.IntN(12)), 1, 0, 0, 0, 0, time.UTC)
		openings := s.Entries()[0].Openings(from, 300)
		if len(openings) != 300 {
			t.Fatalf("%s has %d openings from %s", spec, len(openings), from)
		}
		for i, o := range openings {
			if !o.End.After(o.Start) || o.End.Sub(o.Start) > 26*time.Hour {
				t.Fatalf("%s: an opening %v", spec, o)
			}
			if i == 0 {
				continue
			}
			last := openings[i-1]
			if o.Start.Before(last.End) || o.Start.Sub(last.Start) < 20*time.Hour {
				t.Fatalf("%s: %v comes after %v", spec, o, last)
			}
			if next, is := s.Next(last.Start); !is || !next.Start.Equal(o.Start) && o.Start.After(last.End) {
				t.Fatalf("%s: next after %v is %v, want %v", spec, last, next, o)
			}
			if _, open := s.Open(o.Start.Add(-1)); open && o.Start.After(last.End) {
				t.Fatalf("%s: open before %v", spec, o)
			}
			if got, open := s.Open(o.End.Add(-1)); !open || !got.End.Equal(o.End) && (i+1 == len(openings) || openings[i+1].Start.After(o.End)) {
				t.Fatalf("%s: just before the end of %v it is open %v: %v", spec, o, open, got)
			}
		}
	}
}

// Windows without end are followed for 400 days, and no further. The clock changes leave
// no hole in a day, in any zone.
func TestAlwaysOpen(t *testing.T) {
	zones := shortZones
	if !testing.Short() {
		zones = allZones(t)
	}
	const far = 400 * 24 * time.Hour
	for _, name := range zones {
		for _, specs := range [][]string{{"00:00-24:00 " + name}, {"Sat-Mon 00:00-12:00 " + name, "Tue-Fri 00:00-12:00 " + name, "12:00-24:00 " + name}} {
			s := parse(t, specs...)
			for at := instant(t, "2025-12-31T12:00:00Z"); at.Year() < 2042; at = at.Add(399 * 24 * time.Hour) {
				o, open := s.Open(at)
				if !open || at.Sub(o.Start) < far || o.End.Sub(at) < far || at.Sub(o.Start) > far+48*time.Hour || o.End.Sub(at) > far+48*time.Hour {
					t.Errorf("%v at %s: open %v, %s", specs, at, open, show(o, open))
				}
				if next, is := s.Next(at); is {
					t.Errorf("%v: after %s comes %v", specs, at, next)
				}
			}
		}
	}
}

// Clocks of machines that have just started can be far off.
func TestStrangeClocks(t *testing.T) {
	s := parse(t, "22:00-04:00 America/New_York", "freeze: 2026-12-20..2027-01-03", "freeze: 12-20..01-03 America/New_York")
	for _, at := range []time.Time{{}, time.Unix(0, 0), time.Unix(-1, 0), time.Unix(1<<31, 0), time.Unix(1<<40, 0), instant(t, "2262-04-12T00:00:00Z")} {
		o, is := s.Next(at)
		if !is || !o.Start.After(at) || o.Start.Sub(at) > 30*time.Hour {
			t.Errorf("after %s: %v", at, o)
		}
		if in, open := s.Open(o.Start); !open || in != o {
			t.Errorf("at %s: %v", o.Start, in)
		}
		s.Frozen(at)
		yearly := s.Entries()[2].Openings(at, 2)
		if len(yearly) != 2 || !yearly[0].End.After(at) || yearly[0].Start.Sub(at) > 366*24*time.Hour || yearly[0].End.Sub(yearly[0].Start) != 15*24*time.Hour {
			t.Errorf("at %s: %v", at, yearly)
		}
	}
}

// What a look costs, each ten seconds on every node.
func BenchmarkLook(b *testing.B) {
	at := instant(b, "2026-11-28T01:00:00Z")
	for name, specs := range map[string][]string{
		"one":     {"Mon-Fri 22:00-04:00 Europe/Berlin"},
		"rare":    {"5th Sun 22:00-04:00 Europe/Berlin"},
		"four":    {"Mon-Fri 22:00-04:00 Europe/Berlin", "last Sun 02:00-06:00 America/New_York", "2nd Tue 01:00-05:00", "freeze: 2026-12-20..2027-01-03 Europe/Berlin"},
		"always":  {"00:00-24:00 Europe/Berlin"},
		"yearly":  {"Sat,Sun 00:00-24:00 Europe/Berlin", "freeze: 12-01..12-31 Europe/Berlin"},
		"endless": {"00:00-04:00", "freeze: 01-01..06-30 Europe/Berlin", "freeze: 07-01..12-31 Europe/Berlin"},
	} {
		s, err := window.Parse(specs, load)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Open(at)
				s.Next(at)
				s.Frozen(at)
			}
		})
	}
}
