// Package e2e tests the daemon from the outside: real processes of it, on
// simulated machines, against a real control plane, by the names that the README
// gives to people.
package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/machine"
)

var shared *cluster.Cluster

func TestMain(m *testing.M) {
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Minute)
	defer cancel()
	c, err := cluster.Start(ctx, cluster.Options{})
	if err == nil {
		err = c.AddNodeLeases(ctx) // other tests run without
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	shared = c
	code := m.Run()
	c.Stop()
	os.Exit(code)
}

var serial atomic.Int64

// bed is what one test has for itself: a lock, and machines.
type bed struct {
	*testing.T
	ctx      context.Context
	lock     string
	prefix   string
	machines []*machine.Machine
}

func newBed(t *testing.T, limit time.Duration) *bed {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), limit, fmt.Errorf("the test's limit of %s has passed", limit))
	t.Cleanup(cancel)
	n := serial.Add(1)
	return &bed{T: t, ctx: ctx, lock: fmt.Sprintf("lock%d", n), prefix: fmt.Sprintf("t%d", n)}
}

// machine makes a machine and starts its daemon.
func (b *bed) machine(args ...string) *machine.Machine {
	b.Helper()
	m := b.stopped(args...)
	b.must(m.StartDaemon())
	return m
}

// stopped makes a machine whose daemon does not run yet.
func (b *bed) stopped(args ...string) *machine.Machine {
	b.Helper()
	m, err := machine.New(b.ctx, machine.Options{
		Cluster: shared, Name: fmt.Sprintf("%s-n%d", b.prefix, len(b.machines)+1), Dir: b.TempDir(),
		Args: append([]string{"--lock-name=" + b.lock}, args...), Boot: 500 * time.Millisecond,
	})
	b.must(err)
	b.machines = append(b.machines, m)
	b.Cleanup(func() {
		m.Stop()
		if b.Failed() {
			b.Logf("log of %s:\n%s", m.Name, tail(m.Log(), 6000))
		}
		_ = shared.Client.CoreV1().Nodes().Delete(context.Background(), m.Name, metav1.DeleteOptions{})
	})
	return m
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func (b *bed) must(err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// pod runs a pod that nobody makes anew on the machine, in the test's namespace.
func (b *bed) pod(m *machine.Machine, app string) {
	b.Helper()
	b.must(shared.AddNamespace(b.ctx, b.prefix))
	t := cluster.Template(app, map[string]string{"term-seconds": "0"})
	t.Spec.NodeName = m.Name
	t.Name = app
	_, err := shared.Client.CoreV1().Pods(b.prefix).Create(b.ctx, &corev1.Pod{ObjectMeta: t.ObjectMeta, Spec: t.Spec}, metav1.CreateOptions{})
	b.must(err)
	b.must(shared.WaitPods(b.ctx, b.prefix, app+" is Ready", func(pods map[string]*corev1.Pod) bool {
		return pods[app] != nil && cluster.PodReady(pods[app])
	}))
}

// node waits until the machine's Node is as ok says.
func (b *bed) node(m *machine.Machine, what string, ok func(*corev1.Node) bool) *corev1.Node {
	b.Helper()
	n, err := shared.WaitNode(b.ctx, m.Name, what, ok)
	b.must(err)
	return n
}

// reason waits until the Node's condition has the reason.
func (b *bed) reason(m *machine.Machine, reason string) *corev1.Node {
	b.Helper()
	return b.node(m, "reason "+reason, func(n *corev1.Node) bool { return condition(n).Reason == reason })
}

// phase waits until the Node's record has the phase.
func (b *bed) phase(m *machine.Machine, phase string) record {
	b.Helper()
	return recordOf(b.node(m, "phase "+phase, func(n *corev1.Node) bool { return recordOf(n).Phase == phase }))
}

// rebooted waits until the machine has rebooted and its Node is as it was before.
func (b *bed) rebooted(m *machine.Machine, before string) *corev1.Node {
	b.Helper()
	return b.node(m, "rebooted, Ready, schedulable and idle", func(n *corev1.Node) bool {
		return n.Status.NodeInfo.BootID != before && n.Status.NodeInfo.BootID == m.BootID() && idle(n) && !n.Spec.Unschedulable && cluster.Ready(n)
	})
}

// idle says that the Node has no record and that its condition says so.
func idle(n *corev1.Node) bool {
	return n.Annotations["rebootd.dev/operation"] == "" && condition(n).Status != corev1.ConditionTrue
}

type record struct {
	Phase    string `json:"phase"`
	ID       string `json:"id"`
	Cordoned bool   `json:"cordoned"`
	Attempts int    `json:"attempts"`
}

func recordOf(n *corev1.Node) (r record) {
	if s := n.Annotations["rebootd.dev/operation"]; s != "" {
		_ = json.Unmarshal([]byte(s), &r)
	}
	return r
}

func condition(n *corev1.Node) corev1.NodeCondition {
	for _, c := range n.Status.Conditions {
		if c.Type == "RebootRequired" {
			return c
		}
	}
	return corev1.NodeCondition{}
}

// patch changes the machine's Node as a person would.
func (b *bed) patch(m *machine.Machine, patch string) {
	b.Helper()
	_, err := shared.Client.CoreV1().Nodes().Patch(b.ctx, m.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "person"})
	b.must(err)
}

// holders are who holds the slots of this test's lock.
func (b *bed) holders() map[string]string {
	b.Helper()
	list, err := shared.Client.CoordinationV1().Leases(cluster.Namespace).List(b.ctx, metav1.ListOptions{})
	b.must(err)
	out := map[string]string{}
	for _, l := range list.Items {
		if strings.HasPrefix(l.Name, b.lock+"-") && l.Spec.HolderIdentity != nil && *l.Spec.HolderIdentity != "" {
			out[l.Name] = *l.Spec.HolderIdentity
		}
	}
	return out
}

// released waits until no slot is held.
func (b *bed) released() {
	b.Helper()
	b.eventually("no slot is held", func() bool { return len(b.holders()) == 0 })
}

// eventually asks until ok says so: for what cannot be watched.
func (b *bed) eventually(what string, ok func() bool) {
	b.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-b.ctx.Done():
			b.Fatalf("waited until %s: %v", what, context.Cause(b.ctx))
		case <-tick.C:
		}
	}
}

// metric is a metric's value as the daemon serves it, "" if it serves none.
func (b *bed) metric(m *machine.Machine, name string) string {
	b.Helper()
	status, body := b.get(m, "/metrics")
	if status != http.StatusOK {
		return ""
	}
	for line := range strings.Lines(body) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// get asks the daemon's server; a status of 0 means that it does not answer.
func (b *bed) get(m *machine.Machine, path string) (status int, body string) {
	b.Helper()
	req, err := http.NewRequestWithContext(b.ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", m.MetricsPort, path), nil)
	b.must(err)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(data)
}

// events are the reasons of the Events on the Node, in their order.
func (b *bed) events(m *machine.Machine) []string {
	b.Helper()
	list, err := shared.Client.CoreV1().Events(metav1.NamespaceDefault).List(b.ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + m.Name + ",source=rebootd"})
	b.must(err)
	slices.SortFunc(list.Items, func(x, y corev1.Event) int { return strings.Compare(x.Name, y.Name) })
	var out []string
	for _, e := range list.Items {
		out = append(out, e.Reason)
	}
	return out
}

// overlap is the most machines that were down at the same time.
func overlap(machines []*machine.Machine) int {
	most := 0
	for _, m := range machines {
		for _, o := range m.Outages() {
			n := 0
			for _, other := range machines {
				for _, x := range other.Outages() {
					if !x.From.After(o.From) && (x.To.IsZero() || x.To.After(o.From)) {
						n++
					}
				}
			}
			most = max(most, n)
		}
	}
	return most
}
