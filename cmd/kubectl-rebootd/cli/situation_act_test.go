package cli

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon/api"
)

// acting is a cluster with a node in each state that matters to whoever writes.
func acting() *fakeAPI {
	f := newFake()
	in := func(name string, phase api.Phase, since time.Duration, reason api.Reason, message string, change ...func(*api.Record)) *corev1.Node {
		r := recordOf(name, phase, since+time.Hour, since)
		r.Files = []api.SentinelFile{{Path: "/run/reboot-needed"}}
		for _, c := range change {
			c(r)
		}
		return f.idle(name, has(api.OperationAnnotation, r), says(reason, message, since))
	}
	annotated := func(r *api.Record) {
		r.Files, r.Annotated, r.Request = nil, true, "annotation "+api.RequestAnnotation
	}
	cordoned := func(r *api.Record) { r.Cordoned = true }
	ordered := func(r *api.Record) {
		r.Cordoned, r.Order = true, &api.Order{At: before(2 * time.Minute), By: "x", Try: 1, Accepted: true}
	}
	set := func(n *corev1.Node, annotation, value string) {
		n = n.DeepCopy()
		n.Annotations[annotation] = value
		f.set(n)
	}
	f.idle("idle")
	f.idle("idle-held", has(api.HoldAnnotation, "disk replacement, call Ada"))
	set(in("asked", api.PhaseQueued, 10*time.Minute, api.ReasonQueued, "waiting for a slot; rebootd-0 is held by halted, Halted since 2026-11-28T01:00:00Z", annotated), api.RequestAnnotation, "reboot")
	set(in("asked-twice", api.PhaseQueued, 9*time.Minute, api.ReasonQueued, "waiting for a slot", func(r *api.Record) { r.Annotated = true }), api.RequestAnnotation, "reboot")
	in("sentinel", api.PhaseQueued, 8*time.Minute, api.ReasonQueued, "waiting for a slot")
	set(in("waits-held", api.PhaseWaiting, 7*time.Minute, api.ReasonHeld, "held: memory test"), api.HoldAnnotation, "memory test")
	in("drains", api.PhaseDraining, 6*time.Minute, api.ReasonDraining, "draining: 3 of 12 pods have left", cordoned)
	in("ordered", api.PhaseRebooting, 2*time.Minute, api.ReasonRebooting, "the reboot was ordered at 2026-11-28T01:28:00Z", ordered)
	in("verifies", api.PhaseVerifying, time.Minute, api.ReasonVerifying, "rebooted; the node is not Ready", ordered)
	halted := in("halted", api.PhaseHalted, 30*time.Minute, api.ReasonUnhealthy, "the node is not Ready after --health-timeout; it keeps rebootd-0", ordered, func(r *api.Record) {
		r.Failure = &api.Failure{Reason: api.ReasonUnhealthy, Message: "the node is not Ready"}
	})
	halted.Status.Conditions[0].Status = corev1.ConditionFalse
	halted.Labels[api.ControlPlaneLabel] = ""
	f.set(halted)
	approval := in("approval", api.PhaseWaiting, 5*time.Minute, api.ReasonAwaitingApproval, "this reboot needs approval")
	has(api.StatusAnnotation, &api.Status{
		V: 1, ID: recordOf("approval", api.PhaseWaiting, 5*time.Minute+time.Hour, 5*time.Minute).ID, Phase: api.PhaseWaiting, Reason: api.ReasonAwaitingApproval,
		Gates: []api.GateStatus{{Name: "approval", State: api.GateClosed}},
	})(approval)
	f.set(approval)
	f.idle("unreadable", has(api.OperationAnnotation, `{"v":9}`), says(api.ReasonRecordTooNew, "the record was written by a newer version of rebootd", time.Hour))
	f.idle("no-daemon", func(n *corev1.Node) {
		delete(n.Annotations, api.DaemonAnnotation)
		n.Status.Conditions = n.Status.Conditions[:1]
	})
	f.idle("maintained", func(n *corev1.Node) {
		n.Annotations["weave.works/kured-reboot-in-progress"] = "2026-11-27T20:00:00Z"
	})
	f.slot(0, "halted", 40*time.Minute)
	return f
}

// paused is that with a pause on the Lease that is for it, and one on a slot from before.
func paused() *fakeAPI {
	f := acting()
	l := f.leases["rebootd-0"].DeepCopy()
	l.Annotations[api.PausedAnnotation] = "incident 4711"
	f.setLease(l)
	p := f.leases["rebootd-0"].DeepCopy()
	p.Name, p.UID, p.Spec.HolderIdentity, p.Spec.AcquireTime, p.Spec.RenewTime = api.PauseName("rebootd"), "uid-of-pause", nil, nil, nil
	p.Annotations = map[string]string{api.PausedAnnotation: "Black Friday", api.PausedUntilAnnotation: "2026-11-30T06:00:00Z"}
	f.setLease(p)
	return f
}

// forbidden is that without the right to write.
func forbidden() *fakeAPI {
	f := acting()
	f.denied = map[string]bool{"PatchNode": true, "PatchLease": true, "CreateLease": true, "Leases": true}
	return f
}
