package drain

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/drain"
	"rebootd.dev/test/cluster"
)

// A pod that comes after the node was drained goes, too, for as long as the drain is
// not ended; until then the node does not count as drained.
func TestPodsThatComeAfterTheDrain(t *testing.T) {
	b := newBed(t)
	b.goesOn = true
	b.start()
	first := b.progress("drained", func(p drain.Progress) bool { return p.Drained })
	spec := cluster.PodSpec()
	spec.NodeName = b.node
	_, err := shared.Client.CoreV1().Pods(b.ns).Create(b.ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "late"}, Spec: spec}, metav1.CreateOptions{})
	b.must(err)
	b.progress("not drained any more", func(p drain.Progress) bool { return !p.Drained && p.Report.Finished.IsZero() })
	last := b.progress("drained again", func(p drain.Progress) bool { return p.Drained })
	b.expect(last, "late", "drained")
	if !last.Report.Finished.After(first.Report.Finished) {
		t.Errorf("drained at %s, and again at %s", first.Report.Finished, last.Report.Finished)
	}
}
