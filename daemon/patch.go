package daemon

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon/api"
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

// optional are annotations without which a patch is made where the API server refuses it
// with them: an admission policy that is older than this version does not know them.
var optional = []string{api.HistoryAnnotation, api.StatusAnnotation}

// encodedPatch is a patch in JSON.
type encodedPatch struct {
	data  []byte
	plain []byte // without what is optional; nil: there is nothing of that
}

func (p nodePatch) encode() (e encodedPatch, err error) {
	if e.data, err = json.Marshal(p); err != nil {
		return e, err
	}
	plain := maps.Clone(p.Metadata.Annotations)
	maps.DeleteFunc(plain, func(k string, _ *string) bool { return slices.Contains(optional, k) })
	if len(plain) == len(p.Metadata.Annotations) {
		return e, nil
	}
	p.Metadata.Annotations = plain
	e.plain, err = json.Marshal(p)
	return e, err
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
// DoCordon and DoRestore change spec, so they patch the Node itself. DoWrite patches
// the status subresource, where annotations may be changed as well: the record
// and the condition that tells people of it go in one request. after is what is decided
// when that is done.
func (d *Daemon) recordPatch(s decided, after decide.Step, condition *corev1.NodeCondition) (encodedPatch, []string, error) {
	p := nodePatch{Metadata: patchMetadata{
		ResourceVersion: s.node.resourceVersion,
		Annotations:     map[string]*string{api.OperationAnnotation: nil},
	}}
	if s.step.Record != nil {
		data, err := json.Marshal(s.step.Record)
		if err != nil {
			return encodedPatch{}, nil, fmt.Errorf("encode the record: %w", err)
		}
		text := string(data)
		p.Metadata.Annotations[api.OperationAnnotation] = &text
	}
	protect(p.Metadata.Annotations, s.node, s.record, s.step.Record)
	if s.step.ClearRequest && s.node.request != "" {
		p.Metadata.Annotations[api.RequestAnnotation] = nil
	}
	if s.step.ClearAbort && s.node.abort != nil {
		p.Metadata.Annotations[api.AbortAnnotation] = nil
	}
	if s.step.Served != nil {
		data, err := json.Marshal(s.step.Served)
		if err != nil {
			return encodedPatch{}, nil, fmt.Errorf("encode the served sentinels: %w", err)
		}
		text := string(data)
		p.Metadata.Annotations[api.ServedAnnotation] = &text
	}
	if report := d.reportToWrite(s); report != "" {
		p.Metadata.Annotations[api.ReportAnnotation] = &report
	}
	if history := d.historyToWrite(s); history != "" {
		p.Metadata.Annotations[api.HistoryAnnotation] = &history
	}
	if s.step.Record == nil && s.node.status != "" {
		p.Metadata.Annotations[api.StatusAnnotation] = nil
	}
	var subresources []string
	switch s.step.Do {
	case decide.DoCordon:
		p.Spec = map[string]any{"unschedulable": true}
	case decide.DoRestore:
		if s.step.Uncordon {
			p.Spec = map[string]any{"unschedulable": nil}
		}
	default:
		subresources = []string{"status"}
		p.Status = conditionsPatch(condition, lifecycleChanges(s.step.Record, s.step, s.node.lifecycle, d.stages.drain != nil, s.now))
		if condition != nil || s.node.isStale(s.step.Record) {
			p.setStatus(d.status(after, s.step.Record, s.now))
		}
	}
	e, err := p.encode()
	return e, subresources, err
}

// setStatus has the patch write what programs are told; "" leaves it as it is.
func (p *nodePatch) setStatus(text string) {
	if text != "" {
		p.setAnnotation(api.StatusAnnotation, &text)
	}
}

// setAnnotation has the patch set an annotation, or remove it.
func (p *nodePatch) setAnnotation(name string, value *string) {
	if p.Metadata.Annotations == nil {
		p.Metadata.Annotations = map[string]*string{}
	}
	p.Metadata.Annotations[name] = value
}

// protect sets the annotations that the new record says are ours, and removes
// those that only the old one does, or the API server's account of who has set them, and
// that nobody has changed.
func protect(annotations map[string]*string, n *nodeView, before, after *api.Record) {
	for _, k := range protections {
		was, is := n.ourProtections[k] || before != nil && slices.Contains(before.Protected, k), after != nil && slices.Contains(after.Protected, k)
		value, there := n.protections[k]
		switch {
		case is && !was && !there:
			annotations[k] = new(protected)
		case was && !is && value == protected:
			annotations[k] = nil
		}
	}
}
