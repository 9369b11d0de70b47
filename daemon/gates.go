package daemon

import (
	"context"
	"fmt"
	"slices"
	"time"

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
	// ConfigValid is closed while the configuration file is refused: with it, the daemon
	// would not start after the reboot, and the node would stay cordoned with its slot.
	ConfigValid gate.Gate = ownGate{
		Name: "config", Reason: api.ReasonConfigRefused, Binds: gate.BeforeQueue | gate.BeforeOrder,
		Meaning: "the configuration file has changed and is refused: after the reboot the daemon would not start with it",
	}
	// Paused is closed while people have paused the lock.
	Paused gate.Gate = ownGate{
		Name: "paused", Reason: api.ReasonPaused, Binds: gate.InQueue | gate.WhileDraining,
		Meaning: "the annotation `rebootd.dev/paused` is on a Lease of the lock, and the time in `rebootd.dev/paused-until` beside it, if there is one, has not come",
	}
)

// OwnGates are the daemon's own gates.
func OwnGates() []gate.Gate {
	return []gate.Gate{Hold, OthersAtWork, NodeLeaseFree, NodeLeaseThere, LockName, ConfigValid, Inhibitors, Paused}
}

// Kind is what is to be known of the gate.
func (g ownGate) Kind() gate.Kind { return gate.Kind(g) }

// ownGates is how each of the daemon's own gates stands.
func (d *Daemon) ownGates() map[string]func() gate.Verdict {
	return map[string]func() gate.Verdict{
		Hold.Kind().Name:         d.node.holdVerdict,
		OthersAtWork.Kind().Name: func() gate.Verdict { return d.node.othersVerdict(d.host.boot.Time) },
		NodeLeaseFree.Kind().Name: func() gate.Verdict {
			v := d.lease.freeVerdict()
			if !v.Again.IsZero() {
				v.Again = v.Again.Add(d.clockSet)
			}
			return v
		},
		NodeLeaseThere.Kind().Name: d.lease.thereVerdict,
		Inhibitors.Kind().Name:     d.shutdown.verdict,
		LockName.Kind().Name:       d.lockNameVerdict,
		ConfigValid.Kind().Name:    d.notices.configVerdict,
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
type gateWorkers struct {
	gates []*gateWorker
	view  gate.View // as of the last facts
	look  func(decide.Facts) gate.View
	tell  func(reason api.Reason, text string)
}

// newGateWorkers makes the gates' workers. look makes the view of the gates from what the
// other workers know, and trial the patch that would cordon the node.
func newGateWorkers(gates []gate.Gate, bg *background, own map[string]func() gate.Verdict, look func(decide.Facts) gate.View, trial func() []byte, tell func(api.Reason, string)) (*gateWorkers, error) {
	w := &gateWorkers{look: look, tell: tell}
	var names []string
	for _, g := range gates {
		kind := g.Kind()
		if slices.Contains(names, kind.Name) {
			return nil, fmt.Errorf("the gate %q is registered twice", kind.Name)
		}
		if kind.Binds&gate.WhileDraining != 0 && kind.Binds&(gate.BeforeQueue|gate.InQueue|gate.WithSlot|gate.OnTurn) == 0 {
			return nil, fmt.Errorf("the gate %q has nodes put back, and does not bind before they are cordoned: they would be cordoned again at once", kind.Name)
		}
		names = append(names, kind.Name)
		one := &gateWorker{bg: bg, kind: kind, own: own[kind.Name], view: func() gate.View { return w.view }, trial: trial}
		if l, ok := g.(gate.Looker); ok {
			one.looker, one.own = l, func() gate.Verdict { return l.Look(w.view) }
		}
		one.asker, _ = g.(gate.Asker)
		one.timed, _ = g.(gate.Timed)
		if (one.own == nil) == (one.asker == nil) {
			return nil, fmt.Errorf("the gate %q neither looks nor asks, or does both", kind.Name)
		}
		w.gates = append(w.gates, one)
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
		g.tellOpened(s, w.tell)
	}
	return idle
}

// follows takes over what people were told of gates of the same names.
func (w *gateWorkers) follows(before *gateWorkers) {
	for _, g := range w.gates {
		for _, was := range before.gates {
			if was.kind.Name == g.kind.Name {
				g.told = was.told
			}
		}
	}
}

func (w *gateWorkers) facts(f *decide.Facts) {
	w.view = w.look(*f)
	f.Gates = w.verdicts()
	if w.view.OnTurn = w.view.HasSlot && comesToItsTurn(f.Gates); w.view.OnTurn {
		f.Gates = w.verdicts()
	}
}

func (w *gateWorkers) verdicts() (out []gate.Status) {
	for _, g := range w.gates {
		out = append(out, gate.Status{Kind: g.kind, Verdict: g.verdict()})
	}
	return out
}

// comesToItsTurn says whether no gate keeps a node that holds a slot from its turn. Those
// that bind there do not count: what they have to say depends on it.
func comesToItsTurn(gates []gate.Status) bool {
	const earlier = gate.BeforeQueue | gate.InQueue | gate.WithSlot | gate.WhileDraining
	gates = slices.DeleteFunc(slices.Clone(gates), func(g gate.Status) bool { return g.Binds&gate.OnTurn != 0 })
	_, shut := gate.FirstClosed(gates, earlier)
	_, unknown := gate.FirstUnknown(gates, earlier)
	return !shut && !unknown
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

// window is when windows and freezes let a reboot begin; zero: they do, or it is not
// known. It is known of a node that asks for nothing, too.
func (w *gateWorkers) window() time.Time {
	v := w.view
	for range maxSteps {
		before := v.Now
		for _, g := range w.gates {
			if name := g.kind.Name; g.looker == nil || name != gate.Window && name != gate.Freeze {
				continue
			}
			switch said := g.looker.Look(v); {
			case said.State != gate.Closed:
			case said.Until.IsZero():
				return time.Time{}
			case said.Until.After(v.Now):
				v.Now = said.Until
			}
		}
		if v.Now.Equal(before) {
			break
		}
	}
	if v.Now.Equal(w.view.Now) {
		return time.Time{}
	}
	return v.Now
}

// maxSteps bounds how often one of two gates opens only for the other to be closed.
const maxSteps = 16

// gateWorker asks one gate.
type gateWorker struct {
	bg     *background
	kind   gate.Kind
	own    func() gate.Verdict // nil: it is asked by Run
	asker  gate.Asker          // or nil
	looker gate.Looker         // or nil
	timed  gate.Timed          // or nil
	view   func() gate.View
	trial  func() []byte

	task  *task
	key   string    // of what it was asked about
	asked time.Time // when
	said  gate.Verdict
	// dropped says that task is not asked any more: what it still says does not count.
	dropped bool
	told    string // the operation for which people were told what has opened it
	// rests says that the gate has ended by itself: what it said last stands while it is
	// asked.
	rests bool
}

// maxSilence is for how long a node whose turn it is keeps others from their slot for the
// answer of a gate.
const maxSilence = 2 * time.Minute

// verdict is how the gate stands. What it has said of something else does not count, also
// in the turn in which that has changed.
func (w *gateWorker) verdict() gate.Verdict {
	switch {
	case w.own != nil:
		return w.own()
	case w.isStale():
		return gate.Verdict{}
	case w.task != nil && w.said.State == gate.Unknown && w.kind.Binds&gate.OnTurn != 0 && time.Since(w.asked) >= maxSilence:
		return gate.Verdict{State: gate.Closed, Why: fmt.Sprintf("the gate %s has not answered within %s", w.kind.Name, maxSilence), At: gate.OnTurn}
	}
	return w.said
}

// isStale says whether the gate was asked about something else.
func (w *gateWorker) isStale() bool {
	return (w.task != nil || w.rests) && w.keyOf(w.view()) != w.key
}

// follow asks the gate as long as the operation is at a point at which it binds.
func (w *gateWorker) follow(s decided) bool {
	ask := w.own == nil && s.obeyed && s.step.Asks&w.kind.Binds != 0
	if !ask || w.isStale() {
		w.drop()
	}
	if ask && w.task == nil && !w.rests {
		v := w.view()
		w.key, v.Trial = w.keyOf(v), w.trial()
		w.dropped, w.asked = false, time.Now()
		w.task = start(w.bg, gateAsker{w.asker, v}.run, w.says, func(struct{}, bool) { w.task, w.rests = nil, !w.dropped })
	}
	return true
}

// tellOpened tells people once what has opened the gate for an operation.
func (w *gateWorker) tellOpened(s decided, tell func(api.Reason, string)) {
	if s.node == nil {
		return // gates are about a Node
	}
	v := w.verdict()
	switch {
	case v.State == gate.Closed:
		w.told = ""
	case v.Opened != "" && s.record != nil && s.step.Asks&w.kind.Binds != 0 && w.told != s.record.ID:
		w.told = s.record.ID
		tell(w.kind.Opens, v.Opened)
	}
}

// drop forgets what the gate has said, and asks it no more.
func (w *gateWorker) drop() {
	if w.task != nil {
		w.task.cancel()
		w.dropped = true
	}
	w.said, w.rests = gate.Verdict{}, false
}

// keyOf tells what the gate is asked about.
func (w *gateWorker) keyOf(v gate.View) string {
	if k, ok := w.asker.(gate.Keyed); ok {
		return k.Key(v)
	}
	return ""
}

func (w *gateWorker) says(v gate.Verdict) {
	if !w.dropped {
		w.said = v
	}
}

type gateAsker struct {
	gate gate.Asker
	view gate.View
}

func (g gateAsker) run(ctx context.Context, say func(gate.Verdict)) struct{} {
	g.gate.Run(ctx, g.view, say)
	return struct{}{}
}
