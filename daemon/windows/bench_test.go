package windows

import (
	"testing"
	"time"

	"rebootd.dev/daemon/gate"
)

// BenchmarkLook is one look of both gates, as an idle node has it every ten seconds.
func BenchmarkLook(b *testing.B) {
	for name, entries := range map[string][]string{
		"weekly":     {"Mon-Fri 22:00-04:00 Europe/Berlin", "freeze: 2026-12-20..2027-01-03 Europe/Berlin"},
		"yearly":     {"5th Thu 02:00-02:30 America/New_York"},
		"always":     {"00:00-24:00"},
		"every year": {"Sat,Sun 00:00-24:00 Europe/Berlin", "freeze: 12-01..12-31 Europe/Berlin"},
		"never":      {"22:00-23:00", "freeze: 01-01..06-30 Europe/Berlin", "freeze: 07-01..12-31 Europe/Berlin"},
		"frozen":     {"22:00-23:00", "freeze: 2026-11-01..2027-11-30", "freeze: 2027-12-01..2028-11-30"},
	} {
		b.Run(name, func(b *testing.B) {
			w, f := New(Settings{Entries: entries, Zone: time.LoadLocation, Auto: true})
			v := gate.View{Now: at(b, "27 12:00"), Past: took(20*time.Minute, 20*time.Minute), Node: gate.Node{Name: "a"}}
			for b.Loop() {
				w.Look(v)
				f.Look(v)
			}
		})
	}
}
