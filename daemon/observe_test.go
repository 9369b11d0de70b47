package daemon

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
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

// A closed gate shows when it will open by itself, where that is known; an open one, and one
// that is not asked, shows nothing.
func TestWhenGatesOpen(t *testing.T) {
	r := prometheus.NewRegistry()
	m := newMetrics(r, "test")
	window, freeze, hold := gateIs("window", gate.Closed), gateIs("freeze", gate.Closed), gateIs("hold", gate.Closed)
	window.Until, freeze.Until = time.Unix(1000, 0), time.Unix(3000, 0)
	shown := func(gates ...gate.Status) map[string]float64 {
		m.observe(seen{gates: gates})
		families, err := r.Gather()
		if err != nil {
			t.Fatal(err)
		}
		out := map[string]float64{}
		for _, f := range families {
			if f.GetName() == "rebootd_gate_opens_timestamp_seconds" {
				for _, s := range f.GetMetric() {
					out[s.GetLabel()[0].GetValue()] = s.GetGauge().GetValue()
				}
			}
		}
		return out
	}
	if diff := cmp.Diff(map[string]float64{"window": 1000, "freeze": 3000}, shown(window, freeze, hold)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	opened := window
	opened.State = gate.Open
	window.Until = time.Unix(2000, 0)
	if diff := cmp.Diff(map[string]float64{"window": 2000}, shown(window)); diff != "" {
		t.Errorf("another time, and one that is not asked any more (-want +got)\n%s", diff)
	}
	if got := shown(opened, hold); len(got) != 0 {
		t.Errorf("one that has opened: %v", got)
	}
}

func gateIs(name string, state gate.State) gate.Status {
	return gate.Status{Kind: gate.Kind{Name: name}, Verdict: gate.Verdict{State: state}}
}
