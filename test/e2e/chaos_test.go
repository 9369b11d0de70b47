package e2e

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/kit"
	"rebootd.dev/test/machine"
)

// The daemons of three nodes are killed again and again, at random instants of a
// rolling reboot. Each node reboots exactly once, never two at a time, and in the
// end all is as it was. CHAOS_SEED asks for one seed only.
func TestDaemonsKilledAtRandom(t *testing.T) {
	from, to := 1, 20
	if s := os.Getenv("CHAOS_SEED"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		from, to = n, n
	}
	for seed := from; seed <= to; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			t.Parallel()
			chaos(t, uint64(seed))
		})
	}
}

func chaos(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 2))
	b := newBed(t, 2*time.Minute)
	b.Namespace(b.prefix)
	before := map[*machine.Machine]string{}
	// A drain takes 5 s at least, and begins again with each start of the daemon;
	// where there is none, the daemons may be killed much more often.
	args, mean := []string{"--reboot-timeout=8s"}, 2500*time.Millisecond
	if seed%2 == 0 {
		args, mean = append(args, "--drain=false"), 250*time.Millisecond
	}
	var names []string
	for range 3 {
		m := b.machine(args...)
		before[m], names = m.BootID(), append(names, m.Name)
	}
	b.must(shared.Deployment(b.ctx, b.prefix, "web", 3, map[string]string{"term-seconds": "1"}, kit.On(names...)))
	for _, m := range b.machines {
		b.must(m.Touch("kernel"))
	}
	stop := make(chan struct{})
	killed := make(chan int)
	go func() { killed <- kill(rng, mean, b.machines, stop) }()
	for _, m := range b.machines {
		b.node(m, "rebooted and idle", func(n *corev1.Node) bool {
			return n.Status.NodeInfo.BootID != before[m] && n.Status.NodeInfo.BootID == m.BootID() && idle(n) && cluster.Ready(n)
		})
	}
	close(stop)
	t.Logf("killed %d times", <-killed)
	for _, m := range b.machines {
		b.must(m.StartDaemon())
		n := b.rebooted(m, before[m])
		if _, agreed := m.Orders(); agreed != 1 || len(m.Outages()) != 1 {
			t.Errorf("%s: the command was obeyed %d times and the machine was down %d times, want once", m.Name, agreed, len(m.Outages()))
		}
		if n.Spec.Unschedulable {
			t.Errorf("%s is still cordoned", m.Name)
		}
	}
	b.released()
	if n := overlap(b.machines); n != 1 {
		t.Errorf("%d machines were down at the same time, want 1", n)
	}
}

// kill kills random daemons at random instants, often in quick succession, and
// starts them again, until stop is closed.
func kill(rng *rand.Rand, mean time.Duration, machines []*machine.Machine, stop chan struct{}) (times int) {
	for {
		pause := time.Duration(rng.ExpFloat64() * float64(mean))
		select {
		case <-stop:
			return times
		case <-time.After(pause):
		}
		m := machines[rng.IntN(len(machines))]
		if m.Running() {
			m.KillDaemon()
			times++
		}
		if rng.IntN(4) > 0 {
			_ = m.StartDaemon()
		}
		for _, other := range machines {
			if !other.Running() && rng.IntN(2) == 0 {
				_ = other.StartDaemon()
			}
		}
	}
}
