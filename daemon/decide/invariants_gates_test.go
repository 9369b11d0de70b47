package decide

import (
	"reflect"
	"slices"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

var gateInvariants = []invariant{
	{"a closed gate before the queue keeps a node out of it", func(s situation, step Step) bool {
		if !s.gates(gate.Closed, gate.BeforeQueue) || !undisturbed(s.r) {
			return true
		}
		leaves := step.Do == DoWrite && (step.Record == nil || step.Record.Phase == api.PhaseWaiting || s.in(api.PhaseQueued) && step.Record.Phase == api.PhaseQueued)
		return step.Do == DoWait || step.Do == DoRelease || leaves
	}},
	{"a closed gate in the queue has a node take no slot, and give it up", func(s situation, step Step) bool {
		if !s.in(api.PhaseQueued) || !s.gates(gate.Closed, gate.InQueue) {
			return true
		}
		keeps := s.slot.State == ClaimHeld && step.Do == DoWait && !s.leftAlone(step) && !s.f.Request.Pending && s.f.Boot.ID != ""
		return (step.Do != DoClaim || step.LookOnly) && step.Do != DoCordon && !keeps
	}},
	{"a closed gate with the slot keeps the node from being cordoned", func(s situation, step Step) bool {
		return step.Do != DoCordon || !s.gates(gate.Closed, gate.BeforeQueue|gate.InQueue|gate.WithSlot|gate.OnTurn|gate.WhileDraining)
	}},
	{"a gate that is closed on the node's turn has it give its slot up, and come back after a pause", func(s situation, step Step) bool {
		others := gate.BeforeQueue | gate.InQueue | gate.WithSlot | gate.WhileDraining
		turn := s.in(api.PhaseQueued) && s.slot.State == ClaimHeld && !s.gates(gate.Closed, others) && !s.gates(gate.Unknown, others)
		if !turn || !s.gates(gate.Closed, gate.OnTurn) || s.leftAlone(step) || s.refused() || s.f.Abort.Asked || s.rebooted() || !s.f.Request.Wanted || s.f.Boot.ID == "" || s.notes(step) {
			return true
		}
		return step.Do == DoWrite && step.Record != nil && step.Record.Phase == api.PhaseWaiting && step.Record.NotBefore.After(s.f.Now) && step.Record.Deferrals == s.r.Deferrals+1
	}},
	{"what is asked on the node's turn is asked then only", func(s situation, step Step) bool {
		return step.Asks&gate.OnTurn == 0 || s.in(api.PhaseQueued) && s.slot.State == ClaimHeld && !s.gates(gate.Closed, gate.BeforeQueue|gate.InQueue|gate.WithSlot|gate.WhileDraining)
	}},
	{"a closed gate while draining has the node put back, until the command is spawned", func(s situation, step Step) bool {
		if !s.gates(gate.Closed, gate.WhileDraining) || !s.ongoing() || s.ordered() || s.softRebooted() || s.refused() || s.leftAlone(step) {
			return true
		}
		return s.returns(step) || s.notes(step) || s.slot.State == ClaimUnknown && step.Do == DoWait
	}},
	{"a closed gate before the order has nothing ordered and nothing spawned", func(s situation, step Step) bool {
		if !s.gates(gate.Closed, gate.BeforeOrder) {
			return true
		}
		return step.Do != DoSpawn && (!s.newOrder(step) || s.child() == ChildFailed)
	}},
	{"a gate that binds before the order, and not while draining, undoes nothing before the time for the drain is over", func(s situation, step Step) bool {
		if !s.in(api.PhaseDraining) || !s.gates(gate.Closed, gate.BeforeOrder) || !s.returns(step) {
			return true
		}
		waited, end := s.f.Now.Sub(s.r.Since), s.p.OrderWait
		if k, now, ok := s.lasting(); ok {
			if waited, end = now.Ran, k.Limit; k.OnLimit == Force {
				end += 30 * time.Second
			}
		}
		return end > 0 && waited >= end || s.returns(s.opened(gate.Closed, gate.BeforeOrder|gate.BeforeQueue|gate.InQueue|gate.WithSlot|gate.BeforeUncordon).step())
	}},
	{"a closed gate before uncordoning keeps the node from counting as healthy", func(s situation, step Step) bool {
		return step.Reason != api.ReasonRebootVerified || !s.gates(gate.Closed, gate.BeforeUncordon)
	}},
	{"a gate has effects at the points only at which it binds", func(s situation, step Step) bool {
		here := map[api.Phase]gate.Points{
			api.PhaseIdle: gate.BeforeQueue, api.PhaseWaiting: gate.BeforeQueue, api.PhaseQueued: gate.BeforeQueue | gate.InQueue | gate.WithSlot | gate.OnTurn | gate.WhileDraining,
			api.PhaseDraining: gate.WhileDraining | gate.BeforeOrder, api.PhaseRebooting: gate.WhileDraining | gate.BeforeOrder,
			api.PhaseVerifying: gate.BeforeUncordon, api.PhaseHalted: gate.BeforeUncordon,
		}[s.phase()]
		open := s
		for _, state := range []gate.State{gate.Closed, gate.Unknown} {
			open = open.opened(state, gate.All&^here)
		}
		if reflect.DeepEqual(open.f.Gates, s.f.Gates) || s.in(api.PhaseVerifying, api.PhaseHalted) && open.f.Ailing == s.f.Ailing {
			return true
		}
		return s.in(api.PhaseVerifying, api.PhaseHalted) || reflect.DeepEqual(open.step(), step)
	}},
	{"a closed gate has exactly the effect of the points that it binds at, whatever it is", func(s situation, step Step) bool {
		if !s.gates(gate.Closed, gate.All) {
			return true
		}
		other := s
		other.f.Gates = nil
		for _, g := range s.f.Gates {
			if g.Name, g.Meaning = "another", "another gate"; g.State == gate.Closed {
				g.Reason, g.Why = api.ReasonPaused, "for another reason"
			}
			other.f.Gates = append(other.f.Gates, g)
		}
		got := other.ready().step()
		if (got.Record == nil) != (step.Record == nil) || got.Record != nil && got.Record.Phase != step.Record.Phase {
			return false
		}
		got.Reason, got.Message, got.More, got.Detail, got.Record = step.Reason, step.Message, step.More, step.Detail, step.Record
		return reflect.DeepEqual(got, step)
	}},
	{"once the deadline has passed a soft gate has no effect before the boot", func(s situation, step Step) bool {
		if !s.pastDeadline() {
			return true
		}
		open := s
		open.f.Gates = slices.Clone(s.f.Gates)
		for i, g := range open.f.Gates {
			if g.Soft {
				open.f.Gates[i].Verdict = gate.Verdict{State: gate.Open, Note: g.Note}
			}
		}
		got := open.step()
		got.Message, got.More = step.Message, step.More // which say what was passed over
		return reflect.DeepEqual(got, step)
	}},
	{"before the deadline a soft gate is a gate like any other", func(s situation, step Step) bool {
		if s.pastDeadline() {
			return true
		}
		hard := s
		hard.f.Gates = slices.Clone(s.f.Gates)
		for i := range hard.f.Gates {
			hard.f.Gates[i].Soft = false
		}
		return reflect.DeepEqual(hard.step(), step)
	}},
	{"a gate that has not answered never has a node put back, nor anything given back", func(s situation, step Step) bool {
		if !s.gates(gate.Unknown, gate.All) || !s.returns(step) && step.Do != DoRelease {
			return true
		}
		open := s.opened(gate.Unknown, gate.All).step()
		return s.returns(open) || open.Do == DoRelease
	}},
	{"a gate that has not answered keeps a node from its next step", func(s situation, step Step) bool {
		unknown := func(at gate.Points) bool { return s.gates(gate.Unknown, at) }
		if s.rebooted() {
			return step.Do != DoRestore || step.Reason == api.ReasonAborted || !unknown(gate.BeforeUncordon)
		}
		queues := step.Do == DoWrite && step.Record != nil && step.Record.Phase == api.PhaseQueued && !s.in(api.PhaseQueued)
		switch {
		case queues:
			return !unknown(gate.BeforeQueue)
		case step.Do == DoCordon:
			return !unknown(gate.BeforeQueue | gate.InQueue | gate.WithSlot | gate.OnTurn | gate.WhileDraining)
		case step.Do == DoStage:
			return !unknown(gate.WhileDraining) || begun(s.p, s.r, s.f)
		case s.newOrder(step):
			return !unknown(gate.BeforeOrder) || s.child() == ChildFailed
		}
		return step.Do != DoSpawn || !unknown(gate.WhileDraining|gate.BeforeOrder)
	}},
	{"a gate that is waited for is asked", func(s situation, step Step) bool {
		for _, g := range s.f.Gates {
			if g.State != gate.Unknown || step.Asks&g.Binds != 0 {
				continue
			}
			open := s.opened(gate.Unknown, g.Binds).step()
			if open.Do != step.Do {
				return false
			}
		}
		return true
	}},
}
