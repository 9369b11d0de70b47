package kube

import (
	"net/http"
	"sync/atomic"
	"time"
)

// clock compares this machine's clock with the API server's.
type clock struct{ last atomic.Pointer[answer] }

// answer is when one came, by the API server's clock and by ours.
type answer struct{ date, at time.Time }

// ClockSkew is by how much this machine's clock is ahead of the API server's, to a
// second, by the Date of the last answer (RFC 9110, section 6.6.1); 0 before the
// first. What has passed since the answer is not taken from the clock, which may have
// been set meanwhile.
func (c *Client) ClockSkew() time.Duration {
	last := c.clock.last.Load()
	if last == nil {
		return 0
	}
	return c.clock.ahead(time.Now(), time.Since(last.at))
}

func (c *clock) heard(date, at time.Time) { c.last.Store(&answer{date, at}) }

// ahead is by how much a clock that says now is ahead, so long after the last answer.
func (c *clock) ahead(now time.Time, since time.Duration) time.Duration {
	return now.Round(0).Sub(c.last.Load().date.Round(0).Add(since)).Truncate(time.Second)
}

// watch has every answer looked at.
func (c *clock) watch(next http.RoundTripper) http.RoundTripper { return &dated{next, c} }

type dated struct {
	next  http.RoundTripper
	clock *clock
}

// RoundTrip implements http.RoundTripper.
func (d *dated) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := d.next.RoundTrip(r)
	if err == nil {
		if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			d.clock.heard(date, time.Now())
		}
	}
	return resp, err
}

// WrappedRoundTripper lets client-go find what it wants to close
// (k8s.io/apimachinery/pkg/util/net.RoundTripperWrapper).
func (d *dated) WrappedRoundTripper() http.RoundTripper { return d.next }
