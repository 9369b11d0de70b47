package drain

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// fakeNode is a node's pods and what the API says of them. What a real API server
// does is tested in test/drain; here its answers are given, and time is.
type fakeNode struct {
	API
	evict  func(name string) error // nil: accepted, and gone at once
	remove func(name string) error
	list   func() error  // of the newest state
	hangs  time.Duration // an eviction, before it is answered

	mu      sync.Mutex
	pods    map[string]*corev1.Pod
	watcher *watch.FakeWatcher
	behind  bool // the watch, and lists from the cache: they do not know of what comes
	lists   int  // of the newest state
	evicted []time.Time
	deleted []metav1.DeleteOptions
}

func newFakeNode(names ...string) *fakeNode {
	n := &fakeNode{pods: map[string]*corev1.Pod{}, watcher: watch.NewFakeWithChanSize(100, false)}
	for _, name := range names {
		n.pods[name] = fakePod(name)
	}
	return n
}

func fakePod(name string) *corev1.Pod {
	grace := int64(30)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name), CreationTimestamp: metav1.Now()},
		Spec:       corev1.PodSpec{NodeName: "node", TerminationGracePeriodSeconds: &grace},
	}
}

func (n *fakeNode) ListPods(_ context.Context, _ string, opts metav1.ListOptions) (*corev1.PodList, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}}
	if opts.ResourceVersion == "0" {
		if n.behind {
			return list, nil
		}
	} else {
		n.lists++
		if n.list != nil {
			return nil, n.list()
		}
	}
	for _, p := range n.pods {
		list.Items = append(list.Items, *p.DeepCopy())
	}
	return list, nil
}

func (n *fakeNode) WatchPods(_ context.Context, _ string, opts metav1.ListOptions) (watch.Interface, error) {
	if strings.HasPrefix(opts.FieldSelector, "spec.nodeName=") {
		return n.watcher, nil
	}
	return watch.NewFake(), nil // replacements elsewhere: none
}

func (n *fakeNode) come(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pods[name] = fakePod(name)
	if !n.behind {
		n.watcher.Add(n.pods[name].DeepCopy())
	}
}

// touch has the watch tell of a pod that has not changed in what matters.
func (n *fakeNode) touch(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.watcher.IsStopped() {
		n.watcher.Modify(n.pods[name].DeepCopy())
	}
}

func (n *fakeNode) leave(name string) {
	p := n.pods[name]
	delete(n.pods, name)
	if p != nil && !n.behind {
		n.watcher.Delete(p)
	}
}

func (n *fakeNode) EvictPod(ctx context.Context, ev *policyv1.Eviction) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.evicted = append(n.evicted, time.Now())
	if n.hangs > 0 {
		n.mu.Unlock()
		ctx, cancel := context.WithTimeout(ctx, n.hangs)
		<-ctx.Done()
		cancel()
		n.mu.Lock()
	}
	if n.evict != nil {
		return n.evict(ev.Name)
	}
	if n.pods[ev.Name] == nil {
		return notFound(ev.Name)
	}
	n.leave(ev.Name)
	return nil
}

func (n *fakeNode) DeletePod(_ context.Context, _, name string, opts metav1.DeleteOptions) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deleted = append(n.deleted, opts)
	if n.remove != nil {
		return n.remove(name)
	}
	n.leave(name)
	return nil
}

func (n *fakeNode) GetNode(context.Context, string) (*corev1.Node, error) { return &corev1.Node{}, nil }

func (n *fakeNode) ListVolumeAttachments(context.Context, metav1.ListOptions) (*storagev1.VolumeAttachmentList, error) {
	return &storagev1.VolumeAttachmentList{}, nil
}

func (n *fakeNode) count() (evicted, deleted, lists, left int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.evicted), len(n.deleted), n.lists, len(n.pods)
}

// draining is a drain in the background.
type draining struct {
	*testing.T
	last func() Progress
	done chan error
	end  context.CancelFunc
}

func (n *fakeNode) drain(t *testing.T, change func(*Config, *Options)) *draining {
	t.Helper()
	cfg, opts := Config{API: n, Node: "node"}, Options{ID: "op"}
	if change != nil {
		change(&cfg, &opts)
	}
	d, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	var last Progress
	r := &draining{T: t, done: make(chan error, 1), end: cancel, last: func() Progress {
		mu.Lock()
		defer mu.Unlock()
		return last
	}}
	go func() {
		r.done <- d.Run(ctx, opts, func(p Progress) {
			mu.Lock()
			defer mu.Unlock()
			last = p
		})
	}()
	return r
}

// drained says whether progress says so by now, without another word to come.
func (d *draining) drained() bool {
	synctest.Wait()
	return d.last().Drained
}

// stop ends it.
func (d *draining) stop() {
	d.end()
	if err := <-d.done; !errors.Is(err, context.Canceled) {
		d.Error(err)
	}
}

func notFound(name string) error {
	return apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, name)
}

// cutNode is one whose API server does not answer, at times.
type cutNode struct {
	*fakeNode
	cut   atomic.Bool
	turns atomic.Int32
}

func (n *cutNode) ListPods(ctx context.Context, namespace string, opts metav1.ListOptions) (*corev1.PodList, error) {
	n.turns.Add(1)
	if n.cut.Load() {
		return nil, errors.New("connection refused")
	}
	return n.fakeNode.ListPods(ctx, namespace, opts)
}

func (n *cutNode) WatchPods(ctx context.Context, namespace string, opts metav1.ListOptions) (watch.Interface, error) {
	if n.cut.Load() {
		return nil, errors.New("connection refused")
	}
	return n.fakeNode.WatchPods(ctx, namespace, opts)
}

// awayNode has pods that nobody is told of.
type awayNode struct{ *fakeNode }

func (awayNode) ListPods(context.Context, string, metav1.ListOptions) (*corev1.PodList, error) {
	return nil, errors.New("connection refused")
}
