package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/clientcmd"

	"rebootd.dev/daemon/kube"
	"rebootd.dev/drain"
	"rebootd.dev/test/cluster"
	"rebootd.dev/test/machine"
)

// workload is what is on a node when it is drained.
type workload struct {
	name   string
	pods   int
	budget bool // one pod at a time
	sim    map[string]string
}

var workloads = []workload{
	{"50 pods that take 10 s to end", 50, false, map[string]string{"term-seconds": "10"}},
	{"200 pods that take 10 s to end", 200, false, map[string]string{"term-seconds": "10"}},
	{"10 pods, one at a time by their budget, replacements Ready after 1 s", 10, true, map[string]string{"ready-seconds": "1"}},
}

// drained is how long a drain took, and how long it had to.
type drained struct{ took, ideal time.Duration }

// drains compares the drain engine with kubectl drain, one after the other on the
// same workloads.
func drains(ctx context.Context, c *cluster.Cluster, dir string) (string, error) {
	kubectl, err := c.Kubectl()
	if err != nil {
		return "", err
	}
	if err := c.Install(ctx); err != nil && !errors.Is(err, cluster.ErrForeign) {
		return "", err
	}
	table := "| workload | ideal | rebootd | over its ideal | kubectl drain | over its ideal | kubectl / rebootd |\n|---|---|---|---|---|---|---|\n"
	for i, w := range workloads {
		fmt.Fprintf(os.Stderr, "drains %s …\n", w.name)
		ours, err := measure(ctx, c, w, fmt.Sprintf("ours%d", i), func(ctx context.Context, node string) error {
			return drainNode(ctx, c, dir, node)
		})
		if err != nil {
			return "", fmt.Errorf("rebootd: %s: %w", w.name, err)
		}
		theirs, err := measure(ctx, c, w, fmt.Sprintf("theirs%d", i), func(ctx context.Context, node string) error {
			out, err := exec.CommandContext(ctx, kubectl, "--kubeconfig="+c.Kubeconfig, "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force").CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out[max(0, len(out)-500):])
			}
			return nil
		})
		if err != nil {
			return "", fmt.Errorf("kubectl drain: %s: %w", w.name, err)
		}
		ratio := theirs.took.Seconds() / ours.took.Seconds()
		table += fmt.Sprintf("| %s | %.1f s | %.1f s | %.2f × | %.1f s | %.2f × | %.1f × |\n", w.name, ours.ideal.Seconds(),
			ours.took.Seconds(), ours.took.Seconds()/ours.ideal.Seconds(), theirs.took.Seconds(), theirs.took.Seconds()/theirs.ideal.Seconds(), ratio)
		if over := ours.took - max(ours.ideal, drain.DefaultMinWait); over > ours.ideal/10 {
			return table, fmt.Errorf("%s: took %s where %s would do: more than a tenth over the ideal", w.name, ours.took, ours.ideal)
		}
	}
	return table, nil
}

// measure puts the workload on a node and has it drained.
func measure(ctx context.Context, c *cluster.Cluster, w workload, ns string, run func(ctx context.Context, node string) error) (d drained, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	node, other := ns+"-a", ns+"-b"
	if err := c.AddNamespace(ctx, ns); err != nil {
		return d, err
	}
	for _, n := range []string{node, other} {
		if err := c.AddNode(ctx, n); err != nil {
			return d, err
		}
		defer func() { _ = c.Client.CoreV1().Nodes().Delete(context.Background(), n, metav1.DeleteOptions{}) }()
		if err := patchNode(ctx, c, n, fmt.Sprintf(`{"metadata":{"labels":{"bench":%q}},"spec":{"unschedulable":%t}}`, ns, n == other)); err != nil {
			return d, err
		}
	}
	err = c.Deployment(ctx, ns, "web", int32(w.pods), w.sim, func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.NodeSelector = map[string]string{"bench": ns}
	})
	if err != nil {
		return d, err
	}
	if w.budget {
		if err := c.Budget(ctx, ns, "web", w.pods-1); err != nil {
			return d, err
		}
	}
	if err := patchNode(ctx, c, other, `{"spec":{"unschedulable":null}}`); err != nil {
		return d, err
	}
	seen, err := observe(ctx, c, ns, node)
	if err != nil {
		return d, err
	}
	began := time.Now()
	if err := run(ctx, node); err != nil {
		return d, err
	}
	d.took = time.Since(began)
	d.ideal = seen.ideal(w)
	_ = c.Client.CoreV1().Namespaces().Delete(ctx, ns, metav1.DeleteOptions{})
	return d, nil
}

func patchNode(ctx context.Context, c *cluster.Cluster, name, patch string) error {
	_, err := c.Client.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

// drainNode drains as the daemon does, with its client, its rights and the node's name.
func drainNode(ctx context.Context, c *cluster.Cluster, dir, node string) error {
	kubeconfig := filepath.Join(dir, node)
	n, err := c.Client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if err := c.ServiceKubeconfig(ctx, node, n.UID, kubeconfig); err != nil {
		return err
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	api, err := kube.New(cfg)
	if err != nil {
		return err
	}
	if err := api.ForNode(cfg, node); err != nil {
		return err
	}
	d, err := drain.New(drain.Config{API: api, Node: node, VolumeTimeout: drain.DefaultVolumeTimeout})
	if err != nil {
		return err
	}
	if err := patchNode(ctx, c, node, `{"spec":{"unschedulable":true}}`); err != nil {
		return err
	}
	until, done := context.WithCancel(ctx)
	defer done()
	_ = d.Run(until, drain.Options{ID: node}, func(p drain.Progress) {
		if p.Drained {
			done()
		}
	})
	return context.Cause(ctx)
}

// timeline is what a watch has seen of pods.
type timeline struct {
	mu    sync.Mutex
	told  map[types.UID]time.Time // when a pod of the node was told to end
	gone  map[types.UID]time.Time
	ready map[types.UID]time.Time // when one elsewhere was Ready
	made  map[types.UID]time.Time
}

func observe(ctx context.Context, c *cluster.Cluster, ns, node string) (*timeline, error) {
	t := &timeline{told: map[types.UID]time.Time{}, gone: map[types.UID]time.Time{}, ready: map[types.UID]time.Time{}, made: map[types.UID]time.Time{}}
	w, err := c.Client.CoreV1().Pods(ns).Watch(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, err
	}
	first := func(m map[types.UID]time.Time, uid types.UID) {
		if m[uid].IsZero() {
			m[uid] = time.Now()
		}
	}
	go func() {
		for ev := range w.ResultChan() {
			p, ok := ev.Object.(*corev1.Pod)
			if !ok {
				continue
			}
			t.mu.Lock()
			if p.Spec.NodeName == node {
				if p.DeletionTimestamp != nil {
					first(t.told, p.UID)
				}
				if ev.Type == watch.Deleted {
					first(t.gone, p.UID)
				}
			} else {
				first(t.made, p.UID)
				if cluster.PodReady(p) {
					first(t.ready, p.UID)
				}
			}
			t.mu.Unlock()
		}
	}()
	return t, nil
}

// ideal is the longest time that a pod took to end; with a budget of one, the sum
// of the times that replacements took to be Ready, one after the other, and of the
// last pod's end.
func (t *timeline) ideal(w workload) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	var longest, sum time.Duration
	for uid, told := range t.told {
		longest = max(longest, t.gone[uid].Sub(told))
	}
	for uid, made := range t.made {
		if ready, ok := t.ready[uid]; ok {
			sum += ready.Sub(made)
		}
	}
	if w.budget {
		return sum + longest
	}
	return longest
}

const (
	manyPods    = 500
	stuckPods   = 50
	manyPeakMiB = 60
)

// many drains a node of 500 pods, 50 of which are blocked, and tells what that
// costs the daemon.
func many(ctx context.Context, c *cluster.Cluster, dir string) (string, error) {
	fmt.Fprintf(os.Stderr, "drains %d pods, %d of them blocked …\n", manyPods, stuckPods)
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	m, err := machine.New(ctx, machine.Options{Cluster: c, Name: "many", Dir: filepath.Join(dir, "many"), Args: []string{"--log-level=info", "--lock-name=many", "--preflight=tell"}})
	if err != nil {
		return "", err
	}
	defer m.Stop()
	if err := c.AddNamespace(ctx, "many"); err != nil {
		return "", err
	}
	here := func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.NodeSelector = map[string]string{corev1.LabelHostname: m.Name}
	}
	for i, n := range []int32{stuckPods, 90, 90, 90, 90, manyPods - stuckPods - 4*90} {
		if err := c.Deployment(ctx, "many", fmt.Sprintf("app%d", i), n, nil, here); err != nil {
			return "", err
		}
	}
	if err := c.Budget(ctx, "many", "app0", stuckPods); err != nil {
		return "", err
	}
	if err := m.StartDaemon(); err != nil {
		return "", err
	}
	if err := pause(ctx, 2*time.Second); err != nil {
		return "", err
	}
	began := time.Now()
	if err := m.Touch("bench"); err != nil {
		return "", err
	}
	_, err = c.WaitNode(ctx, m.Name, "blocked", func(n *corev1.Node) bool {
		for _, cond := range n.Status.Conditions {
			if cond.Reason == "DrainBlocked" && strings.Contains(cond.Message, fmt.Sprintf("%d more", stuckPods-3)) {
				return true
			}
		}
		return false
	})
	if err != nil {
		return "", err
	}
	if err := pause(ctx, 30*time.Second); err != nil {
		return "", err
	}
	peak, cpu, err := cost(m.Daemon().PID())
	if err != nil {
		return "", err
	}
	byKind := map[string]int{}
	err = entries(c.AuditLog, "rebootd:many", func(a audited) {
		if a.RequestReceivedTimestamp.After(began) {
			kind := "other"
			if strings.Contains(a.RequestURI, "/eviction") {
				kind = "evictions"
			}
			byKind[kind]++
		}
	})
	if err != nil {
		return "", err
	}
	if peak > manyPeakMiB {
		return "", fmt.Errorf("a drain of %d pods takes %.1f MiB at its peak, more than %d", manyPods, peak, manyPeakMiB)
	}
	return fmt.Sprintf("| a drain of %d pods, %d of them blocked: memory at its peak; CPU time; requests | %.1f MiB; %.1f s; %d evictions, %d others in %s |\n",
		manyPods, stuckPods, peak, cpu.Seconds(), byKind["evictions"], byKind["other"], time.Since(began).Round(time.Second)), nil
}

// cost is a process's peak of resident memory in MiB, and its CPU time.
func cost(pid int) (peak float64, cpu time.Duration, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("read the daemon's memory: %w", err)
	}
	for line := range strings.Lines(string(status)) {
		var kb float64
		if _, err := fmt.Sscanf(line, "VmHWM: %f kB", &kb); err == nil {
			peak = kb / 1024
		}
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("read the daemon's CPU time: %w", err)
	}
	_, rest, ok := strings.Cut(string(stat), ") ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, 0, errors.New("read the daemon's CPU time: /proc/pid/stat is not as expected")
	}
	var user, system int64
	if _, err := fmt.Sscan(fields[11], &user); err != nil {
		return 0, 0, err
	}
	if _, err := fmt.Sscan(fields[12], &system); err != nil {
		return 0, 0, err
	}
	const ticks = 100 // USER_HZ, on every architecture that Go runs on
	return peak, time.Duration(user+system) * time.Second / ticks, nil
}
