package drain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// podInfo is what is kept of a pod: whole Pods would cost a hundred times as much
// memory.
type podInfo struct {
	uid       types.UID
	namespace string
	name      string
	created   time.Time
	grace     time.Duration
	graceEnds time.Time // its deletionTimestamp, by the API server's clock; zero: not being deleted
	deletedAt time.Time // when the deletion was requested, by the same clock; zero: not known
	ended     bool      // all its containers have finished, for good
	ready     bool

	owner    string    // the controller, or the pod's own name where there is none
	ownerUID types.UID // "": it has no controller
	kind     string    // of the controller
	selector string    // which pods look like it; "": nothing replaces it

	class
	finalizers []string
	claims     []string // its PersistentVolumeClaims
	disrupted  string   // the reason of its condition DisruptionTarget
	handledBy  string   // which program moves it when its eviction is refused, in a sentence; "": none
}

// maxGrace is as good as for ever. A few times that would not fit into a Duration, whose
// maximum is nine thousand million seconds.
const maxGrace = 100 * 365 * 24 * time.Hour

// seconds is a number of seconds in an object, such as a grace period. The kubelet takes
// a negative one for one second.
func seconds(n int64) time.Duration {
	if n < 0 {
		return time.Second
	}
	return time.Duration(min(n, int64(maxGrace/time.Second))) * time.Second
}

// defaultGrace is what the API server sets where a pod names none.
const defaultGrace = 30 * time.Second

func (p podInfo) String() string { return p.namespace + "/" + p.name }

func (p podInfo) deleting() bool { return !p.graceEnds.IsZero() }

// viewer turns Pods into podInfos.
type viewer struct {
	self        types.UID // rebootd's own pod
	waitForJobs bool
}

func (v viewer) info(p *corev1.Pod) podInfo {
	i := podInfo{
		uid:        p.UID,
		namespace:  strings.Clone(p.Namespace),
		name:       strings.Clone(p.Name),
		created:    p.CreationTimestamp.Time,
		grace:      defaultGrace,
		ended:      p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed,
		finalizers: slices.Clone(p.Finalizers),
		claims:     claimsOf(p),
	}
	if s := p.Spec.TerminationGracePeriodSeconds; s != nil {
		i.grace = seconds(*s)
	}
	if p.DeletionTimestamp != nil {
		i.graceEnds, i.deletedAt = p.DeletionTimestamp.Time, p.DeletionTimestamp.Time
		if s := p.DeletionGracePeriodSeconds; s != nil {
			i.deletedAt = i.deletedAt.Add(-seconds(*s))
			if *s > int64(maxGrace/time.Second) {
				// The sum that the API server has computed has overflown.
				i.graceEnds, i.deletedAt = never, time.Time{}
			}
		}
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			i.disrupted = strings.Clone(c.Reason)
		}
	}
	i.ready = isReady(p)
	i.owner = "pod " + i.String()
	owner := metav1.GetControllerOf(p)
	if owner != nil {
		i.owner = fmt.Sprintf("%s %s %s", owner.Kind, owner.Name, owner.UID)
		i.ownerUID, i.kind = owner.UID, strings.Clone(owner.Kind)
		i.selector = selectorOf(p)
	}
	if _, ok := p.Annotations["strimzi.io/manual-rolling-update"]; ok {
		i.handledBy = "is being rolled by the Strimzi operator"
	}
	i.class = v.classify(p, owner)
	return i
}

// virtLabel on KubeVirt's launchers is the machine's UID; other labels of theirs
// differ from one migration to the next.
const virtLabel = "kubevirt.io/created-by"

// selectorOf selects the pods that look like p, those that replace it among them:
// controllers give all pods of one template the same labels.
func selectorOf(p *corev1.Pod) string {
	if v, ok := p.Labels[virtLabel]; ok {
		return labels.Set{virtLabel: v}.String()
	}
	return labels.Set(p.Labels).String()
}

// claimsOf names the PersistentVolumeClaims of a pod, those of ephemeral volumes
// too.
func claimsOf(p *corev1.Pod) []string {
	var out []string
	for _, v := range p.Spec.Volumes {
		switch {
		case v.PersistentVolumeClaim != nil:
			out = append(out, strings.Clone(v.PersistentVolumeClaim.ClaimName))
		case v.Ephemeral != nil:
			out = append(out, p.Name+"-"+v.Name)
		}
	}
	return out
}

func isReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// notReadyBecause is why a pod is not Ready, in brackets, as far as its status tells.
func notReadyBecause(p *corev1.Pod) string {
	if p.Spec.NodeName == "" {
		return " (not scheduled)"
	}
	for _, s := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		if w := s.State.Waiting; w != nil && w.Reason != "" && w.Reason != "PodInitializing" {
			return " (" + w.Reason + ")"
		}
	}
	return ""
}
