package decide

import "time"

// LeaseMode says what the node lease is to an operation: the Lease by which
// operators that work on single nodes (medik8s: Node Maintenance Operator,
// NodeHealthCheck) keep out of each other's way.
type LeaseMode string

// The modes of the node lease.
const (
	LeaseOff      LeaseMode = "off"      // it is neither looked at nor taken
	LeaseAuto     LeaseMode = "auto"     // taken where it can be had
	LeaseRequired LeaseMode = "required" // without it nothing is done to the node
)

// LeaseState is what is known of the node lease.
type LeaseState int

// The states of the node lease.
const (
	LeaseUnknown     LeaseState = iota // not looked up yet, or an answer was lost
	LeaseFree                          // it is nobody's
	LeaseHeld                          // it is ours
	LeaseForeign                       // another operator has the node
	LeaseUnavailable                   // there is none to be had in this cluster
	LeaseLost                          // it was ours, and was taken away
)

// NodeLease is the node lease as it was last seen.
type NodeLease struct {
	State LeaseState
	At    time.Time // when
	Why   string    // who has it and since when, why there is none, how it was lost
}

// leasePause is how long another operator's hold on the node is believed before
// it is looked at again, and how long our own is before the last step under it.
const leasePause = time.Minute

// inUse says whether the node lease is looked at and taken.
func (m LeaseMode) inUse() bool { return m == LeaseAuto || m == LeaseRequired }

// foreignLease says whether another operator has the node.
func foreignLease(p Policy, f Facts) bool {
	return p.NodeLease.inUse() && f.NodeLease.State == LeaseForeign
}

// leaseBars says whether the node lease keeps the node from being rebooted.
func leaseBars(p Policy, f Facts) (why string, bars bool) {
	switch {
	case foreignLease(p, f):
		return f.NodeLease.Why, true
	case f.NodeLease.State == LeaseUnavailable && p.NodeLease == LeaseRequired:
		return "the node lease is required and cannot be had: " + f.NodeLease.Why, true
	default:
		return "", false
	}
}

// lookAgain is the step that looks at a node lease that is another's, or that
// could not be had, once that was seen long enough ago.
func lookAgain(f Facts, s Step) Step {
	if again := f.NodeLease.At.Add(leasePause); f.Now.Before(again) {
		s.Until = again
	} else {
		s.Do = Look
	}
	return s
}

// takeLease is the step that takes the node lease, where it has to be taken
// before s may be done. anew: it must have been taken just now.
func takeLease(p Policy, f Facts, s Step, anew bool) (Step, bool) {
	stale := anew && !f.Now.Before(f.NodeLease.At.Add(leasePause))
	switch {
	case !p.NodeLease.inUse(),
		f.NodeLease.State == LeaseUnavailable,
		f.NodeLease.State == LeaseForeign,
		f.NodeLease.State == LeaseHeld && !stale:
		return Step{}, false
	}
	return Step{Do: Take, Reason: s.Reason, Message: s.Message, Detail: "takes the node lease"}, true
}

// holds says whether the node has anything that other nodes or operators wait for.
func holds(f Facts) bool { return f.Slot.State == SlotHeld || f.NodeLease.State == LeaseHeld }

// giveUp is the step that gives up the slot and the node lease.
func giveUp(f Facts) Step {
	m := "gave up " + f.Slot.Name
	switch {
	case f.Slot.State != SlotHeld:
		m = "gave up the node lease"
	case f.NodeLease.State == LeaseHeld:
		m += " and the node lease"
	}
	return Step{Do: Release, Reason: Released, Message: m}
}
