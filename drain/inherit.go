package drain

import (
	"maps"
	"slices"

	"rebootd.dev/daemon/api"
)

// inherit adds to a report what an earlier, interrupted run of the same drain had
// seen: what is no longer on the node has been drained.
func inherit(r, earlier *api.Report) {
	if earlier == nil || earlier.ID != r.ID {
		return
	}
	r.Started = earlier.Started
	r.TakeUnknown(earlier)
	seen := map[string]bool{}
	unclaimed := map[api.Mark]api.Outcome{} // pods of this run that the earlier one may have left out
	for _, p := range r.Pods {
		seen[p.UID] = true
		unclaimed[api.MarkOf(p.UID)] = p.Outcome
	}
	known := map[api.Outcome]int{} // how many of the earlier totals stand for pods that are known
	told := map[api.Mark]bool{}
	for _, p := range earlier.Pods {
		known[p.Outcome]++
		told[api.MarkOf(p.UID)] = true
		delete(unclaimed, api.MarkOf(p.UID))
		if seen[p.UID] {
			continue
		}
		if p.Outcome == api.OutcomeFailed {
			p.Outcome, p.Reason, p.Message = api.OutcomeDrained, "", ""
		}
		r.Totals[p.Outcome]++
		r.Pods = append(r.Pods, p)
	}
	for _, o := range slices.Sorted(maps.Keys(earlier.LeftOut)) { // the same facts give the same report
		for _, m := range earlier.LeftOut[o] {
			if told[m] {
				continue // a version that does not know the marks has kept them
			}
			known[o]++
			if _, here := unclaimed[m]; here {
				delete(unclaimed, m)
				continue
			}
			leaveOut(r, o, m)
		}
	}
	inheritUncounted(r, earlier, known, unclaimed)
}

// inheritUncounted adds pods of which only the earlier totals are known: that report was
// written by a version without marks, or there were too many. Those that are still here
// are among the unclaimed ones.
func inheritUncounted(r, earlier *api.Report, known map[api.Outcome]int, unclaimed map[api.Mark]api.Outcome) {
	skipped, others := 0, 0
	for _, o := range unclaimed {
		if o == api.OutcomeSkipped {
			skipped++
		} else {
			others++
		}
	}
	for o, n := range earlier.Totals {
		n = min(n, maxCount) - known[o]
		switch o {
		case api.OutcomeSkipped:
			n -= skipped
		case api.OutcomeFailed:
			n -= others
			o = api.OutcomeDrained
		}
		r.Totals[o] += max(0, n)
	}
}

// maxCount is more pods than a node has in any drain. Larger numbers in an annotation
// are not believed.
const maxCount = 1 << 20

// leaveOut counts a pod for which the earlier report had no room. One that was still
// there then is gone by now.
func leaveOut(r *api.Report, o api.Outcome, m api.Mark) {
	if o == api.OutcomeFailed {
		o = api.OutcomeDrained
	}
	r.Totals[o]++
	if r.LeftOut == nil {
		r.LeftOut = api.Marks{}
	}
	r.LeftOut[o] = append(r.LeftOut[o], m)
}
