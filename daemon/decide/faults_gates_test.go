package decide

import (
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

var gateStageAndRecordFaults = map[string][]decision{
	"a closed gate before the queue keeps":       {deaf(gate.BeforeQueue, gate.Closed)},
	"a closed gate in the queue has a node take": {deaf(gate.InQueue, gate.Closed)},
	"a closed gate with the slot keeps":          {deaf(gate.WithSlot, gate.Closed), deaf(gate.WithSlot|gate.WhileDraining, gate.Closed)},
	"a gate that is closed on the node's turn": {deaf(gate.OnTurn, gate.Closed), altered(func(_ Policy, _ *api.Record, _ Facts, s *Step) {
		if s.Record != nil && s.Record.Deferrals > 0 {
			s.Record.NotBefore = time.Time{}
		}
	})},
	"what is asked on the node's turn": {altered(func(_ Policy, r *api.Record, _ Facts, s *Step) {
		if phase(r) == api.PhaseQueued {
			s.Asks |= gate.OnTurn
		}
	})},
	"once the deadline has passed": {given(func(_ *Policy, _ *api.Record, f *Facts) {
		for i := range f.Gates {
			f.Gates[i].Soft = false
		}
	})},
	"before the deadline": {given(func(_ *Policy, _ *api.Record, f *Facts) {
		for i, g := range f.Gates {
			if g.Soft {
				f.Gates[i].State = gate.Open
			}
		}
	})},
	"a closed gate while draining has":           {deaf(gate.WhileDraining, gate.Closed)},
	"a closed gate before the order has nothing": {deaf(gate.BeforeOrder, gate.Closed)},
	"a gate that binds before the order, and not while draining": {given(func(_ *Policy, _ *api.Record, f *Facts) {
		for i, g := range f.Gates {
			if g.Binds&gate.BeforeOrder != 0 {
				f.Gates[i].Binds |= gate.WhileDraining
			}
		}
	})},
	"a closed gate before uncordoning keeps": {deaf(gate.BeforeUncordon, gate.Closed)},
	"a gate has effects at the points only": {given(func(_ *Policy, _ *api.Record, f *Facts) {
		for i := range f.Gates {
			f.Gates[i].Binds = gate.All
		}
	})},
	"a closed gate has exactly the effect": {deafTo("another"), altered(func(_ Policy, _ *api.Record, _ Facts, s *Step) {
		if s.Do == DoRelease && s.Reason == api.ReasonPaused {
			s.Do = DoWait
		}
	})},
	"a gate that has not answered never has a node put back": {given(func(_ *Policy, _ *api.Record, f *Facts) {
		for i, g := range f.Gates {
			if g.State == gate.Unknown {
				f.Gates[i].State = gate.Closed
			}
		}
	})},
	"a gate that has not answered keeps a node from its next step": {
		deaf(gate.BeforeQueue, gate.Unknown), deaf(gate.InQueue, gate.Unknown), deaf(gate.WithSlot|gate.WhileDraining, gate.Unknown), deaf(gate.OnTurn, gate.Unknown),
		deaf(gate.WhileDraining, gate.Unknown), deaf(gate.BeforeOrder, gate.Unknown), deaf(gate.BeforeUncordon, gate.Unknown),
	},
	"a gate that is waited for is asked": {
		altered(func(_ Policy, r *api.Record, _ Facts, s *Step) {
			if phase(r) == api.PhaseWaiting {
				s.Asks = 0
			}
		}),
		altered(func(_ Policy, _ *api.Record, _ Facts, s *Step) { s.Asks &^= gate.BeforeOrder }),
		altered(func(_ Policy, _ *api.Record, _ Facts, s *Step) { s.Asks &^= gate.BeforeUncordon }),
	},

	"stages are run in their order": {altered(func(p Policy, _ *api.Record, _ Facts, s *Step) {
		if s.Do == DoStage {
			s.Stage = p.Stages[len(p.Stages)-1].Name
		}
	})},
	"a stage that has failed has the node put back": {eachStage(func(_ *Policy, _ *Stage, now *Progress) {
		if now.State == StageFailed {
			now.State = StageDone
		}
	})},
	"that stages are undone is on record": {altered(func(p Policy, r *api.Record, f Facts, s *Step) {
		if s.Do == DoWrite && r != nil && r.Undo == nil && s.Record != nil && turnsBack(*s) {
			*s = rollBack(p, s.Record, f, *s.Record.Undo)
		}
	})},
	"stages are undone in reverse": {
		given(func(_ *Policy, r *api.Record, _ *Facts) {
			if r != nil {
				r.Hooked = false
			}
		}),
		altered(func(_ Policy, _ *api.Record, _ Facts, s *Step) {
			if s.Do == DoUndo && s.Stage == preReboot.Name {
				s.Stage = preDrain.Name
			}
		}),
	},
	"once undoing is on record nothing leads": {given(func(_ *Policy, r *api.Record, _ *Facts) {
		if r != nil {
			r.Undo = nil
		}
	})},
	"what was undone, though nothing on record": {eachStage(func(_ *Policy, _ *Stage, now *Progress) { now.Undone = false })},
	"whether stages may leave something behind": {altered(func(_ Policy, _ *api.Record, _ Facts, s *Step) {
		if s.Do == DoCordon {
			s.Record.Hooked = false
		}
	})},
	"a stage that leaves something behind is run only": {altered(func(_ Policy, _ *api.Record, _ Facts, s *Step) {
		if s.Do == DoWrite && s.Stage != "" && s.Record != nil && s.Record.Hooked {
			s.Do = DoStage
		}
	})},
	"a stage with nothing to do is not begun": {eachStage(func(_ *Policy, _ *Stage, now *Progress) { now.Empty = false })},
	"the lasting stage goes on until the command": {
		altered(func(_ Policy, _ *api.Record, _ Facts, s *Step) { s.KeepUp = s.KeepUp && s.Do != DoSpawn }),
		altered(func(_ Policy, _ *api.Record, _ Facts, s *Step) { s.KeepUp = s.KeepUp && s.Do != DoWrite }),
	},
	"the lasting stage goes on only while nobody minds": {
		altered(func(_ Policy, r *api.Record, _ Facts, s *Step) { s.KeepUp = s.KeepUp || phase(r) == api.PhaseDraining }),
	},
	"what is left is ended by force only": {altered(func(p Policy, r *api.Record, _ Facts, s *Step) {
		if i, ok := lasting(p); ok && phase(r) == api.PhaseDraining {
			s.Limit = p.Stages[i].Limit
		}
	})},
	"a node that is not drained is rebooted only": {
		given(func(p *Policy, r *api.Record, f *Facts) { // by the clock since the cordon
			if i, ok := lasting(*p); ok && r != nil {
				f.Stages[i].Ran = f.Now.Sub(r.Since)
			}
		}),
		eachStage(func(_ *Policy, k *Stage, now *Progress) {
			if k.Lasting && now.State == StageNone {
				now.State = StageDone
			}
		}),
	},
	"a drain that cannot begin for its time": {eachStage(func(_ *Policy, _ *Stage, now *Progress) { now.Starting = 0 })},
	"for how long the drain has run is on record": {given(func(_ *Policy, r *api.Record, f *Facts) {
		if r != nil {
			r.DrainRan = &api.Ran{Since: r.DrainBegan(), Seconds: 24 * 3600}
		}
	})},
	"a lasting stage that has come to its limit": {eachStage(func(_ *Policy, _ *Stage, now *Progress) { now.Ran = min(now.Ran, time.Minute) })},
	"a stage that runs goes on": {altered(func(_ Policy, _ *api.Record, _ Facts, s *Step) {
		if s.Do == DoWrite {
			s.Stage = ""
		}
	})},
	"nobody is told of a step that only notes": {altered(func(_ Policy, _ *api.Record, _ Facts, s *Step) { s.Silent = false })},

	"the operation ends as verified only": {
		given(func(p *Policy, _ *api.Record, _ *Facts) { p.Settle = 0 }),
		given(func(_ *Policy, _ *api.Record, f *Facts) { f.Ailing, f.HealthySince = "", t0.Add(-time.Hour) }),
	},
	"a node is unhealthy only when": {
		given(func(p *Policy, _ *api.Record, _ *Facts) { p.HealthTimeout /= 2 }),
		given(func(_ *Policy, _ *api.Record, f *Facts) { f.Running = time.Hour }),
		given(func(_ *Policy, _ *api.Record, f *Facts) { f.HealthySince = time.Time{} }),
	},
	"a node that halts says why": {altered(func(_ Policy, _ *api.Record, _ Facts, s *Step) {
		if s.Record != nil && s.Record.Failure != nil && s.Record.Failure.Reason == api.ReasonUnhealthy {
			s.Record.Failure.Reason = api.ReasonRebootOverdue
		}
	})},
	"a node that is put back and tried again forgets": {altered(func(_ Policy, r *api.Record, _ Facts, s *Step) {
		if s.Do == DoRestore && s.Record != nil {
			s.Record.Order = r.Order
		}
	})},
	"a node that is put back and tried again makes a pause": {
		altered(func(_ Policy, _ *api.Record, _ Facts, s *Step) {
			if s.Record != nil {
				s.Record.NotBefore = time.Time{}
			}
		}),
		altered(func(_ Policy, r *api.Record, _ Facts, s *Step) {
			if s.Do == DoRestore && s.Record != nil && s.Record.Attempts == r.Attempts {
				s.Record.NotBefore, s.Record.Failure = r.NotBefore, r.Failure // only a failure makes one
			}
		}),
		altered(func(_ Policy, r *api.Record, _ Facts, s *Step) {
			if s.Do == DoRestore && s.Record != nil {
				s.Record.Attempts = r.Attempts + 1
			}
		}),
	},
	"only a cordon that is ours is removed": {altered(func(_ Policy, _ *api.Record, f Facts, s *Step) {
		s.Uncordon = s.Do == DoRestore && f.Node.Unschedulable
	})},
	"an operation that had the node cordoned ends": {altered(func(_ Policy, _ *api.Record, _ Facts, s *Step) {
		if s.Do == DoRestore {
			s.Do = DoWrite
		}
	})},
	"only a boot that has happened, or people": {altered(func(_ Policy, r *api.Record, _ Facts, s *Step) {
		s.ClearRequest = s.Do.Writes() && r != nil && r.Annotated
	})},
	"what protects the node from autoscalers": {altered(func(_ Policy, r *api.Record, _ Facts, s *Step) {
		if s.Do == DoRestore && s.Record != nil {
			s.Record.Protected = r.Protected
		}
	})},
	"a write that was refused is not tried again": {
		given(func(_ *Policy, _ *api.Record, f *Facts) { f.Refused = Refused{} }),
		altered(func(_ Policy, _ *api.Record, f Facts, s *Step) {
			if f.Now.Before(f.Refused.Until) && s.Do == DoRelease {
				s.Do = DoWait
			}
		}),
	},
	"a node that is cordoned for a reboot whose writes are refused": {given(func(_ *Policy, _ *api.Record, f *Facts) { f.Refused.Do = DoRestore })},
	"a write changes something": {altered(func(_ Policy, r *api.Record, _ Facts, s *Step) {
		if r != nil && r.Phase == api.PhaseVerifying && s.Do == DoWait {
			s.Do, s.Record = DoWrite, r.Clone()
		}
	})},
	"what is written can be read": {altered(func(_ Policy, _ *api.Record, _ Facts, s *Step) {
		if s.Record != nil && s.Record.Phase == api.PhaseHalted {
			s.Record.Failure = nil
		}
	})},
	"people are told a reason":                  {altered(func(_ Policy, _ *api.Record, _ Facts, s *Step) { s.Message = "" })},
	"the time at which to ask again is to come": {altered(func(_ Policy, _ *api.Record, f Facts, s *Step) { s.Until = f.Now })},
}
