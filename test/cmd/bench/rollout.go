package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/api"
	"rebootd.dev/test/cluster"
	"rebootd.dev/test/machine"
)

const (
	rolloutNodes = 40
	rolloutSlots = 3
	rolloutLimit = 15 * time.Minute
	// maxUnused is for how long a slot and room that are there may be left unused, at
	// the 90th percentile.
	maxUnused = time.Second
)

// rolloutBinary is of another version of the daemon, to compare; "" is this one.
var rolloutBinary string

// rollout reboots a cluster that is not quite well, as clusters are: of 40 nodes in
// two zones one is not Ready, one is held, one cannot be drained and one is cordoned by
// an admin. It measures for how long nobody is at work while somebody could be.
func rollout(ctx context.Context, c *cluster.Cluster, dir string) (string, error) {
	fmt.Fprintf(os.Stderr, "reboots %d nodes that are not all well …\n", rolloutNodes)
	ctx, cancel := context.WithTimeoutCause(ctx, rolloutLimit, fmt.Errorf("the rollout is not done after %s", rolloutLimit))
	defer cancel()
	r := &roll{cluster: c, able: map[string]bool{}, phase: map[string]string{}}
	defer func() {
		for _, m := range r.machines {
			m.Stop()
		}
		removeNodes(c, "roll")
	}()
	if err := r.prepare(ctx, dir); err != nil {
		return "", err
	}
	if err := r.watch(ctx); err != nil {
		return "", err
	}
	return r.row()
}

type roll struct {
	cluster  *cluster.Cluster
	machines []*machine.Machine
	able     map[string]bool   // and not done yet
	phase    map[string]string // of each node's operation

	began, ended time.Time
	free         time.Time // since when nobody is at work; zero: somebody is
	unused       []time.Duration
	work         int
}

func (r *roll) prepare(ctx context.Context, dir string) error {
	for i := range rolloutNodes {
		name := fmt.Sprintf("roll-%02d", i)
		m, err := machine.New(ctx, machine.Options{
			Cluster: r.cluster, Name: name, Dir: filepath.Join(dir, name), Boot: time.Second, Binary: rolloutBinary,
			Args: []string{"--log-level=info", "--lock-name=roll", fmt.Sprint("--slots=", rolloutSlots), "--same=" + corev1.LabelTopologyZone, "--max-unavailable=10%", "--drain-timeout=20s", "--preflight=tell"},
		})
		if err != nil {
			return err
		}
		r.machines = append(r.machines, m)
		r.able[name] = true
		if err := r.patch(ctx, name, fmt.Sprintf(`{"metadata":{"labels":{%q:"z%d",%q:"roll"}}}`, corev1.LabelTopologyZone, i%2, benchLabel)); err != nil {
			return err
		}
	}
	sick, held, stuck, cordoned := r.machines[0].Name, r.machines[1].Name, r.machines[2].Name, r.machines[3].Name
	for _, name := range []string{sick, held, stuck} {
		delete(r.able, name)
	}
	if err := r.cluster.AddNamespace(ctx, "roll"); err != nil {
		return err
	}
	if err := r.cluster.Deployment(ctx, "roll", "stuck", 1, nil, func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.NodeSelector = map[string]string{corev1.LabelHostname: stuck}
	}); err != nil {
		return err
	}
	err := errors.Join(
		r.cluster.Budget(ctx, "roll", "stuck", 1),
		r.patch(ctx, held, `{"metadata":{"annotations":{"rebootd.dev/hold":"a disk is replaced"}}}`),
		r.patch(ctx, cordoned, `{"spec":{"unschedulable":true}}`),
		r.patch(ctx, sick, fmt.Sprintf(`{"metadata":{"labels":{%q:"true"}}}`, cluster.DownLabel)),
	)
	if err != nil {
		return err
	}
	if _, err := r.cluster.WaitNode(ctx, sick, "not Ready", func(n *corev1.Node) bool { return !cluster.Ready(n) }); err != nil {
		return err
	}
	for _, m := range r.machines {
		if m.Name == sick {
			continue // its machine hangs
		}
		if err := m.StartDaemon(); err != nil {
			return err
		}
		if err := pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	if err := pause(ctx, 5*time.Second); err != nil {
		return err
	}
	for _, m := range r.machines {
		if err := m.Touch("bench"); err != nil {
			return err
		}
	}
	return nil
}

func (r *roll) patch(ctx context.Context, name, body string) error {
	_, err := r.cluster.Client.CoreV1().Nodes().Patch(ctx, name, types.StrategicMergePatchType, []byte(body), metav1.PatchOptions{})
	return err
}

// watch follows the Nodes until all that can have rebooted.
func (r *roll) watch(ctx context.Context) error {
	for len(r.able) > 0 {
		w, err := r.cluster.Client.CoreV1().Nodes().Watch(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for ev := range w.ResultChan() {
			if n, ok := ev.Object.(*corev1.Node); ok && ev.Type != watch.Deleted {
				if r.see(n, time.Now()); len(r.able) == 0 {
					break
				}
			}
			if ctx.Err() != nil {
				break
			}
		}
		w.Stop()
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %d nodes are left", context.Cause(ctx), len(r.able))
		}
	}
	return nil
}

// see notes whether somebody is at work.
func (r *roll) see(n *corev1.Node, now time.Time) {
	phase := ""
	if s := n.Annotations["rebootd.dev/operation"]; s != "" {
		if record, err := api.ParseRecord([]byte(s)); err == nil {
			phase = string(record.Phase)
		}
	}
	atWork := func(phase string) bool { return phase == "Draining" || phase == "Rebooting" || phase == "Verifying" }
	was := r.phase[n.Name]
	r.phase[n.Name] = phase
	switch {
	case atWork(phase) && !atWork(was):
		r.work++
		if r.began.IsZero() {
			r.began = now
		}
		if !r.free.IsZero() {
			r.unused = append(r.unused, now.Sub(r.free))
			r.free = time.Time{}
		}
	case !atWork(phase) && atWork(was):
		if r.work--; phase == "" {
			delete(r.able, n.Name)
			r.ended = now
		}
		if r.work == 0 {
			r.free = now
		}
	}
}

func (r *roll) row() (string, error) {
	table := "| nodes | slots | all that can have rebooted after | nobody at work while somebody could be: in all; median; 90th percentile |\n|---|---|---|---|\n"
	if r.ended.IsZero() {
		return "", errors.New("no node has rebooted: nothing was measured")
	}
	if len(r.unused) == 0 { // somebody was at work all the time
		r.unused = []time.Duration{0}
	}
	slices.Sort(r.unused)
	var all time.Duration
	for _, d := range r.unused {
		all += d
	}
	median, p90 := r.unused[len(r.unused)/2], r.unused[len(r.unused)*9/10]
	const to = 10 * time.Millisecond
	table += fmt.Sprintf("| %d | %d | %s | %s; %s; %s |\n", rolloutNodes, rolloutSlots, r.ended.Sub(r.began).Round(time.Second), all.Round(to), median.Round(to), p90.Round(to))
	if p90 > maxUnused {
		return table, fmt.Errorf("a slot and room that are there are left unused for %s at the 90th percentile, and may be for %s", p90.Round(to), maxUnused)
	}
	return table, nil
}
