package window

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

const (
	maxSpecs   = 100
	maxLength  = 200 // of one, in bytes
	exampleWin = "Mon-Fri 22:00-04:00 Europe/Berlin"
	exampleFrz = "freeze: 2026-12-20..2027-01-03 Europe/Berlin"
)

// Parse reads windows and freezes; the package says how they are written. load finds a
// time zone by its name in the IANA database. The error says all that is wrong; with one,
// the Schedule is not to be used.
func Parse(specs []string, load func(name string) (*time.Location, error)) (Schedule, error) {
	if len(specs) > maxSpecs {
		return Schedule{}, fmt.Errorf("there are %d windows and freezes; at most %d are allowed", len(specs), maxSpecs)
	}
	var s Schedule
	var bad []error
	found := map[string]*time.Location{}
	once := func(name string) (*time.Location, error) {
		if loc := found[name]; loc != nil {
			return loc, nil
		}
		loc, err := load(name)
		if err == nil {
			found[name] = loc
		}
		return loc, err
	}
	for _, spec := range specs {
		e, err := parse(spec, once)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		s.entries = append(s.entries, e)
	}
	if len(bad) > 0 {
		return Schedule{}, errors.Join(bad...)
	}
	return s, nil
}

func parse(spec string, load func(name string) (*time.Location, error)) (Entry, error) {
	var e Entry
	var err error
	rest, freeze := cutFreeze(spec)
	switch {
	case len(spec) > maxLength:
		return e, fmt.Errorf("%q…: it has %d bytes; at most %d are allowed", spec[:40], len(spec), maxLength)
	case strings.ContainsFunc(spec, func(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }):
		err = errors.New("it contains control characters or others that cannot be seen; separate words by plain spaces")
	case freeze:
		e, err = parseFreeze(strings.Fields(rest), load)
	default:
		e, err = parseWindow(strings.Fields(rest), load)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("%q: %w", spec, err)
	}
	return e, nil
}

func cutFreeze(spec string) (rest string, is bool) {
	const prefix = "freeze:"
	spec = strings.TrimSpace(spec)
	if len(spec) >= len(prefix) && strings.EqualFold(spec[:len(prefix)], prefix) {
		return spec[len(prefix):], true
	}
	return spec, false
}

func parseWindow(words []string, load func(name string) (*time.Location, error)) (Entry, error) {
	e := Entry{days: everyDay}
	if len(words) == 0 {
		return e, fmt.Errorf("it is empty; write a window like %q or a freeze like %q", exampleWin, exampleFrz)
	}
	at := 0 // of the times
	for at < len(words) && !strings.Contains(words[at], ":") {
		at++
	}
	switch {
	case strings.EqualFold(words[0], "freeze"):
		return e, fmt.Errorf("the colon after %q is missing; write a freeze like %q", words[0], exampleFrz)
	case at == len(words):
		return e, fmt.Errorf("the time of day is missing; write a window like %q", exampleWin)
	}
	var err error
	if e.which, e.days, err = parseDays(words[:at]); err != nil {
		return e, err
	}
	if e.start, e.end, err = parseTimes(words[at]); err != nil {
		return e, err
	}
	if e.loc, err = parseZone(words[at+1:], load); err != nil {
		return e, err
	}
	days := e.days.String()
	if e.which != 0 {
		days = e.which.String() + " " + e.days.list()
	}
	e.text = fmt.Sprintf("%s %s-%s %s", days, clockTime(e.start), clockTime(e.end), e.loc)
	return e, nil
}

// parseTimes reads start and end, in seconds from 00:00 of the day of the start.
func parseTimes(s string) (start, end int64, err error) {
	from, to, is := strings.Cut(s, "-")
	if !is || from == "" || to == "" {
		return 0, 0, fmt.Errorf("%q is not a span of time; write start and end joined by a hyphen, without spaces, like 22:00-04:00", s)
	}
	if start, err = parseTime(from); err != nil {
		return 0, 0, err
	}
	if end, err = parseTime(to); err != nil {
		return 0, 0, err
	}
	switch {
	case start == day:
		return 0, 0, errors.New("24:00 can only be an end; a window that starts at midnight starts at 00:00")
	case start == end:
		return 0, 0, fmt.Errorf("it starts and ends at %s; the whole day is 00:00-24:00", from)
	case end < start:
		end += day
	}
	return start, end, nil
}

// parseTime reads the time of day, in seconds.
func parseTime(s string) (int64, error) {
	if len(s) != 5 || s[2] != ':' || !digits(s[:2]) || !digits(s[3:]) {
		return 0, fmt.Errorf("%q is not a time of day; write HH:MM, from 00:00 to 24:00", s)
	}
	h, m := number(s[:2]), number(s[3:])
	if m > 59 || h*60+m > 24*60 {
		return 0, fmt.Errorf("%q does not exist; the time of day is HH:MM, from 00:00 to 24:00", s)
	}
	return (h*60 + m) * 60, nil
}

// clockTime is a time of day, in seconds from 00:00 of this day or of the one before.
func clockTime(sec int64) string {
	if sec > day {
		sec -= day
	}
	return fmt.Sprintf("%02d:%02d", sec/3600, sec/60%60)
}

func parseZone(words []string, load func(name string) (*time.Location, error)) (*time.Location, error) {
	const valid = "write a name of the IANA database, like Europe/Berlin, or UTC"
	switch {
	case len(words) == 0 || len(words) == 1 && words[0] == "UTC":
		return time.UTC, nil
	case len(words) > 1:
		return nil, fmt.Errorf("only a time zone may follow the times, not %q; write each window by itself, like %q", strings.Join(words, " "), exampleWin)
	case strings.EqualFold(words[0], "local"):
		return nil, fmt.Errorf("the time zone %q differs from machine to machine; %s", words[0], valid)
	}
	loc, err := load(words[0])
	if err != nil {
		return nil, fmt.Errorf("the time zone %q: %w (%s)", words[0], err, valid)
	}
	return loc, nil
}

func digits(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

// number is that of a few digits.
func number(s string) (n int64) {
	for _, r := range s {
		n = n*10 + int64(r-'0')
	}
	return n
}
