package lock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	medik8s "github.com/medik8s/common/pkg/lease"
	"github.com/sirupsen/logrus"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	words "rebootd.dev/daemon/api"
	"rebootd.dev/daemon/kube"
	"rebootd.dev/lock"
	"rebootd.dev/lock/nodelease"
	"rebootd.dev/test/cluster"
)

// leaseBed is one node with its lease, and the others that want it: medik8s' own
// library.
type leaseBed struct {
	*bed
	node *corev1.Node
	cr   client.Client
}

const duration = 10 * time.Minute

func newLeaseBed(t *testing.T) *leaseBed {
	b := newBed(t)
	n, err := shared.Client.CoreV1().Nodes().Create(b.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: b.name + ".example"}}, metav1.CreateOptions{})
	if err != nil {
		b.must(err)
	}
	n.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Node"))
	cr, err := client.New(shared.Config, client.Options{})
	b.must(err)
	logrus.SetOutput(io.Discard)
	return &leaseBed{bed: b, node: n, cr: cr}
}

func (b *leaseBed) lease(change func(*nodelease.Config)) *nodelease.Lease {
	b.Helper()
	c := nodelease.Config{API: api, Namespace: cluster.NodeLeases, Node: b.node.Name, Duration: duration}
	if change != nil {
		change(&c)
	}
	l, err := nodelease.New(c)
	b.must(err)
	return l
}

func (b *leaseBed) peer(holder string) medik8s.Manager {
	b.Helper()
	m, err := medik8s.NewManager(b.cr, holder)
	b.must(err)
	return m
}

func (b *leaseBed) takes(l *nodelease.Lease) {
	b.Helper()
	var s nodelease.Status
	b.eventually("the API server is not busy", func() bool { // with a CRD that another test has just made
		var err error
		if s, err = l.Take(b.ctx, b.node.UID); apierrors.IsTooManyRequests(err) {
			return false
		}
		b.must(err)
		return true
	})
	if s != (nodelease.Status{Held: true}) {
		b.Fatalf("was not given the lease: %+v", s)
	}
}

// refused says who has the node.
func (b *leaseBed) refused(l *nodelease.Lease, by string) {
	b.Helper()
	before := b.object()
	for call, ask := range map[string]func() (nodelease.Status, error){
		"Take": func() (nodelease.Status, error) { return l.Take(b.ctx, b.node.UID) },
		"Find": func() (nodelease.Status, error) { return l.Find(b.ctx) },
	} {
		s, err := ask()
		b.must(err)
		if s.Held || s.Unavailable != "" || !strings.Contains(s.Foreign, by) {
			b.Errorf("%s: %+v, want that %s has the node", call, s, by)
		}
	}
	if after := b.object(); before != nil && (after == nil || after.ResourceVersion != before.ResourceVersion) {
		b.Errorf("another's lease was changed")
	}
}

func (b *leaseBed) leases() client.ObjectKey {
	return client.ObjectKey{Namespace: cluster.NodeLeases, Name: "node-" + b.node.Name}
}

// object is the Lease, nil if there is none.
func (b *leaseBed) object() *coordinationv1.Lease {
	b.Helper()
	l := new(coordinationv1.Lease)
	err := b.cr.Get(b.ctx, b.leases(), l)
	if apierrors.IsNotFound(err) {
		return nil
	}
	b.must(err)
	return l
}

// write makes the Lease as it is given, or changes it.
func (b *leaseBed) write(spec coordinationv1.LeaseSpec) *coordinationv1.Lease {
	b.Helper()
	l := b.object()
	if l == nil {
		l = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: cluster.NodeLeases, Name: b.leases().Name}, Spec: spec}
		b.must(b.cr.Create(b.ctx, l))
		return l
	}
	l.Spec = spec
	b.must(b.cr.Update(b.ctx, l))
	return l
}

func at(d time.Duration) *metav1.MicroTime { return new(metav1.NewMicroTime(time.Now().Add(d))) }

// The library's rules, rule by rule: who is refused, and who takes over.
func TestNodeLeaseRules(t *testing.T) {
	nmo, us := new("node-maintenance"), new(words.NodeLeaseHolder)
	ten := new(int32(600))
	for name, c := range map[string]struct {
		have    coordinationv1.LeaseSpec
		refused string // by whom; "": it is taken
		// what becomes of it
		acquiredAnew bool
		transitions  int32
	}{
		"another's, valid":               {have: coordinationv1.LeaseSpec{HolderIdentity: nmo, RenewTime: at(-time.Minute), LeaseDurationSeconds: ten, AcquireTime: at(-time.Hour)}, refused: "node-maintenance"},
		"another's, about to expire":     {have: coordinationv1.LeaseSpec{HolderIdentity: nmo, RenewTime: at(-595 * time.Second), LeaseDurationSeconds: ten}, refused: "node-maintenance"},
		"another's, only just expired":   {have: coordinationv1.LeaseSpec{HolderIdentity: nmo, RenewTime: at(-615 * time.Second), LeaseDurationSeconds: ten}, refused: "node-maintenance"},
		"another's, expired":             {have: coordinationv1.LeaseSpec{HolderIdentity: nmo, RenewTime: at(-time.Hour), LeaseDurationSeconds: ten, LeaseTransitions: new(int32(3))}, acquiredAnew: true, transitions: 4},
		"expired, never counted":         {have: coordinationv1.LeaseSpec{HolderIdentity: nmo, RenewTime: at(-time.Hour), LeaseDurationSeconds: ten}, acquiredAnew: true, transitions: 1},
		"another's, no renewTime":        {have: coordinationv1.LeaseSpec{HolderIdentity: nmo, LeaseDurationSeconds: ten}, acquiredAnew: true, transitions: 1},
		"another's, no duration":         {have: coordinationv1.LeaseSpec{HolderIdentity: nmo, RenewTime: at(0)}, acquiredAnew: true, transitions: 1},
		"nobody's, but valid":            {have: coordinationv1.LeaseSpec{RenewTime: at(-time.Minute), LeaseDurationSeconds: ten}, refused: "an unknown holder"},
		"another's clock a little ahead": {have: coordinationv1.LeaseSpec{HolderIdentity: nmo, RenewTime: at(20 * time.Second), LeaseDurationSeconds: ten}, refused: "node-maintenance"},
		"another's clock far ahead":      {have: coordinationv1.LeaseSpec{HolderIdentity: nmo, RenewTime: at(time.Hour), LeaseDurationSeconds: ten}, acquiredAnew: true, transitions: 1},
		"ours, valid":                    {have: coordinationv1.LeaseSpec{HolderIdentity: us, RenewTime: at(-time.Minute), LeaseDurationSeconds: ten, AcquireTime: at(-time.Hour), LeaseTransitions: new(int32(2))}, transitions: 2},
		"ours, expired":                  {have: coordinationv1.LeaseSpec{HolderIdentity: us, RenewTime: at(-time.Hour), LeaseDurationSeconds: ten, AcquireTime: at(-time.Hour), LeaseTransitions: new(int32(2))}, transitions: 2},
		"ours, expired, no acquireTime":  {have: coordinationv1.LeaseSpec{HolderIdentity: us, RenewTime: at(-time.Hour), LeaseDurationSeconds: ten, LeaseTransitions: new(int32(2))}, acquiredAnew: true, transitions: 3},
		"ours, no renewTime":             {have: coordinationv1.LeaseSpec{HolderIdentity: us, LeaseDurationSeconds: ten, AcquireTime: at(-time.Hour)}, acquiredAnew: true, transitions: 1},
		"ours, no duration":              {have: coordinationv1.LeaseSpec{HolderIdentity: us, RenewTime: at(0), AcquireTime: at(-time.Hour)}, acquiredAnew: true, transitions: 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := newLeaseBed(t)
			b.write(c.have)
			l := b.lease(nil)
			if c.refused != "" {
				b.refused(l, c.refused)
				return
			}
			b.takes(l)
			got := b.object()
			if h := holder(got); h != words.NodeLeaseHolder {
				t.Errorf("the holder is %q", h)
			}
			if anew := got.Spec.AcquireTime != nil && time.Since(got.Spec.AcquireTime.Time) < time.Minute; anew != c.acquiredAnew {
				t.Errorf("acquireTime is %v, acquired anew: want %t", got.Spec.AcquireTime, c.acquiredAnew)
			}
			if n := got.Spec.LeaseTransitions; n == nil || *n != c.transitions {
				t.Errorf("leaseTransitions are %v, want %d", n, c.transitions)
			}
			if o := got.OwnerReferences; len(o) != 1 || o[0].UID != b.node.UID || o[0].Kind != "Node" || o[0].Name != b.node.Name {
				t.Errorf("the owners are %+v", o)
			}
			// By the library's own rules it is ours now.
			err := b.peer("NodeHealthCheck-x").RequestLease(b.ctx, b.node, duration)
			var held medik8s.AlreadyHeldError
			if !errors.As(err, &held) || !strings.Contains(err.Error(), words.NodeLeaseHolder) {
				t.Errorf("the library's request: %v, want that %s holds it", err, words.NodeLeaseHolder)
			}
		})
	}
}

// We and the library, in turn: each leaves the other's alone, and each takes what
// the other has given up.
func TestNodeLeaseWithTheLibrary(t *testing.T) {
	b := newLeaseBed(t)
	l, nhc := b.lease(nil), b.peer("NodeHealthCheck-x")
	b.must(nhc.RequestLease(b.ctx, b.node, duration))
	b.refused(l, "NodeHealthCheck-x holds this node's lease medik8s-leases/node-"+b.node.Name+" since 20")
	b.must(nhc.InvalidateLease(b.ctx, b.node))
	if s, err := l.Find(b.ctx); err != nil || s != (nodelease.Status{}) {
		t.Errorf("what was given up is found to be %+v, %v", s, err)
	}
	b.takes(l)
	if o := b.object(); *o.Spec.LeaseTransitions != 0 {
		t.Errorf("a new Lease has %d transitions", *o.Spec.LeaseTransitions)
	}
	if err := nhc.RequestLease(b.ctx, b.node, duration); err == nil {
		t.Error("the library takes what is ours")
	}
	if err := nhc.InvalidateLease(b.ctx, b.node); err == nil {
		t.Error("the library deletes what is ours")
	}
	b.must(l.Release(b.ctx))
	if o := b.object(); o != nil {
		t.Errorf("released, the Lease is still there: %+v", o)
	}
	b.must(l.Release(b.ctx)) // again
	b.must(nhc.RequestLease(b.ctx, b.node, duration))
}

// What another start of us has taken is found, and is ours.
func TestNodeLeaseIsFoundAgain(t *testing.T) {
	b := newLeaseBed(t)
	b.takes(b.lease(nil))
	before := b.object()
	l := b.lease(nil)
	if s, err := l.Find(b.ctx); err != nil || !s.Held {
		t.Fatalf("found %+v, %v", s, err)
	}
	b.must(l.Renew(b.ctx))
	after := b.object()
	if !after.Spec.AcquireTime.Equal(before.Spec.AcquireTime) || *after.Spec.LeaseTransitions != *before.Spec.LeaseTransitions {
		t.Errorf("a renewal makes it another claim: %+v", after.Spec)
	}
	if !after.Spec.RenewTime.After(before.Spec.RenewTime.Time) {
		t.Errorf("renewTime stays %v", after.Spec.RenewTime)
	}
	b.must(b.lease(nil).Release(b.ctx)) // by one that has not looked
	if b.object() != nil {
		t.Error("released, the Lease is still there")
	}
}

// clocks are by how much the clock of a machine may be ahead of the API server's.
var clocks = []time.Duration{-20 * time.Minute, -time.Minute, -20 * time.Second, 20 * time.Second, time.Minute, 20 * time.Minute}

// wrong is a lease on a machine whose clock is ahead by skew, and which knows it.
func (b *leaseBed) wrong(skew time.Duration) *nodelease.Lease {
	return b.lease(func(c *nodelease.Config) {
		c.API, c.Now = skewed{api, skew}, func() time.Time { return time.Now().Add(skew) }
	})
}

// Whatever a machine's own clock says, the lease that it takes is one that the
// library believes, and stays so when it is renewed.
func TestNodeLeaseOfAWrongClock(t *testing.T) {
	for _, skew := range clocks {
		t.Run(skew.String(), func(t *testing.T) {
			b := newLeaseBed(t)
			l := b.wrong(skew)
			b.takes(l)
			if err := b.peer("node-maintenance").RequestLease(b.ctx, b.node, duration); err == nil {
				t.Error("the library took it over at once")
			}
			b.must(l.Renew(b.ctx))
			if err := b.peer("node-maintenance").RequestLease(b.ctx, b.node, duration); err == nil {
				t.Error("the library took it over when it had been renewed")
			}
			// It is no longer ours than one of a clock that is right.
			now := b.object().Spec
			if end := time.Until(now.RenewTime.Add(time.Duration(*now.LeaseDurationSeconds) * time.Second)); end > duration+2*time.Minute || end < duration {
				t.Errorf("it lapses in %s, and %s were asked for", end, duration)
			}
		})
	}
}

// A clock that nobody knows to be wrong costs nobody the lease as long as it is so
// by little.
func TestNodeLeaseOfAClockNotKnownToBeWrong(t *testing.T) {
	for _, skew := range []time.Duration{-20 * time.Second, 20 * time.Second} {
		t.Run(skew.String(), func(t *testing.T) {
			b := newLeaseBed(t)
			b.takes(b.lease(func(c *nodelease.Config) { c.Now = func() time.Time { return time.Now().Add(skew) } }))
			if err := b.peer("node-maintenance").RequestLease(b.ctx, b.node, duration); err == nil {
				t.Error("the library took it over at once")
			}
		})
	}
}

// Another's claim is judged by the API server's time, not by a clock that is known
// to be wrong: one that holds is respected, one that has lapsed is not.
func TestAnothersClaimAndAWrongClock(t *testing.T) {
	for _, skew := range clocks {
		t.Run(skew.String(), func(t *testing.T) {
			t.Run("holds", func(t *testing.T) {
				b := newLeaseBed(t)
				b.must(b.peer("NodeHealthCheck-x").RequestLease(b.ctx, b.node, 11*time.Minute))
				b.refused(b.wrong(skew), "NodeHealthCheck-x")
			})
			t.Run("has lapsed", func(t *testing.T) {
				b := newLeaseBed(t)
				b.write(coordinationv1.LeaseSpec{HolderIdentity: new("NodeHealthCheck-x"), RenewTime: at(-13 * time.Minute), LeaseDurationSeconds: new(int32(660))})
				b.takes(b.wrong(skew))
			})
			t.Run("ours was taken over", func(t *testing.T) {
				b := newLeaseBed(t)
				l := b.wrong(skew)
				b.takes(l)
				b.write(coordinationv1.LeaseSpec{HolderIdentity: new("NodeHealthCheck-x"), RenewTime: at(0), LeaseDurationSeconds: new(int32(660))})
				if err := l.Renew(b.ctx); !errors.Is(err, lock.ErrLost) {
					t.Errorf("renewed: %v", err)
				}
				b.refused(l, "NodeHealthCheck-x")
			})
		})
	}
}

type skewed struct {
	nodelease.API
	by time.Duration
}

func (s skewed) ClockSkew() time.Duration { return s.by }

// Where there is no lease to be had, it is said why, and nothing is an error.
func TestNodeLeaseIsUnavailable(t *testing.T) {
	b := newLeaseBed(t)
	admin, err := kube.New(shared.Config)
	b.must(err)
	terminating := b.name + "-ends"
	b.must(shared.AddNamespace(b.ctx, terminating))
	_, err = shared.Client.CoordinationV1().Leases(terminating).Create(b.ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "stays", Finalizers: []string{"example.com/stays"}}}, metav1.CreateOptions{})
	b.must(err)
	b.must(shared.Client.CoreV1().Namespaces().Delete(b.ctx, terminating, metav1.DeleteOptions{}))
	for name, c := range map[string]struct {
		api       nodelease.API
		namespace string
		says      string
	}{
		"no namespace":        {admin, b.name + "-none", "not found"},
		"no permission":       {api, b.name + "-none", "forbidden"},
		"namespace ends":      {admin, terminating, "being deleted"},
		"no permission there": {api, terminating, "forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			l := b.lease(func(conf *nodelease.Config) { conf.API, conf.Namespace = c.api, c.namespace })
			for call, ask := range map[string]func() (nodelease.Status, error){
				"Take": func() (nodelease.Status, error) { return l.Take(b.ctx, b.node.UID) },
				"Find": func() (nodelease.Status, error) { return l.Find(b.ctx) },
			} {
				var s nodelease.Status
				var err error
				// The API server asks for a pause while it gets to know the NodeMaintenances,
				// which another test has just defined.
				b.eventually(call, func() bool {
					s, err = ask()
					return !apierrors.IsTooManyRequests(err)
				})
				if err != nil || s.Held || s.Foreign != "" || !strings.Contains(s.Unavailable, c.says) {
					t.Errorf("%s: %+v, %v; want that it says %q", call, s, err, c.says)
				}
			}
		})
	}
}

// meanwhile has something happen between a call's look and its write.
type meanwhile struct {
	nodelease.API
	happens func()
}

func (m *meanwhile) once() {
	if f := m.happens; f != nil {
		m.happens = nil
		f()
	}
}

func (m *meanwhile) CreateLease(ctx context.Context, lease *coordinationv1.Lease, opts metav1.CreateOptions) (*coordinationv1.Lease, error) {
	m.once()
	return m.API.CreateLease(ctx, lease, opts)
}

func (m *meanwhile) UpdateLease(ctx context.Context, lease *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	m.once()
	return m.API.UpdateLease(ctx, lease)
}

func (m *meanwhile) DeleteLease(ctx context.Context, namespace, name string, opts metav1.DeleteOptions) error {
	m.once()
	return m.API.DeleteLease(ctx, namespace, name, opts)
}

func TestNodeLeaseRaces(t *testing.T) {
	expired := coordinationv1.LeaseSpec{HolderIdentity: new("node-maintenance"), RenewTime: at(-time.Hour), LeaseDurationSeconds: new(int32(60))}
	theirs := coordinationv1.LeaseSpec{HolderIdentity: new("NodeHealthCheck-x"), RenewTime: at(-time.Second), LeaseDurationSeconds: new(int32(600))}
	t.Run("another creates it first", func(t *testing.T) {
		b := newLeaseBed(t)
		l := b.lease(func(c *nodelease.Config) {
			c.API = &meanwhile{api, func() { b.must(b.peer("NodeHealthCheck-x").RequestLease(b.ctx, b.node, duration)) }}
		})
		if s, err := l.Take(b.ctx, b.node.UID); err != nil || !strings.Contains(s.Foreign, "NodeHealthCheck-x") {
			t.Errorf("got %+v, %v", s, err)
		}
	})
	t.Run("another takes the expired one first", func(t *testing.T) {
		b := newLeaseBed(t)
		b.write(expired)
		l := b.lease(func(c *nodelease.Config) { c.API = &meanwhile{api, func() { b.write(theirs) }} })
		if s, err := l.Take(b.ctx, b.node.UID); err != nil || !strings.Contains(s.Foreign, "NodeHealthCheck-x") {
			t.Errorf("got %+v, %v", s, err)
		}
	})
	t.Run("the expired one is deleted", func(t *testing.T) {
		b := newLeaseBed(t)
		l := b.write(expired)
		b.takes(b.lease(func(c *nodelease.Config) { c.API = &meanwhile{api, func() { b.must(b.cr.Delete(b.ctx, l)) }} }))
	})
	t.Run("ours is taken over before the release", func(t *testing.T) {
		b := newLeaseBed(t)
		l := b.lease(func(c *nodelease.Config) { c.API = &meanwhile{API: api} })
		b.takes(l)
		b.write(theirs)
		b.must(l.Release(b.ctx))
		if o := b.object(); o == nil || holder(o) != "NodeHealthCheck-x" {
			t.Errorf("another's lease was deleted: %+v", o)
		}
	})
	t.Run("ours is made anew by another before the release", func(t *testing.T) {
		b := newLeaseBed(t)
		m := &meanwhile{API: api}
		l := b.lease(func(c *nodelease.Config) { c.API = m })
		b.takes(l)
		m.happens = func() {
			b.must(b.cr.Delete(b.ctx, b.object()))
			b.write(theirs)
		}
		b.must(l.Release(b.ctx))
		if o := b.object(); o == nil || holder(o) != "NodeHealthCheck-x" {
			t.Errorf("another's lease was deleted: %+v", o)
		}
	})
	t.Run("somebody annotates ours before the release", func(t *testing.T) {
		b := newLeaseBed(t)
		l := b.lease(nil)
		b.takes(l)
		b.write(b.object().Spec)
		o := b.object()
		o.Annotations = map[string]string{"a": "b"}
		b.must(b.cr.Update(b.ctx, o))
		b.must(l.Release(b.ctx))
		if b.object() != nil {
			t.Error("released, the Lease is still there")
		}
	})
}

func TestNodeLeaseIsLost(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(b *leaseBed)
		says    string
	}{
		"deleted": {func(b *leaseBed) { b.must(b.cr.Delete(b.ctx, b.object())) }, "was deleted"},
		"taken over": {func(b *leaseBed) {
			o := b.object()
			o.Spec.HolderIdentity = new("node-maintenance")
			b.must(b.cr.Update(b.ctx, o))
		}, "was taken over: node-maintenance holds this node's lease"},
		"deleted and taken": {func(b *leaseBed) {
			b.must(b.cr.Delete(b.ctx, b.object()))
			b.must(b.peer("NodeHealthCheck-x").RequestLease(b.ctx, b.node, duration))
		}, "was deleted"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newLeaseBed(t)
			l := b.lease(nil)
			b.takes(l)
			c.happens(b)
			if err := l.Renew(b.ctx); !errors.Is(err, lock.ErrLost) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("renewed: %v, want that it %s", err, c.says)
			}
			if err := l.Renew(b.ctx); !errors.Is(err, lock.ErrLost) {
				t.Errorf("renewed again: %v", err)
			}
		})
	}
}

// Who may not delete has the lease lapse at once.
func TestNodeLeaseWithoutDelete(t *testing.T) {
	b := newLeaseBed(t)
	r := shared.Client.RbacV1()
	_, err := r.Roles(cluster.NodeLeases).Create(b.ctx, &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Name: b.name},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"coordination.k8s.io"}, Resources: []string{"leases"}, Verbs: []string{"get", "create", "update"}}},
	}, metav1.CreateOptions{})
	b.must(err)
	_, err = r.RoleBindings(cluster.NodeLeases).Create(b.ctx, &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: b.name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: b.name, APIGroup: rbacv1.GroupName}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: b.name},
	}, metav1.CreateOptions{})
	b.must(err)
	cfg := rest.CopyConfig(shared.Config)
	cfg.Impersonate.UserName = b.name
	weak, err := kube.New(cfg)
	b.must(err)
	l := b.lease(func(c *nodelease.Config) { c.API = weak })
	b.eventually("the role is known", func() bool {
		s, err := l.Take(b.ctx, b.node.UID)
		return err == nil && s.Held
	})
	b.must(l.Release(b.ctx))
	b.must(b.peer("node-maintenance").RequestLease(b.ctx, b.node, duration))
}

// A NodeMaintenance keeps us off after its lease has lapsed, or while it waits for
// ours.
func TestNodeMaintenance(t *testing.T) {
	b := newLeaseBed(t)
	l := b.lease(nil)
	b.takes(l)
	crd := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "nodemaintenances.nodemaintenance.medik8s.io"},
		"spec": map[string]any{
			"group": "nodemaintenance.medik8s.io", "scope": "Cluster",
			"names": map[string]any{"plural": "nodemaintenances", "singular": "nodemaintenance", "kind": "NodeMaintenance"},
			"versions": []any{map[string]any{"name": "v1beta1", "served": true, "storage": true, "schema": map[string]any{
				"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true},
			}}},
		},
	}}
	b.must(client.IgnoreAlreadyExists(b.cr.Create(b.ctx, crd)))
	maintenance := func(node string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "nodemaintenance.medik8s.io/v1beta1", "kind": "NodeMaintenance",
			"metadata": map[string]any{"name": "m-" + node},
			"spec":     map[string]any{"nodeName": node, "reason": "a new disk"},
		}}
	}
	b.eventually("NodeMaintenances are served", func() bool {
		cr, err := client.New(shared.Config, client.Options{})
		return err == nil && client.IgnoreAlreadyExists(cr.Create(b.ctx, maintenance("another"))) == nil
	})
	b.takes(l)
	cr, err := client.New(shared.Config, client.Options{})
	b.must(err)
	m := maintenance(b.node.Name)
	b.must(cr.Create(b.ctx, m))
	if s, err := l.Take(b.ctx, b.node.UID); err != nil || s.Held || !strings.Contains(s.Foreign, "(a new disk)") {
		t.Errorf("under maintenance, the lease is taken: %+v, %v", s, err)
	}
	if o := b.object(); o != nil {
		t.Errorf("the lease was not given up for the maintenance: %+v", o)
	}
	b.refused(l, fmt.Sprintf("the NodeMaintenance m-%s has this node under maintenance since 20", b.node.Name))
	b.must(cr.Delete(b.ctx, m))
	b.takes(l)
}

// The Lease goes with its Node; one that is made anew under the same name is
// another owner.
func TestNodeLeaseOfANodeMadeAnew(t *testing.T) {
	b := newLeaseBed(t)
	l := b.lease(nil)
	b.takes(l)
	nodes := shared.Client.CoreV1().Nodes()
	again := func() {
		b.must(nodes.Delete(b.ctx, b.node.Name, metav1.DeleteOptions{}))
		n, err := nodes.Create(b.ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: b.node.Name}}, metav1.CreateOptions{})
		b.must(err)
		b.node = n
	}
	again()
	b.takes(l)
	if o := b.object(); o == nil || len(o.OwnerReferences) != 1 || o.OwnerReferences[0].UID != b.node.UID {
		t.Errorf("the owner is not the new Node %s: %+v", b.node.UID, o)
	}
	again()
	b.eventually("the Lease is gone with its Node", func() bool { return b.object() == nil })
}
