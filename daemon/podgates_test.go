package daemon_test

import (
	"context"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/pods"
	"rebootd.dev/daemon/sim"
)

// somePods is an API server with pods; it counts what is asked.
type somePods struct {
	mu             sync.Mutex
	all            []corev1.Pod
	lists, watches int
	changed        chan watch.Event
}

func (s *somePods) ListPods(context.Context, string, metav1.ListOptions) (*corev1.PodList, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lists++
	return &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}, Items: s.all}, nil
}

func (s *somePods) WatchPods(context.Context, string, metav1.ListOptions) (watch.Interface, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches++
	s.changed = make(chan watch.Event)
	return watch.NewProxyWatcher(s.changed), nil
}

func (s *somePods) set(all ...corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = all
}

func (s *somePods) asked() (lists, watches int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lists, s.watches
}

func podOn(node, name string) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ml", Name: name, UID: types.UID(name), Labels: map[string]string{"app": "training"}},
		Spec:       corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: corev1.PodRunning},
	}
}

// A pod that blocks has the node give its slot up before anything is done to it, and come
// back when the pod may be gone. It is asked for when it is the node's turn, once, and not
// while the node waits.
func TestPodsBlock(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		selector, err := pods.ParseSelector("metadata.namespace=ml,app=training")
		if err != nil {
			t.Fatal(err)
		}
		server := new(somePods)
		server.set(podOn("a", "train-1"))
		other := newOther(t, w)
		other.takesWhatIsFree()
		start(t, m, withGate(&pods.Blocking{API: server, Node: "a", Selectors: []pods.Selector{selector}}))
		pass(time.Minute)
		m.Touch(sentinelPath, "")
		pass(time.Hour)
		told(t, m, "Queued", api.ReasonQueued)
		if lists, _ := server.asked(); lists != 0 {
			t.Errorf("it is not the node's turn, and the pods were listed %d times", lists)
		}
		other.releases(t)
		pass(30 * time.Second)
		told(t, m, "Waiting", api.ReasonPodsBlock, "1 pod on this node blocks the reboot: ml/train-1; next try at ")
		other.takesWhatIsFree() // it is free
		if lists, watches := server.asked(); lists != 1 || watches != 0 || !other.held {
			t.Errorf("%d lists, %d watches; the slot is another's: %t", lists, watches, other.held)
		}
		other.releases(t)
		pass(2 * time.Minute)
		if lists, _ := server.asked(); lists != 2 {
			t.Errorf("the next time, %d lists", lists)
		}
		server.set()
		pass(3 * time.Minute)
		told(t, m, "Draining, with a slot, cordoned", api.ReasonDraining)
		server.set(podOn("a", "train-2")) // what has begun is finished
		pass(5 * time.Minute)
		told(t, m, "Draining, with a slot, cordoned", api.ReasonDraining)
	})
}

// After the boot the node is healthy only when the pods of its DaemonSets are Ready, which
// is looked at only once the kubelet has reported the boot.
func TestDaemonSetsAreWaitedFor(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		m.Drain.Pods(0)
		server := new(somePods)
		s := withGate(&pods.DaemonSets{API: server, Node: "a"})
		rebootsInASecond(t, m, s)
		start(t, m, s)
		cni := podOn("a", "cni-1")
		controller := true
		cni.OwnerReferences = []metav1.OwnerReference{{Kind: "DaemonSet", Name: "cni", UID: "cni", Controller: &controller}}
		cni.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "agent", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}}}
		server.set(cni)
		pass(time.Minute)
		m.Touch(sentinelPath, "")
		pass(15 * time.Second)
		told(t, m, "Verifying, with a slot, cordoned", api.ReasonVerifying, "the kubelet has not reported this boot yet")
		if lists, watches := server.asked(); lists != 0 || watches != 0 {
			t.Errorf("the kubelet has not reported the boot: %d lists, %d watches", lists, watches)
		}
		pass(time.Minute)
		told(t, m, "Verifying, with a slot, cordoned", api.ReasonVerifying, "waiting for the node to be healthy; 1 DaemonSet pod is not Ready: ml/cni-1 (CrashLoopBackOff in the container agent)")
		pass(healthTimeout)
		told(t, m, "Halted, with a slot, cordoned", api.ReasonUnhealthy, "1 DaemonSet pod is not Ready: ml/cni-1")

		cni.Status.ContainerStatuses[0].State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}
		cni.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		select {
		case server.changed <- watch.Event{Type: watch.Modified, Object: &cni}:
		case <-time.After(time.Minute):
			t.Fatal("nobody watches the pods")
		}
		pass(time.Minute)
		if got := where(m); got != "idle" {
			t.Errorf("they are Ready, and the node is %s", got)
		}
		if lists, watches := server.asked(); lists != 1 || watches != 1 {
			t.Errorf("%d lists, %d watches", lists, watches)
		}
	})
}
