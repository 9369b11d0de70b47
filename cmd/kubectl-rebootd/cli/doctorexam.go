package cli

import (
	"context"
	"slices"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/cmd/kubectl-rebootd/client"
	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/others"
)

// patient is an installation as it was read, before anything is said of it.
type patient struct {
	e        *env
	fleet    fleet.Fleet
	nodesErr error
	marks    map[string]marks // by node

	allowed map[string]bool // by "verb resource"
	askErr  error

	pol      []client.Policy
	bindings []client.PolicyBinding
	polErr   error

	sets   []client.DaemonSet // of all namespaces, or of the lock's only: elsewhere
	setErr error
	narrow bool // only the namespace could be looked at
	pods   []corev1.Pod
	podErr error

	ahead    time.Duration // by how much this machine's clock is ahead of the API server's
	clockErr error

	text       []byte // the metrics of a daemon's pod
	textOf     string
	metricsErr error
}

// marks are what others and the kubelet have left on a Node.
type marks struct {
	findings []others.Finding
	kured    []string // annotations, labels and taints of kured
	machine  bool     // a Linux machine, where a daemon should run
	skew     time.Duration
	measured bool
}

// right is what a user may do, and which commands need it.
type right struct {
	what     authorizationv1.ResourceAttributes
	commands string
}

func (r right) String() string {
	name := r.what.Resource
	if r.what.Subresource != "" {
		name += "/" + r.what.Subresource
	}
	return r.what.Verb + " " + name
}

// role is the one of the shipped roles that has the right, "" if none has: to rehearse
// evictions is to be allowed to evict.
func (r right) role() string {
	switch {
	case r.what.Subresource == "eviction":
		return ""
	case r.what.Verb == "patch" || r.what.Verb == "create":
		return "rebootd-operator"
	}
	return "rebootd-viewer"
}

// rightsNeeded are the rights that the commands need.
func rightsNeeded(namespace string) []right {
	return []right{
		{authorizationv1.ResourceAttributes{Verb: "list", Resource: "nodes"}, "every command but version"},
		{authorizationv1.ResourceAttributes{Verb: "watch", Resource: "nodes"}, "status -w, --wait"},
		{authorizationv1.ResourceAttributes{Verb: "list", Group: "coordination.k8s.io", Resource: "leases", Namespace: namespace}, "slots, plan, and who holds a slot in status and why"},
		{authorizationv1.ResourceAttributes{Verb: "list", Resource: "pods"}, "preflight, and the pods in why"},
		{authorizationv1.ResourceAttributes{Verb: "list", Group: "policy", Resource: "poddisruptionbudgets"}, "preflight"},
		{authorizationv1.ResourceAttributes{Verb: "create", Resource: "pods", Subresource: "eviction"}, "the rehearsed evictions of preflight"},
		{authorizationv1.ResourceAttributes{Verb: "patch", Resource: "nodes"}, "request, cancel, hold, unhold, approve, abort"},
		{authorizationv1.ResourceAttributes{Verb: "patch", Group: "coordination.k8s.io", Resource: "leases", Namespace: namespace}, "pause, resume, release"},
		{authorizationv1.ResourceAttributes{Verb: "create", Group: "coordination.k8s.io", Resource: "leases", Namespace: namespace}, "pause, before anybody has ever paused"},
	}
}

// examine reads what the checks look at. Only that the API server cannot be reached is an
// error.
func (e *env) examine(ctx context.Context, c client.API) (*patient, error) {
	p := &patient{e: e, marks: map[string]marks{}, allowed: map[string]bool{}}
	before := e.now()
	server, err := c.ServerTime(ctx)
	if p.clockErr = err; err == nil {
		p.ahead = skewOf(before, e.now(), server)
	}
	var nodes []fleet.Node
	_, p.nodesErr = c.EachNode(ctx, "", func(n *corev1.Node) {
		nodes = append(nodes, fleet.NodeOf(n))
		p.marks[n.Name] = marksOf(n)
	})
	if p.nodesErr != nil && !apierrors.IsForbidden(p.nodesErr) {
		return nil, p.nodesErr
	}
	leases, _, err := c.Leases(ctx)
	p.fleet = fleet.Build(nodes, leases, err, e.now())
	for _, r := range rightsNeeded(e.flags.namespace) {
		if p.allowed[r.String()], err = c.Allowed(ctx, r.what); err != nil {
			p.askErr = err
			break
		}
	}
	if p.pol, p.polErr = c.Policies(ctx); p.polErr == nil {
		p.bindings, p.polErr = c.PolicyBindings(ctx)
	}
	if p.sets, p.setErr = c.DaemonSets(ctx, ""); p.setErr != nil {
		p.narrow = true
		p.sets, p.setErr = c.DaemonSets(ctx, e.flags.namespace)
	}
	p.pods, p.podErr = c.PodsIn(ctx, e.flags.namespace, podLabel)
	p.scrape(ctx, c)
	return p, nil
}

// podLabel is the label by which the daemons' pods are known.
const podLabel = "app.kubernetes.io/name=rebootd"

// skewOf is by how much this machine's clock is ahead of the API server's, which has told
// its time to the second, cut off, between before and after. What may be chance is 0.
func skewOf(before, after, server time.Time) time.Duration {
	switch {
	case before.After(server.Add(time.Second)):
		return before.Sub(server.Add(time.Second))
	case after.Before(server):
		return after.Sub(server)
	}
	return 0
}

func marksOf(n *corev1.Node) marks {
	m := marks{findings: others.Check(n), machine: n.Labels["kubernetes.io/os"] != "windows" && n.Labels["type"] != "virtual-kubelet" && n.Labels["eks.amazonaws.com/compute-type"] != "fargate"}
	const kured = "weave.works/kured"
	for _, keys := range []struct {
		what string
		have map[string]string
	}{{"annotate", n.Annotations}, {"label", n.Labels}} {
		for k := range keys.have {
			if strings.HasPrefix(k, kured) {
				m.kured = append(m.kured, "kubectl "+keys.what+" node "+n.Name+" "+k+"-")
			}
		}
	}
	for _, t := range n.Spec.Taints {
		if strings.HasPrefix(t.Key, kured) {
			m.kured = append(m.kured, "kubectl taint node "+n.Name+" "+t.Key+"-")
		}
	}
	slices.Sort(m.kured)
	m.skew, m.measured = skewOn(n)
	return m
}

// skewOn is by how much a node's clock is ahead of the API server's: the kubelet writes the
// time of its heartbeat, and the API server notes when it was written.
func skewOn(n *corev1.Node) (time.Duration, bool) {
	i := slices.IndexFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool { return c.Type == corev1.NodeReady })
	if i < 0 || n.Status.Conditions[i].LastHeartbeatTime.IsZero() {
		return 0, false
	}
	beat := n.Status.Conditions[i].LastHeartbeatTime.Time
	for _, e := range n.ManagedFields {
		if e.Manager == "kubelet" && e.Subresource == "status" && e.Operation == metav1.ManagedFieldsOperationUpdate && e.Time != nil {
			return beat.Sub(e.Time.Time), true
		}
	}
	return 0, false
}

// down says whether a node's machine may be down just now, as the daemon's own work: its
// pod is then not expected.
func down(n fleet.Node) bool {
	return n.Record != nil && (n.Record.Phase == api.PhaseRebooting || n.Record.Phase == api.PhaseVerifying)
}
