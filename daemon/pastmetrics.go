package daemon

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"rebootd.dev/daemon/api"
)

// pastMetrics describe the reboots of the node, which the daemon does not survive: they
// are what stands on the Node, and are absent until that has been read. A counter that
// began at 0 with every boot would show no increase where there was a reboot. It is safe
// for concurrent use.
type pastMetrics struct {
	mu    sync.Mutex
	known bool
	past  *api.Past // is not changed

	operations, pods, total, drains, reboots    *prometheus.Desc
	lastReboot, lastDrain, lastDown, lastLasted *prometheus.Desc
}

func newPastMetrics() *pastMetrics {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("rebootd_"+name, help, labels, nil)
	}
	return &pastMetrics{
		operations: desc("operations_total", "Operations and attempts that have ended, by the reason why they ended; restored from the Node at the start.", "result"),
		pods:       desc("pods_total", "Pods of the operations that have ended, by outcome; restored from the Node at the start.", "outcome"),
		total:      desc("reboots_total", "Reboots that were ordered and have happened, verified or not; restored from the Node at the start."),
		drains:     desc("drain_duration_seconds", "How long drains took that led to a verified reboot, from the first list of pods until the node was drained; counted after the reboot, restored from the Node at the start."),
		reboots:    desc("reboot_duration_seconds", "From the order to reboot until the node was verified; restored from the Node at the start."),
		lastReboot: desc("last_reboot_timestamp_seconds", "When a reboot of the node was last verified, as a Unix time; absent if none is known; restored from the Node at the start."),
		lastDrain:  desc("last_drain_duration_seconds", "How long the last drain took that led to a verified reboot; absent if none is known; restored from the Node at the start."),
		lastDown:   desc("last_down_duration_seconds", "From the last order to reboot until the daemon had started on the next boot; absent if none is known; restored from the Node at the start."),
		lastLasted: desc("last_reboot_duration_seconds", "From the order of the last verified reboot until it was verified; absent if none is known; restored from the Node at the start."),
	}
}

func (m *pastMetrics) set(p *api.Past) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known, m.past = true, p
}

// Describe implements prometheus.Collector.
func (m *pastMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{m.operations, m.pods, m.total, m.drains, m.reboots, m.lastReboot, m.lastDrain, m.lastDown, m.lastLasted} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m *pastMetrics) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	known, past := m.known, m.past
	m.mu.Unlock()
	if !known {
		return
	}
	if past == nil {
		past = new(api.Past)
	}
	// Only results that are known beforehand: anybody may have written others.
	for _, r := range api.Results() {
		ch <- prometheus.MustNewConstMetric(m.operations, prometheus.CounterValue, float64(past.Results[r]), string(r))
	}
	for _, o := range api.Outcomes() {
		ch <- prometheus.MustNewConstMetric(m.pods, prometheus.CounterValue, float64(past.Pods[o]), string(o))
	}
	ch <- prometheus.MustNewConstMetric(m.total, prometheus.CounterValue, float64(past.RebootsTotal()))
	ch <- histogram(m.drains, past.Drain)
	ch <- histogram(m.reboots, past.Reboot)
	gauge := func(d *prometheus.Desc, v float64, is bool) {
		if is {
			ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
		}
	}
	gauge(m.lastReboot, unix(past.Verified), !past.Verified.IsZero())
	gauge(m.lastDrain, past.Drain.Last, past.Drain.Total() > 0)
	gauge(m.lastDown, past.DownSeconds, past.DownSeconds > 0)
	gauge(m.lastLasted, past.Reboot.Last, past.Reboot.Total() > 0)
}

func histogram(desc *prometheus.Desc, d api.Durations) prometheus.Metric {
	buckets, n := map[float64]uint64{}, uint64(0)
	for i, bound := range api.DurationBounds() {
		if len(d.Counts) > 0 {
			n += uint64(d.Counts[i])
		}
		buckets[bound] = n
	}
	return prometheus.MustNewConstHistogram(desc, uint64(d.Total()), d.Sum, buckets)
}
