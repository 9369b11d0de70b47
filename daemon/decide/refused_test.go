package decide

import (
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
)

// A policy of the cluster's refuses what is to be written: people read its words, the
// slot is not kept from others, and there is no next try before its time.
func TestRefusedWrites(t *testing.T) {
	all := newSteps(t)
	refused := func(do Action) func(*situation) {
		return func(s *situation) {
			s.f.Refused = Refused{Do: do, Words: "denied by no-cordon-in-december", Until: s.f.Now.Add(time.Minute)}
		}
	}
	without := func(s *situation) { s.slot.State, s.lease.State = ClaimFree, ClaimFree }
	unordered := func(s *situation) { s.p.Stages = []Stage{drain} }
	undo := func(r *api.Record) {
		r.Undo = &api.Undo{Since: r.DrainBegan(), Reason: api.ReasonHeld, Message: "held"}
	}
	undone := func(s *situation) { s.hooks.Undone, s.last.Undone = true, true }
	for name, tc := range map[string]struct {
		s    situation
		want Action
	}{
		"the first record":                 {base(nil).but(refused(DoWrite), without), DoWait},
		"the cordon":                       {base(aRecord(api.PhaseQueued)).but(refused(DoCordon)), DoRelease},
		"the cordon, slot given up":        {base(aRecord(api.PhaseQueued)).but(refused(DoCordon), without), DoWait},
		"the order":                        {base(aRecord(api.PhaseDraining)).but(refused(DoWrite), unordered), DoRestore},
		"the order, hooks to be undone":    {base(aRecord(api.PhaseDraining)).but(refused(DoWrite)), DoWait},
		"the order, what is left by force": {base(aRecord(api.PhaseDraining)).but(refused(DoRestore), func(s *situation) { s.p.Stages = []Stage{drainUntil(limit, Force)} }), DoWait},
		"that it is accepted":              {base(aRecord(api.PhaseRebooting)).but(refused(DoWrite), unordered, childIs(ChildSucceeded)), DoWait},
		"accepted though failed":           {base(aRecord(api.PhaseRebooting)).but(refused(DoWrite), unordered, childIs(ChildFailed), shutdownIs(Shutdown{Known: true, Preparing: true})), DoWait},
		"the next try of the command":      {base(aRecord(api.PhaseRebooting)).but(refused(DoWrite), unordered, childIs(ChildFailed)), DoRestore},
		"that the node is put back":        {base(aRecord(api.PhaseDraining, undo)).but(refused(DoRestore), undone), DoWait},
		"that it is uncordoned in the end": {base(aRecord(api.PhaseVerifying)).but(refused(DoRestore)), DoWait},
		"that it has booted":               {base(aRecord(api.PhaseDraining)).but(refused(DoWrite), func(s *situation) { s.f.Boot.ID = "boot-2" }), DoWait},
	} {
		step := tc.s.step()
		all.add(name, tc.s, step)
		if step.Do != tc.want || step.Reason != api.ReasonBlocked || !strings.Contains(step.Message, "no-cordon-in-december") || step.Do == DoWait && !step.Until.Equal(tc.s.f.Refused.Until) {
			t.Errorf("%s: %+v, want %s", name, step, tc.want)
		}
		tc.s.f.Now = tc.s.f.Refused.Until
		if step := tc.s.ready().step(); step.Reason == api.ReasonBlocked {
			t.Errorf("%s: it is not tried again at its time: %+v", name, step)
		}
	}
}
