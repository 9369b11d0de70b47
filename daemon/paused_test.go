package daemon

import (
	"testing"
	"time"

	"rebootd.dev/daemon/gate"
	"rebootd.dev/lock"
)

// Programs are told until when the lock is paused, too: by the gate's metric.
func TestPausedUntil(t *testing.T) {
	until := time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)
	for p, want := range map[lock.Pause]gate.Verdict{
		{}:                         {State: gate.Open},
		{Why: "why"}:               {State: gate.Closed, Why: "paused: why"},
		{Why: "why", Until: until}: {State: gate.Closed, Why: "paused: why, until 2026-11-30T08:00:00Z", Until: until},
	} {
		w := slotWorker{paused: p}
		if got := w.pausedVerdict(); got != want {
			t.Errorf("%+v: %+v, want %+v", p, got, want)
		}
	}
}
