package api

import (
	"testing"
	"time"
)

// What people write for the end of a pause, by RFC 3339; in doubt it has none.
func TestPauseOf(t *testing.T) {
	noon := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	for until, want := range map[string]Pause{
		"":                          {Why: "why"},
		"2026-11-30T12:00:00Z":      {Why: "why", Until: noon},
		"2026-11-30T13:00:00+01:00": {Why: "why", Until: noon},
		"tomorrow":                  {Why: "why", Unread: "tomorrow"},
		"2026-11-30T12:00:00":       {Why: "why", Unread: "2026-11-30T12:00:00"},
	} {
		p, is := PauseOf(map[string]string{PausedAnnotation: "why", PausedUntilAnnotation: until})
		if !is || p != want {
			t.Errorf("%q: %+v, %t, want %+v", until, p, is, want)
		}
	}
	if p, is := PauseOf(map[string]string{PausedUntilAnnotation: "2026-11-30T12:00:00Z"}); is {
		t.Errorf("only an end: %+v", p)
	}
	at, later, never := Pause{Until: noon}, Pause{Until: noon.Add(1)}, Pause{Unread: "tomorrow"}
	for _, tc := range []struct{ got, want bool }{
		{at.Over(noon.Add(-1)), false},
		{at.Over(noon), true},
		{never.Over(noon), false},
		{later.Outlasts(at), true},
		{at.Outlasts(later), false},
		{at.Outlasts(at), false},
		{never.Outlasts(at), true},
		{at.Outlasts(never), false},
		{never.Outlasts(never), false},
	} {
		if tc.got != tc.want {
			t.Errorf("%+v", tc)
		}
	}
}
