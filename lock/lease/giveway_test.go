package lease

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/api"
	"rebootd.dev/lock"
)

// zoneAPI has a free slot, and refuses whatever is said of the zone.
type zoneAPI struct{ *fakeAPI }

func (c zoneAPI) ApplyLease(_ context.Context, _, name string, _ []byte, _ metav1.PatchOptions) (*coordinationv1.Lease, error) {
	c.applies = append(c.applies, time.Now())
	if name != "l-0" {
		return nil, &apierrors.StatusError{ErrStatus: metav1.Status{Reason: metav1.StatusReasonConflict, Code: http.StatusConflict}}
	}
	lease := slotOf("waiter")
	return &lease, nil
}

// Who cannot have the zone of a slot, though nothing that it sees stands against it (a
// newer version has written it), tries ever less often.
func TestZoneThatIsRefusedAndNotTold(t *testing.T) {
	for name, holder := range map[string]string{"left over": "b", "its own": "a"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				zone := slotOf(holder)
				zone.Name, zone.UID, zone.Annotations = "l-zone", "z", map[string]string{api.LeaseSchemaAnnotation: "2"}
				c := zoneAPI{&fakeAPI{leases: []coordinationv1.Lease{slotOf(""), zone}, version: 7}}
				c.open = func(string) (watch.Interface, error) { return watch.NewProxyWatcher(make(chan watch.Event)), nil }
				l := c.lock(t, "waiter")
				l.cfg.API = c
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
				defer cancel()
				_, _ = l.Acquire(ctx, lock.Claimant{Zone: "a"}, func(lock.Waiting) {
					if len(c.applies) > 1000 {
						cancel()
					}
				})
				if n := len(c.applies); n < 60 || n > 250 {
					t.Errorf("%d writes in ten minutes", n)
				}
			})
		})
	}
}
