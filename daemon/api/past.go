package api

import (
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// Past is what the operations of a node have come to, over all starts of the daemon,
// which dies with each reboot. It stands in the report of the last drain, and is carried
// on to the next one. An older version keeps it until its next drain, and loses it then.
type Past struct {
	// Results counts the operations and attempts that have ended, by the reason why.
	Results map[Reason]int `json:"results,omitempty"`
	// Reboots counts those that were ordered and have happened, verified or not.
	Reboots int `json:"reboots,omitempty"`
	// Pods counts the pods of the operations that have ended, by outcome.
	Pods map[Outcome]int `json:"pods,omitempty"`
	// Verified is when a reboot was verified last; zero: none was.
	Verified time.Time `json:"verified,omitzero"`
	// Returned is after how many reboots in a row, up to the last, a sentinel has soon
	// requested the one that followed.
	Returned int `json:"returned,omitempty"`
	// DownSeconds is from the order of the last reboot until the daemon of the next boot
	// had started.
	DownSeconds float64   `json:"downSeconds,omitempty"`
	Drain       Durations `json:"drain,omitzero"`  // the drains that have led to a verified reboot
	Reboot      Durations `json:"reboot,omitzero"` // from the order until the node was verified

	unknown map[string]json.RawMessage
}

// Durations are how long something took, all the times that it was done.
type Durations struct {
	Last float64 `json:"last"` // seconds
	Sum  float64 `json:"sum"`  // seconds
	// Counts are how many there were up to each of DurationBounds, and not up to the one
	// before; at the end, how many were longer than all.
	Counts []int `json:"counts"`
}

// DurationBounds are upper bounds, in seconds.
func DurationBounds() []float64 {
	return []float64{5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200}
}

// pastFields are the JSON names of Past's own fields.
var pastFields = []string{"results", "reboots", "pods", "verified", "returned", "downSeconds", "drain", "reboot"}

// Clone copies it to the last field; a copy of nil is empty.
func (p *Past) Clone() *Past {
	if p == nil {
		p = new(Past)
	}
	c := *p
	c.Results, c.Pods, c.unknown = maps.Clone(p.Results), maps.Clone(p.Pods), maps.Clone(p.unknown)
	c.Drain.Counts, c.Reboot.Counts = slices.Clone(p.Drain.Counts), slices.Clone(p.Reboot.Counts)
	return &c
}

// Ended counts an operation or an attempt.
func (p *Past) Ended(r Reason) {
	if p.Results == nil {
		p.Results = map[Reason]int{}
	}
	p.Results[r]++
}

// Booted counts a reboot.
func (p *Past) Booted() { p.Reboots = p.RebootsTotal() + 1 }

// RebootsTotal is how many reboots there were: at the least those that were verified, of
// which versions have kept count that did not count the others.
func (p *Past) RebootsTotal() int { return max(p.Reboots, p.Reboot.Total()) }

// maxCount is more pods than a node has in any operation: no larger number is believed.
const maxCount = 1 << 20

// Left counts the pods of an operation that has ended.
func (p *Past) Left(totals map[Outcome]int) {
	for _, o := range Outcomes() {
		if n := min(totals[o], maxCount); n > 0 {
			if p.Pods == nil {
				p.Pods = map[Outcome]int{}
			}
			p.Pods[o] += n
		}
	}
}

// Soon is how soon after a verified reboot, at the least, a sentinel that requests the next
// one counts as having come back.
const Soon = 10 * time.Minute

// CameBack says whether a request came within a time after the last verified reboot. p may
// be nil.
func (p *Past) CameBack(requested time.Time, within time.Duration) bool {
	if p == nil || p.Verified.IsZero() {
		return false
	}
	after := requested.Sub(p.Verified)
	return after >= 0 && after < within
}

// Seconds is a duration as the past has it. What a clock that was set back makes negative
// took no time.
func Seconds(d time.Duration) float64 { return max(0, d.Round(time.Millisecond).Seconds()) }

// Add counts one that took d.
func (s *Durations) Add(d time.Duration) {
	bounds := DurationBounds()
	if len(s.Counts) != len(bounds)+1 {
		s.Counts = make([]int, len(bounds)+1)
	}
	s.Last = Seconds(d)
	s.Sum += s.Last
	i, _ := slices.BinarySearch(bounds, s.Last)
	s.Counts[i]++
}

// Total is how many there were.
func (s Durations) Total() (n int) {
	for _, c := range s.Counts {
		n += c
	}
	return n
}

// valid says whether it can be the sum of durations.
func (s Durations) valid() bool {
	negative := slices.ContainsFunc(s.Counts, func(n int) bool { return n < 0 })
	return !negative && s.Last >= 0 && s.Sum >= 0 && (len(s.Counts) == 0 || len(s.Counts) == len(DurationBounds())+1)
}

// UnmarshalJSON reads it. What is no past, or no durations, is as if it were absent: it
// keeps no report from being read.
func (p *Past) UnmarshalJSON(data []byte) error {
	type plain Past
	var read plain
	if json.Unmarshal(data, &read) != nil || json.Unmarshal(data, &read.unknown) != nil {
		return nil
	}
	*p = Past(read)
	for _, k := range pastFields {
		delete(p.unknown, k)
	}
	for _, d := range []*Durations{&p.Drain, &p.Reboot} {
		if !d.valid() {
			*d = Durations{}
		}
	}
	p.DownSeconds, p.Returned = max(0, p.DownSeconds), max(0, p.Returned)
	p.Reboots = max(0, p.Reboots)
	maps.DeleteFunc(p.Results, func(_ Reason, n int) bool { return n < 0 })
	maps.DeleteFunc(p.Pods, func(_ Outcome, n int) bool { return n < 0 })
	return nil
}

// MarshalJSON writes it with the fields of it that this version does not know.
func (p *Past) MarshalJSON() ([]byte, error) {
	type plain Past
	own, err := json.Marshal((*plain)(p))
	if err != nil {
		return nil, err
	}
	return withKept(own, p.unknown)
}
