package decide

import (
	"slices"
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

type decision = func(Policy, *api.Record, Facts) Step

// given is a decision that is told something else than what is so.
func given(change func(p *Policy, r *api.Record, f *Facts)) decision {
	return func(p Policy, r *api.Record, f Facts) Step {
		r = r.Clone()
		f.Claims, f.Stages, f.Gates = slices.Clone(f.Claims), slices.Clone(f.Stages), slices.Clone(f.Gates)
		change(&p, r, &f)
		return Next(p, r, f)
	}
}

// altered is a decision whose step is changed afterwards.
func altered(change func(p Policy, r *api.Record, f Facts, s *Step)) decision {
	return func(p Policy, r *api.Record, f Facts) Step {
		s := Next(p, r, f)
		s.Record = s.Record.Clone()
		change(p, r, f, &s)
		return s
	}
}

func phase(r *api.Record) api.Phase {
	if r == nil {
		return api.PhaseIdle
	}
	return r.Phase
}

// deaf is a decision for which gates are open where they bind.
func deaf(at gate.Points, state gate.State) decision {
	return given(func(_ *Policy, _ *api.Record, f *Facts) {
		for i, g := range f.Gates {
			if g.Binds &= ^at; g.State == state {
				f.Gates[i] = g
			}
		}
		f.Ailing = Ailing(*f)
		if f.HealthySince.IsZero() && f.Ailing == "" {
			f.HealthySince = f.Now.Add(-time.Hour)
		}
	})
}

func eachClaim(change func(c *Claim)) decision {
	return given(func(_ *Policy, _ *api.Record, f *Facts) {
		for i := range f.Claims {
			change(&f.Claims[i])
		}
	})
}

func eachStage(change func(p *Policy, k *Stage, now *Progress)) decision {
	return given(func(p *Policy, _ *api.Record, f *Facts) {
		p.Stages = slices.Clone(p.Stages)
		for i := range p.Stages {
			change(p, &p.Stages[i], &f.Stages[i])
		}
	})
}

// faults are what each invariant is there for: sentence by sentence a decision, or
// several, that breaks it.
var faults = []map[string][]decision{orderAndClaimFaults, gateStageAndRecordFaults, abortFaults}

// deafTo is a decision that minds no gate of that name.
func deafTo(name string) decision {
	return given(func(_ *Policy, _ *api.Record, f *Facts) {
		f.Gates = slices.DeleteFunc(f.Gates, func(g gate.Status) bool { return g.Name == name })
	})
}

// What the invariants are worth: each of them is broken by a fault in the decision.
func TestInvariantsFindFaults(t *testing.T) {
	t.Parallel()
	for _, inv := range invariants {
		var wrong []decision
		for _, some := range faults {
			for name, f := range some {
				if strings.HasPrefix(inv.sentence, name) {
					wrong = append(wrong, f...)
				}
			}
		}
		if len(wrong) == 0 {
			t.Errorf("no fault breaks %q", inv.sentence)
		}
		for i, next := range wrong {
			if !breaks(inv, next) {
				t.Errorf("not broken by fault %d: %s", i, inv.sentence)
			}
		}
	}
	for _, some := range faults {
		for name := range some {
			if !slices.ContainsFunc(invariants, func(i invariant) bool { return strings.HasPrefix(i.sentence, name) }) {
				t.Errorf("the faults %q belong to no invariant", name)
			}
		}
	}
}

func breaks(inv invariant, next decision) bool {
	for s := range situations(97) {
		if s.next = next; !inv.holds(s, s.step()) {
			return true
		}
	}
	return false
}
