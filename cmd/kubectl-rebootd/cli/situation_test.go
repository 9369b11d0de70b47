package cli

import (
	"encoding/json"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
)

// at is the moment at which every situation is looked at: a Saturday night.
var at = time.Date(2026, 11, 28, 1, 30, 0, 0, time.UTC)

// before is so long before that.
func before(d time.Duration) time.Time { return at.Add(-d) }

// situations are clusters in situations that people know, by their names.
var situations = map[string]func() *fakeAPI{
	"idle": func() *fakeAPI {
		f := newFake()
		for i := range 3 {
			f.idle(nodeName(i))
		}
		return f
	},
	"queue": func() *fakeAPI { // forty want to reboot, one drains
		f := newFake()
		f.draining("node-00", 4*time.Minute, 12, 5)
		for i := 1; i < 40; i++ {
			f.queued(nodeName(i), 2*time.Hour-time.Duration(i)*time.Minute, "rebootd-0 is held by node-00, Draining since 2026-11-28T01:26:00Z")
		}
		f.slot(0, "node-00", 5*time.Minute)
		return f
	},
}

func nodeName(i int) string { return fmt.Sprintf("node-%02d", i) }

// idle adds a node that has nothing to do.
func (f *fakeAPI) idle(name string, change ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID("uid-of-" + name),
			Labels:      map[string]string{"kubernetes.io/hostname": name},
			Annotations: map[string]string{api.DaemonAnnotation: api.Daemon{Version: "v1.2.0", Settings: "5f1c0a9e"}.String()},
		},
		Status: corev1.NodeStatus{
			NodeInfo: corev1.NodeSystemInfo{KernelVersion: "6.12.57+deb13-amd64", BootID: "boot-of-" + name},
			Conditions: []corev1.NodeCondition{
				{Type: corev1.NodeReady, Status: corev1.ConditionTrue},
				condition("False", api.ReasonNotRequired, "no reboot is requested", 30*time.Hour),
			},
		},
	}
	for _, c := range change {
		c(n)
	}
	f.set(n)
	return n
}

func condition(status corev1.ConditionStatus, reason api.Reason, message string, since time.Duration) corev1.NodeCondition {
	return corev1.NodeCondition{
		Type: api.RebootRequired, Status: status, Reason: string(reason), Message: message,
		LastTransitionTime: metav1.NewTime(before(since)), LastHeartbeatTime: metav1.NewTime(before(min(since, 20*time.Second))),
	}
}

// says sets the condition of a node that needs a reboot.
func says(reason api.Reason, message string, since time.Duration) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Status.Conditions[1] = condition("True", reason, message, since) }
}

// has sets an annotation to a value, or to what is JSON of it.
func has(annotation string, value any) func(*corev1.Node) {
	return func(n *corev1.Node) {
		text, is := value.(string)
		if !is {
			data, err := json.Marshal(value)
			if err != nil {
				panic(err)
			}
			text = string(data)
		}
		n.Annotations[annotation] = text
	}
}

// recordOf is a record in a phase since some time.
func recordOf(name string, phase api.Phase, requested, since time.Duration) *api.Record {
	return &api.Record{
		V: api.Schema, ID: before(requested).Format("20060102T150405.000") + "-" + name, Phase: phase, Since: before(since), BootID: "boot-of-" + name,
		Requested: before(requested), Request: "/run/reboot-needed since " + before(requested).Format(time.RFC3339), Lock: "rebootd",
	}
}

// queued adds a node that waits for a slot.
func (f *fakeAPI) queued(name string, since time.Duration, others string, change ...func(*corev1.Node)) {
	r := recordOf(name, api.PhaseQueued, since+time.Minute, since)
	f.idle(name, append([]func(*corev1.Node){
		has(api.OperationAnnotation, r), says(api.ReasonQueued, "waiting for a slot; "+others, since),
		has(api.StatusAnnotation, &api.Status{
			V: api.StatusSchema, ID: r.ID, Phase: r.Phase, At: before(20 * time.Second), Reason: api.ReasonQueued, Slots: 1,
			Gates: []api.GateStatus{{Name: "hold", State: api.GateOpen}, {Name: "inhibitors", State: api.GateOpen}, {Name: "paused", State: api.GateOpen}},
		}),
	}, change...)...)
}

// draining adds a node that drains: of so many pods so many are left.
func (f *fakeAPI) draining(name string, since time.Duration, total, left int, blocked ...api.BlockedPod) {
	r := recordOf(name, api.PhaseDraining, since+3*time.Minute, since)
	r.Cordoned = true
	reason, message := api.ReasonDraining, fmt.Sprintf("draining: %d of %d pods have left", total-left, total)
	if len(blocked) > 0 {
		reason = api.ReasonDrainBlocked
		message = fmt.Sprintf("%d pods cannot be evicted: %s/%s: %s", len(blocked), blocked[0].Namespace, blocked[0].Name, blocked[0].Message)
	}
	f.idle(name, has(api.OperationAnnotation, r), says(reason, message, since), func(n *corev1.Node) { n.Spec.Unschedulable = true },
		has(api.StatusAnnotation, &api.Status{
			V: api.StatusSchema, ID: r.ID, Phase: r.Phase, At: before(20 * time.Second), Reason: reason, Slots: 1,
			Gates: []api.GateStatus{{Name: "hold", State: api.GateOpen}, {Name: "inhibitors", State: api.GateOpen}, {Name: "paused", State: api.GateOpen}},
			Drain: &api.DrainStatus{Started: before(since), Total: total, Left: left, Blocked: blocked, BlockedTotal: len(blocked)},
		}))
}

// slot adds slot i of the lock, held by a node or, with "", free.
func (f *fakeAPI) slot(i int, holder string, since time.Duration) *coordinationv1.Lease {
	taken, renewed := metav1.NewMicroTime(before(since)), metav1.NewMicroTime(before(15*time.Second))
	l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: api.SlotName("rebootd", i), Namespace: "rebootd", Annotations: map[string]string{}}}
	if holder == "" {
		l.Annotations[api.ReleasedByAnnotation] = "node-99"
	} else {
		l.Annotations[api.LeaseSchemaAnnotation], l.Annotations[api.HolderUIDAnnotation] = "1", "uid-of-"+holder
		l.Spec = coordinationv1.LeaseSpec{HolderIdentity: &holder, AcquireTime: &taken, RenewTime: &renewed}
	}
	f.setLease(l)
	return l
}
