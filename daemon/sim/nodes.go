package sim

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/api"
)

var (
	nodeResource = schema.GroupResource{Resource: "nodes"}
	nodeKind     = schema.GroupKind{Kind: "Node"}
)

// Nodes is the part of the API server that keeps Nodes: one version for all that changes,
// strategic merge patches as far as the daemon sends them, the status subresource, the
// account of who has set the cordon and what protects from autoscalers, and watches from a version. All methods are safe for
// concurrent use.
type Nodes struct {
	// Changed is called after each write, under the lock of Nodes, with what the Node was
	// before (nil: there was none) and is now (nil: it is gone), and who has written it. It
	// may be nil.
	Changed func(before, after *corev1.Node, by string)

	mu        sync.Mutex
	version   int
	nodes     map[string]*corev1.Node
	history   []change
	forgotten int // versions up to this one are too old for a watch
	watchers  map[*watcher]bool
}

type change struct {
	version int
	event   watch.Event
}

// NewNodes makes one that has nothing.
func NewNodes() *Nodes {
	return &Nodes{nodes: map[string]*corev1.Node{}, watchers: map[*watcher]bool{}}
}

// Create makes a Node.
func (s *Nodes) Create(n *corev1.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nodes[n.Name] != nil {
		panic("there is a Node " + n.Name + " already")
	}
	s.store(nil, n.DeepCopy(), "person")
}

// Delete deletes a Node.
func (s *Nodes) Delete(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before := s.nodes[name]; before != nil {
		s.store(before, nil, "person")
	}
}

// Edit changes a Node as its manager by: it is what people, the kubelet and other operators
// do. A Node that there is not is left alone.
func (s *Nodes) Edit(name, by string, change func(*corev1.Node)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.nodes[name]
	if before == nil {
		return
	}
	after := before.DeepCopy()
	change(after)
	s.update(before, after, by)
}

// Get is a copy of a Node, nil if there is none.
func (s *Nodes) Get(name string) *corev1.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.nodes[name].DeepCopy()
}

// Names are those of all Nodes, sorted.
func (s *Nodes) Names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.nodes))
}

// EndWatches ends all watches, as an API server does every few minutes.
func (s *Nodes) EndWatches() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watchers {
		w.end()
	}
}

// Forget forgets what has happened so far: a watch from an older version is answered 410.
func (s *Nodes) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++ // so that a watch that ended just now is behind, too
	s.history, s.forgotten = nil, s.version
}

// Bookmark tells all watches that ask for it how far they are.
func (s *Nodes) Bookmark() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watchers {
		if w.bookmarks {
			n := &corev1.Node{}
			n.ResourceVersion = strconv.Itoa(s.version)
			w.send(watch.Event{Type: watch.Bookmark, Object: n})
		}
	}
}

func (s *Nodes) get(name string) (*corev1.Node, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.nodes[name]; n != nil {
		return n.DeepCopy(), nil
	}
	return nil, apierrors.NewNotFound(nodeResource, name)
}

// list is a page of Nodes, sorted by name.
func (s *Nodes) list(opts metav1.ListOptions) (*corev1.NodeList, error) {
	only, err := selected(opts)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &corev1.NodeList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(s.version)}}
	if only != "" {
		if n := s.nodes[only]; n != nil {
			out.Items = append(out.Items, *n.DeepCopy())
		}
		return out, nil
	}
	for _, name := range slices.Sorted(maps.Keys(s.nodes)) {
		if name <= opts.Continue {
			continue
		}
		if opts.Limit > 0 && len(out.Items) == int(opts.Limit) {
			out.Continue = out.Items[len(out.Items)-1].Name
			break
		}
		out.Items = append(out.Items, *s.nodes[name].DeepCopy())
	}
	return out, nil
}

// selected is the one Node that is asked for, "" for all.
func selected(opts metav1.ListOptions) (string, error) {
	if opts.FieldSelector == "" && opts.LabelSelector == "" {
		return "", nil
	}
	name, ok := strings.CutPrefix(opts.FieldSelector, "metadata.name=")
	if !ok || opts.LabelSelector != "" {
		return "", apierrors.NewBadRequest(fmt.Sprintf("the selectors %q and %q are not expected", opts.FieldSelector, opts.LabelSelector))
	}
	return name, nil
}

// patch applies a patch. A dry run stores nothing.
func (s *Nodes) patch(name string, data []byte, by, subresource string, dryRun bool) (*corev1.Node, error) {
	p, err := readPatch(data)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.nodes[name]
	switch {
	case before == nil:
		return nil, apierrors.NewNotFound(nodeResource, name)
	case p.Metadata.UID != "" && p.Metadata.UID != before.UID, p.Metadata.ResourceVersion != "" && p.Metadata.ResourceVersion != before.ResourceVersion:
		return nil, &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusConflict, Reason: metav1.StatusReasonConflict,
			Message: fmt.Sprintf("Operation cannot be fulfilled on nodes %q: the object has been modified; please apply your changes to the latest version and try again", name),
		}}
	}
	after := before.DeepCopy()
	if err := p.apply(after); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	switch subresource { // what the other part says is not regarded
	case "":
		after.Status = before.DeepCopy().Status
	case "status":
		after.Spec = before.DeepCopy().Spec
	default:
		return nil, apierrors.NewNotFound(nodeResource, name+"/"+subresource)
	}
	if err := valid(after); err != nil {
		return nil, err
	}
	if dryRun {
		return after, nil
	}
	return s.update(before, after, by).DeepCopy(), nil
}

// update stores a change of a Node, if it is one, with the account of who has set the
// cordon: https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
func (s *Nodes) update(before, after *corev1.Node, by string) *corev1.Node {
	if before.Spec.Unschedulable != after.Spec.Unschedulable {
		account(after, `{"f:spec":{"f:unschedulable":{}}}`, by, after.Spec.Unschedulable)
	}
	for _, k := range []string{scaleDownDisabled, doNotDisrupt, api.ApprovalAnnotation} {
		was, had := before.Annotations[k]
		if is, has := after.Annotations[k]; has != had || is != was {
			account(after, fmt.Sprintf(`{"f:metadata":{"f:annotations":{"f:%s":{}}}}`, k), by, has)
		}
	}
	if equalNodes(before, after) {
		return before
	}
	return s.store(before, after, by)
}

// account notes who has set a field, or that nobody has.
func account(n *corev1.Node, field, by string, set bool) {
	n.ManagedFields = slices.DeleteFunc(n.ManagedFields, func(e metav1.ManagedFieldsEntry) bool { return e.FieldsV1.GetRawString() == field })
	if set {
		now := metav1.Now()
		n.ManagedFields = append(n.ManagedFields, metav1.ManagedFieldsEntry{
			Manager: by, Time: &now, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1", FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(field),
		})
	}
}

// store stores what has changed, and tells those that watch.
func (s *Nodes) store(before, after *corev1.Node, by string) *corev1.Node {
	s.version++
	kind := watch.Modified
	told := after
	switch {
	case before == nil:
		kind = watch.Added
		if after.UID == "" {
			after.UID = types.UID(fmt.Sprintf("uid-%d", s.version))
		}
	case after == nil:
		kind = watch.Deleted
		told = before.DeepCopy()
	}
	told.ResourceVersion = strconv.Itoa(s.version)
	if after == nil {
		delete(s.nodes, told.Name)
	} else {
		s.nodes[after.Name] = after
	}
	if s.Changed != nil { // before anybody can act on it
		s.Changed(before, after, by)
	}
	s.tell(kind, told)
	return after
}
