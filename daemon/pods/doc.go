// Package pods is the gates of the pods on the node: those that block its reboot, asked
// about when it is the node's turn, and those of DaemonSets, which have to be Ready after
// the boot. It reads; how pods are evicted is known to package drain.
package pods

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/printable"
)

// API is what the gates need of the API server.
type API interface {
	ListPods(ctx context.Context, namespace string, opts metav1.ListOptions) (*corev1.PodList, error)
	WatchPods(ctx context.Context, namespace string, opts metav1.ListOptions) (watch.Interface, error)
}

const (
	// patience is for how long a call that fails is repeated before a gate says that it
	// cannot find out.
	patience = 10 * time.Second
	// named is how many pods are named at the most.
	named = 3
	// maxError is what is told of an error at the most, in bytes.
	maxError = 160
)

// onNode selects the pods of a node. Version "0" is answered from the API server's watch
// cache, without a look at every pod of the cluster.
func onNode(node, version string) metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: "spec.nodeName=" + node, ResourceVersion: version}
}

// cannot says that the pods cannot be read, and what follows for the reader.
func cannot(err error, unknown string) string {
	why := fmt.Sprintf("cannot read the pods of this node, so it is not known whether %s: %s", unknown, printable.Line(err.Error(), maxError))
	if apierrors.IsForbidden(err) {
		why += "; grant the daemon list and watch on pods, as deploy/base/rbac.yaml does"
	}
	return why
}

// names are the first of them, and that there are more.
func names(all []string) string {
	if len(all) > named {
		return strings.Join(all[:named], ", ") + ", …"
	}
	return strings.Join(all, ", ")
}

// counted is a number of things.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
