package cli

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon/api"
)

func init() {
	for name, f := range map[string]func() *fakeAPI{
		"roll":             rolling,
		"blocked":          blocked,
		"halted-overdue":   haltedOverdue,
		"halted-unhealthy": haltedUnhealthy,
		"paused":           pausedForWeeks,
		"windows":          windows,
		"gates":            gates,
		"no-leases":        noLeases,
		"mixed":            mixed,
		"many":             thousands,
	} {
		situations[name] = f
	}
}

// stamp is a time before the moment of the situations, as daemons write it in a sentence.
func stamp(d time.Duration) string { return before(d).Format(time.RFC3339) }

// status is what a daemon writes beside its record; gates are those that are not open.
func statusOf(r *api.Record, reason api.Reason, gates ...api.GateStatus) *api.Status {
	s := &api.Status{V: api.StatusSchema, ID: r.ID, Phase: r.Phase, At: before(20 * time.Second), Reason: reason, Slots: 1}
	for _, name := range []string{"hold", "others-at-work", "inhibitors", "config", "reboot-possible", "policy", "freeze", "window", "paused"} {
		g := api.GateStatus{Name: name, State: api.GateOpen, Soft: name == "window"}
		for _, other := range gates {
			if other.Name == name {
				g = other
			}
		}
		s.Gates = append(s.Gates, g)
	}
	for _, other := range gates {
		if other.Name == "alerts" || other.Name == "approval" || other.Name == "pods" {
			s.Gates = append(s.Gates, other)
		}
	}
	return s
}

// waiting adds a node that a gate keeps from the queue.
func (f *fakeAPI) waiting(name string, since time.Duration, gate api.GateStatus, change ...func(*corev1.Node)) {
	r := recordOf(name, api.PhaseWaiting, since+time.Second, since)
	message := gate.Why
	if !gate.Until.IsZero() {
		message += ", until " + gate.Until.Format(time.RFC3339)
	}
	f.idle(name, append([]func(*corev1.Node){
		has(api.OperationAnnotation, r), says(gate.Reason, message, since), has(api.StatusAnnotation, statusOf(r, gate.Reason, gate)),
	}, change...)...)
}

// underWay adds a node that is in a phase under a slot, cordoned.
func (f *fakeAPI) underWay(name string, phase api.Phase, since time.Duration, reason api.Reason, message string, change ...func(*corev1.Node)) *api.Record {
	r := recordOf(name, phase, since+40*time.Minute, since)
	r.Cordoned = true
	if phase != api.PhaseDraining {
		r.Order = &api.Order{At: before(since), By: "start-1", Try: 1, Accepted: true}
	}
	f.idle(name, append([]func(*corev1.Node){
		has(api.OperationAnnotation, r), says(reason, message, since+40*time.Minute), has(api.StatusAnnotation, statusOf(r, reason)),
		func(n *corev1.Node) { n.Spec.Unschedulable = true },
	}, change...)...)
	return r
}

func notReady(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionUnknown }

// inZone is with the rule that nodes that are down together share a zone.
func inZone(zone string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Labels["topology.kubernetes.io/zone"] = zone
		s, err := api.ParseStatus([]byte(n.Annotations[api.StatusAnnotation]))
		if err != nil {
			return // it has none
		}
		s.Zone, s.Slots = api.ZoneOf("topology.kubernetes.io/zone", n.Labels), 3
		has(api.StatusAnnotation, s)(n)
	}
}

// patched has another kernel since its last reboot.
func patched(n *corev1.Node) {
	n.Status.NodeInfo.KernelVersion = "6.12.63+deb13-amd64"
	has(api.HistoryAnnotation, &api.History{V: api.HistorySchema, Operations: []api.Summary{{
		ID: "20261128T001000.000-" + n.Name, Request: "/run/reboot-needed since 2026-11-28T00:10:00Z", Result: api.ReasonRebootVerified,
		Message:   "rebooted: boot boot-of-" + n.Name + " follows boot-before, the node is healthy",
		Requested: before(80 * time.Minute), Queued: before(80 * time.Minute), Cordoned: before(33 * time.Minute), Drained: before(29 * time.Minute),
		Ordered: before(29 * time.Minute), Back: before(26 * time.Minute), Ended: before(25 * time.Minute),
		Kernel: "6.12.57+deb13-amd64", NewKernel: n.Status.NodeInfo.KernelVersion, Totals: map[api.Outcome]int{api.OutcomeDrained: 12, api.OutcomeSkipped: 4},
	}}})(n)
	n.Status.Conditions[1] = condition("False", api.ReasonRebootVerified, "rebooted: boot boot-of-"+n.Name+" follows boot-before, the node is healthy", 25*time.Minute)
}

// rolling is three nodes of a zone at once: each does something else, two more wait and one
// is done.
func rolling() *fakeAPI {
	f := newFake()
	f.draining("worker-a1", 90*time.Second, 14, 9)
	f.underWay("worker-a2", api.PhaseRebooting, 3*time.Minute, api.ReasonRebooting, "the reboot was ordered", notReady, inZone("eu-1a"))
	f.underWay("worker-a3", api.PhaseVerifying, 50*time.Second, api.ReasonVerifying, "waiting for the node to be healthy", notReady, inZone("eu-1a"), patched, says(api.ReasonVerifying, "waiting for the node to be healthy", 44*time.Minute))
	others := "rebootd-0 is held by worker-a1, Draining since " + stamp(90*time.Second)
	f.queued("worker-b1", 40*time.Minute, others, inZone("eu-1b"))
	f.queued("control-1", 42*time.Minute, others, inZone("eu-1b"), func(n *corev1.Node) { n.Labels[api.ControlPlaneLabel] = "" })
	f.idle("worker-a4", inZone("eu-1a"), patched)
	for i := range 3 {
		f.slot(i, fmt.Sprintf("worker-a%d", i+1), 6*time.Minute)
	}
	f.change("worker-a1", inZone("eu-1a"))
	return f
}

// change changes a node that is there.
func (f *fakeAPI) change(name string, change ...func(*corev1.Node)) {
	n, err := f.Node(context.Background(), name)
	if err != nil {
		panic(err)
	}
	for _, c := range change {
		c(n)
	}
	f.set(n)
}

// blocked is a drain that is blocked three ways: for now, until a person acts, and by a
// pod that does not end.
func blocked() *fakeAPI {
	f := newFake()
	pods := []api.BlockedPod{
		{Namespace: "payments", Name: "ledger-0", Reason: api.PodBudgetNeverAllows, Message: "the budget ledger allows no eviction even though all of its 1 pods are healthy (it needs 1)", Since: before(11 * time.Minute)},
		{Namespace: "db", Name: "pg-main-2", Reason: api.PodUnhealthySiblings, Message: "the budget pg-main needs 2 healthy pods and has 1; not Ready: db/pg-main-0", Since: before(11 * time.Minute)},
		{Namespace: "batch", Name: "export-x7k2p", Reason: api.PodTerminating, Message: "is still terminating; its grace period ended at 01:24:40; finalizers: example.com/flush", Since: before(5*time.Minute + 20*time.Second)},
	}
	f.draining("node-03", 12*time.Minute, 21, 3, pods...)
	f.queued("node-04", 25*time.Minute, "rebootd-0 is held by node-03, Draining since "+stamp(12*time.Minute))
	f.queued("node-05", 24*time.Minute, "rebootd-0 is held by node-03, Draining since "+stamp(12*time.Minute))
	for _, i := range []int{0, 1, 2} {
		f.idle(nodeName(i), patched)
	}
	f.slot(0, "node-03", 12*time.Minute+5*time.Second)
	return f
}

// halted adds a node that has halted, and two that wait behind it.
func (f *fakeAPI) halted(name string, since time.Duration, failure api.Failure, keeps string, change ...func(*corev1.Node)) {
	r := f.underWay(name, api.PhaseHalted, since, failure.Reason, failure.Message+keeps, change...)
	r.Failure = &failure
	f.change(name, has(api.OperationAnnotation, r))
	behind := fmt.Sprintf("rebootd-0 is held by %s, Halted since %s (%s: %s)", name, stamp(since), failure.Reason, failure.Message)
	f.queued("node-08", since+time.Hour, behind)
	f.queued("node-09", since+50*time.Minute, behind)
	f.slot(0, name, since+30*time.Minute)
}

func haltedOverdue() *fakeAPI {
	f := newFake()
	f.idle("node-06")
	f.halted("node-07", 3*time.Hour+10*time.Minute, api.Failure{
		Reason: api.ReasonRebootOverdue, Message: "the reboot was ordered at " + stamp(3*time.Hour+25*time.Minute) + " and the machine is still up after 15m0s; logind has no reboot scheduled or under way; the rollout is halted",
	}, "; this node keeps the slot rebootd-0 until the machine has rebooted: reboot it by hand; to give the operation up: kubectl annotate node node-07 rebootd.dev/abort=REASON")
	return f
}

func haltedUnhealthy() *fakeAPI {
	f := newFake()
	f.idle("node-06", patched)
	f.halted("node-07", 55*time.Minute, api.Failure{
		Reason: api.ReasonUnhealthy, Message: "not healthy within 15m0s: the Node is not Ready: KubeletNotReady: container runtime network not ready: cni plugin not initialized; the rollout is halted",
	}, "; this node keeps the slot rebootd-0 until it is healthy; to give the operation up: kubectl annotate node node-07 rebootd.dev/abort=REASON", notReady,
		func(n *corev1.Node) { n.Status.NodeInfo.KernelVersion = "6.12.63+deb13-amd64" })
	return f
}

// pause adds a pause, with or without an end.
func (f *fakeAPI) pause(why string, until time.Time) {
	l := f.slot(0, "", 0)
	l.Name = api.PauseName("rebootd")
	l.Annotations = map[string]string{api.PausedAnnotation: why}
	if !until.IsZero() {
		l.Annotations[api.PausedUntilAnnotation] = until.Format(time.RFC3339)
	}
	delete(f.leases, api.SlotName("rebootd", 0))
	f.setLease(l)
}

func pausedForWeeks() *fakeAPI {
	f := newFake()
	f.idle("node-00")
	gate := api.GateStatus{Name: "paused", State: api.GateClosed, Reason: api.ReasonPaused, Why: "paused: storage migration (INC-4711)", Until: before(-29 * time.Hour)}
	for i := 1; i < 4; i++ {
		name, since := nodeName(i), 5*time.Hour-time.Duration(i)*time.Minute
		r := recordOf(name, api.PhaseQueued, since+time.Minute, since)
		f.idle(name, has(api.OperationAnnotation, r), has(api.StatusAnnotation, statusOf(r, api.ReasonPaused, gate)),
			says(api.ReasonPaused, gate.Why+", until "+gate.Until.Format(time.RFC3339), since))
	}
	f.pause("storage migration (INC-4711)", gate.Until)
	f.slot(0, "", 0)
	return f
}

// windows is nodes that wait for their windows, which differ, one past its deadline and
// one in a freeze.
func windows() *fakeAPI {
	f := newFake()
	window := api.GateStatus{Name: "window", State: api.GateClosed, Reason: api.ReasonOutsideWindow, Soft: true, Why: "outside the maintenance windows", Until: time.Date(2026, 11, 28, 21, 0, 0, 0, time.UTC)}
	for i := range 4 {
		f.waiting(nodeName(i), 9*time.Hour, window)
	}
	own := window
	own.Until = time.Date(2026, 11, 29, 2, 0, 0, 0, time.UTC)
	f.waiting("node-04", 8*time.Hour, own, has(api.WindowsAnnotation, "Sun 02:00-06:00"))
	f.waiting("till-01", 20*time.Hour, api.GateStatus{
		Name: "freeze", State: api.GateClosed, Reason: api.ReasonFrozen, Why: "a freeze is in force (2026-11-20..2026-12-01 Europe/Berlin)", Until: time.Date(2026, 12, 1, 23, 0, 0, 0, time.UTC),
	})
	f.idle("node-05")
	f.slot(0, "", 0)
	return f
}

// gates is nodes that wait for people and for others.
func gates() *fakeAPI {
	f := newFake()
	closed := func(name string, reason api.Reason, why string) api.GateStatus {
		return api.GateStatus{Name: name, State: api.GateClosed, Reason: reason, Why: why}
	}
	f.waiting("node-00", 26*time.Hour, closed("hold", api.ReasonHeld, "held: disk replacement, ask Ada"), has(api.HoldAnnotation, "disk replacement, ask Ada"))
	f.waiting("node-01", 2*time.Hour, closed("approval", api.ReasonAwaitingApproval, "reboots need approval; to approve this one: kubectl annotate node node-01 rebootd.dev/approval=20261127T232959.000-node-01"))
	f.waiting("node-02", 10*time.Minute, closed("inhibitors", api.ReasonBlocked, "a reboot is inhibited by dpkg (unpacks)"))
	f.waiting("node-03", 4*time.Minute, closed("others-at-work", api.ReasonBlocked, "Cluster API is about to remove the node (annotation cluster.x-k8s.io/delete-machine)"))
	f.queued("node-04", 3*time.Minute, "")
	f.change("node-04", func(n *corev1.Node) {
		r, _ := api.ParseRecord([]byte(n.Annotations[api.OperationAnnotation]))
		has(api.StatusAnnotation, statusOf(r, api.ReasonAlertsFiring, closed("alerts", api.ReasonAlertsFiring, "alerts are firing: KubeAPIErrorBudgetBurn")))(n)
		says(api.ReasonAlertsFiring, "alerts are firing: KubeAPIErrorBudgetBurn; keeping the slot rebootd-0", 3*time.Minute)(n)
	})
	f.waiting("node-06", 9*time.Minute, api.GateStatus{Name: "none", State: api.GateClosed, Reason: api.ReasonDrainTimedOut, Why: "not drained after 30m0s: db/pg-0: the budget pg allows no eviction even though all of its 1 pods are healthy (it needs 1) (BudgetNeverAllows, needs manual action); next try at " + stamp(-7*time.Minute)}, func(n *corev1.Node) {
		r, _ := api.ParseRecord([]byte(n.Annotations[api.OperationAnnotation]))
		r.Attempts, r.NotBefore, r.Failure = 3, before(-7*time.Minute), &api.Failure{Reason: api.ReasonDrainTimedOut, Message: "not drained after 30m0s"}
		s := statusOf(r, api.ReasonDrainTimedOut)
		s.Next = r.NotBefore
		has(api.OperationAnnotation, r)(n)
		has(api.StatusAnnotation, s)(n)
	})
	f.idle("node-05", has(api.HoldAnnotation, "left from the summer"))
	f.slot(0, "node-04", 2*time.Minute)
	return f
}

// noLeases is somebody who may read Nodes and not Leases.
func noLeases() *fakeAPI {
	f := blocked()
	f.denied["Leases"], f.denied["WatchLeases"] = true, true
	return f
}

// mixed is a cluster in which daemons of several versions run, and none on some nodes.
func mixed() *fakeAPI {
	f := newFake()
	for i := range 4 {
		f.idle(nodeName(i))
	}
	version := func(v string) func(*corev1.Node) {
		return has(api.DaemonAnnotation, api.Daemon{Version: v, Settings: "77aa1203"}.String())
	}
	f.idle("old-1", version("v1.1.3"))
	f.idle("old-2", func(n *corev1.Node) { delete(n.Annotations, api.DaemonAnnotation) }) // from before it said so
	f.idle("bare-1", bare)
	f.idle("bare-2", bare)
	// One from before there was a status, in the middle of a drain.
	r := recordOf("old-3", api.PhaseDraining, 40*time.Minute, 8*time.Minute)
	r.Cordoned = true
	f.idle("old-3", version("v1.1.3"), has(api.OperationAnnotation, r), func(n *corev1.Node) { n.Spec.Unschedulable = true },
		says(api.ReasonDrainBlocked, "web/shop-5d9c: the budget shop needs 2 healthy pods and has 2 (BudgetExhausted)", 40*time.Minute))
	f.idle("new-1", version("v1.3.0"), has(api.OperationAnnotation, `{"v":2,"id":"x","stage":"draining"}`), func(n *corev1.Node) {
		n.Status.Conditions[1] = condition("Unknown", api.ReasonRecordTooNew, "the record was written by a newer version of rebootd (schema 2; this version knows 1); no action until this node runs that version, or the annotation rebootd.dev/abort is set, which removes the record", 20*time.Minute)
	})
	f.idle("odd-1", func(n *corev1.Node) {
		n.Status.Conditions[1] = condition("Unknown", api.ReasonBlocked, "the boot ID cannot be read: open /proc/sys/kernel/random/boot_id: permission denied", 2*time.Hour)
	})
	f.slot(0, "old-3", 9*time.Minute)
	f.slot(1, "gone-4", 30*time.Hour)
	return f
}

// bare is a node on which no daemon has ever run.
func bare(n *corev1.Node) {
	delete(n.Annotations, api.DaemonAnnotation)
	n.Status.Conditions = n.Status.Conditions[:1]
}

// thousands is a fleet of 5,000.
func thousands() *fakeAPI {
	f := newFake()
	name := func(i int) string { return fmt.Sprintf("node-%04d", i) }
	f.draining(name(17), 4*time.Minute, 31, 2, api.BlockedPod{
		Namespace: "db", Name: "pg-17-0", Reason: api.PodBudgetExhausted, Message: "the budget pg-17 needs 2 healthy pods and has 2", Since: before(3 * time.Minute),
	})
	for i := range 5000 {
		switch {
		case i == 17:
		case i < 1200:
			f.queued(name(i), 2*time.Hour-time.Duration(i)*time.Second, "rebootd-0 is held by node-0017, Draining since "+stamp(4*time.Minute))
		case i < 1210:
			f.waiting(name(i), time.Hour, api.GateStatus{Name: "inhibitors", State: api.GateClosed, Reason: api.ReasonBlocked, Why: "a reboot is inhibited by dpkg (unpacks)"})
		case i >= 4990:
			f.idle(name(i), bare)
		default:
			f.idle(name(i), patched)
		}
	}
	f.slot(0, name(17), 5*time.Minute)
	return f
}
