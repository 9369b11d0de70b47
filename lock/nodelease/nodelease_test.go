package nodelease

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

type right struct{ API }

func (right) ClockSkew() time.Duration { return 0 }

// The garbage collector is too quick for this to be seen on a cluster each time.
func TestOwner(t *testing.T) {
	l := &Lease{cfg: Config{API: right{}, Node: "a", Duration: time.Minute, Now: time.Now}}
	owned := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{Name: "as it was", UID: "old"}}}}
	if got := l.claimed(owned, "new").OwnerReferences; len(got) != 1 || got[0].UID != "new" || got[0].Name != "a" {
		t.Errorf("of another Node of the name, the owner is %+v", got)
	}
	for _, uid := range []string{"old", ""} {
		if got := l.claimed(owned, types.UID(uid)).OwnerReferences; len(got) != 1 || got[0].Name != "as it was" {
			t.Errorf("of the same Node, renewed for %q, the owner is changed to %+v", uid, got)
		}
	}
}
