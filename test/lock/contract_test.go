package lock

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/lock/lease/leasetest"
	"rebootd.dev/lock/locktest"
	"rebootd.dev/test/cluster"
)

// contracts numbers the locks of the suite's worlds.
var contracts atomic.Int64

// The contract, in front of a real API server: what the fake of package leasetest does
// that lets it pass there, a real one does, too.
func TestContract(t *testing.T) {
	locktest.Run(t, locktest.Backend{New: func(t testing.TB) locktest.World {
		return leasetest.NewWorld(t, leasetest.Options{
			API: api, Cluster: people{}, Namespace: cluster.Namespace, Lock: fmt.Sprintf("contract%d", contracts.Add(1)),
		})
	}})
}

// people are those who may do anything.
type people struct{}

func (people) Leases(ctx context.Context) ([]coordinationv1.Lease, error) {
	list, err := shared.Client.CoordinationV1().Leases(cluster.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

func (people) Create(ctx context.Context, name string) error {
	_, err := shared.Client.CoordinationV1().Leases(cluster.Namespace).Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	return err
}

func (people) Patch(ctx context.Context, name, patch string) error {
	_, err := shared.Client.CoordinationV1().Leases(cluster.Namespace).Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "person"})
	return err
}

func (people) Delete(ctx context.Context, name string) error {
	return shared.Client.CoordinationV1().Leases(cluster.Namespace).Delete(ctx, name, metav1.DeleteOptions{})
}

func (people) AddNode(ctx context.Context, name string) (types.UID, error) {
	n, err := shared.Client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{cluster.DownLabel: "true"},
	}}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	return n.UID, nil
}

func (people) DeleteNode(ctx context.Context, name string) error {
	return shared.Client.CoreV1().Nodes().Delete(ctx, name, metav1.DeleteOptions{})
}
