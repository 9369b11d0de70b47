package lease

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/watch"

	words "rebootd.dev/daemon/api"
)

// patchAPI carries out a merge patch as far as a line goes.
type patchAPI struct {
	*fakeAPI
	v       *queueView
	patched []string
}

func (c *patchAPI) MergePatchLease(_ context.Context, _, name string, body []byte) (*coordinationv1.Lease, error) {
	var patch struct {
		Metadata struct {
			Annotations map[string]*string `json:"annotations"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(body, &patch); err != nil {
		return nil, err
	}
	c.patched = append(c.patched, name)
	i, _ := c.v.lock.index(name)
	lease := c.v.leases[i].DeepCopy()
	for k, s := range patch.Metadata.Annotations {
		delete(lease.Annotations, k)
		if s != nil {
			lease.Annotations[k] = *s
		}
	}
	c.v.see(watch.Modified, lease)
	return lease, nil
}

// Whose turn it was, and who has a slot now, is not waited for because of what is left
// on another slot. One that people have cleared is not touched: its next holder cleans it.
func TestTurnEnds(t *testing.T) {
	line := words.Line{Nodes: []string{"b", "later"}, Turn: []string{"b"}, At: time.Now()}
	v := newQueueView(t, "b", "b")
	api := &patchAPI{fakeAPI: &fakeAPI{}, v: v}
	v.lock.cfg.API = api
	for i := range 3 {
		v.slot(i, "", line)
	}
	for _, i := range []int{0, 1} {
		v.leases[i].Annotations[words.ReleasedByAnnotation] = "x" // 2 was cleared
	}
	v.lock.endTurn(t.Context(), v.view, "l-1")
	if len(api.patched) != 1 || api.patched[0] != "l-0" {
		t.Fatalf("patched %v", api.patched)
	}
	if got := lineOf(v.leases[0]); len(got.Nodes) != 1 || got.Nodes[0] != "later" || len(got.Turn) != 0 {
		t.Errorf("left is %+v", got)
	}
	if !v.lock.handedOn(v.leases[0]) {
		t.Error("the slot is not handed on any more")
	}
	late := newQueueView(t, "late", "a")
	late.zone("a")
	late.slot(1, "x", words.Line{})
	late.see(watch.Modified, v.leases[0])
	if got := late.wait(); got > 3*time.Second {
		t.Errorf("who comes to the zone that is open later waits for %s", got)
	}
}
