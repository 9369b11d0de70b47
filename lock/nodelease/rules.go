package nodelease

import (
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
)

// claim is what a Lease says of a node.
type claim int

const (
	ours claim = iota
	another
	nobody // has a valid claim: whoever comes may take the Lease over
)

// tolerance is by how much the clocks of the API server and of another operator, or
// ours where it is not known to be wrong, may differ. Another's claim is respected
// within it at both of its ends; ours is written so as to hold for readers whose
// clocks differ by no more: the library believes no renewTime that is in the
// reader's future, not even by a second.
const tolerance = 30 * time.Second

// judge says whose the node is by the word of a Lease. These are the rules of
// medik8s' library (github.com/medik8s/common/pkg/lease), but for the tolerance: a
// Lease without renewTime or duration claims nothing, one without a holder claims
// for somebody unknown.
func judge(l *coordinationv1.Lease, now time.Time) claim {
	if l.Spec.HolderIdentity != nil && *l.Spec.HolderIdentity == api.NodeLeaseHolder {
		return ours
	}
	if l.Spec.RenewTime == nil || l.Spec.LeaseDurationSeconds == nil {
		return nobody
	}
	from := l.Spec.RenewTime.Time
	to := from.Add(time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second)
	if now.Add(tolerance).Before(from) || now.Add(-tolerance).After(to) {
		return nobody
	}
	return another
}

// maxWords bounds what is repeated of the words of others, in bytes.
const maxWords = 300

// describe says who has the node, by which Lease, and since when.
func describe(l *coordinationv1.Lease) string {
	holder := "an unknown holder"
	if h := l.Spec.HolderIdentity; h != nil && *h != "" {
		holder = printable.Line(*h, maxWords)
	}
	s := fmt.Sprintf("%s holds this node's lease %s/%s", holder, l.Namespace, l.Name)
	if t := l.Spec.AcquireTime; t != nil {
		s += " since " + t.UTC().Format(time.RFC3339)
	}
	return s
}
