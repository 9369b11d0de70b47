package e2e

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/machine"
)

// versions are the daemon of the last release and today's.
func versions(t *testing.T) (earlier, today string) {
	t.Helper()
	earlier, version, err := cluster.Earlier()
	if err != nil {
		t.Fatal(err)
	}
	if today, err = cluster.Rebootd(); err != nil {
		t.Fatal(err)
	}
	t.Logf("the earlier version is %s", version)
	return earlier, today
}

// change has another version of the daemon take over, at once or after an orderly
// stop.
func (b *bed) change(m *machine.Machine, to string, orderly bool) {
	b.Helper()
	m.Change(to, m.Args...)
	if orderly {
		m.StopDaemon()
	} else {
		m.KillDaemon()
	}
	b.must(m.StartDaemon())
}

// In every phase of an operation another version takes over, newer or older, and
// brings it to its end: one reboot, everything as it was.
func TestAnotherVersionTakesOver(t *testing.T) {
	t.Parallel()
	earlier, today := versions(t)
	for _, c := range []struct {
		phase   string
		args    []string
		prepare func(b *bed, m *machine.Machine)
		release func(b *bed, m *machine.Machine) // lets it go on
	}{
		{"Waiting", nil, func(b *bed, m *machine.Machine) {
			b.patch(m, `{"metadata":{"annotations":{"rebootd.dev/hold":"disk"}}}`)
		}, func(b *bed, m *machine.Machine) { b.patch(m, `{"metadata":{"annotations":{"rebootd.dev/hold":null}}}`) }},
		{"Queued", nil, func(b *bed, _ *machine.Machine) { b.occupy("another") }, func(b *bed, _ *machine.Machine) { b.occupy("") }},
		{"Draining", nil, func(b *bed, m *machine.Machine) { b.blocked(m) }, func(b *bed, _ *machine.Machine) {
			b.must(shared.Client.PolicyV1().PodDisruptionBudgets(b.prefix).Delete(b.ctx, "web", metav1.DeleteOptions{}))
		}},
		{"Rebooting", nil, func(_ *bed, m *machine.Machine) { m.Behave(machine.Behaviour{Delay: 5 * time.Second}) }, nil},
		{"Verifying", nil, func(_ *bed, m *machine.Machine) { m.StayUnhealthy(time.Now().Add(time.Hour)) }, func(_ *bed, m *machine.Machine) { m.StayUnhealthy(time.Now()) }},
		{"Halted", []string{"--health-timeout=2s"}, func(_ *bed, m *machine.Machine) { m.StayUnhealthy(time.Now().Add(time.Hour)) }, func(_ *bed, m *machine.Machine) { m.StayUnhealthy(time.Now()) }},
	} {
		for _, way := range []struct {
			name     string
			from, to string
			orderly  bool
		}{
			{"upgrade", earlier, today, true},
			{"upgrade, killed", earlier, today, false},
			{"downgrade", today, earlier, true},
			{"downgrade, killed", today, earlier, false},
		} {
			t.Run(c.phase+"/"+way.name, func(t *testing.T) {
				t.Parallel()
				b := newBed(t, 2*time.Minute)
				m := b.stopped(c.args...)
				m.Change(way.from, m.Args...)
				c.prepare(b, m)
				b.must(m.StartDaemon())
				before := m.BootID()
				b.must(m.Touch("x"))
				b.phase(m, c.phase)
				if c.phase == "Rebooting" {
					b.eventually("the reboot was ordered", func() bool { _, agreed := m.Orders(); return agreed == 1 })
				}
				b.change(m, way.to, way.orderly)
				if c.release != nil {
					b.phase(m, c.phase)
					c.release(b, m)
				}
				n := b.rebooted(m, before)
				if _, agreed := m.Orders(); agreed != 1 || len(m.Outages()) != 1 {
					t.Errorf("the command was obeyed %d times and the machine was down %d times, want once", agreed, len(m.Outages()))
				}
				for _, cond := range n.Status.Conditions {
					if cond.Reason == "Rebootd" && cond.Status == corev1.ConditionTrue {
						b.node(m, "without "+string(cond.Type), func(n *corev1.Node) bool {
							for _, c := range n.Status.Conditions {
								if c.Type == cond.Type {
									return false
								}
							}
							return true
						})
					}
				}
				b.released()
				b.eventually("the node lease is given up", func() bool { return b.leaseHolder(m) == "" })
			})
		}
	}
}

// occupy has a slot be held by somebody else; "" frees it.
func (b *bed) occupy(holder string) {
	b.Helper()
	leases := shared.Client.CoordinationV1().Leases(cluster.Namespace)
	if holder == "" {
		b.must(leases.Delete(b.ctx, b.lock+"-0", metav1.DeleteOptions{}))
		return
	}
	_, err := leases.Patch(b.ctx, b.lock+"-0", types.ApplyPatchType, fmt.Appendf(nil, `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","spec":{"holderIdentity":%q}}`, holder), metav1.PatchOptions{FieldManager: "rebootd/" + holder})
	b.must(err)
}

// blocked has a pod on the machine that no budget lets go.
func (b *bed) blocked(m *machine.Machine) {
	b.Helper()
	b.pod(m, "web")
	b.must(shared.Budget(b.ctx, b.prefix, "web", 1))
}

// Three nodes of both versions, each of which is changed to the other at random
// moments: one at a time, each once.
func TestVersionsMixAtRandom(t *testing.T) {
	t.Parallel()
	earlier, today := versions(t)
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 3))
			b := newBed(t, 2*time.Minute)
			before := map[*machine.Machine]string{}
			for i := range 3 {
				m := b.stopped("--reboot-timeout=8s")
				m.Change([]string{earlier, today}[i%2], m.Args...)
				b.must(m.StartDaemon())
				before[m] = m.BootID()
			}
			for _, m := range b.machines {
				b.must(m.Touch("kernel"))
			}
			stop, changed := make(chan struct{}), make(chan int)
			go func() {
				times := 0
				for {
					select {
					case <-stop:
						changed <- times
						return
					case <-time.After(time.Duration(rng.ExpFloat64() * float64(3*time.Second))):
					}
					m := b.machines[rng.IntN(3)]
					m.Change([]string{earlier, today}[rng.IntN(2)], m.Args...)
					if rng.IntN(2) == 0 {
						m.KillDaemon()
					} else {
						m.StopDaemon()
					}
					if m.StartDaemon() == nil {
						times++
					}
				}
			}()
			for _, m := range b.machines {
				b.rebooted(m, before[m])
			}
			close(stop)
			t.Logf("changed %d times", <-changed)
			for _, m := range b.machines {
				b.must(m.StartDaemon())
				b.rebooted(m, before[m])
				if _, agreed := m.Orders(); agreed != 1 || len(m.Outages()) != 1 {
					t.Errorf("%s: the command was obeyed %d times and the machine was down %d times, want once", m.Name, agreed, len(m.Outages()))
				}
			}
			b.released()
			if n := overlap(b.machines); n != 1 {
				t.Errorf("%d machines were down at the same time, want 1", n)
			}
		})
	}
}
