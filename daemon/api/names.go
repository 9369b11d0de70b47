package api

// Annotations of a Node.
const (
	// OperationAnnotation has the [Record] of the operation that is under way.
	OperationAnnotation = "rebootd.dev/operation"
	// ReportAnnotation has the [Report] of the last drain.
	ReportAnnotation = "rebootd.dev/report"
	// HistoryAnnotation has the [History] of the last operations.
	HistoryAnnotation = "rebootd.dev/history"
	// StatusAnnotation has the [Status] of the operation that is under way.
	StatusAnnotation = "rebootd.dev/status"
	// HoldAnnotation is set by people who want the node left alone; its value says why.
	HoldAnnotation = "rebootd.dev/hold"
	// RequestAnnotation asks for a reboot by the value [RequestReboot].
	RequestAnnotation = "rebootd.dev/request"
	// ServedAnnotation has the sentinels that are [Served].
	ServedAnnotation = "rebootd.dev/served"
	// AbortAnnotation is set by people who give the operation up, whatever its phase; its
	// value says why. The daemon removes it when that is done.
	AbortAnnotation = "rebootd.dev/abort"
	// WindowsAnnotation is set by people: the maintenance windows of the node, in place of
	// the configured ones, and freezes, besides the configured ones; separated by semicolons
	// or line breaks.
	WindowsAnnotation = "rebootd.dev/windows"
	// DeadlineAnnotation is set by people: by when the reboot is to begin, by RFC 3339.
	DeadlineAnnotation = "rebootd.dev/deadline"
	// ApprovalAnnotation is set by people who approve a reboot: the ID of the operation, or
	// "until" and a time by RFC 3339.
	ApprovalAnnotation = "rebootd.dev/approval"
	// DaemonAnnotation says which version of the daemon runs on the node, with which settings.
	DaemonAnnotation = "rebootd.dev/daemon"
	// PriorityAnnotation is set by people: an integer, the higher the sooner.
	PriorityAnnotation = "rebootd.dev/priority"
)

// Annotations of a pod, by which people tell rebootd how to treat it in a drain.
const (
	// PodOrderAnnotation is an integer: pods with a lower one are evicted first, and the
	// next only when those are gone. A pod without it has 0.
	PodOrderAnnotation = "rebootd.dev/drain-order"
	// PodDrainAnnotation has the value PodDrainSkip or PodDrainWait.
	PodDrainAnnotation = "rebootd.dev/drain"
	// PodDrainSkip is for a pod that is neither evicted nor waited for.
	PodDrainSkip = "skip"
	// PodDrainWait is for a pod that is left to finish by itself.
	PodDrainWait = "wait-completed"
)

// RequestReboot is the value of RequestAnnotation that asks for a reboot.
const RequestReboot = "reboot"

const (
	// RebootRequired is the type of the Node condition by which people are told what
	// becomes of a request.
	RebootRequired = "RebootRequired"
	// Ours is the reason of the lifecycle conditions (KEP-5683) that rebootd sets.
	Ours = "Rebootd"
	// FieldManager is the name under which the API server keeps which fields of a Node
	// rebootd has set (metadata.managedFields).
	FieldManager = "rebootd"
	// ControlPlaneLabel marks control-plane nodes
	// (https://kubernetes.io/docs/reference/labels-annotations-taints/).
	ControlPlaneLabel = "node-role.kubernetes.io/control-plane"
)
