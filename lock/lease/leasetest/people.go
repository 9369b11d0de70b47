package leasetest

import (
	"context"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Cluster is what is done to Leases and Nodes by others than the lock.
type Cluster interface {
	// Leases are all Leases of the namespace.
	Leases(ctx context.Context) ([]coordinationv1.Lease, error)
	// Create makes an empty Lease, Patch patches one (JSON merge patch), and Delete
	// deletes it, as people do.
	Create(ctx context.Context, name string) error
	Patch(ctx context.Context, name, patch string) error
	Delete(ctx context.Context, name string) error
	// AddNode makes a Node that has no kubelet. DeleteNode deletes it, and with it, a moment
	// later, the Leases that it owns.
	AddNode(ctx context.Context, name string) (types.UID, error)
	DeleteNode(ctx context.Context, name string) error
}

var _ Cluster = (*API)(nil)

// Leases implements Cluster.
func (a *API) Leases(context.Context) ([]coordinationv1.Lease, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []coordinationv1.Lease
	for _, s := range a.leases {
		out = append(out, *s.lease())
	}
	return out, nil
}

// Create implements Cluster.
func (a *API) Create(_ context.Context, name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.leases[name] == nil {
		a.store(name, nil, a.draft("", name, nil), nil)
	}
	return nil
}

// Patch implements Cluster.
func (a *API) Patch(_ context.Context, name, patch string) error {
	_, err := a.patch(name, []byte(patch), "person")
	return err
}

// Delete implements Cluster.
func (a *API) Delete(_ context.Context, name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.remove(name)
}

// AddNode implements Cluster.
func (a *API) AddNode(_ context.Context, name string) (types.UID, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.nodes[name] != "" {
		return "", fmt.Errorf("there is a Node %s already", name)
	}
	a.serial++
	a.nodes[name] = types.UID(fmt.Sprintf("node-%d", a.serial))
	return a.nodes[name], nil
}

// DeleteNode implements Cluster.
func (a *API) DeleteNode(_ context.Context, name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	uid := a.nodes[name]
	delete(a.nodes, name)
	a.collect(uid)
	return nil
}
