// Command demo shows rebootd's main job: three simulated nodes of a real control
// plane, with a workload that has a budget, reboot one after the other. It tells
// what happens as it happens, ends by itself with a summary, and fails if
// anything was not as it should be.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/machine"
)

const (
	nodes = 3
	limit = 3 * time.Minute // from the sentinels on
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	fmt.Println("Starting a control plane (the first time it is built, which takes 5 to 20 minutes) …")
	c, err := cluster.Start(ctx, cluster.Options{})
	if err != nil {
		return err
	}
	defer c.Stop()
	dir, err := os.MkdirTemp("", "rebootd-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	d := &demo{cluster: c, began: time.Now()}
	defer d.stop()
	if err := d.prepare(ctx, dir); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not done after %s", limit))
	defer cancel()
	return d.roll(ctx)
}

type demo struct {
	cluster  *cluster.Cluster
	began    time.Time
	machines []*machine.Machine
}

func (d *demo) stop() {
	for _, m := range d.machines {
		m.Stop()
	}
}

// prepare makes the nodes, the workload and the daemons.
func (d *demo) prepare(ctx context.Context, dir string) error {
	for i := range nodes {
		name := fmt.Sprintf("node-%d", i+1)
		home := filepath.Join(dir, name)
		if err := os.Mkdir(home, 0o755); err != nil {
			return err
		}
		m, err := machine.New(ctx, machine.Options{Cluster: d.cluster, Name: name, Dir: home, Boot: 2 * time.Second})
		if err != nil {
			return err
		}
		d.machines = append(d.machines, m)
	}
	// Two replicas a node, of which five must be there at any time.
	sim := map[string]string{"ready-seconds": "1", "term-seconds": "1"}
	if err := d.cluster.Deployment(ctx, "default", "web", 2*nodes, sim, nil); err != nil {
		return err
	}
	if err := d.cluster.Budget(ctx, "default", "web", 2*nodes-1); err != nil {
		return err
	}
	for _, m := range d.machines {
		if err := m.StartDaemon(); err != nil {
			return err
		}
	}
	fmt.Printf("%d nodes, %d pods of the Deployment web (its budget: at least %d of them available), a rebootd on each node.\n\n", nodes, 2*nodes, 2*nodes-1)
	return nil
}

// roll touches the sentinels and tells what follows until all nodes have
// rebooted.
func (d *demo) roll(ctx context.Context) error {
	before := map[string]string{}
	for _, m := range d.machines {
		before[m.Name] = m.BootID()
	}
	w, err := d.cluster.Client.CoreV1().Events(metav1.NamespaceDefault).Watch(ctx, metav1.ListOptions{FieldSelector: "source=rebootd"})
	if err != nil {
		return fmt.Errorf("watch what the daemons say: %w", err)
	}
	defer w.Stop()
	go d.tell(w)

	d.began = time.Now()
	for _, m := range d.machines {
		if err := m.Touch("linux-image 6.12.9"); err != nil {
			return err
		}
	}
	fmt.Printf("$ touch %s      # on all %d nodes\n\n", machine.Sentinel, nodes)
	for _, m := range d.machines {
		_, err := d.cluster.WaitNode(ctx, m.Name, "rebooted and as before", func(n *corev1.Node) bool {
			return n.Status.NodeInfo.BootID != before[m.Name] && n.Annotations["rebootd.dev/operation"] == "" &&
				!n.Spec.Unschedulable && cluster.Ready(n)
		})
		if err != nil {
			return err
		}
	}
	if err := d.released(ctx); err != nil {
		return err
	}
	return d.summary(ctx)
}

// tell prints the daemons' Events.
func (d *demo) tell(w watch.Interface) {
	for ev := range w.ResultChan() {
		e, ok := ev.Object.(*corev1.Event)
		if !ok || ev.Type != watch.Added {
			continue
		}
		fmt.Printf("%6.1fs  %s%-8s  %-15s %s\n", time.Since(d.began).Seconds(), d.indent(e.InvolvedObject.Name), e.InvolvedObject.Name, e.Reason, short(e.Message))
	}
}

// indent sets each node's lines apart.
func (d *demo) indent(node string) string {
	for i, m := range d.machines {
		if m.Name == node {
			return strings.Repeat("  ", i)
		}
	}
	return ""
}

func short(s string) string {
	if len(s) > 110 {
		return s[:107] + "…"
	}
	return s
}

// released waits until nobody holds a slot.
func (d *demo) released(ctx context.Context) error {
	for {
		leases, err := d.cluster.Client.CoordinationV1().Leases(cluster.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return fmt.Errorf("look at the slots: %w", err)
		}
		held := 0
		for _, l := range leases.Items {
			if l.Spec.HolderIdentity != nil {
				held++
			}
		}
		if held == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("a slot is still held: %w", context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// summary says what has happened, and fails if it is not what should have.
func (d *demo) summary(ctx context.Context) error {
	var errs []error
	fmt.Printf("\n%-8s  %-8s  %-10s  %s\n", "NODE", "REBOOTS", "DOWN", "PODS")
	for _, m := range d.machines {
		n, err := m.Node(ctx)
		if err != nil {
			return err
		}
		var report struct{ Totals map[string]int }
		if err := json.Unmarshal([]byte(n.Annotations["rebootd.dev/report"]), &report); err != nil {
			errs = append(errs, fmt.Errorf("%s has no report: %w", m.Name, err))
		}
		_, reboots := m.Orders()
		if reboots != 1 {
			errs = append(errs, fmt.Errorf("%s rebooted %d times, want once", m.Name, reboots))
		}
		o := m.Outages()[0]
		fmt.Printf("%-8s  %-8d  %-10s  %s\n", m.Name, reboots, o.To.Sub(o.From).Round(100*time.Millisecond), totals(report.Totals))
	}
	for i, a := range d.machines {
		for _, b := range d.machines[i+1:] {
			x, y := a.Outages()[0], b.Outages()[0]
			if x.From.Before(y.To) && y.From.Before(x.To) {
				errs = append(errs, fmt.Errorf("%s and %s were down at the same time", a.Name, b.Name))
			}
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	fmt.Printf("\nEach node rebooted once, never two at a time, in %s.\n", time.Since(d.began).Round(time.Second))
	return d.look(ctx)
}

// look shows what people see: the fleet, and the report of the roll.
func (d *demo) look(ctx context.Context) error {
	plugin, err := cluster.Plugin()
	if err != nil {
		return err
	}
	page := filepath.Join(filepath.Dir(cluster.SourceDir()), "bin", "demo-roll.html")
	if err := os.MkdirAll(filepath.Dir(page), 0o755); err != nil {
		return err
	}
	for _, args := range [][]string{{"status"}, {"report", "--since", "1h", "--html", page}} {
		fmt.Printf("\n$ kubectl rebootd %s\n", strings.Join(args, " "))
		cmd := exec.CommandContext(ctx, plugin, append(args, "--kubeconfig", d.cluster.Kubeconfig)...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("kubectl rebootd %s: %w", strings.Join(args, " "), err)
		}
	}
	fmt.Printf("\nThe report of this roll: %s\nTo try things yourself: make play\n", page)
	return nil
}

func totals(t map[string]int) string {
	var parts []string
	for _, k := range []string{"drained", "relocated", "force-stopped", "failed", "skipped"} {
		if t[k] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", t[k], k))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
