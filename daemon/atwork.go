package daemon

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
)

// AtWork finds the nodes other than this one that may be between cordon and release
// under a lock, by the records on their Nodes.
func AtWork(nodes NodeAPI, node, lock string) func(context.Context) ([]string, error) {
	return func(ctx context.Context) ([]string, error) {
		var out []string
		opts := metav1.ListOptions{Limit: nodePage}
		for {
			list, err := nodes.ListNodeMetadata(ctx, opts)
			if err != nil {
				return nil, fmt.Errorf("list the Nodes: %w", err)
			}
			for _, n := range list.Items {
				if n.Name != node && api.AtWork(lock, n.Annotations[api.OperationAnnotation]) {
					out = append(out, n.Name)
				}
			}
			if opts.Continue = list.Continue; opts.Continue == "" {
				return out, nil
			}
		}
	}
}
