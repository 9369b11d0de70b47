package api

// PodReason is a word of the vocabulary for pods: why one is not gone yet, in the
// metric rebootd_drain_blocked_pods and in the Node's condition, and why it has its
// outcome, in the [Report].
type PodReason string

// The vocabulary for pods. [PodReasons] says what each word means.
const (
	PodBudgetExhausted      PodReason = "BudgetExhausted"
	PodBudgetNeverAllows    PodReason = "BudgetNeverAllows"
	PodUnhealthySiblings    PodReason = "UnhealthySiblings"
	PodMultipleBudgets      PodReason = "MultipleBudgets"
	PodWebhookDenied        PodReason = "WebhookDenied"
	PodRelocating           PodReason = "Relocating"
	PodForbidden            PodReason = "Forbidden"
	PodAPIOverloaded        PodReason = "APIOverloaded"
	PodNamespaceTerminating PodReason = "NamespaceTerminating"
	PodTerminating          PodReason = "Terminating"
	PodAwaitingCompletion   PodReason = "AwaitingCompletion"
	PodProtected            PodReason = "Protected"
	PodAwaitingTurn         PodReason = "AwaitingTurn"

	PodEvicting        PodReason = "Evicting"
	PodReturning       PodReason = "Returning"
	PodStaticPod       PodReason = "StaticPod"
	PodDaemonSetPod    PodReason = "DaemonSetPod"
	PodRebootdPod      PodReason = "RebootdPod"
	PodSkipRequested   PodReason = "SkipRequested"
	PodCompleted       PodReason = "Completed"
	PodDeletedByOthers PodReason = "DeletedByOthers"
	PodGraceShortened  PodReason = "GraceShortened"
)

// PodReasonInfo is what is to be known of a pod's reason.
type PodReasonInfo struct {
	Reason  PodReason
	Meaning string // in a sentence, for people
	// Blocks says that it keeps a pod on the node; other reasons are found in a report
	// only.
	Blocks bool
	// Permanent says that it lasts until a person does something about it.
	Permanent bool
}

// PodReasons is the vocabulary for pods: what keeps one on the node first, then what
// else a report says of one.
func PodReasons() []PodReasonInfo { return podReasons }

// Info is what is to be known of a reason; of one that is not in the vocabulary nothing
// but its name.
func (r PodReason) Info() PodReasonInfo {
	if i, ok := podReasonIndex[r]; ok {
		return podReasons[i]
	}
	return PodReasonInfo{Reason: r}
}

var podReasons = []PodReasonInfo{
	{Reason: PodAPIOverloaded, Blocks: true, Meaning: "The API server is overloaded, failing or not answering. Retried with growing pauses."},
	{Reason: PodAwaitingCompletion, Blocks: true, Meaning: "The pod is left to finish by itself: `rebootd.dev/drain: wait-completed`, or a Job's pod under `--wait-for-jobs`."},
	{Reason: PodAwaitingTurn, Blocks: true, Meaning: "Pods that come before it in the drain order are still on the node."},
	{Reason: PodBudgetExhausted, Blocks: true, Meaning: "Its disruption budget allows no eviction at present. Retried when the budget changes."},
	{Reason: PodBudgetNeverAllows, Blocks: true, Permanent: true, Meaning: "Its disruption budget allows no eviction even with every pod healthy. A person must change the budget or delete the pod."},
	{Reason: PodForbidden, Blocks: true, Permanent: true, Meaning: "rebootd has no permission to evict the pod. A person must grant it or delete the pod."},
	{Reason: PodMultipleBudgets, Blocks: true, Permanent: true, Meaning: "More than one disruption budget selects the pod, which the eviction API refuses. A person must remove all but one or delete the pod."},
	{Reason: PodNamespaceTerminating, Blocks: true, Meaning: "Its namespace is being deleted, and the pod with it."},
	{Reason: PodProtected, Blocks: true, Meaning: "An annotation of Karpenter or Cluster Autoscaler protects the pod from disruption."},
	{Reason: PodRelocating, Blocks: true, Meaning: "Another program is moving the pod: KubeVirt migrates the virtual machine, or an operator rolls the pod. The message says where to, once that is known."},
	{Reason: PodReturning, Blocks: true, Meaning: "Pods like it keep returning to the cordoned node after their eviction. It is no longer evicted, and it is not waited for."},
	{Reason: PodTerminating, Blocks: true, Meaning: "The pod is being deleted. The message says when its grace period ends or ended, and names its finalizers."},
	{Reason: PodUnhealthySiblings, Blocks: true, Meaning: "Too few pods of its disruption budget are healthy. The message names those that are not."},
	{Reason: PodWebhookDenied, Blocks: true, Meaning: "An admission webhook or policy denies the eviction. The message quotes it."},

	{Reason: PodCompleted, Meaning: "Its containers had finished."},
	{Reason: PodDeletedByOthers, Meaning: "Another client deleted the pod. The message says what is known of it."},
	{Reason: PodEvicting, Meaning: "Its eviction has been requested, or is about to be."},
	{Reason: PodGraceShortened, Meaning: "Its grace period was shortened so that the pod ended within `--drain-timeout`."},
	{Reason: PodDaemonSetPod, Meaning: "It is a pod of a DaemonSet, which would replace it on the same node. It is not evicted."},
	{Reason: PodRebootdPod, Meaning: "It is rebootd's own pod."},
	{Reason: PodSkipRequested, Meaning: "An annotation or label of the pod says to skip it: `rebootd.dev/drain: skip`, or Cluster API's."},
	{Reason: PodStaticPod, Meaning: "It is a static pod, which the kubelet runs from a file. It cannot be evicted."},
}

var podReasonIndex = func() map[PodReason]int {
	index := make(map[PodReason]int, len(podReasons))
	for i, info := range podReasons {
		index[info.Reason] = i
	}
	return index
}()
