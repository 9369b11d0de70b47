package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/lock/lease/leasetest"
)

// Namespace is where the lock's Leases are.
const Namespace = "rebootd"

// World is a cluster and its machines. All methods are safe for concurrent use.
type World struct {
	Nodes  *Nodes
	Leases *leasetest.API

	mu         sync.Mutex
	machines   map[string]*Machine
	admission  func(Request) error
	events     []*corev1.Event
	journal    []Entry
	violations []string
	holders    map[string]holder // of slots, by the Lease's name
}

// holder is who holds a slot, and since when.
type holder struct {
	node  string
	since time.Time
}

// NewWorld makes one that has nothing.
func NewWorld() *World {
	w := &World{Nodes: NewNodes(), Leases: leasetest.NewAPI(), machines: map[string]*Machine{}, holders: map[string]holder{}}
	w.Nodes.Changed = w.nodeChanged
	return w
}

// Entry is something that has happened.
type Entry struct {
	At   time.Time
	Node string
	// Kind is what it has happened to: node, event, slot, node-lease, drain, machine, log.
	Kind string
	Text string
}

// Note writes an entry of the journal.
func (w *World) Note(node, kind, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(node, kind, format, args...)
}

func (w *World) note(node, kind, format string, args ...any) {
	w.journal = append(w.journal, Entry{time.Now(), node, kind, fmt.Sprintf(format, args...)})
}

// Journal is what has happened since the entry with number from.
func (w *World) Journal(from int) []Entry {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.journal[min(from, len(w.journal)):])
}

// Violated notes what must never happen.
func (w *World) Violated(node, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violated(node, format, args...)
}

func (w *World) violated(node, format string, args ...any) {
	s := fmt.Sprintf("%s %s: %s", time.Now().UTC().Format(time.TimeOnly), node, fmt.Sprintf(format, args...))
	w.violations = append(w.violations, s)
	w.note(node, "violation", "%s", s)
}

// Violations are what has happened that must not.
func (w *World) Violations() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.violations)
}

// Admit has f decide whether the API server admits a patch of a Node, as a policy or a
// webhook of the cluster's does; nil ends that.
func (w *World) Admit(f func(Request) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.admission = f
}

// policyProbe is the label that a daemon tries to set, as a dry run, to find out whether
// a policy keeps it from that.
const policyProbe = "rebootd.dev/policy-probe"

func (w *World) admit(r Request) error {
	w.mu.Lock()
	f := w.admission
	w.mu.Unlock()
	if r.DryRun && strings.Contains(r.Body, policyProbe) {
		return Forbidden(r.Name, "ValidatingAdmissionPolicy 'rebootd-own-node' with binding 'rebootd-own-node' denied request: rebootd may change nothing of its node's metadata but its own annotations")
	}
	if f == nil {
		return nil
	}
	return f(r)
}

// Forbidden is the answer of a policy that refuses to have a Node changed.
func Forbidden(node, words string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: fmt.Sprintf("nodes %q is forbidden: %s", node, words),
	}}
}

// addEvent keeps an Event, unless there is one of that name.
func (w *World) addEvent(ev *corev1.Event) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if slices.ContainsFunc(w.events, func(e *corev1.Event) bool { return e.Name == ev.Name }) {
		return false
	}
	w.events = append(w.events, ev.DeepCopy())
	w.note(ev.InvolvedObject.Name, "event", "%s: %s", ev.Reason, ev.Message)
	return true
}

// Events are those of a Node, in the order in which they came.
func (w *World) Events(node string) (out []*corev1.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.InvolvedObject.Name == node {
			out = append(out, e)
		}
	}
	return out
}

// sawLease notes who has taken or released a slot.
func (w *World) sawLease(l *coordinationv1.Lease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	node := ""
	if l.Spec.HolderIdentity != nil {
		node = *l.Spec.HolderIdentity
	}
	was := w.holders[l.Name].node
	if node == was {
		return
	}
	w.holders[l.Name] = holder{node, time.Now()}
	if node != "" {
		w.note(node, "slot", "%s is taken", l.Name)
	} else {
		w.note(was, "slot", "%s is released", l.Name)
	}
}

// TakenAt is when the holder of a slot has taken it, zero if nobody holds it.
func (w *World) TakenAt(slot string) time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if h := w.holders[slot]; h.node != "" {
		return h.since
	}
	return time.Time{}
}

// SlotsOf are the slots that a node holds, by the word of the Leases.
func (w *World) SlotsOf(lockName, node string) (out []string) {
	all, _ := w.Leases.Leases(context.Background())
	for _, l := range all {
		if _, is := api.SlotIndex(lockName, l.Name); is && l.Spec.HolderIdentity != nil && *l.Spec.HolderIdentity == node {
			out = append(out, l.Name)
		}
	}
	slices.Sort(out)
	return out
}

// Record is the record on a Node; nil when there is none, or none that can be read.
func (w *World) Record(node string) *api.Record { return recordOf(w.Nodes.Get(node)) }

func recordOf(n *corev1.Node) *api.Record {
	if n == nil || n.Annotations[api.OperationAnnotation] == "" {
		return nil
	}
	r, err := api.ParseRecord([]byte(n.Annotations[api.OperationAnnotation]))
	if err != nil {
		return nil
	}
	return r
}

// nodeChanged notes what a daemon has changed of a Node.
func (w *World) nodeChanged(before, after *corev1.Node, by string) {
	if before == nil || after == nil || by != api.FieldManager {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if before.Spec.Unschedulable && !after.Spec.Unschedulable {
		if m := w.machines[after.Name]; m != nil && m.Drain.Running() {
			w.violated(after.Name, "the node is uncordoned while its drain runs")
		}
	}
	if s := nodeDifference(before, after); s != "" {
		w.note(after.Name, "node", "%s", s)
	}
}

// nodeDifference is a Node's change in words: the phase of the record, the cordon, the
// annotations and the conditions.
func nodeDifference(before, after *corev1.Node) string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	was, is := before.Annotations[api.OperationAnnotation], after.Annotations[api.OperationAnnotation]
	if a, b := phaseOf(before), phaseOf(after); a != b {
		add("%s → %s", a, b)
	} else if was != is {
		add("%s: the record is written", b)
	}
	switch {
	case !before.Spec.Unschedulable && after.Spec.Unschedulable:
		add("cordoned")
	case before.Spec.Unschedulable && !after.Spec.Unschedulable:
		add("uncordoned")
	}
	for _, k := range []string{api.RequestAnnotation, api.AbortAnnotation, api.HoldAnnotation, api.ReportAnnotation} {
		a, had := before.Annotations[k]
		b, has := after.Annotations[k]
		if k == api.ReportAnnotation {
			a, b = ofDrain(a), ofDrain(b)
			had, has = a != "", b != ""
		}
		switch {
		case !had && has:
			add("%s is set", k)
		case had && !has:
			add("%s is removed", k)
		case a != b:
			add("%s is changed", k)
		}
	}
	_, had := before.Annotations[scaleDownDisabled]
	_, has := after.Annotations[scaleDownDisabled]
	switch {
	case !had && has:
		add("protected from autoscalers")
	case had && !has:
		add("no longer protected")
	}
	for _, t := range lifecycle {
		a, b := conditionOf(before, t), conditionOf(after, t)
		switch {
		case a == nil && b != nil:
			add("condition %s", t)
		case a != nil && b == nil:
			add("no condition %s", t)
		}
	}
	return strings.Join(parts, "; ")
}

// ofDrain is what a report says of which drain it is about, and of its hooks, "" if it
// is about none: how it ends is told by the record.
func ofDrain(report string) string {
	r, err := api.ParseReport([]byte(report))
	if err != nil {
		return report
	}
	if r.Started.IsZero() {
		return ""
	}
	r.Finished, r.Totals, r.Past = time.Time{}, nil, nil
	data, err := json.Marshal(r)
	if err != nil {
		return report
	}
	return string(data)
}

const (
	scaleDownDisabled = "cluster-autoscaler.kubernetes.io/scale-down-disabled"
	doNotDisrupt      = "karpenter.sh/do-not-disrupt"
)

// lifecycle are the conditions of KEP-5683.
var lifecycle = []corev1.NodeConditionType{"MaintenancePlanned", "DrainInProgress", "Drained", "MaintenanceInProgress"}

func phaseOf(n *corev1.Node) string {
	switch r := recordOf(n); {
	case n.Annotations[api.OperationAnnotation] == "":
		return "idle"
	case r == nil:
		return "unreadable"
	default:
		return string(r.Phase)
	}
}

// Condition is a condition of a Node, nil if it has none of that type.
func (w *World) Condition(node string, t corev1.NodeConditionType) *corev1.NodeCondition {
	return conditionOf(w.Nodes.Get(node), t)
}

func conditionOf(n *corev1.Node, t corev1.NodeConditionType) *corev1.NodeCondition {
	if n == nil {
		return nil
	}
	for i := range n.Status.Conditions {
		if n.Status.Conditions[i].Type == t {
			return &n.Status.Conditions[i]
		}
	}
	return nil
}

// Machines are all machines, sorted by their names.
func (w *World) Machines() (out []*Machine) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(w.machines)) {
		out = append(out, w.machines[name])
	}
	return out
}
