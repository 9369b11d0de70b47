package cooldown

import (
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

var t0 = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func TestInterval(t *testing.T) {
	g := &Interval{Least: 2 * time.Hour}
	for name, tc := range map[string]struct {
		vacated time.Time
		until   time.Time // zero: it is open
	}{
		"nobody was worked on":     {time.Time{}, time.Time{}},
		"a moment ago":             {t0, t0.Add(2 * time.Hour)},
		"almost as long ago":       {t0.Add(-2*time.Hour + 1), t0.Add(1)},
		"exactly as long ago":      {t0.Add(-2 * time.Hour), time.Time{}},
		"long ago":                 {t0.Add(-9999 * time.Hour), time.Time{}},
		"a moment before the boot": {t0.Add(-time.Hour), t0.Add(time.Hour)},
	} {
		v := g.Look(gate.View{Now: t0, HasSlot: true, Vacated: tc.vacated})
		if closed := v.State == gate.Closed; closed == tc.until.IsZero() || !v.Until.Equal(tc.until) || v.State == gate.Unknown {
			t.Errorf("%s: %+v", name, v)
		}
	}
	if why := g.Look(gate.View{Now: t0, Vacated: t0.Add(-time.Hour)}).Why; why != "cooling down after another node, which was done at 2026-05-04T11:00:00Z: 2h0m0s must lie between two" {
		t.Errorf("%q", why)
	}
	if k := g.Kind(); k.Soft || k.Binds != gate.WithSlot {
		t.Errorf("%+v", k)
	}
}

func TestMinUptime(t *testing.T) {
	g := &MinUptime{Least: 10 * time.Minute}
	view := func(up time.Duration) gate.View {
		return gate.View{Now: t0, Uptime: up, Booted: t0.Add(-up).Truncate(time.Second)}
	}
	for up, until := range map[time.Duration]time.Time{
		0: t0.Add(10 * time.Minute), time.Minute: t0.Add(9 * time.Minute), 10*time.Minute - 1: t0, 10 * time.Minute: {}, 24 * time.Hour: {},
	} {
		v := g.Look(view(up))
		if closed := v.State == gate.Closed; closed != (up < 10*time.Minute) || v.State == gate.Unknown || v.Until.Sub(until).Abs() > time.Second {
			t.Errorf("%s: %+v", up, v)
		} else if closed && v.Why != "the machine has been up for less than 10m0s" {
			t.Errorf("%q", v.Why)
		}
	}
	if k := g.Kind(); k.Soft || k.Binds != gate.BeforeQueue {
		t.Errorf("%+v", k)
	}
}

// What people are told stays the same, however the clocks are read; and it is not believed
// that a clock was right that has been set since.
func TestMinUptimeSaysOneTime(t *testing.T) {
	g := &MinUptime{Least: 10 * time.Minute}
	told := map[time.Time]bool{}
	for i := range 100 {
		jitter := time.Duration(i-50) * 10 * time.Millisecond
		v := g.Look(gate.View{Now: t0.Add(time.Duration(i) * time.Second), Uptime: time.Minute + time.Duration(i)*time.Second + jitter, Booted: t0.Add(-time.Minute)})
		told[v.Until] = true
	}
	if len(told) != 1 || !told[t0.Add(9*time.Minute)] {
		t.Errorf("people are told %v", told)
	}
	set := g.Look(gate.View{Now: t0, Uptime: 90 * time.Second, Booted: time.Unix(60, 0)})
	if want := t0.Add(9 * time.Minute); !set.Until.Equal(want) { // in whole minutes, not sooner
		t.Errorf("after the clock was set: until %s, want %s", set.Until, want)
	}
}

func TestACircle(t *testing.T) {
	g := &MinUptime{Least: 10 * time.Minute}
	file := func(paths ...string) (out []api.SentinelFile) {
		for _, p := range paths {
			out = append(out, api.SentinelFile{Path: p})
		}
		return out
	}
	const named = "/run/reboot-required has come back after each of the last 2 boots; something on the host raises it at every boot; not rebooting for it again"
	for name, tc := range map[string]struct {
		change func(v *gate.View)
		why    string // "" : open
		until  time.Time
	}{
		"it has come back twice":               {func(*gate.View) {}, named, t0.Add(-15 * time.Minute).Add(24 * time.Hour)},
		"once":                                 {func(v *gate.View) { v.Past.Returned = 0 }, "", time.Time{}},
		"once, and the machine is just up":     {func(v *gate.View) { v.Past.Returned, v.Uptime = 0, 3*time.Minute }, "the machine has been up for less than 10m0s", t0.Add(7 * time.Minute)},
		"five times, two files":                {func(v *gate.View) { v.Past.Returned, v.Record.Files = 4, file("/a", "/b") }, "/a and /b have come back after each of the last 5 boots; something on the host raises it at every boot; not rebooting for it again", t0.Add(-15 * time.Minute).Add(24 * time.Hour)},
		"this time it came later":              {func(v *gate.View) { v.Record.Requested = t0.Add(-5 * time.Minute) }, "", time.Time{}},
		"at the very end of that time":         {func(v *gate.View) { v.Record.Requested = t0.Add(-5*time.Minute - 1) }, named, t0.Add(-15 * time.Minute).Add(24 * time.Hour)},
		"it was there before":                  {func(v *gate.View) { v.Record.Requested = t0.Add(-16 * time.Minute) }, "", time.Time{}},
		"people request it":                    {func(v *gate.View) { v.Record.Annotated = true }, "", time.Time{}},
		"nothing is known of the past":         {func(v *gate.View) { v.Past = nil }, "", time.Time{}},
		"nothing was verified":                 {func(v *gate.View) { v.Past.Verified = time.Time{} }, "", time.Time{}},
		"a day has passed":                     {func(v *gate.View) { v.Now, v.Uptime = t0.Add(24*time.Hour-15*time.Minute), 24*time.Hour }, "", time.Time{}},
		"a moment less":                        {func(v *gate.View) { v.Now, v.Uptime = t0.Add(24*time.Hour-15*time.Minute-1), 24*time.Hour }, named, t0.Add(24*time.Hour - 15*time.Minute)},
		"soft reboots, the machine is long up": {func(v *gate.View) { v.Uptime = 999 * time.Hour }, named, t0.Add(-15 * time.Minute).Add(24 * time.Hour)},
		"it comes at this moment":              {func(v *gate.View) { v.Record, v.Now = nil, t0.Add(-10*time.Minute) }, "the request has come back after each of the last 2 boots; something on the host raises it at every boot; not rebooting for it again", t0.Add(-15 * time.Minute).Add(24 * time.Hour)},
	} {
		v := gate.View{
			Now: t0, Uptime: 16 * time.Minute, Booted: t0.Add(-16 * time.Minute),
			Record: &api.Record{Requested: t0.Add(-14 * time.Minute), Files: file("/run/reboot-required")},
			Past:   &api.Past{Verified: t0.Add(-15 * time.Minute), Returned: 1},
		}
		tc.change(&v)
		got := g.Look(v)
		if got.Why != tc.why || (got.State == gate.Closed) != (tc.why != "") || tc.why != "" && got.Until.Sub(tc.until).Abs() > time.Minute {
			t.Errorf("%s: %+v", name, got)
		}
		told := new(MinUptime).Look(v)
		if circle := g.circle(v) >= inCircle; told.State != gate.Open || (told.Note != "") != circle || told.Note != told.Opened || circle && !strings.Contains(told.Note, "something on the host raises it at every boot; rebooting for it again") {
			t.Errorf("%s, without a least uptime: %+v", name, told)
		}
	}
}
