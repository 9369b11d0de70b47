package daemon

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/decide"
	"rebootd.dev/lock"
)

const (
	// PriorityAnnotation is set by people: an integer, the higher the sooner.
	PriorityAnnotation = "rebootd.dev/priority"
	// controlPlaneLabel marks control-plane nodes
	// (https://kubernetes.io/docs/reference/labels-annotations-taints/).
	controlPlaneLabel = "node-role.kubernetes.io/control-plane"
	// nodePage is how many Nodes are asked for at a time.
	nodePage = 250
)

// ask is what this node says of itself when it asks for a slot.
func (d *Daemon) ask() lock.Ask {
	_, controlPlane := d.node.labels[controlPlaneLabel]
	phase := d.phase()
	return lock.Ask{
		UID: d.node.uid, Zone: zoneOf(d.Same, d.node.labels), ControlPlane: controlPlane,
		Begun: phase != decide.Idle && phase != decide.Waiting && phase != decide.Queued,
	}
}

// zoneOf is what nodes that are down together share, "" without a rule. Nodes
// without the label are a zone of their own: a label's value has no "=".
func zoneOf(label string, labels map[string]string) string {
	if label == "" {
		return ""
	}
	if v, ok := labels[label]; ok {
		return label + "=" + v
	}
	return label
}

// line finds who is to have the slot next. That it cannot be found out keeps no slot
// from being given up: then nobody is named.
func (d *Daemon) line(ctx context.Context, zone string) lock.Line {
	var waiting []decide.Candidate
	at := d.now()
	opts := metav1.ListOptions{Limit: nodePage}
	for {
		list, err := d.API.ListNodeMetadata(ctx, opts)
		if err != nil {
			d.Log.Warn().Err(fmt.Errorf("list the Nodes to find who is next: %w", err)).Msg("gives up the slot without naming anybody")
			return lock.Line{}
		}
		for _, n := range list.Items {
			record := n.Annotations[OperationAnnotation]
			if n.Name == d.NodeName || record == "" || n.DeletionTimestamp != nil {
				continue
			}
			if _, held := n.Annotations[HoldAnnotation]; held {
				continue
			}
			_, controlPlane := n.Labels[controlPlaneLabel]
			if c, ok := decide.CandidateOf(d.Policy.Lock, n.Name, record, n.Annotations[PriorityAnnotation], zoneOf(d.Same, n.Labels), controlPlane); ok {
				waiting = append(waiting, c)
			}
		}
		if opts.Continue = list.Continue; opts.Continue == "" {
			if next := decide.Successor(waiting, zone); next != "" {
				return lock.Line{Nodes: []string{next}, At: at}
			}
			return lock.Line{}
		}
	}
}
