package daemon

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/others"
	"rebootd.dev/daemon/printable"
)

// nodeView is what the daemon keeps of its Node.
type nodeView struct {
	uid             types.UID
	resourceVersion string
	unschedulable   bool
	cordonForeign   bool // by the API server's account of who has set it
	cordonOurs      bool // likewise
	abort           *string
	others          *others.Finding // who else is at work on it, nil for nobody
	ready           bool
	readyMessage    string
	heartbeat       time.Time // when the kubelet last said so
	bootID          string
	kernel          string
	history         string
	operation       string
	report          string
	last            lastReport // what is kept of report
	held            bool
	hold            string
	request         string
	deadline        time.Time // that people have set; zero: none, or none that is valid
	served          string
	mark            string
	status          string // for programs
	notices         []notice
	condition       *corev1.NodeCondition
	labels          map[string]string
	protections     map[string]string // those that it has, with their values
	ourProtections  map[string]bool   // those of them that rebootd has set, by the API server's account
	lifecycle       map[corev1.NodeConditionType]corev1.NodeCondition
	gates           gate.Node
}

// maxQuote bounds what is quoted of the words of others on the Node, in bytes.
const maxQuote = 300

// protections are the annotations that keep autoscalers from taking away a node
// that is empty only because it was drained.
var protections = []string{
	"cluster-autoscaler.kubernetes.io/scale-down-disabled",
	"karpenter.sh/do-not-disrupt",
}

// protected is the value of those that are set here.
const protected = "true"

func (v *nodeView) unprotected() []string {
	var out []string
	for _, k := range protections {
		if _, ok := v.protections[k]; !ok || v.ourProtections[k] {
			out = append(out, k)
		}
	}
	return out
}

func viewOf(n *corev1.Node) *nodeView {
	v := &nodeView{
		uid:             n.UID,
		resourceVersion: n.ResourceVersion,
		unschedulable:   n.Spec.Unschedulable,
		bootID:          n.Status.NodeInfo.BootID,
		kernel:          n.Status.NodeInfo.KernelVersion,
		history:         n.Annotations[api.HistoryAnnotation],
		labels:          n.Labels,
		protections:     map[string]string{},
		ourProtections:  map[string]bool{},
		lifecycle:       map[corev1.NodeConditionType]corev1.NodeCondition{},
		operation:       n.Annotations[api.OperationAnnotation],
		report:          n.Annotations[api.ReportAnnotation],
		request:         n.Annotations[api.RequestAnnotation],
		served:          n.Annotations[api.ServedAnnotation],
		mark:            n.Annotations[api.DaemonAnnotation],
		status:          n.Annotations[api.StatusAnnotation],
		readyMessage:    "the kubelet has not said so yet",
	}
	v.notices, v.gates = noticesOf(n), gateNodeOf(n)
	v.deadline, _ = decide.ParseDeadline(n.Annotations[api.DeadlineAnnotation]) // see noticesOf
	v.cordonForeign = v.unschedulable && foreignCordon(n.ManagedFields)
	v.cordonOurs = v.unschedulable && !v.cordonForeign && setByUs(n.ManagedFields, "unschedulable")
	for _, k := range protections {
		if value, ok := n.Annotations[k]; ok {
			v.protections[k] = value
			v.ourProtections[k] = value == protected && setByUs(n.ManagedFields, k)
		}
	}
	if why, ok := n.Annotations[api.AbortAnnotation]; ok {
		why = printable.Line(why, maxQuote)
		v.abort = &why
	}
	v.hold, v.held = n.Annotations[api.HoldAnnotation]
	v.hold = printable.Line(v.hold, maxQuote)
	if found := others.Check(n); len(found) > 0 {
		v.others = &found[0]
	}
	for _, c := range n.Status.Conditions {
		if isLifecycle(c.Type) {
			v.lifecycle[c.Type] = c
		}
		switch c.Type {
		case corev1.NodeReady:
			v.ready = c.Status == corev1.ConditionTrue
			v.readyMessage = printable.Line(fmt.Sprintf("%s: %s", c.Reason, c.Message), maxQuote)
			v.heartbeat = c.LastHeartbeatTime.Time
		case api.RebootRequired:
			v.condition = &c
		}
	}
	return v
}

// setByUs says whether the API server's account of who has set which field names rebootd
// for a field.
func setByUs(fields []metav1.ManagedFieldsEntry, name string) bool {
	for _, e := range fields {
		if e.Manager == api.FieldManager && owns(e, name) {
			return true
		}
	}
	return false
}

// owns says whether an entry of the API server's account names a field.
func owns(e metav1.ManagedFieldsEntry, name string) bool {
	return e.FieldsV1 != nil && strings.Contains(e.FieldsV1.GetRawString(), `"f:`+name+`"`)
}

// foreignCordon says whether the API server's account of who has set which field
// names somebody else as having set spec.unschedulable. Where it names nobody,
// the record's word stands.
func foreignCordon(fields []metav1.ManagedFieldsEntry) bool {
	for _, e := range fields {
		if e.FieldsV1 != nil && e.Manager != api.FieldManager && strings.Contains(e.FieldsV1.GetRawString(), `"f:unschedulable"`) {
			return true
		}
	}
	return false
}

// older says whether v is an earlier state of the same Node than w. Resource
// versions of one resource may be compared as numbers (KEP-5504); where they are
// no numbers, the later word counts.
func (v *nodeView) older(w *nodeView) bool {
	if w == nil || v.uid != w.uid {
		return false
	}
	a, errA := strconv.ParseUint(v.resourceVersion, 10, 64)
	b, errB := strconv.ParseUint(w.resourceVersion, 10, 64)
	return errA == nil && errB == nil && a < b
}
