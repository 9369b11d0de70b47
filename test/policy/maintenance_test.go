package policy

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/test/kit"
)

const maintenances = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: nodemaintenances.nodemaintenance.medik8s.io}
spec:
  group: nodemaintenance.medik8s.io
  scope: Cluster
  names: {plural: nodemaintenances, singular: nodemaintenance, kind: NodeMaintenance}
  versions:
  - name: v1beta1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            required: [nodeName]
            properties: {nodeName: {type: string}, reason: {type: string}}
`

// A policy that has a parameter is asked once for each of them: a thousand nodes have cost
// 0.9 s.
const (
	manyNodes   = 300
	longestWarn = 2 * time.Second
)

// Who creates a NodeMaintenance is told that a reboot is under way on the node, and nothing
// of other nodes.
func TestMaintenanceIsWarned(t *testing.T) {
	b := kit.New(t, shared, "maintained", 5*time.Minute)
	file := func(text string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "it.yaml")
		b.Must(os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	out, err := said(b, "apply", "-f", file(maintenances))
	if err != nil {
		t.Fatal(out)
	}
	if out, err = said(b, "wait", "--for=condition=Established", "crd/nodemaintenances.nodemaintenance.medik8s.io", "--timeout=60s"); err != nil {
		t.Fatal(out)
	}
	phases := []api.Phase{"", "Waiting", "Queued", "Draining", "Rebooting", "Verifying", "Halted"}
	name := func(phase api.Phase) string { return "maintained-" + strings.ToLower(string(phase)) + "x" }
	for _, phase := range phases {
		bareNode(b, name(phase), func(n *corev1.Node) {
			if phase != "" {
				n.Annotations["rebootd.dev/operation"] = record(phase)
			}
			if phase == "Halted" {
				inCondition("RebootRequired", "Unhealthy", "the node is not Ready")(n)
			}
		})
	}
	create := func(node string) (string, time.Duration) {
		t.Helper()
		path := file("apiVersion: nodemaintenance.medik8s.io/v1beta1\nkind: NodeMaintenance\nmetadata: {name: m-" + node + "}\nspec: {nodeName: " + node + ", reason: a new disk}\n")
		began := time.Now()
		out, err := said(b, "create", "--dry-run=server", "-f", path)
		if err != nil {
			t.Fatal(out)
		}
		return out, time.Since(began)
	}
	// The API server learns of the type, and of the Nodes, in its own time.
	for !strings.Contains(func() string { out, _ := create(name("Halted")); return out }(), "Warning:") {
		select {
		case <-b.Ctx.Done():
			t.Fatal("no warning")
		case <-time.After(200 * time.Millisecond):
		}
	}
	check := func() {
		t.Helper()
		for _, phase := range phases {
			want := map[api.Phase]string{
				"Draining":  "rebootd: the node NODE is Draining since 2026-11-27T02:30:00Z. When the maintenance begins, the drain ends and the node is put back, and the reboot waits; with --node-lease the maintenance waits for the reboot instead",
				"Rebooting": "rebootd: the node NODE is Rebooting since 2026-11-27T02:30:00Z. The machine may go down at any moment, or not be healthy yet",
				"Verifying": "rebootd: the node NODE is Verifying since 2026-11-27T02:30:00Z. The machine",
				"Halted":    "rebootd: the node NODE is Halted since 2026-11-27T02:30:00Z: the node is not Ready. The machine",
			}[phase]
			out, _ := create(name(phase))
			n := strings.Count(out, "Warning:")
			if want = strings.ReplaceAll(want, "NODE", name(phase)); want == "" && n > 0 || want != "" && (n != 1 || !strings.Contains(out, want)) {
				t.Errorf("%q:\n%s\nwant %q", phase, out, want)
			}
		}
		if out, _ := create("no-such-node"); strings.Contains(out, "Warning:") {
			t.Errorf("of a node that there is not: %s", out)
		}
	}
	check()
	fastest := func() time.Duration {
		best := time.Hour
		for range 10 {
			_, took := create(name("Draining"))
			best = min(best, took)
		}
		return best
	}
	few := fastest()
	var made sync.WaitGroup
	for w := range 8 {
		made.Go(func() {
			for i := w; i < manyNodes; i += 8 {
				n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
					Name: fmt.Sprintf("many-%d", i), Labels: map[string]string{"type": "virtual-kubelet", "many": "nodes"},
					Annotations: map[string]string{"rebootd.dev/operation": record("Draining")},
				}}
				if _, err := shared.Client.CoreV1().Nodes().Create(b.Ctx, n, metav1.CreateOptions{}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	made.Wait()
	check()
	many := fastest()
	t.Logf("kubectl create takes %s; with %d nodes more %s", few.Round(time.Millisecond), manyNodes, many.Round(time.Millisecond))
	if many > few+longestWarn {
		t.Errorf("with %d nodes more it takes %s, without %s", manyNodes, many, few)
	}
	b.Must(shared.Client.CoreV1().Nodes().DeleteCollection(b.Ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "many=nodes"}))
}
