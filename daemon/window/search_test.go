package window_test

import (
	"archive/zip"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/window"
)

// shortZones have one of each peculiarity of clock changes.
var shortZones = []string{
	"Europe/Berlin", "America/New_York",
	"Australia/Lord_Howe",              // by 30 minutes
	"Antarctica/Troll",                 // by two hours
	"Pacific/Chatham",                  // at 02:45
	"Africa/Cairo", "America/Santiago", // the day begins at 01:00, and the day before has 23:00 twice
	"America/Nuuk",   // 23:00 is skipped
	"America/Havana", // 00:00 is twice
	"Africa/Casablanca",
	"Asia/Kathmandu", // never
	"Atlantic/Azores",
}

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	loc, err := load(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// allZones are those of Go, one of each of those whose clocks show the same in 2026 and
// 2027.
func allZones(t *testing.T) (out []string) {
	z, err := zip.OpenReader(os.Getenv("ZONEINFO"))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	seen := map[string]bool{}
	for _, f := range z.File {
		if strings.HasSuffix(f.Name, "/") {
			continue
		}
		loc, key := zone(t, f.Name), ""
		for at, was := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), int64(0); at.Year() < 2028; at = at.Add(6 * time.Hour) {
			if is := shows(at, loc) - at.Unix()/60; is != was {
				key += fmt.Sprint(at, is)
				was = is
			}
		}
		if !seen[key] {
			seen[key] = true
			out = append(out, f.Name)
		}
	}
	if len(out) < 50 {
		t.Fatalf("only %d different zones", len(out))
	}
	return out
}

// shows is the date and the time of day of a clock, in minutes of its calendar.
func shows(at time.Time, loc *time.Location) int64 {
	at = at.In(loc)
	return time.Date(at.Year(), at.Month(), at.Day(), at.Hour(), at.Minute(), 0, 0, time.UTC).Unix() / 60
}

type change struct {
	at            time.Time
	before, after int64 // what the clock would have shown, and what it shows
}

// changes are those of a zone's clock in these years, found by looking at it each
// quarter of an hour.
func changes(loc *time.Location, from, to int) (out []change) {
	at := time.Date(from, 1, 1, 0, 0, 0, 0, time.UTC)
	was := shows(at, loc)
	out = append(out, change{at, was, was})
	for ; at.Year() <= to; at = at.Add(15 * time.Minute) {
		if is := shows(at, loc); is != was {
			out = append(out, change{at, was, is})
			was = is
		}
		was += 15
	}
	return out
}

// film is what a clock shows in each minute of some days.
type film struct {
	begin time.Time
	shows []int64
	twice []bool // whether it shows that in another minute, too
}

func filmOf(loc *time.Location, around time.Time) *film {
	const days = 3
	f := &film{begin: around.Add(-days * 24 * time.Hour).Truncate(time.Minute), twice: make([]bool, 2*days*24*60)}
	seen := map[int64]int{}
	for i := range f.twice {
		w := shows(f.begin.Add(time.Duration(i)*time.Minute), loc)
		f.shows = append(f.shows, w)
		if j, is := seen[w]; is {
			f.twice[i], f.twice[j] = true, true
		}
		seen[w] = i
	}
	return f
}

// rule is a window as the tests understand it.
type rule struct {
	nth        string // "" is every one
	days       []time.Weekday
	start, end int64 // minutes; the end of the next day is more than 24:00
	zone       string
}

func (r rule) spec() string {
	var days []string
	for _, d := range r.days {
		days = append(days, d.String()[:3])
	}
	hhmm := func(m int64) string {
		if m > 24*60 {
			m -= 24 * 60
		}
		return fmt.Sprintf("%02d:%02d", m/60, m%60)
	}
	return strings.TrimSpace(fmt.Sprintf("%s %s %s-%s %s", r.nth, strings.Join(days, ","), hhmm(r.start), hhmm(r.end), r.zone))
}

// on says whether a date is one of the rule's, by counting in the calendar.
func (r rule) on(date time.Time) bool {
	if len(r.days) > 0 && !slices.Contains(r.days, date.Weekday()) {
		return false
	}
	var same []int // days of the month that are that day of the week
	for d := time.Date(date.Year(), date.Month(), 1, 0, 0, 0, 0, time.UTC); d.Month() == date.Month(); d = d.AddDate(0, 0, 1) {
		if d.Weekday() == date.Weekday() {
			same = append(same, d.Day())
		}
	}
	switch r.nth {
	case "":
		return true
	case "last":
		return date.Day() == same[len(same)-1]
	}
	n := int(r.nth[0] - '1')
	return n < len(same) && date.Day() == same[n]
}

// open marks the minutes of a film in which the rule permits, by the words of the
// package's documentation. It returns how many days have a window, and how many of these
// are shorter or longer than usual, or have none.
func (r rule) open(f *film, marks []bool) (windows, odd int) {
	for date := f.shows[0]/1440 - 2; date <= f.shows[len(f.shows)-1]/1440+2; date++ {
		if !r.on(time.Unix(date*86400, 0).UTC()) {
			continue
		}
		start, end := date*1440+r.start, date*1440+r.end
		closes := max(0, min(int(end-f.shows[0])-24*60, len(f.shows))) // no change is by a day
		for closes < len(f.shows) && f.shows[closes] < end {
			closes++
		}
		opens := closes
		for opens > 0 && f.shows[opens-1] >= start {
			opens--
		}
		for i := opens; i < closes; i++ {
			marks[i] = true
		}
		if opens == 0 || closes == len(f.shows) {
			continue // it may be longer than the film
		}
		windows++
		if int64(closes-opens) != r.end-r.start {
			odd++
		}
	}
	return windows, odd
}

// agree compares the schedule with the marks, in the middle of the film.
func agree(t *testing.T, s window.Schedule, f *film, marks []bool, rules ...rule) bool {
	t.Helper()
	const margin = 30 * 60
	n := len(marks)
	// Where something begins or ends, beside that, and here and there.
	var at []int
	for i := margin; i < n-margin; i++ {
		if marks[i] != marks[i-1] {
			at = append(at, i-1, i)
		}
	}
	for range 10 {
		at = append(at, margin+rand.IntN(n-2*margin))
	}
	minute := func(i int) time.Time { return f.begin.Add(time.Duration(i) * time.Minute) }
	index := func(at time.Time) int { return int(at.Sub(f.begin) / time.Minute) }
	// edge is where marks become other than they are at i, in steps of one direction.
	edge := func(i, step int) int {
		for j := i; j >= 0 && j < n; j += step {
			if marks[j] != marks[i] {
				return j
			}
		}
		return -1
	}
	for _, i := range at {
		now := minute(i)
		o, is := s.Open(now)
		if is != marks[i] {
			t.Errorf("%v at %s (%s there): open is %v, want %v", rules, now.Format(stamp), now.In(zone(t, rules[0].zone)).Format(stamp), is, marks[i])
			return false
		}
		if is {
			if end := edge(i, 1); end >= 0 && index(o.End) != end || end < 0 && index(o.End) < n-margin {
				t.Errorf("%v at %s: open until %s, want %s", rules, now.Format(stamp), o.End.Format(stamp), minute(end).Format(stamp))
				return false
			}
			if start := edge(i, -1); start >= 0 && index(o.Start) != start+1 || start < 0 && index(o.Start) > margin {
				t.Errorf("%v at %s: open since %s, want %s", rules, now.Format(stamp), o.Start.Format(stamp), minute(start+1).Format(stamp))
				return false
			}
		}
		next := i
		if is {
			next = edge(i, 1)
		}
		if next >= 0 && !marks[next] {
			next = edge(next, 1)
		}
		o, is = s.Next(now)
		if next >= 0 && next < n-margin && (!is || index(o.Start) != next) || (next < 0 || next >= n-margin) && is && index(o.Start) < n-margin {
			t.Errorf("%v after %s: the next opens at %s, want %s", rules, now.Format(stamp), o.Start.Format(stamp), minute(max(next, 0)).Format(stamp))
			return false
		}
	}
	return true
}

const stamp = "Mon 2006-01-02T15:04:05Z07:00"

// sane compares marks with the clock itself: a window never permits while the clock
// shows a time outside it, and always does while it shows a time inside it that it shows
// only once.
func sane(t *testing.T, f *film, marks []bool, r rule) bool {
	t.Helper()
	on := map[int64]bool{}
	for date := f.shows[0]/1440 - 2; date <= f.shows[len(f.shows)-1]/1440+2; date++ {
		on[date] = r.on(time.Unix(date*86400, 0).UTC())
	}
	for i, w := range f.shows {
		inside, today := false, w/1440
		for date := today - 1; date <= today; date++ {
			if date*1440+r.start <= w && w < date*1440+r.end && on[date] {
				inside = true
			}
		}
		if marks[i] && !inside || !marks[i] && inside && !f.twice[i] {
			t.Errorf("%v: open is %v when the clock shows %s", r, marks[i], time.Unix(w*60, 0).UTC().Format("Mon 15:04"))
			return false
		}
	}
	return true
}

// A search minute by minute finds the same windows around all clock changes of two
// years, in all zones. So it does on the last day of a leap year, of which Go's search
// for clock changes knows wrongly when it ends.
func TestSearch(t *testing.T) {
	zones := shortZones
	if !testing.Short() {
		zones = allZones(t)
	}
	windows, odd, moments := 0, 0, 0
	for _, name := range zones {
		loc := zone(t, name)
		at := append(changes(loc, 2026, 2027), change{at: instant(t, "2028-12-31T12:00:00Z")})
		for _, c := range at {
			moments++
			f := filmOf(loc, c.at)
			var times []int64
			for _, m := range []int64{c.before, c.before - 15, c.before + 15, c.after, c.after - 15, c.after + 30, (c.before + c.after) / 2, 0, 4 * 60, 12 * 60, 22*60 + 30} {
				m = (m%1440 + 1440) % 1440
				if !slices.Contains(times, m) {
					times = append(times, m)
				}
			}
			day := c.at.In(loc).Weekday()
			kinds := []rule{{}, {days: []time.Weekday{day}}, {days: []time.Weekday{(day + 6) % 7}}, {nth: "last", days: []time.Weekday{day}}, {nth: "5th", days: []time.Weekday{(day + 6) % 7, day}}}
			for _, start := range times {
				for _, end := range times {
					if start == end && start != 0 || testing.Short() && (start+end)/15%3 != 0 {
						continue
					}
					r := kinds[(int(start)+int(end))/15%len(kinds)]
					if windows%2 == 0 {
						r = kinds[0]
					}
					r.zone, r.start, r.end = name, start, end
					if r.end <= r.start {
						r.end += 1440
					}
					marks := make([]bool, len(f.shows))
					w, o := r.open(f, marks)
					windows, odd = windows+w, odd+o
					if !sane(t, f, marks, r) || !agree(t, parse(t, r.spec()), f, marks, r) {
						break
					}
				}
			}
		}
	}
	t.Logf("%d zones, %d moments, %d windows, of which %d are not as long as usual", len(zones), moments, windows, odd)
	if odd < 500 {
		t.Errorf("only %d windows are touched by a change", odd)
	}
}

// Several windows, in several zones, are what a search finds that marks the minutes of
// each.
func TestSearchOfSeveral(t *testing.T) {
	tries, films, moments := 2000, map[string]*film{}, map[string][]change{}
	if testing.Short() {
		tries = 100
	}
	zones := shortZones[:5]
	for range tries {
		name := zones[rand.IntN(len(zones))]
		if moments[name] == nil {
			moments[name] = changes(zone(t, name), 2026, 2026)
		}
		at := moments[name][rand.IntN(len(moments[name]))].at
		var rules []rule
		var specs []string
		var marks []bool
		var f *film
		for range 2 + rand.IntN(3) {
			r := rule{zone: zones[rand.IntN(len(zones))], start: int64(rand.IntN(96) * 15)}
			if rand.IntN(2) == 0 {
				r.zone = name
			}
			r.end = r.start + int64(1+rand.IntN(95))*15
			for d := range time.Weekday(7) {
				if rand.IntN(3) > 0 {
					r.days = append(r.days, d)
				}
			}
			key := r.zone + at.String()
			if f = films[key]; f == nil {
				f = filmOf(zone(t, r.zone), at)
				films[key] = f
			}
			if marks == nil {
				marks = make([]bool, len(f.shows))
			}
			r.open(f, marks)
			rules, specs = append(rules, r), append(specs, r.spec())
		}
		if !agree(t, parse(t, specs...), f, marks, rules...) {
			return
		}
	}
}
