package pods

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Selector selects pods by their labels, in kubectl's words, and by some of their fields,
// by the names that kubectl has for them: metadata.namespace=ml,app in (train, tune).
type Selector struct {
	text  string
	match labels.Selector
}

// fields are those by which pods can be selected, as the API server selects them.
var fields = map[string]func(*corev1.Pod) string{
	"metadata.name":           func(p *corev1.Pod) string { return p.Name },
	"metadata.namespace":      func(p *corev1.Pod) string { return p.Namespace },
	"spec.hostNetwork":        func(p *corev1.Pod) string { return strconv.FormatBool(p.Spec.HostNetwork) },
	"spec.restartPolicy":      func(p *corev1.Pod) string { return string(p.Spec.RestartPolicy) },
	"spec.schedulerName":      func(p *corev1.Pod) string { return p.Spec.SchedulerName },
	"spec.serviceAccountName": func(p *corev1.Pod) string { return p.Spec.ServiceAccountName },
	"status.phase":            func(p *corev1.Pod) string { return string(p.Status.Phase) },
}

// ParseSelector reads a selector.
func ParseSelector(s string) (Selector, error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return Selector{}, errors.New("the selector is empty; it would select every pod")
	}
	match, err := labels.Parse(s)
	if err != nil {
		return Selector{}, fmt.Errorf("%.100q is not a selector such as metadata.namespace=ml,app=training: %w", s, err)
	}
	requirements, _ := match.Requirements()
	for _, r := range requirements {
		if _, known := fields[r.Key()]; !known && isField(r.Key()) {
			return Selector{}, fmt.Errorf("%.100q: pods cannot be selected by %s; by labels and %s they can", s, r.Key(), strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
		}
	}
	return Selector{s, match}, nil
}

// isField says whether a key is meant to be a field of the pod: a label with such a name
// is next to always a mistake.
func isField(key string) bool {
	return strings.HasPrefix(key, "metadata.") || strings.HasPrefix(key, "spec.") || strings.HasPrefix(key, "status.")
}

// String is the selector as it is written.
func (s Selector) String() string { return s.text }

func (s Selector) selects(p *corev1.Pod) bool {
	set := labels.Set{}
	maps.Copy(set, p.Labels)
	for name, of := range fields {
		set[name] = of(p)
	}
	return s.match.Matches(set)
}
