package decide

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/days"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/printable"
)

// deadlineWord begins the word of a sentinel that names a deadline.
const deadlineWord = "deadline="

// clockSlack is by how much two readings of a clock and of the uptime may differ.
const clockSlack = time.Minute

// ParseDeadline reads a deadline as people write it: a time by RFC 3339.
func ParseDeadline(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%.60q is not a time by RFC 3339 such as 2026-12-01T00:00:00Z", text)
	}
	t = seconds(t)
	if y := t.Year(); y < 1970 || y > 9999 { // in no zone, and not when it is written down
		return time.Time{}, fmt.Errorf("%.60q is not a time of the years 1970 to 9999", text)
	}
	return t, nil
}

// seconds is a time in whole seconds, none earlier: what is written down is what counts.
func seconds(t time.Time) time.Time {
	whole := t.UTC().Truncate(time.Second)
	if whole.Before(t) {
		whole = whole.Add(time.Second)
	}
	return whole
}

// noteDeadline takes in what a sentinel says of the deadline, anywhere among its words: a
// time, or a span from when the request was first seen. Of several the earliest counts.
func (q *Request) noteDeadline(s Sentinel) {
	for _, word := range strings.Fields(s.Content) {
		value, is := strings.CutPrefix(word, deadlineWord)
		if !is {
			continue
		}
		if within, err := days.Parse(value); err == nil && within > 0 {
			q.DeadlineWithin = time.Duration(earliest(int64(q.DeadlineWithin), int64(within)))
		} else if at, err := ParseDeadline(value); err == nil {
			q.DeadlineAt = sooner(q.DeadlineAt, at)
		} else {
			q.Invalid = append(q.Invalid, fmt.Sprintf("%s has the word %.60q, which is ignored: a deadline is a time by RFC 3339 such as 2026-12-01T00:00:00Z, or a duration such as 24h or 7d", s.Path, word))
		}
	}
}

// earliest is the lower of two numbers that are not 0.
func earliest(a, b int64) int64 {
	if a == 0 || b == 0 {
		return cmp.Or(a, b)
	}
	return min(a, b)
}

// sooner is the earlier of two times that are not zero.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// bootedAt is when the machine booted, by the clock as it is set at present.
func bootedAt(f Facts) time.Time { return f.Wall().Add(-f.Uptime) }

// isStale says of a time that people have named that the machine has been rebooted since:
// it was for that reboot, and is left from it. What the record has, which is of this boot,
// is not, whatever the clock says.
func isStale(by time.Time, r *api.Record, f Facts) bool {
	return !by.IsZero() && by.Before(bootedAt(f)) && !seconds(by).Equal(r.Deadline)
}

// deadline is by when the reboot is to begin, whatever soft gates say; zero: there is
// none. r has seen the request.
func deadline(p Policy, r *api.Record, f Facts) time.Time {
	q := f.Request
	switch {
	case !q.Wanted: // as far as is known
		return r.Deadline
	case !q.DeadlineByPeople.IsZero() && !isStale(q.DeadlineByPeople, r, f):
		return seconds(q.DeadlineByPeople)
	}
	var by time.Time
	if !isStale(q.DeadlineAt, r, f) {
		by = q.DeadlineAt
	}
	if within := earliest(int64(p.Deadline), int64(q.DeadlineWithin)); within > 0 {
		by = sooner(by, counted(r, time.Duration(within), f))
	}
	if by.IsZero() {
		return by
	}
	return seconds(by)
}

// counted is a deadline that is counted from when the request was first seen. A record of
// this boot that is older than the boot was written before the clock was set: then it counts
// from the boot. Two readings of that are never the same, and so what has been noted stays.
func counted(r *api.Record, within time.Duration, f Facts) time.Time {
	from, booted := r.Requested, bootedAt(f)
	isEarly := from.Before(booted.Add(clockSlack))
	if from.Before(booted.Add(-clockSlack)) {
		from = booted
	}
	by := from.Add(within)
	if isEarly && by.Sub(r.Deadline).Abs() < 2*clockSlack {
		return r.Deadline
	}
	return by
}

// due is the deadline of a node that has not been rebooted yet; zero: there is none.
func due(p Policy, r *api.Record, f Facts) time.Time {
	switch {
	case r == nil && !f.Request.Wanted, r != nil && startedOver(r, f):
		return time.Time{}
	case r == nil:
		r = &api.Record{Requested: f.Wall()}
	}
	return deadline(p, r, f)
}

// overdue says whether the deadline has come: by is the deadline, zero for none.
func overdue(by time.Time, f Facts) bool { return !by.IsZero() && !f.Wall().Before(by) }

// passedOver are the soft gates that are closed and are not waited for any more.
type passedOver []gate.Status

func (o passedOver) reasons() string {
	var parts []string
	for _, g := range o {
		parts = append(parts, string(g.Reason))
	}
	return strings.Join(parts, ", ")
}

func (o passedOver) words() string {
	var parts []string
	for _, g := range o {
		parts = append(parts, fmt.Sprintf("%s (%s)", g.Reason, printable.Line(g.Why, maxWhy/2)))
	}
	return strings.Join(parts, ", ")
}

// override opens the soft gates once the deadline has come.
func override(p Policy, r *api.Record, f Facts) (_ Facts, passed passedOver) {
	if !overdue(due(p, r, f), f) {
		return f, nil
	}
	var gates []gate.Status
	for _, g := range f.Gates {
		if g.Soft && g.State != gate.Open {
			if g.State == gate.Closed {
				passed = append(passed, g)
			}
			g.Verdict = gate.Verdict{State: gate.Open, Note: g.Note}
		}
		gates = append(gates, g)
	}
	f.Gates = gates
	return f, passed
}

// announce tells people of the deadline, ahead and when it has passed, with what they should
// know besides, and has the decision made again when it comes.
func announce(p Policy, r *api.Record, f Facts, passed passedOver, s Step) Step {
	if r == nil || !undisturbed(r) {
		return s
	}
	by, waits := due(p, r, f), s.Do == DoWait || s.Do == DoClaim
	switch {
	case s.Do == DoCordon && len(passed) > 0:
		s.Message += fmt.Sprintf("; the deadline of %s has passed, so these were not waited for: %s", by.Format(time.RFC3339), passed.words())
	case !waits:
	case by.After(f.Wall()):
		s.More, s.Until = joined(s.More, "the deadline is "+by.Format(time.RFC3339)), sooner(s.Until, f.due(by))
	case !by.IsZero():
		s.More = joined(s.More, "the deadline of "+by.Format(time.RFC3339)+" has passed")
		if len(passed) > 0 {
			s.More += ", so these are not waited for: " + passed.reasons()
		}
	}
	if waits {
		s.More = joined(s.More, strings.Join(slices.Concat(warnings(r, f), f.Request.Invalid, f.Notices), "; "))
	}
	return s
}

// warnings are what people should know of the deadline that they have set.
func warnings(r *api.Record, f Facts) []string {
	if !isStale(f.Request.DeadlineByPeople, r, f) {
		return nil
	}
	return []string{fmt.Sprintf("the annotation %s has the value %s, which is ignored: the machine has booted since", api.DeadlineAnnotation, f.Request.DeadlineByPeople.UTC().Format(time.RFC3339))}
}

// pauseEnds is when a node that pauses is to try again. A pause that a soft gate was the
// cause of does not outlast the deadline: the gate does not count any more then.
func pauseEnds(p Policy, r *api.Record, f Facts) time.Time {
	by := due(p, r, f)
	softly := r.Deferrals > 0 && r.Failure != nil && slices.ContainsFunc(f.Gates, func(g gate.Status) bool { return g.Soft && g.Reason == r.Failure.Reason })
	if softly && !by.IsZero() && f.due(by).Before(r.NotBefore) {
		return f.due(by)
	}
	return r.NotBefore
}

// NextTry is when the node tries again by itself: after a failure, a turn that it could make
// no use of, or a write that the API server has refused; zero: it does not wait for that.
func NextTry(p Policy, r *api.Record, f Facts) time.Time {
	if f.Now.Before(f.Refused.Until) {
		return f.Refused.Until
	}
	if r.Phase != api.PhaseWaiting {
		return time.Time{}
	}
	if end := pauseEnds(p, r, f); inPause(r, end, f) {
		return end
	}
	return time.Time{}
}
