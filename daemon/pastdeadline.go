package daemon

import (
	"context"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
)

// PastDeadline finds the nodes other than this one that wait for a slot of a lock and are
// past their deadline, by the records on their Nodes and this machine's clock. The
// earliest deadline comes first.
func PastDeadline(nodes NodeAPI, node, lock string) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		var found []decide.Candidate
		opts := metav1.ListOptions{Limit: nodePage}
		for {
			list, err := nodes.ListNodeMetadata(ctx, opts)
			if err != nil {
				return nil, fmt.Errorf("list the Nodes: %w", err)
			}
			for i := range list.Items {
				c, ok := succession{node: node, lock: lock}.candidate(&list.Items[i])
				if ok && c.Phase == api.PhaseQueued && !c.Deadline.IsZero() && !time.Now().Before(c.Deadline) {
					found = append(found, c)
				}
			}
			if opts.Continue = list.Continue; opts.Continue == "" {
				break
			}
		}
		slices.SortFunc(found, func(a, b decide.Candidate) int { return a.Deadline.Compare(b.Deadline) })
		var out []string
		for _, c := range found {
			out = append(out, c.Node)
		}
		return out, nil
	}
}
