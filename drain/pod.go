package drain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// podInfo is what is kept of a pod: whole Pods would cost a hundred times as much
// memory.
type podInfo struct {
	uid        types.UID
	namespace  string
	name       string
	owner      string // the controller, or the pod's own name where there is none
	grace      time.Duration
	deletedAt  time.Time // when its grace is over; zero: not being deleted
	ended      bool      // all its containers have, for good
	never      string    // why it is never evicted, "" if it is
	finalizers []string
}

// defaultGrace is what the API server sets where a pod names none.
const defaultGrace = 30 * time.Second

func (p podInfo) String() string { return p.namespace + "/" + p.name }

func (p podInfo) deleting() bool { return !p.deletedAt.IsZero() }

// infoOf takes from a Pod what matters. self is the UID of rebootd's own pod.
func infoOf(p *corev1.Pod, self types.UID) podInfo {
	i := podInfo{
		uid:        p.UID,
		namespace:  strings.Clone(p.Namespace),
		name:       strings.Clone(p.Name),
		grace:      defaultGrace,
		ended:      p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed,
		finalizers: slices.Clone(p.Finalizers),
	}
	if s := p.Spec.TerminationGracePeriodSeconds; s != nil {
		i.grace = time.Duration(*s) * time.Second
	}
	if p.DeletionTimestamp != nil {
		i.deletedAt = p.DeletionTimestamp.Time
	}
	owner := metav1.GetControllerOf(p)
	i.owner = "pod " + i.String()
	if owner != nil {
		i.owner = fmt.Sprintf("%s %s %s", owner.Kind, owner.Name, owner.UID)
	}
	_, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]
	switch {
	case mirror || owner != nil && owner.Kind == "Node" && owner.APIVersion == "v1":
		i.never = "static pod"
	case owner != nil && owner.Kind == "DaemonSet" && strings.HasPrefix(owner.APIVersion, "apps/"):
		i.never = "pod of the DaemonSet " + owner.Name
	case self != "" && p.UID == self:
		i.never = "rebootd itself"
	}
	return i
}
