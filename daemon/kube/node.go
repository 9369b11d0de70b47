package kube

import (
	"fmt"
	"strings"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
)

// nodeIdentity is the node's own identity, under which the API server lets nobody
// touch the pods of other nodes (NodeRestriction). To take it on for single verbs is
// constrained impersonation (KEP-5284, on by default since Kubernetes 1.36); where
// that is not to be had, the first refusal is remembered.
type nodeIdentity struct {
	client  rest.Interface
	refused atomic.Bool
}

// ForNode has evictions be asked for as the node, where the API server lets us.
// cfg is the one that New was called with.
func (c *Client) ForNode(cfg *rest.Config, node string) error {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS = -1
	cfg.Impersonate = rest.ImpersonationConfig{UserName: "system:node:" + node}
	cfg.GroupVersion = &corev1.SchemeGroupVersion
	cfg.APIPath = "/api"
	s, err := newScheme()
	if err != nil {
		return err
	}
	cfg.NegotiatedSerializer = serializer.NewCodecFactory(s).WithoutConversion()
	client, err := rest.RESTClientFor(cfg)
	if err != nil {
		return fmt.Errorf("build the client of the node %s: %w", node, err)
	}
	c.asNode.client = client
	return nil
}

// mayNotImpersonate tells that an answer is about who asks, not about what: of a pod,
// say, that is called impersonate, or by a webhook that has a word on it.
func mayNotImpersonate(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), ` cannot impersonate`) && !strings.Contains(err.Error(), "admission webhook")
}
