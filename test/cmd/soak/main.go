// Command soak lets everything happen at once to a cluster that reboots, at random
// and by a seed, and then has the audit log judged: by package audit, which knows
// nothing of the daemon.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/test/audit"
	"rebootd.dev/test/cluster"
	"rebootd.dev/test/machine"
	"rebootd.dev/test/proxy"
)

const (
	lockName = "soak"
	app      = "web"
	// patience is how long the cluster may take to come to rest when nothing goes
	// wrong any more.
	patience = 15 * time.Minute
	// Every so many-th machine has trouble on the way to the API server; it hears so late
	// what becomes of its slot.
	troubled = 3
	late     = 20 * time.Second
	// growth is by how much a daemon's memory and descriptors may have grown.
	growth = 1.5
)

func main() {
	nodes := flag.Int("nodes", 50, "how many")
	slots := flag.Int("slots", 3, "how many may be down at once")
	lasts := flag.Duration("for", 10*time.Minute, "how long things go wrong")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of what happens")
	plant := flag.Bool("unobeyed", false, "plant a fault: freezes that no daemon obeys, which must be found")
	flag.Parse()
	fmt.Printf("seed %d\n", *seed)
	if err := run(*nodes, *slots, *lasts, *seed, *plant); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

type soak struct {
	cluster  *cluster.Cluster
	rng      *rand.Rand
	machines []*machine.Machine
	slots    int
	proxies  []*proxy.Proxy
	gates    *gates
	counts   map[string]int
	wg       sync.WaitGroup
}

func run(nodes, slots int, lasts time.Duration, seed uint64, plant bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := cluster.Start(ctx, cluster.Options{})
	if err != nil {
		return err
	}
	defer c.Stop()
	dir, err := os.MkdirTemp("", "rebootd-soak-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	g, err := newGates(ctx, plant)
	if err != nil {
		return err
	}
	s := &soak{gates: g, cluster: c, rng: rand.New(rand.NewPCG(seed, 0)), slots: slots, counts: map[string]int{}}
	defer func() {
		for _, m := range s.machines {
			m.Stop()
		}
		for _, p := range s.proxies {
			p.Close()
		}
	}()
	if err := s.prepare(ctx, dir, nodes); err != nil {
		return err
	}
	before, err := s.resources()
	if err != nil {
		return err
	}
	s.trouble(seed)
	// Whatever the seed, one of each.
	for i, close := range []func(context.Context, *machine.Machine) error{s.freeze, s.withdraw, s.alert} {
		if err := close(ctx, s.machines[i%len(s.machines)]); err != nil {
			return err
		}
	}
	began := time.Now()
	for time.Since(began) < lasts && ctx.Err() == nil {
		if err := s.happen(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		time.Sleep(time.Duration(s.rng.ExpFloat64() * float64(300*time.Millisecond))) // the pace of the world
	}
	s.wg.Wait()
	fmt.Printf("what happened: %v\n", s.counts)
	if err := s.rest(ctx); err != nil {
		return err
	}
	after, err := s.resources()
	if err != nil {
		return err
	}
	fmt.Printf("a daemon at the beginning: %s; after everything: %s\n", before, after)
	log, err := os.Open(c.AuditLog)
	if err != nil {
		return err
	}
	defer log.Close()
	summary, err := audit.Check(log, audit.Rules{Slots: slots, Lock: lockName, Daemons: "rebootd:", Down: cluster.DownLabel, Closed: g.all()})
	if err != nil {
		return err
	}
	fmt.Println(summary.String())
	var errs []error
	for _, b := range summary.Broken {
		errs = append(errs, errors.New(b))
	}
	if summary.Reboots < nodes/2 || summary.Evictions < nodes/2 {
		errs = append(errs, fmt.Errorf("only %d reboots and %d evictions: that is no soak", summary.Reboots, summary.Evictions))
	}
	return errors.Join(append(errs, after.grownFrom(before))...)
}

func (s *soak) prepare(ctx context.Context, dir string, nodes int) error {
	for i := range nodes {
		home := filepath.Join(dir, fmt.Sprint(i))
		if err := os.Mkdir(home, 0o755); err != nil {
			return err
		}
		m, err := machine.New(ctx, machine.Options{
			Cluster: s.cluster, Name: fmt.Sprintf("soak-%d", i), Dir: home, Boot: time.Second,
			Args: append([]string{"--lock-name=" + lockName, fmt.Sprintf("--slots=%d", s.slots), "--reboot-timeout=20s", "--drain-timeout=30s", "--log-level=info"}, s.gates.args()...),
		})
		if err != nil {
			return err
		}
		s.machines = append(s.machines, m)
		if i%troubled == 0 {
			p, err := proxy.Between(m.Kubeconfig)
			if err != nil {
				return err
			}
			s.proxies = append(s.proxies, p)
		}
	}
	if err := s.cluster.Deployment(ctx, "default", app, int32(2*nodes), map[string]string{"term-seconds": "1"}, nil); err != nil {
		return err
	}
	for _, m := range s.machines {
		if err := errors.Join(s.approve(ctx, m), m.StartDaemon()); err != nil {
			return err
		}
	}
	time.Sleep(20 * time.Second) // until the daemons have settled: their cost is compared
	return nil
}

// trouble is what goes on between some of the daemons and the API server: what becomes
// of the slots they hear of late, and some answers, and some requests, are lost.
func (s *soak) trouble(seed uint64) {
	for i, p := range s.proxies {
		var mu sync.Mutex
		rng := rand.New(rand.NewPCG(seed, uint64(i)+1))
		p.Faults(func(r *http.Request) proxy.Fault {
			if proxy.IsWatch(r, "leases") {
				return proxy.Fault{EventDelay: late}
			}
			mu.Lock()
			defer mu.Unlock()
			switch n := rng.IntN(100); {
			case r.URL.Query().Has("watch"):
				return proxy.Fault{}
			case n < 2:
				return proxy.Fault{Forget: true}
			case n < 4:
				return proxy.Fault{Lose: true}
			}
			return proxy.Fault{}
		})
	}
}

// happen has one thing happen.
func (s *soak) happen(ctx context.Context) error {
	m := s.machines[s.rng.IntN(len(s.machines))]
	for _, e := range []struct {
		weight int
		name   string
		do     func(context.Context, *machine.Machine) error
	}{
		{40, "sentinel touched", func(_ context.Context, m *machine.Machine) error { return ignore(m.Touch("kernel")) }},
		{6, "frozen", s.freeze},
		{9, "not frozen", s.thaw},
		{5, "approval withdrawn", s.withdraw},
		{8, "approved", s.approve},
		{3, "an alert fires", s.alert},
		{4, "sentinel removed", func(_ context.Context, m *machine.Machine) error { return ignore(m.Withdraw()) }},
		{20, "daemon killed", func(_ context.Context, m *machine.Machine) error { m.KillDaemon(); return m.StartDaemon() }},
		{4, "daemon stopped for a while", s.away},
		{4, "power cut", s.crash},
		{6, "admin cordons", s.cordon(true)},
		{6, "admin uncordons", s.cordon(false)},
		{3, "held", s.annotate(`"rebootd.dev/hold":"disk"`)},
		{5, "not held", s.annotate(`"rebootd.dev/hold":null`)},
		{3, "request by annotation", s.annotate(`"rebootd.dev/request":"reboot"`)},
		{3, "budget set", func(ctx context.Context, _ *machine.Machine) error {
			return ignore(s.cluster.Budget(ctx, "default", app, 2*len(s.machines)))
		}},
		{5, "budget removed", s.noBudget},
		{8, "slot taken away", s.steal},
		{1, "node deleted", s.deleteNode},
		{1, "API server restarted", s.restart},
	} {
		if n := s.rng.IntN(108); n < e.weight {
			s.counts[e.name]++
			return e.do(ctx, m)
		}
	}
	return nil
}

// ignore: what cannot be done just now, since the API server is away or the object
// is as it should be, does not happen.
func ignore(error) error { return nil }

func (s *soak) patch(ctx context.Context, m *machine.Machine, patch string) error {
	return ignore(s.patchNow(ctx, m, patch))
}

func (s *soak) patchNow(ctx context.Context, m *machine.Machine, patch string) error {
	_, err := s.cluster.Client.CoreV1().Nodes().Patch(ctx, m.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "admin"})
	return err
}

func (s *soak) annotate(a string) func(context.Context, *machine.Machine) error {
	return func(ctx context.Context, m *machine.Machine) error {
		return s.patch(ctx, m, `{"metadata":{"annotations":{`+a+`}}}`)
	}
}

func (s *soak) cordon(on bool) func(context.Context, *machine.Machine) error {
	return func(ctx context.Context, m *machine.Machine) error {
		return s.patch(ctx, m, fmt.Sprintf(`{"spec":{"unschedulable":%t}}`, on))
	}
}

func (s *soak) away(_ context.Context, m *machine.Machine) error {
	if !m.Running() {
		return nil
	}
	m.StopDaemon()
	d := time.Duration(s.rng.IntN(10)) * time.Second
	s.wg.Go(func() {
		time.Sleep(d) // while it is away
		_ = m.StartDaemon()
	})
	return nil
}

func (s *soak) crash(ctx context.Context, m *machine.Machine) error {
	_, err := s.cluster.Client.CoreV1().Nodes().Patch(ctx, m.Name, types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"now"}}}`, audit.CrashAnnotation), metav1.PatchOptions{})
	if err != nil {
		return ignore(err)
	}
	s.wg.Go(func() { _ = m.Crash() })
	return nil
}

func (s *soak) noBudget(ctx context.Context, _ *machine.Machine) error {
	return ignore(s.cluster.Client.PolicyV1().PodDisruptionBudgets("default").Delete(ctx, app, metav1.DeleteOptions{}))
}

func (s *soak) steal(ctx context.Context, _ *machine.Machine) error {
	slot := fmt.Sprintf("%s-%d", lockName, s.rng.IntN(s.slots))
	_, err := s.cluster.Client.CoordinationV1().Leases(cluster.Namespace).Patch(ctx, slot, types.MergePatchType, []byte(`{"spec":{"holderIdentity":null}}`), metav1.PatchOptions{FieldManager: "admin"})
	return ignore(err)
}

func (s *soak) deleteNode(ctx context.Context, m *machine.Machine) error {
	s.forgotten(m)
	if err := s.cluster.Client.CoreV1().Nodes().Delete(ctx, m.Name, metav1.DeleteOptions{}); err != nil {
		return ignore(err)
	}
	if err := m.Register(ctx); err != nil {
		return err
	}
	return s.approve(ctx, m)
}

func (s *soak) restart(ctx context.Context, _ *machine.Machine) error {
	if err := s.cluster.EndAPIServer(); err != nil {
		return err
	}
	time.Sleep(time.Duration(s.rng.IntN(5)) * time.Second) // while it is away
	return s.cluster.StartAPIServer(ctx)
}

// rest lets the cluster come to rest: every request that stands is served.
func (s *soak) rest(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	_ = s.noBudget(ctx, nil)
	if err := s.opened(ctx); err != nil {
		return err
	}
	for _, p := range s.proxies {
		p.Faults(nil)
		p.Cut()
	}
	for _, m := range s.machines {
		if err := errors.Join(s.patch(ctx, m, `{"metadata":{"annotations":{"rebootd.dev/hold":null}},"spec":{"unschedulable":false}}`), m.StartDaemon()); err != nil {
			return err
		}
	}
	for {
		restless := s.restless(ctx)
		if restless == "" {
			fmt.Printf("at rest after %s\n", time.Since(began).Round(time.Second))
			return nil
		}
		for _, m := range s.machines {
			_ = m.StartDaemon()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not at rest after %s: %s", patience, restless)
		case <-time.After(time.Second):
		}
	}
}

// restless says what is not at rest.
func (s *soak) restless(ctx context.Context) string {
	nodes, err := s.cluster.Client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	for i := range nodes.Items {
		n := &nodes.Items[i]
		if r := n.Annotations["rebootd.dev/operation"]; r != "" || n.Spec.Unschedulable || n.Annotations["rebootd.dev/request"] != "" {
			return fmt.Sprintf("%s: unschedulable %t, %s", n.Name, n.Spec.Unschedulable, r)
		}
	}
	leases, err := s.cluster.Client.CoordinationV1().Leases(cluster.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	for _, l := range leases.Items {
		if h := l.Spec.HolderIdentity; h != nil && *h != "" {
			return fmt.Sprintf("%s is held by %s", l.Name, *h)
		}
	}
	return ""
}
