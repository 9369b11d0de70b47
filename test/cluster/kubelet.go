package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Kubelet stands in for the kubelet of a machine that has none: it says on the Node
// what a kubelet says when the machine goes down and when it is up.
type Kubelet struct {
	Cluster *Cluster
	Node    string
}

// Down says that the machine goes down: nobody renews its lease any more, no pod
// starts or ends, and it is not Ready. It tries until ctx ends.
func (k Kubelet) Down(ctx context.Context) error {
	if err := k.patch(ctx, "", fmt.Sprintf(`{"metadata":{"labels":{%q:"true"}}}`, DownLabel)); err != nil {
		return err
	}
	now := time.Now().UTC().Format(time.RFC3339)
	notReady, _ := json.Marshal(map[string]any{"status": map[string]any{"conditions": []any{map[string]any{
		"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "node is shutting down",
		"lastHeartbeatTime": now, "lastTransitionTime": now,
	}}}})
	return k.patch(ctx, "status", string(notReady))
}

// Boots says which boot the machine runs.
func (k Kubelet) Boots(ctx context.Context, bootID string) error {
	return k.patch(ctx, "status", fmt.Sprintf(`{"status":{"nodeInfo":{"bootID":%q}}}`, bootID))
}

// Report says again that the machine is Ready, as a kubelet does when it is started.
func (k Kubelet) Report(ctx context.Context) error {
	return k.patch(ctx, "status", fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready","lastHeartbeatTime":%q}]}}`, time.Now().UTC().Format(time.RFC3339)))
}

// Up says that the machine is up, with this boot, and Ready.
func (k Kubelet) Up(ctx context.Context, bootID string) error {
	if err := k.Boots(ctx, bootID); err != nil {
		return err
	}
	return k.patch(ctx, "", fmt.Sprintf(`{"metadata":{"labels":{%q:null}}}`, DownLabel))
}

// patch patches the Node as often as it takes, as a kubelet would; one that is not
// there needs no patch.
func (k Kubelet) patch(ctx context.Context, subresource, patch string) error {
	var sub []string
	if subresource != "" {
		sub = []string{subresource}
	}
	for {
		_, err := k.Cluster.Client.CoreV1().Nodes().Patch(ctx, k.Node, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, sub...)
		if err == nil || apierrors.IsNotFound(err) {
			return nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("patch the Node %s: %w", k.Node, err)
		}
	}
}
