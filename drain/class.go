package drain

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What people may say of a pod to rebootd, by annotation.
const (
	// OrderAnnotation is an integer: pods of a lower one go first, and the next
	// only when those are gone. Without it a pod has 0.
	OrderAnnotation = "rebootd.dev/drain-order"
	// DrainAnnotation is "skip", for a pod that is neither evicted nor waited for,
	// or "wait-completed", for one that is to end by itself.
	DrainAnnotation = "rebootd.dev/drain"
)

// The words of others for the same.
const (
	clusterAPILabel       = "cluster.x-k8s.io/drain"
	karpenterAnnotation   = "karpenter.sh/do-not-disrupt"
	autoscalerAnnotation  = "cluster-autoscaler.kubernetes.io/safe-to-evict"
	skipValue             = "skip"
	waitValue             = "wait-completed"
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

// class is how a drain treats a pod.
type class struct {
	never string // why it is never evicted, "" if it is
	rank
	hold      Reason // why it is waited for instead of evicted, "" if it is not
	holdWord  string
	holdEnds  time.Time // zero: by no word of its own
	ignored   string    // what is said of it and makes no sense
	ignoredOf string
}

func (v viewer) classify(p *corev1.Pod, owner *metav1.OwnerReference) class {
	var c class
	c.tier = tierOf(p)
	if s, ok := p.Annotations[OrderAnnotation]; ok {
		n, err := strconv.Atoi(strings.TrimSpace(s))
		if err != nil {
			c.ignored, c.ignoredOf = s, OrderAnnotation
		} else {
			c.order = n
		}
	}
	_, mirror := p.Annotations[corev1.MirrorPodAnnotationKey]
	word, wordOf := p.Annotations[DrainAnnotation], DrainAnnotation
	if word == "" {
		word, wordOf = p.Labels[clusterAPILabel], clusterAPILabel
	}
	switch {
	case mirror || owner != nil && owner.Kind == "Node" && owner.APIVersion == "v1":
		c.never = "static pod"
	case owner != nil && owner.Kind == "DaemonSet" && strings.HasPrefix(owner.APIVersion, "apps/"):
		c.never = "pod of the DaemonSet " + owner.Name
	case v.self != "" && p.UID == v.self:
		c.never = "rebootd itself"
	case word == skipValue:
		c.never = wordOf + ": " + skipValue
	case word == waitValue:
		c.hold, c.holdWord = AwaitingCompletion, wordOf+": "+waitValue
	case word != "" && wordOf == DrainAnnotation:
		c.ignored, c.ignoredOf = word, DrainAnnotation
	}
	if c.never == "" && c.hold == "" {
		c.protect(p, v.waitForJobs && owner != nil && owner.Kind == "Job")
	}
	return c
}

// protect heeds what other programs are told of a pod: that it is not to be
// disturbed.
func (c *class) protect(p *corev1.Pod, waitForJob bool) {
	if s, ok := p.Annotations[karpenterAnnotation]; ok {
		d, err := time.ParseDuration(s)
		switch {
		case s == "true":
			c.hold, c.holdWord = Protected, karpenterAnnotation
			return
		case err == nil && d > 0:
			// A duration counts from the pod's start.
			start := p.CreationTimestamp.Time
			if p.Status.StartTime != nil {
				start = p.Status.StartTime.Time
			}
			c.hold, c.holdEnds = Protected, start.Add(d)
			c.holdWord = fmt.Sprintf("%s: %s", karpenterAnnotation, d)
			return
		}
	}
	switch {
	case p.Annotations[autoscalerAnnotation] == "false":
		c.hold, c.holdWord = Protected, autoscalerAnnotation+": false"
	case waitForJob:
		c.hold, c.holdWord = AwaitingCompletion, "pod of a Job"
	}
}

// tierOf puts those pods last without which evictions, or the start of their
// replacements, may fail: what the API server calls, or is reached through. RBAC
// that could look up webhooks' Services would show every Service there is, so
// they are known by what they are called.
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
