package kube

import (
	"context"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/tools/metrics"
)

// RegisterMetrics has client-go count the process's requests into r, under the
// names that Kubernetes' own components use. client-go keeps one set of metrics
// for the process: only the first call has an effect.
func RegisterMetrics(r prometheus.Registerer) {
	m := &requestMetrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "rest_client_request_duration_seconds", Help: "How long requests to the API server took, by verb and host.",
			Buckets: []float64{0.005, 0.025, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60},
		}, []string{"verb", "host"}),
		total: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rest_client_requests_total", Help: "Requests to the API server, by code of the answer, method and host.",
		}, []string{"code", "method", "host"}),
	}
	r.MustRegister(m.duration, m.total)
	metrics.Register(metrics.RegisterOpts{RequestLatency: m, RequestResult: m})
}

type requestMetrics struct {
	duration *prometheus.HistogramVec
	total    *prometheus.CounterVec
}

func (m *requestMetrics) Observe(_ context.Context, verb string, u url.URL, latency time.Duration) {
	m.duration.WithLabelValues(verb, u.Host).Observe(latency.Seconds())
}

func (m *requestMetrics) Increment(_ context.Context, code, method, host string) {
	m.total.WithLabelValues(code, method, host).Inc()
}
