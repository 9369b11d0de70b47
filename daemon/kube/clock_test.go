package kube

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

func TestClockSkew(t *testing.T) {
	for _, ahead := range []time.Duration{0, 20 * time.Minute, -20 * time.Minute} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", time.Now().Add(-ahead).UTC().Format(http.TimeFormat))
			w.WriteHeader(http.StatusNotFound)
		}))
		defer server.Close()
		c, err := New(&rest.Config{Host: server.URL})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.ClockSkew(); got != 0 {
			t.Errorf("before the first answer: %s", got)
		}
		if _, err := c.GetNode(t.Context(), "a"); err == nil {
			t.Fatal("there is no such Node")
		}
		if got := c.ClockSkew() - ahead; got < -time.Second || got > 5*time.Second {
			t.Errorf("ahead by %s: %s", ahead, c.ClockSkew())
		}
	}
}

// A clock that is set after the last answer is known to be wrong at once.
func TestClockIsSet(t *testing.T) {
	var c clock
	answered := time.Now()
	c.heard(answered, answered)
	for _, by := range []time.Duration{time.Hour, -time.Hour} {
		if got := c.ahead(answered.Round(0).Add(time.Minute+by), time.Minute); got != by {
			t.Errorf("set by %s: ahead by %s", by, got)
		}
	}
}
