package daemon

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
)

// lifecycleTypes are the conditions by which all who disrupt nodes tell each other
// what they are about (KEP-5683,
// https://kubernetes.io/docs/reference/node/node-lifecycle-conditions/).
var lifecycleTypes = []corev1.NodeConditionType{
	corev1.NodeMaintenancePlanned, corev1.NodeDrainInProgress, corev1.NodeDrained, corev1.NodeMaintenanceInProgress,
}

// lifecycleOf is which of them hold in a phase of an operation. hasDrained: by the
// word of the step that leads there, or of what was written before.
func lifecycleOf(phase api.Phase, hasDrained bool) map[corev1.NodeConditionType]string {
	out := map[corev1.NodeConditionType]string{}
	switch phase {
	case api.PhaseWaiting, api.PhaseQueued:
		out[corev1.NodeMaintenancePlanned] = "rebootd is going to reboot this node"
	case api.PhaseDraining:
		out[corev1.NodeMaintenancePlanned] = "rebootd is going to reboot this node"
		out[corev1.NodeDrainInProgress] = "rebootd is draining this node for a reboot"
	case api.PhaseRebooting, api.PhaseVerifying, api.PhaseHalted:
		out[corev1.NodeMaintenanceInProgress] = "rebootd is rebooting this node"
		if hasDrained {
			out[corev1.NodeDrained] = "rebootd has drained this node for a reboot"
		}
	}
	return out
}

// lifecycleChanges are the changes to be made to the Node's conditions, as parts of
// a strategic merge patch: a condition that is True by another's word is left
// alone, and only our own is removed.
func lifecycleChanges(record *api.Record, step decide.Step, have map[corev1.NodeConditionType]corev1.NodeCondition, drains bool, at time.Time) []any {
	hasDrained := have[corev1.NodeDrained].Reason == api.Ours || step.Reason == api.ReasonDrained && drains
	want := lifecycleOf(phaseOf(record), hasDrained)
	now := metav1.NewTime(at.UTC())
	var out []any
	for _, t := range lifecycleTypes {
		has, there := have[t]
		message, wanted := want[t]
		isTrue := there && has.Status == corev1.ConditionTrue
		switch {
		case wanted && !isTrue:
			out = append(out, corev1.NodeCondition{
				Type: t, Status: corev1.ConditionTrue, Reason: api.Ours, Message: message, LastHeartbeatTime: now, LastTransitionTime: now,
			})
		case !wanted && there && has.Reason == api.Ours:
			out = append(out, map[string]string{"$patch": "delete", "type": string(t)})
		}
	}
	return out
}

func isLifecycle(t corev1.NodeConditionType) bool { return slices.Contains(lifecycleTypes, t) }
