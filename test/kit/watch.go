package kit

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/test/cluster"
)

// Node watches a Node until it is as ok says.
func (b *Bed) Node(name, what string, ok func(*corev1.Node) bool) *corev1.Node {
	b.Helper()
	n, err := b.Cluster.WaitNode(b.Ctx, name, what, ok)
	b.Must(err)
	return n
}

// PatchNode changes a Node as a person would.
func (b *Bed) PatchNode(name, patch string) {
	b.Helper()
	_, err := b.Cluster.Client.CoreV1().Nodes().Patch(b.Ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "person"})
	b.Must(err)
}

// Namespace makes a namespace for as long as the test runs: workloads that stay would
// have their pods on whatever node of another test is free.
func (b *Bed) Namespace(name string) {
	b.Helper()
	b.Must(b.Cluster.AddNamespace(b.Ctx, name))
	b.Cleanup(func() {
		_ = b.Cluster.Client.CoreV1().Namespaces().Delete(context.WithoutCancel(b.Ctx), name, metav1.DeleteOptions{})
	})
}

// On keeps a Deployment's pods to these nodes.
func On(nodes ...string) func(*appsv1.Deployment) {
	return func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: nodes}},
			}}},
		}}
	}
}

// Pod runs a pod on a node, of which nobody makes another when it is gone, and waits
// until it is Ready.
func (b *Bed) Pod(namespace, name, node string) {
	b.Helper()
	b.Namespace(namespace)
	t := cluster.Template(name, map[string]string{"term-seconds": "0"})
	t.Name, t.Spec.NodeName = name, node
	_, err := b.Cluster.Client.CoreV1().Pods(namespace).Create(b.Ctx, &corev1.Pod{ObjectMeta: t.ObjectMeta, Spec: t.Spec}, metav1.CreateOptions{})
	b.Must(err)
	b.Must(b.Cluster.WaitPods(b.Ctx, namespace, name+" is Ready", func(pods map[string]*corev1.Pod) bool {
		return pods[name] != nil && cluster.PodReady(pods[name])
	}))
}

// Released watches the Leases of a namespace whose names begin with prefix until nobody
// holds any of them, or there is none.
func (b *Bed) Released(namespace, prefix string) {
	b.Helper()
	var held []string
	err := b.Cluster.WaitLeases(b.Ctx, namespace, prefix, func(leases map[string]*coordinationv1.Lease) bool {
		held = nil
		for name, l := range leases {
			if h := Holder(l); h != "" {
				held = append(held, fmt.Sprintf("%s is held by %s", name, h))
			}
		}
		return len(held) == 0
	})
	if err != nil {
		slices.Sort(held)
		b.gaveUp(fmt.Sprintf("nobody holds a Lease %s/%s*", namespace, prefix), err, func() string { return strings.Join(held, ", ") })
	}
}

// Holders are who holds the Leases of the daemons' namespace whose names begin with
// prefix, of those that somebody holds.
func (b *Bed) Holders(ctx context.Context, prefix string) map[string]string {
	b.Helper()
	list, err := b.Cluster.Client.CoordinationV1().Leases(cluster.Namespace).List(ctx, metav1.ListOptions{})
	b.Must(err)
	out := map[string]string{}
	for _, l := range list.Items {
		if h := Holder(&l); strings.HasPrefix(l.Name, prefix) && h != "" {
			out[l.Name] = h
		}
	}
	return out
}

// Holder is who holds a Lease, "" if nobody does.
func Holder(l *coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}
