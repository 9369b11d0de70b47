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

	"rebootd.dev/daemon/gate"
)

// Which pods a selector selects: by labels in kubectl's words, by fields under theirs.
func TestSelects(t *testing.T) {
	p := pod("train-1", func(p *corev1.Pod) {
		p.Labels["tier"] = "gpu"
		p.Spec.ServiceAccountName, p.Spec.HostNetwork, p.Spec.SchedulerName = "trainer", true, "volcano"
	})
	for s, want := range map[string]bool{
		"app=training":                          true,
		"app==training":                         true,
		"app = training , tier":                 true,
		"app":                                   true,
		"!app":                                  false,
		"app=web":                               false,
		"app!=web":                              true,
		"other!=web":                            true,
		"app in (training, tune)":               true,
		"app notin (training)":                  false,
		"metadata.namespace=ml":                 true,
		"metadata.namespace=ml,app=training":    true,
		"metadata.namespace=web,app=training":   false,
		"metadata.namespace!=kube-system":       true,
		"metadata.namespace in (ml, analytics)": true,
		"metadata.name=train-1":                 true,
		"metadata.name=train-2":                 false,
		"status.phase=Running":                  true,
		"status.phase=Pending":                  false,
		"spec.serviceAccountName=trainer":       true,
		"spec.hostNetwork=true":                 true,
		"spec.restartPolicy=Never":              false,
		"spec.schedulerName=volcano":            true,
	} {
		if got := selector(t, s).selects(&p); got != want {
			t.Errorf("%q: %t", s, got)
		}
		if got := selector(t, " "+s).String(); got != s {
			t.Errorf("%q is written as %q", s, got)
		}
	}
	if len(p.Labels) != 2 {
		t.Errorf("the pod has been changed: %v", p.Labels)
	}
	for s, why := range map[string]string{
		"":                              "every pod",
		"  ":                            "every pod",
		"app in training":               "not a selector",
		"app=training,":                 "not a selector",
		"metadata.labels=x":             "metadata.namespace",
		"spec.nodeName=n":               "status.phase",
		"status.podIP=1":                "status.phase",
		strings.Repeat("x", 300) + "=y": "not a selector",
	} {
		if _, err := ParseSelector(s); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%q: %v, want %q", s, err, why)
		}
	}
}

// Any pod that one of the selectors selects blocks, on this node, as long as it runs or is
// about to; three are named. It costs one list.
func TestPodsBlock(t *testing.T) {
	phase := func(ph corev1.PodPhase) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Status.Phase = ph }
	}
	deleted := func(p *corev1.Pod) { now := metav1.Now(); p.DeletionTimestamp = &now }
	for name, tc := range map[string]struct {
		pods []corev1.Pod
		why  string
	}{
		"none":        {nil, ""},
		"one":         {[]corev1.Pod{pod("a")}, "1 pod on this node blocks the reboot: ml/a"},
		"pending":     {[]corev1.Pod{pod("a", phase(corev1.PodPending))}, "1 pod on this node blocks the reboot: ml/a"},
		"succeeded":   {[]corev1.Pod{pod("a", phase(corev1.PodSucceeded))}, ""},
		"failed":      {[]corev1.Pod{pod("a", phase(corev1.PodFailed))}, ""},
		"terminating": {[]corev1.Pod{pod("a", deleted)}, ""},
		"elsewhere":   {[]corev1.Pod{pod("a", func(p *corev1.Pod) { p.Spec.NodeName = "m" })}, ""},
		"another":     {[]corev1.Pod{pod("a", func(p *corev1.Pod) { p.Labels["app"] = "web" })}, ""},
		"the other":   {[]corev1.Pod{pod("a", func(p *corev1.Pod) { p.Labels = map[string]string{"critical": ""} })}, "1 pod on this node blocks the reboot: ml/a"},
		"three":       {[]corev1.Pod{pod("c"), pod("a"), pod("b")}, "3 pods on this node block the reboot: ml/a, ml/b, ml/c"},
		"more":        {[]corev1.Pod{pod("c"), pod("a"), pod("d"), pod("b"), pod("e")}, "5 pods on this node block the reboot: ml/a, ml/b, ml/c, …"},
	} {
		synctest.Test(t, func(t *testing.T) {
			api := &fakeAPI{t: t, pods: tc.pods}
			a := run(t, &Blocking{API: api, Node: "n", Selectors: []Selector{selector(t, "app=training"), selector(t, "critical")}}, gate.View{})
			if api.count(&api.lists) != 1 || api.count(&api.watches) != 0 {
				t.Errorf("%s: %d lists, %d watches", name, api.count(&api.lists), api.count(&api.watches))
			}
			a.want(t, tc.why)
		})
	}
}

// A pod that comes while the node waits for something else is seen; what does not change is
// not said again.
func TestPodsAreLookedAtAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{t: t}
		a := run(t, &Blocking{API: api, Node: "n", Selectors: []Selector{selector(t, "app")}}, gate.View{})
		pass(10 * time.Minute)
		if a.want(t, ""); api.count(&api.lists) > 21 || len(a.words()) != 1 {
			t.Errorf("%d lists in ten minutes, said %+v", api.count(&api.lists), a.words())
		}
		api.runs(pod("a"))
		pass(openAgain)
		a.want(t, "1 pod on this node blocks the reboot: ml/a")
	})
}

// A call that fails is repeated for a moment. Then, and at once where the permission lacks,
// the gate is closed, and says why.
func TestPodsCannotBeListed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{t: t, err: errAway}
		a := run(t, &Blocking{API: api, Node: "n", Selectors: []Selector{selector(t, "app")}}, gate.View{})
		pass(patience / 2)
		if v := a.verdict(); v.State != gate.Unknown {
			t.Errorf("too early: %+v", v)
		}
		pass(30 * time.Second)
		a.want(t, "cannot read the pods of this node, so it is not known whether one of them blocks the reboot: connection refused")
		if api.count(&api.lists) > 12 {
			t.Errorf("%d lists", api.count(&api.lists))
		}
		api.fail(nil)
		pass(16 * time.Second)
		a.want(t, "")
		api.fail(errAway)
		for before := api.count(&api.lists); api.count(&api.lists) == before; {
			pass(time.Second)
		}
		pass(patience / 2)
		a.want(t, "") // for a moment
		pass(30 * time.Second)
		if a.verdict().State != gate.Closed {
			t.Error("it is not known any more")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		api := &fakeAPI{t: t, err: apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errAway)}
		a := run(t, &Blocking{API: api, Node: "n", Selectors: []Selector{selector(t, "app")}}, gate.View{})
		if v := a.verdict(); v.State != gate.Closed || !strings.Contains(v.Why, "grant the daemon list and watch on pods") {
			t.Errorf("%+v", v)
		}
	})
}

// It is asked last, gives the slot up, and is passed over after the deadline.
func TestKinds(t *testing.T) {
	if k := new(Blocking).Kind(); k.Binds != gate.OnTurn || !k.Soft {
		t.Errorf("%+v", k)
	}
	if k := new(DaemonSets).Kind(); k.Binds != gate.BeforeUncordon || k.Soft {
		t.Errorf("%+v", k)
	}
}
