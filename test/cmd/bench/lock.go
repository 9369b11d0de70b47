package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	words "rebootd.dev/daemon/api"
	"rebootd.dev/daemon/kube"
	"rebootd.dev/lock"
	"rebootd.dev/lock/lease"
	"rebootd.dev/test/cluster"
)

const (
	handoffs      = 100
	clientsPerAPI = 100 // waiters that share one connection
	maxWrites     = 5
	maxLatency    = time.Second // the 99th percentile, with 1,000 waiting
)

// locks measures handoffs of one slot among many nodes that wait for it.
func locks(ctx context.Context, c *cluster.Cluster, dir string) (string, error) {
	table := "| nodes that wait | from release to the next holder: median; 99th percentile | writes a handoff | requests a handoff |\n|---|---|---|---|\n"
	for _, n := range []int{10, 1000, 5000} {
		row, err := handOver(ctx, c, dir, n)
		if err != nil {
			return table, err
		}
		table += row
	}
	table += "\n"
	rows, err := storms(ctx, c, dir)
	return table + rows, err
}

// locksOf are the views that n nodes have of one lock of one slot; some share a
// connection.
func locksOf(ctx context.Context, c *cluster.Cluster, dir, user, name string, n int) ([]*lease.Lock, error) {
	kubeconfig := filepath.Join(dir, user)
	if err := c.DaemonKubeconfig(ctx, user, kubeconfig); err != nil {
		return nil, err
	}
	locks := make([]*lease.Lock, n)
	var api *kube.Client
	for i := range locks {
		if i%clientsPerAPI == 0 {
			cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return nil, err
			}
			// Connections are shared by what is configured alike.
			cfg.UserAgent = fmt.Sprintf("%s/%d", user, i)
			cfg.Dial = new(net.Dialer).DialContext
			if api, err = kube.New(cfg); err != nil {
				return nil, err
			}
		}
		l, err := lease.New(lease.Config{
			API: api, Namespace: cluster.Namespace, Name: name, Slots: 1, Node: fmt.Sprintf("%s-%d", name, i), Duration: 15 * time.Minute,
			DeletedGrace: stormGrace,
		})
		if err != nil {
			return nil, err
		}
		locks[i] = l
	}
	return locks, nil
}

type holding struct {
	node int
	at   time.Time
}

func handOver(ctx context.Context, c *cluster.Cluster, dir string, n int) (string, error) {
	fmt.Fprintf(os.Stderr, "%d handoffs among %d nodes that wait …\n", handoffs, n)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	name := fmt.Sprintf("bench%d", n)
	user := "lockbench"
	locks, err := locksOf(ctx, c, dir, user, name, n)
	if err != nil {
		return "", err
	}
	got := make(chan holding, n)
	waiting := make(chan struct{}, n)
	ask := func(i int) {
		first := sync.OnceFunc(func() { waiting <- struct{}{} })
		if _, err := locks[i].Acquire(ctx, lock.Claimant{}, func(w lock.Waiting) {
			if w.Err == nil { // it does not stand in the queue before the API server lets it
				first()
			}
		}); err == nil {
			got <- holding{i, time.Now()}
		}
	}
	if _, err := locks[0].Acquire(ctx, lock.Claimant{}, func(lock.Waiting) {}); err != nil {
		return "", err
	}
	for i := 1; i < n; i++ {
		go ask(i)
	}
	for range n - 1 {
		select {
		case <-waiting:
		case <-ctx.Done():
			return "", fmt.Errorf("have %d nodes wait: %w", n, context.Cause(ctx))
		}
	}
	began := time.Now()
	holder := 0
	var took []time.Duration
	for h := range handoffs {
		next := (holder + 1 + h*7) % n
		if next == holder {
			next = (next + 1) % n
		}
		released := time.Now()
		if err := locks[holder].Release(ctx, words.Line{Nodes: []string{fmt.Sprintf("%s-%d", name, next)}}); err != nil {
			return "", err
		}
		select {
		case g := <-got:
			took = append(took, g.at.Sub(released))
			if g.node != next {
				return "", errors.New("the slot went to another than the one that was named")
			}
			go ask(holder)
			<-waiting
			holder = g.node
		case <-ctx.Done():
			return "", fmt.Errorf("hand over the slot: %w", context.Cause(ctx))
		}
	}
	requests, writes := 0, 0
	err = entries(c.AuditLog, "rebootd:"+user, func(a audited) {
		if a.RequestReceivedTimestamp.Before(began) {
			return
		}
		requests++
		if a.Verb != "get" && a.Verb != "list" && a.Verb != "watch" {
			writes++
		}
	})
	if err != nil {
		return "", err
	}
	slices.Sort(took)
	median, p99 := took[len(took)/2], took[len(took)*99/100]
	perHandoff := float64(writes) / handoffs
	row := fmt.Sprintf("| %d | %s; %s | %.1f | %.1f |\n", n, median.Round(time.Millisecond), p99.Round(time.Millisecond), perHandoff, float64(requests)/handoffs)
	switch {
	case perHandoff > maxWrites:
		return "", fmt.Errorf("%s: more than %d writes a handoff", strings.TrimSpace(row), maxWrites)
	case n <= 1000 && p99 > maxLatency:
		return "", fmt.Errorf("%s: slower than %s", strings.TrimSpace(row), maxLatency)
	}
	return row, nil
}
