package window

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	maxFreeze     = 400 // days
	oneDay        = "YYYY-MM-DD"
	dayOfYear     = "MM-DD"
	exampleYearly = "freeze: 12-20..01-03 Europe/Berlin"
)

// yearly is a freeze that comes every year: from the start of one date until the start of
// another, which is in the next year if it is not after the first.
type yearly struct{ start, end date }

// date is one without a year. In a year without 29 February, that is 1 March.
type date struct {
	month time.Month
	day   int
}

func (d date) before(e date) bool { return d.month < e.month || d.month == e.month && d.day < e.day }

// in is when that date begins in a year, as a wall time.
func (d date) in(year int) int64 {
	return time.Date(year, d.month, d.day, 0, 0, 0, 0, time.UTC).Unix()
}

// of is the freeze that begins in a year, by the wall times of its start and end. They are
// the same if that year has none of its days.
func (y yearly) of(year int) (start, end int64) {
	if !y.start.before(y.end) {
		return y.start.in(year), y.end.in(year + 1)
	}
	return y.start.in(year), y.end.in(year)
}

// frozen is a freeze between wall times, as the clock shows them: in doubt, it is frozen.
func frozen(c *clock, start, end int64) opening {
	return opening{start: c.first(start), end: c.last(end, end+2*day)}
}

// freezes are those of a freeze that end after an instant and start before another, in
// their order.
func (e *Entry) freezes(after, before int64) func(yield func(opening) bool) {
	return func(yield func(opening) bool) {
		if e.every == (yearly{}) {
			if e.until > after && e.from < before {
				yield(opening{e.from, e.until})
			}
			return
		}
		c := clock{loc: e.loc}
		// One around the instant has begun in the last year at the earliest, whatever the
		// clock shows at the turn of the year: none is a year long. What is two days away
		// is told apart without the clock.
		for year := instant(after).Year() - 1; ; year++ {
			start, end := e.every.of(year)
			if start-2*day >= before {
				return
			}
			if end+2*day <= after {
				continue
			}
			// It is empty where the year, or the clock, has none of its days.
			if o := frozen(&c, start, end); o.start < o.end && o.end > after && (o.start >= before || !yield(o)) {
				return
			}
		}
	}
}

func parseFreeze(words []string, load func(name string) (*time.Location, error)) (Entry, error) {
	e := Entry{freeze: true}
	if len(words) == 0 {
		return e, fmt.Errorf("the dates are missing; write a freeze like %q or, for every year, %q", exampleFrz, exampleYearly)
	}
	first, last, is := strings.Cut(words[0], "..")
	if !is || first == "" || last == "" {
		return e, fmt.Errorf("%q is not a span of dates; write the first and the last joined by two dots, without spaces, like 2026-12-20..2027-01-03 or, for every year, 12-20..01-03", words[0])
	}
	var from, until int64
	var err error
	if isDayOfYear(first) || isDayOfYear(last) {
		e.every, err = parseYearly(first, last)
	} else {
		from, until, err = parseOnce(first, last)
	}
	if err != nil {
		return e, err
	}
	if e.loc, err = parseZone(words[1:], load); err != nil {
		return e, err
	}
	if e.every == (yearly{}) {
		o := frozen(&clock{loc: e.loc}, from, until)
		if o.end <= o.start {
			return e, fmt.Errorf("the clock of %s skips all of that time", e.loc)
		}
		e.from, e.until = o.start, o.end
	}
	e.text = "freeze: " + words[0] + " " + e.loc.String()
	return e, nil
}

// parseOnce reads the first and the last date of a freeze, as the wall times of its start
// and end.
func parseOnce(first, last string) (from, until int64, err error) {
	if from, _, err = parseDate(first); err != nil {
		return 0, 0, err
	}
	until, timed, err := parseDate(last)
	if err != nil {
		return 0, 0, err
	}
	if !timed {
		until += day
	}
	switch {
	case until <= from:
		return 0, 0, fmt.Errorf("the end of %s..%s is not after its start; write the earlier one first (a date at the end includes that day)", first, last)
	case until-from > maxFreeze*day:
		return 0, 0, fmt.Errorf("it is longer than %d days, the longest a freeze can be", maxFreeze)
	}
	return from, until, nil
}

// parseDate reads a date, or a date with a time of day, as a wall time.
func parseDate(s string) (wall int64, timed bool, err error) {
	date, clock, timed := strings.Cut(s, "T")
	t, err := time.Parse(time.DateOnly, date)
	switch {
	case len(date) != len(oneDay) || date[4] != '-' || date[7] != '-' || !digits(date[:4]+date[5:7]+date[8:]):
		return 0, false, fmt.Errorf("%q is not a date; write %s or %sTHH:MM or, for every year, %s", s, oneDay, oneDay, dayOfYear)
	case err != nil:
		return 0, false, fmt.Errorf("the date %s does not exist", date)
	case !timed:
		return t.Unix(), false, nil
	}
	sec, err := parseTime(clock)
	return t.Unix() + sec, true, err
}

// isDayOfYear says whether something is written as a date without a year, whatever follows.
func isDayOfYear(s string) bool {
	s, _, _ = strings.Cut(s, "T")
	return len(s) == len(dayOfYear) && s[2] == '-' && digits(s[:2]+s[3:])
}

// parseYearly reads the first and the last date of a freeze that comes every year.
func parseYearly(first, last string) (y yearly, err error) {
	var days [2]time.Time
	for i, s := range []string{first, last} {
		if !isDayOfYear(s) {
			if _, _, err := parseDate(s); err != nil {
				return y, err
			}
			return y, fmt.Errorf("only one date of %s..%s has a year; write both with it, or both without, for every year", first, last)
		}
		if len(s) != len(dayOfYear) {
			return y, fmt.Errorf("%q has a time of day; a freeze that comes every year has dates only, like 12-20..01-03", s)
		}
		if days[i], err = time.Parse(time.DateOnly, "2028-"+s); err != nil { // a leap year
			return y, fmt.Errorf("the date %s does not exist; write the month first, %s", s, dayOfYear)
		}
	}
	after := days[1].AddDate(0, 0, 1)
	y = yearly{date{days[0].Month(), days[0].Day()}, date{after.Month(), after.Day()}}
	// Of these years none is a leap year: what leaves 29 February only leaves nothing.
	if start, end := y.of(2025); end-start >= 365*day {
		return y, errors.New("it covers the whole year, and no reboot could ever begin; leave out a day at least, or put the node on hold instead")
	}
	return y, nil
}
