package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/kube"
	"rebootd.dev/daemon/sentinel"
	"rebootd.dev/test/cluster"
)

const (
	handoffUser  = "handoff"
	handoffNodes = 34 // whose daemons hand the slot on: a line and another
	// maxLooks is how many requests for other nodes a handoff may take.
	maxLooks = 4
)

// handoff counts every request of handoffs between daemons, in clusters of so many
// nodes: what finding out who is next takes, too. A daemon hands the slot on when its
// request is withdrawn right after the cordon.
func handoff(ctx context.Context, c *cluster.Cluster, dir string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Minute)
	defer cancel()
	kubeconfig := filepath.Join(dir, handoffUser)
	if err := c.DaemonKubeconfig(ctx, handoffUser, kubeconfig); err != nil {
		return "", err
	}
	defer removeNodes(c, handoffUser)
	table := "| nodes | requests a handoff for Leases | for other Nodes | all, with the cordon, its removal, and what is said of them |\n|---|---|---|---|\n"
	there := 0
	for _, n := range []int{handoffNodes, 1000, 5000} {
		fmt.Fprintf(os.Stderr, "%d handoffs among %d nodes …\n", handoffNodes-1, n)
		if err := handoffOfNodes(ctx, c, there, n); err != nil {
			return table, err
		}
		there = n
		row, err := handoffAmong(ctx, c, kubeconfig, n)
		table += row
		if err != nil {
			return table, err
		}
	}
	return table, nil
}

// benchLabel says what Nodes were made for.
const benchLabel = "bench"

// removeNodes leaves the cluster as it was before, for what is measured next.
func removeNodes(c *cluster.Cluster, madeFor string) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := c.Client.CoreV1().Nodes().DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: benchLabel + "=" + madeFor}); err != nil {
		fmt.Fprintln(os.Stderr, "bench: remove the Nodes of", madeFor, ":", err)
	}
}

// handoffOfNodes makes Nodes that have no kubelet and have an operation that waits for
// a gate.
func handoffOfNodes(ctx context.Context, c *cluster.Cluster, from, to int) error {
	var wg sync.WaitGroup
	errs := make(chan error, to)
	for w := range 16 {
		wg.Go(func() {
			for i := from + w; i < to; i += 16 {
				n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("handoff-%d", i), Labels: map[string]string{cluster.DownLabel: "true", benchLabel: handoffUser}}}
				if i >= handoffNodes {
					n.Annotations = map[string]string{api.OperationAnnotation: fmt.Sprintf(`{"v":1,"id":"op-%d","phase":"Waiting","since":"2026-01-01T00:00:00Z","bootID":"b","cordoned":false,"requested":"2026-01-01T00:00:00Z","request":"/run/reboot-needed","lock":%q}`, i, handoffUser)}
				}
				if _, err := c.Client.CoreV1().Nodes().Create(ctx, n, metav1.CreateOptions{}); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

func handoffAmong(ctx context.Context, c *cluster.Cluster, kubeconfig string, n int) (string, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return "", err
	}
	cfg.Dial = new(net.Dialer).DialContext
	api, err := kube.New(cfg)
	if err != nil {
		return "", err
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	run, stop := context.WithCancel(ctx)
	defer stop()
	sentinels := map[string]chan sentinel.State{}
	for i := range handoffNodes {
		name := fmt.Sprintf("handoff-%d", i)
		ch := make(chan sentinel.State, 1)
		ch <- sentinel.State{}
		d, err := crowdDaemon(api, handoffUser, name, ch)
		if err != nil {
			return "", err
		}
		sentinels[name] = ch
		wg.Go(func() { d.Run(run) })
		<-d.Ready()
	}
	w, err := c.Client.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{FieldSelector: "spec.unschedulable=true"})
	if err != nil {
		return "", err
	}
	defer w.Stop()
	touched := time.Now()
	for i := range handoffNodes {
		sentinels[fmt.Sprintf("handoff-%d", i)] <- touchedAt(touched)
	}
	// One has the slot, and the others have come to the queue.
	if err := pause(ctx, 2*time.Second); err != nil {
		return "", err
	}
	began := time.Now()
	for done := 0; done < handoffNodes; {
		select {
		case ev, ok := <-w.ResultChan():
			if !ok {
				return "", fmt.Errorf("hand the slot on: the watch ended after %d", done)
			}
			if node, ok := ev.Object.(*corev1.Node); ok && sentinels[node.Name] != nil && node.Spec.Unschedulable {
				sentinels[node.Name] <- sentinel.State{} // withdrawn
				delete(sentinels, node.Name)
				done++
			}
		case <-ctx.Done():
			return "", fmt.Errorf("hand the slot on: %w", context.Cause(ctx))
		}
	}
	leases, others, all := 0, 0, 0
	err = entries(c.AuditLog, "rebootd:"+handoffUser, func(a audited) {
		if a.RequestReceivedTimestamp.Before(began) {
			return
		}
		all++
		switch {
		case strings.Contains(a.RequestURI, "/leases"):
			leases++
		case strings.Contains(a.RequestURI, "/nodes") && (a.Verb == "get" || a.Verb == "list" && !strings.Contains(a.RequestURI, "fieldSelector")):
			others++
		}
	})
	if err != nil {
		return "", err
	}
	const handed = float64(handoffNodes - 1)
	row := fmt.Sprintf("| %d | %.1f | %.1f | %.1f |\n", n, float64(leases)/handed, float64(others)/handed, float64(all)/handed)
	if float64(others)/handed > maxLooks {
		return row, fmt.Errorf("%s: more than %d requests for other Nodes a handoff", strings.TrimSpace(row), maxLooks)
	}
	return row, nil
}

// touchedAt is what a machine says whose sentinel was touched then.
func touchedAt(t time.Time) sentinel.State {
	return sentinel.State{Files: []sentinel.File{{SentinelFile: api.SentinelFile{Path: "/run/reboot-needed", Changed: t, Volatile: true}}}}
}
