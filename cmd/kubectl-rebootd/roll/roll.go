package roll

import (
	"cmp"
	"slices"
	"time"

	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
)

// Roll is what became of the nodes of a fleet in a period.
type Roll struct {
	// Since is when the period begins, zero: as far back as is remembered. At is its end.
	Since, At time.Time
	Nodes     int // that were looked at
	// Operations are those that are under way, or have ended in the period, the latest first.
	Operations []Operation
	// Unread are the nodes whose history cannot be read, by name.
	Unread []Unread
	// Older are nodes whose daemon has written no history, and has had something to do.
	Older []string
}

// Unread is a node whose history cannot be read.
type Unread struct{ Node, Why string }

// Build reads the operations of nodes.
func Build(nodes []fleet.Node, since, now time.Time) Roll {
	r := Roll{Since: since, At: now, Nodes: len(nodes)}
	for _, n := range nodes {
		operations, err := Of(n, now)
		if n.RecordErr != nil {
			err = cmp.Or(err, n.RecordErr)
		}
		if err != nil {
			r.Unread = append(r.Unread, Unread{printable.Line(n.Name, maxWord), printable.Line(err.Error(), maxSentence)})
		}
		for _, o := range operations {
			// One of which no time is known is shown: that it is old is not known, too.
			if last := o.Last(); last.IsZero() || !last.Before(since) {
				r.Operations = append(r.Operations, o)
				if o.Older {
					r.Older = append(r.Older, o.Node)
				}
			}
		}
	}
	slices.SortStableFunc(r.Operations, newest)
	slices.SortFunc(r.Unread, func(a, b Unread) int { return cmp.Compare(a.Node, b.Node) })
	slices.Sort(r.Older)
	return r
}

// Those are the operations of which something is true, in their order.
func (r Roll) Those(is func(Operation) bool) (out []Operation) {
	for _, o := range r.Operations {
		if is(o) {
			out = append(out, o)
		}
	}
	return out
}

// Totals are the outcomes of all pods.
func (r Roll) Totals() map[api.Outcome]int {
	out := map[api.Outcome]int{}
	for _, o := range r.Operations {
		for outcome, n := range o.Totals {
			out[outcome] += n
		}
	}
	return out
}

// Pod is a pod that was force-stopped, or that failed, and where.
type Pod struct {
	api.SummaryPod
	Node string
}

// Pods are those of an outcome that are named, and how many there are besides.
func (r Roll) Pods(outcome api.Outcome) (pods []Pod, others int) {
	for _, o := range r.Operations {
		named := 0
		for _, p := range o.Pods {
			if p.Outcome == outcome {
				pods = append(pods, Pod{p, o.Node})
				named++
			}
		}
		others += max(0, o.Totals[outcome]-named)
	}
	slices.SortFunc(pods, func(a, b Pod) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return pods, others
}

// Kernels is a change of kernels, and how many reboots have brought it.
type Kernels struct {
	From, To string
	Reboots  int
}

// Kernels are the changes that verified reboots have brought, the most frequent first.
// Reboots of which no kernel is known are left out.
func (r Roll) Kernels() (out []Kernels) {
	for _, o := range r.Operations {
		if !o.Rebooted() || o.Kernel == "" || o.NewKernel == "" {
			continue
		}
		i := slices.IndexFunc(out, func(k Kernels) bool { return k.From == o.Kernel && k.To == o.NewKernel })
		if i < 0 {
			i = len(out)
			out = append(out, Kernels{From: o.Kernel, To: o.NewKernel})
		}
		out[i].Reboots++
	}
	slices.SortFunc(out, func(a, b Kernels) int {
		return cmp.Or(cmp.Compare(b.Reboots, a.Reboots), cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To))
	})
	return out
}

// Longest are the n operations whose span was the longest, the longest first, and the
// median of all.
func (r Roll) Longest(s Span, n int) (out []Operation, median time.Duration) {
	out = r.Those(func(o Operation) bool { return o.Span(s) != Unknown })
	slices.SortStableFunc(out, func(a, b Operation) int {
		return cmp.Or(cmp.Compare(b.Span(s), a.Span(s)), cmp.Compare(a.Node, b.Node))
	})
	if len(out) == 0 {
		return nil, Unknown
	}
	return out[:min(n, len(out))], out[len(out)/2].Span(s)
}

// Group is operations that were out of service at about the same time.
type Group struct {
	From, To   time.Time
	Operations []Operation // in the order of their begin
}

// quiet is how long nothing is to happen between two groups.
const quiet = 3 * time.Hour

// Groups are the operations in which a node was out of service, in groups with at least
// three hours in between in which none was. Of more than most, those groups are put together
// that are next to each other in time.
func (r Roll) Groups(most int) []Group {
	timed := r.Those(Operation.Touched)
	slices.SortStableFunc(timed, func(a, b Operation) int {
		return cmp.Or(a.Begin().Compare(b.Begin()), cmp.Compare(a.Node, b.Node))
	})
	var out []Group
	for _, o := range timed {
		from, to := o.Begin(), o.Last()
		if n := len(out); n > 0 && from.Sub(out[n-1].To) < quiet {
			out[n-1].Operations = append(out[n-1].Operations, o)
			out[n-1].To = latest(out[n-1].To, to)
			continue
		}
		out = append(out, Group{from, to, []Operation{o}})
	}
	for len(out) > max(1, most) {
		near := 1
		for i := 2; i < len(out); i++ {
			if out[i].From.Sub(out[i-1].To) < out[near].From.Sub(out[near-1].To) {
				near = i
			}
		}
		out[near-1].Operations = append(out[near-1].Operations, out[near].Operations...)
		out[near-1].To = out[near].To
		out = slices.Delete(out, near, near+1)
	}
	return out
}
