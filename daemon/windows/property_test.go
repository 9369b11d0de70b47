package windows

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

// stretch is a part of the days that are looked at, in minutes.
type stretch struct{ from, to int }

// drawn are windows and freezes, and all that they mean by the minute, worked out without
// package window.
type drawn struct {
	entries       []string
	windows       bool
	inside, frost []bool
}

const (
	drawnDays    = 21
	drawnMinutes = drawnDays * 24 * 60
)

// draw makes windows of a few weekdays and freezes of a few hours, in UTC.
func draw(rng *rand.Rand, from time.Time) drawn {
	d := drawn{inside: make([]bool, drawnMinutes), frost: make([]bool, drawnMinutes)}
	mark := func(on []bool, s stretch) {
		for m := max(0, s.from); m < min(s.to, drawnMinutes); m++ {
			on[m] = true
		}
	}
	for range rng.IntN(4) {
		start, length := rng.IntN(24*60), 5+rng.IntN([]int{20, 120, 23 * 60}[rng.IntN(3)])
		weekday := time.Weekday(rng.IntN(7))
		end := (start + length) % (24 * 60)
		d.entries = append(d.entries, fmt.Sprintf("%.3s %02d:%02d-%02d:%02d", weekday, start/60, start%60, end/60, end%60))
		d.windows = true
		for day := -1; day < drawnDays; day++ {
			if from.AddDate(0, 0, day).Weekday() == weekday {
				mark(d.inside, stretch{day*24*60 + start, day*24*60 + start + length})
			}
		}
	}
	for range rng.IntN(4) {
		start := rng.IntN(drawnMinutes - 4000)
		length := 10 + rng.IntN(3000)
		const layout = "2006-01-02T15:04"
		d.entries = append(d.entries, fmt.Sprintf("freeze: %s..%s", from.Add(time.Duration(start)*time.Minute).Format(layout), from.Add(time.Duration(start+length)*time.Minute).Format(layout)))
		mark(d.frost, stretch{start, start + length})
	}
	for range rng.IntN(2) {
		start, days := rng.IntN(drawnDays), 1+rng.IntN(3)
		d.entries = append(d.entries, fmt.Sprintf("freeze: %s..%s", from.AddDate(0, 0, start).Format("01-02"), from.AddDate(0, 0, start+days-1).Format("01-02")))
		mark(d.frost, stretch{start * 24 * 60, (start + days) * 24 * 60})
	}
	if !d.windows {
		mark(d.inside, stretch{0, drawnMinutes})
	}
	return d
}

// all says whether all minutes are as they should be. What is after the days that are
// looked at is.
func all(on []bool, is bool, from, to int) bool {
	for m := max(0, from); m < min(to, len(on)); m++ {
		if on[m] != is {
			return false
		}
	}
	return true
}

// By a model minute by minute: a reboot never begins outside the windows, or in a freeze,
// or so late that it would not end before either; and it may begin wherever there is room
// for it, but for the first minutes of a window. The time that a closed gate names is the
// first one at which it is open; that of the window's takes the freezes in. A gate that is
// made anew says the same.
func TestByTheMinute(t *testing.T) {
	from := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	rounds := 30
	if testing.Short() {
		rounds = 8
	}
	open := 0
	for seed := range rounds {
		rng := rand.New(rand.NewPCG(uint64(seed), 3))
		d := draw(rng, from)
		takes := time.Duration([]int{0, 0, 1 + rng.IntN(30), 1 + rng.IntN(120)}[rng.IntN(4)]) * time.Minute
		need := max(1, int(takes/time.Minute))
		s := Settings{Entries: d.entries, Zone: time.LoadLocation, Reserve: takes, PutBack: seed%2 == 0}
		node := gate.Node{Name: fmt.Sprint("node-", seed)}
		if seed%3 == 0 {
			node.Annotations = map[string]string{}
			s.Entries = []string{"Mon 00:00-00:10"}
			if d.windows {
				text := ""
				for _, e := range d.entries {
					text += e + ";"
				}
				node.Annotations[api.WindowsAnnotation] = text
			} else {
				s.Entries, node.Annotations = d.entries, nil
			}
		}
		w, f := New(s)
		look := func(at time.Time) (wv, fv gate.Verdict) {
			v := gate.View{Now: at, Node: node}
			return w.Look(v), f.Look(v)
		}
		fail := func(m int, format string, args ...any) {
			t.Helper()
			t.Fatalf("seed %d, %q for %s, %s: %s", seed, d.entries, takes, from.Add(time.Duration(m)*time.Minute).Format(time.DateTime), fmt.Sprintf(format, args...))
		}
		var windowSays, freezeSays, bothSay time.Time // when it will open by what was said before
		for m := range drawnMinutes {
			now := from.Add(time.Duration(m) * time.Minute)
			wv, fv := look(now)
			windowOpen, freezeOpen := wv.State == gate.Open, fv.State == gate.Open
			if windowOpen && !all(d.inside, true, m, m+need) {
				fail(m, "the window is open: %+v", wv)
			}
			if freezeOpen != all(d.frost, false, m, m+need) {
				fail(m, "the freeze is %+v", fv)
			}
			if !windowOpen && all(d.inside, true, m-11, m+need) && m > 11 {
				fail(m, "the window is closed: %+v", wv)
			}
			if back := s.PutBack && !d.inside[m]; !windowOpen && (wv.At == 0) != back {
				fail(m, "put back %t: %+v", back, wv)
			}
			if back := s.PutBack && d.frost[m]; !freezeOpen && (fv.At == 0) != back {
				fail(m, "put back %t: %+v", back, fv)
			}
			// What was said before about now.
			if !freezeSays.IsZero() && freezeOpen != !now.Before(freezeSays) {
				fail(m, "the freeze was said to end at %s: %+v", freezeSays, fv)
			}
			if !bothSay.IsZero() && (windowOpen && freezeOpen) != !now.Before(bothSay) {
				fail(m, "the window was said to open at %s: %+v, %+v", bothSay, wv, fv)
			}
			freezeSays, bothSay = fv.Until, wv.Until
			if !windowOpen && !wv.Until.IsZero() && wv.Until != windowSays {
				windowSays = wv.Until
				if a, b := look(windowSays); a.State != gate.Open || b.State != gate.Open {
					fail(m, "when it was said to open, %s: %+v, %+v", windowSays, a, b)
				}
				if a, b := look(windowSays.Add(-time.Second)); a.State == gate.Open && b.State == gate.Open {
					fail(m, "it is open a second before %s", windowSays)
				}
			}
			if windowOpen && freezeOpen {
				open++
			}
			if m%97 == 0 {
				w, f = New(s) // restarted
			}
		}
	}
	if open < drawnMinutes {
		t.Errorf("open for %d minutes of %d in all", open, rounds*drawnMinutes)
	}
}
