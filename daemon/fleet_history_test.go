package daemon_test

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
)

// remembered is what the judge reads of a history.
type remembered struct {
	Operations []struct {
		ID, Result                                                 string
		Requested, Queued, Cordoned, Drained, Ordered, Back, Ended time.Time
	}
}

// remembers judges the history of a Node when an operation ends, and that nothing else
// changes it.
func (j *judge) remembers(t *truth, was written, before, after *corev1.Node, by string) {
	const history = "rebootd.dev/history"
	text, old := after.Annotations[history], ""
	if before != nil {
		old = before.Annotations[history]
	}
	if was.ID == "" && t.record.ID != "" {
		t.clocksAtFirst = t.clocks
	}
	ends := by == "rebootd" && was.ID != "" && t.record.ID == ""
	if !ends {
		if text != old {
			j.violated(t.name, "its history has changed, and no operation has ended")
		}
		return
	}
	var h remembered
	if err := json.Unmarshal([]byte(text), &h); err != nil && text != "" {
		j.violated(t.name, "the operation %s has ended, and the history cannot be read: %v", was.ID, err)
		return
	}
	all := h.Operations
	if refused := time.Since(t.refusedAt) < time.Minute; refused && (len(all) == 0 || all[0].ID != was.ID) {
		t.missed++ // it was sent again without the history, and admitted just then
		return
	}
	if len(all) == 0 || all[0].ID != was.ID {
		j.violated(t.name, "the operation %s has ended, and is not the first in the history: %+v", was.ID, all)
		return
	}
	if t.ended == nil {
		t.ended = map[string]string{}
	}
	t.ended[was.ID] = all[0].Result
	seen := map[string]bool{}
	for _, o := range all {
		if seen[o.ID] || t.ended[o.ID] != o.Result {
			j.violated(t.name, "the history has %s of %s; it has ended %q, and is there before: %t", o.Result, o.ID, t.ended[o.ID], seen[o.ID])
		}
		seen[o.ID] = true
		var last time.Time
		for _, at := range []time.Time{o.Requested, o.Queued, o.Cordoned, o.Drained, o.Ordered, o.Back, o.Ended} {
			if at.IsZero() {
				continue
			}
			if at.Before(last) {
				j.violated(t.name, "in the history time goes backwards: %+v", o)
			}
			last = at
		}
	}
	if want := min(len(t.ended), 10); len(all) != want && t.missed == 0 {
		j.violated(t.name, "the history has %d operations of %d that have ended", len(all), len(t.ended))
	}
	if o := all[0]; t.clocks == t.clocksAtFirst && was.disturbed() && (o.Requested.IsZero() || o.Queued.IsZero() || o.Cordoned.IsZero()) {
		j.violated(t.name, "its clock was not set, and the history lacks times: %+v", o)
	}
	j.countsAs(t, after, all[0].Result)
}

// countsAs holds the counters of a Node against its history.
func (j *judge) countsAs(t *truth, after *corev1.Node, last string) {
	var report struct {
		Past struct{ Results map[string]int }
	}
	if err := json.Unmarshal([]byte(after.Annotations["rebootd.dev/report"]), &report); err != nil {
		j.violated(t.name, "the report cannot be read: %v", err)
		return
	}
	counts := map[string]int{}
	for _, result := range t.ended {
		counts[result]++
	}
	// Attempts that failed are counted with the operations.
	if n := report.Past.Results[last]; n < counts[last] || last == "RebootVerified" && n > counts[last]+t.missed {
		j.violated(t.name, "%d operations have ended with %s, and %d are counted", counts[last], last, n)
	}
}

// historyFaults are faults in what is remembered.
var historyFaults = map[string]func(*api.History){
	"forgets an operation": func(h *api.History) {
		if len(h.Operations) > 1 {
			h.Operations = slices.Delete(h.Operations, 1, 2)
		}
	},
	"remembers an operation twice": func(h *api.History) { h.Operations = append(h.Operations, h.Operations[0]) },
	"remembers other times":        func(h *api.History) { h.Operations[0].Queued = h.Operations[0].Ended.Add(time.Hour) },
	"does not remember the cordon": func(h *api.History) { h.Operations[0].Cordoned = time.Time{} },
}

// forgetful changes each history that is written.
type forgetful struct {
	daemon.NodeAPI
	change func(*api.History)
}

func (a forgetful) PatchNode(ctx context.Context, name string, data []byte, subresources ...string) (*corev1.Node, error) {
	var patch map[string]any
	if err := json.Unmarshal(data, &patch); err != nil {
		return nil, err
	}
	meta, _ := patch["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	if text, ok := annotations[api.HistoryAnnotation].(string); ok {
		h, err := api.ParseHistory([]byte(text))
		if err != nil {
			return nil, err
		}
		a.change(h)
		now, err := json.Marshal(h)
		if err != nil {
			return nil, err
		}
		annotations[api.HistoryAnnotation] = string(now)
	}
	data, err := json.Marshal(patch)
	if err != nil {
		return nil, err
	}
	return a.NodeAPI.PatchNode(ctx, name, data, subresources...)
}
