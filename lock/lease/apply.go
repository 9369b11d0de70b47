package lease

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

	"rebootd.dev/daemon/api"
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
	// OwnerReferences have the garbage collector delete the Lease with the Node.
	OwnerReferences []metav1.OwnerReference `json:"ownerReferences,omitempty"`
}

type appliedSpec struct {
	HolderIdentity       string            `json:"holderIdentity"`
	LeaseDurationSeconds int32             `json:"leaseDurationSeconds,omitempty"`
	AcquireTime          *metav1.MicroTime `json:"acquireTime,omitempty"`
	RenewTime            *metav1.MicroTime `json:"renewTime,omitempty"`
}

// owner is this node's Node.
func (l *Lock) owner() []metav1.OwnerReference {
	uid := l.claimant().UID
	if uid == "" {
		return nil
	}
	return []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: l.cfg.Node, UID: uid}}
}

// applyHeld says that the slot is ours since acquired. It sets held on success.
func (l *Lock) applyHeld(ctx context.Context, name string, acquired time.Time, g guard) (*coordinationv1.Lease, error) {
	since, now := metav1.NewMicroTime(acquired), metav1.NewMicroTime(time.Now())
	annotations := map[string]string{api.LeaseSchemaAnnotation: strconv.Itoa(api.LeaseSchema)}
	if uid := l.claimant().UID; uid != "" {
		annotations[api.HolderUIDAnnotation] = string(uid)
	}
	lease, err := l.apply(ctx, applied{
		Metadata: appliedMeta{Name: name, UID: g.uid, ResourceVersion: g.resourceVersion, Annotations: annotations, OwnerReferences: l.owner()},
		Spec: &appliedSpec{
			HolderIdentity:       l.cfg.Node,
			LeaseDurationSeconds: int32(l.cfg.Duration / time.Second),
			AcquireTime:          &since,
			RenewTime:            &now,
		},
	}, false)
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

// vacate frees a slot that is ours, on the condition that it has not changed since
// it was read, and says who is next. It is a plain patch: an apply would leave
// behind what another manager says, too, and would own the line for ever.
func (l *Lock) vacate(ctx context.Context, lease *coordinationv1.Lease, next api.Line, at time.Time) error {
	annotations := map[string]any{api.ReleasedByAnnotation: nil}
	if !at.IsZero() {
		annotations[api.VacatedAnnotation] = at.UTC().Format(time.RFC3339)
	}
	// One that people have given to this node meanwhile may be another's that is at work.
	if l.mayUse() && l.says(lease) && !l.othersSay(lease) {
		annotations[api.ReleasedByAnnotation] = l.cfg.Node
	}
	if err := annotate(annotations, next); err != nil {
		return fmt.Errorf("encode the line of the Lease %s: %w", lease.Name, err)
	}
	if _, err := l.empty(ctx, lease, annotations, nil); err != nil {
		return fmt.Errorf("release the Lease %s/%s: %w", l.cfg.Namespace, lease.Name, err)
	}
	return nil
}

// annotate puts a line into the annotations of a slot that is given up; what is nil is
// removed.
func annotate(annotations map[string]any, line api.Line) error {
	annotations[api.NextAnnotation], annotations[api.LineAnnotation] = nil, nil
	next, further, err := line.Annotations()
	if next != "" {
		annotations[api.NextAnnotation], annotations[api.LineAnnotation] = next, further
	}
	return err
}

// empty leaves nothing of what was said of a slot, so that the account of who has
// said what does not grow with each node that has held it; but these annotations,
// and the holder, nil for none.
func (l *Lock) empty(ctx context.Context, lease *coordinationv1.Lease, annotations map[string]any, holder any) (*coordinationv1.Lease, error) {
	annotations[api.HolderUIDAnnotation], annotations[api.LeaseSchemaAnnotation] = nil, nil
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{
			"uid": lease.UID, "resourceVersion": lease.ResourceVersion, "annotations": annotations, "ownerReferences": nil,
			// One empty entry is how the account is cleared
			// (https://kubernetes.io/docs/reference/using-api/server-side-apply/#clearing-managedfields):
			// whoever is on it for a field keeps others from saying that, also when there is
			// nothing said.
			"managedFields": []any{map[string]any{}},
		},
		"spec": map[string]any{"holderIdentity": holder, "acquireTime": nil, "renewTime": nil, "leaseDurationSeconds": nil},
	})
	if err != nil || l.cfg.DryRun {
		return lease, err
	}
	return l.cfg.API.MergePatchLease(ctx, l.cfg.Namespace, lease.Name, body)
}

// nothingSaid is for a slot that was not given up, and is for nobody.
func nothingSaid() map[string]any {
	return map[string]any{api.ReleasedByAnnotation: nil, api.NextAnnotation: nil, api.LineAnnotation: nil}
}

// clean removes what is left on a slot that nobody holds and that was not given up:
// people have cleared it. What its last holder has said would be in the way of the
// next, and its Node is no more the owner.
func (l *Lock) clean(ctx context.Context, lease *coordinationv1.Lease) error {
	if _, err := l.empty(ctx, lease, nothingSaid(), nil); err != nil {
		return fmt.Errorf("remove what was left on the Lease %s/%s when people cleared it: %w", l.cfg.Namespace, lease.Name, err)
	}
	return nil
}

// isClean says whether nothing is left on a slot of one that has held it.
func isClean(lease *coordinationv1.Lease) bool {
	s, a := lease.Spec, lease.Annotations
	return s.HolderIdentity == nil && s.AcquireTime == nil && s.RenewTime == nil && s.LeaseDurationSeconds == nil &&
		len(lease.OwnerReferences) == 0 && a[api.HolderUIDAnnotation] == "" && a[api.LeaseSchemaAnnotation] == ""
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
