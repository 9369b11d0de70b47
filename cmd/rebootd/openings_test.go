package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

// checked is what check-config prints at a time, the configuration itself left out.
func checked(t *testing.T, now string, args ...string) (openings, warnings string) {
	t.Helper()
	cfg, _, err := load(args, env)
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.Parse(time.RFC3339, now)
	if err != nil {
		t.Fatal(err)
	}
	var plain, stdout, stderr bytes.Buffer
	if err := cfg.write(&plain); err != nil {
		t.Fatal(err)
	}
	if err := checkConfig(cfg, at, &stdout, &stderr); err != nil {
		t.Fatal(err)
	}
	openings, is := strings.CutPrefix(stdout.String(), plain.String())
	if !is {
		t.Errorf("%s\ndoes not begin with the configuration", &stdout)
	}
	return openings, stderr.String()
}

// check-config prints when the windows open next, in their zone and in UTC, over a change
// of the clock, and which openings are frozen.
func TestOpenings(t *testing.T) {
	got, warnings := checked(t, "2026-10-22T12:00:00Z", "--window=Fri-Sun 22:00-04:00 Europe/Berlin", "--window=last Sun 02:00-06:00",
		"--window=freeze: 2026-10-30..2026-11-01T00:00 Europe/Berlin", "--window=freeze: 2026-12-20..2027-01-03", "--window=freeze: 01-30..02-02 Europe/Berlin")
	want := `# Fri-Sun 22:00-04:00 Europe/Berlin
#   Fri 2026-10-23 22:00 CEST to Sat 2026-10-24 04:00 CEST = 2026-10-23T20:00:00Z to 2026-10-24T02:00:00Z
#   Sat 2026-10-24 22:00 CEST to Sun 2026-10-25 04:00 CET = 2026-10-24T20:00:00Z to 2026-10-25T03:00:00Z
#   Sun 2026-10-25 22:00 CET to Mon 2026-10-26 04:00 CET = 2026-10-25T21:00:00Z to 2026-10-26T03:00:00Z
#   Fri 2026-10-30 22:00 CET to Sat 2026-10-31 04:00 CET = 2026-10-30T21:00:00Z to 2026-10-31T03:00:00Z, frozen
#   Sat 2026-10-31 22:00 CET to Sun 2026-11-01 04:00 CET = 2026-10-31T21:00:00Z to 2026-11-01T03:00:00Z, frozen until 2026-10-31T23:00:00Z
# last Sun 02:00-06:00 UTC
#   Sun 2026-10-25 02:00 UTC to Sun 2026-10-25 06:00 UTC
#   Sun 2026-11-29 02:00 UTC to Sun 2026-11-29 06:00 UTC
#   Sun 2026-12-27 02:00 UTC to Sun 2026-12-27 06:00 UTC, frozen
#   Sun 2027-01-31 02:00 UTC to Sun 2027-01-31 06:00 UTC, frozen
#   Sun 2027-02-28 02:00 UTC to Sun 2027-02-28 06:00 UTC
# freeze: 2026-10-30..2026-11-01T00:00 Europe/Berlin
#   Fri 2026-10-30 00:00 CET to Sun 2026-11-01 00:00 CET = 2026-10-29T23:00:00Z to 2026-10-31T23:00:00Z
# freeze: 2026-12-20..2027-01-03 UTC
#   Sun 2026-12-20 00:00 UTC to Mon 2027-01-04 00:00 UTC
# freeze: 01-30..02-02 Europe/Berlin
#   Sat 2027-01-30 00:00 CET to Wed 2027-02-03 00:00 CET = 2027-01-29T23:00:00Z to 2027-02-02T23:00:00Z
#   Sun 2028-01-30 00:00 CET to Thu 2028-02-03 00:00 CET = 2028-01-29T23:00:00Z to 2028-02-02T23:00:00Z
#   Tue 2029-01-30 00:00 CET to Sat 2029-02-03 00:00 CET = 2029-01-29T23:00:00Z to 2029-02-02T23:00:00Z
#   Wed 2030-01-30 00:00 CET to Sun 2030-02-03 00:00 CET = 2030-01-29T23:00:00Z to 2030-02-02T23:00:00Z
#   Thu 2031-01-30 00:00 CET to Mon 2031-02-03 00:00 CET = 2031-01-29T23:00:00Z to 2031-02-02T23:00:00Z
`
	if diff := cmp.Diff(want, got); diff != "" || warnings != "" {
		t.Errorf("warnings %q (-want +got)\n%s", warnings, diff)
	}
	if got, warnings := checked(t, "2026-10-22T12:00:00Z"); got != "" || warnings != "" {
		t.Errorf("without windows it prints %q and warns %q", got, warnings)
	}
}

// It warns of what is valid and cannot be meant so.
func TestWindowWarnings(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--window=freeze: 2026-01-01..2026-01-02"}, "rebootd: warning: \"freeze: 2026-01-01..2026-01-02 UTC\" is past; remove it\n"},
		{[]string{"--window=freeze: 2026-11-27..2026-11-27"}, ""},
		{
			[]string{"--window=22:00-23:00", "--window=Sat 01:00-02:00", "--window=freeze: 2026-11-01..2027-11-30", "--window=freeze: 2027-12-01..2028-11-30"},
			"rebootd: warning: the window \"Mon-Sun 22:00-23:00 UTC\" never opens: a freeze covers every opening of it within 400 days\n" +
				"rebootd: warning: the window \"Sat 01:00-02:00 UTC\" never opens: a freeze covers every opening of it within 400 days\n",
		},
		{[]string{"--window=1st Sun 22:00-23:00", "--window=freeze: 12-20..01-03"}, ""},
		{
			[]string{"--window=1st Sun 22:00-23:00", "--window=freeze: 01-01..11-30", "--window=freeze: 12-08..12-31", "--window=freeze: 12-01..12-07"},
			"rebootd: warning: the window \"1st Sun 22:00-23:00 UTC\" never opens: a freeze covers every opening of it within 400 days\n",
		},
		{[]string{"--window=freeze: 2026-11-01..2027-11-30"}, ""},
		{[]string{"--window=freeze: 01-01..06-30", "--window=freeze: 07-01..12-31"}, "rebootd: warning: a freeze is in force (07-01..12-31 UTC); the freezes leave no time for a reboot within 400 days\n"},
		{[]string{"--window=Sat 22:00-23:00", "--deadline=7d"}, ""},
		{
			[]string{"--window=Sat 22:00-23:00", "--deadline=6d"},
			"rebootd: warning: --deadline=6d is shorter than the 6d23h0m0s from 2026-11-28T23:00:00Z to 2026-12-05T22:00:00Z in which no window is open: past the deadline reboots begin outside the windows\n",
		},
		{ // no deadline overrides a freeze: all are past theirs when it ends
			[]string{"--window=Sat 22:00-23:00", "--window=freeze: 12-20..01-03", "--deadline=8d"},
			"rebootd: warning: --deadline=8d is shorter than the 20d23h0m0s from 2026-12-19T23:00:00Z to 2027-01-09T22:00:00Z in which no window is open: past the deadline reboots begin outside the windows\n",
		},
		{[]string{"--window=00:00-24:00", "--deadline=1h"}, ""},
		{[]string{"--window=freeze: 12-20..01-03", "--deadline=1h"}, ""},
		{[]string{"--approval"}, ""},
		{[]string{"--approval", "--deadline=7d"}, "rebootd: warning: --deadline=7d overrides --approval: once 7d have passed after the request, reboots begin though nobody has approved them\n"},
		{[]string{"--window=22:00-23:00", "--window-reserve=60m"}, ""},
		{[]string{"--window=22:00-23:00", "--window-reserve=61m"}, "rebootd: warning: no maintenance window is long enough: 1h1m0s must be left of it (--window-reserve), and the longest of the next 400 days has 1h0m0s\n"},
	} {
		if _, got := checked(t, "2026-11-27T12:00:00Z", tt.args...); got != tt.want {
			t.Errorf("%q: warns\n%swant\n%s", tt.args, got, tt.want)
		}
	}
}

// The gates of the windows go by the settings; the annotation has an effect without any.
func TestWindowGates(t *testing.T) {
	at := time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)
	past := &api.Past{}
	past.Drain.Add(80 * time.Minute)
	for _, tt := range []struct {
		args       []string
		annotation string
		at         gate.Points
		why        string // "": open
	}{
		{nil, "", 0, ""},
		{nil, "Sat 00:00-24:00", gate.BeforeQueue, "outside the maintenance windows"},
		{[]string{"--window=Sat 00:00-24:00"}, "", gate.BeforeQueue, "outside the maintenance windows"},
		{[]string{"--window=Sat 00:00-24:00", "--window-end=put-back"}, "", 0, "outside the maintenance windows"},
		{[]string{"--window=11:00-12:59"}, "", gate.BeforeQueue, "the maintenance window closes at 2026-11-27T12:59:00Z, and a reboot of this node takes about 1h0m0s"},
		{[]string{"--window=11:00-12:59", "--health-timeout=5m"}, "", 0, ""},
		// What passes between two nodes is no part of what one takes.
		{[]string{"--window=11:00-12:59", "--health-timeout=5m", "--interval=7d"}, "", 0, ""},
		{[]string{"--window=11:00-12:59", "--window-reserve=59m"}, "", 0, ""},
		{[]string{"--window=11:00-12:59", "--window-reserve=60m"}, "", gate.BeforeQueue, "the maintenance window closes at 2026-11-27T12:59:00Z, and 1h0m0s must be left of it (--window-reserve)"},
	} {
		cfg, _, err := load(tt.args, env)
		if err != nil {
			t.Fatal(err)
		}
		v := gate.View{Now: at, Past: past}
		if tt.annotation != "" {
			v.Node.Annotations = map[string]string{api.WindowsAnnotation: tt.annotation}
		}
		for _, g := range inUse(gates(cfg, parts{})) {
			if g.Kind().Name != "window" {
				continue
			}
			got := g.(gate.Looker).Look(v)
			if got.Why != tt.why || got.At != tt.at || (got.State == gate.Closed) != (tt.why != "") {
				t.Errorf("%q %q: %+v, want %q at %d", tt.args, tt.annotation, got, tt.why, tt.at)
			}
		}
	}
}
