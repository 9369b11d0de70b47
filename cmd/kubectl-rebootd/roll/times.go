package roll

import (
	"time"

	"rebootd.dev/daemon/api"
)

// Span names how long a part of an operation took.
type Span int

// The spans, each between two times of the summary.
const (
	Waited  Span = iota // from the request until the cordon: gates, and the queue
	InQueue             // from the queue until the cordon
	Drain               // from the cordon until the node was drained
	Down                // from the order until the daemon ran in the next boot
	Verify              // from there until the node was put back
	Out                 // out of service: from the cordon until the node was put back
	Total               // from the request until the node was put back

	spanCount = iota
)

// Unknown is the length of a span of which an end is not known: the operation has not come
// that far, an older version has not noted it, or a clock was set.
const Unknown time.Duration = -1

// Span is how long a part of the operation took, so far if it is under way in that part.
// [Unknown] where that cannot be said.
func (o Operation) Span(s Span) time.Duration { return o.spans[s] }

// Slack is how far the clock of a node may be ahead of ours.
const Slack = 5 * time.Minute

// measure leaves out the times that cannot be true and measures between the others. Times
// are by the machine's clock, which may have been set in between: of the times, as many stay
// as are in order, and of as many those that are later in the operation.
func (o *Operation) measure() {
	steps := o.steps()
	for _, t := range append(steps, &o.Halted) {
		*t = t.Truncate(time.Second)                     // some are noted to the second, and would seem to come before others
		if t.Year() < 2015 || t.After(o.At.Add(Slack)) { // no clock, or one that is far ahead
			*t = time.Time{}
		}
	}
	inOrder(steps)
	if o.Halted.Before(latest(o.Requested, o.Queued, o.Cordoned, o.Drained, o.Ordered)) || !o.Ended.IsZero() && o.Halted.After(o.Ended) {
		o.Halted = time.Time{}
	}
	now := func(phases ...api.Phase) time.Time {
		for _, p := range phases {
			if o.UnderWay && o.Phase == p {
				return o.At
			}
		}
		return time.Time{}
	}
	end := o.Ended
	if o.UnderWay {
		end = o.At
	}
	verified := end
	if o.IsHalted() {
		verified = time.Time{} // a person is awaited, not the node
	}
	o.spans = [spanCount]time.Duration{
		Waited:  between(o.Requested, o.Cordoned, now(api.PhaseWaiting, api.PhaseQueued)),
		InQueue: between(o.Queued, o.Cordoned, now(api.PhaseQueued)),
		Drain:   between(o.Cordoned, o.Drained, now(api.PhaseDraining)),
		Down:    between(o.Ordered, o.Back, now(api.PhaseRebooting)),
		Verify:  between(o.Back, verified, time.Time{}),
		Out:     between(o.Cordoned, end, time.Time{}),
		Total:   between(o.Requested, end, time.Time{}),
	}
}

// steps are the times of an operation in the order in which they come.
func (o *Operation) steps() []*time.Time {
	return []*time.Time{&o.Requested, &o.Queued, &o.Cordoned, &o.Drained, &o.Ordered, &o.Back, &o.Ended}
}

// between is from one time to another, which is now for what still lasts.
func between(from, to, now time.Time) time.Duration {
	if to.IsZero() {
		to = now
	}
	if from.IsZero() || to.Before(from) {
		return Unknown
	}
	return to.Sub(from).Round(time.Second)
}

// inOrder makes times zero so that the others do not decrease, as few as possible, and of
// as few the earlier ones in the list.
func inOrder(times []*time.Time) {
	best := make([]int, len(times)) // how many stay, with times[i] as the first of them
	next := make([]int, len(times))
	first := -1
	for i := len(times) - 1; i >= 0; i-- {
		if times[i].IsZero() {
			continue
		}
		best[i], next[i] = 1, -1
		for j := len(times) - 1; j > i; j-- {
			if !times[j].IsZero() && !times[j].Before(*times[i]) && best[j]+1 > best[i] {
				best[i], next[i] = best[j]+1, j
			}
		}
		if first < 0 || best[i] > best[first] {
			first = i
		}
	}
	for i := range times {
		if i == first {
			first = next[i]
			continue
		}
		*times[i] = time.Time{}
	}
}

func latest(times ...time.Time) (out time.Time) {
	for _, t := range times {
		if t.After(out) {
			out = t
		}
	}
	return out
}

// Stage is what a node does in a stretch of an operation.
type Stage int

// The stages, in the order of an operation.
const (
	StageWaiting   Stage = iota // gates
	StageQueued                 // for a slot
	StageDraining               // cordoned, until the order
	StageDown                   // from the order until the next boot's daemon ran
	StageVerifying              // until the node is put back
	StageHalted                 // it has halted; a person is needed
)

// Stretch is a stage of an operation with its times.
type Stretch struct {
	Stage    Stage
	From, To time.Time
	Open     bool // it still lasts; To is now
}

// Stretches are the stages of an operation one after the other. What no time is known of
// is left out, and the stage before it reaches that far.
func (o Operation) Stretches() (out []Stretch) {
	end := o.Ended
	if o.UnderWay {
		end = o.At
	}
	begin := func(stage Stage, at time.Time) {
		if at.IsZero() || !end.IsZero() && at.After(end) {
			return
		}
		if n := len(out); n > 0 {
			out[n-1].To = at
		}
		out = append(out, Stretch{Stage: stage, From: at, To: at})
	}
	begin(StageWaiting, o.Requested)
	begin(StageQueued, o.Queued)
	begin(StageDraining, o.Cordoned)
	if o.Cordoned.IsZero() {
		begin(StageDraining, o.Drained)
	}
	begin(StageDown, o.Ordered)
	halted := o.Halted
	if !o.Back.IsZero() && halted.Before(o.Back) {
		begin(StageHalted, halted)
		halted = time.Time{}
	}
	begin(StageVerifying, o.Back)
	begin(StageHalted, halted)
	if n := len(out); n > 0 && !end.IsZero() {
		out[n-1].To, out[n-1].Open = end, o.UnderWay
	}
	return out
}
