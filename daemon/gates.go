package daemon

import (
	"context"
	"fmt"
	"slices"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/gate"
)

// ownGate is a gate of the daemon's own: how it stands follows from what the daemon
// watches anyway.
type ownGate gate.Kind

// The daemon's own gates.
var (
	// Hold is closed while people hold the node.
	Hold gate.Gate = ownGate{
		Name: "hold", Reason: api.ReasonHeld, Binds: gate.BeforeQueue | gate.WhileDraining,
		Meaning: "the annotation `rebootd.dev/hold` is on the Node",
	}
	// OthersAtWork is closed while others work on the node, or are about to take it away.
	OthersAtWork gate.Gate = ownGate{
		Name: "others-at-work", Reason: api.ReasonBlocked, Binds: gate.BeforeQueue | gate.WhileDraining | gate.BeforeUncordon,
		Meaning: "a taint, label, annotation or condition of another program says that it is at work on the node or about to remove it",
	}
	// NodeLeaseFree is closed while another operator holds the node lease.
	NodeLeaseFree gate.Gate = ownGate{
		Name: "node-lease", Reason: api.ReasonBlocked, Binds: gate.BeforeQueue | gate.BeforeUncordon,
		Meaning: "another operator holds the node lease",
	}
	// NodeLeaseThere is closed while a node lease is required, and cannot be had.
	NodeLeaseThere gate.Gate = ownGate{
		Name: "node-lease-required", Reason: api.ReasonBlocked, Binds: gate.BeforeQueue | gate.WhileDraining,
		Meaning: "`--node-lease=required`, and no node lease is available",
	}
	// Inhibitors is closed while somebody inhibits shutdowns of the machine. systemd before
	// 257 lets root pass over that; rebootd does not.
	Inhibitors gate.Gate = ownGate{
		Name: "inhibitors", Reason: api.ReasonBlocked, Binds: gate.BeforeQueue | gate.BeforeOrder,
		Meaning: "a block inhibitor of logind forbids a shutdown",
	}
	// Paused is closed while people have paused the lock.
	Paused gate.Gate = ownGate{
		Name: "paused", Reason: api.ReasonPaused, Binds: gate.InQueue | gate.WhileDraining,
		Meaning: "the annotation `rebootd.dev/paused` is on a Lease of the lock",
	}
)

// OwnGates are the daemon's own gates.
func OwnGates() []gate.Gate {
	return []gate.Gate{Hold, OthersAtWork, NodeLeaseFree, NodeLeaseThere, Inhibitors, Paused}
}

// Kind is what is to be known of the gate.
func (g ownGate) Kind() gate.Kind { return gate.Kind(g) }

// Run has nothing to do.
func (ownGate) Run(context.Context, func(gate.Verdict)) {}

// ownGates is how each of the daemon's own gates stands.
func (d *Daemon) ownGates() map[string]func() gate.Verdict {
	return map[string]func() gate.Verdict{
		Hold.Kind().Name:           d.node.holdVerdict,
		OthersAtWork.Kind().Name:   func() gate.Verdict { return d.node.othersVerdict(d.host.boot.Time) },
		NodeLeaseFree.Kind().Name:  d.lease.freeVerdict,
		NodeLeaseThere.Kind().Name: d.lease.thereVerdict,
		Inhibitors.Kind().Name:     d.shutdown.verdict,
		Paused.Kind().Name:         d.slot.pausedVerdict,
	}
}

// verdictOf is the verdict of a gate that is closed exactly if there is a reason.
func verdictOf(why string, closed bool) gate.Verdict {
	if closed {
		return gate.Verdict{State: gate.Closed, Why: why}
	}
	return gate.Verdict{State: gate.Open}
}

// gateWorkers asks the gates, in their order.
type gateWorkers struct{ gates []*gateWorker }

func newGateWorkers(gates []gate.Gate, bg *background, own map[string]func() gate.Verdict) (*gateWorkers, error) {
	w := new(gateWorkers)
	var names []string
	for _, g := range gates {
		kind := g.Kind()
		if slices.Contains(names, kind.Name) {
			return nil, fmt.Errorf("the gate %q is registered twice", kind.Name)
		}
		if kind.Binds&gate.WhileDraining != 0 && kind.Binds&(gate.BeforeQueue|gate.InQueue|gate.WithSlot) == 0 {
			return nil, fmt.Errorf("the gate %q has nodes put back, and does not bind before they are cordoned: they would be cordoned again at once", kind.Name)
		}
		names = append(names, kind.Name)
		w.gates = append(w.gates, &gateWorker{bg: bg, gate: g, kind: kind, own: own[kind.Name]})
	}
	for _, g := range OwnGates() {
		if name := g.Kind().Name; !slices.Contains(names, name) {
			return nil, fmt.Errorf("the gate %q is not registered", name)
		}
	}
	return w, nil
}

func (w *gateWorkers) follow(s decided) bool {
	idle := true
	for _, g := range w.gates {
		idle = g.follow(s) && idle
	}
	return idle
}

func (w *gateWorkers) facts(f *decide.Facts) {
	for _, g := range w.gates {
		f.Gates = append(f.Gates, gate.Status{Kind: g.kind, Verdict: g.verdict()})
	}
}

// asked are the gates that a step asks.
func (w *gateWorkers) asked(step decide.Step) (out []gate.Status) {
	for _, g := range w.gates {
		if g.kind.Binds&step.Asks != 0 {
			out = append(out, gate.Status{Kind: g.kind, Verdict: g.verdict()})
		}
	}
	return out
}

// gateWorker asks one gate.
type gateWorker struct {
	bg   *background
	gate gate.Gate
	kind gate.Kind
	own  func() gate.Verdict // nil: it is asked by Run

	task *task
	said gate.Verdict
	// dropped says that task is not asked any more: what it still says does not count.
	dropped bool
	// rests says that the gate has ended by itself: what it said last stands while it is
	// asked.
	rests bool
}

func (w *gateWorker) verdict() gate.Verdict {
	if w.own != nil {
		return w.own()
	}
	return w.said
}

// follow asks the gate as long as the operation is at a point at which it binds.
func (w *gateWorker) follow(s decided) bool {
	asked := w.own == nil && s.obeyed && s.step.Asks&w.kind.Binds != 0
	switch {
	case asked && w.task == nil && !w.rests:
		w.dropped = false
		w.task = start(w.bg, gateAsker{w.gate}.run, w.says, func(struct{}, bool) { w.task, w.rests = nil, !w.dropped })
	case !asked && w.task != nil:
		w.task.cancel()
		w.said, w.dropped = gate.Verdict{}, true
	case !asked:
		w.said, w.rests = gate.Verdict{}, false
	}
	return true
}

func (w *gateWorker) says(v gate.Verdict) {
	if !w.dropped {
		w.said = v
	}
}

type gateAsker struct{ gate gate.Gate }

func (g gateAsker) run(ctx context.Context, say func(gate.Verdict)) struct{} {
	g.gate.Run(ctx, say)
	return struct{}{}
}
