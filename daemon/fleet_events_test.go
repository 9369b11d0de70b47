package daemon_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/sim"
	"rebootd.dev/reboot"
)

// What happens to a fleet from outside, and what becomes of requests and commands.

// brokenKind is what is wrong with the reboot command of a machine.
type brokenKind int

const (
	works brokenKind = iota
	fails
	doesNothing
	delays
	schedules
	cannotStart
	brokenKinds
)

// fate is what becomes of a request. A daemon may be killed before or after each write;
// what it has sent then may still arrive, as long as no other has been started.
func (f *fleet) fate(n *fleetNode, p *sim.Process, r sim.Request) sim.Fate {
	if p.Dead() {
		return sim.Fate{RequestLost: true}
	}
	if f.hurries(&n.truth) {
		p.Kill()
	}
	if !f.faulty() {
		return sim.Fate{}
	}
	var fate sim.Fate
	if f.chance(4) {
		fate.Delay = f.upTo(300 * time.Millisecond)
	}
	if r.Resource == "events" || r.Verb == "get" || r.Verb == "list" || r.Verb == "watch" || r.Verb == "find" {
		fate.RequestLost = f.chance(100)
		return fate
	}
	switch f.number(120) {
	case 0, 1, 2:
		f.kill(n, p, "before it")
		fate.RequestLost = true
	case 3, 4, 5:
		f.kill(n, p, "after it")
		fate.Orphaned, fate.Delay = true, 0
	case 6, 7:
		f.kill(n, p, "while it is under way")
		fate.Orphaned, fate.Delay = true, f.upTo(900*time.Millisecond)
	case 8, 9, 10, 11:
		fate.AnswerLost = true
	case 12, 13:
		fate.RequestLost = true
	}
	return fate
}

// kill kills a daemon.
func (f *fleet) kill(n *fleetNode, p *sim.Process, when string) {
	f.w.Note(n.name, "fleet", "the daemon is killed %s", when)
	p.Kill()
	f.mu.Lock()
	defer f.mu.Unlock()
	n.runs.set(false)
	n.killedAt = time.Now()
}

// command is the reboot command.
func (f *fleet) command(n *fleetNode, c *sim.Command) error {
	f.spawned(&n.truth, c)
	if f.faulty() {
		f.regret(n)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	down := func(d time.Duration) { n.goesDown = append(n.goesDown, time.Now().Add(d)) }
	f.w.Note(n.name, "fleet", "the command: %d", n.broken)
	switch n.broken {
	case works:
		down(f.upTo(5 * time.Second))
	case delays:
		down(f.upTo(4 * time.Minute))
	case schedules:
		d := f.upTo(10 * time.Minute)
		down(d)
		at := n.goesDown[len(n.goesDown)-1]
		n.scheduled = at
		go n.m.Logind.Set(func(s *reboot.Shutdown) { s.Kind, s.At = "reboot", at })
	case fails:
		c.End(1, "refused")
		return nil
	case cannotStart:
		return errors.New("no such file or directory")
	}
	switch {
	case !f.faults || !f.chance(4):
		c.End(0, "")
	case f.chance(2):
		f.w.Note(n.name, "fleet", "the daemon is killed as the command runs")
		c.Process.Kill()
		n.runs.set(false)
		n.killedAt = time.Now()
	default: // it runs until the machine goes down
		if len(n.goesDown) == 0 {
			c.End(0, "")
		}
	}
	return nil
}

// goDown takes a machine down, by rebootd's order or by a power cut.
func (f *fleet) goDown(n *fleetNode, ordered bool) {
	if !n.m.Up() {
		return
	}
	f.w.Note(n.name, "fleet", "goes down (ordered %t)", ordered)
	n.m.GoesDown()
	n.p, n.stopping = nil, nil
	n.backAt = time.Now().Add(10*time.Second + f.upTo(2*time.Minute))
	f.mu.Lock()
	defer f.mu.Unlock()
	n.runs.set(false)
	n.goesDown, n.drain.listed, n.drain.drained, n.hooks.running = nil, time.Time{}, since{}, 0
	if n.off = ordered; ordered {
		n.byRebootd++
		off := 0
		for _, x := range f.nodes {
			if x.off {
				off++
			}
		}
		if off > f.slots {
			f.violated(n.name, "%d machines are off at the same time under %d slots", off, f.slots)
		}
	}
	n.served = n.requests
	if n.annotated && !n.record.Annotated {
		n.requests++ // nobody has seen it yet: it stands
	}
	n.unasked.set(n.requests == n.served)
	n.abort.wanted.set(n.requests > n.served)
}

// bootsUp has a machine boot. Operators that take care of nodes may have found it silent,
// and be at work on it.
func (f *fleet) bootsUp(n *fleetNode) {
	n.m.Boots()
	if f.faults && f.chance(6) {
		f.setClock(n, time.Unix(30, 0)) // no battery
	}
	if f.faults {
		if f.chance(3) {
			f.othersAtWork(n)
		}
		if f.chance(5) {
			f.takesLease(n)
		}
		if f.chance(4) {
			n.sick = time.Now().Add(f.upTo(4 * time.Minute))
		}
	}
	f.mu.Lock()
	n.boot, n.off, n.hooks = n.m.BootID(), false, hooks{}
	n.inhibited = since{}
	n.inhibits = time.Time{}
	n.judgeHealth()
	f.mu.Unlock()
	f.w.Note(n.name, "fleet", "boots as %s", n.m.BootID())
}

func (f *fleet) apiUp(n *fleetNode) bool {
	return !time.Now().Before(f.apiOff.get()) && !time.Now().Before(n.cutUntil.get())
}

// outside is what happens to a node without its daemon's doing.
func (f *fleet) outside(n *fleetNode) {
	f.machine(n)
	if !n.m.Up() {
		return
	}
	f.kubelet(n)
	f.process(n)
	f.operators(n)
	f.gateEvents(n)
	if !f.faults {
		f.mends(n)
		return
	}
	f.event(n)
}

// machine has a machine go down and boot when it is time.
func (f *fleet) machine(n *fleetNode) {
	if !n.m.Up() {
		if !time.Now().Before(n.backAt) {
			f.bootsUp(n)
		}
		return
	}
	f.mu.Lock()
	due := slices.ContainsFunc(n.goesDown, func(at time.Time) bool { return !time.Now().Before(at) })
	prepares := slices.ContainsFunc(n.goesDown, func(at time.Time) bool { return time.Until(at) < 5*time.Second })
	f.mu.Unlock()
	switch {
	case due:
		f.goDown(n, true)
	case prepares && f.chance(2):
		n.m.Logind.Set(func(s *reboot.Shutdown) { s.Preparing = true })
	}
}

// kubelet reports a boot, and how the node is.
func (f *fleet) kubelet(n *fleetNode) {
	ready := !f.faults || !time.Now().Before(n.sick)
	if (n.reported != n.m.BootID() || n.ready != ready) && f.chance(3) && !time.Now().Before(f.apiOff.get()) {
		n.reported, n.ready = n.m.BootID(), ready
		n.m.KubeletReports(ready, "PLEG is not healthy")
		f.critical(n)
	}
}

// process keeps a daemon running.
func (f *fleet) process(n *fleetNode) {
	if n.p != nil && n.stopping != nil {
		select {
		case <-n.stopping:
			n.p, n.stopping = nil, nil
		default:
			return
		}
	}
	if n.p != nil && n.p.Dead() {
		n.p = nil
	}
	f.mu.Lock()
	before := n.killedAt
	f.mu.Unlock()
	switch {
	case n.p == nil && time.Since(before) > time.Second && (!f.faults || f.chance(3)):
		f.w.Note(n.name, "fleet", "a daemon is started")
		f.start(n)
	case n.p != nil:
		f.reaches(n, f.apiUp(n))
	}
}

// reaches cuts and mends the way of a daemon to the API server.
func (f *fleet) reaches(n *fleetNode, is bool) {
	if is {
		n.p.Link.Mend()
	} else {
		n.p.Link.Cut()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n.runs.set(is && !n.p.Dead())
}

// operators end what others have begun on a node when it is time.
func (f *fleet) operators(n *fleetNode) {
	over := func(at time.Time) bool { return !at.IsZero() && (!f.faults || time.Now().After(at)) }
	if over(n.leased) {
		n.leased = time.Time{}
		n.m.Lease.Give("")
		f.set(n, &n.foreign, false)
	}
	if over(n.busy) {
		n.busy = time.Time{}
		n.m.Edit(func(x *corev1.Node) { x.Spec.Taints = nil })
	}
	if over(n.inhibits) {
		n.inhibits = time.Time{}
		n.m.Logind.Set(func(s *reboot.Shutdown) { s.Inhibited = "" })
		f.set(n, &n.inhibited, false)
	}
}

func (f *fleet) set(n *fleetNode, s *since, is bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.set(is)
	n.judgeHealth()
}

// mends is what people do in the end.
func (f *fleet) mends(n *fleetNode) {
	f.mu.Lock()
	n.broken = works
	held, r, boot := n.held.is(), n.record, n.boot
	f.mu.Unlock()
	if held {
		n.m.Annotate(api.HoldAnnotation, "")
	}
	if r.Phase == "Halted" && r.BootID == boot && f.chance(30) {
		f.w.Note(n.name, "fleet", "a person reboots it, as it has not gone down")
		f.goDown(n, false)
	}
}

// pause pauses the lock, or ends that.
func (f *fleet) pause(is bool) {
	why := ""
	if is {
		why = "an outage"
	}
	f.w.Note("", "fleet", "paused: %t", is)
	f.w.Pause(lockName, why)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case !is:
		f.pausedAt = time.Time{}
	case f.pausedAt.IsZero():
		f.pausedAt = time.Now()
	}
}

// asks notes that a reboot is asked for anew, or is not asked for any more.
func (f *fleet) asks(n *fleetNode, is bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if is {
		n.requests++
	} else {
		n.served = n.requests
	}
	n.unasked.set(!is)
	n.abort.wanted.set(is)
}

// event is something that goes wrong, or that somebody does.
func (f *fleet) event(n *fleetNode) {
	note := func(format string, args ...any) { f.w.Note(n.name, "fleet", format, args...) }
	node := n.m.Node()
	switch f.number(400) {
	case 0, 1, 2, 3:
		f.mu.Lock()
		served := n.requests <= max(n.served, n.abort.maybe)
		f.mu.Unlock()
		if !n.m.HasSentinel(sentinelPath) || served {
			note("sentinel")
			f.asks(n, true)
			n.m.Touch(sentinelPath, "")
			f.regret(n)
		}
	case 4:
		note("request by annotation")
		n.m.Annotate(api.RequestAnnotation, api.RequestReboot)
	case 5:
		if n.m.HasSentinel(sentinelPath) && node.Annotations[api.RequestAnnotation] == "" {
			note("sentinel removed")
			n.m.RemoveSentinel(sentinelPath)
			f.asks(n, false)
		}
	case 6:
		hold := "debugging"
		if node.Annotations[api.HoldAnnotation] != "" {
			hold = ""
		}
		note("hold: %q", hold)
		n.m.Annotate(api.HoldAnnotation, hold)
	case 7, 8:
		cordon := !node.Spec.Unschedulable
		note("an admin cordons: %t", cordon)
		n.m.Edit(func(x *corev1.Node) { x.Spec.Unschedulable = cordon })
		if !cordon && f.chance(3) {
			note("and cordons again")
			n.m.Edit(func(x *corev1.Node) { x.Spec.Unschedulable = true })
		}
	case 9:
		f.rob(n)
	case 10:
		note("power cut")
		f.goDown(n, false)
	case 11:
		f.mu.Lock()
		n.broken = brokenKind(f.number(int(brokenKinds)))
		f.mu.Unlock()
	case 12:
		n.sick = time.Now().Add(f.upTo(10 * time.Minute))
	case 13:
		if n.p != nil && !n.p.Dead() {
			f.kill(n, n.p, "at some instant")
		}
	case 14:
		if f.chance(4) {
			f.apiOff.set(time.Now().Add(f.upTo(10 * time.Minute)))
			note("the API server is away until %s", f.apiOff.get().Format(time.TimeOnly))
		}
	case 15:
		n.slots = 1 + f.number(f.slots)
		note("%d slots after the next start", n.slots)
	case 16:
		f.pause(f.chance(2))
	case 17, 18:
		f.takesLease(n)
	case 19:
		f.othersAtWork(n)
	case 20:
		note("a shutdown is inhibited")
		n.inhibits = time.Now().Add(f.upTo(10 * time.Minute))
		n.m.Logind.Set(func(s *reboot.Shutdown) { s.Inhibited = "dpkg: installing" })
		f.set(n, &n.inhibited, true)
	case 21:
		n.cutUntil.set(time.Now().Add(f.upTo(5 * time.Minute)))
		note("cannot reach the API server until %s", n.cutUntil.get().Format(time.TimeOnly))
	case 22:
		f.w.Nodes.EndWatches()
	case 23:
		f.w.Nodes.Forget()
		f.w.Nodes.EndWatches()
	case 24, 25:
		f.stop(n)
	case 26:
		n.m.Drain.Pods(1)
	case 27:
		f.refuse(n)
	case 30:
		if f.chance(2) {
			f.abort(n)
		}
	case 28, 29:
		f.setClock(n, n.m.Now().Add(f.upTo(4*24*time.Hour)-2*24*time.Hour))
	}
}

// takesLease has another operator take the node lease, by its rules, or because ours has
// lapsed.
func (f *fleet) takesLease(n *fleetNode) {
	holder := n.m.Lease.Holder()
	if !f.leases || holder == otherOperator || holder == "rebootd" && !f.chance(4) {
		return
	}
	f.w.Note(n.name, "fleet", "%s takes the node lease", otherOperator)
	n.leased = time.Now().Add(time.Minute + f.upTo(10*time.Minute))
	n.m.Lease.Give(otherOperator)
	f.set(n, &n.foreign, true)
}

func (f *fleet) othersAtWork(n *fleetNode) {
	f.w.Note(n.name, "fleet", "others are at work")
	n.busy = time.Now().Add(2*time.Minute + f.upTo(6*time.Minute))
	n.m.Edit(func(x *corev1.Node) {
		x.Spec.Taints = []corev1.Taint{{Key: othersTaint, Effect: corev1.TaintEffectNoSchedule}}
	})
}

// critical is told of a moment at which a node's next step is a large one, and may have
// something happen just then.
func (f *fleet) critical(n *fleetNode) {
	if f.faulty() && (f.zealous() || f.meddlesome() || f.chance(4)) {
		select {
		case f.urgent <- n:
		default:
		}
	}
}

// zealous says that an admin watches the fleet and puts his own cordon on each node that
// comes back, which the daemons see late.
func (f *fleet) zealous() bool { return f.seed%4 == 1 }

// meddlesome says that others come in between at each such moment, in ways that a node
// must mind there.
func (f *fleet) meddlesome() bool { return f.seed%4 == 3 }

// mischief is what happens then.
func (f *fleet) mischief(n *fleetNode) {
	if !n.m.Up() || !f.faults {
		return
	}
	note := func(s string) { f.w.Note(n.name, "fleet", "just then %s", s) }
	what := f.number(6)
	f.mu.Lock()
	switch verifies := n.record.Phase == "Verifying"; { // little matters then
	case verifies && f.zealous():
		what = 4
	case verifies && f.meddlesome():
		what = 3
	case verifies:
		what = 3 + what%2
	case f.meddlesome():
		what %= 3
	}
	f.mu.Unlock()
	switch what {
	case 0:
		f.pause(true)
	case 1:
		f.rob(n)
	case 2:
		f.takesLease(n)
	case 3:
		f.othersAtWork(n)
	case 4:
		note("an admin puts his own cordon in the place of what there is")
		n.m.Edit(func(x *corev1.Node) { x.Spec.Unschedulable = false })
		n.m.Edit(func(x *corev1.Node) { x.Spec.Unschedulable = true })
	case 5:
		note("the node is held")
		n.m.Annotate(api.HoldAnnotation, "debugging")
	}
}

func (f *fleet) setClock(n *fleetNode, to time.Time) {
	f.mu.Lock()
	n.setAt = time.Now()
	n.clocks++
	f.mu.Unlock()
	n.m.SetClock(to)
}

// stop tells a daemon to stop, as a rollout of it does.
func (f *fleet) stop(n *fleetNode) {
	if n.p == nil || n.p.Dead() || n.stopping != nil {
		return
	}
	f.w.Note(n.name, "fleet", "the daemon is told to stop")
	p, stopped := n.p, make(chan struct{})
	n.stopping = stopped
	go func() {
		p.Stop()
		f.mu.Lock()
		n.runs.set(false)
		f.mu.Unlock()
		close(stopped)
	}()
}

// rob has somebody clear a slot, in a third of the fleets.
func (f *fleet) rob(n *fleetNode) {
	if f.seed%3 != 0 {
		return
	}
	for slot, holder := range f.holders() {
		if holder != n.name && f.holds(n.name) {
			continue
		}
		f.w.Note(n.name, "fleet", "somebody clears %s of %s", slot, holder)
		f.mu.Lock()
		f.robbed = true
		f.byName[holder].slotless = since{time.Now()} // the last check may be from before it had the slot
		f.mu.Unlock()
		f.w.ClearSlot(slot)
		return
	}
}

// refuse has a policy of the cluster's refuse writes of a node for a while.
func (f *fleet) refuse(n *fleetNode) {
	name, until := n.name, time.Now().Add(f.upTo(5*time.Minute))
	f.w.Note(name, "fleet", "a policy refuses its writes until %s", until.Format(time.TimeOnly))
	f.w.Admit(func(r sim.Request) error {
		if r.Name != name || time.Now().After(until) || strings.Contains(r.Body, "policy-probe") {
			return nil
		}
		f.mu.Lock()
		n.refusedAt = time.Now()
		f.mu.Unlock()
		return sim.Forbidden(name, "the change freeze")
	})
}

var errHook = errors.New("exit status 1")

// hookStage is an admin's hooks, which leave something behind.
type hookStage struct {
	f *fleet
	n *fleetNode
	p *sim.Process
}

func (h *hookStage) begin(undo bool) (ok bool) {
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	x := &h.n.hooks
	if h.p.Dead() {
		return false
	}
	if x.running > 0 {
		h.f.violated(h.n.name, "two hooks run at once")
	}
	x.running++
	if undo {
		x.undone = true
	} else {
		x.did, x.undone = true, false
	}
	return true
}

// run takes its time, and says whether it has come to its end.
func (h *hookStage) run(ctx context.Context) bool {
	t := time.NewTimer(h.f.upTo(20 * time.Second))
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
	h.f.mu.Lock()
	defer h.f.mu.Unlock()
	h.n.hooks.running = max(0, h.n.hooks.running-1)
	return ctx.Err() == nil && !h.p.Dead()
}
