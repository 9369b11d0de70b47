package days

import (
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "0d": 0, "7d": 7 * Day, "1d12h": 36 * time.Hour, "36h": 36 * time.Hour, "1d0s": Day, "1d30m15s": Day + 30*time.Minute + 15*time.Second,
		"1.5h": 90 * time.Minute, "007d": 7 * Day, "106751d": 106751 * Day, "1d24h": 2 * Day,
	} {
		if got, err := Parse(text); got != want || err != nil {
			t.Errorf("%q: %s %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "d", "7", "-1d", "+1d", "1.5d", "1d-1h", "1d+1h", "-1h", "-0s", "+1h", "1h1d", "1d1d", "1 d", "7d ", " 7d", "7D", "106752d", "99999999999999999999d", "1w", "x", "106751d24h", "1d2562047h", "1d d", "0x1d",
	} {
		if got, err := Parse(text); err == nil {
			t.Errorf("%q: %s, want an error", text, got)
		}
	}
}

func TestFormat(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Minute: "1m0s", Day: "1d", 7 * Day: "7d", 36 * time.Hour: "1d12h0m0s", Day + time.Second: "1d1s",
	} {
		if got := Format(d); got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
}

// What is written is read again, and nothing that is read is negative.
func FuzzDays(f *testing.F) {
	for _, s := range []string{"7d", "1d12h", "0", "36h", "-1d", "1d1.5h", "d", "65535d27h", "106751d24h"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Parse(text)
		if err != nil {
			return
		}
		if d < 0 {
			t.Errorf("%q is %s", text, d)
		}
		if again, err := Parse(Format(d)); again != d || err != nil {
			t.Errorf("%q: %s is written as %q and read as %s %v", text, d, Format(d), again, err)
		}
	})
}
