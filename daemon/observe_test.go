package daemon

import (
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"rebootd.dev/daemon/gate"
	"rebootd.dev/lock"
)

// A scrape at any moment finds what stays as it is: a series that is away for one scrape
// has an alert begin to count anew. What is over goes.
func TestScrapedWhileItIsObserved(t *testing.T) {
	r := prometheus.NewRegistry()
	m := newMetrics(r, "test")
	now := seen{
		gates:   []gate.Status{gateIs("paused", gate.Open), gateIs("reboot-possible", gate.Closed)},
		holders: []lock.Holder{{Slot: "rebootd-0", Node: "a", Since: time.Unix(1, 0)}, {Slot: "rebootd-1", Node: "b", Since: time.Unix(2, 0)}},
	}
	count := func() (n int) {
		families, err := r.Gather()
		if err != nil {
			t.Error(err)
		}
		for _, f := range families {
			if f.GetName() == "rebootd_gate_closed" || f.GetName() == "rebootd_slot_holder_since_seconds" {
				n += len(f.GetMetric())
			}
		}
		return n
	}
	m.observe(now)
	var observers sync.WaitGroup
	stop := make(chan struct{})
	observers.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				m.observe(now)
			}
		}
	})
	for range 200 {
		if n := count(); n != 4 {
			t.Errorf("%d of 4 series are there", n)
			break
		}
	}
	close(stop)
	observers.Wait()
	now.gates, now.holders = now.gates[1:], now.holders[:1]
	if m.observe(now); count() != 2 {
		t.Errorf("%d series are there, where one gate is asked and one slot held", count())
	}
	if m.observe(seen{}); count() != 0 {
		t.Errorf("%d series are there, where none is", count())
	}
}

func gateIs(name string, state gate.State) gate.Status {
	return gate.Status{Kind: gate.Kind{Name: name}, Verdict: gate.Verdict{State: state}}
}
