// Package roll is what the operations of a fleet's nodes have come to, read into one value
// for history and report: [Build]. It is pure, and has no rule: what it says is what the
// daemons have written, with the times left out that cannot be true.
package roll

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
)

// Operation is one operation of one node, over or under way.
type Operation struct {
	Node string
	// Summary is what the daemon has written, with printable words. A time is zero also
	// where it cannot be true: see [Operation.Span].
	api.Summary
	// UnderWay says that it has not ended; Phase and Since are then of its record.
	UnderWay bool
	Phase    api.Phase
	Since    time.Time
	// Older says that an older version has left no more than the report of its last drain.
	Older bool
	// At is when this was looked at.
	At time.Time

	spans [spanCount]time.Duration
}

const (
	maxWord     = 256  // bytes of a name
	maxSentence = 1000 // bytes of a message
)

// Of is the operations of a node, the latest first, and why its history cannot be read.
// Without a history that can be read it is what an older version leaves: the report.
func Of(n fleet.Node, now time.Time) ([]Operation, error) {
	var out []Operation
	report := n.Report()
	if n.Record != nil {
		out = append(out, underWay(n, report))
	}
	summaries, err := n.History()
	for _, s := range summaries {
		if n.Record == nil || s.ID != n.Record.ID {
			out = append(out, Operation{Summary: s})
		}
	}
	if len(summaries) == 0 && report != nil && (n.Record == nil || report.ID != n.Record.ID) {
		if s, ok := ofReport(report); ok {
			out = append(out, Operation{Summary: s, Older: true})
		}
	}
	for i := range out {
		o := &out[i]
		o.Node, o.At = printable.Line(n.Name, maxWord), now
		o.clean()
		o.measure()
	}
	return out, err
}

// underWay is what the record says of its operation.
func underWay(n fleet.Node, report *api.Report) Operation {
	r := n.Record
	o := Operation{UnderWay: true, Phase: r.Phase, Since: r.Since, Summary: api.Summary{
		ID: r.ID, Request: r.Request, Requested: r.Requested, Failure: r.Failure, Attempts: r.Attempts, Deferrals: r.Deferrals,
		Level: r.Level, BootID: r.BootID, Kernel: r.Kernel,
	}}
	if n.Condition != nil {
		o.Message = n.Condition.Message
	}
	var t api.Times
	if r.Times != nil {
		t = *r.Times
	}
	o.Queued = t.Queued
	if r.Phase == api.PhaseQueued {
		o.Queued = earliest(t.Queued, r.Since)
	}
	if r.Phase == api.PhaseWaiting || r.Phase == api.PhaseQueued {
		return o // what else there is would be of an attempt that has failed
	}
	o.Cordoned, o.Drained, o.Halted = t.Cordoned, t.Drained, t.Halted
	if o.Cordoned.IsZero() && (r.Phase == api.PhaseDraining || r.Phase == api.PhaseRebooting) {
		o.Cordoned = r.DrainBegan()
	}
	if r.Phase != api.PhaseDraining && r.Order != nil {
		o.Ordered = r.Order.At
	}
	if r.Phase == api.PhaseVerifying || r.Phase == api.PhaseHalted {
		o.Back = t.Back
	}
	if r.Phase == api.PhaseVerifying && o.Back.IsZero() {
		o.Back = r.Since
	}
	if r.Phase == api.PhaseHalted && o.Halted.IsZero() {
		o.Halted = r.Since
	}
	if n.BootID != r.BootID {
		o.NewBootID, o.NewKernel = n.BootID, n.Kernel
	}
	if report != nil && report.ID == r.ID {
		o.Totals, o.Pods = report.Totals, notable(report)
	}
	return o
}

// ofReport is what the report of an older version says of its operation, if that has had a
// drain.
func ofReport(r *api.Report) (api.Summary, bool) {
	if r.Started.IsZero() {
		return api.Summary{}, false
	}
	s := api.Summary{ID: r.ID, Cordoned: r.Started, Drained: r.Finished, Totals: r.Totals, Pods: notable(r)}
	if p := r.Past; p != nil && !r.Finished.IsZero() && !p.Verified.Before(r.Finished) {
		s.Ended, s.Result = p.Verified, api.ReasonRebootVerified
		if took := time.Duration(p.Reboot.Last * float64(time.Second)); took > 0 {
			s.Ordered = p.Verified.Add(-took)
			s.Back = s.Ordered.Add(min(took, time.Duration(p.DownSeconds*float64(time.Second))))
		}
	}
	return s, true
}

// notable are the pods of a report that a summary names.
func notable(r *api.Report) (out []api.SummaryPod) {
	for _, p := range r.Pods {
		if p.Outcome == api.OutcomeForceStopped || p.Outcome == api.OutcomeFailed {
			out = append(out, api.SummaryPod{Namespace: p.Namespace, Name: p.Name, Outcome: p.Outcome, Reason: p.Reason})
		}
	}
	return out
}

// clean makes words printable and counts sane, in copies: what is in the annotation may
// have been written by anybody who may edit the Node.
func (o *Operation) clean() {
	line := func(s *string, n int) { *s = printable.Line(*s, n) }
	line(&o.ID, maxWord)
	line(&o.Request, maxSentence)
	line(&o.Message, maxSentence)
	line(&o.BootID, maxWord)
	line(&o.NewBootID, maxWord)
	line(&o.Kernel, maxWord)
	line(&o.NewKernel, maxWord)
	line((*string)(&o.Result), maxWord)
	line((*string)(&o.Level), maxWord)
	if o.Failure != nil {
		o.Failure = &api.Failure{Reason: api.Reason(printable.Line(string(o.Failure.Reason), maxWord)), Message: printable.Line(o.Failure.Message, maxSentence)}
	}
	o.Attempts, o.Deferrals = max(0, o.Attempts), max(0, o.Deferrals)
	o.Totals = maps.Clone(o.Totals)
	maps.DeleteFunc(o.Totals, func(outcome api.Outcome, n int) bool { return n <= 0 || !slices.Contains(api.Outcomes(), outcome) })
	o.Pods = slices.Clone(o.Pods)
	for i := range o.Pods {
		p := &o.Pods[i]
		line(&p.Namespace, maxWord)
		line(&p.Name, maxWord)
		line((*string)(&p.Outcome), maxWord)
		line((*string)(&p.Reason), maxWord)
	}
}

// Moved is how many pods have left the node, by themselves or by force.
func (o Operation) Moved() int {
	return o.Totals[api.OutcomeDrained] + o.Totals[api.OutcomeRelocated] + o.Totals[api.OutcomeForceStopped]
}

// Rebooted says whether the node has rebooted, and was found to be healthy.
func (o Operation) Rebooted() bool { return !o.UnderWay && o.Result == api.ReasonRebootVerified }

// HasHalted says whether it halted, also if it has ended since.
func (o Operation) HasHalted() bool {
	return !o.Halted.IsZero() || o.Phase == api.PhaseHalted || o.Result == api.ReasonRebootOverdue || o.Result == api.ReasonUnhealthy
}

// IsHalted says whether it is halted now.
func (o Operation) IsHalted() bool { return o.UnderWay && o.Phase == api.PhaseHalted }

// Begin is when the node went out of service for it; zero: it has not, or that is unknown.
func (o Operation) Begin() time.Time { return earliest(o.Cordoned, o.Drained, o.Ordered, o.Back) }

// Touched says whether the node went out of service for it.
func (o Operation) Touched() bool { return !o.Begin().IsZero() }

// Waits says whether it is under way and has not touched the node.
func (o Operation) Waits() bool { return o.UnderWay && !o.Touched() && !o.IsHalted() }

// GivenUp says whether the node was out of service for it, and it has ended without a
// verified reboot.
func (o Operation) GivenUp() bool { return !o.UnderWay && !o.Rebooted() && o.Touched() && !o.Older }

// Last is the last moment that is known of it: for one that is under way, now.
func (o Operation) Last() time.Time {
	if o.UnderWay {
		return o.At
	}
	for _, t := range []time.Time{o.Ended, o.Back, o.Ordered, o.Drained, o.Cordoned, o.Queued, o.Requested} {
		if !t.IsZero() {
			return t
		}
	}
	return time.Time{}
}

// newest orders operations: those under way first, then by when they ended. Those of a node
// that ended in the same second are in order already.
func newest(a, b Operation) int {
	under := func(o Operation) int {
		if o.UnderWay {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(under(a), under(b)), b.Last().Compare(a.Last()), cmp.Compare(a.Node, b.Node))
}

func earliest(times ...time.Time) (out time.Time) {
	for _, t := range times {
		if !t.IsZero() && (out.IsZero() || t.Before(out)) {
			out = t
		}
	}
	return out
}
