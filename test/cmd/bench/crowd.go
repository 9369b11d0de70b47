package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/kube"
	"rebootd.dev/daemon/sentinel"
	"rebootd.dev/drain"
	"rebootd.dev/lock"
	"rebootd.dev/lock/lease"
	"rebootd.dev/reboot"
	"rebootd.dev/test/cluster"
)

const (
	crowdNodes = 5000
	crowdUser  = "crowd"
	crowdLock  = "crowd"
	crowdIdle  = 30 * time.Second
	// crowdPatience is how long all nodes may take to have said that they wait.
	crowdPatience = 5 * time.Minute
)

// still is a machine that never reboots.
type still struct{ since time.Time }

func (s still) Boot() (reboot.Boot, error) { return reboot.Boot{ID: "crowd", Time: s.since}, nil }
func (still) KexecLoaded() bool            { return false }

func (s still) Uptime() time.Duration { return time.Since(s.since) }

// crowd asks for the reboot of thousands of nodes within a second, while another
// node has the only slot, and finds out what that costs the API server. The daemons
// run in this process; some share a connection.
func crowd(ctx context.Context, c *cluster.Cluster, dir string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	fmt.Fprintf(os.Stderr, "%d nodes …\n", crowdNodes)
	kubeconfig := filepath.Join(dir, crowdUser)
	if err := c.DaemonKubeconfig(ctx, crowdUser, kubeconfig); err != nil {
		return "", err
	}
	if err := crowdOfNodes(ctx, c); err != nil {
		return "", err
	}
	fmt.Fprintf(os.Stderr, "%d daemons …\n", crowdNodes)
	var sentinels []chan sentinel.State
	var daemons []*daemon.Daemon
	var api *kube.Client
	for i := range crowdNodes {
		if i%clientsPerAPI == 0 {
			cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return "", err
			}
			cfg.UserAgent = fmt.Sprintf("crowd/%d", i)
			cfg.Dial = new(net.Dialer).DialContext
			if api, err = kube.New(cfg); err != nil {
				return "", err
			}
			if i == 0 { // another has the slot, and keeps it
				l, err := lease.New(lease.Config{API: api, Namespace: cluster.Namespace, Name: crowdLock, Slots: 1, Node: "crowd-holder", Duration: time.Hour})
				if err != nil {
					return "", err
				}
				if _, err := l.Acquire(ctx, lock.Claimant{}, func(lock.Waiting) {}); err != nil {
					return "", err
				}
			}
		}
		ch := make(chan sentinel.State, 1)
		ch <- sentinel.State{}
		d, err := crowdDaemon(api, crowdLock, fmt.Sprintf("crowd-%d", i), ch)
		if err != nil {
			return "", err
		}
		sentinels, daemons = append(sentinels, ch), append(daemons, d)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	run, stop := context.WithCancel(ctx)
	defer stop()
	for _, d := range daemons {
		wg.Go(func() { d.Run(run) })
	}
	for _, d := range daemons {
		select {
		case <-d.Ready():
		case <-ctx.Done():
			return "", fmt.Errorf("start %d daemons: %w", crowdNodes, context.Cause(ctx))
		}
	}
	if err := pause(ctx, crowdIdle); err != nil { // what starting has begun comes to its end
		return "", err
	}
	before, idle, err := crowdCPU(ctx, c, 0)
	if err != nil {
		return "", err
	}

	fmt.Fprintf(os.Stderr, "%d sentinels …\n", crowdNodes)
	began := time.Now()
	for _, ch := range sentinels {
		ch <- touchedAt(began)
	}
	touched := time.Since(began)
	if err := crowdWaits(ctx, c); err != nil {
		return "", err
	}
	all := time.Since(began)
	_, busy, err := crowdCPU(ctx, c, before)
	if err != nil {
		return "", err
	}
	patches, events, refused, others := map[string]int{}, 0, 0, map[string]int{}
	err = entries(c.AuditLog, "rebootd:"+crowdUser, func(a audited) {
		switch {
		case a.RequestReceivedTimestamp.Before(began):
		case a.Verb == "get" || a.Verb == "list" || a.Verb == "watch":
		case a.ResponseStatus.Code == http.StatusTooManyRequests:
			refused++
		case a.ResponseStatus.Code >= 300: // in doubt; written or not, the next one finds out
		case strings.Contains(a.RequestURI, "/nodes/"):
			patches[a.RequestURI]++
		case strings.Contains(a.RequestURI, "/events"):
			events++
		default:
			others[a.Verb+" "+a.RequestURI]++
		}
	})
	if err != nil {
		return "", err
	}
	most := 0
	for _, n := range patches {
		most = max(most, n)
	}
	table := fmt.Sprintf("| %d nodes whose sentinels are touched within %s, the slot held by another | |\n|---|---|\n", crowdNodes, touched.Round(time.Millisecond)) +
		fmt.Sprintf("| writes of a Node until its turn, at the most | %d |\n", most) +
		fmt.Sprintf("| writes of Leases | %d |\n", len(others)) +
		fmt.Sprintf("| Events | %.2f a node |\n", float64(events)/crowdNodes) +
		fmt.Sprintf("| requests that the API server put off (429) | %.2f a node |\n", float64(refused)/crowdNodes) +
		fmt.Sprintf("| until every Node's condition says `Queued` | %.1f s |\n", all.Seconds()) +
		fmt.Sprintf("| CPU time of the API server from the touch until %s after that; in %s before it | %.1f s; %.1f s |\n", crowdIdle, crowdIdle, busy.Seconds(), idle.Seconds())
	if most > 1 || len(others) > 0 {
		return table, fmt.Errorf("%d writes of one Node, and others: %v", most, others)
	}
	return table, nil
}

// crowdCPU waits, and returns the API server's CPU time, and how much of it is
// after what was known before; 0 means since the beginning of the wait.
func crowdCPU(ctx context.Context, c *cluster.Cluster, before time.Duration) (now, spent time.Duration, err error) {
	if before == 0 {
		if _, before, err = cost(c.APIServerPID()); err != nil {
			return 0, 0, err
		}
	}
	if err := pause(ctx, crowdIdle); err != nil {
		return 0, 0, err
	}
	_, now, err = cost(c.APIServerPID())
	return now, now - before, err
}

// crowdOfNodes makes Nodes that have no kubelet.
func crowdOfNodes(ctx context.Context, c *cluster.Cluster) error {
	var wg sync.WaitGroup
	errs := make(chan error, crowdNodes)
	for w := range 16 {
		wg.Go(func() {
			for i := w; i < crowdNodes; i += 16 {
				_, err := c.Client.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{
					Name: fmt.Sprintf("crowd-%d", i), Labels: map[string]string{cluster.DownLabel: "true"},
				}}, metav1.CreateOptions{})
				if err != nil {
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

func crowdDaemon(client *kube.Client, lockName, node string, sentinels <-chan sentinel.State) (*daemon.Daemon, error) {
	slots, err := lease.New(lease.Config{API: client, Namespace: cluster.Namespace, Name: lockName, Slots: 1, Node: node, Duration: time.Hour})
	if err != nil {
		return nil, err
	}
	drainer, err := drain.New(drain.Config{API: client, Node: node, OnEviction: func(string) {}, OnError: func(error) {}})
	if err != nil {
		return nil, err
	}
	return daemon.New(daemon.Config{
		NodeName: node,
		Policy: decide.Policy{
			Lock: lockName, RebootTimeout: time.Hour, HealthTimeout: time.Hour,
		},
		Gates: daemon.OwnGates(), Stages: []daemon.Stage{daemon.Drain(drainer, 0, decide.Rollback)},
		API: client, Lock: slots, Host: still{time.Now().Add(-time.Hour)}, Sentinels: sentinels,
		CancelShutdown: func(context.Context) error { return nil },
		Userspace:      func(context.Context) (reboot.Userspace, error) { return reboot.Userspace{}, nil },
		Spawn:          func(api.Level, func(string)) (daemon.Child, error) { return nil, errors.New("must not be called") },
		WatchShutdown: func(ctx context.Context, seen func(reboot.Shutdown, error)) {
			seen(reboot.Shutdown{}, nil)
			<-ctx.Done()
		},
		Status: func(string) {}, Alive: func() {},
		Log: zerolog.Nop(), Metrics: daemon.NewMetrics(prometheus.NewRegistry(), "bench"),
	})
}

// crowdWaits waits until every node has said that it waits for a slot.
func crowdWaits(ctx context.Context, c *cluster.Cluster) error {
	ctx, cancel := context.WithTimeout(ctx, crowdPatience)
	defer cancel()
	for {
		list, err := c.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			return err
		}
		waiting := 0
		for i := range list.Items {
			for _, cond := range list.Items[i].Status.Conditions {
				if cond.Type == api.RebootRequired && cond.Reason == string(api.ReasonQueued) {
					waiting++
				}
			}
		}
		if waiting == crowdNodes {
			return nil
		}
		if err := pause(ctx, time.Second); err != nil {
			return fmt.Errorf("%d of %d nodes wait: %w", waiting, crowdNodes, err)
		}
	}
}
