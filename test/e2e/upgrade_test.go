package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

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
	for _, c := range phases {
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
				b.patch(m, fmt.Sprintf(`{"metadata":{"annotations":{"rebootd.dev/history":%q}}}`, pastOperation))
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
				switch is := n.Annotations["rebootd.dev/history"]; {
				case way.to == earlier && is != pastOperation:
					t.Errorf("the history has become %s", is)
				case way.to == today && !(strings.Contains(is, `"later":[1]`) && strings.Contains(is, `"later":{"a":"b"}`)):
					t.Errorf("of what a newer version has added the history has lost something: %s", is)
				case way.to == today:
					// When the boot was seen only the version knows that has seen it.
					if s := b.remembers(n, 1); s.Back.IsZero() && c.phase != "Halted" {
						t.Errorf("the history does not say when the machine was back: %s", is)
					}
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
				b.leaseReleased(m)
			})
		}
	}
}

// zonesAndRoles are patches of four nodes, of which two of the control plane, and one
// alone in its zone; apart are those that must not be down at the same time.
var (
	zonesAndRoles = []string{
		`{"metadata":{"labels":{"zone":"z0","node-role.kubernetes.io/control-plane":""}}}`,
		`{"metadata":{"labels":{"zone":"z1"}}}`,
		`{"metadata":{"labels":{"zone":"z0","node-role.kubernetes.io/control-plane":""}}}`,
		`{"metadata":{"labels":{"zone":"z0"}}}`,
	}
	apart = [][2]int{{0, 1}, {1, 2}, {1, 3}, {0, 2}}
)

// Nodes of both versions, each of which is changed to the other at random moments:
// each is down once, and no more at a time than there are slots, of one zone, and one
// of the control plane.
func TestVersionsMixAtRandom(t *testing.T) {
	t.Parallel()
	earlier, today := versions(t)
	for seed := range uint64(6) {
		nodes, slots, args := 3, 1, []string{"--reboot-timeout=8s"}
		if seed >= 4 {
			nodes, slots, args = 4, 2, append(args, "--slots=2", "--same=zone")
		}
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 3))
			b := newBed(t, 2*time.Minute)
			before := map[*machine.Machine]string{}
			for i := range nodes {
				m := b.stopped(args...)
				if slots > 1 {
					b.patch(m, zonesAndRoles[i])
				}
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
					m := b.machines[rng.IntN(nodes)]
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
			if n := overlap(b.machines); n > slots {
				t.Errorf("%d machines were down at the same time, want %d at the most", n, slots)
			}
			if slots == 1 {
				return
			}
			for _, pair := range apart {
				two := []*machine.Machine{b.machines[pair[0]], b.machines[pair[1]]}
				if overlap(two) > 1 {
					t.Errorf("%s and %s were down at the same time", two[0].Name, two[1].Name)
				}
			}
		})
	}
}
