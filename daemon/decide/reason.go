package decide

// Reason is a word of the vocabulary that people, scripts and dashboards see: in
// the Node's condition, Events, metrics, the log and systemd's status.
type Reason string

// The vocabulary.
const (
	NotRequired     Reason = "NotRequired"
	RebootRequested Reason = "RebootRequested"
	Held            Reason = "Held"
	Paused          Reason = "Paused"
	Blocked         Reason = "Blocked"
	InQueue         Reason = "Queued"
	SlotAcquired    Reason = "SlotAcquired"
	SlotLost        Reason = "SlotLost"
	NodeLeaseLost   Reason = "NodeLeaseLost"
	CordonLost      Reason = "CordonLost"
	DrainStarted    Reason = "Draining"
	DrainBlocked    Reason = "DrainBlocked"
	DrainTimedOut   Reason = "DrainTimedOut"
	Drained         Reason = "Drained"
	HookFailed      Reason = "HookFailed"
	RebootOrdered   Reason = "Rebooting"
	RebootFailed    Reason = "RebootFailed"
	RebootOverdue   Reason = "RebootOverdue"
	VerifyStarted   Reason = "Verifying"
	Unhealthy       Reason = "Unhealthy"
	RebootVerified  Reason = "RebootVerified"
	Uncordoned      Reason = "Uncordoned"
	Released        Reason = "Released"
	Cancelled       Reason = "Cancelled"
	RecordTooNew    Reason = "RecordTooNew"
	RecordInvalid   Reason = "RecordInvalid"
	APIUnreachable  Reason = "APIUnreachable"
)

// Meanings says in a sentence what each reason means. The reference of the
// documentation is tested against it.
func Meanings() map[Reason]string {
	return map[Reason]string{
		NotRequired:     "Nothing asks for a reboot.",
		RebootRequested: "A sentinel or the annotation `rebootd.dev/request` asks for a reboot.",
		Held:            "The annotation `rebootd.dev/hold` is on the Node: it is left alone until that is removed.",
		Paused:          "The annotation `rebootd.dev/paused` is on a Lease of the lock: no node reboots until that is removed.",
		Blocked:         "Somebody else is at work on the node, or is about to take it away; or so many nodes are unavailable that this one may not be, too; the message says who. Or something that must be known first cannot be read: the boot ID, the boot time, the Node itself.",
		InQueue:         "The node waits for a slot.",
		SlotAcquired:    "The node holds a slot.",
		SlotLost:        "The slot was taken away before the reboot was ordered; the node is put back.",
		NodeLeaseLost:   "The node lease was taken away, or another operator took it, before the reboot was ordered; the node is put back.",
		CordonLost:      "Somebody uncordoned the node before the reboot was ordered: a veto. The node is put back and tried again after a pause.",
		DrainStarted:    "The node is cordoned and its pods are being evicted.",
		DrainBlocked:    "Some pods cannot be evicted at present; the message says which and why.",
		DrainTimedOut:   "The drain took longer than `--drain-timeout`.",
		Drained:         "No pod is left that has to go.",
		HookFailed:      "A hook in `pre-drain.d` or `pre-reboot.d` failed; the message says which and why. The node is put back, and the hooks are undone.",
		RebootOrdered:   "The reboot command was started.",
		RebootFailed:    "The reboot command could not be started or failed.",
		RebootOverdue:   "The reboot was ordered and the machine is still up after `--reboot-timeout`. The rollout halts.",
		VerifyStarted:   "The machine has booted; the node must become healthy.",
		Unhealthy:       "The node is not healthy after `--health-timeout`. The rollout halts.",
		RebootVerified:  "Another boot was proved and the node is healthy.",
		Uncordoned:      "The cordon that rebootd had set was removed.",
		Released:        "The slot was given up.",
		Cancelled:       "The request went away before the reboot was ordered; the node is put back.",
		RecordTooNew:    "The record on the Node was written by a newer rebootd: hands off.",
		RecordInvalid:   "The record on the Node cannot be read: hands off, until somebody mends or removes it.",
		APIUnreachable:  "The API server does not answer. Nothing is lost; the daemon goes on when it does.",
	}
}
