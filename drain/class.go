package drain

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
)

// The labels and annotations of other programs with the same meaning.
const (
	clusterAPILabel       = "cluster.x-k8s.io/drain"
	karpenterAnnotation   = "karpenter.sh/do-not-disrupt"
	autoscalerAnnotation  = "cluster-autoscaler.kubernetes.io/safe-to-evict"
	systemPriorityPrefix  = "system-"
	systemPriorityPostfix = "-critical"
)

// rank is a pod's place in the order of evictions.
type rank struct {
	order int // as people want it
	tier  tier
}

func (r rank) compare(o rank) int {
	return cmp.Or(cmp.Compare(r.order, o.order), cmp.Compare(r.tier, o.tier))
}

type tier int

const (
	ordinary    tier = iota
	critical         // system-node-critical, system-cluster-critical
	controlPath      // without them, API calls fail
)

// note is why a pod has its outcome: a word of the vocabulary and the sentence for it.
// The zero value says that there is nothing to say.
type note struct {
	reason  api.PodReason
	message string
}

// class is how a drain treats a pod.
type class struct {
	skip note // why it is never evicted; zero if it is
	rank
	wait      api.PodReason // why it is waited for instead of evicted, "" if it is not
	waitWhy   string
	waitEnds  time.Time // by the API server's clock; zero: it says no time
	invalid   string    // a value of an annotation that is not valid, and is ignored
	invalidIn string
}

func (v viewer) classify(p *corev1.Pod, owner *metav1.OwnerReference) class {
	var c class
	c.tier = tierOf(p)
	if s, ok := p.Annotations[api.PodOrderAnnotation]; ok {
		n, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil {
			c.invalid, c.invalidIn = s, api.PodOrderAnnotation
		} else {
			c.order = n
		}
	}
	_, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]
	word, wordOf := p.Annotations[api.PodDrainAnnotation], api.PodDrainAnnotation
	if word == "" {
		word, wordOf = p.Labels[clusterAPILabel], clusterAPILabel
	}
	switch {
	case mirror || owner != nil && owner.Kind == "Node" && owner.APIVersion == "v1":
		c.skip = note{api.PodStaticPod, "is a static pod"}
	case owner != nil && owner.Kind == "DaemonSet" && strings.HasPrefix(owner.APIVersion, "apps/"):
		c.skip = note{api.PodDaemonSetPod, "is a pod of the DaemonSet " + owner.Name}
	case v.self != "" && p.UID == v.self:
		c.skip = note{api.PodRebootdPod, "is rebootd's own pod"}
	case word == api.PodDrainSkip:
		c.skip = note{api.PodSkipRequested, "is marked " + wordOf + ": " + api.PodDrainSkip}
	case word == api.PodDrainWait:
		c.wait, c.waitWhy = api.PodAwaitingCompletion, wordOf+": "+api.PodDrainWait
	case word != "" && wordOf == api.PodDrainAnnotation:
		c.invalid, c.invalidIn = word, api.PodDrainAnnotation
	}
	if c.skip == (note{}) && c.wait == "" {
		c.protect(p, v.waitForJobs && owner != nil && owner.Kind == "Job")
	}
	return c
}

// ignored says what people have written that is not valid.
func (c *class) ignored() string {
	return fmt.Sprintf("the value %.60q of the annotation %s is not valid and is ignored", c.invalid, c.invalidIn)
}

// protect has a pod waited for that other programs are told not to disrupt.
func (c *class) protect(p *corev1.Pod, waitForJob bool) {
	if s, ok := p.Annotations[karpenterAnnotation]; ok {
		d, err := time.ParseDuration(s)
		switch {
		case s == "true":
			c.wait, c.waitWhy = api.PodProtected, karpenterAnnotation
			return
		case err == nil && d > 0:
			// A duration counts from the pod's start.
			start := p.CreationTimestamp.Time
			if p.Status.StartTime != nil {
				start = p.Status.StartTime.Time
			}
			c.wait, c.waitEnds = api.PodProtected, start.Add(d)
			c.waitWhy = fmt.Sprintf("%s: %s", karpenterAnnotation, d)
			return
		}
	}
	switch {
	case p.Annotations[autoscalerAnnotation] == "false":
		c.wait, c.waitWhy = api.PodProtected, autoscalerAnnotation+": false"
	case waitForJob:
		c.wait, c.waitWhy = api.PodAwaitingCompletion, "pod of a Job"
	}
}

// tierOf puts those pods last without which evictions, or the start of replacements,
// may fail: what the API server calls, or is reached through. To look up the Services of
// webhooks rebootd would need permission to read every Service, so such pods are
// recognized by their names.
func tierOf(p *corev1.Pod) tier {
	if isControlPath(p) {
		return controlPath
	}
	if n := p.Spec.PriorityClassName; strings.HasPrefix(n, systemPriorityPrefix) && strings.HasSuffix(n, systemPriorityPostfix) {
		return critical
	}
	return ordinary
}

func isControlPath(p *corev1.Pod) bool {
	for _, key := range []string{"app.kubernetes.io/name", "app.kubernetes.io/component", "app", "k8s-app", "component"} {
		if v := p.Labels[key]; strings.Contains(v, "webhook") || strings.Contains(v, "admission") || v == "konnectivity-agent" {
			return true
		}
	}
	for _, c := range p.Spec.Containers {
		for _, port := range c.Ports {
			if strings.Contains(port.Name, "webhook") {
				return true
			}
		}
	}
	return false
}
