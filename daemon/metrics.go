package daemon

import (
	"github.com/prometheus/client_golang/prometheus"

	"rebootd.dev/daemon/api"
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
	unreadable *prometheus.GaugeVec
	holders    series
	past       *pastMetrics
	api        prometheus.Gauge
	enforced   *prometheus.GaugeVec
	gates      series
	opens      series
	window     prometheus.Gauge
	dryRun     prometheus.Gauge
	problems   prometheus.Gauge
	deadline   prometheus.Gauge
	rebooters  prometheus.Gauge
	refused    prometheus.Gauge
}

func newMetrics(r prometheus.Registerer, version string) *Metrics {
	opts := func(name, help string) prometheus.GaugeOpts {
		return prometheus.GaugeOpts{Namespace: "rebootd", Name: name, Help: help}
	}
	m := &Metrics{
		required:   prometheus.NewGauge(opts("reboot_required", "1 while a reboot is requested, or under way as far as is known.")),
		phase:      prometheus.NewGaugeVec(opts("phase", "1 for the phase that the node is in by the record on it; 0 for all of them while that is not known."), []string{"phase"}),
		phaseSince: prometheus.NewGauge(opts("phase_since_seconds", "When the phase began, as a Unix time; 0 when idle.")),
		slotHeld:   prometheus.NewGauge(opts("slot_held", "1 while the node holds a slot, by the word of its Lease.")),
		drainStart: prometheus.NewGauge(opts("drain_started_timestamp_seconds", "When the phase Draining began, as a Unix time; 0 in any other phase.")),
		drainPods:  prometheus.NewGaugeVec(opts("drain_pods", "Pods of the current or last drain, by state or outcome."), []string{"state"}),
		blocked:    prometheus.NewGaugeVec(opts("drain_blocked_pods", "Pods that cannot be evicted at present, by reason."), []string{"reason"}),
		api:        prometheus.NewGauge(opts("api_reachable", "1 while the API server answers.")),
		enforced:   prometheus.NewGaugeVec(opts("policy_enforced", "1 if the admission policy keeps this daemon to its own node, 0 if it does not; absent while that is unknown."), []string{"policy"}),
		dryRun:     prometheus.NewGauge(opts("dry_run", "1 if the daemon was started with `--dry-run`: it changes nothing, and the metrics say what is on the Node, not what it would have done.")),
		gates:      series{GaugeVec: prometheus.NewGaugeVec(opts("gate_closed", "1 while a gate is closed, 0 while it is open; absent while the gate is not asked, as on an idle node."), []string{"gate"})},
		deadline:   prometheus.NewGauge(opts("deadline_timestamp_seconds", "By when the reboot is to begin, as a Unix time: from then on soft gates are not waited for; 0 when there is no deadline, or the node has been cordoned for the reboot.")),
		window:     prometheus.NewGauge(opts("window_next_timestamp_seconds", "When maintenance windows and freezes let a reboot of this node begin next, as a Unix time; 0 while they do, and where none opens within 400 days. On an idle node, too.")),
		opens:      series{GaugeVec: prometheus.NewGaugeVec(opts("gate_opens_timestamp_seconds", "When a gate that is closed will open by itself, as a Unix time; absent while it is open or not asked, and where that is not known."), []string{"gate"})},
		rebooters:  prometheus.NewGauge(opts("other_rebooters", "How many signs there are of other programs that reboot this machine by themselves, past the lock and the drain; the log, an Event and the condition of the idle node say which.")),
		refused:    prometheus.NewGauge(opts("config_refused", "1 while the configuration file, which has changed, cannot be used as it is: the settings from before stay in force, and no reboot begins. The log, an Event and the condition say why.")),
		problems:   prometheus.NewGauge(opts("sentinel_problems", "How many sentinels request nothing although they are there, say something that is ignored, or cannot be watched or read; the log and the Node's condition say why.")),
		evictions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "rebootd", Name: "evictions_total", Help: "Evictions requested, by the code of the answer; those of a dry run do not count.",
		}, []string{"code"}),
		unreadable: prometheus.NewGaugeVec(opts("record_unreadable", "1 while the record on the Node cannot be obeyed, by the reason why: no action is taken, and no phase is known."), []string{"reason"}),
		holders:    series{GaugeVec: prometheus.NewGaugeVec(opts("slot_holder_since_seconds", "Of a node that waits for a slot: who has held each slot for more than half an hour, and since when, as a Unix time; absent while it waits for nobody."), []string{"slot", "holder"})},
		past:       newPastMetrics(),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "rebootd", Name: "build_info", Help: "1, with the version.", ConstLabels: prometheus.Labels{"version": version},
	})
	info.Set(1)
	r.MustRegister(m.required, m.phase, m.phaseSince, m.slotHeld, m.drainStart, m.drainPods, m.blocked, m.api, m.enforced, m.gates.GaugeVec, m.opens.GaugeVec, m.window, m.problems, m.rebooters, m.refused, m.deadline,
		m.evictions, m.unreadable, m.holders.GaugeVec, m.dryRun, m.past, info)
	for _, p := range phaseLabels() {
		m.phase.WithLabelValues(p)
	}
	for _, code := range evictionCodes {
		m.evictions.WithLabelValues(code)
	}
	m.observe(seen{})
	return m
}

// evictionCodes are the codes that are seen in every other cluster. Counters are there
// from the beginning: what is not there before the first event has had no increase by it.
var evictionCodes = []string{"201", "403", "404", "409", "429", "500", "503", "error"}

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

// ConfigRefused notes whether the configuration file as it stands is refused.
func (m *Metrics) ConfigRefused(refused bool) { m.refused.Set(number(refused)) }

func (m *Metrics) apiUp(up bool) { m.api.Set(number(up)) }

// policy notes what a probe of the policy has found out.
func (m *Metrics) policy(c confinement) confinement {
	if c != unclear {
		m.enforced.WithLabelValues(ownNodePolicy).Set(number(c == confined))
	}
	return c
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
