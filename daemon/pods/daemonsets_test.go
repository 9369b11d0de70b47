package pods

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

// booted is the view of a node that has booted a minute ago, which its kubelet has
// reported; its reboot had been ordered two minutes ago.
func booted() gate.View {
	now := time.Now()
	return gate.View{
		Now: now, Uptime: time.Minute, BootID: "b", Node: gate.Node{Name: "n", BootID: "b"},
		Record: &api.Record{Phase: api.PhaseVerifying, Order: &api.Order{At: now.Add(-2 * time.Minute)}},
	}
}

// ofDaemonSet is a pod of a DaemonSet whose container is in a state; since is when it was
// started, as seen from now.
func ofDaemonSet(set, name string, ready bool, since time.Duration) corev1.Pod {
	controller, now := true, time.Now()
	p := pod(name, func(p *corev1.Pod) {
		p.Namespace, p.CreationTimestamp = "kube-system", metav1.NewTime(now.Add(-time.Hour))
		p.OwnerReferences = []metav1.OwnerReference{{Kind: "DaemonSet", Name: set, UID: types.UID(set), Controller: &controller}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}, {Type: corev1.PodReady, Status: corev1.ConditionFalse}}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "agent", Ready: ready, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(now.Add(since))}}}}
	})
	if ready {
		p.Status.Conditions[1].Status = corev1.ConditionTrue
	}
	return p
}

func waits(p corev1.Pod, reason string) corev1.Pod {
	p.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: "back-off 20s"}}
	return p
}

const justNow = -time.Second

// What counts, and why: each DaemonSet has to have a pod that is Ready, and was started
// since the boot.
func TestWhoIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour)
		crashes := func() corev1.Pod { return waits(ofDaemonSet("cni", "cni-1", false, 0), "CrashLoopBackOff") }
		change := func(p corev1.Pod, f func(*corev1.Pod)) corev1.Pod { f(&p); return p }
		for name, tc := range map[string]struct {
			pods  []corev1.Pod
			which string
			why   string
		}{
			"no pods": {nil, "", ""},
			"ready":   {[]corev1.Pod{ofDaemonSet("cni", "cni-1", true, justNow)}, "", ""},
			"not yet": {[]corev1.Pod{ofDaemonSet("cni", "cni-1", false, justNow)}, "", "1 DaemonSet pod is not Ready: kube-system/cni-1 (the container agent is not Ready)"},
			"crashes": {[]corev1.Pod{crashes()}, "", "1 DaemonSet pod is not Ready: kube-system/cni-1 (CrashLoopBackOff in the container agent)"},
			"has crashed": {[]corev1.Pod{change(crashes(), func(p *corev1.Pod) {
				p.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "OOMKilled"}}
			})}, "", "1 DaemonSet pod is not Ready: kube-system/cni-1 (OOMKilled in the container agent)"},
			"init crashes": {[]corev1.Pod{change(waits(crashes(), "PodInitializing"), func(p *corev1.Pod) {
				p.Status.InitContainerStatuses = waits(ofDaemonSet("x", "x", false, 0), "ErrImagePull").Status.ContainerStatuses
			})}, "", "1 DaemonSet pod is not Ready: kube-system/cni-1 (ErrImagePull in the container agent)"},
			"init is over": {[]corev1.Pod{change(crashes(), func(p *corev1.Pod) {
				p.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "init", State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed"}}}}
			})}, "", "1 DaemonSet pod is not Ready: kube-system/cni-1 (CrashLoopBackOff in the container agent)"},
			"nothing yet":             {[]corev1.Pod{change(crashes(), func(p *corev1.Pod) { p.Status = corev1.PodStatus{Phase: corev1.PodPending} })}, "", "1 DaemonSet pod is not Ready: kube-system/cni-1 (Pending)"},
			"failed":                  {[]corev1.Pod{change(crashes(), func(p *corev1.Pod) { p.Status.Phase, p.Status.Reason = corev1.PodFailed, "NodeAffinity" })}, "", "1 DaemonSet pod is not Ready: kube-system/cni-1 (NodeAffinity)"},
			"as before":               {[]corev1.Pod{ofDaemonSet("cni", "cni-1", true, -time.Hour)}, "", "1 DaemonSet pod is not Ready: kube-system/cni-1 (not started since the boot)"},
			"since the order":         {[]corev1.Pod{ofDaemonSet("cni", "cni-1", true, -90*time.Second)}, "", "1 DaemonSet pod is not Ready: kube-system/cni-1 (not started since the boot)"},
			"with the boot":           {[]corev1.Pod{ofDaemonSet("cni", "cni-1", true, -time.Minute)}, "", ""},
			"of a Deployment":         {[]corev1.Pod{change(crashes(), func(p *corev1.Pod) { p.OwnerReferences[0].Kind = "ReplicaSet" })}, "", ""},
			"of nobody":               {[]corev1.Pod{change(crashes(), func(p *corev1.Pod) { p.OwnerReferences = nil })}, "", ""},
			"not its controller":      {[]corev1.Pod{change(crashes(), func(p *corev1.Pod) { p.OwnerReferences[0].Controller = nil })}, "", ""},
			"being deleted":           {[]corev1.Pod{change(crashes(), func(p *corev1.Pod) { now := metav1.Now(); p.DeletionTimestamp = &now })}, "", ""},
			"elsewhere":               {[]corev1.Pod{change(crashes(), func(p *corev1.Pod) { p.Spec.NodeName = "m" })}, "", ""},
			"replaced":                {[]corev1.Pod{crashes(), ofDaemonSet("cni", "cni-2", true, justNow)}, "", ""},
			"its replacement crashes": {[]corev1.Pod{ofDaemonSet("cni", "cni-0", true, justNow), crashes()}, "", ""},
			"both":                    {[]corev1.Pod{change(crashes(), func(p *corev1.Pod) { p.Name, p.UID = "cni-0", "0"; p.CreationTimestamp = metav1.Now() }), crashes()}, "", "1 DaemonSet pod is not Ready: kube-system/cni-0 (CrashLoopBackOff in the container agent)"},
			"several": {[]corev1.Pod{
				crashes(), waits(ofDaemonSet("d", "d-1", false, 0), "ImagePullBackOff"), ofDaemonSet("c", "c-1", true, justNow), waits(ofDaemonSet("b", "b-1", false, 0), "X"), waits(ofDaemonSet("a", "a-1", false, 0), "X"),
			}, "", "4 DaemonSet pods are not Ready: kube-system/a-1 (X in the container agent), kube-system/b-1 (X in the container agent), kube-system/cni-1 (CrashLoopBackOff in the container agent), …"},
			"selected":     {[]corev1.Pod{crashes()}, "app=training", "1 DaemonSet pod is not Ready: kube-system/cni-1 (CrashLoopBackOff in the container agent)"},
			"not selected": {[]corev1.Pod{crashes()}, "app!=training", ""},
			"itself":       {[]corev1.Pod{change(crashes(), func(p *corev1.Pod) { p.UID = "self" })}, "", ""},
		} {
			synctest.Wait()
			api := &fakeAPI{t: t, pods: tc.pods}
			g := &DaemonSets{API: api, Node: "n", SelfUID: "self"}
			if tc.which != "" {
				s := selector(t, tc.which)
				g.Which = &s
			}
			view := booted()
			view.Now = view.Now.Add(time.Second / 2)
			a := run(t, g, view)
			if v := a.verdict(); v.Why != tc.why || (v.State == gate.Closed) != (tc.why != "") || v.State == gate.Unknown {
				t.Errorf("%s:\ngot  %+v\nwant %s", name, v, tc.why)
			}
			if api.count(&api.lists) != 1 || api.count(&api.watches) != 1 {
				t.Errorf("%s: %d lists, %d watches", name, api.count(&api.lists), api.count(&api.watches))
			}
		}
	})
}

// A pod becomes Ready, crashes, is deleted: each change is seen by the watch, and nothing is
// asked for. What does not change is not said again.
func TestPodsAreWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{t: t, pods: []corev1.Pod{ofDaemonSet("cni", "cni-1", true, -time.Hour)}}
		a := run(t, &DaemonSets{API: api, Node: "n"}, booted())
		const old, crashes = "1 DaemonSet pod is not Ready: kube-system/cni-1 (not started since the boot)", "1 DaemonSet pod is not Ready: kube-system/cni-1 (CrashLoopBackOff in the container agent)"
		a.want(t, old)
		tell := func(kind watch.EventType, p corev1.Pod) {
			api.watched() <- watch.Event{Type: kind, Object: &p}
		}
		tell(watch.Modified, ofDaemonSet("cni", "cni-1", true, justNow))
		a.want(t, "")
		tell(watch.Modified, waits(ofDaemonSet("cni", "cni-1", false, 0), "CrashLoopBackOff"))
		a.want(t, crashes)
		tell(watch.Modified, waits(ofDaemonSet("cni", "cni-1", false, 0), "CrashLoopBackOff"))
		a.want(t, crashes)
		tell(watch.Deleted, ofDaemonSet("cni", "cni-1", false, 0))
		a.want(t, "")
		tell(watch.Added, waits(ofDaemonSet("cni", "cni-2", false, 0), "ContainerCreating"))
		a.want(t, "1 DaemonSet pod is not Ready: kube-system/cni-2 (ContainerCreating in the container agent)")
		if len(a.words()) != 5 {
			t.Errorf("said %+v", a.words())
		}
		pass(time.Hour)
		tell(watch.Bookmark, corev1.Pod{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "9"}})
		if api.count(&api.lists) != 1 || api.count(&api.watches) != 1 {
			t.Errorf("%d lists, %d watches", api.count(&api.lists), api.count(&api.watches))
		}
		close(api.watched()) // it is taken up where it ended
		pass(time.Second)
		if api.count(&api.lists) != 1 || api.count(&api.watches) != 2 || api.version() != "9" {
			t.Errorf("%d lists, %d watches", api.count(&api.lists), api.count(&api.watches))
		}
		api.watched() <- watch.Event{Type: watch.Error, Object: &apierrors.NewResourceExpired("old").ErrStatus}
		pass(time.Minute)
		if api.count(&api.lists) != 2 || api.count(&api.watches) != 3 {
			t.Errorf("%d lists, %d watches", api.count(&api.lists), api.count(&api.watches))
		}
	})
}

// A machine whose clock has been set since tells wrong times: what does not change for two
// minutes after the kubelet has reported the boot is believed.
func TestOldTimesAreBelievedInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{t: t, pods: []corev1.Pod{ofDaemonSet("cni", "cni-1", true, -time.Hour), waits(ofDaemonSet("x", "x-1", false, 0), "X")}}
		a := run(t, &DaemonSets{API: api, Node: "n"}, booted())
		a.want(t, "2 DaemonSet pods are not Ready: kube-system/cni-1 (not started since the boot), kube-system/x-1 (X in the container agent)")
		pass(settled - time.Second)
		a.want(t, "2 DaemonSet pods are not Ready: kube-system/cni-1 (not started since the boot), kube-system/x-1 (X in the container agent)")
		pass(time.Second)
		a.want(t, "1 DaemonSet pod is not Ready: kube-system/x-1 (X in the container agent)")
	})
	// A soft reboot is no boot: what was started before it was ordered is old.
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{t: t, pods: []corev1.Pod{ofDaemonSet("cni", "cni-1", true, -3*time.Minute)}}
		v := booted()
		v.Uptime = time.Hour
		a := run(t, &DaemonSets{API: api, Node: "n"}, v)
		a.want(t, "1 DaemonSet pod is not Ready: kube-system/cni-1 (not started since the boot)")
		v.Record.Order = nil
		run(t, &DaemonSets{API: api, Node: "n"}, v).want(t, "")
	})
}

// Until the kubelet has reported the boot, nothing is asked for.
func TestTheKubeletHasToReportFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{t: t}
		g := &DaemonSets{API: api, Node: "n"}
		before, after := booted(), booted()
		before.Node.BootID = "a"
		a := run(t, g, before)
		a.want(t, "the kubelet has not reported this boot yet")
		if api.count(&api.lists) != 0 || g.Key(before) == g.Key(after) {
			t.Errorf("%d lists, keys %q and %q", api.count(&api.lists), g.Key(before), g.Key(after))
		}
	})
}

// A call that fails is repeated for a moment, and then people are told.
func TestPodsCannotBeWatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{t: t, err: errAway}
		a := run(t, &DaemonSets{API: api, Node: "n"}, booted())
		pass(patience / 2)
		if v := a.verdict(); v.State != gate.Unknown {
			t.Errorf("too early: %+v", v)
		}
		pass(30 * time.Second)
		a.want(t, "cannot read the pods of this node, so it is not known whether those of DaemonSets are Ready: list the pods: connection refused")
		api.fail(nil)
		pass(20 * time.Second)
		a.want(t, "")
		pass(time.Hour)
		api.fail(errAway)
		close(api.watched())
		pass(patience / 2)
		a.want(t, "")
		pass(time.Minute)
		if v := a.verdict(); !strings.HasSuffix(v.Why, "watch the pods: connection refused") {
			t.Errorf("%+v", v)
		}
		api.fail(nil)
		pass(20 * time.Second)
		a.want(t, "")
	})
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{t: t, err: apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errAway)}
		if v := run(t, &DaemonSets{API: api, Node: "n"}, booted()).verdict(); v.State != gate.Closed || !strings.Contains(v.Why, "grant the daemon list and watch on pods") {
			t.Errorf("%+v", v)
		}
	})
}
