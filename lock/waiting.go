package lock

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Pause is why people have paused the lock, and until when. The zero Pause is none.
type Pause struct {
	Why   string
	Until time.Time // when it ends by itself; zero: when people end it
}

// String is a sentence for people, "" for no pause.
func (p Pause) String() string {
	switch {
	case p.Why == "":
		return ""
	case p.Until.IsZero():
		return "paused: " + p.Why
	}
	return "paused: " + p.Why + ", until " + p.Until.UTC().Format(time.RFC3339)
}

// Waiting is why Acquire still waits.
type Waiting struct {
	Holders []Holder // in the order of the slots
	Paused  Pause
	// Constraint is what keeps this node from holding a slot now besides the number of
	// slots, as a sentence: the zone, or another control-plane node.
	Constraint  string
	ReservedFor string // the node for which the free slot is reserved
	Err         error  // the backend cannot be reached, or refuses
	// Slot is the one that this node holds already, "" for none, and may not use yet;
	// AtWork are the nodes at work without a slot, for which it waits.
	Slot   string
	AtWork []string
	// Deleted is until when a slot is left alone that was deleted while it was held.
	Deleted time.Time
}

// String is one sentence for people.
func (w Waiting) String() string {
	switch {
	case w.Err != nil:
		return w.Err.Error() + "; retrying"
	case w.Paused != Pause{}:
		return w.Paused.String()
	case w.Constraint != "":
		return w.Constraint
	case len(w.AtWork) > 0:
		return fmt.Sprintf("holds slot %s; waiting for %s, rebooting without a slot", w.Slot, some(w.AtWork))
	case len(w.Holders) == 0 && !w.Deleted.IsZero():
		return fmt.Sprintf("a slot was deleted while it was held; leaving it alone until %s, as its holder may be about to reboot", w.Deleted.UTC().Format(time.TimeOnly))
	case len(w.Holders) == 0 && w.ReservedFor != "":
		return "slot reserved for " + w.ReservedFor
	case len(w.Holders) == 0:
		return "a slot is free; acquiring it"
	}
	var parts []string
	for _, h := range w.Holders {
		parts = append(parts, fmt.Sprintf("%s by %s", h.Slot, h.Node))
	}
	return "slots are held: " + some(parts)
}

// some names the first of many.
func some(all []string) string {
	const most = 3
	if len(all) > most {
		all = append(slices.Clone(all[:most]), fmt.Sprintf("%d more", len(all)-most))
	}
	return strings.Join(all, ", ")
}
