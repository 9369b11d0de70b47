package daemon_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/sim"
)

const holderSince = "slot_holder_since_seconds"

// Whoever waits says for whom, and since when, once that has lasted; nobody else does, and
// nobody does when nobody is waited for.
func TestMetricsOfTheHolder(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		holder := w.AddMachine("a")
		bringTo(t, holder, settings{limit: 10 * time.Hour}, api.PhaseDraining)
		since := float64(w.Record("a").Since.Unix())
		waiter, idle := w.AddMachine("b"), w.AddMachine("c")
		x, s := metricsOf(t, settings{})
		p := start(t, waiter, s)
		nobody, s2 := metricsOf(t, settings{})
		start(t, idle, s2)
		waiter.Touch(sentinelPath, "")
		pass(20 * time.Minute)
		x.absent(holderSince)
		requests := len(p.Link.Requests())
		pass(15 * time.Minute)
		want := map[string]float64{fmt.Sprintf("%s{a,%s}", holderSince, slot0): since}
		x.want(want)
		nobody.absent(holderSince)
		for _, r := range p.Link.Requests()[requests:] {
			if r.Resource == "leases" && r.Verb != "watch" {
				t.Errorf("it asks for what it knows: %+v", r)
			}
		}
		// Started again, it knows at once: by the holder's word.
		p.Kill()
		x, s = metricsOf(t, settings{})
		p = start(t, waiter, s)
		pass(10 * time.Second)
		x.want(want)
		// While the API server is away nothing else is known.
		p.Link.Cut()
		pass(time.Minute)
		x.want(want)
		p.Link.Mend()
		waiter.Annotate(api.HoldAnnotation, "people")
		pass(time.Minute)
		x.absent(holderSince)
		waiter.Annotate(api.HoldAnnotation, "")
		pass(time.Minute)
		x.want(want)
		holder.Annotate(api.HoldAnnotation, "people") // puts it back, and gives the slot up
		pass(time.Minute)
		x.absent(holderSince)
		x.want(map[string]float64{"slot_held": 1})
	})
}

// Thousands wait while node after node has the slot for as long as a reboot takes: none
// of them is named. A holder whose clock is a day ahead is, when it has been seen for long.
func TestMetricsOfManyHolders(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		x, s := metricsOf(t, settings{slots: 20})
		taken := func(by string, at time.Time) {
			for i := range 20 {
				slot := api.SlotName(lockName, i)
				_ = w.Leases.Create(t.Context(), slot)
				patch := fmt.Sprintf(`{"spec":{"holderIdentity":"%s%d","acquireTime":%q}}`, by, i, at.UTC().Format("2006-01-02T15:04:05.000000Z"))
				if err := w.Leases.Patch(t.Context(), slot, patch); err != nil {
					t.Fatal(err)
				}
			}
		}
		taken("n", time.Now())
		start(t, m, s)
		m.Touch(sentinelPath, "")
		for range 3 {
			pass(25 * time.Minute)
			x.absent(holderSince)
			taken("n", time.Now())
		}
		taken("m", time.Now().Add(24*time.Hour))
		pass(20 * time.Minute)
		x.absent(holderSince)
		if err := w.Leases.Patch(t.Context(), api.SlotName(lockName, 19), `{"spec":{"holderIdentity":"x"}}`); err != nil {
			t.Fatal(err)
		}
		pass(11 * time.Minute)
		n := 0
		for name := range x.all() {
			if strings.HasPrefix(name, holderSince) {
				n++
			}
		}
		if n != 16 {
			t.Errorf("%d holders are named, want 16", n)
		}
	})
}
