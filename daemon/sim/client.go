package sim

import (
	"context"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
)

// Client is what one process asks the API server with. It implements daemon.NodeAPI and
// lease.API.
type Client struct {
	world   *World
	link    *Link
	manager string // under which Nodes are written
}

// NewClient makes a client of somebody else, with a link of its own.
func (w *World) NewClient(manager string) *Client {
	return &Client{world: w, link: NewLink(), manager: manager}
}

// GetNode implements daemon.NodeAPI.
func (c *Client) GetNode(ctx context.Context, name string) (*corev1.Node, error) {
	return ask(ctx, c.link, Request{Verb: "get", Resource: "nodes", Name: name}, func() (*corev1.Node, error) { return c.world.Nodes.get(name) })
}

// ListNodes implements daemon.NodeAPI.
func (c *Client) ListNodes(ctx context.Context, opts metav1.ListOptions) (*corev1.NodeList, error) {
	return ask(ctx, c.link, Request{Verb: "list", Resource: "nodes"}, func() (*corev1.NodeList, error) { return c.world.Nodes.list(opts) })
}

// GetNodeMetadata implements daemon.NodeAPI.
func (c *Client) GetNodeMetadata(ctx context.Context, name string) (*metav1.PartialObjectMetadata, error) {
	n, err := c.GetNode(ctx, name)
	if err != nil {
		return nil, err
	}
	return &metav1.PartialObjectMetadata{ObjectMeta: n.ObjectMeta}, nil
}

// ListNodeMetadata implements daemon.NodeAPI.
func (c *Client) ListNodeMetadata(ctx context.Context, opts metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	list, err := c.ListNodes(ctx, opts)
	if err != nil {
		return nil, err
	}
	out := &metav1.PartialObjectMetadataList{ListMeta: list.ListMeta}
	for i := range list.Items {
		out.Items = append(out.Items, metav1.PartialObjectMetadata{ObjectMeta: list.Items[i].ObjectMeta})
	}
	return out, nil
}

// WatchNodes implements daemon.NodeAPI.
func (c *Client) WatchNodes(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	return c.watch(ctx, "nodes", func() (watch.Interface, error) { return c.world.Nodes.watch(opts) })
}

// watch opens a watch, which is closed again when its answer is lost.
func (c *Client) watch(ctx context.Context, resource string, open func() (watch.Interface, error)) (watch.Interface, error) {
	var opened watch.Interface
	_, err := ask(ctx, c.link, Request{Verb: "watch", Resource: resource}, func() (watch.Interface, error) {
		w, err := open()
		opened = w
		return w, err
	})
	if err != nil {
		if opened != nil {
			opened.Stop()
		}
		return nil, err
	}
	return c.link.open(opened), nil
}

// PatchNode implements daemon.NodeAPI.
func (c *Client) PatchNode(ctx context.Context, name string, data []byte, subresources ...string) (*corev1.Node, error) {
	return c.patch(ctx, name, data, false, subresources...)
}

// DryRunPatchNode implements daemon.NodeAPI.
func (c *Client) DryRunPatchNode(ctx context.Context, name string, data []byte) error {
	_, err := c.patch(ctx, name, data, true)
	return err
}

func (c *Client) patch(ctx context.Context, name string, data []byte, dryRun bool, subresources ...string) (*corev1.Node, error) {
	r := Request{Verb: "patch", Resource: "nodes", Name: name, Body: string(data), DryRun: dryRun}
	if len(subresources) > 0 {
		r.Subresource = subresources[0]
	}
	return ask(ctx, c.link, r, func() (*corev1.Node, error) {
		if err := c.world.admit(r); err != nil {
			return nil, err
		}
		return c.world.Nodes.patch(name, data, c.manager, r.Subresource, dryRun)
	})
}

// CreateEvent implements daemon.NodeAPI.
func (c *Client) CreateEvent(ctx context.Context, ev *corev1.Event) error {
	_, err := ask(ctx, c.link, Request{Verb: "create", Resource: "events", Name: ev.Name, Body: ev.Reason}, func() (struct{}, error) {
		if !c.world.addEvent(ev) {
			return struct{}{}, apierrors.NewAlreadyExists(schema.GroupResource{Resource: "events"}, ev.Name)
		}
		return struct{}{}, nil
	})
	return err
}

// GetLease implements lease.API.
func (c *Client) GetLease(ctx context.Context, namespace, name string) (*coordinationv1.Lease, error) {
	return ask(ctx, c.link, Request{Verb: "get", Resource: "leases", Name: name}, func() (*coordinationv1.Lease, error) {
		return c.world.Leases.GetLease(ctx, namespace, name)
	})
}

// ListLeases implements lease.API.
func (c *Client) ListLeases(ctx context.Context, namespace string, opts metav1.ListOptions) (*coordinationv1.LeaseList, error) {
	return ask(ctx, c.link, Request{Verb: "list", Resource: "leases"}, func() (*coordinationv1.LeaseList, error) {
		return c.world.Leases.ListLeases(ctx, namespace, opts)
	})
}

// WatchLeases implements lease.API.
func (c *Client) WatchLeases(ctx context.Context, namespace string, opts metav1.ListOptions) (watch.Interface, error) {
	return c.watch(ctx, "leases", func() (watch.Interface, error) { return c.world.Leases.WatchLeases(ctx, namespace, opts) })
}

// ApplyLease implements lease.API.
func (c *Client) ApplyLease(ctx context.Context, namespace, name string, body []byte, opts metav1.PatchOptions) (*coordinationv1.Lease, error) {
	r := Request{Verb: "apply", Resource: "leases", Name: name, Body: string(body), DryRun: len(opts.DryRun) > 0}
	return ask(ctx, c.link, r, func() (*coordinationv1.Lease, error) {
		l, err := c.world.Leases.ApplyLease(ctx, namespace, name, body, opts)
		if err == nil && !r.DryRun {
			c.world.sawLease(l)
		}
		return l, err
	})
}

// MergePatchLease implements lease.API.
func (c *Client) MergePatchLease(ctx context.Context, namespace, name string, body []byte) (*coordinationv1.Lease, error) {
	return ask(ctx, c.link, Request{Verb: "patch", Resource: "leases", Name: name, Body: string(body)}, func() (*coordinationv1.Lease, error) {
		l, err := c.world.Leases.MergePatchLease(ctx, namespace, name, body)
		if err == nil {
			c.world.sawLease(l)
		}
		return l, err
	})
}
