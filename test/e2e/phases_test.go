package e2e

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/machine"
)

// phases are how a machine is brought to stay in each phase, and to go on from it.
var phases = []struct {
	phase   string
	args    []string
	prepare func(b *bed, m *machine.Machine)
	release func(b *bed, m *machine.Machine) // nil: it goes on by itself
	// abortEnds is how the command that aborts it, and waits for that, ends.
	abortEnds int
}{
	{"Waiting", nil, func(b *bed, m *machine.Machine) {
		b.patch(m, `{"metadata":{"annotations":{"rebootd.dev/hold":"disk"}}}`)
	}, func(b *bed, m *machine.Machine) { b.patch(m, `{"metadata":{"annotations":{"rebootd.dev/hold":null}}}`) }, 0},
	{"Queued", nil, func(b *bed, _ *machine.Machine) { b.occupy("another") }, func(b *bed, _ *machine.Machine) { b.occupy("") }, 0},
	{"Draining", nil, func(b *bed, m *machine.Machine) { b.blocked(m) }, func(b *bed, _ *machine.Machine) {
		b.must(shared.Client.PolicyV1().PodDisruptionBudgets(b.prefix).Delete(b.ctx, "web", metav1.DeleteOptions{}))
	}, 0},
	{"Rebooting", nil, func(_ *bed, m *machine.Machine) { m.Behave(machine.Behaviour{Delay: 5 * time.Second}) }, nil, 4},
	{"Verifying", nil, func(_ *bed, m *machine.Machine) { m.StayUnhealthy(time.Now().Add(time.Hour)) }, func(_ *bed, m *machine.Machine) { m.StayUnhealthy(time.Now()) }, 0},
	{"Halted", []string{"--health-timeout=2s"}, func(_ *bed, m *machine.Machine) { m.StayUnhealthy(time.Now().Add(time.Hour)) }, func(_ *bed, m *machine.Machine) { m.StayUnhealthy(time.Now()) }, 0},
}

// occupy has a slot be held by somebody else; "" frees it.
func (b *bed) occupy(holder string) {
	b.Helper()
	leases := shared.Client.CoordinationV1().Leases(cluster.Namespace)
	if holder == "" {
		_, err := leases.Patch(b.ctx, b.lock+"-0", types.MergePatchType, []byte(`{"spec":{"holderIdentity":null}}`), metav1.PatchOptions{})
		b.must(err)
		return
	}
	_, err := leases.Patch(b.ctx, b.lock+"-0", types.ApplyPatchType, fmt.Appendf(nil, `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":%q},"spec":{"holderIdentity":%q}}`, b.lock+"-0", holder), metav1.PatchOptions{FieldManager: "rebootd/" + holder})
	b.must(err)
}

// blocked has a pod on the machine that its budget does not let go for now, since another
// one cannot be started. One that could never go would keep the node from being drained.
func (b *bed) blocked(m *machine.Machine) {
	b.Helper()
	b.pod(m, "web")
	t := cluster.Template("web", nil)
	t.Spec.NodeSelector = map[string]string{"nowhere": "x"}
	_, err := shared.Client.CoreV1().Pods(b.prefix).Create(b.ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web-2", Labels: t.Labels}, Spec: t.Spec}, metav1.CreateOptions{})
	b.must(err)
	b.must(shared.Budget(b.ctx, b.prefix, "web", 1))
}
