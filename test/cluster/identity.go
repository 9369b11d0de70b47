package cluster

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// serviceAccount is the daemon's in the shipped manifests.
const serviceAccount = "rebootd"

// Install applies the shipped manifests of the daemon's identity: its service
// account, roles and policies. The DaemonSet is left out, whose pods would be on
// every node.
func (c *Cluster) Install(ctx context.Context) error {
	if c.foreign {
		return fmt.Errorf("install the manifests: %w", ErrForeign)
	}
	if err := c.AddNamespace(ctx, Namespace); err != nil {
		return err
	}
	return c.applyBase(ctx, "rbac.yaml", "policy.yaml")
}

// InstallForPeople applies the shipped warnings and the roles for people, too.
func (c *Cluster) InstallForPeople(ctx context.Context) error {
	if err := c.Install(ctx); err != nil {
		return err
	}
	return c.applyBase(ctx, "warn.yaml", "people.yaml")
}

// applyBase applies files of deploy/base.
func (c *Cluster) applyBase(ctx context.Context, files ...string) error {
	kubectl, err := c.Kubectl()
	if err != nil {
		return err
	}
	base := filepath.Join(filepath.Dir(SourceDir()), "deploy", "base")
	args := []string{"--kubeconfig", c.Kubeconfig, "apply"}
	for _, f := range files {
		args = append(args, "-f", filepath.Join(base, f))
	}
	if out, err := exec.CommandContext(ctx, kubectl, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("apply the manifests of %s: %w\n%s", base, err, out)
	}
	return nil
}

// ServiceKubeconfig writes a kubeconfig with what the daemon has in a pod on the node:
// a token of the service account of the shipped manifests (Install), bound to the
// node. A pod's is bound to the pod, and by it to the node; there is no pod, so that
// the node is empty.
func (c *Cluster) ServiceKubeconfig(ctx context.Context, node string, uid types.UID, path string) error {
	if c.foreign {
		return c.DaemonKubeconfig(ctx, node, path)
	}
	seconds := int64(24 * time.Hour / time.Second)
	token, err := c.Client.CoreV1().ServiceAccounts(Namespace).CreateToken(ctx, serviceAccount, &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{
			ExpirationSeconds: &seconds,
			BoundObjectRef:    &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Node", Name: node, UID: uid},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("make a token for the daemon of %s: %w", node, err)
	}
	cfg := clientcmdapi.NewConfig()
	cfg.Clusters["test"] = &clientcmdapi.Cluster{Server: c.server, CertificateAuthority: c.pki.path("ca.crt")}
	cfg.AuthInfos["user"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	cfg.Contexts["test"] = &clientcmdapi.Context{Cluster: "test", AuthInfo: "user"}
	cfg.CurrentContext = "test"
	if err := clientcmd.WriteToFile(*cfg, path); err != nil {
		return fmt.Errorf("write the kubeconfig of the daemon of %s: %w", node, err)
	}
	return nil
}
