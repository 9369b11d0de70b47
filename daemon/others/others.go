// Package others knows the signals on a Node by which others say that they are at
// work on it: autoscalers, machine controllers, maintenance and upgrade operators,
// the cloud. It reads; it knows nothing of what rebootd does with it.
//
// Everything is data: a line of the table a signal.
package others

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
)

// Finding is a signal that was found.
type Finding struct {
	Who  string // whose it is
	What string // taint, label, annotation or condition, with its value
	// Leaving says that the node is about to be gone: its reboot would only cost.
	Leaving bool
	Since   time.Time // as the signal tells it, zero if it does not
	// Clear is how people clear the signal when nobody is left to do so, "" where that is
	// not known to happen.
	Clear string
}

// Words are one sentence, which stays the same as long as the signal does. boot is when the
// machine has booted, zero if that is not known.
func (f Finding) Words(boot time.Time) string {
	s := f.Who + " is at work on this node"
	if f.Leaving {
		s = f.Who + " is about to remove this node"
	}
	s += " (" + f.What
	if !f.Since.IsZero() {
		s += ", since " + f.Since.UTC().Format(time.RFC3339)
		if f.Clear != "" && f.Since.Before(boot) {
			s += ", before this boot"
		}
	}
	s += ")"
	if f.Clear != "" {
		s += "; " + f.Clear
	}
	return s
}

// where a signal is.
type where string

const (
	taint      where = "taint"
	label      where = "label"
	annotation where = "annotation"
	condition  where = "condition" // that is True
)

// signal is a line of the table.
type signal struct {
	who     string
	at      where
	key     string                                            // a "*" at the end stands for anything
	means   func(value string, others map[string]string) bool // nil: that it is there
	leaving bool
	// dated says that the value is a time (RFC 3339): since when. Such a signal is left
	// behind when its owner is removed.
	dated bool
}

func is(want ...string) func(string, map[string]string) bool {
	return func(v string, _ map[string]string) bool { return slices.Contains(want, v) }
}

func isNot(want ...string) func(string, map[string]string) bool {
	return func(v string, _ map[string]string) bool { return !slices.Contains(want, v) }
}

// differs from the annotation, or label, of another key.
func differs(key string) func(string, map[string]string) bool {
	return func(v string, others map[string]string) bool { other, ok := others[key]; return ok && other != v }
}

var table = []signal{
	{who: "Cluster Autoscaler", at: taint, key: "ToBeDeletedByClusterAutoscaler", leaving: true},
	{who: "Karpenter", at: taint, key: "karpenter.sh/disrupted", leaving: true},
	{who: "Karpenter", at: taint, key: "karpenter.sh/unregistered", leaving: true},
	{who: "Karpenter", at: annotation, key: "karpenter.sh/nodeclaim-termination-timestamp", leaving: true},
	{who: "Cluster API", at: taint, key: "node.cluster.x-k8s.io/uninitialized"},
	{who: "the Machine Config Operator", at: annotation, key: "machineconfiguration.openshift.io/desiredDrain", means: differs("machineconfiguration.openshift.io/lastAppliedDrain")},
	{who: "the Machine Config Operator", at: annotation, key: "machineconfiguration.openshift.io/desiredConfig", means: differs("machineconfiguration.openshift.io/currentConfig")},
	{who: "the Machine Config Operator", at: annotation, key: "machineconfiguration.openshift.io/state", means: isNot("Done", "")},
	{who: "Node Maintenance Operator", at: taint, key: "medik8s.io/drain"},
	{who: "Node Maintenance Operator", at: label, key: "remediation.medik8s.io/exclude-from-remediation", means: is("true")},
	{who: "Self Node Remediation", at: taint, key: "remediation.medik8s.io/self-node-remediation"},
	{who: "the NVIDIA GPU operator", at: label, key: "nvidia.com/gpu-driver-upgrade-state", means: isNot("", "upgrade-done", "upgrade-required")},
	{who: "the SR-IOV operator", at: annotation, key: "sriovnetwork.openshift.io/state", means: is("Drain_Required", "Draining")},
	{who: "the SR-IOV operator", at: label, key: "sriovnetwork.openshift.io/state", means: is("Drain_Required", "Draining")},
	{who: "AWS Node Termination Handler", at: label, key: "aws-node-termination-handler/action", means: is("UncordonAfterReboot")},
	{who: "AWS Node Termination Handler", at: taint, key: "aws-node-termination-handler/*", leaving: true},
	{who: "the cloud", at: taint, key: "cloud.google.com/impending-node-termination", leaving: true},
	{who: "the cloud", at: taint, key: "NodeWithImpairedVolumes", leaving: true},
	{who: "somebody", at: taint, key: "node.kubernetes.io/out-of-service", leaving: true},
	{who: "the cloud", at: taint, key: "node.cloudprovider.kubernetes.io/uninitialized"},
	{who: "the cloud", at: taint, key: "node.cloudprovider.kubernetes.io/shutdown"},
	{who: "AKS", at: label, key: "kubernetes.azure.com/upgrade-status", means: is("Quarantined")},
	{who: "somebody", at: condition, key: "DrainInProgress", means: isNot(api.Ours)},
	{who: "somebody", at: condition, key: "Drained", means: isNot(api.Ours)},
	{who: "somebody", at: condition, key: "MaintenanceInProgress", means: isNot(api.Ours)},
	{who: "draino", at: condition, key: "DrainScheduled"},
	{who: "the Flatcar update operator", at: annotation, key: "flatcar-linux-update.v1.flatcar-linux.net/reboot-in-progress", means: is("true")},
	{who: "the Flatcar update operator", at: annotation, key: "flatcar-linux-update.v1.flatcar-linux.net/reboot-paused", means: is("true")},
	{who: "Talos", at: annotation, key: "talos.dev/cordoned"},
	{who: "tuppr", at: label, key: "tuppr.home-operations.com/upgrading"},
	{who: "tuppr", at: annotation, key: "tuppr.home-operations.com/upgrading"},
	{who: "SAP's maintenance controller", at: label, key: "cloud.sap/maintenance-state", means: is("in-maintenance")},
	{who: "SAP's maintenance controller", at: label, key: "cloud.sap/esx-in-maintenance", means: is("true")},
	{who: "SAP's maintenance controller", at: label, key: "cloud.sap/delete-node", means: is("true"), leaving: true},
	{who: "kured", at: annotation, key: "weave.works/kured-reboot-in-progress", dated: true},
}

// kuredNeeds is what kured leaves on the Nodes that it is to reboot, if it annotates nodes.
const kuredNeeds = "weave.works/kured-most-recent-reboot-needed"

// Rebooters are sentences about programs that mark a Node as theirs to reboot, and so are
// not at work on it now, but will be whenever they like.
func Rebooters(n *corev1.Node) []string {
	value, there := n.Annotations[kuredNeeds]
	if !there {
		return nil
	}
	return []string{fmt.Sprintf("kured has marked this node (%s) and would bypass rebootd's lock and drain; remove kured, or, if it is no longer installed: kubectl annotate node %s %s-",
		what(annotation, kuredNeeds, value), n.Name, kuredNeeds)}
}

// value is a value with the time of it, where that is told.
type value struct {
	text  string
	since time.Time
}

// Check returns what is found on a Node, those that take it away first; nothing on
// most.
func Check(n *corev1.Node) []Finding {
	values := map[where]map[string]value{taint: {}, label: {}, annotation: {}, condition: {}}
	for _, t := range n.Spec.Taints {
		v := value{text: t.Value}
		if t.TimeAdded != nil {
			v.since = t.TimeAdded.Time
		}
		values[taint][t.Key] = v
	}
	for k, v := range n.Labels {
		values[label][k] = value{text: v}
	}
	for k, v := range n.Annotations {
		values[annotation][k] = value{text: v}
	}
	for _, c := range n.Status.Conditions {
		if c.Status == corev1.ConditionTrue {
			values[condition][string(c.Type)] = value{text: c.Reason, since: c.LastTransitionTime.Time}
		}
	}
	var out []Finding
	if n.DeletionTimestamp != nil {
		out = append(out, Finding{Who: "somebody", What: "the Node is being deleted", Leaving: true, Since: n.DeletionTimestamp.Time})
	}
	for _, s := range table {
		all := n.Annotations
		if s.at == label {
			all = n.Labels
		}
		for k, v := range values[s.at] {
			if s.matches(k) && (s.means == nil || s.means(v.text, all)) {
				out = append(out, s.finding(n.Name, k, v))
			}
		}
	}
	slices.SortFunc(out, func(a, b Finding) int {
		if a.Leaving != b.Leaving {
			if a.Leaving {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Who, b.Who), cmp.Compare(a.What, b.What))
	})
	return slices.Compact(out)
}

func (s signal) finding(node, key string, v value) Finding {
	f := Finding{Who: s.who, What: what(s.at, key, v.text), Leaving: s.leaving, Since: v.since}
	if !s.dated {
		return f
	}
	f.Clear = fmt.Sprintf("if %s is no longer installed: kubectl annotate node %s %s-", s.who, node, key)
	if at, err := time.Parse(time.RFC3339, v.text); err == nil {
		f.What, f.Since = what(s.at, key, ""), at
	}
	return f
}

func (s signal) matches(key string) bool {
	if prefix, ok := strings.CutSuffix(s.key, "*"); ok {
		return strings.HasPrefix(key, prefix)
	}
	return key == s.key
}

// maxValue bounds what is repeated of somebody's words.
const maxValue = 100

func what(at where, key, text string) string {
	if text == "" {
		return fmt.Sprintf("%s %s", at, key)
	}
	return fmt.Sprintf("%s %s=%s", at, key, printable.Line(text, maxValue))
}

// Signals describes the table, a line a signal, for the documentation.
func Signals() [][3]string {
	out := [][3]string{{"somebody", "deletes the Node", "about to remove the node"}}
	for _, s := range table {
		does := "at work"
		if s.leaving {
			does = "about to remove the node"
		}
		out = append(out, [3]string{s.who, string(s.at) + " `" + s.key + "`", does})
	}
	return out
}
