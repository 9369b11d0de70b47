package fleet

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/window"
	"rebootd.dev/daemon/window/zones"
)

// drawn is a fleet by chance.
func drawn(seed uint64) Fleet {
	rng := rand.New(rand.NewPCG(seed, 1))
	pick := func(of ...string) string { return of[rng.IntN(len(of))] }
	slots, n := 1+rng.IntN(3), rng.IntN(14)
	if rng.IntN(6) == 0 {
		n = enough + rng.IntN(20)
	}
	zoned := rng.IntN(3) == 0
	at := now.Add(time.Duration(rng.IntN(400*24)) * time.Hour)
	var nodes []Node
	var leases []coordinationv1.Lease
	for i := range slots {
		leases = append(leases, held(i, ""))
	}
	busy := 0
	for i := range n {
		phase := api.Phases()[rng.IntN(2)]
		if busy < slots && rng.IntN(4) == 0 {
			phase = api.Phases()[1+rng.IntN(5)]
		}
		name := fmt.Sprintf("n%02d", i)
		x := newNode(name, phase, time.Duration(rng.IntN(10*60))*time.Minute, slotsAre(slots))
		if phase != api.PhaseWaiting && (phase != api.PhaseQueued || rng.IntN(3) == 0) && busy < slots {
			leases[busy] = held(busy, name)
			busy++
		}
		x.record.Since = at.Add(-now.Sub(x.record.Since))
		x.record.Requested = x.record.Since.Add(-time.Duration(rng.IntN(100)) * time.Minute)
		if x.record.Order != nil {
			x.record.Order.At = x.record.Since
		}
		if zoned {
			x.status.Zone = pick("z=1", "z=2", "z=3")
		}
		if rng.IntN(5) == 0 {
			controlPlane(x)
		}
		if rng.IntN(3) == 0 {
			x.record.Deadline = at.Add(time.Duration(rng.IntN(72)-24) * time.Hour)
		}
		if rng.IntN(4) == 0 {
			x.record.Attempts, x.record.NotBefore = rng.IntN(3), at.Add(time.Duration(rng.IntN(60)-20)*time.Minute)
		}
		x.past = &api.Past{}
		if rng.IntN(8) > 0 {
			x.past.Drain.Add(time.Duration(rng.IntN(90)) * time.Minute)
			x.past.Reboot.Add(time.Duration(rng.IntN(30)) * time.Minute)
		}
		for range rng.IntN(3) {
			start := rng.IntN(24)
			x.status.Windows = append(x.status.Windows, fmt.Sprintf("%s %02d:%02d-%02d:%02d %s", pick("Mon-Fri", "Sat,Sun", "Mon-Sun", "last Sun", "2nd Tue"), start, rng.IntN(60), (start+1+rng.IntN(20))%24, rng.IntN(60), pick("UTC", "Europe/Berlin", "America/New_York")))
		}
		if rng.IntN(4) == 0 {
			x.status.Windows = append(x.status.Windows, fmt.Sprintf("freeze: %s..%s %s", at.AddDate(0, 0, rng.IntN(3)-1).Format(time.DateOnly), at.AddDate(0, 0, 2+rng.IntN(3)).Format(time.DateOnly), pick("UTC", "Europe/Berlin")))
		}
		if rng.IntN(20) == 0 {
			x.status.Windows = append(x.status.Windows, "never")
		}
		if rng.IntN(6) == 0 {
			until := time.Time{}
			if rng.IntN(2) == 0 {
				until = at.Add(time.Duration(rng.IntN(48*60)) * time.Minute)
			}
			closed(pick("window", "approval", "interval", "paused", "inhibitors"), "why", until, rng.IntN(2) == 0)(x)
		}
		if holds := phase != api.PhaseWaiting; holds && rng.IntN(10) == 0 {
			x.record.V = 99
		}
		switch rng.IntN(16) {
		case 0:
			annotated(api.HoldAnnotation, "why")(x)
		case 1:
			older(x)
		case 2:
			annotated(api.PriorityAnnotation, fmt.Sprint(rng.IntN(7)-3))(x)
		}
		nodes = append(nodes, x.build())
	}
	if rng.IntN(6) == 0 {
		leases = append(leases, pausedLease(pick("", at.Add(time.Hour).Format(time.RFC3339), at.Add(-time.Hour).Format(time.RFC3339), "some day")))
	}
	f := Build(nodes, leases, nil, at)
	f.Zones = zones.Load
	return f
}

// judged says what is wrong with a forecast.
func judged(f Fleet, out Forecast) (wrong []string) {
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	told := map[string]int{}
	slots := 1
	for _, s := range f.Slots {
		slots = max(slots, s.Index+1)
	}
	for _, n := range f.Nodes {
		if n.Status != nil {
			slots = max(slots, n.Status.Slots)
		}
	}
	working := func(n Node) bool {
		_, holds := f.SlotOf(n.Name)
		if n.Record == nil {
			return holds
		}
		return n.Record.Phase != api.PhaseWaiting && (n.Record.Phase != api.PhaseQueued || holds)
	}
	kept := 0 // slots of which nobody knows when they become free
	for _, n := range f.Nodes {
		if _, unknown := out.Unknown[n.Name]; unknown && working(n) {
			kept++
		}
	}
	for i, s := range out.Steps {
		told[s.Node]++
		n, _ := f.Node(s.Node)
		if i > 0 && s.Begin.Before(out.Steps[i-1].Begin) {
			bad("%s is not in order", s.Node)
		}
		if !s.End.IsZero() && s.End.Before(s.Begin) {
			bad("%s ends before it begins", s.Node)
		}
		if !s.End.IsZero() && !out.Done.IsZero() && s.End.After(out.Done) {
			bad("%s ends after all is done", s.Node)
		}
		begun := 0
		for _, o := range out.Steps {
			if !o.Begin.After(s.Begin) && (o.End.IsZero() || o.End.After(s.Begin)) {
				begun++
				other, _ := f.Node(o.Node)
				if !working(n) && o.Node != s.Node && n.Status != nil && other.Status != nil && n.Status.Zone != other.Status.Zone {
					bad("%s and %s are down at once in two zones", s.Node, o.Node)
				}
				if !working(n) && o.Node != s.Node && n.ControlPlane && other.ControlPlane {
					bad("%s and %s are down at once, both of the control plane", s.Node, o.Node)
				}
			}
		}
		if !working(n) && begun+kept > slots {
			bad("%s is one of %d at once; there are %d slots", s.Node, begun+kept, slots)
		}
		if n.Record.Phase != api.PhaseWaiting && n.Record.Phase != api.PhaseQueued {
			continue
		}
		if s.Begin.Before(f.At) {
			bad("%s begins in the past", s.Node)
		}
		if n.Hold != nil {
			bad("%s is held", s.Node)
		}
		for _, p := range f.Pauses {
			if !p.Over(f.At) && (p.Until.IsZero() || s.Begin.Before(p.Until)) && !working(n) {
				bad("%s begins in the pause", s.Node)
			}
		}
		if n.Record.Phase == api.PhaseWaiting && s.Begin.Before(n.Record.NotBefore) {
			bad("%s begins in its own pause", s.Node)
		}
		if n.Status == nil {
			continue
		}
		late := !n.Record.Deadline.IsZero() && !s.Begin.Before(n.Record.Deadline)
		for _, g := range n.Status.Gates {
			if g.State == api.GateClosed && (!g.Soft || !late) && s.Begin.Before(g.Until) && g.Name != "paused" {
				bad("%s begins while %s is closed", s.Node, g.Name)
			}
		}
		w, err := window.Parse(n.Status.Windows, zones.Load)
		if err != nil {
			bad("%s has windows that cannot be read", s.Node)
			continue
		}
		if _, _, frozen := w.Frozen(s.Begin); frozen {
			bad("%s begins in a freeze", s.Node)
		}
		if _, open := w.Open(s.Begin); !open && !late {
			bad("%s begins outside its windows", s.Node)
		}
	}
	for _, n := range f.Nodes {
		_, unknown := out.Unknown[n.Name]
		if told[n.Name] > 1 || told[n.Name] == 1 == unknown {
			bad("%s is told %d times, and unknown %t", n.Name, told[n.Name], unknown)
		}
	}
	return wrong
}

func FuzzForecast(f *testing.F) {
	for seed := range uint64(400) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		fleet := drawn(seed)
		out := fleet.Forecast()
		if wrong := judged(fleet, out); len(wrong) > 0 {
			t.Errorf("%v\n%s", wrong, out.text())
		}
	})
}

// Where nothing but the queue counts, the order is that of package decide.
func FuzzForecastOrder(f *testing.F) {
	for seed := range uint64(60) {
		f.Add(seed, seed%2 == 0)
	}
	f.Fuzz(func(t *testing.T, seed uint64, many bool) {
		rng := rand.New(rand.NewPCG(seed, 2))
		n := 1 + rng.IntN(12)
		if many {
			n = enough + 1 + rng.IntN(30)
		}
		var nodes []Node
		for i := range n {
			x := newNode(fmt.Sprintf("n%02d", i), api.PhaseQueued, time.Duration(rng.IntN(300))*time.Minute, notBefore(-time.Hour))
			x.record.Attempts = rng.IntN(2)
			if rng.IntN(4) == 0 {
				controlPlane(x)
			}
			if rng.IntN(4) == 0 {
				annotated(api.PriorityAnnotation, fmt.Sprint(rng.IntN(3)))(x)
			}
			nodes = append(nodes, x.build())
		}
		f := Build(nodes, nil, nil, now)
		var got []string
		for _, s := range f.Forecast().Steps {
			got = append(got, s.Node)
		}
		if want := f.Queue("rebootd"); !slices.Equal(got, want) {
			t.Errorf("got  %v\nwant %v", got, want)
		}
	})
}
