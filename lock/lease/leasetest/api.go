// Package leasetest has what it takes to check package lease by the suite of package
// locktest: a World on whatever API server there is, and an API server that is a fake.
package leasetest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// API is an API server that keeps Leases in memory, as far as the lock relies on it: who
// owns which field by server-side apply, preconditions, merge patches, watches from a
// version, and the garbage collector, which deletes a moment later what a Node has owned
// that is gone. A test that passes in front of it has to pass in front of a real one, too.
// It has one namespace. All methods are safe for concurrent use.
type API struct {
	mu       sync.Mutex
	version  int
	serial   int
	leases   map[string]*stored
	history  []change
	watchers map[*watcher]bool
	nodes    map[string]types.UID
}

// stored is one Lease.
type stored struct {
	meta    map[string]any // name, namespace, uid, creationTimestamp
	version int
	fields  fields
	owners  managers
}

type change struct {
	version int
	event   watch.Event
}

// NewAPI makes one that has nothing.
func NewAPI() *API {
	return &API{leases: map[string]*stored{}, watchers: map[*watcher]bool{}, nodes: map[string]types.UID{}}
}

var leases = schema.GroupResource{Group: "coordination.k8s.io", Resource: "leases"}

func conflict(format string, args ...any) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusConflict, Reason: metav1.StatusReasonConflict, Message: fmt.Sprintf(format, args...),
	}}
}

// lease is a Lease as it is answered.
func (s *stored) lease() *coordinationv1.Lease {
	obj := s.fields.object(s.meta)
	data, err := json.Marshal(obj)
	if err != nil {
		panic(err)
	}
	out := &coordinationv1.Lease{}
	if err := json.Unmarshal(data, out); err != nil {
		panic(err)
	}
	out.ResourceVersion, out.ManagedFields = strconv.Itoa(s.version), s.owners.entries()
	return out
}

// GetLease implements lease.API.
func (a *API) GetLease(_ context.Context, _, name string) (*coordinationv1.Lease, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.leases[name]; s != nil {
		return s.lease(), nil
	}
	return nil, apierrors.NewNotFound(leases, name)
}

// ListLeases implements lease.API.
func (a *API) ListLeases(context.Context, string, metav1.ListOptions) (*coordinationv1.LeaseList, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := &coordinationv1.LeaseList{ListMeta: metav1.ListMeta{ResourceVersion: strconv.Itoa(a.version)}}
	for _, name := range slices.Sorted(maps.Keys(a.leases)) {
		out.Items = append(out.Items, *a.leases[name].lease())
	}
	return out, nil
}

// expects are the preconditions that a body has.
func expects(body map[string]any, s *stored) error {
	meta := child(body, "metadata")
	uid, _ := meta["uid"].(string)
	version, _ := meta["resourceVersion"].(string)
	switch {
	case s == nil && uid != "":
		return conflict("Precondition failed: UID in precondition: %s, UID in object meta: ", uid)
	case s == nil:
		return nil
	case uid != "" && uid != s.meta["uid"]:
		return conflict("Precondition failed: UID in precondition: %s, UID in object meta: %s", uid, s.meta["uid"])
	case version != "" && version != strconv.Itoa(s.version):
		return conflict("the object has been modified; please apply your changes to the latest version and try again")
	}
	return nil
}

// ApplyLease implements lease.API.
func (a *API) ApplyLease(_ context.Context, namespace, name string, body []byte, opts metav1.PatchOptions) (*coordinationv1.Lease, error) {
	said, err := decode(body)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	was := a.leases[name]
	if err := expects(said, was); err != nil {
		return nil, err
	}
	now := a.draft(namespace, name, was)
	var conflicts []string
	by := manager{opts.FieldManager, metav1.ManagedFieldsOperationApply}
	now.fields, now.owners, conflicts = apply(now.fields, now.owners, fieldsOf(said), by, opts.Force != nil && *opts.Force)
	if len(conflicts) > 0 {
		slices.Sort(conflicts)
		return nil, conflict("Apply failed with %d conflicts: %s", len(conflicts), strings.Join(conflicts, ", "))
	}
	return a.store(name, was, now, opts.DryRun), nil
}

// MergePatchLease implements lease.API.
func (a *API) MergePatchLease(_ context.Context, _, name string, body []byte) (*coordinationv1.Lease, error) {
	return a.patch(name, body, "rebootd")
}

// patch is a merge patch by a field manager.
func (a *API) patch(name string, body []byte, by string) (*coordinationv1.Lease, error) {
	said, err := decode(body)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	was := a.leases[name]
	if was == nil {
		return nil, apierrors.NewNotFound(leases, name)
	}
	if err := expects(said, was); err != nil {
		return nil, err
	}
	now := a.draft("", name, was)
	// One empty entry is how the account of managers is cleared.
	if entries, ok := child(said, "metadata")["managedFields"].([]any); ok && len(entries) == 1 {
		if e, ok := entries[0].(map[string]any); ok && len(e) == 0 {
			now.owners = managers{}
		}
	}
	now.fields = fieldsOf(merge(now.fields.object(now.meta), said))
	now.owners = update(was.fields, now.owners, now.fields, manager{by, metav1.ManagedFieldsOperationUpdate})
	return a.store(name, was, now, nil), nil
}

// draft is a copy to work on, of what there may be.
func (a *API) draft(namespace, name string, was *stored) *stored {
	if was != nil {
		return &stored{meta: was.meta, version: was.version, fields: was.fields, owners: was.owners}
	}
	a.serial++
	return &stored{
		meta: map[string]any{
			"name": name, "namespace": namespace, "uid": fmt.Sprintf("uid-%d", a.serial), "creationTimestamp": time.Now().UTC().Format(time.RFC3339),
		},
		fields: fields{}, owners: managers{},
	}
}

// store stores what has changed, and tells those that watch.
func (a *API) store(name string, was, now *stored, dryRun []string) *coordinationv1.Lease {
	if was != nil && same(was.fields, now.fields) && same(was.owners, now.owners) || len(dryRun) > 0 {
		return now.lease()
	}
	a.version++
	now.version = a.version
	a.leases[name] = now
	kind := watch.Modified
	if was == nil {
		kind = watch.Added
	}
	out := now.lease()
	a.tell(kind, out)
	for _, o := range out.OwnerReferences {
		a.collect(o.UID)
	}
	return out
}

// remove deletes a Lease, if there is one.
func (a *API) remove(name string) error {
	s := a.leases[name]
	if s == nil {
		return apierrors.NewNotFound(leases, name)
	}
	delete(a.leases, name)
	a.version++
	s.version = a.version
	a.tell(watch.Deleted, s.lease())
	return nil
}

// collectAfter is how long the garbage collector takes.
const collectAfter = time.Second

// collect has the garbage collector delete what a Node owns, if that is gone.
func (a *API) collect(uid types.UID) {
	for _, is := range a.nodes {
		if is == uid {
			return
		}
	}
	time.AfterFunc(collectAfter, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		for name, s := range a.leases {
			if owned := "ownerReferences/" + string(uid); s.fields[owned] != nil {
				_ = a.remove(name)
			}
		}
	})
}
