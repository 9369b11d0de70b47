package decide

import (
	"slices"
	"strings"
	"time"

	"rebootd.dev/daemon/api"
)

// A claim is what a node holds before anything is done to it, so that others keep out
// of the way: a slot of the lock, the node lease. Claims are taken in order, one after
// the other, and given back in reverse.

// ClaimKind is what is to be known of a claim beforehand.
type ClaimKind struct {
	Name string     // for steps and metrics
	Lost api.Reason // that people are told when it was taken away
	// Queued says that the node stands in a queue for it. Without it the operation has
	// not begun, and once the operation has begun it is not taken again.
	Queued bool
	// Fresh is how long ago it must have been confirmed when the node is uncordoned; 0:
	// it need not be. Only a claim that is not Queued lapses, and is then taken again.
	Fresh time.Duration
}

// ClaimState is what is known of a claim.
type ClaimState int

// The states of a claim.
const (
	ClaimUnknown  ClaimState = iota // not looked up yet, or an answer was lost
	ClaimFree                       // it is not ours
	ClaimHeld                       // it is ours
	ClaimAnothers                   // somebody else has it
	ClaimNone                       // there is none to be had in this cluster
	ClaimLost                       // it was ours, and was taken away
)

// Claim is a claim as it was last seen.
type Claim struct {
	ClaimKind
	State ClaimState
	Title string // what people call it: "slot rebootd-0"
	Note  string // who has it since when, why there is none, whom we wait for; or, in a sentence, how it was lost
	// Others is who holds what this node waits for, and what those do: a sentence that
	// changes seldom.
	Others string
	At     time.Time // when it was last seen so
}

// held are the claims that the node holds.
func held(f Facts) (out []Claim) {
	for _, c := range f.Claims {
		if c.State == ClaimHeld {
			out = append(out, c)
		}
	}
	return out
}

// release is the step that gives back every claim.
func release(f Facts) Step {
	var titles []string
	for _, c := range slices.Backward(held(f)) {
		titles = append(titles, c.Title)
	}
	return Step{Do: DoRelease, Reason: api.ReasonReleased, Message: "released " + strings.Join(titles, " and ")}
}

// slot is the claim that the node queues for; the zero Claim where there is no such.
func slot(f Facts) Claim {
	for _, c := range f.Claims {
		if c.Queued {
			return c
		}
	}
	return Claim{}
}

// claimRest takes the claims that are not queued for, where s may not be done without
// them.
func claimRest(f Facts, s Step, missing func(Facts, Claim) bool) (Step, bool) {
	for _, c := range f.Claims {
		if !c.Queued && missing(f, c) {
			s.Do, s.Claim, s.Detail = DoClaim, c.Name, "taking the "+c.Title
			return s, true
		}
	}
	return Step{}, false
}

// notHeld is for a node that is about to be worked on.
func notHeld(_ Facts, c Claim) bool { return c.State != ClaimHeld && c.State != ClaimNone }

// takeable is for a node that has been rebooted: whoever has taken it meanwhile is
// waited for.
func takeable(f Facts, c Claim) bool { return notHeld(f, c) && c.State != ClaimAnothers }

// notConfirmed is for a node that is about to be uncordoned.
func notConfirmed(f Facts, c Claim) bool {
	return notHeld(f, c) || c.State == ClaimHeld && c.Fresh > 0 && !f.Now.Before(c.At.Add(c.Fresh))
}

// lookingUp is the step while it is not known whether the slot is ours.
func lookingUp(f Facts, s Step) (Step, bool) {
	if slot(f).State != ClaimUnknown {
		return Step{}, false
	}
	s.Do, s.Detail, s.Silent = DoWait, "checking whether a slot is held", true // told in a moment
	return s, true
}

// lost is the first claim under which the node was worked on and that is not ours any
// more.
func lost(f Facts) (Claim, bool) {
	for _, c := range f.Claims {
		gone := c.State == ClaimLost || c.State == ClaimAnothers
		if gone || c.Queued && (c.State == ClaimFree || c.State == ClaimNone) {
			return c, true
		}
	}
	return Claim{}, false
}
