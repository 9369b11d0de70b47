package e2e

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon/api"
)

// pastOperation is a history from before, as a newer version may have written it.
const pastOperation = `{"v":1,"operations":[{"id":"before","result":"Cancelled","ended":"2026-01-01T00:00:00Z","later":[1]}],"later":{"a":"b"}}`

// remembers checks that a Node's history has one operation more than before: a reboot
// that was verified, told in its order.
func (b *bed) remembers(n *corev1.Node, before int) api.Summary {
	b.Helper()
	text := n.Annotations["rebootd.dev/history"]
	h, err := api.ParseHistory([]byte(text))
	b.must(err)
	if len(h.Operations) != before+1 {
		b.Fatalf("the history has %d operations, want %d: %s", len(h.Operations), before+1, text)
	}
	s := h.Operations[0]
	var last time.Time
	for _, at := range []time.Time{s.Requested, s.Queued, s.Cordoned, s.Drained, s.Ordered, s.Back, s.Ended} {
		if at.IsZero() {
			continue // an older version has not noted it
		}
		if at.Before(last) {
			b.Errorf("in the history time goes backwards: %s", text)
		}
		last = at
	}
	if s.Result != api.ReasonRebootVerified || s.Ordered.IsZero() || s.NewBootID != n.Status.NodeInfo.BootID || s.BootID == "" {
		b.Errorf("the history says %s", text)
	}
	return s
}
