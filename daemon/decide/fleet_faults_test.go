package decide

import "testing"

// What the simulation is worth: each of these faults in the decision is found.
func TestFleetFindsFaults(t *testing.T) {
	faults := map[string]func(Policy, *Record, Facts) Step{
		"takes an unknown slot for held": func(p Policy, r *Record, f Facts) Step {
			if f.Slot.State == SlotUnknown {
				f.Slot.State = SlotHeld
			}
			return Next(p, r, f)
		},
		"orders without having written it ahead": func(p Policy, r *Record, f Facts) Step {
			s := Next(p, r, f)
			if s.Do == Write && s.Record != nil && s.Record.Phase == Rebooting {
				return Step{Do: Spawn, Reason: RebootOrdered, Record: s.Record}
			}
			return s
		},
		"uncordons whoever has cordoned": func(p Policy, r *Record, f Facts) Step {
			s := Next(p, r, f)
			s.Uncordon = s.Do == Restore && f.Node.Unschedulable
			return s
		},
		"gives up the slot before the node is verified": func(p Policy, r *Record, f Facts) Step {
			if r != nil && r.Phase == Verifying && f.Slot.State == SlotHeld {
				return Step{Do: Release, Reason: Released}
			}
			return Next(p, r, f)
		},
		"keeps the slot of an operation that has ended": func(p Policy, r *Record, f Facts) Step {
			s := Next(p, r, f)
			if s.Do == Release {
				s.Do = Wait
			}
			return s
		},
		"orders again what an earlier start has ordered": func(p Policy, r *Record, f Facts) Step {
			if r != nil && r.Phase == Rebooting && r.Order.By != f.Instance && f.Boot.ID == r.BootID {
				c := *r
				c.Order = new(*r.Order)
				c.Order.By = f.Instance
				return Next(p, &c, f)
			}
			return Next(p, r, f)
		},
		"keeps the node lease": func(p Policy, r *Record, f Facts) Step {
			if r == nil && f.Slot.State != SlotHeld {
				f.NodeLease.State = LeaseFree
			}
			return Next(p, r, f)
		},
		"does not mind who has the node": func(p Policy, r *Record, f Facts) Step {
			if f.NodeLease.State == LeaseForeign {
				f.NodeLease.State = LeaseUnavailable
				p.NodeLease = LeaseAuto
			}
			return Next(p, r, f)
		},
		"obeys no pause": func(p Policy, r *Record, f Facts) Step {
			f.Slot.Paused = ""
			return Next(p, r, f)
		},
		"does not clear the request that was served": func(p Policy, r *Record, f Facts) Step {
			s := Next(p, r, f)
			s.ClearRequest = false
			return s
		},
		"never gives up on an order that came to nothing": func(p Policy, r *Record, f Facts) Step {
			s := Next(p, r, f)
			if r != nil && r.Phase == Rebooting && s.Do == Write && s.Record != nil && (s.Record.Phase == Draining || s.Record.Phase == Halted) {
				s.Do = Wait
			}
			return s
		},
	}
	for name, next := range faults {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(500) {
				if broken := newWorld(t, seed, next).run(); broken != "" {
					t.Logf("found with seed %d: %s", seed, broken)
					return
				}
			}
			t.Error("not found in 500 fleets")
		})
	}
}
