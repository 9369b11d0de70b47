package api

import (
	"fmt"
	"testing"
)

// Who is between cordon and release, and who may be, is waited for; nobody else is.
func TestAtWork(t *testing.T) {
	record := func(v int, phase Phase, lock string) string {
		return fmt.Sprintf(`{"v":%d,"id":"i","phase":%q,"since":"2026-01-01T00:00:00Z","bootID":"b","lock":%q,"order":{"id":"o","at":"2026-01-01T00:00:00Z","try":1},"failure":{"reason":"Unhealthy","message":"m"}}`, v, phase, lock)
	}
	for _, phase := range Phases() {
		want := phase != PhaseWaiting && phase != PhaseQueued
		for _, v := range []int{Schema, Schema + 1} {
			for lock, here := range map[string]bool{"": true, "l": true, "other": false} {
				if got := AtWork("l", record(v, phase, lock)); got != (want && here) {
					t.Errorf("schema %d, %s under the lock %q: %t", v, phase, lock, got)
				}
			}
		}
	}
	for text, want := range map[string]bool{
		"": false, "{": true, `{}`: true, `{"phase":3}`: true, `[]`: true, record(Schema+1, "Resting", "l"): true, `{"v":0,"phase":"Queued"}`: false,
	} {
		if got := AtWork("l", text); got != want {
			t.Errorf("%s: %t, want %t", text, got, want)
		}
	}
}
