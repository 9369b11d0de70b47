package daemon

import (
	"testing"
	"time"
)

// A refusal is certain when it has lasted; one from long before does not count, unless
// it was certain.
func TestDoubt(t *testing.T) {
	t0 := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		refuses int
		at      []time.Duration // refusals
		want    bool            // the last one is certain
	}{
		"one":                           {0, []time.Duration{0}, false},
		"for eight seconds":             {0, []time.Duration{0, 2 * time.Second, 8 * time.Second}, false},
		"for ten seconds":               {0, []time.Duration{0, 4 * time.Second, 10 * time.Second}, true},
		"one an hour ago, and now":      {0, []time.Duration{0, time.Hour}, false},
		"certain a pause ago, and now":  {1, []time.Duration{0, 8 * time.Second, time.Minute}, true},
		"doubted an hour ago, and long": {0, []time.Duration{0, time.Hour, time.Hour + 5*time.Second, time.Hour + 10*time.Second}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := stepper{refuses: c.refuses}
			if c.refuses > 0 {
				s.doubted, s.doubtedLast = t0, t0
			}
			got := false
			for _, d := range c.at {
				got = s.doubt(t0.Add(d))
			}
			if got != c.want {
				t.Errorf("certain %t, want %t", got, c.want)
			}
		})
	}
}
