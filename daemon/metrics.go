package daemon

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rebootd.dev/daemon/decide"
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
}

func newMetrics(r prometheus.Registerer, version string) *Metrics {
	opts := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Namespace: "rebootd", Name: name, Help: help}
	}
	buckets := []float64{5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200}
	m := &Metrics{
		required:   prometheus.NewGauge(opts("reboot_required", "1 while a reboot is asked for or under way.")),
		phase:      prometheus.NewGaugeVec(opts("phase", "1 for the phase that the node is in."), []string{"phase"}),
		phaseSince: prometheus.NewGauge(opts("phase_since_seconds", "When the phase began, as a Unix time; 0 when idle.")),
		slotHeld:   prometheus.NewGauge(opts("slot_held", "1 while the node holds a slot.")),
		drainStart: prometheus.NewGauge(opts("drain_started_timestamp_seconds", "When the drain began, as a Unix time; 0 when none is under way.")),
		drainPods:  prometheus.NewGaugeVec(opts("drain_pods", "Pods of the drain that is under way, or was last, by state or outcome."), []string{"state"}),
		blocked:    prometheus.NewGaugeVec(opts("drain_blocked_pods", "Pods that cannot be evicted at present, by reason."), []string{"reason"}),
		api:        prometheus.NewGauge(opts("api_reachable", "1 while the API server answers.")),
		enforced:   prometheus.NewGaugeVec(opts("policy_enforced", "1 if the admission policy keeps this daemon to its own node, 0 if it does not; none while that is not known."), []string{"policy"}),
		evictions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "rebootd", Name: "evictions_total", Help: "Evictions asked for, by the code of the answer.",
		}, []string{"code"}),
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "rebootd", Name: "operations_total", Help: "Operations and attempts that have ended, by the reason for their end.",
		}, []string{"result"}),
		drainTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "rebootd", Name: "drain_duration_seconds", Help: "From the cordon until the node was drained.", Buckets: buckets,
		}),
		rebootTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "rebootd", Name: "reboot_duration_seconds", Help: "From the order to reboot until the node was verified.", Buckets: buckets,
		}),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "rebootd", Name: "build_info", Help: "1, with the version.", ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	r.MustRegister(m.required, m.phase, m.phaseSince, m.slotHeld, m.drainStart, m.drainPods, m.blocked, m.api, m.enforced,
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
	for _, p := range decide.Phases() {
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

// observe sets the gauges from the loop's state.
func (m *Metrics) observe(d *Daemon, step decide.Step) {
	current, since := idlePhase, 0.0
	if d.record != nil {
		current, since = string(d.record.Phase), float64(d.record.Since.Unix())
	}
	for _, p := range phaseLabels() {
		m.phase.WithLabelValues(p).Set(number(p == current))
	}
	m.phaseSince.Set(since)
	m.required.Set(number(d.record != nil || step.Reason == decide.RebootRequested))
	m.slotHeld.Set(number(d.slot.State == decide.SlotHeld))
	if d.phase() == decide.Draining {
		m.drainStart.Set(since)
	} else {
		m.drainStart.Set(0)
	}
	m.drainPods.Reset()
	for state, n := range d.drain.Counts {
		m.drainPods.WithLabelValues(state).Set(float64(n))
	}
	m.blocked.Reset()
	if d.phase() == decide.Draining {
		for _, b := range d.drain.Blocked {
			m.blocked.WithLabelValues(string(b.Reason)).Inc()
		}
	}
}

// transition counts what a step that was done has brought to an end.
func (m *Metrics) transition(old *decide.Record, step decide.Step, now time.Time) {
	if old == nil {
		return
	}
	if old.Phase == decide.Draining && step.Reason == decide.Drained {
		m.drainTime.Observe(now.Sub(old.Since).Seconds())
	}
	if step.Do == decide.Restore && step.Reason == decide.RebootVerified && old.Order != nil {
		m.rebootTime.Observe(now.Sub(old.Order.At).Seconds())
	}
	ended := step.Record == nil ||
		step.Do == decide.Restore ||
		step.Record.Phase == decide.Halted && old.Phase != decide.Halted
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
