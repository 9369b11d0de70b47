package api

// Reason is a word of the vocabulary that people, scripts and dashboards see: in
// the Node's condition, Events, metrics, the log and systemd's status.
type Reason string

// The vocabulary. [Reasons] says what each word means.
const (
	ReasonNotRequired     Reason = "NotRequired"
	ReasonRebootRequested Reason = "RebootRequested"
	ReasonHeld            Reason = "Held"
	ReasonPaused          Reason = "Paused"
	ReasonBlocked         Reason = "Blocked"
	ReasonCannotReboot    Reason = "CannotReboot"
	ReasonQueued          Reason = "Queued"
	ReasonSlotAcquired    Reason = "SlotAcquired"
	ReasonSlotLost        Reason = "SlotLost"
	ReasonNodeLeaseLost   Reason = "NodeLeaseLost"
	ReasonCordonLost      Reason = "CordonLost"
	ReasonDraining        Reason = "Draining"
	ReasonDrainBlocked    Reason = "DrainBlocked"
	ReasonDrainTimedOut   Reason = "DrainTimedOut"
	ReasonDrained         Reason = "Drained"
	ReasonHookFailed      Reason = "HookFailed"
	ReasonRebooting       Reason = "Rebooting"
	ReasonRebootFailed    Reason = "RebootFailed"
	ReasonRebootOverdue   Reason = "RebootOverdue"
	ReasonVerifying       Reason = "Verifying"
	ReasonUnhealthy       Reason = "Unhealthy"
	ReasonRebootVerified  Reason = "RebootVerified"
	ReasonUncordoned      Reason = "Uncordoned"
	ReasonReleased        Reason = "Released"
	ReasonCancelled       Reason = "Cancelled"
	ReasonAborted         Reason = "Aborted"
	ReasonAbortPending    Reason = "AbortPending"
	ReasonRecordTooNew    Reason = "RecordTooNew"
	ReasonRecordInvalid   Reason = "RecordInvalid"
	ReasonAPIUnreachable  Reason = "APIUnreachable"

	ReasonAnnotationInvalid Reason = "AnnotationInvalid"
	ReasonOtherRebooter     Reason = "OtherRebooter"
	ReasonConfigRefused     Reason = "ConfigRefused"

	ReasonOutsideWindow    Reason = "OutsideWindow"
	ReasonFrozen           Reason = "Frozen"
	ReasonAwaitingApproval Reason = "AwaitingApproval"
	ReasonApproved         Reason = "Approved"
	ReasonAlertsFiring     Reason = "AlertsFiring"
	ReasonPodsBlock        Reason = "PodsBlock"
	ReasonConditionBlocks  Reason = "ConditionBlocks"
	ReasonPolicyDenies     Reason = "PolicyDenies"
	ReasonWouldNotDrain    Reason = "WouldNotDrain"
	ReasonCoolingDown      Reason = "CoolingDown"
	ReasonPodsNotReady     Reason = "PodsNotReady"
)

// ReasonInfo is what is to be known of a reason.
type ReasonInfo struct {
	Reason  Reason
	Meaning string // in a sentence, for people
	// Warning says that somebody should look: a Warning Event, and a line of the log at
	// level warn.
	Warning bool
	// Quiet says that a later message of the same reason tells people nothing new: no
	// further Event and no further line of the log.
	Quiet bool
}

// Reasons is the vocabulary, in the order of an operation.
func Reasons() []ReasonInfo { return reasons }

// Info is what is to be known of a reason; of one that is not in the vocabulary
// nothing but its name.
func (r Reason) Info() ReasonInfo {
	for _, i := range reasons {
		if i.Reason == r {
			return i
		}
	}
	return ReasonInfo{Reason: r}
}

var reasons = []ReasonInfo{
	{Reason: ReasonNotRequired, Meaning: "No reboot is requested."},
	{Reason: ReasonRebootRequested, Meaning: "A sentinel or the annotation `rebootd.dev/request` requests a reboot."},
	{Reason: ReasonHeld, Meaning: "The annotation `rebootd.dev/hold` is on the Node. The node is left alone until the annotation is removed."},
	{Reason: ReasonPaused, Meaning: "The annotation `rebootd.dev/paused` is on a Lease of the lock. No node reboots until the annotation is removed, or until the time in `rebootd.dev/paused-until`, which the message says."},
	{Reason: ReasonBlocked, Warning: true, Meaning: "Something blocks the reboot, and the message says what: another program is at work on the node or is about to remove it; an inhibitor; too many unavailable nodes; a shutdown that rebootd did not order; an API server that refuses the change of the Node, in its own words; or a boot ID, boot time or Node that cannot be read."},
	{Reason: ReasonCannotReboot, Warning: true, Meaning: "The machine cannot be rebooted: the reboot command is not there, or logind, which it needs, cannot be asked or refuses. The message says why, and what to do. The node is not drained, and continues by itself once a reboot is possible."},
	{Reason: ReasonQueued, Quiet: true, Meaning: "The node is waiting for a slot."},
	{Reason: ReasonSlotAcquired, Meaning: "The node holds a slot."},
	{Reason: ReasonSlotLost, Warning: true, Meaning: "The slot was taken away before the reboot was ordered. The node is put back."},
	{Reason: ReasonNodeLeaseLost, Warning: true, Meaning: "The node lease was taken away, or another operator took it, before the reboot was ordered. The node is put back."},
	{Reason: ReasonCordonLost, Warning: true, Meaning: "Somebody uncordoned the node before the reboot was ordered, which counts as a veto. The node is left uncordoned, and the operation is retried after a pause."},
	{Reason: ReasonDraining, Quiet: true, Meaning: "The node is cordoned and its pods are being evicted."},
	{Reason: ReasonDrainBlocked, Warning: true, Meaning: "Some pods cannot be evicted at present. The message says which and why."},
	{Reason: ReasonDrainTimedOut, Warning: true, Meaning: "The drain ran for longer than `--drain-timeout`, or could not begin for as long."},
	{Reason: ReasonDrained, Meaning: "Every pod that has to leave has left the node."},
	{Reason: ReasonHookFailed, Warning: true, Meaning: "A hook in `pre-drain.d` or `pre-reboot.d` failed. The message says which and why. The hooks are undone, and the node is put back."},
	{Reason: ReasonRebooting, Quiet: true, Meaning: "The reboot is being ordered or was ordered."},
	{Reason: ReasonRebootFailed, Warning: true, Meaning: "The reboot command could not be started or failed, the scheduled reboot was cancelled, or the machine soft-rebooted where more was ordered."},
	{Reason: ReasonRebootOverdue, Warning: true, Meaning: "The reboot was ordered and the machine is still up after `--reboot-timeout`. The rollout halts."},
	{Reason: ReasonVerifying, Quiet: true, Meaning: "The machine has booted. The daemon is waiting for the node to be healthy."},
	{Reason: ReasonUnhealthy, Warning: true, Meaning: "The node did not become healthy within `--health-timeout`. The rollout halts."},
	{Reason: ReasonRebootVerified, Meaning: "The machine has rebooted, which its boot ID proves, and the node is healthy."},
	{Reason: ReasonUncordoned, Meaning: "The cordon that rebootd had set was removed."},
	{Reason: ReasonReleased, Meaning: "The slot was released."},
	{Reason: ReasonCancelled, Meaning: "The request was withdrawn, or the machine was rebooted by other means, before the reboot was ordered. The node is put back."},
	{Reason: ReasonAborted, Meaning: "People gave the operation, or the request, up by the annotation `rebootd.dev/abort`. The node is put back, and the request counts as served."},
	{Reason: ReasonAbortPending, Warning: true, Meaning: "People abort the operation, and its reboot was ordered: one that the machine has scheduled is cancelled; else the machine may go down at any moment, and the node is put back if it does not."},
	{Reason: ReasonRecordTooNew, Warning: true, Meaning: "The record on the Node was written by a newer version of rebootd. The daemon takes no action until that version runs here again or people abort the operation."},
	{Reason: ReasonRecordInvalid, Warning: true, Meaning: "The record on the Node cannot be read, or contradicts the machine's boot ID. The daemon takes no action until people abort the operation, which removes the record."},
	{Reason: ReasonAnnotationInvalid, Warning: true, Meaning: "An annotation that people have set on the Node has a value that is not valid. It is ignored, unless the message says otherwise, and the message says which values are valid. In an Event, in the log, and in the condition while the node is idle or waits; never the reason of a condition."},
	{Reason: ReasonOtherRebooter, Warning: true, Meaning: "Another program is configured to reboot the machine, and would bypass the lock and the drain. The message says which. In an Event, in the log, and in the condition while the node is idle or waits; never the reason of a condition."},
	{Reason: ReasonConfigRefused, Warning: true, Meaning: "The configuration file has changed and cannot be used as it is. The settings from before stay in force, and no reboot begins, since the daemon would not start after it. The message says what is wrong."},
	{Reason: ReasonOutsideWindow, Meaning: "No maintenance window is open, or the one that is closes too soon. The message says when the next one opens."},
	{Reason: ReasonFrozen, Meaning: "A freeze is in force. The message says until when."},
	{Reason: ReasonAwaitingApproval, Meaning: "Reboots need approval, and nobody has approved this one. The message says how to."},
	{Reason: ReasonApproved, Meaning: "Somebody has approved the reboot. The message says who and when, as far as the API server knows it. In an Event and in the log; never the reason of a condition."},
	{Reason: ReasonAlertsFiring, Warning: true, Meaning: "Alerts that block reboots are firing, or Prometheus cannot be asked. The message says which, or why."},
	{Reason: ReasonPodsBlock, Meaning: "Pods on the node block the reboot. The message says which."},
	{Reason: ReasonConditionBlocks, Meaning: "A condition of the Node blocks the reboot. The message says which, and since when."},
	{Reason: ReasonPolicyDenies, Warning: true, Meaning: "The API server would refuse to cordon the node: an admission policy or webhook of the cluster denies it. The message has its words."},
	{Reason: ReasonWouldNotDrain, Warning: true, Meaning: "Pods on the node could not be evicted, and no time would change that. The message says which, why, and what to do."},
	{Reason: ReasonCoolingDown, Meaning: "The last reboot, of this node or in the cluster, was too short a time ago. The message says until when."},
	{Reason: ReasonPodsNotReady, Meaning: "Pods of DaemonSets on the node are not Ready after the boot."},
	{Reason: ReasonAPIUnreachable, Warning: true, Meaning: "The API server does not answer. Nothing is lost. The daemon retries and continues when the API server answers."},
}

// Results are the reasons for which operations and attempts end, those of gates last: of
// each that may be closed when a node is drained already.
func Results() []Reason {
	return []Reason{
		ReasonRebootVerified, ReasonCancelled, ReasonAborted, ReasonRebootOverdue, ReasonUnhealthy,
		ReasonDrainTimedOut, ReasonHookFailed, ReasonRebootFailed, ReasonSlotLost, ReasonNodeLeaseLost, ReasonCordonLost,
		ReasonHeld, ReasonPaused, ReasonBlocked, ReasonConfigRefused, ReasonCannotReboot, ReasonFrozen, ReasonOutsideWindow, ReasonAwaitingApproval,
	}
}
