// Package client is kubectl rebootd's client of the Kubernetes API: plain calls on the
// handful of kinds that it reads and writes. It knows how to ask; it knows nothing of why.
//
// It stands on client-go's typed client of single kinds, since a clientset is 20 MB.
package client

import (
	"context"
	"fmt"
	"net/http"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"
)

// API is what the commands need of the API server. Every call ends with ctx; none is
// retried. Methods are safe for concurrent use.
type API interface {
	// EachNode calls each for every Node that a label selector selects, page by page, and
	// returns the version from which to watch on. each must not keep the Node.
	EachNode(ctx context.Context, selector string, each func(*corev1.Node)) (version string, err error)
	Node(ctx context.Context, name string) (*corev1.Node, error)
	WatchNodes(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
	// PatchNode sends a merge patch (RFC 7386).
	PatchNode(ctx context.Context, name string, patch []byte, dryRun bool) (*corev1.Node, error)

	// Leases are those of the namespace of the lock, and the version from which to watch on.
	Leases(ctx context.Context) (leases []coordinationv1.Lease, version string, err error)
	WatchLeases(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
	CreateLease(ctx context.Context, lease *coordinationv1.Lease, dryRun bool) (*coordinationv1.Lease, error)
	// PatchLease sends a merge patch (RFC 7386).
	PatchLease(ctx context.Context, name string, patch []byte, dryRun bool) (*coordinationv1.Lease, error)

	PodsOn(ctx context.Context, node string) ([]corev1.Pod, error)
	Budgets(ctx context.Context) ([]policyv1.PodDisruptionBudget, error)
	// Rehearse asks to evict a pod as a dry run, in the query as well as in the body.
	Rehearse(ctx context.Context, pod *corev1.Pod) error
	NodeEvents(ctx context.Context, node string) ([]corev1.Event, error)
	Allowed(ctx context.Context, what authorizationv1.ResourceAttributes) (bool, error)

	Installation
}

// pageSize is how many Nodes are asked for at a time: one has 10 to 20 KB, most of it images.
const pageSize = 500

var codecs, parameters = func() (serializer.CodecFactory, runtime.ParameterCodec) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, coordinationv1.AddToScheme, policyv1.AddToScheme, authorizationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err) // two kinds of one name: a programmer's mistake
		}
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	return serializer.NewCodecFactory(scheme), runtime.NewParameterCodec(scheme)
}()

// Client talks to one API server.
type Client struct {
	nodes    *gentype.ClientWithList[*corev1.Node, *corev1.NodeList]
	leases   *gentype.ClientWithList[*coordinationv1.Lease, *coordinationv1.LeaseList]
	pods     *gentype.ClientWithList[*corev1.Pod, *corev1.PodList]
	budgets  *gentype.ClientWithList[*policyv1.PodDisruptionBudget, *policyv1.PodDisruptionBudgetList]
	events   *gentype.ClientWithList[*corev1.Event, *corev1.EventList]
	reviews  *gentype.Client[*authorizationv1.SelfSubjectAccessReview]
	core     rest.Interface
	http     *http.Client
	eviction runtime.ParameterCodec
}

var _ API = (*Client)(nil)

// New makes a client for a configuration. namespace is that of the lock. It sends nothing.
func New(config *rest.Config, namespace string) (*Client, error) {
	group := func(path string, gv schema.GroupVersion) (*rest.RESTClient, error) {
		c := rest.CopyConfig(config)
		c.APIPath, c.GroupVersion, c.NegotiatedSerializer = path, &gv, codecs.WithoutConversion()
		c.ContentType, c.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
		c.QPS = -1 // a person's requests are few
		client, err := rest.RESTClientFor(c)
		if err != nil {
			return nil, fmt.Errorf("make a client of %s: %w", gv, err)
		}
		return client, nil
	}
	core, err := group("/api", corev1.SchemeGroupVersion)
	if err != nil {
		return nil, err
	}
	coordination, err := group("/apis", coordinationv1.SchemeGroupVersion)
	if err != nil {
		return nil, err
	}
	policy, err := group("/apis", policyv1.SchemeGroupVersion)
	if err != nil {
		return nil, err
	}
	authorization, err := group("/apis", authorizationv1.SchemeGroupVersion)
	if err != nil {
		return nil, err
	}
	return &Client{
		nodes: gentype.NewClientWithList("nodes", core, parameters, "", func() *corev1.Node { return new(corev1.Node) },
			func() *corev1.NodeList { return new(corev1.NodeList) }, gentype.PrefersProtobuf[*corev1.Node]()),
		leases: gentype.NewClientWithList("leases", coordination, parameters, namespace, func() *coordinationv1.Lease { return new(coordinationv1.Lease) },
			func() *coordinationv1.LeaseList { return new(coordinationv1.LeaseList) }, gentype.PrefersProtobuf[*coordinationv1.Lease]()),
		pods: gentype.NewClientWithList("pods", core, parameters, "", func() *corev1.Pod { return new(corev1.Pod) },
			func() *corev1.PodList { return new(corev1.PodList) }, gentype.PrefersProtobuf[*corev1.Pod]()),
		budgets: gentype.NewClientWithList("poddisruptionbudgets", policy, parameters, "", func() *policyv1.PodDisruptionBudget { return new(policyv1.PodDisruptionBudget) },
			func() *policyv1.PodDisruptionBudgetList { return new(policyv1.PodDisruptionBudgetList) }, gentype.PrefersProtobuf[*policyv1.PodDisruptionBudget]()),
		events: gentype.NewClientWithList("events", core, parameters, "", func() *corev1.Event { return new(corev1.Event) },
			func() *corev1.EventList { return new(corev1.EventList) }, gentype.PrefersProtobuf[*corev1.Event]()),
		reviews: gentype.NewClient("selfsubjectaccessreviews", authorization, parameters, "", func() *authorizationv1.SelfSubjectAccessReview { return new(authorizationv1.SelfSubjectAccessReview) },
			gentype.PrefersProtobuf[*authorizationv1.SelfSubjectAccessReview]()),
		core: core, http: core.Client, eviction: parameters,
	}, nil
}

// EachNode implements [API].
func (c *Client) EachNode(ctx context.Context, selector string, each func(*corev1.Node)) (version string, err error) {
	opts := metav1.ListOptions{LabelSelector: selector, Limit: pageSize}
	for {
		list, err := c.nodes.List(ctx, opts)
		if err != nil {
			return "", fmt.Errorf("list nodes: %w", err)
		}
		for i := range list.Items {
			each(&list.Items[i])
		}
		if opts.Continue = list.Continue; opts.Continue == "" {
			return list.ResourceVersion, nil
		}
	}
}

// Node implements [API].
func (c *Client) Node(ctx context.Context, name string) (*corev1.Node, error) {
	return c.nodes.Get(ctx, name, metav1.GetOptions{})
}

// WatchNodes implements [API].
func (c *Client) WatchNodes(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	return c.nodes.Watch(ctx, opts)
}

// PatchNode implements [API].
func (c *Client) PatchNode(ctx context.Context, name string, patch []byte, dryRun bool) (*corev1.Node, error) {
	return c.nodes.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{DryRun: dry(dryRun), FieldManager: FieldManager})
}

// Leases implements [API].
func (c *Client) Leases(ctx context.Context) (leases []coordinationv1.Lease, version string, err error) {
	list, err := c.leases.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, "", fmt.Errorf("list leases: %w", err)
	}
	return list.Items, list.ResourceVersion, nil
}

// WatchLeases implements [API].
func (c *Client) WatchLeases(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	return c.leases.Watch(ctx, opts)
}

// CreateLease implements [API].
func (c *Client) CreateLease(ctx context.Context, lease *coordinationv1.Lease, dryRun bool) (*coordinationv1.Lease, error) {
	return c.leases.Create(ctx, lease, metav1.CreateOptions{DryRun: dry(dryRun), FieldManager: FieldManager})
}

// PatchLease implements [API].
func (c *Client) PatchLease(ctx context.Context, name string, patch []byte, dryRun bool) (*coordinationv1.Lease, error) {
	return c.leases.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{DryRun: dry(dryRun), FieldManager: FieldManager})
}

// PodsOn implements [API].
func (c *Client) PodsOn(ctx context.Context, node string) ([]corev1.Pod, error) {
	list, err := c.pods.List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node})
	if err != nil {
		return nil, fmt.Errorf("list the pods on %s: %w", node, err)
	}
	return list.Items, nil
}

// Budgets implements [API].
func (c *Client) Budgets(ctx context.Context) ([]policyv1.PodDisruptionBudget, error) {
	list, err := c.budgets.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list pod disruption budgets: %w", err)
	}
	return list.Items, nil
}

// Rehearse implements [API].
func (c *Client) Rehearse(ctx context.Context, pod *corev1.Pod) error {
	opts := metav1.CreateOptions{DryRun: dry(true)}
	return c.core.Post().Namespace(pod.Namespace).Resource("pods").Name(pod.Name).SubResource("eviction").VersionedParams(&opts, c.eviction).
		Body(&policyv1.Eviction{
			ObjectMeta:    metav1.ObjectMeta{Name: pod.Name, Namespace: pod.Namespace},
			DeleteOptions: &metav1.DeleteOptions{DryRun: dry(true), Preconditions: &metav1.Preconditions{UID: &pod.UID}},
		}).Do(ctx).Error()
}

// NodeEvents implements [API].
func (c *Client) NodeEvents(ctx context.Context, node string) ([]corev1.Event, error) {
	list, err := c.events.List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=Node,involvedObject.name=" + node})
	if err != nil {
		return nil, fmt.Errorf("list the events of %s: %w", node, err)
	}
	return list.Items, nil
}

// Allowed implements [API].
func (c *Client) Allowed(ctx context.Context, what authorizationv1.ResourceAttributes) (bool, error) {
	r, err := c.reviews.Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &what},
	}, metav1.CreateOptions{})
	if err != nil {
		return false, fmt.Errorf("ask what is allowed: %w", err)
	}
	return r.Status.Allowed, nil
}

// FieldManager is the name under which the API server keeps what people have written by
// this program: the daemons tell who has approved a reboot by it.
const FieldManager = "kubectl-rebootd"

func dry(is bool) []string {
	if is {
		return []string{metav1.DryRunAll}
	}
	return nil
}
