package lock

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// applied is the apply configuration of a Lease: what a node says of a slot. An
// apply with no spec says nothing, and so gives up what it had said before.
type applied struct {
	APIVersion string       `json:"apiVersion"`
	Kind       string       `json:"kind"`
	Metadata   appliedMeta  `json:"metadata"`
	Spec       *appliedSpec `json:"spec,omitempty"`
}

type appliedMeta struct {
	Name            string            `json:"name"`
	Namespace       string            `json:"namespace"`
	UID             types.UID         `json:"uid,omitempty"`
	ResourceVersion string            `json:"resourceVersion,omitempty"`
	Annotations     map[string]string `json:"annotations,omitempty"`
}

type appliedSpec struct {
	HolderIdentity       string            `json:"holderIdentity"`
	LeaseDurationSeconds int32             `json:"leaseDurationSeconds,omitempty"`
	AcquireTime          *metav1.MicroTime `json:"acquireTime,omitempty"`
	RenewTime            *metav1.MicroTime `json:"renewTime,omitempty"`
}

// applyHeld says that the slot is ours since acquired. It sets held on success.
func (l *Lock) applyHeld(ctx context.Context, name string, acquired time.Time, g guard, force bool) (*coordinationv1.Lease, error) {
	since, now := metav1.NewMicroTime(acquired), metav1.NewMicroTime(time.Now())
	annotations := map[string]string{SchemaAnnotation: strconv.Itoa(schema)}
	if uid := l.getAsk().UID; uid != "" {
		annotations[HolderUIDAnnotation] = string(uid)
	}
	lease, err := l.apply(ctx, applied{
		Metadata: appliedMeta{Name: name, UID: g.uid, ResourceVersion: g.resourceVersion, Annotations: annotations},
		Spec: &appliedSpec{
			HolderIdentity:       l.cfg.Node,
			LeaseDurationSeconds: int32(l.cfg.Duration / time.Second),
			AcquireTime:          &since,
			RenewTime:            &now,
		},
	}, force)
	if err != nil {
		return nil, err
	}
	l.setHeld(lease)
	return lease, nil
}

// applyNothing gives up whatever we have said of the slot. The UID keeps the
// apply from creating a Lease that has been deleted.
func (l *Lock) applyNothing(ctx context.Context, lease *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	return l.apply(ctx, applied{Metadata: appliedMeta{Name: lease.Name, UID: lease.UID}}, false)
}

func (l *Lock) apply(ctx context.Context, a applied, force bool) (*coordinationv1.Lease, error) {
	a.APIVersion, a.Kind, a.Metadata.Namespace = "coordination.k8s.io/v1", "Lease", l.cfg.Namespace
	body, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encode the Lease %s: %w", a.Metadata.Name, err)
	}
	opts := metav1.PatchOptions{FieldManager: l.manager}
	if force {
		opts.Force = &force
	}
	if l.cfg.DryRun {
		opts.DryRun = []string{metav1.DryRunAll}
	}
	lease, err := l.cfg.API.ApplyLease(ctx, l.cfg.Namespace, a.Metadata.Name, body, opts)
	if err != nil {
		return nil, fmt.Errorf("apply the Lease %s/%s: %w", l.cfg.Namespace, a.Metadata.Name, err)
	}
	return lease, nil
}

// vacate frees a slot on the condition that it has not changed since it was read,
// and names the node that is to have it next, "" for none. It is a plain patch: an
// apply would leave behind what another manager says, too, and would own the name
// of the next for ever.
func (l *Lock) vacate(ctx context.Context, lease *coordinationv1.Lease, next string) error {
	// Nothing of ours is left, so that the account of who has said what does not grow
	// with each node that has held the slot.
	annotations := map[string]any{NextAnnotation: nil, HolderUIDAnnotation: nil, SchemaAnnotation: nil}
	if next != "" {
		annotations[NextAnnotation] = next
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": lease.UID, "resourceVersion": lease.ResourceVersion, "annotations": annotations},
		"spec":     map[string]any{"holderIdentity": nil, "acquireTime": nil, "renewTime": nil, "leaseDurationSeconds": nil},
	})
	if err != nil {
		return fmt.Errorf("encode the patch of the Lease %s: %w", lease.Name, err)
	}
	if l.cfg.DryRun {
		return nil
	}
	if _, err := l.cfg.API.MergePatchLease(ctx, l.cfg.Namespace, lease.Name, body); err != nil {
		return fmt.Errorf("give up the Lease %s/%s: %w", l.cfg.Namespace, lease.Name, err)
	}
	return nil
}

// get reads a slot; nil means that it is gone.
func (l *Lock) get(ctx context.Context, name string) (*coordinationv1.Lease, error) {
	lease, err := l.cfg.API.GetLease(ctx, l.cfg.Namespace, name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the Lease %s/%s: %w", l.cfg.Namespace, name, err)
	}
	return lease, nil
}
