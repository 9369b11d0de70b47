package lock

import (
	"errors"
	"testing"
	"time"
)

// People read these sentences in the Node's condition and in the log.
func TestWaitingInWords(t *testing.T) {
	for want, w := range map[string]Waiting{
		"list the Leases of rebootd: no route to host; retrying": {Err: errors.New("list the Leases of rebootd: no route to host"), Paused: Pause{Why: "x"}},
		"paused: Black Friday":                                             {Paused: Pause{Why: "Black Friday"}, Constraint: "x"},
		"nodes of zone eu-1a are rebooting":                                {Constraint: "nodes of zone eu-1a are rebooting", AtWork: []string{"x"}},
		"holds slot rebootd-0; waiting for a, b, rebooting without a slot": {Slot: "rebootd-0", AtWork: []string{"a", "b"}, Holders: []Holder{{}}},
		"a slot was deleted while it was held; leaving it alone until 12:30:00, as its holder may be about to reboot": {Deleted: time.Date(2026, 1, 2, 12, 30, 0, 0, time.UTC), ReservedFor: "x"},
		"slot reserved for b":            {ReservedFor: "b"},
		"a slot is free; acquiring it":   {},
		"slots are held: rebootd-0 by a": {Holders: []Holder{{Slot: "rebootd-0", Node: "a"}}, ReservedFor: "x"},
		"slots are held: rebootd-0 by a, rebootd-1 by b, rebootd-2 by c, 2 more": {Holders: []Holder{{Slot: "rebootd-0", Node: "a"}, {Slot: "rebootd-1", Node: "b"}, {Slot: "rebootd-2", Node: "c"}, {}, {}}},
	} {
		if got := w.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// What became of a slot, or of the node lease, is an ErrLost with a sentence.
func TestErrorsInWords(t *testing.T) {
	for want, err := range map[string]error{
		"the slot rebootd-0 was deleted":                &LostError{What: "the slot rebootd-0", How: "was deleted"},
		"the slot rebootd-0 is held by another node: b": &LostError{What: "the slot rebootd-0", How: "is held by another node", Holder: "b"},
		"paused: why": &PausedError{Pause{Why: "why"}},
	} {
		if err.Error() != want || errors.Is(err, ErrLost) == errors.Is(err, ErrPaused) {
			t.Errorf("%q, want %q; lost: %t, paused: %t", err, want, errors.Is(err, ErrLost), errors.Is(err, ErrPaused))
		}
	}
}
