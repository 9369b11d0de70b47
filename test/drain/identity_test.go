package drain

import (
	"net/http"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/drain"
	"rebootd.dev/test/cluster"
	"rebootd.dev/test/proxy"
)

// stateful makes a StatefulSet of one pod, which is on the node that is drained;
// its replacement may only go to the other one.
func (b *bed) stateful() *corev1.Pod {
	b.Helper()
	one := int32(1)
	set := &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: b.ns}, Spec: appsv1.StatefulSetSpec{
		Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}, Template: cluster.Template("db", nil),
	}}
	set.Spec.Template.Spec.NodeSelector = map[string]string{"bed": b.ns}
	b.patchNode(b.other, `{"spec":{"unschedulable":true}}`)
	_, err := shared.Client.AppsV1().StatefulSets(b.ns).Create(b.ctx, set, metav1.CreateOptions{})
	b.must(err)
	b.ready("db-0")
	b.patchNode(b.other, `{"spec":{"unschedulable":null}}`)
	p, err := shared.Client.CoreV1().Pods(b.ns).Get(b.ctx, "db-0", metav1.GetOptions{})
	b.must(err)
	return p
}

// The replacement of a StatefulSet's pod has the same name, and is on another
// node: it is not evicted.
func TestStatefulSetReplacementIsLeftAlone(t *testing.T) {
	b := newBed(t)
	b.stateful()
	b.start()
	p := b.drained()
	b.expect(p, "db-0", "relocated")
	if got := p.Report.Pods[0].To; got != b.other {
		t.Errorf("relocated to %q", got)
	}
	pod, err := shared.Client.CoreV1().Pods(b.ns).Get(b.ctx, "db-0", metav1.GetOptions{})
	b.must(err)
	if pod.Spec.NodeName != b.other || pod.DeletionTimestamp != nil {
		t.Errorf("the replacement is on %q, deleted %v", pod.Spec.NodeName, pod.DeletionTimestamp)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(p.Report.Pods) != 1 || b.evictions["201"] != 1 {
		t.Errorf("answers to evictions: %v, want one 201", b.evictions)
	}
}

// An eviction, or a deletion by force, that arrives when the pod's replacement has
// its name already does nothing to that.
func TestRequestThatArrivesAfterTheReplacement(t *testing.T) {
	for _, force := range []bool{false, true} {
		t.Run(map[bool]string{false: "eviction", true: "deletion"}[force], func(t *testing.T) {
			b := newBed(t)
			first := b.stateful()
			arrive, held := make(chan struct{}), make(chan struct{}, 16)
			b.through().Faults(func(r *http.Request) proxy.Fault {
				eviction := strings.HasSuffix(r.URL.Path, "/eviction")
				switch {
				case eviction && force:
					return proxy.Fault{Answer: &metav1.Status{Status: metav1.StatusFailure, Code: http.StatusTooManyRequests, Message: "no"}}
				case eviction, r.Method == http.MethodDelete:
					held <- struct{}{}
					return proxy.Fault{Until: arrive}
				default:
					return proxy.Fault{}
				}
			})
			b.start(func(_ *drain.Config, o *drain.Options) {
				if force {
					o.Limit = time.Nanosecond // is over at once
				}
			})
			<-held
			b.deletePod("db-0")
			var second types.UID
			b.must(shared.WaitPods(b.ctx, b.ns, "replaced", func(pods map[string]*corev1.Pod) bool {
				p := pods["db-0"]
				if p == nil || p.UID == first.UID || !cluster.PodReady(p) {
					return false
				}
				second = p.UID
				return true
			}))
			close(arrive)
			b.drained()
			pod, err := shared.Client.CoreV1().Pods(b.ns).Get(b.ctx, "db-0", metav1.GetOptions{})
			b.must(err)
			if pod.UID != second || pod.DeletionTimestamp != nil {
				t.Errorf("the replacement was told to go: deleted %v, or replaced itself (%t)", pod.DeletionTimestamp, pod.UID != second)
			}
		})
	}
}
