package windows

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

// at is a time of November 2026, in UTC: "27 21:59" is a Friday evening.
func at(t testing.TB, text string) time.Time {
	t.Helper()
	out, err := time.Parse("2006-01 02 15:04", "2026-11 "+text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// took is the past of a node whose last reboot took so long, the drain included.
func took(drain, reboot time.Duration) *api.Past {
	p := &api.Past{}
	p.Drain.Add(drain)
	p.Reboot.Add(reboot)
	return p
}

// said is what a gate says, in a line.
func said(v gate.Verdict) string {
	if v.State == gate.Open {
		return "open"
	}
	out := "closed: " + v.Why
	if !v.Until.IsZero() {
		out += ", until " + v.Until.Format(time.DateTime)
	}
	switch v.At {
	case 0:
		out += " (and is put back)"
	case gate.BeforeQueue:
	default:
		out += fmt.Sprintf(" (%d)", v.At)
	}
	return out
}

// What the gates say. Node "a" begins in the first minute of the windows here.
func TestWhatTheGatesSay(t *testing.T) {
	const (
		night  = "22:00-04:00"
		frozen = "freeze: 2026-11-28..2026-11-29"
	)
	type row struct{ now, window, freeze string }
	for _, tt := range []struct {
		name string
		s    Settings
		own  string // the annotation
		past *api.Past
		rows []row
	}{
		{name: "nothing configured", rows: []row{{"27 12:00", "open", "open"}}},
		{name: "a short window, no past", s: Settings{Entries: []string{"Fri 22:00-22:09"}, Auto: true}, rows: []row{
			{"27 21:59", "closed: outside the maintenance windows, until 2026-11-27 22:00:00", "open"},
			{"27 22:00", "open", "open"},
			{"27 22:08", "open", "open"},
			{"27 22:09", "closed: outside the maintenance windows, until 2026-12-04 22:00:00", "open"},
		}},
		{name: "its zone", s: Settings{Entries: []string{"Fri 22:00-22:09 Europe/Berlin"}}, rows: []row{
			{"27 20:59", "closed: outside the maintenance windows, until 2026-11-27 21:00:00", "open"},
			{"27 21:00", "open", "open"},
			{"27 21:09", "closed: outside the maintenance windows, until 2026-12-04 21:00:00", "open"},
		}},
		{name: "put back", s: Settings{Entries: []string{"Fri 22:00-22:09", frozen}, PutBack: true, Reserve: 5 * time.Minute}, rows: []row{
			{"27 21:59", "closed: outside the maintenance windows, until 2026-11-27 22:00:00 (and is put back)", "open"},
			{"27 22:05", "closed: the maintenance window closes at 2026-11-27T22:09:00Z, and 5m0s must be left of it (--window-reserve), until 2026-12-04 22:00:00", "open"},
			{"27 22:09", "closed: outside the maintenance windows, until 2026-12-04 22:00:00 (and is put back)", "open"},
			{"27 23:56", "closed: outside the maintenance windows, until 2026-12-04 22:00:00 (and is put back)", "closed: a freeze (2026-11-28..2026-11-29 UTC) begins at 2026-11-28T00:00:00Z, and no reboot may begin in the 5m0s before it (--window-reserve), until 2026-11-30 00:00:00"},
			{"28 00:00", "closed: outside the maintenance windows, until 2026-12-04 22:00:00 (and is put back)", "closed: a freeze is in force (2026-11-28..2026-11-29 UTC), until 2026-11-30 00:00:00 (and is put back)"},
		}},
		{name: "by the last reboot", s: Settings{Entries: []string{"Fri 22:00-22:30"}, Auto: true, Longest: time.Hour}, past: took(8*time.Minute, 21*time.Minute+30*time.Second+400*time.Millisecond), rows: []row{
			{"27 21:59", "closed: outside the maintenance windows, until 2026-11-27 22:00:00", "open"},
			{"27 22:00", "open", "open"},
			{"27 22:02", "closed: the maintenance window closes at 2026-11-27T22:30:00Z, and a reboot of this node takes about 30m0s, until 2026-12-04 22:00:00", "open"},
		}},
		{name: "too long for every window", s: Settings{Entries: []string{"Fri 22:00-22:30", "Sat 22:00-22:20"}, Auto: true, Longest: time.Hour}, past: took(20*time.Minute, 30*time.Minute), rows: []row{
			{"27 21:59", "closed: no maintenance window is long enough: a reboot of this node takes about 50m0s, and the longest of the next 400 days has 30m0s", "open"},
			{"27 22:00", "closed: no maintenance window is long enough: a reboot of this node takes about 50m0s, and the longest of the next 400 days has 30m0s", "open"},
		}},
		{name: "a past that cannot be", s: Settings{Entries: []string{"Fri 22:00-22:30"}, Auto: true, Longest: 25 * time.Minute}, past: took(0, 2*365*24*time.Hour), rows: []row{
			{"27 22:05", "open", "open"},
			{"27 22:06", "closed: the maintenance window closes at 2026-11-27T22:30:00Z, and a reboot of this node takes about 25m0s, until 2026-12-04 22:00:14", "open"},
		}},
		{name: "the past does not count where the reserve is set", s: Settings{Entries: []string{"Fri 22:00-22:30"}}, past: took(time.Hour, time.Hour), rows: []row{
			{"27 22:29", "open", "open"},
		}},
		{name: "a freeze over a window", s: Settings{Entries: []string{"22:00-22:09", frozen}}, rows: []row{
			{"27 22:08", "open", "open"},
			{"28 12:00", "closed: outside the maintenance windows, until 2026-11-30 22:00:00", "closed: a freeze is in force (2026-11-28..2026-11-29 UTC), until 2026-11-30 00:00:00"},
			{"28 22:00", "open", "closed: a freeze is in force (2026-11-28..2026-11-29 UTC), until 2026-11-30 00:00:00"},
			{"30 00:00", "closed: outside the maintenance windows, until 2026-11-30 22:00:00", "open"},
		}},
		{name: "a freeze and no window", s: Settings{Entries: []string{frozen}, Auto: true}, past: took(5*time.Minute, 5*time.Minute), rows: []row{
			{"27 23:50", "open", "open"},
			{"27 23:51", "open", "closed: a freeze (2026-11-28..2026-11-29 UTC) begins at 2026-11-28T00:00:00Z, and a reboot of this node takes about 10m0s, until 2026-11-30 00:00:00"},
			{"30 00:00", "open", "open"},
		}},
		{name: "freezes that join, and one too soon after them", s: Settings{Entries: []string{"freeze: 2026-11-26..2026-11-27", frozen, "freeze: 2026-11-30T00:20..2026-11-30T03:00"}, Reserve: 30 * time.Minute}, rows: []row{
			{"25 23:31", "open", "closed: a freeze (2026-11-26..2026-11-27 UTC) begins at 2026-11-26T00:00:00Z, and no reboot may begin in the 30m0s before it (--window-reserve), until 2026-11-30 03:00:00"},
			{"27 12:00", "open", "closed: a freeze is in force (2026-11-26..2026-11-27 UTC), until 2026-11-30 03:00:00"},
			{"30 00:10", "open", "closed: a freeze (2026-11-30T00:20..2026-11-30T03:00 UTC) begins at 2026-11-30T00:20:00Z, and no reboot may begin in the 30m0s before it (--window-reserve), until 2026-11-30 03:00:00"},
		}},
		{name: "every window is frozen", s: Settings{Entries: []string{"Sat 22:00-22:09", "freeze: 2026-11-01..2027-11-30", "freeze: 2027-12-01..2028-11-30"}}, rows: []row{
			{"27 12:00", "closed: outside the maintenance windows; every window of the next 400 days is frozen", "closed: a freeze is in force (2026-11-01..2027-11-30 UTC), until 2028-12-01 00:00:00"},
		}},
		{name: "a freeze of every year", s: Settings{Entries: []string{"Sat 22:00-22:09", "freeze: 11-28..01-03 Europe/Berlin"}, Reserve: 5 * time.Minute}, rows: []row{
			{"27 22:54", "closed: outside the maintenance windows, until 2027-01-09 22:00:00", "open"},
			{"27 22:56", "closed: outside the maintenance windows, until 2027-01-09 22:00:00", "closed: a freeze (11-28..01-03 Europe/Berlin) begins at 2026-11-27T23:00:00Z, and no reboot may begin in the 5m0s before it (--window-reserve), until 2027-01-03 23:00:00"},
			{"28 22:00", "open", "closed: a freeze is in force (11-28..01-03 Europe/Berlin), until 2027-01-03 23:00:00"},
		}},
		{name: "a freeze of every year joins others", s: Settings{Entries: []string{"freeze: 01-01..01-10", "freeze: 11-28..12-31"}}, own: "freeze: 2027-01-11..2027-11-27", rows: []row{
			{"28 12:00", "open", "closed: a freeze is in force (11-28..12-31 UTC), until 2028-01-11 00:00:00"},
		}},
		{name: "freezes of every year leave nothing", s: Settings{Entries: []string{"Sat 22:00-22:09", "freeze: 01-01..06-30", "freeze: 07-01..12-31"}, PutBack: true}, rows: []row{
			{"27 12:00", "closed: outside the maintenance windows; every window of the next 400 days is frozen (and is put back)", "closed: a freeze is in force (07-01..12-31 UTC); the freezes leave no time for a reboot within 400 days (and is put back)"},
		}},
		{name: "freezes of every year leave too little", s: Settings{Entries: []string{"freeze: 01-01..12-30"}, Reserve: 25 * time.Hour}, rows: []row{
			{"27 12:00", "open", "closed: a freeze is in force (01-01..12-30 UTC); the freezes leave no time for a reboot within 400 days"},
		}},
		{name: "the node's own windows replace the configured ones", s: Settings{Entries: []string{"Fri 22:00-22:09", frozen}}, own: "Sat 01:00-01:09;\n Mon 01:00-01:09 ", rows: []row{
			{"27 22:00", "closed: outside the maintenance windows, until 2026-11-30 01:00:00", "open"},
			{"28 01:00", "open", "closed: a freeze is in force (2026-11-28..2026-11-29 UTC), until 2026-11-30 00:00:00"},
			{"30 01:00", "open", "open"},
		}},
		{name: "the node's own freeze leaves the configured windows in force", s: Settings{Entries: []string{"22:00-22:09", frozen}}, own: "freeze: 2026-11-30..2026-11-30", rows: []row{
			{"27 22:00", "open", "open"},
			{"27 22:09", "closed: outside the maintenance windows, until 2026-12-01 22:00:00", "open"},
			{"28 00:00", "closed: outside the maintenance windows, until 2026-12-01 22:00:00", "closed: a freeze is in force (2026-11-28..2026-11-29 UTC), until 2026-12-01 00:00:00"},
		}},
		{name: "the node's own windows, and none configured", own: "Sat 01:00-01:09", rows: []row{
			{"27 22:00", "closed: outside the maintenance windows, until 2026-11-28 01:00:00", "open"},
		}},
		{name: "an annotation that cannot be read", s: Settings{Entries: []string{night, frozen}, PutBack: true}, own: "Sat 1:00", rows: []row{
			{"27 23:00", `closed: the annotation rebootd.dev/windows must be corrected or removed: "Sat 1:00": "1:00" is not a span of time; write start and end joined by a hyphen, without spaces, like 22:00-04:00`, "open"},
			{"28 23:00", `closed: the annotation rebootd.dev/windows must be corrected or removed: "Sat 1:00": "1:00" is not a span of time; write start and end joined by a hyphen, without spaces, like 22:00-04:00`, "closed: a freeze is in force (2026-11-28..2026-11-29 UTC), until 2026-11-30 00:00:00 (and is put back)"},
		}},
		{name: "an annotation that is empty", s: Settings{Entries: []string{night}}, own: " ;\n", rows: []row{
			{"27 23:00", "closed: the annotation rebootd.dev/windows must be corrected or removed: it is empty", "open"},
		}},
		{name: "a configuration that cannot be read", s: Settings{Entries: []string{"soon"}}, rows: []row{
			{"27 23:00", `closed: the configured maintenance windows cannot be read: "soon": the time of day is missing; write a window like "Mon-Fri 22:00-04:00 Europe/Berlin"`, "open"},
		}},
		{name: "a window as long as a reboot", s: Settings{Entries: []string{"Fri 22:00-22:30"}, Reserve: 30 * time.Minute}, rows: []row{
			{"27 21:00", "closed: outside the maintenance windows, until 2026-11-27 22:00:00", "open"},
			{"27 22:00", "open", "open"},
		}},
		{name: "a window that a freeze cuts too short", s: Settings{Entries: []string{"Fri,Sat 22:00-22:50", "freeze: 2026-11-27T22:20..2026-11-27T22:30"}, Reserve: 25 * time.Minute}, rows: []row{
			{"27 21:00", "closed: outside the maintenance windows, until 2026-11-28 22:01:52", "open"},
			{"27 22:00", "open", "closed: a freeze (2026-11-27T22:20..2026-11-27T22:30 UTC) begins at 2026-11-27T22:20:00Z, and no reboot may begin in the 25m0s before it (--window-reserve), until 2026-11-27 22:30:00"},
		}},
		{name: "a freeze that begins in the window", s: Settings{Entries: []string{"Fri 22:00-22:50", "freeze: 2026-11-27T22:10..2026-11-27T22:20"}, Reserve: 25 * time.Minute}, rows: []row{
			{"27 21:00", "closed: outside the maintenance windows, until 2026-11-27 22:20:00", "open"},
		}},
		{name: "two freezes in a window, the later one first", s: Settings{Entries: []string{"Fri 22:00-23:00", "freeze: 2026-11-27T22:40..2026-11-27T22:50", "freeze: 2026-11-27T22:05..2026-11-27T22:10"}, Reserve: 10 * time.Minute}, rows: []row{
			{"27 21:00", "closed: outside the maintenance windows, until 2026-11-27 22:10:00", "open"},
		}},
		{name: "always open", s: Settings{Entries: []string{"00:00-24:00"}, Auto: true}, past: took(time.Hour, time.Hour), rows: []row{
			{"27 23:59", "open", "open"},
		}},
	} {
		tt.s.Zone = time.LoadLocation
		w, f := New(tt.s)
		for _, r := range tt.rows {
			v := gate.View{Now: at(t, r.now), Past: tt.past, Node: gate.Node{Name: "a", Annotations: map[string]string{}}}
			if tt.own != "" {
				v.Node.Annotations[api.WindowsAnnotation] = tt.own
			}
			if got := said(w.Look(v)); got != r.window {
				t.Errorf("%s, %s: the window is\n%s, want\n%s", tt.name, r.now, got, r.window)
			}
			if got := said(f.Look(v)); got != r.freeze {
				t.Errorf("%s, %s: the freeze is\n%s, want\n%s", tt.name, r.now, got, r.freeze)
			}
		}
	}
}

// Nodes do not all begin at once: each has its moment in the first tenth of a window, at
// most ten minutes, the same one after a restart, another one in the next window, and none
// that would be too late for its reboot.
func TestSpread(t *testing.T) {
	opens := func(takes time.Duration, entry string, node string, from time.Time) time.Duration {
		w, _ := New(Settings{Entries: []string{entry}, Zone: time.LoadLocation, Reserve: takes})
		v := w.Look(gate.View{Now: from, Node: gate.Node{Name: node}})
		if v.State != gate.Closed || v.Until.IsZero() {
			t.Fatalf("%s: %+v", entry, v)
		}
		return v.Until.Sub(from)
	}
	before := at(t, "27 21:00")
	for _, tt := range []struct {
		entry string
		takes time.Duration
		most  time.Duration // within which of the opening all begin
	}{
		{"Fri 22:00-04:00", 0, 10 * time.Minute},
		{"Fri 22:00-22:30", 0, 3 * time.Minute},
		{"Fri 22:00-22:30", 28 * time.Minute, 2 * time.Minute},
		{"Fri 22:00-22:09", 0, 0},
		{"Fri 22:00-22:30", 29*time.Minute + 30*time.Second, 0},
	} {
		seconds := map[time.Duration]int{}
		var least, most time.Duration = time.Hour, 0
		for n := range 1000 {
			node := fmt.Sprintf("worker-%d", n)
			d := opens(tt.takes, tt.entry, node, before) - time.Hour
			if again := opens(tt.takes, tt.entry, node, before.Add(-time.Minute)) - time.Hour - time.Minute; again != d {
				t.Fatalf("%s: %s begins after %s, and asked before after %s", tt.entry, node, d, again)
			}
			seconds[d]++
			least, most = min(least, d), max(most, d)
		}
		if least < 0 || most > tt.most || most < tt.most*9/10 || least > tt.most/10 {
			t.Errorf("%s: nodes begin from %s to %s, want within %s", tt.entry, least, most, tt.most)
		}
		for d, n := range seconds {
			if tt.most > 0 && n > 30 {
				t.Errorf("%s: %d of 1000 nodes begin after %s", tt.entry, n, d)
			}
		}
	}
	a := opens(0, "Fri 22:00-04:00", "worker-1", before) - time.Hour
	if b := opens(0, "Fri 22:00-04:00", "worker-1", before.AddDate(0, 0, 7)) - time.Hour; a == b {
		t.Errorf("it begins after %s in each window: the same node would always be last", a)
	}
	w, _ := New(Settings{Entries: []string{"Fri 22:00-04:00"}, Zone: time.LoadLocation})
	v := gate.View{Now: at(t, "27 22:00").Add(a - time.Second), Node: gate.Node{Name: "worker-1"}}
	if got := w.Look(v); got.State != gate.Closed || got.At != gate.BeforeQueue || got.Until != v.Now.Add(time.Second) || !strings.Contains(got.Why, "not all nodes begin at once") {
		t.Errorf("a second before its turn: %+v", got)
	}
}

// The gates may be asked by several goroutines, of any Node.
func TestAnnotationsAreNotMixedUp(t *testing.T) {
	w, _ := New(Settings{Zone: time.LoadLocation})
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			text, want := "Fri 22:00-22:09", gate.Open
			if n%2 == 0 {
				text, want = "Sat 22:00-22:09", gate.Closed
			}
			v := gate.View{Now: at(t, "27 22:00"), Node: gate.Node{Annotations: map[string]string{api.WindowsAnnotation: text}}}
			for range 200 {
				if got := w.Look(v); got.State != want {
					t.Errorf("%s: %+v", text, got)
					return
				}
			}
		})
	}
	wg.Wait()
}

// What is in the annotation is read once, and again when it has changed.
func TestAnnotationIsReadOnce(t *testing.T) {
	read := 0
	w, f := New(Settings{Zone: func(name string) (*time.Location, error) { read++; return time.LoadLocation(name) }})
	v := gate.View{Now: at(t, "27 22:00"), Node: gate.Node{Annotations: map[string]string{api.WindowsAnnotation: "Fri 23:00-23:09 Europe/Berlin"}}}
	w.Look(v)
	once := read
	for range 10 {
		w.Look(v)
		f.Look(v)
	}
	if once == 0 || read != once {
		t.Errorf("the zone was looked up %d times, and then %d times", once, read-once)
	}
	v.Node.Annotations = map[string]string{api.WindowsAnnotation: "Fri 22:00-22:09 Europe/London"}
	if got := w.Look(v); got.State != gate.Open {
		t.Errorf("another annotation, and the gate says %s", said(got))
	}
}

// A node's own windows are judged when they are set; the configured ones are not told as
// the node's.
func TestInvalid(t *testing.T) {
	w, _ := New(Settings{Entries: []string{"whenever"}, Zone: time.LoadLocation})
	if got := w.Invalid(gate.Node{}); got != "" {
		t.Errorf("without an annotation: %s", got)
	}
	w, _ = New(Settings{Entries: []string{"Mon 00:00-24:00"}, Zone: time.LoadLocation})
	for text, want := range map[string]string{
		"00:00-24:00": "",
		"freeze: 2026-11-27..2026-11-27; Sat 01:00-02:00 Asia/Kathmandu": "",
		"": "the annotation rebootd.dev/windows must be corrected or removed: it is empty; no reboot begins until then",
	} {
		if got := w.Invalid(gate.Node{Annotations: map[string]string{api.WindowsAnnotation: text}}); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// Without windows, nothing is computed.
func TestNothingConfiguredCostsNothing(t *testing.T) {
	w, f := New(Settings{Auto: true})
	v := gate.View{Now: at(t, "27 22:00"), Past: took(time.Minute, time.Minute), Node: gate.Node{Name: "a"}}
	if n := testing.AllocsPerRun(100, func() { w.Look(v); f.Look(v) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The times are those that count for the node: its own windows in place of the configured
// ones, all freezes, and no window while its own cannot be read.
func TestTimes(t *testing.T) {
	w, f := New(Settings{Entries: []string{"Sat 22:00-04:00", "freeze: 12-20..12-31"}, Zone: time.LoadLocation})
	for own, want := range map[string]string{
		"":                               "[Sat 22:00-04:00 UTC] [freeze: 12-20..12-31 UTC]",
		"Sun 01:00-02:00":                "[Sun 01:00-02:00 UTC] [freeze: 12-20..12-31 UTC]",
		"freeze: 2026-11-28..2026-11-29": "[Sat 22:00-04:00 UTC] [freeze: 2026-11-28..2026-11-29 UTC freeze: 12-20..12-31 UTC]",
		"when it is quiet":               "[] [freeze: 12-20..12-31 UTC]",
	} {
		n := gate.Node{Name: "a"}
		if own != "" {
			n.Annotations = map[string]string{api.WindowsAnnotation: own}
		}
		if got := fmt.Sprint(w.Times(n), f.Times(n)); got != want {
			t.Errorf("%q: %s, want %s", own, got, want)
		}
	}
}
