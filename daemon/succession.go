package daemon

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/rs/zerolog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
)

// nodePage is how many Nodes are asked for at a time.
const nodePage = 250

// succession finds who is to have the slot next, in the background.
type succession struct {
	api   NodeAPI
	node  string
	lock  string // its name
	same  string
	clock clock
	log   zerolog.Logger
	line  func() api.Line // in which this node came
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

// next finds who is to have the slot next: who is left of the line in which it came,
// which takes a look at one Node, or else, by a look at all of them, who has waited
// longest. That it cannot be found out keeps no slot from being given up: then nobody
// is named.
func (s succession) next(ctx context.Context, zone string) api.Line {
	if l, ok := s.passOn(ctx, zone, s.line()); ok {
		return l
	}
	l, err := s.newLine(ctx, zone)
	if err != nil {
		s.log.Warn().Err(fmt.Errorf("list the Nodes to find the successor: %w", err)).Msg("releasing the slot without naming a successor")
	}
	return l
}

// passOn is what is left of a line, and whether it is any good. Its age is by another
// node's clock: what is from the future is of no known age.
func (s succession) passOn(ctx context.Context, zone string, l api.Line) (api.Line, bool) {
	if age := s.clock.now().Sub(l.At); age < 0 || age > lineAge {
		return api.Line{}, false
	}
	for misses := 0; len(l.Nodes) > 0 && misses <= lineMisses; misses++ {
		n, err := s.api.GetNodeMetadata(ctx, l.Nodes[0])
		if err != nil && !apierrors.IsNotFound(err) {
			return api.Line{}, false
		}
		if err == nil {
			if c, ok := s.candidate(n); ok && c.Phase == api.PhaseQueued {
				l.Turn = turnOf(l, s.node, c.Zone != zone)
				return l, true
			}
		}
		l.Nodes = l.Nodes[1:]
	}
	return api.Line{}, false
}

// turnOf are those of what is left of a line that are of another zone than node, which
// passes it on. other says that the next one is. Where the zone has changed since the
// line was made, those are of another that were not then.
func turnOf(l api.Line, node string, other bool) []string {
	var turn []string
	changed := slices.Contains(l.Turn, node)
	for i, n := range l.Nodes {
		if i == 0 && other || i > 0 && slices.Contains(l.Turn, n) != changed {
			turn = append(turn, n)
		}
	}
	return turn
}

func (s succession) newLine(ctx context.Context, zone string) (api.Line, error) {
	var others []decide.Candidate
	at := s.clock.now()
	opts := metav1.ListOptions{Limit: nodePage}
	for {
		list, err := s.api.ListNodeMetadata(ctx, opts)
		if err != nil {
			return api.Line{}, err
		}
		for i := range list.Items {
			if c, ok := s.candidate(&list.Items[i]); ok {
				others = append(others, c)
			}
		}
		if opts.Continue = list.Continue; opts.Continue == "" {
			l := decide.Line(others, zone, s.clock.calendar())
			l.At = at
			return l, nil
		}
	}
}

// candidate is another Node as far as the order of succession goes, if it is of any
// matter to that.
func (s succession) candidate(n *metav1.PartialObjectMetadata) (decide.Candidate, bool) {
	record := n.Annotations[api.OperationAnnotation]
	if n.Name == s.node || record == "" || n.DeletionTimestamp != nil {
		return decide.Candidate{}, false
	}
	_, controlPlane := n.Labels[api.ControlPlaneLabel]
	c, ok := decide.CandidateOf(s.lock, n.Name, record, n.Annotations[api.PriorityAnnotation], api.ZoneOf(s.same, n.Labels), controlPlane)
	if _, held := n.Annotations[api.HoldAnnotation]; held && c.Phase == api.PhaseQueued {
		return decide.Candidate{}, false
	}
	return c, ok
}
