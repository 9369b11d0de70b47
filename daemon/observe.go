package daemon

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/drain"
	"rebootd.dev/lock"
)

// seen is what the gauges show: what stands in the cluster, which in a dry run is not what
// the decision goes by.
type seen struct {
	record     *api.Record // on the Node; nil: none
	known      bool        // whether there is one, and what it says
	unreadable api.Reason  // why it cannot be obeyed; "": it can, or there is none
	required   bool
	slotHeld   bool
	dryRun     bool
	counts     map[string]int // pods, by state or outcome
	blocked    []drain.Blocked
	gates      []gate.Status
	window     time.Time     // when windows and freezes let a reboot begin; zero: they do
	holders    []lock.Holder // that are waited for
	node       bool          // the Node has been read: so has what it says of the past
	past       *api.Past
}

// seen puts together what the gauges show.
func (d *Daemon) seen(s decided) seen {
	out := seen{
		record: d.node.stored, known: d.node.view != nil && d.node.recordErr == nil, slotHeld: d.slot.told, dryRun: d.cfg.DryRun,
		gates: d.gates.asked(s.step), holders: d.slot.waitsFor(s.now), node: d.node.view != nil,
	}
	if r := s.step.Reason; r == api.ReasonRecordTooNew || r == api.ReasonRecordInvalid {
		out.unreadable, out.known = r, false
	}
	if v := d.node.view; v != nil {
		out.window = d.gates.window()
		out.past = v.last.past
		out.counts = map[string]int{}
		for o, n := range v.last.totals {
			out.counts[string(o)] = n
		}
	}
	out.required = d.node.view != nil && d.node.view.operation != "" || d.host.request(d.node).Wanted
	if w := d.stages.drain; w != nil && w.progress.Counts != nil && !d.cfg.DryRun {
		out.counts, out.blocked = w.progress.Counts, w.progress.Blocked
	}
	return out
}

// observe sets the gauges.
func (m *Metrics) observe(s seen) {
	current, since := "", 0.0
	switch {
	case s.known && s.record != nil:
		current, since = string(s.record.Phase), unix(s.record.Since)
	case s.known:
		current = idlePhase
	}
	for _, p := range phaseLabels() {
		m.phase.WithLabelValues(p).Set(number(p == current))
	}
	m.phaseSince.Set(since)
	m.deadline.Set(0)
	if current == string(api.PhaseWaiting) || current == string(api.PhaseQueued) {
		m.deadline.Set(unix(s.record.Deadline))
	}
	for _, r := range []api.Reason{api.ReasonRecordTooNew, api.ReasonRecordInvalid} {
		m.unreadable.WithLabelValues(string(r)).Set(number(r == s.unreadable))
	}
	m.required.Set(number(s.required))
	m.slotHeld.Set(number(s.slotHeld))
	m.dryRun.Set(number(s.dryRun))
	m.observeDrain(s, current == string(api.PhaseDraining), since)
	var gates, opens, holders []labelled
	for _, g := range s.gates {
		if g.State != gate.Unknown {
			gates = append(gates, labelled{[]string{g.Name}, number(g.State == gate.Closed)})
		}
		if g.State == gate.Closed && !g.Until.IsZero() {
			opens = append(opens, labelled{[]string{g.Name}, unix(g.Until)})
		}
	}
	for _, h := range s.holders {
		holders = append(holders, labelled{[]string{h.Slot, h.Node}, unix(h.Since)})
	}
	m.gates.show(gates)
	m.opens.show(opens)
	m.window.Set(unix(s.window))
	m.holders.show(holders)
	if s.node {
		m.past.set(s.past)
	}
}

// series are those of a gauge that come and go. What stays is there for every scrape:
// alerts begin to count anew when a series was away.
type series struct {
	*prometheus.GaugeVec
	shown []labelled
}

type labelled struct {
	labels []string
	value  float64
}

func (s *series) show(now []labelled) {
	for _, l := range now {
		s.WithLabelValues(l.labels...).Set(l.value)
	}
	for _, old := range s.shown {
		if !slices.ContainsFunc(now, func(l labelled) bool { return slices.Equal(l.labels, old.labels) }) {
			s.DeleteLabelValues(old.labels...)
		}
	}
	s.shown = now
}

func (m *Metrics) observeDrain(s seen, draining bool, since float64) {
	m.drainStart.Set(0)
	if draining {
		m.drainStart.Set(since)
	}
	for _, state := range drain.States() {
		m.drainPods.WithLabelValues(state).Set(float64(s.counts[state]))
	}
	blocked := map[api.PodReason]int{}
	if draining {
		for _, b := range s.blocked {
			blocked[b.Reason]++
		}
	}
	for _, r := range api.PodReasons() {
		if r.Blocks {
			m.blocked.WithLabelValues(string(r.Reason)).Set(float64(blocked[r.Reason]))
		}
	}
}

// unix is a time in seconds; 0 for the zero time.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.Unix())
}
