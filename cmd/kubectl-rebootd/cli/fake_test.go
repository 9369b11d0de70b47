package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/cmd/kubectl-rebootd/client"
)

// fakeAPI has objects in memory. It makes the commands' own logic fast to test; that the
// API server does as they think is tested on a real one (test/cli).
type fakeAPI struct {
	mu      sync.Mutex
	version int
	nodes   map[string]*corev1.Node
	leases  map[string]*coordinationv1.Lease
	pods    []corev1.Pod
	budgets []policyv1.PodDisruptionBudget
	events  []corev1.Event
	// denied are the calls, by method, that are forbidden.
	denied map[string]bool
	// evict answers rehearsals of evictions, by namespace/name.
	evict    map[string]error
	watchers []*watch.FakeWatcher
	leaseWs  []*watch.FakeWatcher
	wrote    []string // what was written, a line each
	// meanwhile is called before each write, without the lock: what others do just then.
	meanwhile func()
	gone503   error         // while the API server is away
	leasesIn  time.Duration // how long the list of Leases takes
	installed installed
}

// away takes the API server away, with an error, or brings it back.
func (f *fakeAPI) away(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.gone503 = err
	for _, w := range slices.Concat(f.watchers, f.leaseWs) {
		w.Stop()
	}
	f.watchers, f.leaseWs = nil, nil
}

var _ client.API = (*fakeAPI)(nil)

func newFake() *fakeAPI {
	return &fakeAPI{nodes: map[string]*corev1.Node{}, leases: map[string]*coordinationv1.Lease{}, denied: map[string]bool{}, evict: map[string]error{}}
}

func (f *fakeAPI) allow(method, resource string) error {
	if f.gone503 != nil {
		return f.gone503
	}
	if f.denied[method] {
		return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", fmt.Errorf(`User "eve" cannot %s resource %q`, method, resource))
	}
	return nil
}

func sorted[T any](m map[string]T) []T {
	var out []T
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, m[k])
	}
	return out
}

func (f *fakeAPI) EachNode(_ context.Context, selector string, each func(*corev1.Node)) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := labels.Parse(selector)
	if err = cmp.Or(err, f.allow("EachNode", "nodes")); err != nil {
		return "", err
	}
	for _, n := range sorted(f.nodes) {
		if s.Matches(labels.Set(n.Labels)) {
			each(n.DeepCopy())
		}
	}
	return strconv.Itoa(f.version), nil
}

func (f *fakeAPI) Node(_ context.Context, name string) (*corev1.Node, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, ok := f.nodes[name]
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "nodes"}, name)
	}
	return n.DeepCopy(), f.allow("Node", "nodes")
}

func (f *fakeAPI) WatchNodes(context.Context, metav1.ListOptions) (watch.Interface, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := watch.NewFakeWithChanSize(1000, false)
	f.watchers = append(f.watchers, w)
	return w, f.allow("WatchNodes", "nodes")
}

func (f *fakeAPI) PatchNode(_ context.Context, name string, patch []byte, dryRun bool) (*corev1.Node, error) {
	if f.meanwhile != nil {
		f.meanwhile()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.allow("PatchNode", "nodes"); err != nil {
		return nil, err
	}
	n, ok := f.nodes[name]
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "nodes"}, name)
	}
	if err := condition409(patch, &n.ObjectMeta, "nodes"); err != nil {
		return nil, err
	}
	out, err := merged(n, patch)
	if err != nil || dryRun {
		f.wrote = append(f.wrote, fmt.Sprintf("dry run: patch node %s %s", name, patch))
		return out, err
	}
	f.wrote = append(f.wrote, fmt.Sprintf("patch node %s %s", name, patch))
	f.put(out)
	return out.DeepCopy(), nil
}

// put sets a Node and tells the watchers; the lock is held.
func (f *fakeAPI) put(n *corev1.Node) {
	f.version++
	n.ResourceVersion = strconv.Itoa(f.version)
	_, there := f.nodes[n.Name]
	f.nodes[n.Name] = n
	for _, w := range f.watchers {
		if there {
			w.Modify(n.DeepCopy())
		} else {
			w.Add(n.DeepCopy())
		}
	}
}

// set changes a Node as its daemon or anybody else does.
func (f *fakeAPI) set(n *corev1.Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.put(n)
}

func (f *fakeAPI) Leases(context.Context) ([]coordinationv1.Lease, string, error) {
	time.Sleep(f.leasesIn)
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.allow("Leases", "leases"); err != nil {
		return nil, "", err
	}
	var out []coordinationv1.Lease
	for _, l := range sorted(f.leases) {
		out = append(out, *l.DeepCopy())
	}
	return out, strconv.Itoa(f.version), nil
}

func (f *fakeAPI) WatchLeases(context.Context, metav1.ListOptions) (watch.Interface, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w := watch.NewFakeWithChanSize(1000, false)
	f.leaseWs = append(f.leaseWs, w)
	return w, f.allow("WatchLeases", "leases")
}

func (f *fakeAPI) setLease(l *coordinationv1.Lease) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.putLease(l)
}

func (f *fakeAPI) putLease(l *coordinationv1.Lease) {
	f.version++
	l.ResourceVersion = strconv.Itoa(f.version)
	f.leases[l.Name] = l
	for _, w := range f.leaseWs {
		w.Modify(l.DeepCopy())
	}
}

func (f *fakeAPI) CreateLease(_ context.Context, lease *coordinationv1.Lease, dryRun bool) (*coordinationv1.Lease, error) {
	if f.meanwhile != nil {
		f.meanwhile()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.allow("CreateLease", "leases"); err != nil {
		return nil, err
	}
	if _, there := f.leases[lease.Name]; there {
		return nil, apierrors.NewAlreadyExists(schema.GroupResource{Resource: "leases"}, lease.Name)
	}
	data, _ := json.Marshal(lease)
	if dryRun {
		f.wrote = append(f.wrote, fmt.Sprintf("dry run: create lease %s", data))
		return lease, nil
	}
	f.wrote = append(f.wrote, fmt.Sprintf("create lease %s", data))
	f.putLease(lease.DeepCopy())
	return lease, nil
}

func (f *fakeAPI) PatchLease(_ context.Context, name string, patch []byte, dryRun bool) (*coordinationv1.Lease, error) {
	if f.meanwhile != nil {
		f.meanwhile()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.allow("PatchLease", "leases"); err != nil {
		return nil, err
	}
	l, ok := f.leases[name]
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "leases"}, name)
	}
	if err := condition409(patch, &l.ObjectMeta, "leases"); err != nil {
		return nil, err
	}
	out, err := merged(l, patch)
	if err != nil || dryRun {
		f.wrote = append(f.wrote, fmt.Sprintf("dry run: patch lease %s %s", name, patch))
		return out, err
	}
	f.wrote = append(f.wrote, fmt.Sprintf("patch lease %s %s", name, patch))
	f.putLease(out)
	return out.DeepCopy(), nil
}

func (f *fakeAPI) PodsOn(_ context.Context, node string) (out []corev1.Pod, err error) {
	for _, p := range f.pods {
		if p.Spec.NodeName == node {
			out = append(out, p)
		}
	}
	return out, f.allow("PodsOn", "pods")
}

func (f *fakeAPI) Budgets(context.Context) ([]policyv1.PodDisruptionBudget, error) {
	return f.budgets, f.allow("Budgets", "poddisruptionbudgets")
}

func (f *fakeAPI) Rehearse(_ context.Context, pod *corev1.Pod) error {
	return cmp.Or(f.allow("Rehearse", "pods/eviction"), f.evict[pod.Namespace+"/"+pod.Name])
}

func (f *fakeAPI) NodeEvents(_ context.Context, node string) (out []corev1.Event, err error) {
	for _, ev := range f.events {
		if ev.InvolvedObject.Name == node {
			out = append(out, ev)
		}
	}
	return out, f.allow("NodeEvents", "events")
}

func (f *fakeAPI) Allowed(_ context.Context, what authorizationv1.ResourceAttributes) (bool, error) {
	return !f.denied[what.Verb+" "+what.Resource], f.allow("Allowed", "selfsubjectaccessreviews")
}

// condition409 is the conflict of a patch that names another version or UID than there is.
func condition409(patch []byte, is *metav1.ObjectMeta, resource string) error {
	var p struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
	}
	_ = json.Unmarshal(patch, &p)
	if v, uid := p.Metadata.ResourceVersion, p.Metadata.UID; v != "" && v != is.ResourceVersion || uid != "" && uid != is.UID {
		return apierrors.NewConflict(schema.GroupResource{Resource: resource}, is.Name, fmt.Errorf("it has changed"))
	}
	return nil
}

// merged is an object with a merge patch (RFC 7386) applied.
func merged[T any](object *T, patch []byte) (*T, error) {
	data, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	var was, change map[string]any
	if err := cmp.Or(json.Unmarshal(data, &was), json.Unmarshal(patch, &change)); err != nil {
		return nil, err
	}
	if data, err = json.Marshal(merge(was, change)); err != nil {
		return nil, err
	}
	out := new(T)
	return out, json.Unmarshal(data, out)
}

func merge(was, change map[string]any) map[string]any {
	if was == nil {
		was = map[string]any{}
	}
	for k, v := range change {
		switch v := v.(type) {
		case nil:
			delete(was, k)
		case map[string]any:
			inner, _ := was[k].(map[string]any)
			was[k] = merge(inner, v)
		default:
			was[k] = v
		}
	}
	return was
}

func TestMerge(t *testing.T) {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "a", Annotations: map[string]string{"x": "1", "y": "2"}}}
	got, err := merged(n, []byte(`{"metadata":{"annotations":{"x":null,"z":"3"}}}`))
	if err != nil || !maps.Equal(got.Annotations, map[string]string{"y": "2", "z": "3"}) {
		t.Fatalf("%v, %v", got.Annotations, err)
	}
}
