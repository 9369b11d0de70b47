package drain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"rebootd.dev/daemon/api"
)

// Progress is how far a drain has come.
type Progress struct {
	Listed bool // every pod of the node was seen once
	// ClockStart is the moment at which the drain's own clock stood at zero: Options.Ran
	// before the first list was seen. Zero until then. At any time, time.Since(ClockStart)
	// is for how long the drain has run: the value has a monotonic reading, which changes
	// of the machine's clock do not move.
	ClockStart time.Time
	// UnlistedSince is when this run began to request its first list, with a monotonic
	// reading. Zero once it has one.
	UnlistedSince time.Time

	Drained bool // at present
	// Counts has the pods by state (pending, evicting, terminating) and outcome;
	// together they are all pods that were seen.
	Counts map[string]int
	// Total is how many pods have to leave the node, and Left how many of them are still
	// there.
	Total, Left int
	// Blocked are the pods whose eviction does not proceed as usual, sorted.
	Blocked []Blocked
	// Summary is short and changes only when something changes for people: what
	// is blocked and why, or, when drained, the totals.
	Summary string
	// Detail is how many pods are left; it changes with each that leaves.
	Detail string
	Report *api.Report
}

// Blocked is a pod whose eviction does not proceed, and why.
type Blocked struct {
	Namespace, Name string
	Reason          api.PodReason
	Message         string    // one sentence
	Since           time.Time // its eviction has not proceeded
}

// States lists the labels that Counts may have.
func States() []string {
	out := []string{"pending", "evicting", "terminating"}
	for _, o := range api.Outcomes() {
		out = append(out, string(o))
	}
	return out
}

// progress is how far the drain has come; finished is since when the node is drained,
// zero if it is not.
func (c *core) progress(id string, now, finished time.Time) Progress {
	p := Progress{Listed: c.listed, ClockStart: c.clockStart, Drained: !finished.IsZero(), Counts: map[string]int{}}
	if !c.listed {
		p.UnlistedSince = c.started
	}
	for _, s := range States() {
		p.Counts[s] = 0
	}
	p.Total = len(c.order)
	for _, t := range c.order {
		switch t.state {
		case done:
			p.Counts[string(t.outcome)]++
			if t.outcome == api.OutcomeSkipped {
				p.Total--
			}
			continue
		case pending:
			p.Counts["pending"]++
		case evicting:
			p.Counts["evicting"]++
		case terminating:
			p.Counts["terminating"]++
		}
		p.Left++
		if d := c.diagnose(t, now); d.notable {
			p.Blocked = append(p.Blocked, Blocked{Namespace: t.namespace, Name: t.name, Reason: d.reason, Message: d.message, Since: d.since})
		}
	}
	slices.SortFunc(p.Blocked, func(a, b Blocked) int {
		return cmp.Or(cmp.Compare(urgency(a.Reason), urgency(b.Reason)), cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Message, b.Message),
			cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	p.Detail = fmt.Sprintf("%d of %d pods left", p.Left, p.Total)
	p.Report = c.report(id, now, finished)
	p.Summary = summarize(p.Blocked)
	return p
}

// urgency puts first what lasts until a person does something about it.
func urgency(r api.PodReason) int {
	if r.Info().Permanent {
		return 0
	}
	return 1
}

func totals(t map[api.Outcome]int) string {
	var parts []string
	for _, o := range api.Outcomes() {
		if t[o] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", t[o], o))
		}
	}
	if len(parts) == 0 {
		return "no pods"
	}
	return strings.Join(parts, ", ")
}

// maxGroups is how many reasons are named where there are more.
const maxGroups = 5

// summarize says in a few words what is blocked and why. blocked is sorted, so
// the same facts give the same words.
func summarize(blocked []Blocked) string {
	var groups []string
	for i := 0; i < len(blocked); {
		b := blocked[i]
		n := 0
		for i+n < len(blocked) && blocked[i+n].Reason == b.Reason && blocked[i+n].Message == b.Message {
			n++
		}
		var names []string
		for _, x := range blocked[i : i+n] {
			names = append(names, x.Namespace+"/"+x.Name)
		}
		word := string(b.Reason)
		if b.Reason.Info().Permanent {
			word += ", needs manual action"
		}
		groups = append(groups, fmt.Sprintf("%s: %s (%s)", shortList(names), b.Message, word))
		i += n
	}
	if more := len(groups) - maxGroups; more > 0 {
		groups = append(groups[:maxGroups], fmt.Sprintf("and %d more reasons", more))
	}
	return strings.Join(groups, "; ")
}

// report is the outcome of each pod so far; a pod that is still there counts as
// failed.
func (c *core) report(id string, now, finished time.Time) *api.Report {
	r := &api.Report{V: api.ReportSchema, ID: id, Started: c.started.UTC(), Finished: finished.UTC(), Totals: map[api.Outcome]int{}}
	for _, o := range api.Outcomes() {
		r.Totals[o] = 0
	}
	for _, t := range c.order {
		p := api.PodReport{Namespace: t.namespace, Name: t.name, UID: string(t.uid), Outcome: t.outcome, Reason: t.note.reason, Message: t.note.message, To: t.movedTo}
		end := t.endedAt
		if t.state != done {
			p.Outcome, end = api.OutcomeFailed, now
			p.Reason, p.Message = api.PodEvicting, "is being evicted"
			if d := c.diagnose(t, now); d.reason != "" {
				p.Reason, p.Message = d.reason, d.message
			}
		}
		if t.invalid != "" {
			p.Message = strings.TrimPrefix(p.Message+"; "+t.ignored(), "; ")
		}
		p.Seconds = end.Sub(t.firstSeen).Round(time.Millisecond).Seconds()
		r.Totals[p.Outcome]++
		r.Pods = append(r.Pods, p)
	}
	return r
}
