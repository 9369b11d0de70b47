package daemon_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/sentinel"
	"rebootd.dev/daemon/sim"
)

// bringTo brings an idle node, with a daemon that runs, to a phase. Its reboot command,
// where it is started, runs until the test ends it.
func bringTo(t *testing.T, m *sim.Machine, s settings, phase api.Phase) *sim.Process {
	t.Helper()
	p := start(t, m, s)
	pass(time.Minute)
	if phase == api.PhaseIdle {
		return p
	}
	if phase == api.PhaseWaiting {
		m.Annotate(api.HoldAnnotation, "people")
	}
	if phase == api.PhaseQueued {
		newOther(t, m.World).takesWhatIsFree()
	}
	m.Touch(sentinelPath, "")
	pass(10 * time.Second)
	reached := func() bool {
		r := m.World.Record(m.Name)
		return r != nil && r.Phase == phase
	}
	if !reached() {
		m.Drain.Pods(0)
		pass(10 * time.Second)
	}
	if !reached() {
		m.Boots()
		p = start(t, m, s)
		pass(10 * time.Second)
	}
	if !reached() {
		pass(healthTimeout)
	}
	if !reached() {
		t.Fatalf("the node is not %s: %+v", phase, m.World.Record(m.Name))
	}
	return p
}

// wantIdle says whether the node is as it was before.
func wantIdle(t *testing.T, m *sim.Machine) {
	t.Helper()
	n := m.Node()
	if n.Annotations[api.OperationAnnotation] != "" || n.Spec.Unschedulable || len(m.World.SlotsOf(lockName, m.Name)) > 0 || m.Lease.Holder() != "" {
		t.Errorf("the node is not as it was: %v, cordoned %t, slots %v, node lease %q",
			n.Annotations, n.Spec.Unschedulable, m.World.SlotsOf(lockName, m.Name), m.Lease.Holder())
	}
}

// A node is asked to reboot, does, and is as it was before.
func TestOneReboot(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		m.Drain.Takes(func() time.Duration { return 20 * time.Second })
		m.OnCommand = func(c *sim.Command) error {
			c.End(0, "")
			time.AfterFunc(5*time.Second, m.GoesDown)
			return nil
		}
		start(t, m, settings{nodeLease: "auto"})
		pass(time.Minute)
		m.Touch(sentinelPath, "kernel")
		pass(time.Minute)
		if m.Up() {
			t.Fatal("the machine is up")
		}
		m.Boots()
		start(t, m, settings{nodeLease: "auto"})
		pass(10 * time.Second)
		if r := w.Record("a"); r == nil || r.Phase != api.PhaseVerifying {
			t.Fatalf("%+v", r)
		}
		m.KubeletReports(true, "")
		pass(time.Minute)
		wantIdle(t, m)
	})
}

// What keeps a node that has booted, and is Ready, from being uncordoned.
func TestNotHealthyYet(t *testing.T) {
	for name, c := range map[string]struct{ ails, heals func(*sim.Machine) }{
		"others are at work": {
			func(m *sim.Machine) {
				m.Edit(func(n *corev1.Node) {
					n.Spec.Taints = []corev1.Taint{{Key: "medik8s.io/drain", Effect: corev1.TaintEffectNoSchedule}}
				})
				m.KubeletReports(true, "")
			},
			func(m *sim.Machine) { m.Edit(func(n *corev1.Node) { n.Spec.Taints = nil }) },
		},
		"another has the node lease": {
			func(m *sim.Machine) {
				m.Lease.Give("node-maintenance")
				m.KubeletReports(true, "")
			},
			func(m *sim.Machine) { m.Lease.Give("") },
		},
		"the kubelet's last word is of the boot before": {
			func(m *sim.Machine) {
				m.World.Nodes.Edit(m.Name, "kubelet", func(n *corev1.Node) { n.Status.NodeInfo.BootID = "boot-1-a" })
			},
			func(m *sim.Machine) { m.KubeletReports(true, "") },
		},
		"the kubelet says so": {
			func(m *sim.Machine) { m.KubeletReports(false, "no network") },
			func(m *sim.Machine) { m.KubeletReports(true, "") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				s := settings{nodeLease: "auto"}
				bringTo(t, m, s, api.PhaseRebooting)
				m.Command().End(0, "")
				pass(time.Second)
				m.Boots()
				c.ails(m)
				p := start(t, m, s)
				pass(5 * time.Minute)
				if r := w.Record("a"); r == nil || r.Phase != api.PhaseVerifying || !m.Node().Spec.Unschedulable {
					t.Fatalf("%s: the node is %+v", p.Status(), r)
				}
				c.heals(m)
				pass(2 * time.Minute)
				wantIdle(t, m)
			})
		})
	}
}

// A node that has halted waits for people, or for those who take care of nodes whose lease
// has lapsed.
func TestAHaltedNodeLetsItsNodeLeaseLapse(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		p := bringTo(t, m, settings{nodeLease: "auto"}, api.PhaseVerifying)
		pass(6 * time.Minute)
		if m.Lease.Holder() == "" {
			t.Fatal("a node that is verified does not hold its node lease")
		}
		pass(healthTimeout)
		if r := w.Record("a"); r.Phase != api.PhaseHalted {
			t.Fatalf("%+v", r)
		}
		renewals := m.Lease.Renewals()
		pass(time.Hour)
		if m.Lease.Renewals() != renewals || m.Lease.Holder() != "" {
			t.Errorf("%s: renewed %d times since, held by %q", p.Status(), m.Lease.Renewals()-renewals, m.Lease.Holder())
		}
	})
}

// lifecycleOf are the conditions of KEP-5683 that the daemon has set.
func lifecycleOf(m *sim.Machine) string {
	var have []string
	for _, c := range []corev1.NodeConditionType{"MaintenancePlanned", "DrainInProgress", "Drained", "MaintenanceInProgress"} {
		if x := m.World.Condition(m.Name, c); x != nil && x.Status == corev1.ConditionTrue && x.Reason == api.Ours {
			have = append(have, string(c))
		}
	}
	return strings.Join(have, " ")
}

// The conditions of KEP-5683 say how far the operation has come, and are gone after it.
func TestLifecycleConditions(t *testing.T) {
	for phase, want := range map[api.Phase]string{
		api.PhaseWaiting: "MaintenancePlanned", api.PhaseQueued: "MaintenancePlanned", api.PhaseDraining: "MaintenancePlanned DrainInProgress",
		api.PhaseRebooting: "Drained MaintenanceInProgress", api.PhaseVerifying: "Drained MaintenanceInProgress", api.PhaseHalted: "Drained MaintenanceInProgress",
	} {
		t.Run(string(phase), func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				bringTo(t, m, settings{}, phase)
				pass(10 * time.Second)
				if got := lifecycleOf(m); got != want {
					t.Errorf("%q, want %q", got, want)
				}
			})
		})
	}
}

// The slot was taken away and nobody has told the daemon yet: the last look before the
// command finds it out.
func TestFence(t *testing.T) {
	for name, takeAway := range map[string]func(*sim.World){
		"the slot is cleared": func(w *sim.World) { w.ClearSlot(slot0) },
		"the slot is deleted": func(w *sim.World) { w.DeleteSlot(slot0) },
		"the lock is paused":  func(w *sim.World) { w.Pause(lockName, "an outage") },
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				deaf := settings{change: func(_ *daemon.Config, p *sim.Process) {
					p.Link.DelayEvents(func() time.Duration { return time.Minute })
				}}
				bringTo(t, m, deaf, api.PhaseDraining)
				takeAway(w)
				m.Drain.Pods(0)
				pass(30 * time.Second)
				if m.Command() != nil {
					t.Error("the reboot was ordered")
				}
				if m.Node().Spec.Unschedulable {
					t.Error("the node was not put back")
				}
			})
		})
	}
}

// The node lease was taken over and nobody has told the daemon yet.
func TestFenceOfTheNodeLease(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		bringTo(t, m, settings{nodeLease: "auto"}, api.PhaseDraining)
		m.Lease.Give("NodeHealthCheck-x")
		m.Drain.Pods(0)
		pass(time.Minute)
		if m.Command() != nil || m.Node().Spec.Unschedulable {
			t.Error("the reboot was ordered, or the node was not put back")
		}
	})
}

// The API server does not confirm the slot for 20 minutes: the time within which the machine
// must go down begins with the command.
func TestTheFenceTakesItsTime(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		p := bringTo(t, m, settings{}, api.PhaseDraining)
		p.Link.Meet(func(r sim.Request) sim.Fate {
			return sim.Fate{RequestLost: r.Resource == "leases" && r.Verb == "apply"}
		})
		m.Drain.Pods(0)
		pass(20 * time.Minute)
		p.Link.Meet(nil)
		pass(time.Minute)
		if m.Command() == nil {
			t.Fatal("no command was started")
		}
		m.Command().End(0, "")
		pass(12 * time.Minute)
		if r := w.Record("a"); r.Phase != api.PhaseRebooting {
			t.Errorf("after 13 minutes: %+v", r)
		}
		pass(4 * time.Minute)
		if r := w.Record("a"); r.Phase != api.PhaseHalted {
			t.Errorf("after 17 minutes: %+v", r)
		}
	})
}

// A hold that comes while the slot is being confirmed is obeyed: the command is not spawned.
func TestHeldWhileTheFenceTakesItsTime(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		p := bringTo(t, m, settings{}, api.PhaseDraining)
		p.Link.Meet(func(r sim.Request) sim.Fate {
			if r.Resource == "leases" && w.Record("a").Phase == api.PhaseRebooting {
				return sim.Fate{Delay: 7 * time.Second}
			}
			return sim.Fate{}
		})
		m.Drain.Pods(0)
		pass(10 * time.Second)
		if r := w.Record("a"); r.Phase != api.PhaseRebooting || m.Command() != nil {
			t.Fatalf("it is not confirming its slot: %+v", r)
		}
		m.Annotate(api.HoldAnnotation, "stop")
		pass(time.Minute)
		if r := w.Record("a"); r == nil || r.Phase != api.PhaseWaiting || m.Command() != nil {
			t.Errorf("held: %+v, command %v", r, m.Command())
		}
	})
}

// Somebody changes the Node between a decision and its write: the write is refused, and
// decided again.
func TestEveryWriteIsConditional(t *testing.T) {
	for _, phase := range []api.Phase{api.PhaseQueued, api.PhaseDraining, api.PhaseRebooting} {
		t.Run(string(phase), func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				m.Drain.Pods(0)
				p := start(t, m, settings{})
				pass(time.Second)
				met := false
				p.Link.Meet(func(r sim.Request) sim.Fate {
					if r.Verb == "patch" && !met && strings.Contains(r.Body, `\"phase\":\"`+string(phase)) {
						met = true
						m.Annotate(api.HoldAnnotation, "stop")
					}
					return sim.Fate{}
				})
				m.Touch(sentinelPath, "")
				pass(time.Minute)
				for _, e := range w.Journal(0) {
					if e.Kind == "node" && strings.Contains(e.Text, "→ "+string(phase)) {
						t.Errorf("written over what has changed: %s", e.Text)
					}
				}
				if r := w.Record("a"); !met || r == nil || r.Phase != api.PhaseWaiting || m.Node().Spec.Unschedulable {
					t.Errorf("%t: %+v", met, r)
				}
				for _, r := range p.Link.Requests() {
					var patch struct {
						Metadata struct {
							ResourceVersion string
							Annotations     map[string]*string
						}
					}
					if r.Verb != "patch" || r.Resource != "nodes" || r.DryRun {
						continue
					}
					if err := json.Unmarshal([]byte(r.Body), &patch); err != nil {
						t.Fatal(err)
					}
					if _, record := patch.Metadata.Annotations[api.OperationAnnotation]; record && patch.Metadata.ResourceVersion == "" {
						t.Errorf("not conditional: %s", r.Body)
					}
				}
			})
		})
	}
}

// A record that cannot be obeyed: nothing is done any more, whatever happens, but that
// people are told.
func TestHandsOff(t *testing.T) {
	hooks := func(m *sim.Machine) settings {
		return settings{nodeLease: "auto", last: []daemon.Stage{daemon.PreRebootHooks(m.Hooks)}}
	}
	for phase, happens := range map[api.Phase]func(*sim.Machine){
		api.PhaseQueued:    func(m *sim.Machine) { m.World.ClearSlot(slot0) },
		api.PhaseDraining:  func(m *sim.Machine) { m.Drain.Pods(0) },
		api.PhaseRebooting: func(m *sim.Machine) { m.Command().End(1, "no") },
		api.PhaseVerifying: func(m *sim.Machine) { m.KubeletReports(true, "") },
		api.PhaseHalted:    func(m *sim.Machine) { m.KubeletReports(true, "") },
	} {
		for _, record := range []string{`{"v":2,"phase":"Draining"}`, `{"v":1}`, `no JSON`} {
			t.Run(string(phase)+" "+record, func(t *testing.T) {
				simulate(t, func(t *testing.T, w *sim.World) {
					m := w.AddMachine("a")
					s := hooks(m)
					if phase != api.PhaseDraining {
						s.last = nil
					}
					p := bringTo(t, m, s, phase)
					pass(10 * time.Second) // until people are told
					told := lifecycleOf(m)
					command, renewals, slots := m.Command(), m.Lease.Renewals(), w.SlotsOf(lockName, "a")
					m.Annotate(api.OperationAnnotation, record)
					pass(time.Second) // what was under way ends
					seen := len(w.Journal(0))
					before := m.Node()
					sent := len(p.Link.Requests())
					happens(m)
					m.RemoveSentinel(sentinelPath)
					pass(time.Hour)
					after := m.Node()
					if now := lifecycleOf(m); now != told {
						t.Errorf("the conditions were %s and are %s", told, now)
					}
					before.Status, after.Status = corev1.NodeStatus{}, corev1.NodeStatus{}
					before.ResourceVersion, after.ResourceVersion = "", ""
					if a, b := before.String(), after.String(); a != b {
						t.Errorf("the Node was\n%s\nand is\n%s", a, b)
					}
					for _, r := range p.Link.Requests()[sent:] {
						switch {
						case r.Verb == "watch" || r.Verb == "get" || r.Verb == "list" || r.Resource == "events":
						case r.Verb == "patch" && r.Resource == "nodes" && r.Subresource == "status" && !strings.Contains(r.Body, "annotations") && strings.Count(r.Body, `"type"`) == 1:
						default:
							t.Errorf("%+v", r)
						}
					}
					for _, e := range w.Journal(seen) {
						if e.Kind != "log" && e.Kind != "event" && !strings.HasSuffix(e.Text, "b") {
							t.Errorf("%+v", e)
						}
					}
					if m.Drain.Running() || m.Hooks.Running() > 0 || m.Command() != command || m.Lease.Renewals() != renewals {
						t.Error("something goes on")
					}
					if phase != api.PhaseQueued && strings.Join(w.SlotsOf(lockName, "a"), "") != strings.Join(slots, "") {
						t.Error("the slot is not held any more")
					}
					if !strings.HasPrefix(p.Status(), "RecordTooNew") && !strings.HasPrefix(p.Status(), "RecordInvalid") {
						t.Errorf("people are told: %s", p.Status())
					}
				})
			})
		}
	}
}

// A drain takes its time to end: the node is not uncordoned before it has, and its last
// words are in the report.
func TestTheDrainEndsBeforeTheNodeIsPutBack(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		m.Drain.Ending(20 * time.Second)
		p := bringTo(t, m, settings{}, api.PhaseDraining)
		m.Annotate(api.HoldAnnotation, "stop")
		pass(19 * time.Second)
		if !m.Node().Spec.Unschedulable || len(w.SlotsOf(lockName, "a")) == 0 {
			t.Error("put back while its drain runs")
		}
		pass(5 * time.Second)
		if m.Node().Spec.Unschedulable || len(w.SlotsOf(lockName, "a")) != 0 {
			t.Errorf("not put back: %s", p.Status())
		}
	})
}

// The daemon is told to stop in the instant in which it writes the order. The order is
// carried out, and what became of it noted.
func TestAnOrderThatIsWrittenIsCarriedOut(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		p := bringTo(t, m, settings{}, api.PhaseDraining)
		p.Link.Meet(func(r sim.Request) sim.Fate {
			if r.Verb == "patch" && strings.Contains(r.Body, `\"phase\":\"Rebooting`) {
				return sim.Fate{Then: p.Terminate, AnswerDelay: 100 * time.Millisecond}
			}
			return sim.Fate{}
		})
		m.OnCommand = func(c *sim.Command) error {
			time.AfterFunc(time.Second, func() { c.End(0, "") })
			return nil
		}
		m.Drain.Pods(0)
		p.Wait()
		if r := w.Record("a"); r.Phase != api.PhaseRebooting || !r.Order.Accepted {
			t.Errorf("%+v", r.Order)
		}
	})
}

// Told to stop while the reboot command runs, the daemon waits for it for a moment.
func TestStoppedWhileTheCommandRuns(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		p := bringTo(t, m, settings{}, api.PhaseRebooting)
		time.AfterFunc(2*time.Second, func() { m.Command().End(0, "") })
		p.Terminate()
		before := time.Now()
		p.Wait()
		if r := w.Record("a"); !r.Order.Accepted || time.Since(before) > 5*time.Second {
			t.Errorf("after %s: %+v", time.Since(before), r.Order)
		}
	})
}

// … and no longer than that: 5 s are promised.
func TestStopsInTime(t *testing.T) {
	for _, phase := range append(api.Phases(), api.PhaseIdle) {
		for _, away := range []bool{false, true} {
			t.Run(string(phase), func(t *testing.T) {
				simulate(t, func(t *testing.T, w *sim.World) {
					m := w.AddMachine("a")
					p := bringTo(t, m, settings{nodeLease: "auto"}, phase)
					if away {
						p.Link.Meet(func(sim.Request) sim.Fate { return sim.Fate{Delay: time.Hour} })
						m.Annotate(api.HoldAnnotation, "people")
						pass(time.Second)
					}
					before := time.Now()
					p.Stop()
					if took := time.Since(before); took > 5*time.Second {
						t.Errorf("it took %s", took)
					}
					if r := w.Record("a"); (r == nil) != (phase == api.PhaseIdle) || r != nil && r.Phase != phase {
						t.Errorf("it has undone something: %+v", r)
					}
				})
			})
		}
	}
}

// An admin replaces the cordon after the boot: it is theirs then, and stays.
func TestACordonThatWasReplacedStays(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		bringTo(t, m, settings{}, api.PhaseVerifying)
		m.Edit(func(n *corev1.Node) { n.Spec.Unschedulable = false })
		m.Edit(func(n *corev1.Node) { n.Spec.Unschedulable = true })
		m.KubeletReports(true, "")
		pass(time.Minute)
		if r := w.Record("a"); r != nil || !m.Node().Spec.Unschedulable {
			t.Errorf("%+v, cordoned %t", r, m.Node().Spec.Unschedulable)
		}
	})
}

// A command that has failed is not tried again while something speaks against the reboot.
func TestWhatSpeaksAgainstARetry(t *testing.T) {
	for name, objects := range map[string]func(*sim.Machine){
		"a hold":              func(m *sim.Machine) { m.Annotate(api.HoldAnnotation, "stop") },
		"a cancelled request": func(m *sim.Machine) { m.RemoveSentinel(sentinelPath) },
		"a lost slot":         func(m *sim.Machine) { m.World.ClearSlot(slot0) },
		"an uncordon":         func(m *sim.Machine) { m.Edit(func(n *corev1.Node) { n.Spec.Unschedulable = false }) },
		"a pause":             func(m *sim.Machine) { m.World.Pause(lockName, "an outage") },
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				bringTo(t, m, settings{}, api.PhaseRebooting)
				first := m.Command()
				first.End(1, "no")
				pass(time.Second)
				objects(m)
				seen := len(w.Journal(0))
				pass(30 * time.Second)
				if m.Command() != first || m.Node().Spec.Unschedulable {
					t.Error("tried again, or not put back")
				}
				for _, e := range w.Journal(seen) {
					if e.Kind == "node" && strings.Contains(e.Text, "the record is written") {
						t.Errorf("ordered again before that was looked at: %s", e.Text)
					}
				}
			})
		})
	}
}

// The watchdog is told by the loop that it turns, and by nobody else.
func TestAliveIsTheLoopsWord(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		block := make(chan struct{})
		blocked := false
		p := start(t, m, settings{change: func(c *daemon.Config, p *sim.Process) {
			c.Status = func(text string) {
				if p.SetStatus(text); strings.HasPrefix(text, "Held") {
					blocked = true
					<-block
				}
			}
		}})
		pass(time.Minute)
		idle := p.Turns()
		pass(time.Minute)
		if p.Turns() < idle+3 {
			t.Errorf("an idle daemon was alive %d times in a minute", p.Turns()-idle)
		}
		m.Annotate(api.HoldAnnotation, "people")
		m.Touch(sentinelPath, "")
		pass(time.Minute)
		stuck := p.Turns()
		pass(10 * time.Minute)
		if !blocked || p.Turns() != stuck {
			t.Errorf("the loop is stuck (%t), and said %d times that it is not", blocked, p.Turns()-stuck)
		}
		close(block)
		pass(time.Minute)
		if p.Turns() == stuck {
			t.Error("the loop does not go on")
		}
	})
}

// Ready says that the sentinel, the boot and the Node have been read.
func TestReady(t *testing.T) {
	for name, c := range map[string]struct {
		hide, show func(*sim.Process, chan sentinel.State)
	}{
		"the Node": {
			func(p *sim.Process, _ chan sentinel.State) { p.Link.Cut() },
			func(p *sim.Process, _ chan sentinel.State) { p.Link.Mend() },
		},
		"the sentinel": {
			func(*sim.Process, chan sentinel.State) {},
			func(_ *sim.Process, states chan sentinel.State) { states <- sentinel.State{} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				states := make(chan sentinel.State, 1)
				if name != "the sentinel" {
					states <- sentinel.State{}
				}
				var d *daemon.Daemon
				p := start(t, m, settings{made: func(x *daemon.Daemon) { d = x }, change: func(cfg *daemon.Config, p *sim.Process) {
					cfg.Sentinels = states
					c.hide(p, states)
				}})
				ready := func() bool {
					select {
					case <-d.Ready():
						return true
					default:
						return false
					}
				}
				pass(time.Minute)
				if ready() {
					t.Error("ready without having read " + name)
				}
				c.show(p, states)
				pass(time.Minute)
				if !ready() {
					t.Error("not ready")
				}
			})
		})
	}
}

// A watch of the Node that ends, or is too old, is taken up again.
func TestTheNodeIsWatchedAgain(t *testing.T) {
	for name, end := range map[string]func(*sim.World, *sim.Process){
		"it ends":                     func(w *sim.World, _ *sim.Process) { w.Nodes.EndWatches() },
		"it ends and is too old then": func(w *sim.World, _ *sim.Process) { w.Nodes.Forget(); w.Nodes.EndWatches() },
		"it is too old":               func(w *sim.World, _ *sim.Process) { w.Nodes.Expire() },
		"it is moved on by a bookmark": func(w *sim.World, _ *sim.Process) {
			w.Nodes.Forget()
			w.Nodes.Bookmark()
			pass(time.Second)
			w.Nodes.EndWatches()
		},
		"the connection is lost": func(_ *sim.World, p *sim.Process) {
			p.Link.Cut()
			pass(time.Minute)
			p.Link.Mend()
		},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				p := start(t, m, settings{})
				pass(time.Minute)
				lists := func() (n int) {
					for _, r := range p.Link.Requests() {
						if r.Verb == "list" && r.Resource == "nodes" {
							n++
						}
					}
					return n
				}
				for range 3 {
					before := lists()
					end(w, p)
					m.Annotate(api.RequestAnnotation, api.RequestReboot)
					m.Annotate(api.HoldAnnotation, "people")
					pass(30 * time.Second)
					if r := w.Record("a"); r == nil {
						t.Fatal("the request was not seen")
					}
					m.Annotate(api.RequestAnnotation, "")
					pass(30 * time.Second)
					if w.Record("a") != nil {
						t.Fatal("that it was withdrawn was not seen")
					}
					if old := strings.Contains(name, "too old"); (lists() > before) != old {
						t.Errorf("listed %d times", lists()-before)
					}
				}
			})
		})
	}
}

// The Node is deleted while the daemon lives: what it holds is not kept up, so that the
// next one gets the slot.
func TestANodeThatIsDeletedKeepsNoSlot(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		next := newOther(t, w)
		bringTo(t, m, settings{nodeLease: "auto"}, api.PhaseDraining)
		m.Leave()
		pass(10 * time.Minute)
		if m.Drain.Running() {
			t.Error("its drain goes on")
		}
		if next.takesWhatIsFree(); !next.held {
			t.Error("its slot is not free")
		}
		renewals := m.Lease.Renewals()
		pass(time.Hour)
		if m.Lease.Renewals() != renewals {
			t.Error("its node lease is kept up")
		}
	})
}

// The API server is away for an hour, in every phase; then things go their way.
func TestTheAPIServerIsAway(t *testing.T) {
	for _, phase := range api.Phases() {
		t.Run(string(phase), func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				p := bringTo(t, m, settings{limit: 3 * time.Hour, nodeLease: "auto"}, phase)
				before := w.Record("a").Phase
				p.Link.Cut()
				pass(time.Hour)
				if !strings.HasPrefix(p.Status(), "APIUnreachable") {
					t.Errorf("people are told: %s", p.Status())
				}
				if r := w.Record("a"); r.Phase != before || phase == api.PhaseDraining && !m.Drain.Running() {
					t.Errorf("%+v", r)
				}
				m.Annotate(api.HoldAnnotation, "")
				w.ClearSlotOf("b")
				p.Link.Mend()
				pass(time.Minute)
				m.Drain.Pods(0)
				pass(time.Minute)
				if c := m.Command(); c != nil {
					m.Boots()
					start(t, m, settings{nodeLease: "auto"})
				}
				m.KubeletReports(true, "")
				pass(2 * time.Minute)
				wantIdle(t, m)
			})
		})
	}
}

// By the drain's own clock: what an earlier start of the daemon has noted is where it goes
// on, and the time between them is not the drain's.
func TestTheDrainsClock(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		s := settings{onLimit: decide.Force}
		p := bringTo(t, m, s, api.PhaseDraining)
		pass(10 * time.Minute)
		p.Kill()
		pass(3 * time.Hour)
		start(t, m, s)
		pass(time.Minute)
		runs := m.Drain.Runs()
		if last := runs[len(runs)-1]; last.Ran < 9*time.Minute || last.Ran > 11*time.Minute || last.Limit != drainTimeout {
			t.Errorf("%+v", last)
		}
		if r := w.Record("a"); r.Phase != api.PhaseDraining {
			t.Errorf("%+v", r)
		}
		pass(20 * time.Minute)
		if m.Command() == nil {
			t.Error("the drain by force has not come to its end")
		}
	})
}

// A dry run changes nothing.
func TestDryRun(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		m.Drain.Pods(0)
		p := start(t, m, settings{dryRun: true, nodeLease: "auto"})
		pass(time.Minute)
		before := m.Node().ResourceVersion
		m.Touch(sentinelPath, "")
		pass(time.Hour)
		if m.Node().ResourceVersion != before || m.Command() != nil || len(w.SlotsOf(lockName, "a")) > 0 || m.Lease.Renewals() > 0 || len(w.Events("a")) > 0 {
			t.Error("a dry run has done something")
		}
		if !strings.HasPrefix(p.Status(), "Rebooting") {
			t.Errorf("it has come to: %s", p.Status())
		}
	})
}

// What is wrong with a sentinel is said in the log, once.
func TestProblemsWithASentinel(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		states := make(chan sentinel.State, 1)
		start(t, m, settings{change: func(c *daemon.Config, _ *sim.Process) { c.Sentinels = states }})
		for range 3 {
			states <- sentinel.State{Problems: []string{"cannot read /run/reboot-needed: permission denied"}}
			pass(time.Minute)
		}
		said := 0
		for _, e := range w.Journal(0) {
			if e.Kind == "log" && strings.Contains(e.Text, `"level":"warn"`) && strings.Contains(e.Text, "permission denied") {
				said++
			}
		}
		if said != 1 {
			t.Errorf("said %d times", said)
		}
	})
}

// An API server that has just started knows no roles yet, and refuses what it allows
// some seconds later. Nothing is undone for that.
func TestRefusedForAMoment(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		bringTo(t, m, settings{}, api.PhaseDraining)
		m.Drain.Pods(0)
		before := w.Record("a").ID
		w.Admit(func(sim.Request) error { return sim.Forbidden("a", "no role says so") })
		pass(8 * time.Second)
		w.Admit(nil)
		pass(5 * time.Second)
		r := w.Record("a")
		if r == nil || r.Phase != api.PhaseRebooting || r.ID != before || r.Attempts != 0 {
			t.Errorf("after eight seconds of refusals the record is %+v", r)
		}
	})
}

// The API server is away in the moment in which the node was put back, and the answer is
// lost; then the reboot is asked for again. As far as the daemon knows the node is still cordoned; it drains nothing
// before it knows better.
func TestNothingIsDrainedWhileTheNodeIsPutBack(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		p := start(t, m, settings{})
		p.Link.DelayEvents(func() time.Duration { return 3 * time.Second }) // so that the last one is lost, too
		pass(time.Minute)
		m.Touch(sentinelPath, "")
		pass(20 * time.Second)
		runs := len(m.Drain.Runs())
		if r := w.Record("a"); r == nil || r.Phase != api.PhaseDraining || runs != 1 {
			t.Fatalf("%+v, %d drains", r, runs)
		}
		p.Link.Meet(func(r sim.Request) sim.Fate {
			if r.Verb == "patch" && strings.Contains(r.Body, `"unschedulable":null`) {
				return sim.Fate{AnswerLost: true, Then: p.Link.Cut}
			}
			return sim.Fate{}
		})
		m.RemoveSentinel(sentinelPath)
		pass(5 * time.Second)
		if m.Node().Spec.Unschedulable {
			t.Fatal("the node is not put back")
		}
		m.Touch(sentinelPath, "again")
		pass(10 * time.Second)
		if n := len(m.Drain.Runs()); n != runs || m.Drain.Running() {
			t.Errorf("%d drains were begun on a node that is not cordoned", n-runs)
		}
	})
}
