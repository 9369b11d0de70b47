// Package nodelease takes part in the node lease: one Lease a node by which
// operators that work on single nodes keep out of each other's way. It is medik8s'
// convention (github.com/medik8s/common/pkg/lease), spoken by Node Maintenance
// Operator and NodeHealthCheck. While rebootd holds it, NodeHealthCheck does not
// begin to remediate the node; while another holds it, rebootd leaves the node
// alone.
//
// The lease is how long we promise that the node needs no help: a node that does
// not come back within its duration is fenced by those whose job that is.
//
// Claims are judged and dated by the API server's time, as far as it is known from its
// answers: a node whose own clock is wrong neither takes another's claim for lapsed
// nor makes one that nobody believes.
//
// The package knows the Lease, and the NodeMaintenance objects of the Node
// Maintenance Operator, whose lease may lapse while the maintenance goes on. It
// knows nothing of slots.
package nodelease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
	"rebootd.dev/lock"
)

// what is how a lock.LostError calls the lease.
const what = "the node lease"

// buffer is added to the duration that is asked for, as NodeHealthCheck does.
const buffer = time.Minute

// API is what the node lease needs of the API server.
type API interface {
	GetLease(ctx context.Context, namespace, name string) (*coordinationv1.Lease, error)
	CreateLease(ctx context.Context, lease *coordinationv1.Lease, opts metav1.CreateOptions) (*coordinationv1.Lease, error)
	UpdateLease(ctx context.Context, lease *coordinationv1.Lease) (*coordinationv1.Lease, error)
	DeleteLease(ctx context.Context, namespace, name string, opts metav1.DeleteOptions) error
	// GetRaw reads what is at a path, as JSON.
	GetRaw(ctx context.Context, path string) ([]byte, error)
	// ClockSkew is by how much this machine's clock is ahead of the API server's, by
	// the last of its answers.
	ClockSkew() time.Duration
}

// Config says which lease it is. All fields but Now are needed.
type Config struct {
	API       API
	Namespace string
	Node      string
	// Duration is how long the node may go without a sign of life before others may
	// take care of it: shutdown, firmware, boot, kubelet, and the daemon's start.
	Duration time.Duration
	Now      func() time.Time // nil: time.Now
}

// Status is how things stand.
type Status struct {
	Held bool
	// Foreign says who else has the node, and since when; "" when nobody does.
	Foreign string
	// Unavailable says why there is no lease to be had: medik8s is not installed, or we
	// may not.
	Unavailable string
}

// Lease is the lease of one node. Its methods are safe for concurrent use.
type Lease struct {
	cfg  Config
	name string

	mu   sync.Mutex
	held *coordinationv1.Lease // as last seen when it was ours
}

// New makes the node's view of its lease. It sends nothing.
func New(c Config) (*Lease, error) {
	switch {
	case c.API == nil || c.Namespace == "" || c.Node == "":
		return nil, errors.New("make a node lease: API, namespace and node must be given")
	case c.Duration < time.Minute:
		return nil, fmt.Errorf("make a node lease: duration %s, want at least 1m", c.Duration)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Lease{cfg: c, name: api.NodeLeaseName(c.Node)}, nil
}

// now is the time by which claims are judged and dated: the API server's, which all
// have in common. This machine's clock may be wrong, and says so in no other way.
func (l *Lease) now() time.Time { return l.cfg.Now().Add(-l.cfg.API.ClockSkew()) }

// RenewEvery is how often a lease that is held wants to be renewed.
func (l *Lease) RenewEvery() time.Duration { return l.cfg.Duration / 3 }

// Find says how things stand and changes nothing. It may say Unavailable only when
// it has reason to: that the namespace is missing shows when the Lease is created,
// so the API server is asked what it would answer.
func (l *Lease) Find(ctx context.Context) (Status, error) {
	have, err := l.get(ctx)
	if s, err, ok := unavailable(err); ok {
		return s, err
	}
	if have != nil && judge(have, l.now()) == ours {
		l.hold(have)
		return Status{Held: true}, nil
	}
	if s, err := l.taken(ctx, have); err != nil || s != (Status{}) {
		return s, err
	}
	if have == nil {
		_, err := l.cfg.API.CreateLease(ctx, l.fresh(""), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if s, err, ok := unavailable(err); ok {
			return s, err
		}
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return Status{}, fmt.Errorf("try to create the Lease %s/%s: %w", l.cfg.Namespace, l.name, err)
		}
	}
	return Status{}, nil
}

// maxTries bounds how often a race for the Lease is begun anew in one call.
const maxTries = 5

// Take takes the lease, or renews it if it is held already. nodeUID is the Node's:
// the Lease goes with the Node. Only an answer that is not known is an error.
func (l *Lease) Take(ctx context.Context, nodeUID types.UID) (Status, error) {
	for range maxTries {
		have, err := l.get(ctx)
		if s, err, ok := unavailable(err); ok {
			return s, err
		}
		if s, err := l.taken(ctx, have); err != nil || s != (Status{}) {
			if err == nil && have != nil && judge(have, l.now()) == ours {
				err = l.Release(ctx) // the maintenance may wait for it
			}
			return s, err
		}
		var now *coordinationv1.Lease
		if have == nil {
			now, err = l.cfg.API.CreateLease(ctx, l.fresh(nodeUID), metav1.CreateOptions{})
		} else {
			now, err = l.cfg.API.UpdateLease(ctx, l.claimed(have, nodeUID))
		}
		if s, err, ok := unavailable(err); ok {
			return s, err
		}
		switch {
		case err == nil:
			l.hold(now)
			return Status{Held: true}, nil
		case !apierrors.IsAlreadyExists(err) && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err):
			return Status{}, fmt.Errorf("take the Lease %s/%s: %w", l.cfg.Namespace, l.name, err)
		}
	}
	return Status{}, fmt.Errorf("take the Lease %s/%s: others changed it %d times in a row", l.cfg.Namespace, l.name, maxTries)
}

// Renew renews a lease that is held. A lock.LostError says that it is not ours any
// more; any other error, that this is not known.
func (l *Lease) Renew(ctx context.Context) error {
	for range maxTries {
		was := l.holding()
		if was == nil {
			return &lock.LostError{What: what, How: "is not held"}
		}
		now, err := l.cfg.API.UpdateLease(ctx, l.claimed(was, ""))
		switch {
		case err == nil:
			l.hold(now)
			return nil
		case apierrors.IsForbidden(err):
			return l.lost(fmt.Sprintf("cannot be renewed: %v", err))
		case !apierrors.IsConflict(err) && !apierrors.IsNotFound(err):
			return fmt.Errorf("renew the Lease %s/%s: %w", l.cfg.Namespace, l.name, err)
		}
		have, err := l.get(ctx)
		switch {
		case err != nil:
			return err
		case have == nil || have.UID != was.UID && judge(have, l.now()) != ours:
			return l.lost("was deleted")
		case judge(have, l.now()) != ours:
			return l.lost("was taken over: " + describe(have))
		}
		l.hold(have)
	}
	return fmt.Errorf("renew the Lease %s/%s: others changed it %d times in a row", l.cfg.Namespace, l.name, maxTries)
}

// Release gives the lease up. It is idempotent, and touches nothing of another's:
// the library's own release may delete a lease that another has just taken over.
func (l *Lease) Release(ctx context.Context) error {
	have := l.holding()
	for range maxTries {
		if have == nil {
			var err error
			if have, err = l.get(ctx); err != nil {
				return err
			}
			if have == nil || judge(have, l.now()) != ours {
				l.hold(nil)
				return nil
			}
		}
		err := l.cfg.API.DeleteLease(ctx, have.Namespace, have.Name, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &have.UID, ResourceVersion: &have.ResourceVersion},
		})
		if apierrors.IsForbidden(err) {
			// Then it lapses, at once.
			last := have.DeepCopy()
			last.Spec.LeaseDurationSeconds = new(int32(1))
			_, err = l.cfg.API.UpdateLease(ctx, last)
		}
		switch {
		case err == nil || apierrors.IsNotFound(err):
			l.hold(nil)
			return nil
		case !apierrors.IsConflict(err):
			return fmt.Errorf("release the Lease %s/%s: %w", l.cfg.Namespace, l.name, err)
		}
		have = nil
	}
	return fmt.Errorf("release the Lease %s/%s: others changed it %d times in a row", l.cfg.Namespace, l.name, maxTries)
}

// taken says whether somebody else has the node.
func (l *Lease) taken(ctx context.Context, have *coordinationv1.Lease) (Status, error) {
	if have != nil && judge(have, l.now()) == another {
		return Status{Foreign: describe(have)}, nil
	}
	why, err := l.maintenance(ctx)
	return Status{Foreign: why}, err
}

// fresh is a Lease that does not exist yet.
func (l *Lease) fresh(nodeUID types.UID) *coordinationv1.Lease {
	return l.claimed(&coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: l.cfg.Namespace, Name: l.name},
		Spec:       coordinationv1.LeaseSpec{LeaseTransitions: new(int32(-1))},
	}, nodeUID)
}

// claimed is the Lease with our claim of now. acquireTime and transitions of a
// claim that was ours already stay as they are, as the library leaves them. So
// does the owner: where owners are protected, to change one takes more than to
// update.
func (l *Lease) claimed(have *coordinationv1.Lease, nodeUID types.UID) *coordinationv1.Lease {
	now := l.now()
	out := have.DeepCopy()
	s := &out.Spec
	if judge(have, now) != ours || s.AcquireTime == nil || s.RenewTime == nil || s.LeaseDurationSeconds == nil {
		s.AcquireTime = new(metav1.NewMicroTime(now.Add(-tolerance)))
		s.LeaseTransitions = new(valueOf(s.LeaseTransitions) + 1)
	}
	s.HolderIdentity = new(api.NodeLeaseHolder)
	s.RenewTime = new(metav1.NewMicroTime(now.Add(-tolerance)))
	s.LeaseDurationSeconds = new(int32((l.cfg.Duration + buffer + tolerance) / time.Second))
	if nodeUID != "" && (len(out.OwnerReferences) != 1 || out.OwnerReferences[0].UID != nodeUID) {
		out.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: l.cfg.Node, UID: nodeUID}}
	}
	return out
}

func valueOf(p *int32) int32 {
	if p == nil {
		return 0
	}
	return *p
}

// get reads the Lease; nil means that there is none.
func (l *Lease) get(ctx context.Context) (*coordinationv1.Lease, error) {
	have, err := l.cfg.API.GetLease(ctx, l.cfg.Namespace, l.name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the Lease %s/%s: %w", l.cfg.Namespace, l.name, err)
	}
	return have, nil
}

// unavailable tells from an answer that there is no lease to be had, and turns
// every other error but those of a race into one to be returned.
func unavailable(err error) (Status, error, bool) {
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return Status{}, nil, false
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return Status{Unavailable: "the namespace is being deleted: " + printable.Line(err.Error(), maxWords)}, nil, true
	case apierrors.IsForbidden(err):
		return Status{Unavailable: printable.Line(err.Error(), maxWords)}, nil, true
	case apierrors.IsNotFound(err) && errors.As(err, &status) && status.Status().Details != nil && status.Status().Details.Kind == "namespaces":
		return Status{Unavailable: printable.Line(err.Error(), maxWords)}, nil, true
	case apierrors.IsNotFound(err), apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return Status{}, nil, false
	default:
		return Status{}, err, true
	}
}

// maintenances is where the Node Maintenance Operator's objects are.
const maintenances = "/apis/nodemaintenance.medik8s.io/v1beta1/nodemaintenances"

// maintenance says whose maintenance the node is under, and since when; "" when
// there is none, or when we cannot see such objects.
func (l *Lease) maintenance(ctx context.Context) (string, error) {
	data, err := l.cfg.API.GetRaw(ctx, maintenances)
	if apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("list the NodeMaintenances: %w", err)
	}
	var list struct {
		Items []struct {
			Metadata metav1.ObjectMeta `json:"metadata"`
			Spec     struct {
				NodeName string `json:"nodeName"`
				Reason   string `json:"reason"`
			} `json:"spec"`
		} `json:"items"`
	}
	if err := json.Unmarshal(data, &list); err != nil {
		return "", fmt.Errorf("read the NodeMaintenances: %w", err)
	}
	for _, m := range list.Items {
		if m.Spec.NodeName == l.cfg.Node {
			s := fmt.Sprintf("the NodeMaintenance %s has this node under maintenance since %s", m.Metadata.Name, m.Metadata.CreationTimestamp.UTC().Format(time.RFC3339))
			if m.Spec.Reason != "" {
				s += fmt.Sprintf(" (%s)", printable.Line(m.Spec.Reason, maxWords))
			}
			return s, nil
		}
	}
	return "", nil
}

func (l *Lease) hold(lease *coordinationv1.Lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = lease
}

func (l *Lease) holding() *coordinationv1.Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held
}

func (l *Lease) lost(how string) *lock.LostError {
	l.hold(nil)
	return &lock.LostError{What: what, How: how}
}
