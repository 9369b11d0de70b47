package cli

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
)

// whyCase is a cluster, and command lines about it.
type whyCase struct {
	lines []string
	build func(f *fakeAPI)
}

// took is a report by which reboots of the node take as long as that.
func took(drain, reboot time.Duration) func(*corev1.Node) {
	p := &api.Past{Verified: before(9 * 24 * time.Hour)}
	p.Drain.Add(drain)
	p.Reboot.Add(reboot)
	return has(api.ReportAnnotation, &api.Report{V: 1, ID: "before", Past: p})
}

// statusIs changes the status of a node that has one.
func statusIs(change func(*api.Status)) func(*corev1.Node) {
	return func(n *corev1.Node) {
		s, err := api.ParseStatus([]byte(n.Annotations[api.StatusAnnotation]))
		if err != nil {
			panic(err)
		}
		change(s)
		has(api.StatusAnnotation, s)(n)
	}
}

// recordIs changes the record of a node that has one.
func recordIs(change func(*api.Record)) func(*corev1.Node) {
	return func(n *corev1.Node) {
		r, err := api.ParseRecord([]byte(n.Annotations[api.OperationAnnotation]))
		if err != nil {
			panic(err)
		}
		change(r)
		has(api.OperationAnnotation, r)(n)
	}
}

// waits adds a node that waits for closed gates.
func (f *fakeAPI) waits(name string, reason api.Reason, message string, since time.Duration, gates []api.GateStatus, change ...func(*corev1.Node)) {
	r := recordOf(name, api.PhaseWaiting, since+time.Minute, since)
	for _, open := range []string{"hold", "inhibitors", "paused"} {
		gates = append(gates, api.GateStatus{Name: open, State: api.GateOpen})
	}
	f.idle(name, append([]func(*corev1.Node){
		has(api.OperationAnnotation, r), says(reason, message, since),
		has(api.StatusAnnotation, &api.Status{V: api.StatusSchema, ID: r.ID, Phase: r.Phase, At: before(20 * time.Second), Reason: reason, Slots: 1, Gates: gates}),
	}, change...)...)
}

// haltedFor adds a node that has stopped the rollout.
func (f *fakeAPI) haltedFor(name string, reason api.Reason, message string, since time.Duration) {
	r := recordOf(name, api.PhaseHalted, since+time.Hour, since)
	r.Failure, r.Cordoned = &api.Failure{Reason: reason, Message: message}, true
	f.idle(name, has(api.OperationAnnotation, r), says(reason, message+"; the rollout is halted: "+name+" keeps slot rebootd-0", since),
		func(n *corev1.Node) { n.Spec.Unschedulable = true })
}

// pod adds a pod, of an application that has its label.
func (f *fakeAPI) pod(node, namespace, name, app string, change ...func(*corev1.Pod)) {
	p := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID("uid-of-" + name), Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
	for _, c := range change {
		c(&p)
	}
	f.pods = append(f.pods, p)
}

func ownedBy(kind, version, name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		yes := true
		p.OwnerReferences = []metav1.OwnerReference{{Kind: kind, APIVersion: version, Name: name, UID: "o", Controller: &yes}}
	}
}

func (f *fakeAPI) budget(namespace, app string, expected, desired, healthy int32) {
	f.budgets = append(f.budgets, policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: app},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
		Status:     policyv1.PodDisruptionBudgetStatus{ExpectedPods: expected, DesiredHealthy: desired, CurrentHealthy: healthy, DisruptionsAllowed: max(0, healthy-desired)},
	})
}

// daemonPods are pods that every node has and no drain moves.
func (f *fakeAPI) daemonPods(node string) {
	f.pod(node, "rebootd", "rebootd-"+node, "rebootd", ownedBy("DaemonSet", "apps/v1", "rebootd"))
	f.pod(node, "kube-system", "proxy-"+node, "proxy", ownedBy("DaemonSet", "apps/v1", "kube-proxy"))
	f.pod(node, "kube-system", "etcd-"+node, "etcd", func(p *corev1.Pod) { p.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "x"} })
}

func (f *fakeAPI) pauseLease(why, until string) {
	a := map[string]string{api.PausedAnnotation: why}
	if until != "" {
		a[api.PausedUntilAnnotation] = until
	}
	f.setLease(&coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: api.PauseName("rebootd"), Annotations: a}})
}

const berlin = "Mon-Fri 22:00-04:00 Europe/Berlin"

var blockedPods = []api.BlockedPod{
	{Namespace: "db", Name: "db-0", Reason: api.PodBudgetExhausted, Message: "the budget db needs 2 healthy pods and has 2", Since: before(9 * time.Minute)},
	{Namespace: "shop", Name: "web-0", Reason: api.PodBudgetNeverAllows, Message: "the budget web allows no eviction even though all of its 1 pods are healthy (it needs 1)", Since: before(9 * time.Minute)},
	{Namespace: "vm", Name: "virt-launcher-a", Reason: api.PodWebhookDenied, Message: `admission webhook "virt-api" denied the request: VMI a is not live-migratable`, Since: before(8 * time.Minute)},
}

var whyCases = map[string]whyCase{
	"idle": {
		[]string{"why node-01", "why node-1", "why web", "plan", "slots", "preflight node-01", "preflight nod-01"},
		func(f *fakeAPI) {
			for i := range 3 {
				f.idle(nodeName(i))
			}
			last := api.Summary{ID: "x", Result: api.ReasonRebootVerified, Message: "the machine has rebooted, and the node is healthy", Cordoned: before(99 * time.Hour), Ordered: before(98 * time.Hour), Ended: before(97 * time.Hour)}
			f.idle("node-01", has(api.HistoryAnnotation, &api.History{V: 1, Operations: []api.Summary{last}}),
				has(api.ServedAnnotation, &api.Served{V: 1, BootID: "b", Files: []api.ServedFile{{SentinelFile: api.SentinelFile{Path: "/run/reboot-needed"}, Because: "the machine has rebooted since"}}}))
		},
	},
	"queue": {
		[]string{"why node-17", "why node-00", "plan", "plan -l kubernetes.io/hostname=node-03 -o yaml", "slots", "why node-02 -o json", "slots -o yaml"},
		func(f *fakeAPI) {
			f.draining("node-00", 4*time.Minute, 5, 2)
			f.nodes["node-00"].Annotations[api.ReportAnnotation] = f.idle("x", took(8*time.Minute, 4*time.Minute)).Annotations[api.ReportAnnotation]
			delete(f.nodes, "x")
			f.daemonPods("node-00")
			f.pod("node-00", "shop", "web-5", "web")
			f.pod("node-00", "shop", "web-6", "web", func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: at.Add(20 * time.Second)} })
			for i := 1; i < 20; i++ {
				f.queued(nodeName(i), 2*time.Hour-time.Duration(i)*time.Minute, "rebootd-0 is held by node-00, Draining since 2026-11-28T01:26:00Z")
			}
			f.slot(0, "node-00", 5*time.Minute)
		},
	},
	"gates": {
		[]string{"why node-01", "why node-02", "why node-03", "plan", "slots"},
		func(f *fakeAPI) {
			f.idle("node-00", took(8*time.Minute, 4*time.Minute))
			window := api.GateStatus{Name: "window", State: api.GateClosed, Reason: api.ReasonOutsideWindow, Why: "outside the maintenance windows", Until: at.Add(67*time.Hour + 34*time.Minute), Soft: true}
			approval := api.GateStatus{Name: "approval", State: api.GateClosed, Reason: api.ReasonAwaitingApproval, Why: "nobody has approved the reboot: kubectl annotate node node-01 rebootd.dev/approval=20261127T2230", Soft: true}
			alerts := api.GateStatus{Name: "alerts", State: api.GateUnknown, Soft: true}
			f.waits("node-01", api.ReasonOutsideWindow, "outside the maintenance windows until 2026-11-30T21:04:00Z; AwaitingApproval: nobody has approved the reboot", 3*time.Hour,
				[]api.GateStatus{window, approval, alerts}, statusIs(func(s *api.Status) { s.Windows = []string{berlin} }))
			f.waits("node-02", api.ReasonOutsideWindow, "outside the maintenance windows until 2026-11-30T21:04:00Z", 3*time.Hour, []api.GateStatus{window},
				statusIs(func(s *api.Status) { s.Windows = []string{berlin} }), recordIs(func(r *api.Record) { r.Deadline = at.Add(5 * time.Hour) }))
			inhibitor := api.GateStatus{Name: "inhibitors", State: api.GateClosed, Reason: api.ReasonBlocked, Why: "apt (pid 811): unattended-upgrades"}
			f.waits("node-03", api.ReasonBlocked, "a block inhibitor forbids the shutdown: apt (pid 811): unattended-upgrades; the deadline of 2026-11-28T00:30:00Z has passed, so these are not waited for: OutsideWindow", 3*time.Hour,
				[]api.GateStatus{inhibitor, window, {Name: "alerts", State: api.GateOpen, Soft: true}}, recordIs(func(r *api.Record) { r.Deadline = at.Add(-time.Hour) }))
		},
	},
	"two-nights": {
		[]string{"plan", "why node-05"},
		func(f *fakeAPI) {
			for i := 1; i < 7; i++ {
				f.queued(nodeName(i), 3*time.Hour-time.Duration(i)*time.Minute, "nobody holds a slot", took(20*time.Minute, 8*time.Minute), statusIs(func(s *api.Status) { s.Windows = []string{berlin} }))
			}
			f.slot(0, "", 0)
		},
	},
	"drain-blocked": {
		[]string{"why node-00", "why node-01", "plan", "preflight node-00"},
		func(f *fakeAPI) {
			f.draining("node-00", 10*time.Minute, 12, 5, blockedPods...)
			f.daemonPods("node-00")
			f.pod("node-00", "db", "db-0", "db")
			f.pod("node-00", "shop", "web-0", "web")
			f.pod("node-00", "vm", "virt-launcher-a", "vm")
			f.pod("node-00", "shop", "batch-x", "batch", func(p *corev1.Pod) { p.Annotations = map[string]string{api.PodDrainAnnotation: api.PodDrainWait} })
			f.pod("node-00", "shop", "cache-0", "cache")
			f.budget("db", "db", 3, 2, 2)
			f.budget("shop", "web", 1, 1, 1)
			f.evict["vm/virt-launcher-a"] = denied("virt-launcher-a", "VMI a is not live-migratable")
			f.evict["shop/web-0"], f.evict["db/db-0"] = exhausted("web", 1, 1), exhausted("db", 2, 2)
			f.queued("node-01", time.Hour, "rebootd-0 is held by node-00, Draining since 2026-11-28T01:20:00Z")
			f.slot(0, "node-00", 11*time.Minute)
		},
	},
	"drain-timed-out": {
		[]string{"why node-00"},
		func(f *fakeAPI) {
			f.waits("node-00", api.ReasonDrainTimedOut, "the drain has run for 30m0s, and shop/web-0 is left; retrying at 2026-11-28T01:50:00Z", 10*time.Minute, nil, recordIs(func(r *api.Record) {
				r.Attempts, r.NotBefore = 2, at.Add(20*time.Minute)
				r.Failure = &api.Failure{Reason: api.ReasonDrainTimedOut, Message: "the drain has run for 30m0s"}
			}), func(n *corev1.Node) {
				r, _ := api.ParseRecord([]byte(n.Annotations[api.OperationAnnotation]))
				has(api.ReportAnnotation, &api.Report{V: 1, ID: r.ID, Started: before(40 * time.Minute), Totals: map[api.Outcome]int{api.OutcomeFailed: 1}, Pods: []api.PodReport{
					{Namespace: "shop", Name: "web-0", UID: "u", Outcome: api.OutcomeFailed, Reason: api.PodBudgetNeverAllows, Message: "the budget web allows no eviction even though all of its 1 pods are healthy (it needs 1)"},
					{Namespace: "shop", Name: "web-1", UID: "u", Outcome: api.OutcomeDrained},
				}})(n)
			})
		},
	},
	"halted": {
		[]string{"why node-03", "why node-04", "plan", "slots"},
		func(f *fakeAPI) {
			f.haltedFor("node-03", api.ReasonUnhealthy, "the node is not healthy since 2026-11-28T00:15:00Z: the kubelet is not ready: PLEG is not healthy", 75*time.Minute)
			for i := 4; i < 9; i++ {
				f.queued(nodeName(i), 2*time.Hour, "rebootd-0 is held by node-03, which has halted")
			}
			f.slot(0, "node-03", 2*time.Hour)
		},
	},
	"halted-overdue": {
		[]string{"why node-03", "slots"},
		func(f *fakeAPI) {
			f.haltedFor("node-03", api.ReasonRebootOverdue, "the reboot was ordered at 2026-11-28T00:00:00Z, and the machine is still up", 75*time.Minute)
			f.slot(0, "node-03", 2*time.Hour)
		},
	},
	"unreadable-in-a-pool": {
		[]string{"why node-00"},
		func(f *fakeAPI) {
			f.idle("node-00", has(api.OperationAnnotation, `{"v":1}`), says(api.ReasonRecordInvalid, "the record has no id; no action", time.Hour))
			l := f.slot(0, "node-00", 2*time.Hour)
			delete(f.leases, l.Name)
			l.Name = api.SlotName("pool-b", 0)
			f.setLease(l)
		},
	},
	"paused": {
		[]string{"why node-01", "plan", "slots", "slots -o json"},
		func(f *fakeAPI) {
			f.queued("node-01", time.Hour, "paused", took(20*time.Minute, 8*time.Minute), says(api.ReasonPaused, "the lock rebootd is paused: incident 4711", time.Hour), statusIs(func(s *api.Status) {
				s.Reason = api.ReasonPaused
				s.Gates[2] = api.GateStatus{Name: "paused", State: api.GateClosed, Reason: api.ReasonPaused, Why: "incident 4711"}
			}))
			f.pauseLease("incident 4711", "2026-11-28T06:00:00Z")
		},
	},
	"paused-for-good": {
		[]string{"why node-01", "plan", "slots"},
		func(f *fakeAPI) {
			f.queued("node-01", time.Hour, "paused", took(20*time.Minute, 8*time.Minute))
			f.pauseLease("incident 4711", "on Monday")
		},
	},
	"no-rights": {
		[]string{"why node-00", "why node-02", "plan", "slots", "preflight node-00"},
		func(f *fakeAPI) {
			f.draining("node-00", 4*time.Minute, 12, 5, blockedPods[0])
			f.queued("node-02", time.Hour, "rebootd-0 is held by node-00, Draining since 2026-11-28T01:26:00Z")
			f.denied["Leases"], f.denied["PodsOn"] = true, true
		},
	},
	"no-rights-halted": {
		[]string{"why node-02", "plan"},
		func(f *fakeAPI) {
			f.haltedFor("node-00", api.ReasonUnhealthy, "the node is not healthy", 75*time.Minute)
			f.queued("node-02", time.Hour, "rebootd-0 is held by node-00, which has halted")
			f.denied["Leases"] = true
		},
	},
	"odd-nodes": {
		[]string{"why node-00", "why node-01", "why node-02", "why node-03", "why node-04", "plan", "slots"},
		func(f *fakeAPI) {
			f.idle("node-00", func(n *corev1.Node) {
				n.Annotations, n.Status.Conditions = map[string]string{}, n.Status.Conditions[:1]
			}) // no daemon
			f.idle("node-01", has(api.OperationAnnotation, `{"v":99}`), says(api.ReasonRecordTooNew, "the record was written by a newer version of rebootd (schema 99; this version knows 1); no action", time.Hour))
			f.queued("node-02", time.Hour, "rebootd-0 is free", func(n *corev1.Node) { delete(n.Annotations, api.StatusAnnotation) }) // an older daemon
			f.idle("node-03", says(api.ReasonHeld, "the annotation rebootd.dev/hold: disk is being replaced", time.Hour), has(api.HoldAnnotation, "disk is being\x1b[31m replaced"))
			f.idle("node-04", func(n *corev1.Node) {
				n.Status.Conditions[1] = condition("Unknown", api.ReasonAPIUnreachable, "the daemon has not said anything", time.Hour)
			})
			f.slot(0, "node-01", 3*time.Hour)
			f.slot(1, "gone", 3*time.Hour)
		},
	},
	"zones": {
		[]string{"slots", "plan", "slots -o json"},
		func(f *fakeAPI) {
			zone := func(z string) func(*corev1.Node) {
				return statusIs(func(s *api.Status) { s.Slots, s.Zone = 3, "zone="+z })
			}
			f.draining("node-00", 4*time.Minute, 12, 5)
			zone("eu-1a")(f.nodes["node-00"])
			took(8*time.Minute, 4*time.Minute)(f.nodes["node-00"])
			f.queued("node-01", 2*time.Hour, "", zone("eu-1b"))
			f.queued("node-02", time.Hour+30*time.Minute, "", zone("eu-1a"))
			f.slot(0, "node-00", 5*time.Minute)
			f.slot(1, "", 0).Annotations[api.NextAnnotation] = "node-02"
			l := f.slot(9, "zone=eu-1a", 5*time.Minute)
			delete(f.leases, l.Name)
			l.Name = api.ZoneName("rebootd")
			f.setLease(l)
		},
	},
	"two-locks": {
		[]string{"slots", "why node-01", "why node-05", "plan"},
		func(f *fakeAPI) {
			took := took(8*time.Minute, 4*time.Minute)
			f.queued("node-01", time.Hour, "", took)
			f.slot(0, "node-02", time.Hour)
			f.idle("node-02")
			f.slot(1, "node-03", 2*time.Hour) // from when there were two
			f.idle("node-03")
			b := recordIs(func(r *api.Record) { r.Lock = "pool-b" })
			f.queued("node-04", time.Hour, "", b, took)
			f.queued("node-05", 2*time.Hour, "", b, took)
			l := f.slot(0, "", 0)
			delete(f.leases, l.Name)
			l.Name = api.SlotName("pool-b", 0)
			f.setLease(l)
			f.slot(0, "node-02", time.Hour)
			f.pauseLease("incident 4711", "2026-11-28T01:00:00Z") // is over
			p := f.leases[api.PauseName("rebootd")].DeepCopy()
			p.Name, p.Annotations = api.PauseName("pool-b"), map[string]string{api.PausedAnnotation: "new kernel", api.PausedUntilAnnotation: "2026-11-28T02:00:00Z"}
			f.setLease(p)
			c := p.DeepCopy()
			c.Name, c.Annotations, c.Spec.HolderIdentity = api.ControlPlaneName("rebootd"), nil, l.Spec.HolderIdentity
			holder := "node-02"
			c.Spec.HolderIdentity = &holder
			f.setLease(c)
		},
	},
	"going-back": {
		[]string{"why node-00", "why node-01", "why node-02", "why node-03", "plan"},
		func(f *fakeAPI) {
			f.draining("node-00", 4*time.Minute, 5, 2)
			recordIs(func(r *api.Record) {
				r.Undo = &api.Undo{Since: r.Since, Reason: api.ReasonHeld, Message: "the annotation rebootd.dev/hold is on the Node"}
			})(f.nodes["node-00"])
			order := func(ready corev1.ConditionStatus, phase api.Phase) func(*corev1.Node) {
				return func(n *corev1.Node) {
					n.Status.Conditions[0].Status = ready
					r := recordOf(n.Name, phase, time.Hour, 3*time.Minute)
					r.Order = &api.Order{At: before(2 * time.Minute)}
					has(api.OperationAnnotation, r)(n)
				}
			}
			f.idle("node-01", says(api.ReasonRebooting, "the reboot was ordered", 3*time.Minute), order("True", api.PhaseRebooting), took(8*time.Minute, 6*time.Minute))
			f.idle("node-02", says(api.ReasonRebooting, "the reboot was ordered", 3*time.Minute), order("Unknown", api.PhaseRebooting), took(8*time.Minute, 6*time.Minute))
			f.idle("node-03", says(api.ReasonVerifying, "waiting for the node to be healthy", 3*time.Minute), order("False", api.PhaseVerifying))
		},
	},
	"drain-blocked-pods-come-and-go": {
		[]string{"why node-00"},
		func(f *fakeAPI) { // db-0 is gone meanwhile, web-0 is being deleted
			f.draining("node-00", 10*time.Minute, 12, 5, blockedPods...)
			f.pod("node-00", "shop", "web-0", "web", func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: at.Add(20 * time.Second)} })
			f.pod("node-00", "vm", "virt-launcher-a", "vm")
			f.slot(0, "node-00", 11*time.Minute)
			recordIs(func(r *api.Record) { r.Deadline = at.Add(time.Hour) })(f.nodes["node-00"])
		},
	},
	"not-by-its-drain": { // whose pods have nothing to do with why they wait, and the daemon's own word of the next try
		[]string{"why node-00", "why node-01"},
		func(f *fakeAPI) {
			pods := []api.PodReport{{Namespace: "shop", Name: "web-0", UID: "u", Outcome: api.OutcomeFailed, Reason: api.PodBudgetNeverAllows}}
			hook := api.Failure{Reason: api.ReasonHookFailed, Message: "pre-drain.d/10-backup failed: exit status 1"}
			add := func(name, id string, failure api.Failure) {
				f.waits(name, failure.Reason, failure.Message+"; retrying at 2026-11-28T01:40:00Z", 10*time.Minute, nil,
					recordIs(func(r *api.Record) { r.Attempts, r.NotBefore, r.Failure = 1, at.Add(20*time.Minute), &failure }),
					statusIs(func(s *api.Status) { s.Next = at.Add(10 * time.Minute) }),
					has(api.ReportAnnotation, &api.Report{V: 1, ID: id, Started: before(40 * time.Minute), Totals: map[api.Outcome]int{api.OutcomeFailed: 1}, Pods: pods}))
			}
			add("node-00", recordOf("node-00", api.PhaseWaiting, 11*time.Minute, 0).ID, hook)
			add("node-01", "an earlier one", api.Failure{Reason: api.ReasonDrainTimedOut, Message: "the drain could not begin for 30m0s"})
		},
	},
	"the-first-ever": {
		[]string{"why node-00", "why node-01", "plan"},
		func(f *fakeAPI) {
			f.draining("node-00", 4*time.Minute, 12, 5)
			f.queued("node-01", time.Hour, "rebootd-0 is held by node-00, Draining since 2026-11-28T01:26:00Z")
			f.slot(0, "node-00", 5*time.Minute)
		},
	},
	"preflight": {
		[]string{"preflight node-00", "preflight node-01 node-02", "preflight node-02 -o json"},
		func(f *fakeAPI) {
			for i := range 3 {
				f.idle(nodeName(i))
				f.daemonPods(nodeName(i))
				f.pod(nodeName(i), "shop", fmt.Sprint("free-", i), "free")
			}
			f.pod("node-01", "shop", "web-0", "web")
			f.pod("node-01", "shop", "two-0", "two")
			f.pod("node-01", "db", "pg-0", "pg", ownedBy("Cluster", "postgresql.cnpg.io/v1", "pg"))
			f.pod("node-02", "shop", "sick-0", "sick")
			f.pod("node-02", "shop", "done-0", "done", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
			f.budget("shop", "web", 1, 1, 1)
			f.budget("shop", "two", 3, 2, 3)
			f.budgets = append(f.budgets, *f.budgets[1].DeepCopy())
			f.budgets[2].Name = "also-two"
			f.budget("db", "pg", 1, 1, 1)
			f.pod("node-01", "db", "ha-0", "ha", ownedBy("Cluster", "postgresql.cnpg.io/v1", "ha"))
			f.budget("db", "ha", 3, 2, 1)
			f.evict["db/ha-0"] = exhausted("ha", 2, 1)
			f.budget("shop", "sick", 3, 2, 1)
			f.evict["shop/web-0"], f.evict["db/pg-0"], f.evict["shop/sick-0"] = exhausted("web", 1, 1), exhausted("pg", 1, 1), exhausted("sick", 2, 1)
			f.evict["shop/two-0"] = apierrors.NewInternalError(fmt.Errorf("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support"))
		},
	},
	"preflight-without-rights": {
		[]string{"preflight node-00"},
		func(f *fakeAPI) {
			f.idle("node-00")
			f.pod("node-00", "shop", "web-0", "web")
			f.pod("node-00", "shop", "free-0", "free")
			f.budget("shop", "web", 1, 1, 1)
			f.denied["create pods"], f.denied["Rehearse"] = true, true
		},
	},
}

// denied and exhausted are refusals of an eviction as the API server answers them.
func denied(pod, words string) error {
	return apierrors.NewForbidden(corev1.Resource("pods"), pod, fmt.Errorf("admission webhook %q denied the request: %s", "virt-api", words))
}

func exhausted(budget string, needs, has int) error {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type: policyv1.DisruptionBudgetCause, Message: fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", budget, needs, has),
	}}
	return err
}

// TestWhyGolden has why, plan, preflight and slots explain situations that people know.
// Read testdata/why: go test ./cmd/kubectl-rebootd/cli -run WhyGolden -rewrite.
func TestWhyGolden(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(whyCases)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // a rehearsal asks twice, with a pause
				var parts []string
				for _, line := range whyCases[name].lines {
					f := newFake()
					whyCases[name].build(f)
					parts = append(parts, transcript(f, line))
				}
				golden(t, filepath.Join("why", name+".txt"), strings.Join(parts, "\n"))
			})
		})
	}
}

// A rehearsal that was not answered in time proves nothing, and each pod is asked about by
// its UID: one of the same name that came after it is another.
func TestPreflightAsks(t *testing.T) {
	f := newFake()
	whyCases["preflight"].build(f)
	if r := runIn(f, []string{"preflight", "node-00", "--timeout", "1ns"}); r.status != exitFailed || r.out != "" || !strings.Contains(r.err, "ask whether the pods of node-00 could be evicted: context deadline exceeded") {
		t.Errorf("%+v", r)
	}
	asked := map[string]types.UID{}
	if _, err := preflightNode(t.Context(), &asks{f, asked}, "node-00"); err != nil || !maps.Equal(asked, map[string]types.UID{"shop/free-0": "uid-of-free-0"}) {
		t.Errorf("%v, %v", asked, err)
	}
}

// asks notes of which pods the eviction is asked for.
type asks struct {
	*fakeAPI
	asked map[string]types.UID
}

func (a *asks) Rehearse(_ context.Context, p *corev1.Pod) error {
	a.asked[p.Namespace+"/"+p.Name] = p.UID
	return nil
}

// In every situation each command has an answer for the first nodes, and nothing that it
// prints moves a terminal.
func TestWhyInEverySituation(t *testing.T) {
	for name, build := range situations {
		f := build()
		var nodes []string
		for _, n := range slices.Sorted(maps.Keys(f.nodes)) {
			if nodes = append(nodes, n); len(nodes) == 3 || len(f.nodes) > 1000 {
				break
			}
		}
		lines := [][]string{{"plan"}, {"slots"}}
		for _, n := range nodes {
			lines = append(lines, []string{"why", n}, []string{"preflight", n})
		}
		synctest.Test(t, func(t *testing.T) {
			for _, line := range lines {
				r := runIn(f, line)
				if r.out == "" && r.err == "" || strings.ContainsAny(r.out+r.err, "\x1b\r\x00") || strings.Contains(r.out, "%!") {
					t.Errorf("%s: %q: %+v", name, line, r)
				}
				if r.status != exitOK && len(f.denied) == 0 {
					t.Errorf("%s: %q: %s", name, line, r.err)
				}
			}
		})
	}
}
