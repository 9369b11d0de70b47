package e2e

import (
	"net/http"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
	"rebootd.dev/test/cluster"
	"rebootd.dev/test/machine"
	"rebootd.dev/test/proxy"
)

// leaseHolder is who holds the node lease, "" if there is none.
func (b *bed) leaseHolder(m *machine.Machine) string {
	b.Helper()
	l, err := shared.Client.CoordinationV1().Leases(cluster.NodeLeases).Get(b.ctx, "node-"+m.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return ""
	}
	b.must(err)
	return *l.Spec.HolderIdentity
}

// The node lease is held from the cordon until the node is put back, over the
// reboot, and by another start of the daemon.
func TestNodeLease(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	m := b.machine("--node-lease=required")
	before := m.BootID()
	b.must(m.Touch("x"))
	b.node(m, "cordoned, under the lease", func(n *corev1.Node) bool {
		if n.Spec.Unschedulable && b.leaseHolder(m) != "rebootd" {
			t.Error("cordoned without the lease")
		}
		return n.Spec.Unschedulable
	})
	b.node(m, "drained, and put back", func(n *corev1.Node) bool {
		if n.Spec.Unschedulable && b.leaseHolder(m) != "rebootd" {
			t.Errorf("without the lease: %+v", recordOf(n))
		}
		return n.Status.NodeInfo.BootID != before && !n.Spec.Unschedulable
	})
	b.rebooted(m, before)
	b.released()
	b.leaseReleased(m)
}

// A lease that is taken away before the reboot keeps the machine up.
func TestNodeLeaseIsLost(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	m := b.machine()
	before := m.BootID()
	b.must(m.Touch("x"))
	b.phase(m, "Draining")
	leases := shared.Client.CoordinationV1().Leases(cluster.NodeLeases)
	_, err := leases.Patch(b.ctx, "node-"+m.Name, types.MergePatchType, []byte(`{"spec":{"holderIdentity":"node-maintenance"}}`), metav1.PatchOptions{})
	b.must(err)
	n := b.node(m, "put back", func(n *corev1.Node) bool {
		return condition(n).Reason == "NodeLeaseLost" && !n.Spec.Unschedulable && recordOf(n).Phase == "Waiting"
	})
	if got := condition(n).Message; !strings.Contains(got, "node-maintenance holds this node's lease") {
		t.Errorf("the condition says %q", got)
	}
	b.released()
	if calls, _ := m.Orders(); calls != 0 {
		t.Errorf("the reboot command was called %d times", calls)
	}
	b.must(leases.Delete(b.ctx, "node-"+m.Name, metav1.DeleteOptions{}))
	b.rebooted(m, before)
}

// A machine under maintenance is left alone, without a slot, and it is told whose
// maintenance it is.
func TestNodeUnderMaintenance(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	m := b.stopped()
	since := metav1.NewMicroTime(time.Now().Add(-time.Hour))
	leases := shared.Client.CoordinationV1().Leases(cluster.NodeLeases)
	_, err := leases.Create(b.ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: "node-" + m.Name},
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: new("node-maintenance"), LeaseDurationSeconds: new(int32(3600)),
			AcquireTime: &since, RenewTime: new(metav1.NewMicroTime(time.Now())),
		},
	}, metav1.CreateOptions{})
	b.must(err)
	b.must(m.StartDaemon())
	before := m.BootID()
	b.must(m.Touch("x"))
	n := b.node(m, "left alone", func(n *corev1.Node) bool {
		if n.Spec.Unschedulable {
			t.Fatal("the node was cordoned")
		}
		return condition(n).Reason == "Blocked" && recordOf(n).Phase == "Waiting"
	})
	for _, want := range []string{"node-maintenance holds this node's lease", "since " + since.UTC().Format(time.RFC3339)} {
		if got := condition(n).Message; !strings.Contains(got, want) {
			t.Errorf("the condition says %q, not %q", got, want)
		}
	}
	b.released()
	b.must(leases.Delete(b.ctx, "node-"+m.Name, metav1.DeleteOptions{}))
	b.rebooted(m, before)
}

// A machine whose clock is wrong respects another operator that has the node, as long
// as it has it by the API server's time, and takes the lease of one that has lapsed.
func TestNodeLeaseOnAMachineWithAWrongClock(t *testing.T) {
	for _, ahead := range []time.Duration{-20 * time.Minute, 20 * time.Minute} {
		t.Run(ahead.String(), func(t *testing.T) {
			t.Parallel()
			b := newBed(t, 2*time.Minute)
			m := b.stopped()
			// The machine's clock is the one that is right here, and the server's the other.
			b.through(m).Faults(func(*http.Request) proxy.Fault { return proxy.Fault{Clock: -ahead} })
			server := time.Now().Add(-ahead)
			leases := shared.Client.CoordinationV1().Leases(cluster.NodeLeases)
			l, err := leases.Create(b.ctx, &coordinationv1.Lease{
				ObjectMeta: metav1.ObjectMeta{Name: "node-" + m.Name},
				Spec: coordinationv1.LeaseSpec{
					HolderIdentity: new("NodeHealthCheck-x"), LeaseDurationSeconds: new(int32(660)),
					AcquireTime: new(metav1.NewMicroTime(server)), RenewTime: new(metav1.NewMicroTime(server)),
				},
			}, metav1.CreateOptions{})
			b.must(err)
			b.must(m.StartDaemon())
			before := m.BootID()
			b.must(m.Touch("x"))
			b.node(m, "left alone", func(n *corev1.Node) bool {
				if n.Spec.Unschedulable {
					t.Fatal("the node was cordoned")
				}
				return condition(n).Reason == "Blocked" && recordOf(n).Phase == "Waiting" && strings.Contains(condition(n).Message, "NodeHealthCheck-x holds this node's lease")
			})
			l.Spec.RenewTime = new(metav1.NewMicroTime(server.Add(-13 * time.Minute)))
			_, err = leases.Update(b.ctx, l, metav1.UpdateOptions{})
			b.must(err)
			b.node(m, "cordoned, under the lease", func(n *corev1.Node) bool {
				return n.Spec.Unschedulable && b.leaseHolder(m) == api.NodeLeaseHolder
			})
			l, err = leases.Get(b.ctx, l.Name, metav1.GetOptions{})
			b.must(err)
			if off := l.Spec.RenewTime.Sub(time.Now().Add(-ahead)); off.Abs() > time.Minute {
				t.Errorf("the lease is dated %s off the API server's time", off)
			}
			b.rebooted(m, before)
		})
	}
}
