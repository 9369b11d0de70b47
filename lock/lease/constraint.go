package lease

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
)

// A constraint is a Lease that goes with a slot and restricts who may hold one at
// the same time. Its holderIdentity is a value that its holders must agree on:
// server-side apply lets several managers say the same, refuses another value,
// and drops the field with the last that says it. So the API server counts them.
//
// A constraint is taken after the slot and given up before it: who says a value
// holds a slot, or has lost it and may be at work still, since a node whose slot was
// taken away says it until it is done: Acquire, Release, and Find of one that has not
// begun give up what went with a slot that is lost. A zone that nobody with a slot can have said is left over, of a
// holder that is gone, and is replaced. The name of a control-plane node is never:
// it is that node's own, and goes with its Node.
type constraint struct {
	lease string
	value string
	// isHolder says that the value is the name of the slot's holder.
	isHolder bool
}

// constraints are those that the claimant is under.
func (l *Lock) constraints() []constraint {
	as := l.claimant()
	var out []constraint
	if as.Zone != "" {
		out = append(out, constraint{lease: api.ZoneName(l.cfg.Name), value: as.Zone})
	}
	if as.ControlPlane {
		out = append(out, constraint{lease: api.ControlPlaneName(l.cfg.Name), value: l.cfg.Node, isHolder: true})
	}
	return out
}

func (l *Lock) isConstraint(lease string) bool {
	return lease == api.ZoneName(l.cfg.Name) || lease == api.ControlPlaneName(l.cfg.Name)
}

// constraint is the value of a constraint as it is seen, "" if nobody holds it.
func (v *view) constraint(c constraint) string {
	if lease := v.constraints[c.lease]; lease != nil {
		return holderOf(lease)
	}
	return ""
}

// words say who stands in the way whose value of the constraint is has, as far as that
// is known.
func (c constraint) words(has string) string {
	unknown := has == "" || has == c.value
	has = printable.Line(has, maxReason)
	_, zone, labelled := strings.Cut(has, "=")
	switch {
	case c.isHolder && unknown:
		return "another control-plane node is rebooting"
	case c.isHolder:
		return fmt.Sprintf("control-plane node %s is rebooting", has)
	case unknown:
		return "nodes of another zone are rebooting"
	case labelled:
		return fmt.Sprintf("nodes of zone %s are rebooting", zone)
	default:
		return fmt.Sprintf("nodes without the label %s are rebooting", has)
	}
}

// leftOver says whether a constraint's value cannot be that of a slot's holder
// other than this node.
func (v *view) leftOver(c constraint) bool {
	if c.isHolder {
		return false
	}
	for _, lease := range v.leases {
		if h := holderOf(lease); h != "" && h != v.lock.cfg.Node {
			return false
		}
	}
	return true
}

// barred says by which constraint, and whose value, this node is kept from holding
// a slot now.
func (v *view) barred() (constraint, string, bool) {
	for _, c := range v.lock.constraints() {
		if has := v.constraint(c); has != "" && has != c.value && !v.leftOver(c) {
			return c, has, true
		}
	}
	return constraint{}, "", false
}

// applyConstraint says our value; over takes it from a left-over one, if it is
// still as it was read.
func (l *Lock) applyConstraint(ctx context.Context, c constraint, over *coordinationv1.Lease) error {
	a := applied{
		Metadata: appliedMeta{Name: c.lease, Annotations: map[string]string{api.LeaseSchemaAnnotation: strconv.Itoa(api.LeaseSchema)}},
		Spec:     &appliedSpec{HolderIdentity: c.value},
	}
	if c.isHolder {
		a.Metadata.OwnerReferences = l.owner()
	}
	if over != nil {
		a.Metadata.UID, a.Metadata.ResourceVersion = over.UID, over.ResourceVersion
	}
	_, err := l.apply(ctx, a, over != nil)
	return err
}

// takeConstraints takes what goes with the slot that was just taken. ok is false when
// another holder's value stands against it; replaced says that a value was replaced
// that was left over: who has said it may be at work still.
func (l *Lock) takeConstraints(ctx context.Context) (ok, replaced bool, err error) {
	for _, c := range l.constraints() {
		err := l.applyConstraint(ctx, c, nil)
		if isRefused(err) {
			// A look at the newest state, in which our slot is seen by others, too: of
			// two that look at the same time each sees the other's.
			v, listErr := l.list(ctx)
			if listErr != nil {
				return false, replaced, listErr
			}
			has := v.constraints[c.lease]
			if has == nil || !v.leftOver(c) || tooNew(has) {
				return false, replaced, nil
			}
			if err = l.applyConstraint(ctx, c, has); isRefused(err) {
				return false, replaced, nil
			}
			replaced = true
		}
		if err != nil {
			return false, replaced, err
		}
	}
	return true, replaced, nil
}

// releaseConstraints says nothing any more of constraints, whichever this node has
// said something of.
func (l *Lock) releaseConstraints(ctx context.Context, v *view) error {
	for _, lease := range v.constraints {
		if !l.says(lease) {
			continue
		}
		if _, err := l.applyNothing(ctx, lease); err != nil && !isGone(err) {
			return fmt.Errorf("release the zone, or what says that this is a control-plane node: %w", err)
		}
	}
	return nil
}

// says whether this node has said something of a Lease.
func (l *Lock) says(lease *coordinationv1.Lease) bool {
	return slices.ContainsFunc(lease.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == l.manager })
}
