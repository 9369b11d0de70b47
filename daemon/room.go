package daemon

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/decide"
)

// count finds out whether the limit of unavailable nodes leaves room for this one.
// The slots' holders count before they are seen to be cordoned: of two that count
// at the same time each counts the other.
func (d *Daemon) count(step decide.Step) {
	key := d.record.DrainKey()
	d.step(step, func(ctx context.Context) (func(), error) {
		holders, err := d.Lock.Holders(ctx)
		if err != nil {
			return nil, err
		}
		holds := map[string]bool{}
		for _, h := range holders {
			holds[h.Node] = true
		}
		var peers []decide.Peer
		opts := metav1.ListOptions{Limit: nodePage}
		for {
			list, err := d.API.ListNodes(ctx, opts)
			if err != nil {
				return nil, fmt.Errorf("list the Nodes to count those that are unavailable: %w", err)
			}
			for i := range list.Items {
				peers = append(peers, peerOf(&list.Items[i], holds))
			}
			if opts.Continue = list.Continue; opts.Continue == "" {
				break
			}
		}
		ok, why := decide.HasRoom(d.Policy.MaxUnavailable, d.NodeName, peers)
		return func() { d.room = decide.Room{Key: key, OK: ok, Why: why} }, nil
	})
}

func peerOf(n *corev1.Node, holds map[string]bool) decide.Peer {
	p := decide.Peer{Name: n.Name, Unschedulable: n.Spec.Unschedulable, HoldsSlot: holds[n.Name]}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			p.Ready = c.Status == corev1.ConditionTrue
		}
	}
	if s := n.Annotations[OperationAnnotation]; s != "" {
		r, err := decide.ParseRecord([]byte(s))
		p.Halted = err == nil && r.Phase == decide.Halted
	}
	return p
}
