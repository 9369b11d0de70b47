package daemon

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// stuckAfter is how long the loop may not have turned before it counts as stuck.
// It turns each heartbeat, and nothing that it does itself takes long.
const stuckAfter = 4 * heartbeat

// Liveness tells whether the loop makes progress. It is safe for concurrent use. It is
// to be marked once before it is asked.
type Liveness struct {
	last atomic.Pointer[time.Time] // with its monotonic reading, which no setting of the clock moves
}

// Mark notes that the loop has made progress.
func (l *Liveness) Mark() {
	now := time.Now()
	l.last.Store(&now)
}

// Stuck says for how long the loop has made no progress, if that is too long.
func (l *Liveness) Stuck() (time.Duration, bool) {
	idle := time.Since(*l.last.Load())
	return idle, idle > stuckAfter
}

// Handler serves /metrics, /healthz (the loop makes progress) and /readyz (the
// sentinel, the boot and the Node were read once).
func Handler(g prometheus.Gatherer, l *Liveness, ready <-chan struct{}) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(g, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if idle, stuck := l.Stuck(); stuck {
			http.Error(w, fmt.Sprintf("the loop has made no progress for %s", idle.Round(time.Second)), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		select {
		case <-ready:
			fmt.Fprintln(w, "ok")
		default:
			http.Error(w, "not ready: the sentinel, the boot ID and the Node have not all been read yet", http.StatusServiceUnavailable)
		}
	})
	return mux
}
