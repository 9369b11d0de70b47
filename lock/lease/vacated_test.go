package lease_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	words "rebootd.dev/daemon/api"
	"rebootd.dev/lock/lease"
	"rebootd.dev/lock/lease/leasetest"
)

// olderPolicy refuses what it does not know, as an admission policy of an older version.
type olderPolicy struct {
	*leasetest.API
	refused int
}

func (p *olderPolicy) MergePatchLease(ctx context.Context, namespace, name string, body []byte) (*coordinationv1.Lease, error) {
	if bytes.Contains(body, []byte(words.VacatedAnnotation)) {
		p.refused++
		return nil, apierrors.NewForbidden(schema.GroupResource{Resource: "leases"}, name, nil)
	}
	return p.API.MergePatchLease(ctx, namespace, name, body)
}

// The time goes with the release, in one request, and stays over releases that know nothing
// of it. What else stands there, by people's hand, is nobody's word.
func TestVacated(t *testing.T) {
	inBubble(t, func(s *stored) {
		a, b := s.lock("a", nil), s.lock("b", nil)
		s.must(s.tries(a))
		at := time.Date(2026, 1, 2, 3, 4, 5, 600, time.FixedZone("", 3600))
		s.must(a.ReleaseWorked(s.Context(), words.Line{Nodes: []string{"b"}}, at))
		if got := s.slot().Annotations; got[words.VacatedAnnotation] != "2026-01-02T02:04:05Z" || got[words.ReleasedByAnnotation] != "a" || got[words.NextAnnotation] != "b" {
			s.Errorf("the slot says %v", got)
		}
		s.must(s.tries(b))
		s.must(b.Release(s.Context(), words.Line{}))
		if got := s.slot().Annotations[words.VacatedAnnotation]; got != "2026-01-02T02:04:05Z" {
			s.Errorf("after another's release it says %q", got)
		}
		for _, wrong := range []string{"yesterday", "", "2026-13-01T00:00:00Z"} {
			s.must(s.api.Patch(s.Context(), "l-0", `{"metadata":{"annotations":{"rebootd.dev/vacated":"`+wrong+`"}}}`))
			s.must(s.tries(b))
			if got := b.Vacated(); !got.IsZero() {
				s.Errorf("%q is %s", wrong, got)
			}
			s.must(b.Release(s.Context(), words.Line{}))
		}
	})
}

// An admission policy of an older version keeps no slot from being released.
func TestVacatedUnderAnOlderPolicy(t *testing.T) {
	inBubble(t, func(s *stored) {
		policy, told := &olderPolicy{API: s.api}, ""
		l := s.lock("a", func(c *lease.Config) {
			c.API, c.Log = policy, func(format string, _ ...any) { told += format }
		})
		s.must(s.tries(l))
		s.must(l.ReleaseWorked(s.Context(), words.Line{}, time.Now()))
		if slot := s.slot(); slot.Spec.HolderIdentity != nil || slot.Annotations[words.ReleasedByAnnotation] != "a" || policy.refused != 1 {
			s.Errorf("the slot is %v, %v, after %d refusals", slot.Spec, slot.Annotations, policy.refused)
		}
		if !strings.Contains(told, "releasing it without the time") {
			s.Errorf("the log says %q", told)
		}
	})
}
