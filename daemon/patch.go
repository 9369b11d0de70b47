package daemon

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/decide"
)

// maxMessage bounds the condition's message; an Event's may have 1,024 bytes.
const maxMessage = 1000

// nodePatch is a strategic merge patch of the Node. Its pointers to null remove
// what they name.
type nodePatch struct {
	Metadata patchMetadata  `json:"metadata"`
	Spec     map[string]any `json:"spec,omitempty"`
	Status   *patchStatus   `json:"status,omitempty"`
}

type patchMetadata struct {
	ResourceVersion string             `json:"resourceVersion,omitempty"`
	Annotations     map[string]*string `json:"annotations,omitempty"`
}

// patchStatus has conditions, and directives to delete some.
type patchStatus struct {
	Conditions []any `json:"conditions"`
}

// conditionsPatch is nil when there is nothing to change.
func conditionsPatch(condition *corev1.NodeCondition, lifecycle []any) *patchStatus {
	if condition != nil {
		lifecycle = append(lifecycle, *condition)
	}
	if len(lifecycle) == 0 {
		return nil
	}
	return &patchStatus{Conditions: lifecycle}
}

// recordPatch is the patch of a step that writes the record. It is conditional
// on the Node's not having changed since the decision.
//
// Cordon and Restore change spec, so they patch the Node itself. Write patches
// the status subresource, where annotations may be changed as well: the record
// and the condition that tells people of it go in one request.
func (d *Daemon) recordPatch(step decide.Step, condition *corev1.NodeCondition) ([]byte, []string, error) {
	p := nodePatch{Metadata: patchMetadata{
		ResourceVersion: d.node.resourceVersion,
		Annotations:     map[string]*string{OperationAnnotation: nil},
	}}
	if step.Record != nil {
		data, err := json.Marshal(step.Record)
		if err != nil {
			return nil, nil, fmt.Errorf("encode the record: %w", err)
		}
		s := string(data)
		p.Metadata.Annotations[OperationAnnotation] = &s
	}
	d.protect(p.Metadata.Annotations, step.Record)
	if step.ClearRequest && d.node.request != "" {
		p.Metadata.Annotations[RequestAnnotation] = nil
	}
	if report := d.reportToWrite(); report != "" {
		p.Metadata.Annotations[ReportAnnotation] = &report
	}
	var subresources []string
	switch step.Do {
	case decide.Cordon:
		p.Spec = map[string]any{"unschedulable": true}
	case decide.Restore:
		if step.Uncordon {
			p.Spec = map[string]any{"unschedulable": nil}
		}
	default:
		subresources = []string{"status"}
		p.Status = conditionsPatch(condition, d.lifecycleChanges(step.Record, step))
	}
	data, err := json.Marshal(p)
	return data, subresources, err
}

// protect sets the annotations that the new record says are ours, and removes
// those that only the old one does and that nobody has changed.
func (d *Daemon) protect(annotations map[string]*string, after *decide.Record) {
	var before, now []string
	if d.record != nil {
		before = d.record.Protected
	}
	if after != nil {
		now = after.Protected
	}
	for _, k := range protections {
		was, is := slices.Contains(before, k), slices.Contains(now, k)
		value, there := d.node.protections[k]
		switch {
		case is && !was && !there:
			annotations[k] = new(string)
			*annotations[k] = protected
		case was && !is && value == protected:
			annotations[k] = nil
		}
	}
}

// statusPatch sets the conditions and, where it is due, the report.
func (d *Daemon) statusPatch(status *patchStatus, report string) ([]byte, error) {
	p := nodePatch{Status: status}
	if status != nil && len(status.Conditions) > 0 {
		// What is another's must not be taken for ours because it came just now.
		p.Metadata.ResourceVersion = d.node.resourceVersion
	}
	if report != "" {
		p.Metadata.Annotations = map[string]*string{ReportAnnotation: &report}
	}
	return json.Marshal(p)
}

// conditionFor is the condition that step calls for, nil when the Node's is right
// already. A node that never had a reboot to do has no condition.
func (d *Daemon) conditionFor(step decide.Step, hasRecord bool) *corev1.NodeCondition {
	have := d.node.condition
	want := corev1.NodeCondition{Type: RebootRequired, Status: corev1.ConditionTrue, Reason: string(step.Reason), Message: clip(step.Message, maxMessage)}
	switch {
	case d.recordErr != nil:
		want.Status = corev1.ConditionUnknown
	case !hasRecord:
		if have == nil || have.Status == corev1.ConditionFalse {
			return nil
		}
		want.Status = corev1.ConditionFalse
		if d.ended.Reason != "" {
			want.Reason, want.Message = string(d.ended.Reason), clip(d.ended.Message, maxMessage)
		}
	}
	now := metav1.NewTime(d.now().UTC().Truncate(time.Second))
	want.LastHeartbeatTime, want.LastTransitionTime = now, now
	if have != nil {
		if have.Status == want.Status && have.Reason == want.Reason && have.Message == want.Message {
			return nil
		}
		if have.Status == want.Status {
			want.LastTransitionTime = have.LastTransitionTime
		}
	}
	return &want
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n -= len("…"); n > 0 && s[n]&0xc0 == 0x80; n-- { // not inside a character
	}
	return s[:n] + "…"
}
