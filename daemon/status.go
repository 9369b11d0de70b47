package daemon

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/printable"
)

const (
	// maxGateWords bounds what a gate says in the status, and maxPodWords what is said of a
	// pod, in bytes.
	maxGateWords, maxPodWords = 500, 250
	// maxTimes bounds how many windows and freezes the status has, and maxTime each of them.
	maxTimes, maxTime = 32, 100
)

// status is what programs are told together with the condition that step calls for: the
// annotation's value, "" while there is none. It costs no request of its own: it is written
// with the condition, and when the record comes to another phase.
func (d *Daemon) status(step decide.Step, r *api.Record, at time.Time) string {
	if r == nil || d.publish.plain == r.ID {
		return ""
	}
	f := d.facts(at)
	s := &api.Status{
		V: api.StatusSchema, ID: r.ID, Phase: r.Phase, At: second(f.Wall()), Reason: step.Reason,
		Gates: gateStatuses(d.gates.asked(step), step.Asks, f.Wall()), Windows: d.gates.times(),
		Zone: api.ZoneOf(d.cfg.Same, d.node.view.labels), Slots: d.policy.Slots, Next: second(decide.NextTry(d.policy, r, f)),
	}
	if d.stages.drain != nil && r.Phase == api.PhaseDraining {
		s.Drain = d.stages.drain.status(r)
	}
	data, err := encodeStatus(s)
	if err != nil {
		d.cfg.Log.Error().Err(err).Msg("the status of the operation cannot be written; leaving it out")
		return ""
	}
	return string(data)
}

// isStale says whether the status on the Node is that of another phase, or of another
// operation.
func (v *nodeView) isStale(r *api.Record) bool {
	if r == nil || v.status == "" {
		return false
	}
	s, err := api.ParseStatus([]byte(v.status))
	return err != nil || s.ID != r.ID || s.Phase != r.Phase
}

// second is a time as it is written down: in whole seconds, UTC.
func second(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Second)
}

// gateStatuses are gates that are asked at these points. One that is closed, but not at any
// of them, holds nothing up.
func gateStatuses(gates []gate.Status, at gate.Points, now time.Time) (out []api.GateStatus) {
	for _, g := range gates {
		s := api.GateStatus{Name: g.Name, State: api.GateUnknown, Soft: g.Soft}
		_, closed := gate.FirstClosed([]gate.Status{g}, at)
		switch {
		case closed:
			s.State, s.Reason, s.Why = api.GateClosed, g.Reason, g.Why
			if g.Until.After(now) {
				s.Until = second(g.Until)
			}
		case g.State == gate.Closed:
			s.State, s.Why = api.GateOpen, "does not count in this phase: "+g.Why
		case g.State == gate.Open:
			s.State, s.Why = api.GateOpen, g.Note
		}
		s.Why = printable.Line(s.Why, maxGateWords)
		out = append(out, s)
	}
	return out
}

// times are the windows and freezes that count for the node.
func (w *gateWorkers) times() (out []string) {
	for _, g := range w.gates {
		if g.timed == nil {
			continue
		}
		for _, text := range g.timed.Times(w.view.Node) {
			if len(out) < maxTimes {
				out = append(out, printable.Line(text, maxTime))
			}
		}
	}
	return out
}

// status is how far the drain has come, nil where that is not known.
func (w *drainWorker) status(r *api.Record) *api.DrainStatus {
	if w.key != r.DrainKey() || !w.progress.Listed {
		return nil
	}
	s := &api.DrainStatus{Started: second(r.DrainBegan()), Total: w.progress.Total, Left: w.progress.Left, BlockedTotal: len(w.progress.Blocked)}
	for _, b := range w.progress.Blocked {
		s.Blocked = append(s.Blocked, api.BlockedPod{
			Namespace: b.Namespace, Name: b.Name, Reason: b.Reason, Message: printable.Line(b.Message, maxPodWords), Since: second(b.Since),
		})
	}
	return s
}

// encodeStatus is the status in JSON, without what there is no room for: of the pods that
// are blocked the last ones first, then what the gates say, then the windows.
func encodeStatus(s *api.Status) ([]byte, error) {
	s.Gates = slices.Clone(s.Gates)
	for {
		data, err := json.Marshal(s)
		if err != nil || len(data) <= api.MaxStatus {
			return data, err
		}
		switch longest := longestWhy(s.Gates); {
		case s.Drain != nil && len(s.Drain.Blocked) > 0:
			keep := len(s.Drain.Blocked) * api.MaxStatus / len(data)
			s.Drain.Blocked = s.Drain.Blocked[:min(keep, len(s.Drain.Blocked)-1)]
		case longest >= 0:
			s.Gates[longest].Why = printable.Line(s.Gates[longest].Why, len(s.Gates[longest].Why)/2)
		case len(s.Windows) > 0:
			s.Windows = nil
		case len(s.Gates) > 0:
			s.Gates = s.Gates[:len(s.Gates)/2]
		default: // an operation whose name somebody has made up
			return nil, fmt.Errorf("it has %d bytes at the least; the limit is %d", len(data), api.MaxStatus)
		}
	}
}

// longestWhy is the gate that says most, -1 when none says anything.
func longestWhy(gates []api.GateStatus) int {
	at := -1
	for i, g := range gates {
		if g.Why != "" && (at < 0 || len(g.Why) > len(gates[at].Why)) {
			at = i
		}
	}
	return at
}
