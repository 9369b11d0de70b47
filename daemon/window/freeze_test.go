package window_test

import (
	"strings"
	"testing"
	"time"
)

func TestFrozen(t *testing.T) {
	const (
		xmas  = "freeze: 2026-12-20..2027-01-03 Europe/Berlin"
		timed = "freeze: 2026-12-20T18:00..2027-01-03T08:00 Europe/Berlin"
		after = "freeze: 2027-01-04..2027-01-05 Europe/Berlin"
	)
	for _, tt := range []struct {
		specs, at   string
		until, name string // "" if it is not frozen
	}{
		{xmas, "2026-12-19T22:59:59Z", "", ""},
		{xmas, "2026-12-19T23:00:00Z", "2027-01-03T23:00:00Z", xmas},
		{xmas, "2027-01-03T22:59:59Z", "2027-01-03T23:00:00Z", xmas},
		{xmas, "2027-01-03T23:00:00Z", "", ""},
		{timed, "2026-12-20T16:59:59Z", "", ""},
		{timed, "2026-12-20T17:00:00Z", "2027-01-03T07:00:00Z", timed},
		{timed, "2027-01-03T07:00:00Z", "", ""},
		// One that begins when another ends, and one that overlaps, in any order.
		{after + ";" + xmas, "2026-12-24T12:00:00Z", "2027-01-05T23:00:00Z", xmas},
		{timed + ";" + after + ";" + xmas, "2026-12-24T12:00:00Z", "2027-01-05T23:00:00Z", timed},
		{timed + ";" + after, "2026-12-24T12:00:00Z", "2027-01-03T07:00:00Z", timed},
		// A window freezes nothing.
		{"00:00-24:00", "2026-12-24T12:00:00Z", "", ""},
		// Around clock changes, whatever the clock shows that is inside is frozen.
		{"freeze: 2026-10-25T02:30..2026-10-25T02:40 Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T01:40:00Z", "freeze: 2026-10-25T02:30..2026-10-25T02:40 Europe/Berlin"},
		{"freeze: 2026-03-28T12:00..2026-03-29T02:30 Europe/Berlin", "2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z", "freeze: 2026-03-28T12:00..2026-03-29T02:30 Europe/Berlin"},
		{"freeze: 2026-04-24..2026-04-24 Africa/Cairo", "2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z", "freeze: 2026-04-24..2026-04-24 Africa/Cairo"},
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

func TestEntries(t *testing.T) {
	s := parse(t, "freeze: 2026-12-20..2027-01-03 Europe/Berlin", "22:00-04:00 Europe/Berlin")
	freeze, win := s.Entries()[0], s.Entries()[1]
	if !freeze.IsFreeze() || win.IsFreeze() || win.Location().String() != "Europe/Berlin" {
		t.Error("the entries are not as they were given")
	}
	in, end := instant(t, "2026-12-24T12:00:00Z"), instant(t, "2027-01-03T23:00:00Z")
	if o := freeze.Openings(in, 5); len(o) != 1 || show(o[0], true) != "2026-12-19T23:00Z..2027-01-03T23:00Z" {
		t.Errorf("the freeze is %v", o)
	}
	if len(freeze.Openings(in, 0)) != 0 || len(freeze.Openings(end, 5)) != 0 {
		t.Error("a freeze that is past, or not asked for, is shown")
	}
	if freeze.Past(end.Add(-time.Second)) || !freeze.Past(end) || win.Past(end) {
		t.Error("Past is wrong")
	}
	// One that has begun is the first.
	o := win.Openings(instant(t, "2026-12-24T23:00:00Z"), 2)
	if len(o) != 2 || show(o[0], true) != "2026-12-24T21:00Z..2026-12-25T03:00Z" || show(o[1], true) != "2026-12-25T21:00Z..2026-12-26T03:00Z" {
		t.Errorf("the openings are %v", o)
	}
	s.Entries()[0] = win
	if !s.Entries()[0].IsFreeze() {
		t.Error("the schedule was changed")
	}
}

// A window that is frozen for as long as can be seen is told; the other is not.
func TestNeverOpen(t *testing.T) {
	now := instant(t, "2026-11-27T12:00:00Z")
	for _, tt := range []struct{ specs, want string }{
		{"Mon 10:00-12:00;freeze: 2026-11-27..2027-12-31;Tue 10:00-12:00", "Mon 10:00-12:00 UTC;Tue 10:00-12:00 UTC"},
		{"Mon 10:00-12:00;freeze: 2026-11-27..2027-12-24", ""},                                // there is one more Monday
		{"Fri 10:00-12:00;freeze: 2026-11-27T12:00..2027-12-31T15:00", "Fri 10:00-12:00 UTC"}, // what is left of it has passed
		{"Fri 10:00-14:00;freeze: 2026-11-27T12:00..2027-12-31T15:00", "Fri 10:00-14:00 UTC"}, // the half of it that was not frozen has passed
		{"Fri 10:00-14:00;freeze: 2026-11-27T12:30..2027-12-31T15:00", ""},                    // half an hour of it is left
		{"1st Sun 10:00-12:00;freeze: 2026-12-01..2027-06-10;freeze: 2027-06-11..2028-01-31", "1st Sun 10:00-12:00 UTC"},
		{"Mon 10:00-12:00", ""},
		{"freeze: 2026-11-27..2027-12-31", ""},
		{"Wed 22:00-04:00;freeze: 01-01..06-30;freeze: 07-01..12-31", "Wed 22:00-04:00 UTC"}, // that of 30 June is frozen by both
		{"1st Sun 10:00-12:00;freeze: 01-08..12-31", ""},                                     // 3 January
		{"1st Sun 10:00-12:00;freeze: 12-20..12-18", "1st Sun 10:00-12:00 UTC"},
		{"Fri 10:00-14:00;freeze: 01-02..11-27;freeze: 11-28..12-31", ""}, // 1 January is a Friday
		{"Fri 10:00-14:00;freeze: 11-27..01-01;freeze: 01-02..11-26;Mon 10:00-14:00", "Fri 10:00-14:00 UTC;Mon 10:00-14:00 UTC"},
	} {
		var got []string
		for _, e := range parse(t, strings.Split(tt.specs, ";")...).NeverOpen(now) {
			got = append(got, e.String())
		}
		if strings.Join(got, ";") != tt.want {
			t.Errorf("%s: %q, want %q", tt.specs, got, tt.want)
		}
	}
}
