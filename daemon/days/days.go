// Package days reads and writes durations that may be given in days, as people count
// maintenance: "7d", "1d12h", "36h".
package days

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Day is 24 hours, whatever the clocks of some zone do on it.
const Day = 24 * time.Hour

// Parse reads a span: days, if any, as a whole number with a d, then what
// time.ParseDuration reads. It is 0 or more.
func Parse(text string) (time.Duration, error) {
	whole, rest := time.Duration(0), text
	if digits, after, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(digits, 10, 64)
		switch {
		case err != nil:
			return 0, invalid(text)
		case n > uint64(math.MaxInt64/Day):
			return 0, errTooLong
		}
		whole, rest = time.Duration(n)*Day, after
	}
	if rest == "" && text != "" {
		return whole, nil
	}
	d, err := time.ParseDuration(rest)
	switch {
	case err != nil || rest[0] == '+' || rest[0] == '-' && d == 0:
		return 0, invalid(text)
	case d < 0:
		return 0, fmt.Errorf("%.40q is less than 0", text)
	case whole+d < whole:
		return 0, errTooLong
	}
	return whole + d, nil
}

var errTooLong = errors.New("it is longer than 292 years")

func invalid(text string) error {
	return fmt.Errorf("%.40q is not a duration such as 7d, 1d12h or 36h", text)
}

// Format writes a span as Parse reads it.
func Format(d time.Duration) string {
	switch days := d / Day; {
	case days == 0:
		return d.String()
	case d%Day == 0:
		return fmt.Sprintf("%dd", days)
	default:
		return fmt.Sprintf("%dd%s", days, d%Day)
	}
}
