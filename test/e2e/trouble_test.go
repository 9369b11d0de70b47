package e2e

import (
	"net/http"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/test/proxy"
)

// troubles are what may go on for a while between a daemon and the API server.
var troubles = map[string]func() (fault func(*http.Request) proxy.Fault, heal func()){
	"cut off": func() (func(*http.Request) proxy.Fault, func()) {
		return func(*http.Request) proxy.Fault { return proxy.Fault{Lose: true} }, nil
	},
	"connections that never answer": func() (func(*http.Request) proxy.Fault, func()) {
		until := make(chan struct{})
		return func(*http.Request) proxy.Fault { return proxy.Fault{Until: until, Lose: true} }, func() { close(until) }
	},
	"answers lost": func() (func(*http.Request) proxy.Fault, func()) {
		return func(*http.Request) proxy.Fault { return proxy.Fault{Forget: true} }, nil
	},
	"slow": func() (func(*http.Request) proxy.Fault, func()) {
		return func(*http.Request) proxy.Fault { return proxy.Fault{Delay: time.Second, EventDelay: time.Second} }, nil
	},
	"throttled": func() (func(*http.Request) proxy.Fault, func()) {
		s := status(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests)
		s.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
		return func(*http.Request) proxy.Fault { return proxy.Fault{Answer: s} }, nil
	},
	"errors": func() (func(*http.Request) proxy.Fault, func()) {
		return func(*http.Request) proxy.Fault {
			return proxy.Fault{Answer: status(http.StatusInternalServerError, metav1.StatusReasonInternalError)}
		}, nil
	},
	"unauthorized": func() (func(*http.Request) proxy.Fault, func()) {
		return func(*http.Request) proxy.Fault {
			return proxy.Fault{Answer: status(http.StatusUnauthorized, metav1.StatusReasonUnauthorized)}
		}, nil
	},
	"watches that end at once": func() (func(*http.Request) proxy.Fault, func()) {
		return func(r *http.Request) proxy.Fault {
			if r.URL.Query().Has("watch") {
				return proxy.Fault{Answer: proxy.Gone()}
			}
			return proxy.Fault{}
		}, nil
	},
}

// lasts is how long a trouble lasts. The first halves of it are in the phase, the
// rest while the machine is let go on.
const lasts = 6 * time.Second

// In every phase the API server, or the way to it, is in trouble for a while; then
// the reboot comes to its end, and happens once.
func TestTroubleInEveryPhase(t *testing.T) {
	t.Parallel()
	for _, c := range phases {
		for name, trouble := range troubles {
			t.Run(c.phase+"/"+name, func(t *testing.T) {
				t.Parallel()
				b := newBed(t, 2*time.Minute)
				m := b.stopped(c.args...)
				p := b.through(m)
				c.prepare(b, m)
				b.must(m.StartDaemon())
				before := m.BootID()
				b.must(m.Touch("x"))
				b.phase(m, c.phase)
				fault, heal := trouble()
				p.Faults(fault)
				p.Cut()
				time.Sleep(lasts / 2) // the fault's own time
				if c.release != nil {
					c.release(b, m)
				}
				time.Sleep(lasts / 2)
				p.Faults(nil)
				if heal != nil {
					heal()
				}
				b.rebooted(m, before)
				if _, agreed := m.Orders(); agreed != 1 || len(m.Outages()) != 1 {
					t.Errorf("the command was obeyed %d times and the machine was down %d times, want once", agreed, len(m.Outages()))
				}
				b.released()
				b.leaseReleased(m)
			})
		}
	}
}
