package daemon

import (
	"time"

	"rebootd.dev/daemon/api"
)

const (
	// tellsAtOnce is how often people are told something new within one phase of an operation
	// before that is slowed down to one each tellsEvery: words that keep changing, such as
	// those of a gate that goes to and fro, are not written to the API server each time.
	tellsAtOnce = 12
	tellsEvery  = 5 * time.Minute
)

// allowance is how often people may still be told something new within one phase of an
// operation. The zero allowance is whole.
type allowance struct {
	of    string    // which phase of which operation
	whole time.Time // when all is there again
}

// due is when one may be spent; of is the record.
func (a *allowance) due(of *api.Record) time.Time {
	if a.of != phaseKey(of) {
		return time.Time{}
	}
	return a.whole.Add(-(tellsAtOnce - 1) * tellsEvery)
}

// spend spends one.
func (a *allowance) spend(of *api.Record, now time.Time) {
	if key := phaseKey(of); a.of != key {
		*a = allowance{of: key}
	}
	if a.whole.Before(now) {
		a.whole = now
	}
	a.whole = a.whole.Add(tellsEvery)
}

// phaseKey tells the phases of operations apart.
func phaseKey(r *api.Record) string {
	if r == nil {
		return "idle"
	}
	return r.ID + " " + string(r.Phase)
}
