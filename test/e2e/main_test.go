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
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/kit"
	"rebootd.dev/test/machine"
)

var shared *cluster.Cluster

func TestMain(m *testing.M) {
	kit.Main(m, cluster.Options{}, func(ctx context.Context, c *cluster.Cluster) error {
		shared = c
		return c.AddNodeLeases(ctx) // other tests run without
	})
}

// bed is what one test has for itself: a lock, and machines.
type bed struct {
	*kit.Bed
	ctx      context.Context
	lock     string
	prefix   string
	machines []*machine.Machine
}

func newBed(t *testing.T, limit time.Duration) *bed {
	t.Helper()
	b := kit.New(t, shared, "e", limit)
	return &bed{Bed: b, ctx: b.Ctx, lock: b.Name, prefix: b.Name}
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
			b.Logf("what there is of %s: %s", m.Name, b.scene(m))
			b.Logf("log of %s:\n%s", m.Name, tail(m.Log(), 6000))
		}
		_ = shared.Client.CoreV1().Nodes().Delete(context.Background(), m.Name, metav1.DeleteOptions{})
	})
	return m
}

// scene is what there is of a machine for the daemons to see, for whoever wants to
// know why a test failed.
func (b *bed) scene(m *machine.Machine) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second) // the test's own has ended
	defer cancel()
	lines := []string{m.Tell()}
	if n, err := m.Node(ctx); err != nil {
		lines = append(lines, err.Error())
	} else {
		lines = append(lines, "Node "+cluster.Describe(n))
	}
	list, err := shared.Client.CoordinationV1().Leases("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return strings.Join(append(lines, err.Error()), "\n")
	}
	for _, l := range list.Items {
		if strings.HasPrefix(l.Name, b.lock+"-") || l.Name == "node-"+m.Name {
			spec, _ := json.Marshal(l.Spec)
			lines = append(lines, fmt.Sprintf("Lease %s %s %v", l.Name, spec, l.Annotations))
		}
	}
	return strings.Join(lines, "\n")
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

func (b *bed) must(err error) {
	b.Helper()
	b.Must(err)
}

// pod runs a pod that nobody makes anew on the machine, in the test's namespace.
func (b *bed) pod(m *machine.Machine, app string) {
	b.Helper()
	b.Pod(b.prefix, app, m.Name)
}

// node waits until the machine's Node is as ok says.
func (b *bed) node(m *machine.Machine, what string, ok func(*corev1.Node) bool) *corev1.Node {
	b.Helper()
	return b.Node(m.Name, what, ok)
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

func idle(n *corev1.Node) bool { return kit.Idle(n) }

type record = kit.Record

func recordOf(n *corev1.Node) record { return kit.RecordOf(n) }

func condition(n *corev1.Node) corev1.NodeCondition { return kit.Condition(n) }

// patch changes the machine's Node as a person would.
func (b *bed) patch(m *machine.Machine, patch string) {
	b.Helper()
	b.PatchNode(m.Name, patch)
}

// holders are who holds the slots of this test's lock.
func (b *bed) holders() map[string]string {
	b.Helper()
	return b.Holders(b.ctx, b.lock+"-")
}

// released waits until no slot is held.
func (b *bed) released() {
	b.Helper()
	b.Released(cluster.Namespace, b.lock+"-")
}

// leaseReleased waits until nobody holds the machine's node lease.
func (b *bed) leaseReleased(m *machine.Machine) {
	b.Helper()
	b.Released(cluster.NodeLeases, "node-"+m.Name)
}

// eventually asks until ok says so: for what cannot be watched.
func (b *bed) eventually(what string, ok func() bool) {
	b.Helper()
	b.Eventually(what, ok)
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
