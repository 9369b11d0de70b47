package window_test

import (
	"strings"
	"testing"
	"time"
)

// The table of the documentation: what a window is on the day of a clock change, and
// more such days.
func TestClockChanges(t *testing.T) {
	for _, tt := range []struct {
		spec, date string // the day to which the window belongs
		want       string // by the clock on the wall, and its offset; "" if there is no window
	}{
		// The opening time is skipped: it opens at the moment of the change.
		{"02:30-04:30 Europe/Berlin", "2026-03-29", "03:00 +0200..04:30 +0200"},
		{"02:30-04:30 America/New_York", "2026-03-08", "03:00 -0400..04:30 -0400"},
		{"02:15-04:15 Australia/Lord_Howe", "2026-10-04", "02:30 +1100..04:15 +1100"},
		{"00:30-02:30 Africa/Cairo", "2026-04-24", "01:00 +0300..02:30 +0300"},
		// It comes twice: it opens at the second, as the time before it comes again, too.
		{"02:30-04:30 Europe/Berlin", "2026-10-25", "02:30 +0100..04:30 +0100"},
		{"01:30-03:30 America/New_York", "2026-11-01", "01:30 -0500..03:30 -0500"},
		{"01:45-03:45 Australia/Lord_Howe", "2026-04-05", "01:45 +1030..03:45 +1030"},

		// The closing time is skipped, or comes twice.
		{"01:00-02:30 Europe/Berlin", "2026-03-29", "01:00 +0100..03:00 +0200"},
		{"01:00-02:30 Europe/Berlin", "2026-10-25", "01:00 +0200..02:30 +0200"},
		{"01:00-02:30 America/New_York", "2026-03-08", "01:00 -0500..03:00 -0400"},
		// Both.
		{"02:10-02:50 Europe/Berlin", "2026-03-29", ""},
		{"02:10-02:50 Europe/Berlin", "2026-10-25", "02:10 +0200..02:50 +0200"},
		// Neither: an hour less, and an hour more.
		{"01:00-05:00 Europe/Berlin", "2026-03-29", "01:00 +0100..05:00 +0200"},
		{"01:00-05:00 Europe/Berlin", "2026-10-25", "01:00 +0200..05:00 +0100"},
		// The change is at midnight.
		{"22:00-00:30 Africa/Cairo", "2026-04-23", "22:00 +0200..01:00 +0300"},
		{"22:00-24:00 America/Santiago", "2026-04-04", "22:00 -0300..00:00 -0400"},
		{"23:30-04:00 America/Santiago", "2026-04-04", "23:30 -0400..04:00 -0400"},
		{"23:15-23:45 America/Nuuk", "2026-03-28", ""},
		{"23:15-01:00 America/Nuuk", "2026-03-28", "00:00 -0100..01:00 -0100"},
		// There was no such day.
		{"10:00-12:00 Pacific/Apia", "2011-12-30", ""},
	} {
		e := parse(t, tt.spec).Entries()[0]
		day, err := time.Parse(time.DateOnly, tt.date)
		if err != nil {
			t.Fatal(err)
		}
		// Windows of the other days are told by the hour at which they start: this one
		// starts within two hours of its time on this day.
		hour, err := time.Parse("15:04", tt.spec[:5])
		if err != nil {
			t.Fatal(err)
		}
		nominal := day.Add(time.Duration(hour.Hour())*time.Hour + time.Duration(hour.Minute())*time.Minute)
		var got []string
		for _, o := range e.Openings(day.AddDate(0, 0, -3), 6) {
			start, end := o.Start.In(e.Location()), o.End.In(e.Location())
			shows, _ := time.Parse(time.DateTime, start.Format(time.DateTime))
			if shows.Sub(nominal).Abs() < 2*time.Hour {
				got = append(got, start.Format("15:04 -0700")+".."+end.Format("15:04 -0700"))
			}
		}
		if strings.Join(got, " and ") != tt.want {
			t.Errorf("%s on %s: %q, want %q", tt.spec, tt.date, got, tt.want)
		}
	}
}
