package window_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/window"
)

// inYearly says whether a date is in a freeze of every year, by comparing how both are
// written: 29 February is between others whether or not there is one in that year.
func inYearly(first, last string, date time.Time) bool {
	is := date.Format("01-02")
	if first <= last {
		return first <= is && is <= last
	}
	return is >= first || is <= last
}

// dates are those of a leap year.
func dates() (out []string) {
	for d := time.Date(2028, 1, 1, 0, 0, 0, 0, time.UTC); d.Year() == 2028; d = d.AddDate(0, 0, 1) {
		out = append(out, d.Format("01-02"))
	}
	return out
}

func TestYearlyFreezes(t *testing.T) {
	const xmas, q1, leap = "freeze: 12-20..01-03 Europe/Berlin", "freeze: 01-04..02-28 Europe/Berlin", "freeze: 02-29..02-29 UTC"
	for _, tt := range []struct {
		specs, at   string
		until, name string // "" if it is not frozen
	}{
		{xmas, "2026-12-19T22:59:59Z", "", ""},
		{xmas, "2026-12-19T23:00:00Z", "2027-01-03T23:00:00Z", xmas},
		{xmas, "2027-01-03T22:59:59Z", "2027-01-03T23:00:00Z", xmas},
		{xmas, "2027-01-03T23:00:00Z", "", ""},
		{xmas, "2040-01-01T00:00:00Z", "2040-01-03T23:00:00Z", xmas},
		// It joins others, in any order, and itself a year later through them.
		{q1 + ";" + xmas, "2026-12-24T12:00:00Z", "2027-02-28T23:00:00Z", xmas},
		{q1 + ";" + xmas, "2027-12-24T12:00:00Z", "2028-02-28T23:00:00Z", xmas},
		{"freeze: 2027-01-04..2027-12-19 Europe/Berlin;" + xmas, "2026-12-24T12:00:00Z", "2028-01-03T23:00:00Z", xmas},
		// 29 February.
		{leap, "2027-02-28T12:00:00Z", "", ""},
		{leap, "2027-03-01T00:00:00Z", "", ""},
		{leap, "2028-02-28T23:59:59Z", "", ""},
		{leap, "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z", leap},
		{"freeze: 02-01..02-29 UTC", "2027-02-28T23:59:59Z", "2027-03-01T00:00:00Z", "freeze: 02-01..02-29 UTC"},
		{"freeze: 02-01..02-28 UTC", "2028-02-28T23:59:59Z", "2028-02-29T00:00:00Z", "freeze: 02-01..02-28 UTC"},
		{"freeze: 02-29..03-02 UTC", "2027-02-28T23:59:59Z", "", ""},
		{"freeze: 02-29..03-02 UTC", "2027-03-01T00:00:00Z", "2027-03-03T00:00:00Z", "freeze: 02-29..03-02 UTC"},
		{"freeze: 01-01..12-30 UTC", "2027-12-31T12:00:00Z", "", ""},
		{"freeze: 12-31..12-29 UTC", "2027-01-01T12:00:00Z", "2027-12-30T00:00:00Z", "freeze: 12-31..12-29 UTC"},
		// Days that begin at 01:00, are not there, or begin twice.
		{"freeze: 04-24..04-24 Africa/Cairo", "2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z", "freeze: 04-24..04-24 Africa/Cairo"},
		{"freeze: 12-30..12-30 Pacific/Apia", "2011-12-30T10:00:00Z", "", ""},
		{"freeze: 11-01..11-01 America/Havana", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z", "freeze: 11-01..11-01 America/Havana"},
	} {
		until, why, is := parse(t, strings.Split(tt.specs, ";")...).Frozen(instant(t, tt.at))
		got := ""
		if is {
			got = until.Format(time.RFC3339)
		}
		if got != tt.until || why != tt.name {
			t.Errorf("%s at %s: until %q, %q; want %q, %q", tt.specs, tt.at, got, why, tt.until, tt.name)
		}
	}
}

// Every pair of dates is a freeze, unless it leaves no day of a common year. Day by day, it
// is frozen if the date is between the two.
func TestYearlyByTheDay(t *testing.T) {
	refused := 0
	all := dates()
	for _, first := range all {
		for _, last := range all {
			spec := "freeze: " + first + ".." + last + " UTC"
			s, err := window.Parse([]string{spec}, load)
			covers := last == "12-31" && first == "01-01" || after(last) == first || after(after(last)) == first && after(last) == "02-29"
			if (err != nil) != covers {
				t.Fatalf("%s: %v, covers the year: %t", spec, err, covers)
			}
			if err != nil {
				refused++
				continue
			}
			if e := s.Entries()[0]; e.String() != spec || !e.IsFreeze() {
				t.Fatalf("%s is %s", spec, e)
			}
			if rand.IntN(4) == 0 {
				at := time.Date(2023+rand.IntN(80), 1, 1, 0, 0, rand.IntN(366*86400), 0, time.UTC)
				until, _, is := s.Frozen(at)
				end := at.Truncate(24 * time.Hour)
				for inYearly(first, last, end) {
					end = end.AddDate(0, 0, 1)
				}
				if is != inYearly(first, last, at) || is && !until.Equal(end) {
					t.Fatalf("%s at %s: frozen %t until %s, want %s", spec, at, is, until, end)
				}
			}
		}
	}
	if refused != 366+1 {
		t.Errorf("%d are refused", refused)
	}
}

// after is the next date of a leap year.
func after(date string) string {
	d, err := time.Parse("2006-01-02", "2028-"+date)
	if err != nil {
		panic(err)
	}
	return d.AddDate(0, 0, 1).Format("01-02")
}

// By the minute, around clock changes and at the turn of years and of February: frozen
// from when the clock first shows the first day until it has shown the last day for the
// last time.
func TestYearlySearch(t *testing.T) {
	zones := shortZones
	if !testing.Short() {
		zones = allZones(t)
	}
	moments := map[string][]time.Time{
		"America/St_Johns":  {instant(t, "2010-11-07T02:31:00Z"), instant(t, "2010-03-14T03:31:00Z")}, // at 00:01: the date goes back
		"Pacific/Apia":      {instant(t, "2011-12-30T10:00:00Z")},                                     // a day is skipped
		"Pacific/Kwajalein": {instant(t, "1993-08-21T12:00:00Z")},
	}
	for _, name := range zones {
		for _, c := range changes(zone(t, name), 2026, 2026) {
			moments[name] = append(moments[name], c.at)
		}
		for _, at := range []string{"2028-02-29T12:00:00Z", "2027-02-28T23:00:00Z", "2028-12-31T12:00:00Z"} {
			moments[name] = append(moments[name], instant(t, at))
		}
	}
	freezes, odd := 0, 0
	for name, list := range moments {
		for _, at := range list {
			f := filmOf(zone(t, name), at)
			date := func(w int64) time.Time { return time.Unix(w*60, 0).UTC() }
			today := date(f.shows[len(f.shows)/2])
			for i := range 16 {
				first, last := today.AddDate(0, 0, i%4-2).Format("01-02"), today.AddDate(0, 0, i/4-2).Format("01-02")
				switch rand.IntN(4) {
				case 0:
					first = today.AddDate(0, 0, -100).Format("01-02")
				case 1:
					last = today.AddDate(0, 0, 200).Format("01-02")
				}
				spec := "freeze: " + first + ".." + last + " " + name
				s, err := window.Parse([]string{spec}, load)
				if err != nil {
					continue // it covers the year
				}
				freezes++
				marks := make([]bool, len(f.shows))
				for begin := -1; begin < len(marks); begin++ {
					inside := begin >= 0 && inYearly(first, last, date(f.shows[begin]))
					if !inside {
						continue
					}
					// The stretch of days in the calendar that this minute is in.
					end := f.shows[begin] / 1440 * 1440
					for inYearly(first, last, date(end)) {
						end += 1440
					}
					stop := len(marks)
					for stop > begin && f.shows[stop-1] >= end {
						stop--
					}
					for i := begin; i < stop; i++ {
						marks[i] = true
					}
					begin = max(begin, stop-1)
				}
				const margin = 30 * 60
				for i := margin; i < len(marks)-margin; i++ {
					if inside := inYearly(first, last, date(f.shows[i])); inside && !marks[i] || !inside && marks[i] && !f.twice[i] {
						t.Fatalf("%s: the model is wrong when the clock shows %s", spec, date(f.shows[i]))
					} else if inside != marks[i] {
						odd++
					}
					if marks[i] == marks[i-1] && marks[i] == marks[i+1] && i%411 != 0 {
						continue
					}
					now := f.begin.Add(time.Duration(i) * time.Minute)
					until, _, is := s.Frozen(now)
					end := i
					for end < len(marks) && marks[end] {
						end++
					}
					if is != marks[i] || is && end < len(marks) && !until.Equal(f.begin.Add(time.Duration(end)*time.Minute)) {
						t.Fatalf("%s at %s (%s there): frozen %t until %s, want %t", spec, now.Format(stamp), now.In(zone(t, name)).Format(stamp), is, until.Format(stamp), marks[i])
					}
				}
			}
		}
	}
	t.Logf("%d freezes in %d zones, %d odd minutes", freezes, len(moments), odd)
	if odd == 0 {
		t.Error("no freeze is touched by a date that comes twice")
	}
}

// The occurrences of one are in order, and none is left out; it is never past.
func TestYearlyOpenings(t *testing.T) {
	e := parse(t, "freeze: 12-20..01-03 Europe/Berlin").Entries()[0]
	var got []string
	for _, o := range e.Openings(instant(t, "2027-01-02T12:00:00Z"), 3) {
		got = append(got, show(o, true))
	}
	if want := "2026-12-19T23:00Z..2027-01-03T23:00Z 2027-12-19T23:00Z..2028-01-03T23:00Z 2028-12-19T23:00Z..2029-01-03T23:00Z"; strings.Join(got, " ") != want {
		t.Errorf("the occurrences are %q, want %q", got, want)
	}
	if o := e.Openings(instant(t, "2027-01-03T23:00:00Z"), 1); len(o) != 1 || show(o[0], true) != "2027-12-19T23:00Z..2028-01-03T23:00Z" {
		t.Errorf("when it has ended, the next is %v", o)
	}
	if len(e.Openings(instant(t, "2027-01-02T12:00:00Z"), 0)) != 0 {
		t.Error("it is shown though not asked for")
	}
	if e.Past(instant(t, "2300-01-01T00:00:00Z")) || e.Past(time.Unix(1<<40, 0)) {
		t.Error("it is past")
	}
	leap := parse(t, "freeze: 02-29..02-29").Entries()[0]
	if o := leap.Openings(instant(t, "2096-03-01T00:00:00Z"), 1); len(o) != 1 || show(o[0], true) != "2104-02-29T00:00Z..2104-03-01T00:00Z" {
		t.Errorf("after 2096, 29 February is %v", o)
	}
	skipped := parse(t, "freeze: 12-30..12-30 Pacific/Apia").Entries()[0]
	if o := skipped.Openings(instant(t, "2011-06-01T00:00:00Z"), 1); len(o) != 1 || show(o[0], true) != "2012-12-29T10:00Z..2012-12-30T10:00Z" {
		t.Errorf("in 2011 Apia had no 30 December, and it is %v", o)
	}
	if o := leap.Openings(instant(t, "2025-06-01T00:00:00Z"), 1); len(o) != 1 || show(o[0], true) != "2028-02-29T00:00Z..2028-03-01T00:00Z" {
		t.Errorf("after 2025, 29 February is %v", o)
	}
	if far := parse(t, "freeze: 2099-12-20..2100-01-03").Entries()[0].Openings(instant(t, "2027-01-02T12:00:00Z"), 1); len(far) != 1 {
		t.Errorf("one of 2099 is %v", far)
	}
	for range 2000 {
		all := dates()
		first, last, name := all[rand.IntN(366)], all[rand.IntN(366)], shortZones[rand.IntN(len(shortZones))]
		s, err := window.Parse([]string{fmt.Sprintf("freeze: %s..%s %s", first, last, name)}, load)
		if err != nil {
			continue
		}
		from := time.Date(2020+rand.IntN(50), time.Month(1+rand.IntN(12)), 1+rand.IntN(28), rand.IntN(24), 0, 0, 0, time.UTC)
		o := s.Entries()[0].Openings(from, 5)
		if len(o) != 5 {
			t.Fatalf("%s: %d occurrences from %s: %v", s.Entries()[0], len(o), from, o)
		}
		for i := range o {
			if i == 0 && !o[0].End.After(from) || i > 0 && (!o[i].Start.After(o[i-1].End) || o[i].Start.Sub(o[i-1].Start) > 367*24*time.Hour && first != last) {
				t.Fatalf("%s from %s: %v", s.Entries()[0], from, o)
			}
			until, _, is := s.Frozen(o[i].Start)
			if _, _, before := s.Frozen(o[i].Start.Add(-time.Second)); before || !is || !until.Equal(o[i].End) {
				t.Fatalf("%s: frozen at the start of %v: %t until %s", s.Entries()[0], o[i], is, until)
			}
			if f, e, is := s.NextFreeze(o[i].Start.Add(-time.Hour), o[i].End); !is || f != o[i] || e.String() != s.Entries()[0].String() {
				t.Fatalf("%s: the freeze in %v is %v", s.Entries()[0], o[i], f)
			}
		}
	}
}

// The freeze that comes first is found, whichever is written first.
func TestNextFreeze(t *testing.T) {
	s := parse(t, "freeze: 12-20..01-03", "00:00-24:00", "freeze: 2026-12-10..2026-12-10", "freeze: 12-24..12-24")
	for _, tt := range []struct{ from, to, want string }{
		{"2026-12-01T00:00:00Z", "2026-12-10T00:00:00Z", ""},
		{"2026-12-01T00:00:00Z", "2026-12-10T00:00:01Z", "2026-12-10T00:00Z..2026-12-11T00:00Z"},
		{"2026-12-11T00:00:00Z", "2027-12-10T00:00:00Z", "2026-12-20T00:00Z..2027-01-04T00:00Z"},
		{"2026-12-24T00:00:00Z", "2026-12-24T00:00:01Z", "2026-12-20T00:00Z..2027-01-04T00:00Z"},
		{"2027-01-04T00:00:00Z", "2027-12-20T00:00:00Z", ""},
		{"2027-01-04T00:00:00Z", "2027-12-20T00:00:01Z", "2027-12-20T00:00Z..2028-01-04T00:00Z"},
	} {
		got := ""
		if o, e, is := s.NextFreeze(instant(t, tt.from), instant(t, tt.to)); is {
			got = show(o, true)
			if !e.IsFreeze() {
				t.Errorf("%s is not a freeze", e)
			}
		}
		if got != tt.want {
			t.Errorf("from %s to %s: %q, want %q", tt.from, tt.to, got, tt.want)
		}
	}
}

// Freezes that leave nothing of the year together are followed for 400 days, and no further.
func TestEndlessFreezes(t *testing.T) {
	const far = 400 * 24 * time.Hour
	s := parse(t, "freeze: 01-01..06-30 Asia/Tokyo", "freeze: 07-01..12-31 Asia/Tokyo", "Mon 10:00-12:00")
	at := instant(t, "2026-11-27T12:00:00Z")
	until, why, is := s.Frozen(at)
	if !is || until.Before(at.Add(far)) || until.After(at.Add(2*far)) || why != "freeze: 07-01..12-31 Asia/Tokyo" {
		t.Errorf("%t until %s, %q", is, until, why)
	}
	if never := s.NeverOpen(at); len(never) != 1 {
		t.Errorf("%v never open", never)
	}
}
