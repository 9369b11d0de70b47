package api

// Phase is how far an operation has come.
type Phase string

// The phases. PhaseIdle is the absence of a record.
const (
	PhaseIdle      Phase = ""
	PhaseWaiting   Phase = "Waiting"   // a gate is closed, or a pause after a failure runs
	PhaseQueued    Phase = "Queued"    // waits for a slot
	PhaseDraining  Phase = "Draining"  // cordoned, holds a slot, pods leave
	PhaseRebooting Phase = "Rebooting" // the reboot is about to be, or has been, ordered
	PhaseVerifying Phase = "Verifying" // another boot; waits for the node to be healthy
	PhaseHalted    Phase = "Halted"    // not down in time, or not healthy in time
)

// Phases lists every phase but PhaseIdle, in the order of an operation.
func Phases() []Phase {
	return []Phase{PhaseWaiting, PhaseQueued, PhaseDraining, PhaseRebooting, PhaseVerifying, PhaseHalted}
}
