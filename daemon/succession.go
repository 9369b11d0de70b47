package daemon

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

const (
	// lineAge is for how long a line is passed on from holder to holder before it is
	// put together anew from all Nodes. Whoever comes meanwhile, and were its priority
	// the highest, waits for as long, or until the line is at its end.
	lineAge = 5 * time.Minute
	// lineMisses is how many of a line may have left the queue before it is put together
	// anew.
	lineMisses = 3
)

// line finds who is to have the slot next: who is left of the line in which it came,
// which takes a look at one Node, or else, by a look at all of them, who has waited
// longest. That it cannot be found out keeps no slot from being given up: then nobody
// is named.
func (d *Daemon) line(ctx context.Context, zone string) lock.Line {
	if l, ok := d.passOn(ctx, zone, d.Lock.Line()); ok {
		return l
	}
	l, err := d.newLine(ctx, zone)
	if err != nil {
		d.Log.Warn().Err(fmt.Errorf("list the Nodes to find who is next: %w", err)).Msg("gives up the slot without naming anybody")
	}
	return l
}

// passOn is what is left of a line, and whether it is any good. Its age is by another
// node's clock: what is from the future is of no known age.
func (d *Daemon) passOn(ctx context.Context, zone string, l lock.Line) (lock.Line, bool) {
	if age := d.now().Sub(l.At); age < 0 || age > lineAge {
		return lock.Line{}, false
	}
	for misses := 0; len(l.Nodes) > 0 && misses <= lineMisses; misses++ {
		n, err := d.API.GetNodeMetadata(ctx, l.Nodes[0])
		if err != nil && !apierrors.IsNotFound(err) {
			return lock.Line{}, false
		}
		if err == nil {
			if c, ok := d.candidate(n); ok && c.Phase == decide.Queued {
				l.Turn = turnOf(l, d.NodeName, c.Zone != zone)
				return l, true
			}
		}
		l.Nodes = l.Nodes[1:]
	}
	return lock.Line{}, false
}

// turnOf are those of what is left of a line that are of another zone than node, which
// passes it on. other says that the next one is. Where the zone has changed since the
// line was made, those are of another that were not then.
func turnOf(l lock.Line, node string, other bool) []string {
	var turn []string
	changed := slices.Contains(l.Turn, node)
	for i, n := range l.Nodes {
		if i == 0 && other || i > 0 && slices.Contains(l.Turn, n) != changed {
			turn = append(turn, n)
		}
	}
	return turn
}

func (d *Daemon) newLine(ctx context.Context, zone string) (lock.Line, error) {
	var others []decide.Candidate
	at := d.now()
	opts := metav1.ListOptions{Limit: nodePage}
	for {
		list, err := d.API.ListNodeMetadata(ctx, opts)
		if err != nil {
			return lock.Line{}, err
		}
		for i := range list.Items {
			if c, ok := d.candidate(&list.Items[i]); ok {
				others = append(others, c)
			}
		}
		if opts.Continue = list.Continue; opts.Continue == "" {
			next := decide.Line(others, zone)
			return lock.Line{Nodes: next.Nodes, Turn: next.Turn, At: at}, nil
		}
	}
}

// candidate is another Node as far as the order of succession goes, if it is of any
// matter to that.
func (d *Daemon) candidate(n *metav1.PartialObjectMetadata) (decide.Candidate, bool) {
	record := n.Annotations[OperationAnnotation]
	if n.Name == d.NodeName || record == "" || n.DeletionTimestamp != nil {
		return decide.Candidate{}, false
	}
	_, controlPlane := n.Labels[controlPlaneLabel]
	c, ok := decide.CandidateOf(d.Policy.Lock, n.Name, record, n.Annotations[PriorityAnnotation], zoneOf(d.Same, n.Labels), controlPlane)
	if _, held := n.Annotations[HoldAnnotation]; held && c.Phase == decide.Queued {
		return decide.Candidate{}, false
	}
	return c, ok
}
