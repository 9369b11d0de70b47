package cli

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/cmd/kubectl-rebootd/client"
	"rebootd.dev/daemon/api"
)

// healthy is an installation of which nothing is to be said.
func healthy() *fakeAPI {
	f := newFake()
	for i := range 3 {
		f.idle(nodeName(i))
	}
	return f.machines()
}

// sick has everything wrong that doctor knows.
func sick() *fakeAPI {
	f := acting()
	f.idle("new", has(api.DaemonAnnotation, api.Daemon{Version: "v1.3.0", Settings: "aa", Pool: "db"}.String()))
	f.idle("new-2", has(api.DaemonAnnotation, api.Daemon{Version: "v1.3.0", Settings: "bb", Pool: "db"}.String()))
	f.idle("typo", says(api.ReasonHeld, `held; the annotation rebootd.dev/priority has the value "high", which is ignored: it must be a whole number`, time.Hour))
	f.slot(1, "idle", time.Hour)
	f.slot(2, "gone", 20*time.Minute)
	p := f.leases["rebootd-0"].DeepCopy()
	p.Name, p.UID, p.Spec.HolderIdentity = api.PauseName("rebootd"), "uid-of-pause", nil
	p.Annotations = map[string]string{api.PausedAnnotation: "Black Friday", api.PausedUntilAnnotation: "2026-11-30T06:00:00Z"}
	f.setLease(p)
	f.machines()
	in := &f.installed
	in.policies, in.bindings = in.policies[:2], in.bindings[1:]
	in.bindings[0].Spec.ValidationActions = []string{"Audit"}
	in.policies[1].Spec.MatchConditions[0].Expression = "request.userInfo.username == 'system:serviceaccount:infra:rebootd'"
	in.sets[0].Status.Ready, in.sets[0].Status.Updated = 10, 2
	in.pods = slices.DeleteFunc(in.pods, func(p corev1.Pod) bool { return p.Spec.NodeName == "new" || p.Spec.NodeName == "no-daemon" })
	for i := range in.pods {
		if p := &in.pods[i]; p.Spec.NodeName == "typo" || p.Spec.NodeName == "ordered" {
			p.Status.Conditions = nil
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}}}
		}
	}
	var k client.DaemonSet
	k.Metadata.Namespace, k.Metadata.Name = "kube-system", "kured"
	k.Metadata.Annotations = map[string]string{kuredLock: `{"nodeID":"a"}`}
	in.sets = append(in.sets, k)
	in.metrics = "node_cpu_seconds_total 1\n"
	in.ahead = -10 * time.Second
	skew := func(name string, by time.Duration) {
		n := f.nodes[name].DeepCopy()
		n.Status.Conditions[0].LastHeartbeatTime = metav1.NewTime(n.ManagedFields[0].Time.Add(by))
		f.set(n)
	}
	skew("idle", 20*time.Second)
	skew("drains", -3*time.Hour)
	n := f.nodes["new-2"].DeepCopy()
	n.Labels["weave.works/kured-x"] = ""
	n.Spec.Taints = []corev1.Taint{{Key: "weave.works/kured-node-reboot", Effect: corev1.TaintEffectPreferNoSchedule}, {Key: "karpenter.sh/disrupted"}}
	f.set(n)
	return f
}

var patients = map[string]func() *fakeAPI{
	"healthy": healthy,
	"sick":    sick,
	"viewer": func() *fakeAPI {
		f := healthy()
		for _, m := range []string{"Policies", "AllDaemonSets", "Metrics", "patch nodes", "patch leases", "create leases", "create pods"} {
			f.denied[m] = true
		}
		return f
	},
	"no-rights": func() *fakeAPI {
		f := healthy()
		for _, m := range []string{"EachNode", "Leases", "Policies", "AllDaemonSets", "DaemonSets", "PodsIn", "Metrics", "list nodes", "watch nodes", "list leases", "list pods", "list poddisruptionbudgets", "patch nodes", "patch leases", "create leases", "create pods"} {
			f.denied[m] = true
		}
		return f
	},
	"units": func() *fakeAPI {
		f := healthy()
		f.installed.sets, f.installed.pods = nil, nil
		return f
	},
	"not-installed": func() *fakeAPI {
		f := newFake()
		for i := range 7 {
			f.idle(nodeName(i), func(n *corev1.Node) { n.Annotations, n.Status.Conditions = nil, n.Status.Conditions[:1] })
		}
		return f
	},
	"elsewhere": func() *fakeAPI { // in another namespace, under policies from before
		f := healthy()
		f.installed.sets[0].Metadata.Namespace = "infra"
		for i := range f.installed.pods {
			f.installed.pods[i].Namespace = "infra"
		}
		for i := range f.installed.policies {
			f.installed.policies[i].Spec.MatchConditions[0].Expression = "request.userInfo.username == 'system:serviceaccount:rebootd:rebootd'"
		}
		return f
	},
}

// TestDoctor shows what doctor says of installations.
func TestDoctor(t *testing.T) {
	for _, name := range slices.Sorted(maps.Keys(patients)) {
		golden(t, filepath.Join("doctor", name+".txt"), transcript(patients[name](), "doctor"))
	}
	golden(t, filepath.Join("doctor", "elsewhere-n.txt"), transcript(patients["elsewhere"](), "doctor -n infra"))
	golden(t, filepath.Join("doctor", "healthy-json.txt"), transcript(healthy(), "doctor -o json"))
	golden(t, filepath.Join("doctor", "sick-yaml.txt"), transcript(sick(), "doctor -o yaml"))
}

// TestDoctorTells has every fault that is planted in a healthy installation told, by the right check
// and with the right verdict, and nothing else beside it.
func TestDoctorTells(t *testing.T) {
	node := func(f *fakeAPI, change func(*corev1.Node)) {
		n := f.nodes["node-01"].DeepCopy()
		change(n)
		f.set(n)
	}
	for name, tt := range map[string]struct {
		plant   func(f *fakeAPI)
		check   string
		verdict health
		says    string
	}{
		"a policy is missing":  {func(f *fakeAPI) { f.installed.policies = f.installed.policies[1:] }, "policies", healthWrong, "rebootd-own-node is missing"},
		"a binding is missing": {func(f *fakeAPI) { f.installed.bindings = f.installed.bindings[:2] }, "policies", healthWrong, "rebootd-own-pods has no binding"},
		"a binding only warns": {func(f *fakeAPI) { f.installed.bindings[1].Spec.ValidationActions = []string{"Warn", "Audit"} }, "policies", healthWrong, "[Warn, Audit]"},
		"a binding is confined": {func(f *fakeAPI) {
			f.installed.bindings[1].Spec.MatchResources = &client.MatchResources{NamespaceSelector: metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}}
		}, "policies", healthWrong, "matches some resources only"},
		"a policy fails open":     {func(f *fakeAPI) { f.installed.policies[0].Spec.FailurePolicy = "Ignore" }, "policies", healthWrong, "failurePolicy Ignore"},
		"another service account": {func(f *fakeAPI) { f.installed.sets[0].Spec.Template.Spec.ServiceAccountName = "reboots" }, "policies", healthWrong, "does not apply to system:serviceaccount:rebootd:reboots"},
		"no pod is Ready":         {func(f *fakeAPI) { f.installed.sets[0].Status.Ready = 0 }, "daemonset", healthWrong, "none of 3 pods is Ready"},
		"a pod is not Ready":      {func(f *fakeAPI) { f.installed.pods[1].Status.Conditions = nil }, "daemons", healthWarning, "node-01"},
		"a pod is gone":           {func(f *fakeAPI) { f.installed.pods = f.installed.pods[:2] }, "daemons", healthWarning, "no pod of rebootd runs on 1 node where a daemon has run: node-02"},
		"it selects no node":      {func(f *fakeAPI) { f.installed.sets[0].Status.Desired = 0 }, "daemonset", healthWrong, "selects no node"},
		"a node without a daemon": {func(f *fakeAPI) {
			f.installed.pods = f.installed.pods[:2]
			n := f.nodes["node-02"].DeepCopy()
			n.Annotations, n.Status.Conditions = nil, n.Status.Conditions[:1]
			f.set(n)
		}, "daemons", healthWarning, "nothing reboots 1 node, on which no daemon has ever run: node-02"},
		"another version": {func(f *fakeAPI) {
			node(f, func(n *corev1.Node) {
				n.Annotations[api.DaemonAnnotation] = api.Daemon{Version: "v2", Settings: "x"}.String()
			})
		}, "versions", healthWarning, "v2 on 1 node (node-01)"},
		"other settings": {func(f *fakeAPI) {
			node(f, func(n *corev1.Node) {
				n.Annotations[api.DaemonAnnotation] = api.Daemon{Version: "v1.2.0", Settings: "x"}.String()
			})
		}, "settings", healthWarning, "x on 1 node (node-01)"},
		"a record cannot be read": {func(f *fakeAPI) { node(f, func(n *corev1.Node) { n.Annotations[api.OperationAnnotation] = "{" }) }, "nodes", healthWrong, "node-01 cannot be read"},
		"a node has halted": {func(f *fakeAPI) {
			node(f, has(api.OperationAnnotation, failed(recordOf("node-01", api.PhaseHalted, time.Hour, time.Hour))))
		}, "nodes", healthWrong, "node-01 has halted"},
		"a slot of nobody":       {func(f *fakeAPI) { f.slot(0, "gone", time.Minute) }, "slots", healthWarning, "gone, which is not a Node"},
		"a slot of an idle node": {func(f *fakeAPI) { f.slot(0, "node-01", 6*time.Minute) }, "slots", healthWarning, "node-01, which is not at work"},
		"the lock is paused":     {func(f *fakeAPI) { l := f.slot(0, "", 0); l.Annotations[api.PausedAnnotation] = "why"; f.setLease(l) }, "pauses", healthWarning, "(why)"},
		"a clock is ahead": {func(f *fakeAPI) {
			node(f, func(n *corev1.Node) {
				n.Status.Conditions[0].LastHeartbeatTime = metav1.NewTime(before(50 * time.Second))
			})
		}, "clocks", healthWarning, "node-01 is 10s ahead"},
		"a clock is wrong": {func(f *fakeAPI) {
			node(f, func(n *corev1.Node) { n.Status.Conditions[0].LastHeartbeatTime = metav1.NewTime(before(time.Hour)) })
		}, "clocks", healthWrong, "node-01 is 59m behind"},
		"this machine's clock": {func(f *fakeAPI) { f.installed.ahead = time.Hour }, "clocks", healthWrong, "this machine is 1h behind"},
		"kured runs": {func(f *fakeAPI) {
			s := f.installed.sets[0]
			s.Metadata.Namespace, s.Metadata.Name = "x", "kured"
			f.installed.sets = append(f.installed.sets, s)
		}, "kured", healthWrong, "x/kured"},
		"kured runs by another name": {func(f *fakeAPI) {
			s := f.installed.sets[0]
			s.Metadata.Namespace, s.Metadata.Name = "x", "y"
			s.Metadata.Annotations = map[string]string{kuredLock: "{}"}
			f.installed.sets = append(f.installed.sets, s)
		}, "kured", healthWrong, "its lock is taken"},
		"kured was there": {func(f *fakeAPI) {
			node(f, func(n *corev1.Node) { n.Annotations["weave.works/kured-reboot-in-progress"] = "x" })
		}, "kured", healthWarning, "node-01"},
		"metrics of somebody else":      {func(f *fakeAPI) { f.installed.metrics = "up 1\n" }, "metrics", healthWrong, "not those of rebootd"},
		"metrics cannot be reached":     {func(f *fakeAPI) { f.installed.metricErr = errors.New("dial tcp: refused") }, "metrics", healthUnknown, "refused"},
		"the policies cannot be read":   {func(f *fakeAPI) { f.denied["PolicyBindings"] = true }, "policies", healthUnknown, "may not read"},
		"the leases cannot be read":     {func(f *fakeAPI) { f.denied["Leases"] = true }, "slots", healthUnknown, "may not read the Leases"},
		"the DaemonSets cannot be read": {func(f *fakeAPI) { f.denied["DaemonSets"], f.denied["AllDaemonSets"] = true, true }, "daemonset", healthUnknown, "may not read"},
	} {
		t.Run(name, func(t *testing.T) {
			f := healthy()
			tt.plant(f)
			r := runIn(f, []string{"doctor", "-o", "json"})
			var d diagnosis
			if err := json.Unmarshal([]byte(r.out), &d); err != nil {
				t.Fatalf("%v: %+v", err, r)
			}
			told := false
			for _, f := range d.Findings {
				told = told || f.Check == tt.check && f.Verdict == tt.verdict && strings.Contains(f.Message, tt.says)
				if f.Check != tt.check && f.Verdict == healthWrong {
					t.Errorf("also told: %+v", f)
				}
				if f.Verdict != healthOK && f.Verdict != healthUnknown && f.Do == "" {
					t.Errorf("nothing to do about %+v", f)
				}
			}
			if !told {
				t.Errorf("not told; %s", r.out)
			}
			want := exitOK
			if tt.verdict == healthWrong {
				want = exitHalted
			}
			if r.status != want {
				t.Errorf("exit status %d, want %d", r.status, want)
			}
		})
	}
}

func ordered(r *api.Record) *api.Record {
	r.Cordoned, r.Order = true, &api.Order{At: before(2 * time.Minute), By: "x", Try: 1, Accepted: true}
	return r
}

func failed(r *api.Record) *api.Record {
	r.Failure = &api.Failure{Reason: api.ReasonUnhealthy, Message: "the node is not Ready"}
	return ordered(r)
}

// TestDoctorExpected has what belongs to a reboot alarm nobody.
func TestDoctorExpected(t *testing.T) {
	f := newFake()
	f.idle("up")
	f.idle("down", has(api.OperationAnnotation, ordered(recordOf("down", api.PhaseRebooting, time.Hour, time.Minute))), says(api.ReasonRebooting, "x", time.Minute))
	f.idle("windows", func(n *corev1.Node) {
		n.Labels["kubernetes.io/os"], n.Annotations, n.Status.Conditions = "windows", nil, n.Status.Conditions[:1]
	})
	f.slot(0, "down", time.Hour)
	f.slot(1, "up", time.Minute) // just taken
	f.machines()
	f.installed.pods = f.installed.pods[1:2]
	r := runIn(f, []string{"doctor", "-o", "json"})
	var d diagnosis
	if err := json.Unmarshal([]byte(r.out), &d); err != nil || d.Verdict != healthOK || r.status != exitOK {
		t.Errorf("%v: %+v", err, r)
	}
}

// TestDoctorAway has an API server that is away be an error, and not a diagnosis.
func TestDoctorAway(t *testing.T) {
	f := healthy()
	f.away(context.DeadlineExceeded)
	if r := runIn(f, []string{"doctor"}); r.status != exitFailed || r.out != "" {
		t.Errorf("%+v", r)
	}
}

func TestMatchesUser(t *testing.T) {
	const user = "system:serviceaccount:infra:acme-rebootd"
	for expression, want := range map[string][2]bool{
		`request.userInfo.username == 'system:serviceaccount:rebootd:rebootd'`:                     {false, true},
		`request.userInfo.username == 'system:serviceaccount:infra:acme-rebootd'`:                  {true, true},
		`request.userInfo.username.matches('^system:serviceaccount:[^:]+:([a-z0-9-]+-)?rebootd$')`: {true, true},
		`request.userInfo.username.matches('^system:serviceaccount:rebootd:rebootd$')`:             {false, true},
		`request.userInfo.username.matches('(')`:                                                   {true, false},
		`request.userInfo.username == 'a' || true`:                                                 {false, false},
		`request.namespace == 'rebootd'`:                                                           {true, false},
	} {
		if is, known := matchesUser(expression, user); is != want[0] || known != want[1] {
			t.Errorf("%s: %v, %v", expression, is, known)
		}
	}
}

func TestSkewOf(t *testing.T) {
	s := at
	for _, tt := range []struct{ before, after, want time.Duration }{
		{0, 0, 0},
		{900 * time.Millisecond, 950 * time.Millisecond, 0},
		{11 * time.Second, 11 * time.Second, 10 * time.Second},
		{-20 * time.Second, -10 * time.Second, -10 * time.Second},
		{-5 * time.Second, 5 * time.Second, 0}, // a slow answer
	} {
		if got := skewOf(s.Add(tt.before), s.Add(tt.after), s); got != tt.want {
			t.Errorf("%v: %v", tt, got)
		}
	}
}
