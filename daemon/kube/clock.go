package kube

import (
	"net/http"
	"sync/atomic"
	"time"
)

// clock compares this machine's clock with the API server's.
type clock struct{ ahead atomic.Int64 }

// ClockSkew is by how much this machine's clock is ahead of the API server's, to a
// second, by the Date of the last answer (RFC 9110, section 6.6.1); 0 before the
// first.
func (c *Client) ClockSkew() time.Duration { return time.Duration(c.clock.ahead.Load()) }

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
			d.clock.ahead.Store(int64(time.Since(date).Truncate(time.Second)))
		}
	}
	return resp, err
}

// WrappedRoundTripper lets client-go find what it wants to close
// (k8s.io/apimachinery/pkg/util/net.RoundTripperWrapper).
func (d *dated) WrappedRoundTripper() http.RoundTripper { return d.next }
