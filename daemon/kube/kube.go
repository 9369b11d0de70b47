// Package kube is the daemon's one client of the Kubernetes API: plain calls on
// the handful of kinds that the daemon uses. It knows how to ask; it knows
// nothing of why.
//
// It exists for its size. A clientset registers every API group of Kubernetes
// and makes the binary 10 MB and the process 7 MiB larger; this client stands
// on client-go's rest package and on a scheme of four groups.
//
// No call is retried here and none is held back by a client-side rate limit:
// who calls decides what a failure means. Every call but a watch has a time
// limit of its own, so that a half-open connection cannot stop a caller for
// ever. All methods are safe for concurrent use.
package kube

import (
	"context"
	"fmt"
	"net/http"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
)

const (
	// callTimeout bounds every call that is not a watch.
	callTimeout = 15 * time.Second
	// evictTimeout is longer: the API server may wait 30 s for an admission
	// webhook before it answers.
	evictTimeout = 35 * time.Second
)

// A client certificate that was renewed is taken as soon as a token that was: by
// default it would be after five minutes.
func init() { transport.CertCallbackRefreshDuration = time.Minute }

// FieldManager is the name under which the API server keeps what the daemon has
// set on Nodes. It is the same for every version: by it the daemon knows its own
// cordon again.
const FieldManager = "rebootd"

// Client talks to one API server.
type Client struct {
	core, coordination, policy, storage rest.Interface
	codec                               runtime.ParameterCodec
	clock                               clock
	asNode                              nodeIdentity
}

// New makes a client from cfg, which is not changed. It sends nothing.
func New(cfg *rest.Config) (*Client, error) {
	s, err := newScheme()
	if err != nil {
		return nil, err
	}
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1
	if cfg.UserAgent == "" {
		cfg.UserAgent = rest.DefaultKubernetesUserAgent()
	}
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(s).WithoutConversion()
	c := &Client{codec: runtime.NewParameterCodec(s)}
	cfg.Wrap(c.clock.watch)
	httpClient, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("build the client's transport to %s: %w", cfg.Host, err)
	}
	for _, g := range []struct {
		to   *rest.Interface
		gv   schema.GroupVersion
		path string
	}{
		{&c.core, corev1.SchemeGroupVersion, "/api"},
		{&c.coordination, coordinationv1.SchemeGroupVersion, "/apis"},
		{&c.policy, policyv1.SchemeGroupVersion, "/apis"},
		{&c.storage, storagev1.SchemeGroupVersion, "/apis"},
	} {
		gc := *cfg
		gc.GroupVersion = &g.gv
		gc.APIPath = g.path
		rc, err := rest.RESTClientForConfigAndClient(&gc, httpClient)
		if err != nil {
			return nil, fmt.Errorf("build the client of %s: %w", g.gv, err)
		}
		*g.to = rc
	}
	return c, nil
}

// newScheme knows the kinds of the four groups.
func newScheme() (*runtime.Scheme, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, coordinationv1.AddToScheme, policyv1.AddToScheme, storagev1.AddToScheme} {
		if err := add(s); err != nil {
			return nil, fmt.Errorf("build the client's scheme: %w", err)
		}
	}
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	if err := metav1.AddMetaToScheme(s); err != nil {
		return nil, fmt.Errorf("build the client's scheme: %w", err)
	}
	return s, nil
}

// GetNode reads one Node.
func (c *Client) GetNode(ctx context.Context, name string) (*corev1.Node, error) {
	return get(ctx, c.core, "nodes", "", name, new(corev1.Node))
}

// ListNodes lists Nodes.
func (c *Client) ListNodes(ctx context.Context, opts metav1.ListOptions) (*corev1.NodeList, error) {
	return list(ctx, c, c.core, "nodes", "", opts, new(corev1.NodeList))
}

// ListNodeMetadata lists Nodes without their specs and statuses, which are most of
// them.
func (c *Client) ListNodeMetadata(ctx context.Context, opts metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out := new(metav1.PartialObjectMetadataList)
	err := c.core.Get().Resource("nodes").VersionedParams(&opts, c.codec).
		SetHeader("Accept", asMetadata("PartialObjectMetadataList")).MaxRetries(0).Do(ctx).Into(out)
	return out, err
}

// GetNodeMetadata reads one Node without its spec and status.
func (c *Client) GetNodeMetadata(ctx context.Context, name string) (*metav1.PartialObjectMetadata, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out := new(metav1.PartialObjectMetadata)
	err := c.core.Get().Resource("nodes").Name(name).
		SetHeader("Accept", asMetadata("PartialObjectMetadata")).MaxRetries(0).Do(ctx).Into(out)
	return out, err
}

func asMetadata(kind string) string {
	return fmt.Sprintf("application/vnd.kubernetes.protobuf;as=%[1]s;g=meta.k8s.io;v=v1,application/json;as=%[1]s;g=meta.k8s.io;v=v1", kind)
}

// WatchNodes watches Nodes until the server or ctx ends it.
func (c *Client) WatchNodes(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	return c.watch(ctx, c.core, "nodes", "", opts)
}

// PatchNode changes a Node, or one of its subresources, by a strategic merge
// patch. A patch that carries metadata.resourceVersion is refused with a
// conflict when the Node has changed since.
func (c *Client) PatchNode(ctx context.Context, name string, data []byte, subresources ...string) (*corev1.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out := new(corev1.Node)
	err := c.core.Patch(types.StrategicMergePatchType).Resource("nodes").Name(name).SubResource(subresources...).
		MaxRetries(0).Param("fieldManager", FieldManager).Body(data).SetHeader("Accept", protobuf).Do(ctx).Into(out)
	return out, err
}

// DryRunPatchNode asks whether a patch of a Node would be accepted, by everything that
// has a word in it, and changes nothing.
func (c *Client) DryRunPatchNode(ctx context.Context, name string, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return c.core.Patch(types.StrategicMergePatchType).Resource("nodes").Name(name).
		MaxRetries(0).Param("fieldManager", FieldManager).Param("dryRun", metav1.DryRunAll).Body(data).SetHeader("Accept", protobuf).Do(ctx).Error()
}

// ListPods lists the pods of a namespace; "" means all.
func (c *Client) ListPods(ctx context.Context, namespace string, opts metav1.ListOptions) (*corev1.PodList, error) {
	return list(ctx, c, c.core, "pods", namespace, opts, new(corev1.PodList))
}

// WatchPods watches the pods of a namespace until the server or ctx ends it; ""
// means all namespaces.
func (c *Client) WatchPods(ctx context.Context, namespace string, opts metav1.ListOptions) (watch.Interface, error) {
	return c.watch(ctx, c.core, "pods", namespace, opts)
}

// EvictPod asks for the eviction of the pod that ev names: as the node, where ForNode
// was called and the API server lets us, and else in our own name. A dry run is one
// that ev.DeleteOptions calls so.
func (c *Client) EvictPod(ctx context.Context, ev *policyv1.Eviction) error {
	if n := &c.asNode; n.client != nil && !n.refused.Load() {
		err := c.evict(ctx, n.client, ev)
		if !mayNotImpersonate(err) {
			return err
		}
		n.refused.Store(true)
	}
	err := c.evict(ctx, c.core, ev)
	if apierrors.IsForbidden(err) {
		c.asNode.refused.Store(false) // the permission may come yet
	}
	return err
}

func (c *Client) evict(ctx context.Context, client rest.Interface, ev *policyv1.Eviction) error {
	ctx, cancel := context.WithTimeout(ctx, evictTimeout)
	defer cancel()
	var opts metav1.CreateOptions
	if ev.DeleteOptions != nil {
		// The body says it to the eviction, the query to the admission webhooks.
		opts.DryRun = ev.DeleteOptions.DryRun
	}
	return client.Post().Namespace(ev.Namespace).Resource("pods").Name(ev.Name).SubResource("eviction").
		VersionedParams(&opts, c.codec).UseProtobufAsDefault().MaxRetries(0).Body(ev).Do(ctx).Error()
}

// DeletePod deletes one pod.
func (c *Client) DeletePod(ctx context.Context, namespace, name string, opts metav1.DeleteOptions) error {
	return remove(ctx, c.core, "pods", namespace, name, opts)
}

// ListBudgets lists the PodDisruptionBudgets of a namespace; "" means all.
func (c *Client) ListBudgets(ctx context.Context, namespace string, opts metav1.ListOptions) (*policyv1.PodDisruptionBudgetList, error) {
	return list(ctx, c, c.policy, "poddisruptionbudgets", namespace, opts, new(policyv1.PodDisruptionBudgetList))
}

// WatchBudgets watches the PodDisruptionBudgets of a namespace until the server
// or ctx ends it; "" means all namespaces.
func (c *Client) WatchBudgets(ctx context.Context, namespace string, opts metav1.ListOptions) (watch.Interface, error) {
	return c.watch(ctx, c.policy, "poddisruptionbudgets", namespace, opts)
}

// GetClaim reads one PersistentVolumeClaim.
func (c *Client) GetClaim(ctx context.Context, namespace, name string) (*corev1.PersistentVolumeClaim, error) {
	return get(ctx, c.core, "persistentvolumeclaims", namespace, name, new(corev1.PersistentVolumeClaim))
}

// ListVolumeAttachments lists the VolumeAttachments of all nodes.
func (c *Client) ListVolumeAttachments(ctx context.Context, opts metav1.ListOptions) (*storagev1.VolumeAttachmentList, error) {
	return list(ctx, c, c.storage, "volumeattachments", "", opts, new(storagev1.VolumeAttachmentList))
}

// WatchVolumeAttachments watches the VolumeAttachments of all nodes until the
// server or ctx ends it.
func (c *Client) WatchVolumeAttachments(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	return c.watch(ctx, c.storage, "volumeattachments", "", opts)
}

// GetLease reads one Lease.
func (c *Client) GetLease(ctx context.Context, namespace, name string) (*coordinationv1.Lease, error) {
	return get(ctx, c.coordination, "leases", namespace, name, new(coordinationv1.Lease))
}

// ListLeases lists the Leases of a namespace.
func (c *Client) ListLeases(ctx context.Context, namespace string, opts metav1.ListOptions) (*coordinationv1.LeaseList, error) {
	return list(ctx, c, c.coordination, "leases", namespace, opts, new(coordinationv1.LeaseList))
}

// WatchLeases watches the Leases of a namespace until the server or ctx ends it.
func (c *Client) WatchLeases(ctx context.Context, namespace string, opts metav1.ListOptions) (watch.Interface, error) {
	return c.watch(ctx, c.coordination, "leases", namespace, opts)
}

// ApplyLease applies body, a Lease in JSON, by server-side apply. opts names the
// field manager. Without force the server answers with a conflict when another
// manager owns a field of it.
func (c *Client) ApplyLease(ctx context.Context, namespace, name string, body []byte, opts metav1.PatchOptions) (*coordinationv1.Lease, error) {
	return c.patchLease(ctx, types.ApplyPatchType, namespace, name, body, opts)
}

// MergePatchLease changes a Lease by a JSON merge patch.
func (c *Client) MergePatchLease(ctx context.Context, namespace, name string, body []byte) (*coordinationv1.Lease, error) {
	return c.patchLease(ctx, types.MergePatchType, namespace, name, body, metav1.PatchOptions{})
}

func (c *Client) patchLease(ctx context.Context, kind types.PatchType, namespace, name string, body []byte, opts metav1.PatchOptions) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out := new(coordinationv1.Lease)
	err := c.coordination.Patch(kind).Namespace(namespace).Resource("leases").Name(name).
		MaxRetries(0).VersionedParams(&opts, c.codec).Body(body).SetHeader("Accept", protobuf).Do(ctx).Into(out)
	return out, err
}

// CreateLease creates a Lease in the namespace that it names.
func (c *Client) CreateLease(ctx context.Context, lease *coordinationv1.Lease, opts metav1.CreateOptions) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out := new(coordinationv1.Lease)
	err := c.coordination.Post().Namespace(lease.Namespace).Resource("leases").VersionedParams(&opts, c.codec).
		UseProtobufAsDefault().MaxRetries(0).Body(lease).Do(ctx).Into(out)
	return out, err
}

// UpdateLease replaces a Lease, on the condition that it has not changed since it
// was read.
func (c *Client) UpdateLease(ctx context.Context, lease *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	out := new(coordinationv1.Lease)
	err := c.coordination.Put().Namespace(lease.Namespace).Resource("leases").Name(lease.Name).
		UseProtobufAsDefault().MaxRetries(0).Body(lease).Do(ctx).Into(out)
	return out, err
}

// DeleteLease deletes one Lease.
func (c *Client) DeleteLease(ctx context.Context, namespace, name string, opts metav1.DeleteOptions) error {
	return remove(ctx, c.coordination, "leases", namespace, name, opts)
}

// GetRaw reads what is at a path, as JSON.
func (c *Client) GetRaw(ctx context.Context, path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return c.core.Get().AbsPath(path).SetHeader("Accept", runtime.ContentTypeJSON).MaxRetries(0).Do(ctx).Raw()
}

// CreateEvent records an Event in the namespace that it names.
func (c *Client) CreateEvent(ctx context.Context, ev *corev1.Event) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return c.core.Post().Namespace(ev.Namespace).Resource("events").UseProtobufAsDefault().MaxRetries(0).Body(ev).Do(ctx).Error()
}

// protobuf is asked for where a request's body has to be JSON; JSON is left as
// an answer that is understood too.
const protobuf = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON

func get[T runtime.Object](ctx context.Context, c rest.Interface, resource, namespace, name string, out T) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := c.Get().NamespaceIfScoped(namespace, namespace != "").Resource(resource).Name(name).
		UseProtobufAsDefault().MaxRetries(0).Do(ctx).Into(out)
	return out, err
}

func list[T runtime.Object](ctx context.Context, kc *Client, c rest.Interface, resource, namespace string, opts metav1.ListOptions, out T) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := c.Get().NamespaceIfScoped(namespace, namespace != "").Resource(resource).VersionedParams(&opts, kc.codec).
		UseProtobufAsDefault().MaxRetries(0).Do(ctx).Into(out)
	return out, err
}

func remove(ctx context.Context, c rest.Interface, resource, namespace, name string, opts metav1.DeleteOptions) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return c.Verb(http.MethodDelete).Namespace(namespace).Resource(resource).Name(name).
		UseProtobufAsDefault().MaxRetries(0).Body(&opts).Do(ctx).Error()
}
