package lock

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A companion is a Lease that goes with a slot and restricts who may hold one at
// the same time. Its holderIdentity is a value that its holders must agree on:
// server-side apply lets several managers say the same, refuses another value,
// and drops the field with the last that says it. So the API server counts them.
//
// A companion is taken after the slot and given up before it: who says a value
// holds a slot, or has lost it and may be at work still, since a node whose slot was
// taken away says it until it is done: Acquire, Release, and Find of one that has not
// begun give up what went with a slot that is lost. A zone that nobody with a slot can have said is left over, of a
// holder that is gone, and is replaced. The name of a control-plane node is never:
// it is that node's own, and goes with its Node.
type companion struct {
	lease string
	value string
	// isHolder says that the value is the name of the slot's holder.
	isHolder bool
}

const (
	zoneSuffix         = "-zone"
	controlPlaneSuffix = "-control-plane"
)

// companions are those that go with what was asked.
func (l *Lock) companions() []companion {
	ask := l.getAsk()
	var out []companion
	if ask.Zone != "" {
		out = append(out, companion{lease: l.cfg.Name + zoneSuffix, value: ask.Zone})
	}
	if ask.ControlPlane {
		out = append(out, companion{lease: l.cfg.Name + controlPlaneSuffix, value: l.cfg.Node, isHolder: true})
	}
	return out
}

func (l *Lock) isCompanion(lease string) bool {
	return lease == l.cfg.Name+zoneSuffix || lease == l.cfg.Name+controlPlaneSuffix
}

// companion is the value of a companion as it is seen, "" if nobody holds it.
func (v *view) companion(c companion) string {
	if lease := v.companions[c.lease]; lease != nil {
		return holderOf(lease)
	}
	return ""
}

// leftOver says whether a companion's value cannot be that of a slot's holder
// other than this node.
func (v *view) leftOver(c companion) bool {
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

// barred says by which companion, and whose value, this node is kept from holding
// a slot now.
func (v *view) barred() (companion, string, bool) {
	for _, c := range v.lock.companions() {
		if has := v.companion(c); has != "" && has != c.value && !v.leftOver(c) {
			return c, has, true
		}
	}
	return companion{}, "", false
}

// applyCompanion says our value; over takes it from a left-over one, if it is
// still as it was read.
func (l *Lock) applyCompanion(ctx context.Context, c companion, over *coordinationv1.Lease) error {
	a := applied{
		Metadata: appliedMeta{Name: c.lease, Annotations: map[string]string{SchemaAnnotation: strconv.Itoa(schema)}},
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

// takeCompanions takes what goes with the slot that was just taken. ok is false when
// another holder's value stands against it; replaced says that a value was replaced
// that was left over: who has said it may be at work still.
func (l *Lock) takeCompanions(ctx context.Context) (ok, replaced bool, err error) {
	for _, c := range l.companions() {
		err := l.applyCompanion(ctx, c, nil)
		if isRefused(err) {
			// A look at the newest state, in which our slot is seen by others, too: of
			// two that look at the same time each sees the other's.
			v, listErr := l.list(ctx)
			if listErr != nil {
				return false, replaced, listErr
			}
			has := v.companions[c.lease]
			if has == nil || !v.leftOver(c) || tooNew(has) {
				return false, replaced, nil
			}
			if err = l.applyCompanion(ctx, c, has); isRefused(err) {
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

// releaseCompanions says nothing any more of companions, whichever this node has
// said something of.
func (l *Lock) releaseCompanions(ctx context.Context, v *view) error {
	for _, lease := range v.companions {
		if !l.says(lease) {
			continue
		}
		if _, err := l.applyNothing(ctx, lease); err != nil && !isGone(err) {
			return fmt.Errorf("give up what goes with the slot: %w", err)
		}
	}
	return nil
}

// says whether this node has said something of a Lease.
func (l *Lock) says(lease *coordinationv1.Lease) bool {
	return slices.ContainsFunc(lease.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return e.Manager == l.manager })
}
