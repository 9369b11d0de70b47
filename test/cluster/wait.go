package cluster

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// WaitNode watches a node until ok says so, and returns it as it is then.
func (c *Cluster) WaitNode(ctx context.Context, name, what string, ok func(*corev1.Node) bool) (*corev1.Node, error) {
	var last *corev1.Node
	err := c.await(ctx, func(ctx context.Context) (watch.Interface, error) {
		return c.Client.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	}, func(ev watch.Event) bool {
		if n, isNode := ev.Object.(*corev1.Node); isNode {
			last = n
			return ok(n)
		}
		return false
	})
	if err != nil {
		return nil, fmt.Errorf("wait until the node %s is %s: %w (last seen: %s)", name, what, err, Describe(last))
	}
	return last, nil
}

// Describe is what tests look at of a Node, nil if there is none, in words.
func Describe(n *corev1.Node) string {
	if n == nil {
		return "nothing"
	}
	var conditions []string
	for _, c := range n.Status.Conditions {
		conditions = append(conditions, fmt.Sprintf("%s=%s (%s: %s)", c.Type, c.Status, c.Reason, c.Message))
	}
	return fmt.Sprintf("unschedulable %t, boot %s, annotations %v, conditions [%s], taints %v",
		n.Spec.Unschedulable, n.Status.NodeInfo.BootID, n.Annotations, strings.Join(conditions, ", "), n.Spec.Taints)
}

// WaitPods watches the pods of a namespace until ok says so of all of them.
func (c *Cluster) WaitPods(ctx context.Context, namespace, what string, ok func(map[string]*corev1.Pod) bool) error {
	pods := map[string]*corev1.Pod{}
	err := c.await(ctx, func(ctx context.Context) (watch.Interface, error) {
		clear(pods)
		return c.Client.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{})
	}, func(ev watch.Event) bool {
		p, isPod := ev.Object.(*corev1.Pod)
		switch {
		case !isPod:
			return false
		case ev.Type == watch.Deleted:
			delete(pods, p.Name)
		default:
			pods[p.Name] = p
		}
		return ok(pods)
	})
	if err != nil {
		return fmt.Errorf("wait until the pods of %s are %s: %w (last seen: %s)", namespace, what, err, describePods(pods))
	}
	return nil
}

func describePods(pods map[string]*corev1.Pod) string {
	if len(pods) == 0 {
		return "none"
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(pods)) {
		p := pods[name]
		all = append(all, fmt.Sprintf("%s on %q is %s, Ready %t, ending %t", name, p.Spec.NodeName, p.Status.Phase, PodReady(p), p.DeletionTimestamp != nil))
	}
	return strings.Join(all, "; ")
}

// WaitLeases watches the Leases of a namespace whose names begin with prefix until ok
// says so of all of them.
func (c *Cluster) WaitLeases(ctx context.Context, namespace, prefix string, ok func(map[string]*coordinationv1.Lease) bool) error {
	leases := map[string]*coordinationv1.Lease{}
	for {
		// What there is first: where there is none, no event says so.
		list, err := c.Client.CoordinationV1().Leases(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("list the Leases of %s: %w", namespace, err)
		}
		clear(leases)
		for i, l := range list.Items {
			if strings.HasPrefix(l.Name, prefix) {
				leases[l.Name] = &list.Items[i]
			}
		}
		if ok(leases) {
			return nil
		}
		w, err := c.Client.CoordinationV1().Leases(namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
		if err != nil {
			return fmt.Errorf("watch the Leases of %s: %w", namespace, err)
		}
		for ended := false; !ended; {
			select {
			case <-ctx.Done():
				w.Stop()
				return context.Cause(ctx)
			case ev, open := <-w.ResultChan():
				l, isLease := ev.Object.(*coordinationv1.Lease)
				switch {
				case !open || ev.Type == watch.Error:
					ended = true
					continue
				case !isLease || !strings.HasPrefix(l.Name, prefix):
					continue
				case ev.Type == watch.Deleted:
					delete(leases, l.Name)
				default:
					leases[l.Name] = l
				}
				if ok(leases) {
					w.Stop()
					return nil
				}
			}
		}
		w.Stop()
	}
}

// await opens a watch, again whenever it ends, until ok says so of an event.
func (c *Cluster) await(ctx context.Context, open func(context.Context) (watch.Interface, error), ok func(watch.Event) bool) error {
	for {
		w, err := open(ctx)
		if err != nil {
			select {
			case <-ctx.Done():
				return fmt.Errorf("%w: %w", context.Cause(ctx), err)
			case <-time.After(200 * time.Millisecond):
			}
			continue
		}
		for ended := false; !ended; {
			select {
			case <-ctx.Done():
				w.Stop()
				return context.Cause(ctx)
			case ev, open := <-w.ResultChan():
				if !open || ev.Type == watch.Error {
					ended = true
				} else if ok(ev) {
					w.Stop()
					return nil
				}
			}
		}
		w.Stop()
	}
}
