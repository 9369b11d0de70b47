package policy

import (
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/test/cluster"
)

// A Node that is deleted and made anew while the daemon's pod lives on is not the one of
// the pod's token: no slot is taken in its name until the kubelet has renewed that.
func TestNodeIsMadeAnewUnderItsPod(t *testing.T) {
	b := newBed(t, "anew")
	old := b.token(b.pod)
	was := b.uid(b.own)
	b.must(shared.Client.CoreV1().Nodes().Delete(b.ctx, b.own, metav1.DeleteOptions{}))
	b.must(shared.AddNode(b.ctx, b.own))
	is := b.uid(b.own)
	take := func(token, name string) error {
		body := fmt.Sprintf(`{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":%q,"annotations":{"rebootd.dev/holder-uid":%q},"ownerReferences":[%s]},"spec":{"holderIdentity":%q}}`, name, is, owner(b.own, is), b.own)
		_, err := b.client(token, nil).CoordinationV1().Leases(cluster.Namespace).Patch(b.ctx, name, types.ApplyPatchType, []byte(body), metav1.PatchOptions{FieldManager: "rebootd/" + b.own})
		return err
	}
	if err := take(old, b.ns+"-0"); !apierrors.IsForbidden(err) {
		t.Errorf("as the Node %s, with the token of %s: %v, want that it is refused", is, was, err)
	}
	b.must(take(b.token(b.daemonPod(b.own)), b.ns+"-1"))
}
