package decide

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"rebootd.dev/daemon/api"
)

var onDisk = aSentinel("/var/lib/reboot-needed", t0)

// asking are facts in which a sentinel asks.
func asking(s *situation, sentinels ...Sentinel) {
	s.f.Request = RequestOf(sentinels, s.f.Boot, "", s.r, nil)
}

func servedFile(s Sentinel, because string) api.ServedFile {
	return api.ServedFile{SentinelFile: s.SentinelFile, Because: because}
}

// What the operation has seen before the boot is remembered by the step that ends it, and
// what has come since is not.
func TestServedIsRemembered(t *testing.T) {
	later := onDisk
	later.Changed = t0.Add(time.Hour)
	sees := func(r *api.Record) { r.Files = []api.SentinelFile{onDisk.SentinelFile} }
	verified := base(aRecord(api.PhaseVerifying, sees)).but(func(s *situation) { asking(s, later) })
	overtaken := base(aRecord(api.PhaseQueued, sees)).but(func(s *situation) { s.f.Boot.ID = "boot-2"; asking(s, onDisk) })
	withdrawn := base(aRecord(api.PhaseQueued, sees)).but(func(s *situation) { asking(s) })
	for name, c := range map[string]struct {
		step   Step
		reason api.Reason
		want   []api.ServedFile
	}{
		"verified":                   {verified.step(), api.ReasonRebootVerified, []api.ServedFile{servedFile(onDisk, "operation op has rebooted the machine since")}},
		"rebooted by other means":    {overtaken.step(), api.ReasonCancelled, []api.ServedFile{servedFile(onDisk, "the machine has been rebooted since, by other means")}},
		"the sentinel was taken out": {withdrawn.step(), api.ReasonCancelled, nil},
	} {
		if c.step.Reason != c.reason || c.step.Record != nil || !c.step.Do.Writes() {
			t.Errorf("%s: %+v", name, c.step)
		}
		var got *api.Served
		if c.want != nil {
			got = (*api.Served)(nil).With("boot-1", verified.f.Now, c.want)
		}
		if diff := cmp.Diff(got, c.step.Served, cmpopts.IgnoreUnexported(api.Served{})); diff != "" {
			t.Errorf("%s (-want +got)\n%s", name, diff)
		}
	}
}

// What was judged by a clock is remembered before anything else is asked of one, and what
// was remembered before stays.
func TestJudgementIsRemembered(t *testing.T) {
	old := aSentinel("/var/lib/old", t0.Add(-2*before))
	known := (*api.Served)(nil).With("boot-0", t0, []api.ServedFile{servedFile(onDisk, "so it was")})
	s := base(nil).but(func(s *situation) {
		s.slot.State, s.lease.State = ClaimFree, ClaimFree
		s.f.Request = RequestOf([]Sentinel{old, onDisk}, s.f.Boot, "", nil, known)
	})
	step := s.step()
	if step.Do != DoWrite || step.Record != nil || step.Reason != api.ReasonNotRequired || step.Served == nil || !step.Silent {
		t.Fatalf("%+v", step)
	}
	for _, f := range []Sentinel{old, onDisk} {
		if _, is := step.Served.Find(f.SentinelFile, s.f.Boot.ID); !is {
			t.Errorf("%s is not remembered: %+v", f.Path, step.Served)
		}
	}
	again := s.but(func(s *situation) {
		s.f.Boot.Time = t0.Add(-100 * before) // as the clock has it now
		s.f.Request = RequestOf([]Sentinel{old, onDisk}, s.f.Boot, "", nil, step.Served)
	})
	if step := again.step(); step.Do != DoWait || step.Reason != api.ReasonNotRequired {
		t.Errorf("after the clock was set: %+v", step)
	}
	refused := s.but(func(s *situation) { s.f.Refused = Refused{Do: DoWrite, Words: "no such annotation"} })
	if step := refused.step(); step.Do != DoWait || step.Served != nil {
		t.Errorf("where a policy does not know the annotation: %+v", step)
	}
}

// A policy of the cluster's that is older than the annotation keeps no node cordoned.
func TestServedIsRefused(t *testing.T) {
	s := base(aRecord(api.PhaseVerifying, func(r *api.Record) { r.Files = []api.SentinelFile{onDisk.SentinelFile} })).but(func(s *situation) {
		s.f.Refused = Refused{Do: DoRestore, Words: "no such annotation", Until: s.f.Now.Add(-time.Second)}
	})
	if step := s.step(); step.Do != DoRestore || step.Served != nil {
		t.Errorf("%+v", step)
	}
}

// An abort is not forgotten without its request being remembered as served: that would
// have the node rebooted after all.
func TestAbortWaitsForServed(t *testing.T) {
	for name, r := range map[string]*api.Record{"idle": nil, "in the queue": aRecord(api.PhaseQueued), "while it is drained": aRecord(api.PhaseDraining, func(r *api.Record) { r.Hooked = false })} {
		s := base(r).but(func(s *situation) {
			s.slot.State, s.lease.State = ClaimFree, ClaimFree
			asking(s, onDisk)
			s.f.Abort = Abort{Asked: true}
			s.f.Refused = Refused{Do: DoWrite, Words: "frozen", Until: s.f.Now.Add(-time.Second)}
		})
		if step := s.step(); !step.Do.Writes() || step.Record != nil || step.ClearAbort != (step.Served != nil) {
			t.Errorf("%s: %+v", name, step)
		}
	}
}

// What is remembered fits into an annotation, however many sentinels there are, and is
// written once.
func TestWhatIsRememberedIsBounded(t *testing.T) {
	var all []Sentinel
	for i := range 1000 {
		s := aSentinel("/var/"+strings.Repeat("é", i%400)+strconv.Itoa(i), t0.Add(-2*before))
		if i%2 == 0 {
			s = aSentinel(s.Path, t0)
		}
		all = append(all, s)
	}
	s := base(nil).but(func(s *situation) {
		s.slot.State, s.lease.State = ClaimFree, ClaimFree
		s.f.Request = RequestOf(all, s.f.Boot, "", nil, nil)
	})
	step := s.step()
	text, err := json.Marshal(step.Record)
	if err != nil || step.Do != DoWrite || len(step.Record.Files) == 0 || len(text) > 32<<10 {
		t.Errorf("%d sentinels ask: %s, a record of %d bytes, %v", len(all), step.Do, len(text), err)
	}
	served := s.f.Request.serve("boot-1", t0, s.f.Request.Files, strings.Repeat("x", maxWhy))
	text, err = json.Marshal(served)
	if again, errParse := api.ParseServed(string(text)); err != nil || errParse != nil || len(again.Files) != len(served.Files) {
		t.Errorf("%d bytes cannot be read: %v, %v", len(text), err, errParse)
	}
	spent := base(nil).but(func(s *situation) {
		s.slot.State, s.lease.State = ClaimFree, ClaimFree
		s.f.Request = RequestOf(all[1:2], s.f.Boot, "", nil, served)
	})
	if step := spent.step(); step.Do != DoWait {
		t.Errorf("once it is remembered: %+v", step)
	}
}
