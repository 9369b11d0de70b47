package decide

import (
	"strings"
	"testing"

	"rebootd.dev/daemon/api"
)

// More is asked for when the order of less is on record and not carried out yet: that is
// ordered, and no file is noted that the smaller reboot would not serve.
func TestLevelIsRaisedBeforeTheOrderIsCarriedOut(t *testing.T) {
	raised := aSentinel("/run/reboot-needed", t0.Add(1))
	for _, l := range []api.Level{api.SoftReboot, api.Kexec} {
		asked := aSentinel("/run/reboot-needed", t0)
		asked.Content = string(l)
		r := aRecord(api.PhaseRebooting, func(r *api.Record) { r.Level, r.Files = l, []api.SentinelFile{asked.SentinelFile} })
		for range 3 {
			s := base(r).but(func(s *situation) { asking(s, raised) })
			step := s.step()
			if step.Do == DoSpawn {
				if step.Level != api.FullReboot || len(r.Files) != 1 || !r.Files[0].Same(raised.SentinelFile) {
					t.Errorf("after a %s was on record: %s, and the record has %+v", l, step.Level, r.Files)
				}
				break
			}
			if r = step.Record; r == nil || ordered(r) != api.FullReboot && r.Files[0].Same(raised.SentinelFile) {
				t.Fatalf("after a %s was on record: %+v, %+v", l, step, r)
			}
		}
		if same := base(aRecord(api.PhaseRebooting, func(r *api.Record) { r.Level, r.Files = l, []api.SentinelFile{asked.SentinelFile} })).but(func(s *situation) { asking(s, asked) }).step(); same.Do != DoSpawn || same.Level != l {
			t.Errorf("%s, and nothing else: %+v", l, same)
		}
	}
}

// The kernel that was loaded for a kexec is gone when that is about to be ordered.
func TestKernelIsUnloadedBeforeTheOrderIsCarriedOut(t *testing.T) {
	s := base(aRecord(api.PhaseRebooting, func(r *api.Record) { r.Level = api.Kexec })).but(func(s *situation) {
		s.f.Request.Level, s.f.Boot.KexecLoaded = api.Kexec, false
	})
	if step := s.step(); step.Do != DoWrite || step.Record == nil || ordered(step.Record) != api.FullReboot || !strings.Contains(step.Message, "no kernel is loaded") {
		t.Errorf("%+v", step)
	}
}

// The annotation asks for a whole reboot: one that comes after the order of less is not
// served by that, and so is still there after it.
func TestAnnotationAfterTheOrderOfLess(t *testing.T) {
	for l, noted := range map[api.Level]bool{api.SoftReboot: false, api.Kexec: false, "": true} {
		s := base(aRecord(api.PhaseRebooting, func(r *api.Record) { r.Level = l })).but(childIs(ChildRunning), func(s *situation) { s.f.Request.Annotated = true })
		if step := s.step(); noted != (step.Record != nil && step.Record.Annotated) {
			t.Errorf("after the order of level %q: %+v, %+v", l, step, step.Record)
		}
	}
}
