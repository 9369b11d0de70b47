package decide

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

func TestParseDeadline(t *testing.T) {
	for text, want := range map[string]string{
		"2026-12-01T00:00:00Z": "2026-12-01T00:00:00Z", "2026-12-01T01:30:00+01:30": "2026-12-01T00:00:00Z",
		"2026-12-01T00:00:00.000000001Z": "2026-12-01T00:00:01Z", // not a moment too early
		"9999-12-31T23:59:59Z":           "9999-12-31T23:59:59Z", "1970-01-01T00:00:00Z": "1970-01-01T00:00:00Z",
	} {
		if got, err := ParseDeadline(text); err != nil || got.Format(time.RFC3339Nano) != want {
			t.Errorf("%q: %s %v, want %s", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", "tomorrow", "7d", "2026-12-01", "2026-12-01T00:00:00", "2026-12-01 00:00:00Z", "2026-02-30T00:00:00Z", "10000-01-01T00:00:00Z", "0000-01-01T00:00:00+01:00",
		"0001-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-00:01", "9999-12-31T23:59:59.5Z", strings.Repeat("2", 300),
	} {
		got, err := ParseDeadline(text)
		if err == nil {
			t.Errorf("%q: %s, want an error", text, got)
		} else if len(err.Error()) > 200 {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestDeadlineOfASentinel(t *testing.T) {
	day := 24 * time.Hour
	at := func(d int) time.Time { return time.Date(2026, 12, d, 0, 0, 0, 0, time.UTC) }
	for content, want := range map[string]Request{
		"":                                      {},
		"deadline=2026-12-01T00:00:00Z":         {DeadlineAt: at(1)},
		"deadline=24h":                          {DeadlineWithin: day},
		"kernel update deadline=7d, please":     {Invalid: []string{"deadline=7d,"}},
		"security  deadline=1d12h":              {DeadlineWithin: day + 12*time.Hour},
		"deadline=7d deadline=2d deadline=3d":   {DeadlineWithin: 2 * day},
		"deadline=0 x":                          {Invalid: []string{"deadline=0"}},
		"deadline=-1h x":                        {Invalid: []string{"deadline=-1h"}},
		"deadline= 7d":                          {Invalid: []string{"deadline="}},
		"deadlines=7d Deadline=7d a-deadline=d": {},
		"deadline=soon deadline=7d":             {DeadlineWithin: 7 * day, Invalid: []string{"deadline=soon"}},
		"deadline=2026-12-03T00:00:00Z deadline=2026-12-02T00:00:00Z deadline=1h": {DeadlineAt: at(2), DeadlineWithin: time.Hour},
	} {
		q := RequestOf([]Sentinel{{SentinelFile: api.SentinelFile{Path: "/run/reboot-required", Changed: t0, Volatile: true}, Content: content}}, Boot{ID: "boot-1"}, "", nil, nil)
		if !q.Wanted || !q.DeadlineAt.Equal(want.DeadlineAt) || q.DeadlineWithin != want.DeadlineWithin {
			t.Errorf("%q: %+v", content, q)
		}
		if len(q.Invalid) != len(want.Invalid) || len(q.Invalid) > 0 && !strings.Contains(q.Invalid[0], "/run/reboot-required has the word "+`"`+want.Invalid[0]+`"`) {
			t.Errorf("%q: %q", content, q.Invalid)
		}
	}
	two := RequestOf([]Sentinel{
		{SentinelFile: api.SentinelFile{Path: "/a", Changed: t0, Volatile: true}, Content: "soft-reboot deadline=3d"},
		{SentinelFile: api.SentinelFile{Path: "/b", Changed: t0, Volatile: true}, Content: "soft-reboot deadline=2d deadline=2026-12-01T00:00:00Z"},
	}, Boot{ID: "boot-1", Userspace: Userspace{Known: true}}, "", nil, nil)
	if two.DeadlineWithin != 2*day || !two.DeadlineAt.Equal(at(1)) || two.Level != api.SoftReboot {
		t.Errorf("two sentinels: %+v", two)
	}
}

// waits is a node whose reboot was requested at t0, and that a soft gate keeps waiting.
func waits(phase api.Phase, change func(*situation)) situation {
	s := base(&api.Record{V: api.Schema, ID: "op", Phase: phase, Since: t0, BootID: "boot-1", Requested: t0, Request: "kernel", Lock: "rebootd"})
	s.f.Gates = []gate.Status{soft(toy("window", gate.BeforeQueue, gate.Verdict{State: gate.Closed}))}
	s.slot.State, s.lease.State = ClaimFree, ClaimFree
	if change != nil {
		change(&s)
	}
	return s.ready()
}

func TestDeadline(t *testing.T) {
	at := func(d time.Duration) time.Time { return t0.Add(d) }
	const day = 24 * time.Hour
	for name, tc := range map[string]struct {
		change func(*situation)
		want   time.Time
	}{
		"none":                             {func(*situation) {}, time.Time{}},
		"of the settings":                  {func(s *situation) { s.p.Deadline = 7 * day }, at(7 * day)},
		"of a sentinel, if it is sooner":   {func(s *situation) { s.p.Deadline, s.f.Request.DeadlineWithin = 7*day, day }, at(day)},
		"of the settings, if that is":      {func(s *situation) { s.p.Deadline, s.f.Request.DeadlineWithin = day, 7*day }, at(day)},
		"a time in a sentinel":             {func(s *situation) { s.p.Deadline, s.f.Request.DeadlineAt = day, at(time.Hour) }, at(time.Hour)},
		"which may be later":               {func(s *situation) { s.p.Deadline, s.f.Request.DeadlineAt = day, at(7*day) }, at(day)},
		"people have the last word":        {func(s *situation) { s.p.Deadline, s.f.Request.DeadlineByPeople = day, at(7*day) }, at(7 * day)},
		"also to have it sooner":           {func(s *situation) { s.p.Deadline, s.f.Request.DeadlineByPeople = day, at(time.Hour) }, at(time.Hour)},
		"in the past, since the boot":      {func(s *situation) { s.f.Request.DeadlineByPeople = at(-before + time.Second) }, at(-before + time.Second)},
		"from before the boot, by people":  {func(s *situation) { s.p.Deadline, s.f.Request.DeadlineByPeople = day, at(-before-time.Second) }, at(day)},
		"from before the boot, a sentinel": {func(s *situation) { s.p.Deadline, s.f.Request.DeadlineAt = day, at(-before-time.Second) }, at(day)},
		"in parts of a second":             {func(s *situation) { s.p.Deadline, s.r.Requested = day, at(time.Millisecond) }, at(day + time.Second)},
		"the request is of no known time":  {func(s *situation) { s.p.Deadline, s.r.Requested = day, time.Time{} }, at(day - before)},
		"seen before the clock was set":    {func(s *situation) { s.p.Deadline, s.r.Requested = day, time.Unix(0, 0) }, at(day - before)},
		"and nothing more was set":         {func(s *situation) { s.r.Requested = time.Unix(0, 0) }, time.Time{}},
		"which has been noted a moment ago": {func(s *situation) {
			s.p.Deadline, s.r.Requested, s.r.Deadline = day, time.Unix(0, 0), at(day-before+time.Second)
		}, at(day - before + time.Second)},
		"a clock that was wrong the other way is believed": {func(s *situation) { s.p.Deadline, s.r.Requested = day, at(999*day) }, at(1000 * day)},
		"is not known to be requested any more": {func(s *situation) {
			s.p.Deadline, s.r.Deadline, s.f.Request = day, at(time.Hour), Request{Pending: true}
		}, at(time.Hour)},
		"after the boot": {func(s *situation) { s.p.Deadline, s.f.Boot.ID = day, "boot-2" }, time.Time{}},
	} {
		s := waits(api.PhaseWaiting, tc.change)
		if got := due(s.p, s.r, s.f); !got.Equal(tc.want) {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// What people read, ahead, when it comes, and at the cordon.
func TestPeopleAreToldOfTheDeadline(t *testing.T) {
	const week = 7 * 24 * time.Hour
	s := waits(api.PhaseWaiting, func(s *situation) { s.p.Deadline, s.r.Deadline = week, t0.Add(week) })
	step := s.step()
	if step.Do != DoWait || step.Reason != api.ReasonBlocked || step.More != "the deadline is 2026-05-11T12:00:00Z" || !step.Until.Equal(t0.Add(week)) {
		t.Errorf("ahead: %+v", step)
	}
	s.f.Gates[0].Until = t0.Add(time.Hour)
	if step = s.ready().step(); !step.Until.Equal(t0.Add(time.Hour)) || !strings.HasSuffix(step.Message, ", until 2026-05-04T13:00:00Z") {
		t.Errorf("a gate that opens sooner: %+v", step)
	}
	s.f.Now = t0.Add(week - time.Second)
	if step = s.ready().step(); step.Do != DoWait {
		t.Errorf("a second ahead: %+v", step)
	}
	s.f.Now = t0.Add(week)
	if step = s.ready().step(); step.Do != DoWrite || step.Record.Phase != api.PhaseQueued {
		t.Errorf("at the deadline: %+v", step)
	}
	s.r.Phase, s.f.Gates[0].Until = api.PhaseQueued, time.Time{}
	if step = s.ready().step(); step.Do != DoClaim || step.LookOnly || step.More != "the deadline of 2026-05-11T12:00:00Z has passed, so these are not waited for: Blocked" {
		t.Errorf("in the queue: %+v", step)
	}
	open := s
	open.f.Gates = nil
	if step = open.ready().step(); step.More != "the deadline of 2026-05-11T12:00:00Z has passed" {
		t.Errorf("in the queue, while nothing is closed: %+v", step)
	}
	s.slot.State, s.lease.State = ClaimHeld, ClaimHeld
	if step = s.ready().step(); step.Do != DoCordon || step.Message != "cordoned by rebootd; draining under the slot rebootd-0; the deadline of 2026-05-11T12:00:00Z has passed, so these were not waited for: Blocked (closed by window)" {
		t.Errorf("at the cordon: %+v", step)
	}
	open.slot.State, open.lease.State = ClaimHeld, ClaimHeld
	if step = open.ready().step(); step.Do != DoCordon || strings.Contains(step.Message, "deadline") {
		t.Errorf("at the cordon, while nothing is closed: %+v", step)
	}
	hard := s
	hard.f.Gates = []gate.Status{toy("hold", gate.BeforeQueue, gate.Verdict{State: gate.Closed})}
	if step = hard.ready().step(); step.Record == nil || step.Record.Phase != api.PhaseWaiting {
		t.Errorf("a gate that is not soft: %+v", step)
	}
}

// What is ignored is told while the node waits, and not only while it is idle.
func TestWhatIsIgnoredIsToldWhileItWaits(t *testing.T) {
	s := waits(api.PhaseWaiting, func(s *situation) {
		s.f.Request.Invalid, s.f.Notices = []string{"/run/reboot-required has the word \"deadline=soon\""}, []string{"the annotation x is invalid"}
		s.f.Request.DeadlineByPeople = t0.Add(-before - time.Minute)
	})
	want := "the annotation rebootd.dev/deadline has the value 2026-05-04T10:59:00Z, which is ignored: the machine has booted since; /run/reboot-required has the word \"deadline=soon\"; the annotation x is invalid"
	if step := s.step(); step.More != want {
		t.Errorf("%q", step.More)
	}
	s.r.Phase, s.r.Cordoned, s.f.Node.Unschedulable = api.PhaseDraining, true, true
	s.slot.State, s.lease.State = ClaimHeld, ClaimHeld
	if step := s.ready().step(); strings.Contains(step.More, "annotation") {
		t.Errorf("while it is worked on: %+v", step)
	}
}

// A deadline that has passed when the request is first seen.
func TestADeadlineThatHasPassedAtFirstSight(t *testing.T) {
	s := base(nil)
	s.slot.State, s.lease.State = ClaimFree, ClaimFree
	s.f.Gates = []gate.Status{soft(toy("window", gate.BeforeQueue, gate.Verdict{State: gate.Closed})), soft(toy("alerts", gate.BeforeQueue, gate.Verdict{}))}
	if step := s.ready().step(); step.Record == nil || step.Record.Phase != api.PhaseWaiting || !step.Record.Deadline.IsZero() {
		t.Errorf("no deadline: %+v", step)
	}
	s.f.Request.DeadlineAt = t0.Add(-time.Minute)
	if step := s.ready().step(); step.Record == nil || step.Record.Phase != api.PhaseQueued || !step.Record.Deadline.Equal(t0.Add(-time.Minute)) {
		t.Errorf("one that has passed: %+v", step)
	}
	s.f.Request.DeadlineAt, s.p.Deadline = time.Time{}, time.Hour
	if step := s.ready().step(); step.Record == nil || step.Record.Phase != api.PhaseWaiting || !step.Record.Deadline.Equal(s.f.Now.Add(time.Hour)) {
		t.Errorf("one that is to come: %+v", step)
	}
}

// One that waits notes a new deadline at once, with one write, that of the settings of a new
// version too. One that is worked on is not disturbed.
func TestANewDeadlineIsNoted(t *testing.T) {
	for _, phase := range []api.Phase{api.PhaseWaiting, api.PhaseQueued} {
		for _, by := range []time.Time{{}, t0.Add(time.Hour), t0.Add(-time.Minute)} {
			s := waits(phase, func(s *situation) { s.f.Gates, s.r.Deadline = nil, t0.Add(24*time.Hour) })
			if phase == api.PhaseWaiting {
				s.r.NotBefore, s.r.Attempts = t0.Add(time.Minute), 1
			}
			s.f.Request.DeadlineByPeople = by
			want := "reboot requested: kernel; the deadline is now " + by.Format(time.RFC3339)
			if by.IsZero() {
				want = "reboot requested: kernel; there is no deadline any more"
			}
			step := s.step()
			if step.Do != DoWrite || !step.Record.Deadline.Equal(by) || step.Record.Phase != phase || step.Message != want {
				t.Errorf("%s, %s: %+v", phase, by, step)
			}
			s.r = step.Record
			if step = s.ready().step(); step.Do.Writes() {
				t.Errorf("%s, %s is noted again: %+v", phase, by, step)
			}
		}
	}
	for _, r := range records() {
		if undisturbed(r) {
			continue
		}
		s := base(r).ready()
		plain := s.step()
		s.f.Request.DeadlineByPeople = t0.Add(time.Hour)
		step := s.step()
		if n := step.Record; n != nil && n.Phase != api.PhaseVerifying && !startedOver(s.r, s.f) && serves(n, s.f) && !n.Deadline.Equal(t0.Add(time.Hour)) {
			t.Errorf("%s: not noted with what is written anyway: %+v", r.Phase, step)
		}
		if step.Record != nil {
			step.Record.Deadline = plain.Record.Deadline
		}
		if !reflect.DeepEqual(step, plain) {
			t.Errorf("%s: a new deadline changes\n%+v\ninto\n%+v", r.Phase, plain, step)
		}
	}
}

// Whatever the clock, the request and the settings say, a deadline is written once, can be
// written, and is read as what it was.
func TestADeadlineIsWrittenOnce(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 5))
	some := func(all ...time.Duration) time.Duration { return all[rng.IntN(len(all))] }
	jitter := func() time.Duration {
		return time.Duration(rng.Int64N(int64(20*time.Millisecond))) - 10*time.Millisecond
	}
	for range 20_000 {
		s := waits(api.PhaseWaiting, nil)
		s.f.Gates = append(s.f.Gates, toy("hold", gate.BeforeQueue, gate.Verdict{State: gate.Closed}))
		s.p.Deadline = some(0, time.Nanosecond, time.Hour, 7*24*time.Hour, 290*365*24*time.Hour)
		s.f.Request.DeadlineWithin = some(0, 0, time.Hour, 1500*time.Millisecond)
		for _, into := range []*time.Time{&s.f.Request.DeadlineAt, &s.f.Request.DeadlineByPeople} {
			if rng.IntN(2) == 0 {
				*into = t0.Add(some(-999*time.Hour, -59*time.Minute, 0, time.Millisecond, 5*time.Hour)).In(time.FixedZone("x", 5*3600+1800))
			}
		}
		s.r.Requested = t0.Add(some(0, time.Microsecond, -time.Minute-before, -before, -56*365*24*time.Hour, 24*time.Hour))
		up := some(0, time.Minute, time.Hour, 1000*time.Hour)
		writes := 0
		for turn := range 12 {
			s.f.Now = t0.Add(time.Second * time.Duration(turn))
			s.f.Uptime = max(0, up+time.Second*time.Duration(turn)+jitter())
			step := Next(s.p, s.r, s.f)
			if !step.Do.Writes() {
				continue
			}
			writes++
			data, err := json.Marshal(step.Record)
			if err != nil {
				t.Fatalf("%+v: %v", s.f.Request, err)
			}
			if s.r, err = api.ParseRecord(data); err != nil {
				t.Fatal(err)
			}
			if !s.r.Deadline.Equal(step.Record.Deadline) {
				t.Fatalf("%s is read as %s", step.Record.Deadline, s.r.Deadline)
			}
		}
		most := 1
		if up == 0 { // boots at the very time that is named
			most++
		}
		if writes > most {
			t.Fatalf("%d writes for %+v, requested %s, settings %s, up %s: %+v", writes, s.f.Request, s.r.Requested, s.p.Deadline, up, s.r)
		}
	}
}

// A pause that a soft gate was the cause of ends when the deadline comes, also one that was
// brought forward meanwhile; another does not.
func TestThePauseEndsAtTheDeadline(t *testing.T) {
	for name, tc := range map[string]struct {
		soft  bool
		by    time.Duration // after t0
		ends  time.Duration
		again func(*situation)
	}{
		"a soft gate, and the deadline comes":       {true, 2 * time.Minute, 2 * time.Minute, nil},
		"a soft gate, and it comes later":           {true, time.Hour, 8 * time.Minute, nil},
		"a gate that is not soft":                   {false, 2 * time.Minute, 8 * time.Minute, nil},
		"a drain that failed":                       {true, 2 * time.Minute, 8 * time.Minute, func(s *situation) { s.r.Deferrals, s.r.Attempts = 0, 4 }},
		"a gate that is not there any more":         {true, 2 * time.Minute, 8 * time.Minute, func(s *situation) { s.f.Gates = nil }},
		"it had passed when it was brought forward": {true, -time.Minute, 0, nil},
	} {
		s := waits(api.PhaseWaiting, func(s *situation) {
			s.f.Gates = []gate.Status{toy("alerts", gate.OnTurn, gate.Verdict{})}
			s.f.Gates[0].Reason, s.f.Gates[0].Soft = api.ReasonAlertsFiring, tc.soft
			s.r.Deferrals, s.r.NotBefore, s.r.Failure = 4, t0.Add(8*time.Minute), &api.Failure{Reason: api.ReasonAlertsFiring, Message: "two alerts"}
			s.r.Deadline, s.f.Request.DeadlineByPeople = t0.Add(tc.by), t0.Add(tc.by)
			if tc.again != nil {
				tc.again(s)
			}
		})
		for after := time.Duration(0); after <= 9*time.Minute; after += 30 * time.Second {
			s.f.Now = t0.Add(after)
			step := s.ready().step()
			if pauses := step.Do == DoWait; pauses != (after < tc.ends) {
				t.Errorf("%s: after %s %+v", name, after, step)
			}
			if step.Do == DoWait && !strings.Contains(step.Message, "next try at "+t0.Add(tc.ends).Format(time.RFC3339)) {
				t.Errorf("%s: after %s it says %q", name, after, step.Message)
			}
		}
	}
	s := waits(api.PhaseQueued, func(s *situation) {
		s.f.Gates = []gate.Status{soft(toy("alerts", gate.OnTurn, gate.Verdict{State: gate.Closed}))}
		s.slot.State, s.r.Deferrals = ClaimHeld, 5
		s.r.Deadline, s.f.Request.DeadlineByPeople = t0.Add(time.Minute), t0.Add(time.Minute)
	})
	if step := s.step(); step.Record == nil || !step.Record.NotBefore.Equal(t0.Add(time.Minute)) || !strings.Contains(step.Message, "next try at 2026-05-04T12:01:00Z") {
		t.Errorf("put off before the deadline: %+v", step)
	}
}

// Before the deadline a clock that is set forward and back changes what is waited for, and
// nothing else.
func TestTheClockAndTheDeadline(t *testing.T) {
	s := waits(api.PhaseWaiting, func(s *situation) { s.p.Deadline, s.r.Deadline = time.Hour, t0.Add(time.Hour) })
	s.f.Now, s.f.Uptime = t0.Add(2*time.Hour), before/2
	if step := Next(s.p, s.r, s.f); step.Do != DoWrite || step.Record.Phase != api.PhaseWaiting || !step.Record.Deadline.Equal(t0.Add(2*time.Hour+before/2)) {
		t.Errorf("set forward, past the deadline and the boot: %+v", step)
	}
	s.r.Phase, s.f.Now = api.PhaseQueued, t0.Add(time.Minute)
	if step := Next(s.p, s.r, s.f); step.Do != DoWrite || step.Record.Phase != api.PhaseWaiting {
		t.Errorf("set back: %+v", step)
	}
}

// A policy that refuses the deadline's write keeps the node waiting, as it would keep it
// from the next write, and nothing that others wait for.
func TestTheWriteOfADeadlineIsRefused(t *testing.T) {
	s := waits(api.PhaseQueued, func(s *situation) {
		s.f.Gates, s.f.Request.DeadlineByPeople = nil, t0.Add(time.Hour)
		s.f.Refused = Refused{Do: DoWrite, Words: "denied", Until: t0.Add(time.Minute)}
	})
	if step := s.step(); step.Do != DoWait || step.Reason != api.ReasonBlocked || !step.Until.Equal(t0.Add(time.Minute)) {
		t.Errorf("%+v", step)
	}
	s.slot.State = ClaimHeld
	if step := s.ready().step(); step.Do != DoRelease {
		t.Errorf("with the slot: %+v", step)
	}
	for _, r := range records() {
		if undisturbed(r) {
			continue
		}
		s := base(r)
		s.f.Refused = Refused{Do: DoWrite, Words: "denied", Until: t0.Add(time.Hour)}
		plain := s.ready().step()
		s.f.Request.DeadlineByPeople = t0.Add(time.Hour)
		if step := s.ready().step(); step.Do != plain.Do {
			t.Errorf("%s: %+v, without a deadline %+v", r.Phase, step, plain)
		}
	}
}
