package daemon

import (
	"encoding/json"
	"errors"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
)

// historyToWrite is the history that goes with a step, with the operation that ends with
// it; "" if it is to stay as it is.
func (d *Daemon) historyToWrite(s decided) string {
	if s.step.Summary == nil {
		return ""
	}
	h := d.historyNow(s.node.history)
	if h == nil {
		return ""
	}
	sum := *s.step.Summary
	addPods(&sum, d.reportOf(s))
	h.Add(sum)
	data, err := json.Marshal(h)
	if err != nil {
		d.cfg.Log.Error().Err(err).Msg("the history cannot be encoded; leaving it as it is")
		return ""
	}
	return string(data)
}

// historyNow is the history that the Node has, nil if it is to be left alone.
func (d *Daemon) historyNow(text string) *api.History {
	if text == "" {
		return new(api.History)
	}
	h, err := api.ParseHistory([]byte(text))
	if err == nil {
		return h
	}
	newer := errors.Is(err, api.ErrHistoryTooNew)
	if d.badHistory != text {
		d.badHistory = text
		does := "replacing it"
		if newer {
			does = "leaving it as it is"
		}
		d.cfg.Log.Warn().Err(err).Str("annotation", api.HistoryAnnotation).Msg("the history on the Node cannot be read; " + does)
	}
	if newer {
		return nil
	}
	return new(api.History)
}

// reportOf is the report of the record's operation, nil if there is none.
func (d *Daemon) reportOf(s decided) *api.Report {
	if r := d.stages.report(s.record); r != nil {
		return r
	}
	if l := s.node.last; !l.read || l.id != s.record.ID {
		return nil
	}
	r, err := api.ParseReport([]byte(s.node.report))
	if err != nil {
		return nil
	}
	return r
}

// maxName is how long the name of an object may be, in bytes.
const maxName = 253

// addPods adds what a drain came to.
func addPods(sum *api.Summary, r *api.Report) {
	if r == nil || r.Started.IsZero() {
		return
	}
	sum.Totals = map[api.Outcome]int{}
	for _, o := range api.Outcomes() {
		sum.Totals[o] = max(0, r.Totals[o])
	}
	for _, o := range []api.Outcome{api.OutcomeFailed, api.OutcomeForceStopped} {
		for _, p := range r.Pods {
			if p.Outcome == o {
				sum.Pods = append(sum.Pods, api.SummaryPod{
					Namespace: printable.Line(p.Namespace, maxName), Name: printable.Line(p.Name, maxName), Outcome: p.Outcome, Reason: api.PodReason(printable.Line(string(p.Reason), maxName)),
				})
			}
		}
	}
}
