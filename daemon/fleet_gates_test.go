package daemon_test

import (
	"context"
	"math/rand/v2"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/windows"
)

// Gates of a fleet, one for each way in which they bind, and what is judged of them: what
// was closed, by what the node could know and by its own clock, was obeyed.

const (
	approvedAnnotation = "toy.test/approved"
	// heard is how long after a gate has closed a node must know of it: it asks every few
	// seconds, and a write may be under way.
	heard = 12 * time.Second
)

// fleetGates are those of a fleet; the zero value is a fleet without.
type fleetGates struct {
	window                             fleetWindow
	alert, blocker, approval, guard    bool
	ailment                            bool
	deadline                           time.Duration // zero: none
	alertsUntil                        time.Time
	blockedUntil, guarded, ailingUntil map[string]time.Time
}

// newFleetGates has gates in two fleets of three, and each kind of them in most.
func newFleetGates(seed uint64) (g fleetGates) {
	rng := rand.New(rand.NewPCG(seed, 3))
	g.blockedUntil, g.guarded, g.ailingUntil = map[string]time.Time{}, map[string]time.Time{}, map[string]time.Time{}
	if seed%3 == 0 {
		return g
	}
	often := func() bool { return rng.IntN(3) > 0 }
	if often() {
		period := 10*time.Minute + time.Duration(rng.IntN(20))*time.Minute
		g.window = fleetWindow{period: period, length: period/3 + time.Duration(rng.IntN(int(period/3))), putBack: rng.IntN(2) == 0}
		if rng.IntN(2) == 0 {
			g.window = fleetWindow{period: 30 * time.Minute, length: time.Duration(8+rng.IntN(14)) * time.Minute, putBack: g.window.putBack, real: true}
		}
	}
	g.alert, g.blocker, g.approval, g.guard, g.ailment = often(), often(), often(), often(), often()
	if rng.IntN(2) == 0 {
		g.deadline = 5*time.Minute + time.Duration(rng.IntN(60))*time.Minute
	}
	return g
}

// fleetWindow opens each period for a length, by the clock of the node.
type fleetWindow struct {
	period, length time.Duration
	putBack        bool
	real           bool // the gate of package windows, in minutes of a day
}

// closedFor is for how long it has been closed, and until when; zero: it is open.
func (w fleetWindow) closedFor(now time.Time) (d time.Duration, until time.Time) {
	if w.period == 0 {
		return 0, time.Time{}
	}
	began := now.Round(0).Truncate(w.period)
	if in := now.Round(0).Sub(began); in >= w.length {
		return max(in-w.length, 1), began.Add(w.period)
	}
	return 0, time.Time{}
}

func (w fleetWindow) gate() gate.Gate {
	if w.real {
		var day []string
		for at := (time.Time{}); at.Day() == 1; at = at.Add(w.period) {
			day = append(day, at.Format("15:04")+"-"+at.Add(w.length).Format("15:04"))
		}
		g, _ := windows.New(windows.Settings{Entries: day, Zone: time.LoadLocation, PutBack: w.putBack})
		return g
	}
	binds := gate.BeforeQueue
	if w.putBack {
		binds |= gate.WhileDraining
	}
	g := looking("toy-window", binds, func(v gate.View) gate.Verdict {
		if d, until := w.closedFor(v.Now); d > 0 {
			return gate.Verdict{State: gate.Closed, Why: "outside the window", Until: until}
		}
		return open
	})
	g.kind.Soft = true
	return g
}

// fleetAsker asks for the truth, again and again.
type fleetAsker struct {
	kind gate.Kind
	f    *fleet
	shut *since // under the judge's lock
}

// Kind implements gate.Gate.
func (g fleetAsker) Kind() gate.Kind { return g.kind }

// Run implements gate.Asker.
func (g fleetAsker) Run(ctx context.Context, _ gate.View, say func(gate.Verdict)) {
	var said gate.Verdict
	for ctx.Err() == nil {
		t := time.NewTimer(g.f.upTo(2 * time.Second))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
		g.f.mu.Lock()
		v := closedIf(g.shut.is(), "the toy is in the way")
		g.f.mu.Unlock()
		if v != said {
			said = v
			say(v)
		}
	}
}

// gatesOf adds the gates of a node.
func (f *fleet) gatesOf(c *daemon.Config, n *fleetNode) {
	g := &f.gates
	c.Policy.Deadline = g.deadline
	add := func(is bool, x gate.Gate) {
		if is {
			c.Gates = append(c.Gates, x)
		}
	}
	asks := func(name string, binds gate.Points, soft bool, s *since) gate.Gate {
		return fleetAsker{gate.Kind{Name: name, Reason: api.ReasonBlocked, Binds: binds, Soft: soft}, f, s}
	}
	approval := looking("toy-approval", gate.BeforeQueue|gate.WhileDraining, func(v gate.View) gate.Verdict {
		return closedIf(v.Node.Annotations[approvedAnnotation] == "", "nobody has approved it")
	})
	approval.kind.Soft = true
	add(g.window.period > 0, g.window.gate())
	add(g.approval, approval)
	add(g.alert, asks("toy-alert", gate.WithSlot, false, &f.alerts))
	add(g.blocker, asks("toy-blocker", gate.OnTurn, true, &n.blocked))
	add(g.guard, asks("toy-guard", gate.BeforeOrder, false, &n.guarded))
	add(g.ailment, asks("toy-ailment", gate.BeforeUncordon, false, &n.ailing))
}

// gateTruth is what is true of the gates of a node.
type gateTruth struct {
	clock                    func() time.Time
	skew                     time.Duration // of its daemon
	window                   fleetWindow
	setAt                    time.Time // when the clock was set, or a daemon was started
	blocked, guarded, ailing since
	unapproved               since
	deferredAt               time.Time
}

// gateEvents have gates open and close.
func (f *fleet) gateEvents(n *fleetNode) {
	g := &f.gates
	now := time.Now()
	f.shuts(&f.alerts, g.alertsUntil)
	f.shuts(&n.blocked, g.blockedUntil[n.name])
	f.shuts(&n.guarded, g.guarded[n.name])
	f.shuts(&n.ailing, g.ailingUntil[n.name])
	f.mu.Lock()
	begun := n.record.disturbed()
	f.mu.Unlock()
	if g.approval && n.m.Node().Annotations[approvedAnnotation] == "" && (!f.faults || !begun && f.chance(25)) {
		n.m.Annotate(approvedAnnotation, "CHG-1")
	}
	if !f.faults {
		return
	}
	switch f.number(300) {
	case 0:
		g.alertsUntil = now.Add(f.upTo(10 * time.Minute))
	case 1, 2:
		g.blockedUntil[n.name] = now.Add(f.upTo(20 * time.Minute))
	case 3:
		g.guarded[n.name] = now.Add(f.upTo(15 * time.Minute))
	case 4:
		g.ailingUntil[n.name] = now.Add(f.upTo(6 * time.Minute))
	case 5:
		f.withdraws(n)
	}
}

// shuts has something be so until then.
func (f *fleet) shuts(s *since, until time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if is := f.faults && time.Now().Before(until); is != s.is() {
		f.w.Note("", "fleet", "a gate is closed: %t", is)
		s.set(is)
		f.quiet.set(!f.alerts.is())
		for _, n := range f.nodes {
			n.judgeHealth()
		}
	}
}

func (f *fleet) withdraws(n *fleetNode) {
	f.w.Note(n.name, "fleet", "the approval is withdrawn")
	n.m.Annotate(approvedAnnotation, "")
}

// gateMischief closes a gate in the moment in which a node comes to where it counts, and
// leaves it closed for longer than the node could miss it.
func (f *fleet) gateMischief(n *fleetNode) {
	if !f.faults || !n.m.Up() {
		return
	}
	g := &f.gates
	f.mu.Lock()
	phase := n.record.Phase
	f.mu.Unlock()
	until := time.Now().Add(time.Minute + f.upTo(8*time.Minute))
	switch phase {
	case "Queued":
		if f.chance(3) {
			g.alertsUntil = until
		} else {
			g.blockedUntil[n.name] = until.Add(5 * time.Minute)
		}
	case "Draining":
		if f.chance(2) {
			f.withdraws(n)
		} else {
			g.guarded[n.name] = until
		}
	case "Rebooting", "Verifying":
		g.ailingUntil[n.name] = until.Add(2 * time.Minute) // it is down for a while
	}
	f.gateEvents(n)
}

// closes is told of each change of a record, with the judge's lock held.
func (f *fleet) closes(n *fleetNode) {
	if f.faults && (f.plant.gates != nil || f.meddlesome() || f.chance(6)) {
		select {
		case f.closing <- n:
		default:
		}
	}
}

// pastDeadline says whether the deadline may have passed by the clock of the node.
func (t *truth) pastDeadline() bool {
	return !t.record.Deadline.IsZero() && t.clock().Round(0).Add(t.skew+heard).After(t.record.Deadline)
}

// cordonsBehindGates judges a node that begins by the gates that bind before that.
func (j *judge) cordonsBehindGates(t *truth) {
	closedFor, _ := t.window.closedFor(t.clock())
	soft := !t.pastDeadline()
	switch {
	case j.gates.alert && j.alerts.isFor(heard):
		j.violated(t.name, "cordoned although an alert fires")
	case soft && j.gates.blocker && t.blocked.isFor(heard):
		j.violated(t.name, "cordoned although its pods block that")
	case soft && j.gates.approval && j.knows(t, t.unapproved):
		j.violated(t.name, "cordoned although nobody has approved it")
	case soft && closedFor > heard && time.Since(t.setAt) > heard:
		j.violated(t.name, "cordoned, and the window has been closed for %s", closedFor)
	}
}

// ordersBehindGates judges an order by the gates that bind before that.
func (j *judge) ordersBehindGates(t *truth) {
	closedFor, _ := t.window.closedFor(t.clock())
	soft := !t.pastDeadline()
	switch {
	case j.gates.guard && t.guarded.isFor(heard):
		j.violated(t.name, "a reboot was ordered although a gate that binds before that is closed")
	case soft && j.gates.approval && j.knows(t, t.unapproved):
		j.violated(t.name, "a reboot was ordered although the approval was withdrawn")
	case soft && t.window.putBack && closedFor > heard+30*time.Second && time.Since(t.setAt) > heard+30*time.Second:
		j.violated(t.name, "a reboot was ordered, and the window has been closed for %s", closedFor)
	}
}

// defers judges a node that gives its turn up, and when it comes back.
func (j *judge) defers(t *truth, was written) {
	now := t.record
	if now.ID != was.ID {
		t.deferredAt = time.Time{}
	}
	switch {
	case now.Phase == "Waiting" && now.Deferrals > was.Deferrals:
		t.deferredAt = time.Now()
	case was.Phase == "Waiting" && now.Phase == "Queued" && !t.deferredAt.IsZero():
		if after := time.Since(t.deferredAt); after < 50*time.Second && t.setAt.Before(t.deferredAt) && t.skew == 0 && !t.pastDeadline() {
			j.violated(t.name, "it has given its turn up, and comes back after %s", after)
		}
		t.deferredAt = time.Time{}
	}
}

// keepsOn judges a node that holds a slot and cannot make use of it, and one that is drained
// though a gate is closed that has it put back. Alerts, which are not for it alone, have it
// keep the slot, "" for none. Pods are asked about once the node holds one: it has its time
// from then on. An approval is asked for before that.
func (j *judge) keepsOn(t *truth, slot string) {
	quiet := !j.gates.alert || j.quiet.isFor(knownSlow)
	closedFor, _ := t.window.closedFor(t.clock())
	phase := t.record.Phase
	if !t.runs.isFor(knownSlow) || time.Since(t.since) < knownSlow || time.Since(t.setAt) < knownSlow || time.Since(t.refusedAt) < refusal || t.pastDeadline() {
		return
	}
	switch {
	case phase == "Queued" && slot != "" && time.Since(j.world.TakenAt(slot)) > knownSlow && j.gates.blocker && t.blocked.isFor(knownSlow) && quiet:
		j.violated(t.name, "it keeps a slot though its pods block its turn")
	case phase == "Queued" && slot != "" && j.gates.approval && t.unapproved.isFor(knownSlow):
		j.violated(t.name, "it keeps a slot though nobody has approved its reboot")
	case phase == "Draining" && t.record.Undo == nil && j.gates.approval && t.unapproved.isFor(knownSlow):
		j.violated(t.name, "it is drained though the approval was withdrawn")
	case phase == "Draining" && t.record.Undo == nil && t.window.putBack && closedFor > knownSlow:
		j.violated(t.name, "it is drained, and the window has been closed for %s", closedFor)
	}
}

// gateFaults are faults in how gates are obeyed.
var gateFaults = map[string]fault{
	"reads the clock of its start": {gates: needsWindow, parts: readsTheOldClock},
	"obeys no real window":         {gates: needsRealWindow, next: deafToToy("window")},
	"obeys no window":              {gates: needsWindow, next: deafToToy("toy-window")},
	"obeys no alert":               {gates: needsAlert, next: deafToToy("toy-alert")},
	"obeys no blocker":             {gates: needsBlocker, next: deafToToy("toy-blocker")},
	"needs no approval":            {gates: needsApproval, next: deafToToy("toy-approval")},
	"obeys no guard":               {gates: needsGuard, next: deafToToy("toy-guard")},
	"obeys no ailment": {gates: needsAilment, next: func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		opened(&f, "toy-ailment")
		if f.Ailing == "" && f.HealthySince.IsZero() {
			f.HealthySince = f.Now
		}
		return decide.Next(p, r, f)
	}},
	"minds no withdrawal": {gates: needsApproval, next: func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		if r != nil && (r.Phase == api.PhaseDraining || r.Phase == api.PhaseRebooting) {
			opened(&f, "toy-approval")
		}
		return decide.Next(p, r, f)
	}},
	"does not close the window on a drain": {gates: needsWindow, next: func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		if r != nil && (r.Phase == api.PhaseDraining || r.Phase == api.PhaseRebooting) {
			opened(&f, "toy-window")
		}
		return decide.Next(p, r, f)
	}},
	"keeps the slot on its turn": {gates: needsBlocker, next: func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		s := decide.Next(p, r, f)
		if s.Record != nil && r != nil && s.Record.Deferrals > r.Deferrals {
			s.Do, s.Record = decide.DoWait, nil
		}
		return s
	}},
	"makes no pause after its turn": {gates: needsBlocker, next: func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		s := decide.Next(p, r, f)
		if s.Record != nil && r != nil && s.Record.Deferrals > r.Deferrals {
			s.Record.NotBefore = time.Time{}
		}
		return s
	}},
	"obeys soft gates never": {gates: needsWindow, next: func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		for i := range f.Gates {
			if f.Gates[i].Soft {
				f.Gates[i].Verdict = open
			}
		}
		return decide.Next(p, r, f)
	}},
	"passes over hard gates after the deadline": {gates: needsDeadline, next: func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		for i := range f.Gates {
			f.Gates[i].Soft = true
		}
		return decide.Next(p, r, f)
	}},
}

func needsWindow(g *fleetGates) {
	g.window = fleetWindow{period: 10 * time.Minute, length: 4 * time.Minute, putBack: true}
}

func needsRealWindow(g *fleetGates) {
	g.window = fleetWindow{period: 30 * time.Minute, length: 10 * time.Minute, putBack: true, real: true}
}

func needsAlert(g *fleetGates) { g.alert = true }
func needsBlocker(g *fleetGates) {
	g.alert, g.approval, g.window, g.blocker = false, false, fleetWindow{}, true
}
func needsApproval(g *fleetGates) { g.window, g.approval = fleetWindow{}, true }
func needsGuard(g *fleetGates)    { g.guard = true }
func needsAilment(g *fleetGates)  { g.window, g.approval, g.ailment = fleetWindow{}, false, true }
func needsDeadline(g *fleetGates) { g.alert, g.deadline = true, 5*time.Minute }

func deafToToy(name string) decision {
	return func(p decide.Policy, r *api.Record, f decide.Facts) decide.Step {
		opened(&f, name)
		return decide.Next(p, r, f)
	}
}

// oldClock shows a gate the clock as it was at the start of the daemon.
type oldClock struct {
	gate.Looker
	first *gate.View
}

// Look implements gate.Looker.
func (g oldClock) Look(v gate.View) gate.Verdict {
	if g.first.Now.IsZero() {
		*g.first = v
	}
	v.Now = g.first.Now.Add(v.Uptime - g.first.Uptime)
	return g.Looker.Look(v)
}

func readsTheOldClock(c *daemon.Config) {
	for i, g := range c.Gates {
		if l, ok := g.(gate.Looker); ok {
			c.Gates[i] = oldClock{l, new(gate.View)}
		}
	}
}

// approvals notes whether a Node's reboot is approved.
func (t *truth) approvals(n *corev1.Node) { t.unapproved.set(n.Annotations[approvedAnnotation] == "") }
