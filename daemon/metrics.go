package daemon

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/drain"
)

// Metrics are what Prometheus sees of the daemon.
type Metrics struct {
	required   prometheus.Gauge
	phase      *prometheus.GaugeVec
	phaseSince prometheus.Gauge
	slotHeld   prometheus.Gauge
	drainStart prometheus.Gauge
	drainPods  *prometheus.GaugeVec
	blocked    *prometheus.GaugeVec
	evictions  *prometheus.CounterVec
	operations *prometheus.CounterVec
	drainTime  prometheus.Histogram
	rebootTime prometheus.Histogram
	api        prometheus.Gauge
	enforced   *prometheus.GaugeVec
	gates      *prometheus.GaugeVec
}

func newMetrics(r prometheus.Registerer, version string) *Metrics {
	opts := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Namespace: "rebootd", Name: name, Help: help}
	}
	buckets := []float64{5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200}
	m := &Metrics{
		required:   prometheus.NewGauge(opts("reboot_required", "1 while a reboot is requested or under way.")),
		phase:      prometheus.NewGaugeVec(opts("phase", "1 for the phase that the node is in."), []string{"phase"}),
		phaseSince: prometheus.NewGauge(opts("phase_since_seconds", "When the phase began, as a Unix time; 0 when idle.")),
		slotHeld:   prometheus.NewGauge(opts("slot_held", "1 while the node holds a slot.")),
		drainStart: prometheus.NewGauge(opts("drain_started_timestamp_seconds", "When the phase Draining began, as a Unix time; 0 in any other phase.")),
		drainPods:  prometheus.NewGaugeVec(opts("drain_pods", "Pods of the current or last drain, by state or outcome."), []string{"state"}),
		blocked:    prometheus.NewGaugeVec(opts("drain_blocked_pods", "Pods that cannot be evicted at present, by reason."), []string{"reason"}),
		api:        prometheus.NewGauge(opts("api_reachable", "1 while the API server answers.")),
		enforced:   prometheus.NewGaugeVec(opts("policy_enforced", "1 if the admission policy keeps this daemon to its own node, 0 if it does not; absent while that is unknown."), []string{"policy"}),
		gates:      prometheus.NewGaugeVec(opts("gate_closed", "1 while a gate is closed, 0 while it is open; absent while the gate is not asked, as on an idle node."), []string{"gate"}),
		evictions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "rebootd", Name: "evictions_total", Help: "Evictions requested, by the code of the answer.",
		}, []string{"code"}),
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "rebootd", Name: "operations_total", Help: "Operations and attempts that have ended, by the reason why they ended.",
		}, []string{"result"}),
		drainTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "rebootd", Name: "drain_duration_seconds", Help: "From the start of the phase Draining until the node was drained.", Buckets: buckets,
		}),
		rebootTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "rebootd", Name: "reboot_duration_seconds", Help: "From the order to reboot until the node was verified.", Buckets: buckets,
		}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "rebootd", Name: "build_info", Help: "1, with the version.", ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	r.MustRegister(m.required, m.phase, m.phaseSince, m.slotHeld, m.drainStart, m.drainPods, m.blocked, m.api, m.enforced, m.gates,
		m.evictions, m.operations, m.drainTime, m.rebootTime, info)
	for _, p := range phaseLabels() {
		m.phase.WithLabelValues(p)
	}
	return m
}

// idlePhase is the label of the phase of a node that has no operation.
const idlePhase = "Idle"

func phaseLabels() []string {
	out := []string{idlePhase}
	for _, p := range api.Phases() {
		out = append(out, string(p))
	}
	return out
}

// Eviction counts one answer to an eviction.
func (m *Metrics) Eviction(code string) { m.evictions.WithLabelValues(code).Inc() }

func (m *Metrics) apiUp(up bool) { m.api.Set(number(up)) }

// policy notes what a probe of the policy has found out.
func (m *Metrics) policy(c confinement) confinement {
	if c != unclear {
		m.enforced.WithLabelValues(ownNodePolicy).Set(number(c == confined))
	}
	return c
}

// seen is what the gauges show.
type seen struct {
	record   *api.Record
	step     decide.Step
	slotHeld bool
	counts   map[string]int  // pods, by state or outcome
	blocked  []drain.Blocked // pods
	gates    []gate.Status
}

// seen puts together what the gauges show.
func (d *Daemon) seen(s decided) seen {
	out := seen{record: s.record, step: s.step, slotHeld: d.slot.state == decide.ClaimHeld, gates: d.gates.asked(s.step)}
	if w := d.stages.drain; w != nil {
		out.counts, out.blocked = w.progress.Counts, w.progress.Blocked
	}
	return out
}

// observe sets the gauges.
func (m *Metrics) observe(s seen) {
	current, since := idlePhase, 0.0
	if s.record != nil {
		current, since = string(s.record.Phase), float64(s.record.Since.Unix())
	}
	for _, p := range phaseLabels() {
		m.phase.WithLabelValues(p).Set(number(p == current))
	}
	m.phaseSince.Set(since)
	m.required.Set(number(s.record != nil || s.step.Reason == api.ReasonRebootRequested))
	m.slotHeld.Set(number(s.slotHeld))
	draining := phaseOf(s.record) == api.PhaseDraining
	m.drainStart.Set(0)
	if draining {
		m.drainStart.Set(since)
	}
	m.gates.Reset()
	for _, g := range s.gates {
		if g.State != gate.Unknown {
			m.gates.WithLabelValues(g.Name).Set(number(g.State == gate.Closed))
		}
	}
	m.drainPods.Reset()
	for state, n := range s.counts {
		m.drainPods.WithLabelValues(state).Set(float64(n))
	}
	m.blocked.Reset()
	if draining {
		for _, b := range s.blocked {
			m.blocked.WithLabelValues(string(b.Reason)).Inc()
		}
	}
}

// transition counts what a step that was done has brought to an end.
func (m *Metrics) transition(old *api.Record, step decide.Step, now time.Time) {
	if old == nil {
		return
	}
	if old.Phase == api.PhaseDraining && step.Reason == api.ReasonDrained {
		m.drainTime.Observe(now.Sub(old.Since).Seconds())
	}
	if step.Do == decide.DoRestore && step.Reason == api.ReasonRebootVerified && old.Order != nil {
		m.rebootTime.Observe(now.Sub(old.Order.At).Seconds())
	}
	ended := step.Record == nil ||
		step.Do == decide.DoRestore ||
		step.Record.Phase == api.PhaseHalted && old.Phase != api.PhaseHalted
	if ended {
		m.operations.WithLabelValues(string(step.Reason)).Inc()
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
