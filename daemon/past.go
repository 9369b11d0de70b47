package daemon

import (
	"encoding/json"
	"slices"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
)

// lastReport is what the daemon keeps of the report on its Node: small, where the report
// is not.
type lastReport struct {
	read   bool   // there is one that can be read
	id     string // of its operation
	took   time.Duration
	done   bool // the node was drained, which took that long
	totals map[api.Outcome]int
	past   *api.Past // nil: nothing is known of it
}

// lastReportOf reads a report, unless the Node as it was before had the same one.
func lastReportOf(text string, before *nodeView) lastReport {
	if before != nil && before.report == text {
		return before.last
	}
	if text == "" {
		return lastReport{}
	}
	r, err := api.ParseReport([]byte(text))
	if err != nil {
		return lastReport{} // who writes another says so
	}
	l := lastReport{read: true, id: r.ID, totals: r.Totals, past: r.Past, done: !r.Finished.IsZero()}
	if l.done {
		l.took = r.Finished.Sub(r.Started)
	}
	return l
}

// pastWith is the past with what a step adds to it when it is done, nil if that is
// nothing. soon is how soon after a reboot a sentinel is said to come back; totals are the
// operation's pods.
func pastWith(s decided, soon time.Duration, totals map[api.Outcome]int) *api.Past {
	old, now := s.record, s.now
	boots := old != nil && s.step.Record != nil && s.step.Record.Phase == api.PhaseVerifying && old.Phase != api.PhaseVerifying
	ends := s.step.Ends(old)
	if !boots && !ends {
		return nil
	}
	p := s.node.last.past.Clone()
	if boots && old.Order != nil {
		p.Booted()
		p.DownSeconds = api.Seconds(now.Sub(old.Order.At))
	}
	if !ends {
		return p
	}
	p.Ended(s.step.Reason)
	if s.step.Record == nil {
		p.Left(totals)
	}
	if s.step.Do != decide.DoRestore || s.step.Reason != api.ReasonRebootVerified {
		return p
	}
	if len(old.Files) > 0 && p.CameBack(old.Requested, soon) {
		p.Returned++
	} else {
		p.Returned = 0
	}
	p.Verified = now.UTC().Truncate(time.Second)
	if old.Order != nil {
		p.Reboot.Add(now.Sub(old.Order.At))
	}
	if l := s.node.last; l.id == old.ID && l.done {
		p.Drain.Add(l.took)
	}
	return p
}

// totalsOf are the pods of the record's operation by outcome, by a report of this start of
// the daemon, nil if there is none, or by the one on the Node.
func totalsOf(s decided, report *api.Report) map[api.Outcome]int {
	switch l := s.node.last; {
	case report != nil:
		return report.Totals
	case s.record != nil && l.id == s.record.ID:
		return l.totals
	default:
		return nil
	}
}

// emptyReport is that of an operation that has had no drain.
func emptyReport(id string) *api.Report {
	r := &api.Report{V: api.ReportSchema, ID: id, Totals: map[api.Outcome]int{}}
	for _, o := range api.Outcomes() {
		r.Totals[o] = 0
	}
	return r
}

// joinHooks are the hooks that a report of the operation has, of earlier starts of the
// daemon too, with those of this start: the last ones.
func joinHooks(before, now []api.HookOutcome) []api.HookOutcome {
	all := slices.DeleteFunc(slices.Clone(before), func(h api.HookOutcome) bool { return slices.Contains(now, h) })
	all = append(all, now...)
	return all[max(0, len(all)-maxHooks):]
}

// reportToWrite is the report that goes with a step, "" if the Node has it already, or
// there is none: what became of the operation's pods, and the past.
func (d *Daemon) reportToWrite(s decided) string {
	report := d.stages.report(s.record)
	past := pastWith(s, max(d.cfg.MinUptime, api.Soon), totalsOf(s, report))
	hooks := d.stages.hooks(s.record)
	switch {
	case report == nil && past == nil && len(hooks) == 0:
		return ""
	case report == nil && s.node.report == "":
		report = emptyReport(s.record.ID)
	case report == nil:
		var err error
		if report, err = api.ParseReport([]byte(s.node.report)); err != nil {
			return "" // a newer version's, or anybody's: the next drain replaces it
		}
		if len(hooks) > 0 && report.ID != s.record.ID {
			report = emptyReport(s.record.ID)
		}
	}
	if len(hooks) > 0 {
		report.Hooks = joinHooks(report.Hooks, hooks)
	}
	if report.Past = past; past == nil {
		report.Past = s.node.last.past
	}
	data, err := json.Marshal(report)
	if err != nil {
		d.cfg.Log.Error().Err(err).Msg("the report cannot be encoded; leaving it out")
		return ""
	}
	if text := string(data); text != s.node.report {
		return text
	}
	return ""
}
