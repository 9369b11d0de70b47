package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/pflag"
	"golang.org/x/term"
	corev1 "k8s.io/api/core/v1"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // as kubectl
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"rebootd.dev/cmd/kubectl-rebootd/client"
	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/daemon/window/zones"
)

// connector adds kubectl's flags that say which cluster, as whom, and returns what connects
// by them. The namespace is that of rebootd, whatever the kubeconfig's context says.
func connector(f *pflag.FlagSet, namespace *string) func() (client.API, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	f.StringVar(&rules.ExplicitPath, "kubeconfig", "", "path of the kubeconfig")
	var overrides clientcmd.ConfigOverrides
	names := clientcmd.RecommendedConfigOverrideFlags("")
	names.ContextOverrideFlags.Namespace = clientcmd.FlagInfo{} // ours
	clientcmd.BindOverrideFlags(&overrides, f, names)
	f.StringVarP(namespace, "namespace", "n", fleet.DefaultLock, "namespace of rebootd and its Leases")
	return func() (client.API, error) {
		config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &overrides).ClientConfig()
		switch {
		case clientcmd.IsEmptyConfig(err):
			return nil, errors.New("no cluster is known: there is no kubeconfig in KUBECONFIG or ~/.kube/config; name one by --kubeconfig")
		case err != nil:
			return nil, fmt.Errorf("read the kubeconfig: %w", err)
		}
		config.WarningHandler = rest.NewWarningWriter(os.Stderr, rest.WarningWriterOptions{Deduplicate: true})
		return client.New(config, *namespace)
	}
}

// terminalOf says whether a file is a terminal, and of which size.
func terminalOf(f *os.File) func() (width, height int, is bool) {
	return func() (int, int, bool) {
		if f == nil || !term.IsTerminal(int(f.Fd())) {
			return 0, 0, false
		}
		width, height, err := term.GetSize(int(f.Fd()))
		return width, height, err == nil
	}
}

// answers says whether somebody can answer on in.
func answers(in io.Reader) func() bool {
	return func() bool {
		f, ok := in.(*os.File)
		return ok && term.IsTerminal(int(f.Fd()))
	}
}

// read reads the fleet: all Nodes that a selector selects, and the Leases. That Leases
// cannot be read is said in the fleet, and fails nothing.
func (e *env) read(ctx context.Context, api client.API, selector string) (fleet.Fleet, error) {
	var nodes []fleet.Node
	if _, err := api.EachNode(ctx, selector, func(n *corev1.Node) { nodes = append(nodes, fleet.NodeOf(n)) }); err != nil {
		return fleet.Fleet{}, err
	}
	leases, _, err := api.Leases(ctx)
	f := fleet.Build(nodes, leases, err, e.now())
	f.Zones = zones.Load
	return f, nil
}
