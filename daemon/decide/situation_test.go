package decide

import (
	"encoding/json"
	"fmt"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

const (
	limit  = 30 * time.Minute // of the drain
	before = time.Hour        // that the machine had been up at t0
)

var (
	t0 = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

	preDrain = Stage{Name: "pre-drain", Reason: api.ReasonDraining, Message: "running the hooks of pre-drain.d", Failed: api.ReasonHookFailed, Undoable: true}
	drain    = Stage{
		Name: "drain", Reason: api.ReasonDraining, Message: "draining", Failed: api.ReasonDrainTimedOut, Lasting: true,
		Limit: limit, OnLimit: Rollback, Blocked: api.ReasonDrainBlocked, TimedOut: api.ReasonDrainTimedOut,
	}
	preReboot = Stage{Name: "pre-reboot", Reason: api.ReasonDraining, Message: "running the hooks of pre-reboot.d", Failed: api.ReasonHookFailed, Undoable: true, Last: true}

	slotKind  = ClaimKind{Name: "slot", Lost: api.ReasonSlotLost, Queued: true}
	leaseKind = ClaimKind{Name: "node-lease", Lost: api.ReasonNodeLeaseLost, Fresh: time.Minute}
)

// policyOf is a policy with those stages.
func policyOf(stages ...Stage) Policy {
	return Policy{
		Node: "n", Lock: "rebootd", Stages: stages, OrderWait: limit,
		RebootTimeout: 15 * time.Minute, HealthTimeout: 15 * time.Minute, Settle: time.Minute, AllowSoftReboot: true, AllowKexec: true,
	}
}

// draining with another end of its time.
func drainUntil(limit time.Duration, policy TimeoutPolicy) Stage {
	k := drain
	k.Limit, k.OnLimit = limit, policy
	return k
}

// situation is one combination of everything that a decision depends on. slot and lease
// are f.Claims, and hooks, drained and last are f.Stages, before they are put together.
type situation struct {
	p Policy
	r *api.Record
	f Facts

	slot, lease           Claim
	hooks, drained, last  Progress
	drainKey, otherDrain  string
	orderKey, otherOrders string
	healthySince          time.Time // were nothing ailing
	next                  func(Policy, *api.Record, Facts) Step
}

// base is a record, with the facts under which the operation gets on.
func base(r *api.Record) situation {
	s := situation{
		p: policyOf(preDrain, drain, preReboot), r: r, next: Next,
		slot:  Claim{ClaimKind: slotKind, State: ClaimHeld, Title: "slot rebootd-0"},
		lease: Claim{ClaimKind: leaseKind, State: ClaimHeld, Title: "node lease"},
	}
	s.f = Facts{
		Now: t0.Add(2 * time.Second), Instance: "me", Running: time.Hour,
		Request:  Request{Wanted: true, Why: "kernel", Level: api.FullReboot},
		Boot:     Boot{ID: "boot-1", Time: t0.Add(-before), Userspace: Userspace{Known: true}, KexecLoaded: true},
		Node:     Node{Unschedulable: !undisturbed(r), Unprotected: []string{"a"}, Ready: true, KubeletBoot: "boot-1"},
		Shutdown: Shutdown{Known: true},
	}
	s.healthySince = t0.Add(-time.Hour)
	if r == nil {
		return s
	}
	s.f.Request.Annotated = r.Annotated
	s.drainKey, s.orderKey, s.otherDrain, s.otherOrders = r.DrainKey(), r.OrderKey(), "op earlier", "op earlier"
	s.hooks, s.drained, s.last = s.progress(StageDone), s.progress(StageDone), s.progress(StageDone)
	s.drained.Summary = "drained: 4 drained"
	if r.Phase == api.PhaseVerifying && !r.Soft || r.Phase == api.PhaseHalted && !r.Soft && r.Failure.Reason == api.ReasonUnhealthy {
		s.f.Boot = Boot{ID: "boot-2", Time: t0.Add(-time.Minute)}
		s.f.Node.KubeletBoot = "boot-2"
	}
	if r.Soft {
		s.f.Boot.Userspace = Userspace{Known: true, SoftReboots: 1, Since: t0}
		s.f.Node.Heartbeat = t0.Add(time.Second)
	}
	return s
}

func (s *situation) progress(state StageState) Progress {
	return Progress{Key: s.drainKey, State: state}
}

// ready puts the facts together.
func (s situation) ready() situation {
	f := &s.f
	f.Claims = []Claim{s.slot, s.lease}
	if s.lease.At.IsZero() {
		f.Claims[1].At = f.Now
	}
	f.Stages = nil
	for _, k := range s.p.Stages {
		switch k.Name {
		case "pre-drain":
			f.Stages = append(f.Stages, s.hooks)
		case "drain":
			f.Stages = append(f.Stages, s.drained)
		default:
			f.Stages = append(f.Stages, s.last)
		}
	}
	if f.Uptime = f.Now.Sub(t0) + before; f.Boot.ID == "boot-2" {
		f.Uptime = f.Now.Sub(f.Boot.Time)
	}
	f.Ailing, f.HealthySince = Ailing(*f), s.healthySince
	if f.Ailing != "" {
		f.HealthySince = time.Time{}
	}
	return s
}

// but is the situation with changes.
func (s situation) but(change ...func(*situation)) situation {
	s.r = s.r.Clone()
	for _, c := range change {
		c(&s)
	}
	return s.ready()
}

func (s situation) step() Step { return s.next(s.p, s.r, s.f) }

func (s situation) String() string {
	rec, _ := json.Marshal(s.r)
	return fmt.Sprintf("record %s\nfacts %+v\npolicy %+v", rec, s.f, s.p)
}

func (s situation) phase() api.Phase {
	if s.r == nil {
		return api.PhaseIdle
	}
	return s.r.Phase
}

// in says whether the operation is in one of the phases.
func (s situation) in(phases ...api.Phase) bool {
	for _, p := range phases {
		if s.phase() == p {
			return true
		}
	}
	return false
}

// rebooted says whether what was ordered to start over has, since the record was made.
func (s situation) rebooted() bool {
	return s.r != nil && s.f.Boot.ID != "" && (s.f.Boot.ID != s.r.BootID || s.r.Soft)
}

// softRebooted says whether userspace alone has started over since the order.
func (s situation) softRebooted() bool {
	u := s.f.Boot.Userspace
	return s.r != nil && s.r.Order != nil && s.f.Boot.ID == s.r.BootID && s.r.SoftReboots != nil && u.Known && u.SoftReboots > *s.r.SoftReboots
}

func (s situation) child() ChildState {
	if s.r == nil || s.r.Order == nil || s.f.Child.Key != s.orderKey {
		return ChildNone
	}
	return s.f.Child.State
}

// ordered says whether the reboot command may have been called.
func (s situation) ordered() bool {
	if s.in(api.PhaseHalted) {
		return true
	}
	return s.in(api.PhaseRebooting) && (s.r.Order.By != s.f.Instance || s.child() != ChildNone)
}

// ongoing says whether the operation is at work on the node, on the boot that it is to
// end.
func (s situation) ongoing() bool {
	return s.in(api.PhaseDraining, api.PhaseRebooting) && s.f.Boot.ID != "" && !s.rebooted()
}

func (s situation) undoing() bool {
	working := s.in(api.PhaseDraining, api.PhaseRebooting) || s.in(api.PhaseVerifying, api.PhaseHalted) && !s.rebooted()
	return working && s.r.Undo != nil && s.r.Undo.Since.Equal(s.r.DrainBegan())
}

func (s situation) goingDown() bool { return s.f.Shutdown.Preparing }

// leftAlone says whether all waits since the machine goes down, or may be going to as far
// as is known.
func (s situation) leftAlone(step Step) bool {
	return s.goingDown() || s.f.Shutdown.Pending && step.Do == DoWait && step.Detail == askingLogind
}

func (s situation) refused() bool { return s.f.Now.Before(s.f.Refused.Until) }

// gates says whether any gate stands so at any of the points.
func (s situation) gates(state gate.State, at gate.Points) bool {
	for _, g := range s.f.Gates {
		if g.State == state && binding(g)&at != 0 && !(g.Soft && s.pastDeadline()) {
			return true
		}
	}
	return false
}

// binding are the points at which a gate stands as it does.
func binding(g gate.Status) gate.Points {
	if g.State == gate.Closed && g.At != 0 {
		return g.Binds & g.At
	}
	return g.Binds
}

// pastDeadline says whether the deadline has passed, and the machine has not been rebooted.
func (s situation) pastDeadline() bool {
	by := s.f.Request.DeadlineByPeople
	return !by.IsZero() && s.f.Request.Wanted && !s.rebooted() && !s.f.Now.Before(by)
}

// opened is the situation with those gates open that stand so, where they bind at one of
// the points and nowhere else.
func (s situation) opened(state gate.State, at gate.Points) situation {
	var gates []gate.Status
	for _, g := range s.f.Gates {
		if g.State == state && binding(g)&^at == 0 {
			g.Verdict = gate.Verdict{State: gate.Open, Note: g.Note}
		}
		gates = append(gates, g)
	}
	s.f.Gates = gates
	return s.ready()
}

// lasting is the lasting stage, and how far it has come.
func (s situation) lasting() (Stage, Progress, bool) {
	for _, k := range s.p.Stages {
		if k.Lasting {
			if s.drained.Key != s.drainKey {
				return k, Progress{}, true
			}
			return k, s.drained, true
		}
	}
	return Stage{}, Progress{}, false
}

// stage is how far the i-th stage has come.
func (s situation) stage(i int) Progress {
	if s.f.Stages[i].Key != s.drainKey {
		return Progress{}
	}
	return s.f.Stages[i]
}

// late says whether the drain has run for its time, and its policy is to reboot then.
func (s situation) late() bool {
	k, now, ok := s.lasting()
	if !ok || k.Limit == 0 || k.OnLimit == Rollback {
		return false
	}
	end := k.Limit
	if k.OnLimit == Force {
		end += 30 * time.Second
	}
	return now.Ran >= end
}

// newOrder says whether a step writes an order that was not there.
func (s situation) newOrder(step Step) bool {
	if step.Record == nil || step.Record.Phase != api.PhaseRebooting {
		return false
	}
	return s.phase() != api.PhaseRebooting || step.Record.OrderKey() != s.orderKey
}

// returns says whether a step has the node put back without a reboot, or begins to.
func (s situation) returns(step Step) bool {
	begins := step.Do == DoWrite && step.Record != nil && step.Record.Undo != nil && s.r.Undo == nil
	return step.Do == DoUndo || begins || step.Do == DoRestore && !s.rebooted()
}

// notes says whether a step does nothing but note that the annotation asks, too, or does
// not any more.
func (s situation) notes(step Step) bool {
	return step.Do == DoWrite && step.Record != nil && s.r != nil && step.Record.Annotated != s.r.Annotated && step.Record.Phase == s.r.Phase
}

// advances says whether a step brings the reboot nearer.
func (s situation) advances(step Step) bool {
	return step.Do == DoCordon || step.Do == DoStage || step.Do == DoSpawn || s.newOrder(step)
}
