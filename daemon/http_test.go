package daemon

import (
	"net/http"
	"net/http/httptest"
	"reflect"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

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

// The machine's clock is set forward by an hour, as after a suspended virtual machine: the
// loop has turned a moment ago all the same.
func TestHealthAfterTheClockWasSet(t *testing.T) {
	var l Liveness
	l.Mark()
	behind(t, l.last.Load(), time.Hour)
	if s := answer(Handler(prometheus.NewRegistry(), &l, nil), "/healthz"); s != http.StatusOK {
		t.Errorf("/healthz answers %d after a step of the clock", s)
	}
}

// behind makes of at what it would be had the machine's clock been by so much behind when
// it was read: the monotonic reading stays.
func behind(t *testing.T, at *time.Time, by time.Duration) {
	t.Helper()
	before := at.Round(0)
	const monotonic, second = 1 << 63, 1 << 30 // of the field wall
	wall := reflect.ValueOf(at).Elem().FieldByName("wall")
	bits := (*uint64)(unsafe.Pointer(wall.UnsafeAddr()))
	if *bits&monotonic == 0 {
		*at = at.Add(-by)
	} else {
		*bits -= uint64(by/time.Second) * second
	}
	if got := before.Sub(at.Round(0)); got != by {
		t.Fatalf("the clock was set by %s, want %s: package time has changed", got, by)
	}
}
