package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// nodePatch is a strategic merge patch of a Node, as far as it is understood here; one
// that says more is refused. Maps are merged, null removes, and the conditions are merged
// by their types, where {"$patch":"delete"} removes one
// (https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md).
type nodePatch struct {
	Metadata struct {
		UID             types.UID          `json:"uid"`
		ResourceVersion string             `json:"resourceVersion"`
		Annotations     map[string]*string `json:"annotations"`
		Labels          map[string]*string `json:"labels"`
	} `json:"metadata"`
	Spec struct {
		Unschedulable *bool `json:"unschedulable"`
	} `json:"spec"`
	Status struct {
		Conditions []json.RawMessage `json:"conditions"`
	} `json:"status"`

	spec map[string]json.RawMessage // what it says of the spec at all
}

func readPatch(data []byte) (*nodePatch, error) {
	p := new(nodePatch)
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("a patch that is not expected: %w: %s", err, data)
	}
	var said struct{ Spec map[string]json.RawMessage }
	if err := json.Unmarshal(data, &said); err != nil {
		return nil, err
	}
	p.spec = said.Spec
	return p, nil
}

func (p *nodePatch) apply(n *corev1.Node) error {
	merge(&n.Annotations, p.Metadata.Annotations)
	merge(&n.Labels, p.Metadata.Labels)
	if _, ok := p.spec["unschedulable"]; ok {
		n.Spec.Unschedulable = p.Spec.Unschedulable != nil && *p.Spec.Unschedulable
	}
	for _, data := range p.Status.Conditions {
		var directive struct {
			Patch string                   `json:"$patch"`
			Type  corev1.NodeConditionType `json:"type"`
		}
		if err := json.Unmarshal(data, &directive); err != nil || directive.Type == "" {
			return fmt.Errorf("a condition without a type: %s", data)
		}
		i := slices.IndexFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == directive.Type })
		if directive.Patch == "delete" {
			if i >= 0 {
				n.Status.Conditions = slices.Delete(n.Status.Conditions, i, i+1)
			}
			continue
		}
		if i < 0 {
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{})
			i = len(n.Status.Conditions) - 1
		}
		if err := json.Unmarshal(data, &n.Status.Conditions[i]); err != nil {
			return fmt.Errorf("a condition: %w", err)
		}
	}
	return nil
}

func merge(into *map[string]string, patch map[string]*string) {
	for k, v := range patch {
		if v == nil {
			delete(*into, k)
			continue
		}
		if *into == nil {
			*into = map[string]string{}
		}
		(*into)[k] = *v
	}
}

// maxAnnotations is how much the annotations of an object may have in all
// (k8s.io/apimachinery/pkg/api/validation.TotalAnnotationSizeLimitB).
const maxAnnotations = 256 << 10

// valid refuses what the API server would.
func valid(n *corev1.Node) error {
	total := 0
	for k, v := range n.Annotations {
		total += len(k) + len(v)
	}
	if total > maxAnnotations {
		return apierrors.NewInvalid(nodeKind, n.Name, field.ErrorList{field.TooLong(field.NewPath("metadata", "annotations"), "", maxAnnotations)})
	}
	return nil
}

func equalNodes(a, b *corev1.Node) bool { return reflect.DeepEqual(a, b) }
