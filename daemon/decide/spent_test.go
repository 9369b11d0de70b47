package decide

import (
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
)

// Whether a sentinel is spent is found out by what is remembered, then by where it lies,
// and by a clock only where there is nothing else.
func TestSpent(t *testing.T) {
	const run, disk = "/run/reboot-needed", "/var/lib/reboot-needed"
	day := 24 * time.Hour
	boot := Boot{ID: "boot-2", Time: t0}
	soft := Boot{ID: "boot-2", Time: t0, Userspace: Userspace{Known: true, SoftReboots: 1, Since: t0.Add(time.Hour)}}
	asks := Boot{ID: "boot-2", Time: t0, Userspace: Userspace{Pending: true}}
	record := func(path, bootID string, change ...func(*api.Record)) *api.Record {
		return aRecord(api.PhaseQueued, append(change, func(r *api.Record) {
			r.BootID, r.Files = bootID, []api.SentinelFile{aSentinel(path, t0.Add(-day)).SentinelFile}
		})...)
	}
	remembered := func(path, bootID string) *api.Served {
		return (*api.Served)(nil).With(bootID, t0, []api.ServedFile{servedFile(aSentinel(path, t0.Add(-day)), "it was")})
	}
	level := func(s Sentinel) Sentinel { s.Content = "soft-reboot"; return s }
	none, one := 0, 1
	for name, c := range map[string]struct {
		s      Sentinel
		boot   Boot
		r      *api.Record
		served *api.Served
		want   answer
		why    string
	}{
		"in /run, moved there, a day old":                     {aSentinel(run, t0.Add(-day)), boot, nil, nil, no, ""},
		"on a disk, from before the boot":                     {aSentinel(disk, t0.Add(-day)), boot, nil, nil, yes, "before the boot of"},
		"on a disk, since the boot":                           {aSentinel(disk, t0.Add(1)), boot, nil, nil, no, ""},
		"on a disk, from a year ahead":                        {aSentinel(disk, t0.Add(365*day)), boot, nil, nil, no, ""},
		"on a disk, dated ahead, from before the boot":        {Sentinel{SentinelFile: aSentinel(disk, t0.Add(-day)).SentinelFile, ModTime: t0.Add(day)}, boot, nil, nil, yes, "it is of 2026-05-03"},
		"on a disk, dated back":                               {Sentinel{SentinelFile: aSentinel(disk, t0.Add(day)).SentinelFile, ModTime: t0.Add(-day)}, boot, nil, nil, yes, "it is of 2026-05-03"},
		"on a disk, remembered":                               {aSentinel(disk, t0.Add(-day)), boot, nil, remembered(disk, "boot-1"), yes, "it was"},
		"on a disk, remembered, under a clock from 1970":      {aSentinel(disk, t0.Add(-day)), Boot{ID: "boot-2", Time: time.Unix(9, 0)}, nil, remembered(disk, "boot-1"), yes, "it was"},
		"on a disk, touched after that":                       {aSentinel(disk, t0.Add(day)), boot, nil, remembered(disk, "boot-1"), no, ""},
		"in /run, remembered in this boot":                    {aSentinel(run, t0.Add(-day)), boot, nil, remembered(run, "boot-2"), yes, "it was"},
		"in /run, remembered in the boot before":              {aSentinel(run, t0.Add(-day)), boot, nil, remembered(run, "boot-1"), no, ""},
		"on a disk, seen in this boot, and the clock is set":  {aSentinel(disk, t0.Add(-day)), boot, record(disk, "boot-2"), nil, no, ""},
		"the same, given up":                                  {aSentinel(disk, t0.Add(-day)), boot, record(disk, "boot-2"), remembered(disk, "boot-2"), yes, "it was"},
		"on a disk, seen, touched, and the clock is set":      {aSentinel(disk, t0.Add(-2*day)), boot, record(disk, "boot-2"), nil, no, ""},
		"on a disk, another was seen":                         {aSentinel(disk, t0.Add(-2*day)), boot, record("/var/lib/other", "boot-2"), nil, yes, "before the boot of"},
		"on a disk, an older version's record":                {aSentinel(disk, t0.Add(-day)), boot, aRecord(api.PhaseQueued, func(r *api.Record) { r.BootID = "boot-2" }), nil, no, ""},
		"the same, of a request by annotation":                {aSentinel(disk, t0.Add(-day)), boot, aRecord(api.PhaseQueued, func(r *api.Record) { r.BootID, r.Annotated = "boot-2", true }), nil, yes, "before the boot of"},
		"on a disk, seen in the boot before, clock from 1970": {aSentinel(disk, t0.Add(-day)), Boot{ID: "boot-2", Time: time.Unix(9, 0)}, record(disk, "boot-1"), nil, yes, "this operation"},
		"in /run, seen in the boot before":                    {aSentinel(run, t0.Add(-day)), boot, record(run, "boot-1"), nil, no, ""},
		"for a soft reboot, before it":                        {level(aSentinel(run, t0)), soft, nil, nil, yes, "soft reboot of"},
		"for a soft reboot, after it":                         {level(aSentinel(run, t0.Add(day))), soft, nil, nil, no, ""},
		"for a reboot, before a soft reboot":                  {aSentinel(run, t0), soft, nil, nil, no, ""},
		"for a soft reboot, systemd does not answer":          {level(aSentinel(run, t0)), asks, nil, nil, unclear, ""},
		"the same, remembered":                                {level(aSentinel(run, t0.Add(-day))), asks, nil, remembered(run, "boot-2"), yes, "it was"},
		"the same, from before the boot":                      {level(aSentinel(disk, t0.Add(-day))), asks, nil, nil, yes, "before the boot of"},
		"for a soft reboot, seen, none since, and the clock":  {level(aSentinel(run, t0.Add(-day))), soft, record(run, "boot-2", func(r *api.Record) { r.SoftReboots = &one }), nil, no, ""},
		"for a soft reboot, seen, one since, and the clock":   {level(aSentinel(run, t0.Add(-day))), Boot{ID: "boot-2", Time: t0, Userspace: Userspace{Known: true, SoftReboots: 1, Since: t0.Add(-9 * day)}}, record(run, "boot-2", func(r *api.Record) { r.SoftReboots = &none }), nil, yes, "since it was seen"},
		"for a soft reboot that has happened":                 {level(aSentinel(run, t0.Add(-day))), soft, record(run, "boot-2", func(r *api.Record) { r.Soft = true }), nil, yes, "this operation"},
		"for a soft reboot that has happened, touched since":  {level(aSentinel(run, t0.Add(day))), soft, record(run, "boot-2", func(r *api.Record) { r.Soft = true }), nil, no, ""},
	} {
		v := judge(c.s, c.boot, c.r, c.served)
		if v.spent != c.want || !strings.Contains(v.because, c.why) || (v.because == "") != (c.want != yes) {
			t.Errorf("%s: %+v, want %d, because %q", name, v, c.want, c.why)
		}
	}
}

// What asks is noted with each write of the record, and, once the node is worked on, as
// soon as it changes: before the order is carried out, too. What is raised after the order
// of less than a reboot is not noted: that does not serve it.
func TestFilesAreNoted(t *testing.T) {
	touched := aSentinel(onDisk.Path, t0.Add(time.Second))
	sees := func(r *api.Record) { r.Files = []api.SentinelFile{onDisk.SentinelFile} }
	with := func(r *api.Record, change ...func(*situation)) Step {
		return base(r).but(append(change, func(s *situation) { asking(s, touched) })...).step()
	}
	notes := func(s Step) bool {
		return s.Do.Writes() && s.Record != nil && len(s.Record.Files) == 1 && s.Record.Files[0].Same(touched.SentinelFile)
	}
	spawned := func(s *situation) { s.f.Child = Child{Key: s.r.OrderKey(), State: ChildRunning} }
	lesser := func(r *api.Record) { r.Level = api.Kexec }
	for name, c := range map[string]struct {
		step Step
		want bool
		do   Action
	}{
		"it asks":                      {with(nil, func(s *situation) { s.slot.State, s.lease.State = ClaimFree, ClaimFree }), true, DoWrite},
		"waiting for a slot":           {with(aRecord(api.PhaseQueued, sees), func(s *situation) { s.slot.State, s.lease.State = ClaimFree, ClaimFree }), false, DoClaim},
		"the slot is there":            {with(aRecord(api.PhaseQueued, sees)), true, DoCordon},
		"draining":                     {with(aRecord(api.PhaseDraining, sees), func(s *situation) { s.drained.State = StageRunning }), true, DoWrite},
		"drained":                      {with(aRecord(api.PhaseDraining, sees)), true, DoWrite},
		"about to order":               {with(aRecord(api.PhaseRebooting, sees)), true, DoWrite},
		"ordered":                      {with(aRecord(api.PhaseRebooting, sees), spawned), true, DoWrite},
		"about to order a kexec":       {with(aRecord(api.PhaseRebooting, sees, lesser)), true, DoWrite},
		"a kexec is ordered":           {with(aRecord(api.PhaseRebooting, sees, lesser), spawned), false, DoWait},
		"rebooted, and touched since":  {with(aRecord(api.PhaseVerifying, sees)), false, DoRestore},
		"put back, and it still asks":  {with(aRecord(api.PhaseDraining, sees), func(s *situation) { s.drained.State, s.r.Hooked = StageFailed, false }), true, DoRestore},
		"nothing has changed, ordered": {base(aRecord(api.PhaseRebooting, sees)).but(func(s *situation) { asking(s, onDisk) }).step(), false, DoSpawn},
	} {
		if notes(c.step) != c.want || c.step.Do != c.do {
			t.Errorf("%s: noted %t, want %t: %+v, record %+v", name, notes(c.step), c.want, c.step, c.step.Record)
		}
	}
}
