package daemon

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func answer(h http.Handler, path string) int {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code
}

// /healthz fails when the loop has not turned for several heartbeats, and only
// then; /readyz as long as the first facts are not there.
func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Liveness
		l.Mark()
		ready := make(chan struct{})
		h := Handler(prometheus.NewRegistry(), &l, ready)
		for range 5 {
			time.Sleep(heartbeat)
			if s := answer(h, "/healthz"); s != http.StatusOK {
				t.Errorf("/healthz of a loop that turns answers %d", s)
			}
			l.Mark()
		}
		time.Sleep(stuckAfter)
		if s := answer(h, "/healthz"); s != http.StatusOK {
			t.Errorf("/healthz answers %d a moment too early", s)
		}
		time.Sleep(time.Second)
		if s := answer(h, "/healthz"); s != http.StatusServiceUnavailable {
			t.Errorf("/healthz of a loop that is stuck answers %d", s)
		}
		if s := answer(h, "/readyz"); s != http.StatusServiceUnavailable {
			t.Errorf("/readyz answers %d before the daemon is", s)
		}
		close(ready)
		if s := answer(h, "/readyz"); s != http.StatusOK {
			t.Errorf("/readyz answers %d", s)
		}
		if s := answer(h, "/metrics"); s != http.StatusOK {
			t.Errorf("/metrics answers %d", s)
		}
	})
}
