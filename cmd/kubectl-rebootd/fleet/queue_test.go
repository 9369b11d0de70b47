package fleet

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
)

// BenchmarkQueue puts 5,000 nodes in order: a whole fleet that asks at once.
func BenchmarkQueue(b *testing.B) {
	now := time.Date(2026, 11, 28, 1, 30, 0, 0, time.UTC)
	var nodes []Node
	for i := range 5000 {
		entered := now.Add(-time.Duration(i) * time.Second).Format(time.RFC3339)
		nodes = append(nodes, NodeOf(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("node-%04d", i), Annotations: map[string]string{
			api.OperationAnnotation: fmt.Sprintf(`{"v":1,"id":"x","phase":"Queued","since":%q,"bootID":"b","cordoned":false,"requested":%q,"lock":"rebootd"}`, entered, entered),
		}}}))
	}
	f := Build(nodes, nil, nil, now)
	for b.Loop() {
		if q := f.Queue("rebootd"); len(q) != len(nodes) {
			b.Fatalf("%d of %d nodes have a place", len(q), len(nodes))
		}
	}
}
