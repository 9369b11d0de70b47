package policy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	words "rebootd.dev/daemon/api"
	"rebootd.dev/daemon/kube"
	"rebootd.dev/lock"
	"rebootd.dev/lock/lease"
	"rebootd.dev/test/cluster"
)

// scene is two nodes, their slots and pods, and a thief who has the token of one of
// them.
type scene struct {
	*bed
	thief, admin    *http.Client
	stolen          *rest.Config
	api             *kube.Client // the admin's, for those whom nobody attacks
	ownUID, thatUID string

	made    int // locks
	targets map[string]*target
	pods    map[string]any // of the other node
	book    *book
	heirs   sync.WaitGroup
	waiting chan struct{} // bounds the heirs
}

// target is an object that is attacked.
type target struct {
	path     string
	was      map[string]any // as it was last seen
	lockName string
	lock     *lease.Lock // its holder's
}

const (
	held        = "another's slot"
	heldControl = "another's control-plane Lease"
	zone        = "the zone's Lease"
	free        = "a free slot"
	ours        = "the own slot"
	oursControl = "the own control-plane Lease"
	absent      = "a slot that is not there"
	ownNode     = "the own Node"
	thatNode    = "another Node"
	thatPod     = "a pod of another node"
	nodeLeaseOf = "another's node lease"
)

func newScene(t *testing.T, prefix string, book *book) *scene {
	s := &scene{bed: newBed(t, prefix), targets: map[string]*target{}, book: book, waiting: make(chan struct{}, 24)}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 6*time.Minute, errors.New("the attack's time limit has passed"))
	t.Cleanup(cancel)
	s.ctx = ctx
	token := s.token(s.pod)
	s.effective(s.client(token, nil))
	s.stolen = rest.AnonymousClientConfig(shared.Config)
	s.stolen.BearerToken = token
	var err error
	s.thief, err = rest.HTTPClientFor(s.stolen)
	s.must(err)
	s.admin, err = rest.HTTPClientFor(shared.Config)
	s.must(err)
	s.api, err = kube.New(shared.Config)
	s.must(err)
	// The controllers have done with the Nodes when they have set this.
	for _, n := range []string{s.own, s.that} {
		got, err := shared.WaitNode(s.ctx, n, "known to its controllers", func(n *corev1.Node) bool { return n.Annotations["node.alpha.kubernetes.io/ttl"] != "" })
		s.must(err)
		if n == s.own {
			s.ownUID = string(got.UID)
		} else {
			s.thatUID = string(got.UID)
		}
	}
	s.until("the other node's pods run", func() bool {
		s.pods = s.podsOfThat()
		running := 0
		for _, p := range s.pods {
			if status, ok := p.(map[string]any)["status"].(map[string]any); ok && status["phase"] == "Running" {
				running++
			}
		}
		return running == 3
	})
	_, err = shared.Client.CoreV1().Nodes().Patch(s.ctx, s.own, types.StrategicMergePatchType, []byte(condition("Drained", "True", "Ada")), metav1.PatchOptions{}, "status")
	s.must(err)
	_, err = shared.Client.CoreV1().Nodes().Patch(s.ctx, s.own, types.MergePatchType, []byte(`{"metadata":{"annotations":{"rebootd.dev/hold":"disk","rebootd.dev/request":"reboot","rebootd.dev/abort":"why"}}}`), metav1.PatchOptions{})
	s.must(err)
	_, err = shared.Client.CoordinationV1().Leases(cluster.NodeLeases).Patch(s.ctx, "node-"+s.that, types.ApplyPatchType,
		fmt.Appendf(nil, `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"node-%s"},"spec":{"holderIdentity":"another-operator","leaseDurationSeconds":600}}`, s.that), metav1.PatchOptions{FieldManager: "another-operator"})
	s.must(err)
	s.targets[ownNode] = &target{path: "/api/v1/nodes/" + s.own}
	s.targets[thatNode] = &target{path: "/api/v1/nodes/" + s.that}
	s.targets[thatPod] = &target{path: "/api/v1/namespaces/" + s.ns + "/pods/" + s.that + "-a"}
	s.targets[nodeLeaseOf] = &target{path: leasePath(cluster.NodeLeases, "node-"+s.that)}
	for _, t := range s.targets {
		t.was = s.get(t.path, "")
	}
	for _, on := range []string{held, free, ours, absent} {
		s.fresh(on)
	}
	return s
}

// podsOfThat are the pods of the other node, by their names.
func (s *scene) podsOfThat() map[string]any {
	s.Helper()
	list := s.get("/api/v1/pods", "fieldSelector=spec.nodeName%3D@THAT@")
	out := map[string]any{}
	for _, p := range list["items"].([]any) {
		out[p.(map[string]any)["metadata"].(map[string]any)["name"].(string)] = p
	}
	return out
}

// fresh makes a target anew, with a lock of its own.
func (s *scene) fresh(on string) {
	s.Helper()
	s.made++
	name := fmt.Sprintf("%s-%d", s.ns, s.made)
	lease := func(on, suffix string, l *lease.Lock) {
		path := leasePath(cluster.Namespace, name+suffix)
		s.targets[on] = &target{path: path, was: s.get(path, ""), lockName: name, lock: l}
	}
	switch on {
	case held, heldControl, zone:
		l := s.hold(name, s.that, lock.Claimant{UID: types.UID(s.thatUID), Zone: "zone=a", ControlPlane: true})
		lease(held, "-0", l)
		lease(heldControl, "-control-plane", l)
		lease(zone, "-zone", l)
	case ours, oursControl:
		l := s.hold(name, s.own, lock.Claimant{UID: types.UID(s.ownUID), ControlPlane: true})
		lease(ours, "-0", l)
		lease(oursControl, "-control-plane", l)
	case free:
		l := s.hold(name, s.that, lock.Claimant{UID: types.UID(s.thatUID)})
		s.must(l.ReleaseWorked(s.ctx, words.Line{}, time.Now().Add(-time.Hour)))
		lease(free, "-0", nil)
	case absent:
		path := leasePath(cluster.Namespace, name+"-0")
		s.targets[on] = &target{path: path, lockName: name, was: map[string]any{
			"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": map[string]any{"name": name + "-0", "namespace": cluster.Namespace},
		}}
	}
}

// lockOf is a lock as a node sees it that nobody attacks.
func (s *scene) lockOf(name, node string) *lease.Lock {
	s.Helper()
	l, err := lease.New(lease.Config{API: s.api, Namespace: cluster.Namespace, Name: name, Slots: 1, Node: node, Duration: time.Minute, DeletedGrace: 500 * time.Millisecond})
	s.must(err)
	return l
}

// hold has a node hold a slot that was kept for it, so that it need not wait.
func (s *scene) hold(name, node string, ask lock.Claimant) *lease.Lock {
	s.Helper()
	_, err := shared.Client.CoordinationV1().Leases(cluster.Namespace).Patch(s.ctx, name+"-0", types.ApplyPatchType,
		fmt.Appendf(nil, `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":%q,"annotations":{%q:%q}}}`, name+"-0", words.NextAnnotation, node), metav1.PatchOptions{FieldManager: "person"})
	s.must(err)
	l := s.lockOf(name, node)
	_, err = l.Acquire(s.ctx, ask, func(lock.Waiting) {})
	s.must(err)
	return l
}
