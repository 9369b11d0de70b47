package window

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

const everyDay weekdays = 1<<7 - 1

var (
	dayNames     = [...]string{"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"}
	longDays     = [...]string{"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}
	ordinalNames = [...]string{"1st", "2nd", "3rd", "4th", "5th", "last"}
)

// parseDays reads the words before the times: none, days of the week, or an ordinal and
// days of the week.
func parseDays(words []string) (which ordinals, days weekdays, err error) {
	if len(words) == 0 {
		return 0, everyDay, nil
	}
	if len(words) > 2 {
		return 0, 0, fmt.Errorf("%q does not say on which days; write days without spaces, like Mon-Fri or Sat,Sun, or an ordinal and a day, like \"last Sun\"", strings.Join(words, " "))
	}
	if len(words) == 2 {
		if which, err = parseOrdinals(words[0]); err != nil {
			return 0, 0, err
		}
	} else if _, err := parseOrdinals(words[0]); err == nil {
		return 0, 0, fmt.Errorf("the day of the week is missing after %q; write for example %q", words[0], words[0]+" Sun")
	}
	word := words[len(words)-1]
	for part := range strings.SplitSeq(word, ",") {
		from, to, isRange := strings.Cut(part, "-")
		if isRange && which != 0 {
			return 0, 0, fmt.Errorf("the range %q is ambiguous after an ordinal; list the days, like %q", part, words[0]+" Tue,Wed")
		}
		first, err := parseDay(from)
		if err != nil {
			return 0, 0, err
		}
		end := first
		if isRange {
			if end, err = parseDay(to); err != nil {
				return 0, 0, err
			}
			if end == first {
				return 0, 0, fmt.Errorf("%q begins and ends on the same day; every day is Mon-Sun, one day is %s", part, dayNames[first])
			}
		}
		for d := first; ; d = (d + 1) % 7 {
			days |= 1 << d
			if d == end {
				break
			}
		}
	}
	return which, days, nil
}

func parseDay(s string) (int, error) {
	same := func(name string) bool { return strings.EqualFold(name, s) }
	if i := slices.IndexFunc(dayNames[:], same); i >= 0 {
		return i, nil
	}
	if i := slices.IndexFunc(longDays[:], same); i >= 0 {
		return i, nil
	}
	if s == "" {
		return 0, errors.New("a day of the week is missing; write days like Mon-Fri or Sat,Sun")
	}
	return 0, fmt.Errorf("%q is not a day of the week; the days are %s", s, strings.Join(dayNames[:], ", "))
}

func parseOrdinals(s string) (which ordinals, err error) {
	for part := range strings.SplitSeq(s, ",") {
		i := slices.IndexFunc(ordinalNames[:], func(name string) bool { return strings.EqualFold(name, part) })
		if i < 0 {
			return 0, fmt.Errorf("%q is not an ordinal; the ordinals are %s", part, strings.Join(ordinalNames[:], ", "))
		}
		which |= 1 << i
	}
	return which, nil
}

// String is the set as people write it, three days or more in a row as a range.
func (w weekdays) String() string {
	if w == everyDay {
		return dayNames[0] + "-" + dayNames[6]
	}
	has := func(d int) bool { return w>>((d+7)%7)&1 != 0 }
	var out []string
	for d := range 7 {
		if !has(d) || has(d-1) { // only where a row begins
			continue
		}
		n := 1
		for has(d + n) {
			n++
		}
		if n > 2 {
			out = append(out, dayNames[d]+"-"+dayNames[(d+n-1)%7])
			continue
		}
		for i := range n {
			out = append(out, dayNames[(d+i)%7])
		}
	}
	return strings.Join(out, ",")
}

// list is the set without ranges, as it stands after an ordinal.
func (w weekdays) list() string {
	var out []string
	for ; w != 0; w &= w - 1 {
		out = append(out, dayNames[bits.TrailingZeros8(uint8(w))])
	}
	return strings.Join(out, ",")
}

// String is the set as people write it.
func (o ordinals) String() string {
	var out []string
	for ; o != 0; o &= o - 1 {
		out = append(out, ordinalNames[bits.TrailingZeros8(uint8(o))])
	}
	return strings.Join(out, ",")
}
