package daemon

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/gate"
)

// lifecycleTypes are the conditions by which all who disrupt nodes tell each other
// what they are about (KEP-5683,
// https://kubernetes.io/docs/reference/node/node-lifecycle-conditions/).
var lifecycleTypes = []corev1.NodeConditionType{
	corev1.NodeMaintenancePlanned, corev1.NodeDrainInProgress, corev1.NodeDrained, corev1.NodeMaintenanceInProgress,
}

// lifecycleOf is which of them hold in a phase of an operation. hasDrained: by the
// word of the step that leads there, or of what was written before.
func lifecycleOf(phase decide.Phase, hasDrained bool) map[corev1.NodeConditionType]string {
	out := map[corev1.NodeConditionType]string{}
	switch phase {
	case decide.Waiting, decide.Queued:
		out[corev1.NodeMaintenancePlanned] = "rebootd is to reboot this node"
	case decide.Draining:
		out[corev1.NodeMaintenancePlanned] = "rebootd is to reboot this node"
		out[corev1.NodeDrainInProgress] = "rebootd drains this node for a reboot"
	case decide.Rebooting, decide.Verifying, decide.Halted:
		out[corev1.NodeMaintenanceInProgress] = "rebootd reboots this node"
		if hasDrained {
			out[corev1.NodeDrained] = "rebootd has drained this node for a reboot"
		}
	}
	return out
}

// lifecycleChanges are the changes to be made to the Node's conditions, as parts of
// a strategic merge patch: a condition that is True by another's word is left
// alone, and only our own is removed.
func (d *Daemon) lifecycleChanges(record *decide.Record, step decide.Step) []any {
	if d.recordErr != nil {
		return nil
	}
	phase := decide.Idle
	if record != nil {
		phase = record.Phase
	}
	have := d.node.lifecycle
	hasDrained := have[corev1.NodeDrained].Reason == gate.Ours || step.Reason == decide.Drained && d.Policy.Drain
	want := lifecycleOf(phase, hasDrained)
	now := metav1.NewTime(d.now().UTC())
	var out []any
	for _, t := range lifecycleTypes {
		has, there := have[t]
		message, wanted := want[t]
		isTrue := there && has.Status == corev1.ConditionTrue
		switch {
		case wanted && !isTrue:
			out = append(out, corev1.NodeCondition{
				Type: t, Status: corev1.ConditionTrue, Reason: gate.Ours, Message: message, LastHeartbeatTime: now, LastTransitionTime: now,
			})
		case !wanted && there && has.Reason == gate.Ours:
			out = append(out, map[string]string{"$patch": "delete", "type": string(t)})
		}
	}
	return out
}

func isLifecycle(t corev1.NodeConditionType) bool { return slices.Contains(lifecycleTypes, t) }
