package daemon_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/sim"
	"rebootd.dev/reboot"
)

// historyOf is the history on a machine's Node.
func historyOf(t testing.TB, m *sim.Machine) *api.History {
	t.Helper()
	text := m.Node().Annotations[api.HistoryAnnotation]
	if text == "" {
		return new(api.History)
	}
	h, err := api.ParseHistory([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// inWords is a summary in words: how far it came, in which order, and what came of it.
func inWords(s api.Summary) string {
	var steps []string
	var last time.Time
	for _, x := range []struct {
		what string
		at   time.Time
	}{{"requested", s.Requested}, {"queued", s.Queued}, {"cordoned", s.Cordoned}, {"drained", s.Drained}, {"ordered", s.Ordered}, {"back", s.Back}, {"ended", s.Ended}} {
		if x.at.IsZero() {
			continue
		}
		if x.at.Before(last) {
			steps = append(steps, "BACK IN TIME:")
		}
		last, steps = x.at, append(steps, x.what)
	}
	out := fmt.Sprintf("%s: %s", s.Result, strings.Join(steps, " "))
	if !s.Halted.IsZero() {
		out += "; halted"
	}
	if s.Failure != nil {
		out += "; failure " + string(s.Failure.Reason)
	}
	for _, n := range []struct {
		what string
		n    int
	}{{"attempts", s.Attempts}, {"deferrals", s.Deferrals}, {"drained", s.Totals[api.OutcomeDrained]}, {"force-stopped", s.Totals[api.OutcomeForceStopped]}} {
		if n.n > 0 {
			out += fmt.Sprintf("; %d %s", n.n, n.what)
		}
	}
	return fmt.Sprintf("%s; %s, %s; %s, %s", out, s.BootID, s.NewBootID, s.Kernel, s.NewKernel)
}

// What the history of a node tells of an operation, however that ends.
func TestHistory(t *testing.T) {
	verify := func(_ *testing.T, m *sim.Machine, _ settings) { m.KubeletReports(true, "") }
	boots := func(t *testing.T, m *sim.Machine, s settings) {
		m.Boots()
		start(t, m, s)
		pass(10 * time.Second)
		m.KubeletReports(true, "")
	}
	for name, c := range map[string]struct {
		phase  api.Phase
		s      settings
		does   func(t *testing.T, m *sim.Machine, s settings)
		want   string
		counts map[string]float64
	}{
		"rebooted": {
			api.PhaseVerifying,
			settings{},
			verify,
			"RebootVerified: requested queued cordoned drained ordered back ended; 4 drained; boot-1-a, boot-2-a; of boot-1-a, of boot-2-a",
			map[string]float64{"pods_total{drained}": 4, "pods_total{skipped}": 2, "pods_total{failed}": 0, "reboots_total": 1, "operations_total{RebootVerified}": 1},
		},
		"without a drain": {
			api.PhaseVerifying,
			settings{noDrain: true},
			verify,
			"RebootVerified: requested queued cordoned ordered back ended; boot-1-a, boot-2-a; of boot-1-a, of boot-2-a",
			map[string]float64{"pods_total{drained}": 0, "reboots_total": 1},
		},
		"withdrawn in the queue": {
			api.PhaseQueued,
			settings{},
			func(_ *testing.T, m *sim.Machine, _ settings) { m.RemoveSentinel(sentinelPath) },
			"Cancelled: requested queued ended; boot-1-a, ; of boot-1-a, of boot-1-a",
			map[string]float64{"pods_total{drained}": 0, "reboots_total": 0, "operations_total{Cancelled}": 1},
		},
		"withdrawn while it waits": {
			api.PhaseWaiting,
			settings{},
			func(_ *testing.T, m *sim.Machine, _ settings) { m.RemoveSentinel(sentinelPath) },
			"Cancelled: requested ended; boot-1-a, ; of boot-1-a, of boot-1-a", nil,
		},
		"rebooted by other means in the queue": {
			api.PhaseQueued,
			settings{},
			boots,
			"Cancelled: requested queued ended; boot-1-a, boot-2-a; of boot-1-a, ", nil, // the kubelet has not reported yet
		},
		"aborted while it drains": {
			api.PhaseDraining,
			settings{},
			func(_ *testing.T, m *sim.Machine, _ settings) { m.Annotate(api.AbortAnnotation, "wrong node") },
			"Aborted: requested queued cordoned ended; boot-1-a, ; of boot-1-a, of boot-1-a",
			map[string]float64{"reboots_total": 0},
		},
		"not drained, and then": {
			api.PhaseDraining,
			settings{limit: time.Minute},
			func(t *testing.T, m *sim.Machine, s settings) {
				m.Drain.Blocked("db-0")
				pass(90 * time.Second)
				m.Drain.Pods(0)
				pass(2 * time.Minute)
				boots(t, m, s)
			},
			"RebootVerified: requested queued cordoned drained ordered back ended; failure DrainTimedOut; 1 attempts; 4 drained; boot-1-a, boot-2-a; of boot-1-a, of boot-2-a", nil,
		},
		"not drained, and withdrawn": {
			api.PhaseDraining,
			settings{limit: time.Minute},
			func(t *testing.T, m *sim.Machine, s settings) {
				m.Drain.Blocked("db-0")
				pass(90 * time.Second)
				m.RemoveSentinel(sentinelPath)
			},
			"Cancelled: requested queued cordoned ended; failure DrainTimedOut; 1 attempts; boot-1-a, ; of boot-1-a, of boot-1-a", nil,
		},
		"drained by force": {
			api.PhaseDraining,
			settings{limit: time.Minute, onLimit: decide.Force},
			func(t *testing.T, m *sim.Machine, s settings) {
				m.Drain.Blocked("db-0")
				pass(2 * time.Minute)
				boots(t, m, s)
			},
			"RebootVerified: requested queued cordoned drained ordered back ended; 4 drained; 4 force-stopped; boot-1-a, boot-2-a; of boot-1-a, of boot-2-a",
			map[string]float64{"pods_total{force-stopped}": 4},
		},
		"late": {
			api.PhaseRebooting,
			settings{},
			func(t *testing.T, m *sim.Machine, s settings) {
				m.Command().End(0, "")
				pass(rebootTimeout + time.Minute)
				boots(t, m, s)
			},
			"RebootVerified: requested queued cordoned drained ordered back ended; halted; failure RebootOverdue; 4 drained; boot-1-a, boot-2-a; of boot-1-a, of boot-2-a",
			map[string]float64{"reboots_total": 1, "pods_total{drained}": 4},
		},
		"unhealthy for long": {
			api.PhaseVerifying,
			settings{},
			func(t *testing.T, m *sim.Machine, _ settings) {
				m.KubeletReports(false, "PLEG")
				pass(healthTimeout + time.Minute)
				m.KubeletReports(true, "")
			},
			"RebootVerified: requested queued cordoned drained ordered back ended; halted; failure Unhealthy; 4 drained; boot-1-a, boot-2-a; of boot-1-a, of boot-2-a", nil,
		},
		"unhealthy, and given up": {
			api.PhaseVerifying,
			settings{},
			func(t *testing.T, m *sim.Machine, _ settings) {
				pass(healthTimeout + time.Minute)
				m.Annotate(api.AbortAnnotation, "replaced by hand")
			},
			"Aborted: requested queued cordoned drained ordered back ended; halted; failure Unhealthy; 4 drained; boot-1-a, boot-2-a; of boot-1-a, ",
			map[string]float64{"reboots_total": 1, "operations_total{RebootVerified}": 0},
		},
		"a clock without a battery": {
			api.PhaseRebooting,
			settings{},
			func(t *testing.T, m *sim.Machine, s settings) {
				m.Boots()
				m.SetClock(time.Unix(30, 0))
				start(t, m, s)
				pass(10 * time.Second)
				m.SetClock(time.Now())
				m.KubeletReports(true, "")
			},
			"RebootVerified: requested queued cordoned drained ordered ended; 4 drained; boot-1-a, boot-2-a; of boot-1-a, of boot-2-a", nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				_, s := metricsOf(t, c.s)
				bringTo(t, m, c.s, c.phase)
				record := w.Record("a")
				c.does(t, m, c.s)
				pass(time.Minute)
				wantIdle(t, m)
				h := historyOf(t, m)
				if len(h.Operations) != 1 || h.Operations[0].ID != record.ID {
					t.Fatalf("%+v", h)
				}
				got := h.Operations[0]
				if diff := cmp.Diff(c.want, inWords(got)); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if got.Message == "" || time.Since(got.Ended).Abs() > 2*time.Minute {
					t.Errorf("%+v", got)
				}
				x, s := metricsOf(t, s) // a new start
				start(t, m, s)
				pass(time.Minute)
				x.want(c.counts)
			})
		})
	}
}

// The daemon is killed at any write of an operation, before, after and while it is under way,
// or its answer is lost: the history has it once in the end, and the counters count it once.
func TestHistorySurvivesEveryWrite(t *testing.T) {
	fates := map[string]func(m *sim.Machine, p *sim.Process) sim.Fate{
		"killed before it":   func(_ *sim.Machine, p *sim.Process) sim.Fate { p.Kill(); return sim.Fate{RequestLost: true} },
		"killed after it":    func(_ *sim.Machine, p *sim.Process) sim.Fate { return sim.Fate{Then: p.Kill} },
		"its answer is lost": func(*sim.Machine, *sim.Process) sim.Fate { return sim.Fate{AnswerLost: true} },
		"it is lost":         func(*sim.Machine, *sim.Process) sim.Fate { return sim.Fate{RequestLost: true} },
		"the server is away": func(*sim.Machine, *sim.Process) sim.Fate {
			return sim.Fate{Refused: apierrors.NewServiceUnavailable("away")}
		},
		"the Node has changed": func(m *sim.Machine, _ *sim.Process) sim.Fate { m.Annotate("example.com/x", "y"); return sim.Fate{} },
	}
	for name, fate := range fates {
		writes := 0
		for k := 1; k == 1 || k <= writes; k++ {
			t.Run(fmt.Sprintf("write %d: %s", k, name), func(t *testing.T) {
				writes = max(writes, historyWith(t, k, fate))
			})
		}
		if writes < 5 {
			t.Errorf("%d writes were met", writes)
		}
	}
}

// historyWith lets the k-th write of a reboot meet its fate, and returns how many there were.
func historyWith(t *testing.T, k int, fate func(*sim.Machine, *sim.Process) sim.Fate) (writes int) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		m.Drain.Takes(func() time.Duration { return 10 * time.Second })
		m.OnCommand = func(c *sim.Command) error {
			c.End(0, "")
			time.AfterFunc(5*time.Second, m.GoesDown)
			return nil
		}
		run := func() {
			p := start(t, m, settings{})
			p.Link.Meet(func(r sim.Request) sim.Fate {
				if r.DryRun || r.Resource != "nodes" || r.Verb != "patch" {
					return sim.Fate{}
				}
				if writes++; writes == k {
					return fate(m, p)
				}
				return sim.Fate{}
			})
			pass(2 * time.Minute)
			if p.Dead() && m.Up() {
				start(t, m, settings{})
				pass(20 * time.Minute)
			}
		}
		m.Touch(sentinelPath, "kernel")
		run()
		if m.Up() {
			t.Fatal("the machine is up")
		}
		m.Boots()
		m.KubeletReports(true, "")
		run()
		wantIdle(t, m)
		if h := historyOf(t, m); len(h.Operations) != 1 || h.Operations[0].Result != api.ReasonRebootVerified || h.Operations[0].Totals[api.OutcomeDrained] != 4 || strings.Contains(inWords(h.Operations[0]), "BACK") {
			t.Errorf("%+v", h)
		}
		x, s := metricsOf(t, settings{})
		start(t, m, s)
		pass(time.Minute)
		x.want(map[string]float64{"pods_total{drained}": 4, "reboots_total": 1, "operations_total{RebootVerified}": 1})
	})
	return writes
}

// rebootOnce brings a node through a whole reboot.
func rebootOnce(t *testing.T, m *sim.Machine, s settings) {
	t.Helper()
	m.Drain.Pods(4)
	p := bringTo(t, m, s, api.PhaseVerifying)
	m.KubeletReports(true, "")
	pass(5 * time.Second)
	p.Kill()
	m.RemoveSentinel(sentinelPath)
}

// What the history already has stays, what newer versions have added included; what nobody
// can read is replaced, and a newer version's history left alone. Either is said once.
func TestHistoryThatIsThere(t *testing.T) {
	const earlier = `{"v":1,"later":{"a":[1]},"operations":[{"id":"old","result":"Cancelled","ended":"2000-01-01T00:00:00Z","later":"b"}]}`
	for text, want := range map[string]struct {
		kept, said string
		n          int
	}{
		"": {n: 3}, earlier: {kept: `"later":`, n: 4}, "no JSON": {said: "replacing it", n: 3}, `{"v":1,"operations":3}`: {said: "replacing it", n: 3},
		`{"v":2,"operations":{"of":"another kind"}}`: {kept: `"another kind"`, said: "leaving it as it is"},
	} {
		t.Run(text, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				m.Annotate(api.HistoryAnnotation, text)
				for range 3 {
					rebootOnce(t, m, settings{})
				}
				is := m.Node().Annotations[api.HistoryAnnotation]
				if !strings.Contains(is, want.kept) {
					t.Errorf("%s lacks %s", is, want.kept)
				}
				if want.n > 0 && len(historyOf(t, m).Operations) != want.n {
					t.Errorf("%s", is)
				}
				said := 0
				for _, e := range w.Journal(0) {
					if e.Kind == "log" && strings.Contains(e.Text, "the history on the Node cannot be read") {
						if said++; !strings.Contains(e.Text, want.said) {
							t.Error(e.Text)
						}
					}
				}
				most := map[string]int{"": 0, "replacing it": 1, "leaving it as it is": 3}[want.said] // once a start
				if said != most {
					t.Errorf("said %d times, want %d", said, most)
				}
			})
		})
	}
}

// What keeps coming to nothing beside a newer version's history is told once by a start.
func TestANewerHistoryIsToldOnce(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		m.Annotate(api.HistoryAnnotation, `{"v":2}`)
		m.Annotate(api.HoldAnnotation, "people")
		start(t, m, settings{})
		for range 3 {
			pass(time.Minute)
			m.Touch(sentinelPath, "")
			pass(time.Minute)
			m.RemoveSentinel(sentinelPath)
		}
		pass(time.Minute)
		said := 0
		for _, e := range w.Journal(0) {
			if e.Kind == "log" && strings.Contains(e.Text, "the history on the Node cannot be read") {
				said++
			}
		}
		if wantIdle(t, m); said != 1 {
			t.Errorf("said %d times", said)
		}
	})
}

// A node that is drained, and waits for a gate before the order, was drained before that.
func TestHistoryOfAWaitBeforeTheOrder(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		bringTo(t, m, settings{}, api.PhaseDraining)
		m.Logind.Set(func(x *reboot.Shutdown) { x.Inhibited = "dpkg" })
		m.Drain.Pods(0)
		pass(10 * time.Minute)
		m.Logind.Set(func(x *reboot.Shutdown) { x.Inhibited = "" })
		pass(time.Minute)
		m.Boots()
		start(t, m, settings{})
		pass(10 * time.Second)
		m.KubeletReports(true, "")
		pass(time.Minute)
		s := historyOf(t, m).Operations[0]
		if waited := s.Ordered.Sub(s.Drained); waited < 9*time.Minute || waited > 11*time.Minute {
			t.Errorf("drained at %s and ordered at %s", s.Drained, s.Ordered)
		}
	})
}

// What comes to nothing again and again does not push a reboot out of the history, which has
// ten operations at most.
func TestHistoryHasTen(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		rebootOnce(t, m, settings{})
		first := historyOf(t, m).Operations[0].ID
		start(t, m, settings{})
		m.Annotate(api.HoldAnnotation, "people")
		pass(time.Minute)
		for range 15 {
			m.Touch(sentinelPath, "")
			pass(time.Minute)
			m.RemoveSentinel(sentinelPath)
			pass(time.Minute)
		}
		h := historyOf(t, m)
		if n := len(h.Operations); n != api.MaxSummaries || h.Operations[n-1].ID != first {
			t.Errorf("%d: the reboot has given way to what came to nothing: %+v", n, h)
		}
	})
}

// An admission policy that is older than the annotation keeps no operation from its end, and
// people are not told that anything is refused.
func TestHistoryUnderAnOlderPolicy(t *testing.T) {
	for name, refuses := range map[string]func(sim.Request) bool{
		"of the annotation": func(r sim.Request) bool { return strings.Contains(r.Body, api.HistoryAnnotation) },
		"of served, too": func(r sim.Request) bool {
			return strings.Contains(r.Body, api.HistoryAnnotation) || strings.Contains(r.Body, api.ServedAnnotation)
		},
		"of everything": func(r sim.Request) bool { return true },
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *sim.World) {
				m := w.AddMachine("a")
				bringTo(t, m, settings{}, api.PhaseVerifying)
				refused := 0
				w.Admit(func(r sim.Request) error {
					if !refuses(r) {
						return nil
					}
					refused++
					return sim.Forbidden("a", "ValidatingAdmissionPolicy 'rebootd-own-node' with binding 'rebootd-own-node' denied request: rebootd may change no annotation of its node except its own")
				})
				m.KubeletReports(true, "")
				pass(2 * time.Second)
				said := func(what string) (n int) {
					for _, e := range w.Journal(0) {
						if e.Kind == "log" && strings.Contains(e.Text, what) {
							n++
						}
					}
					return n
				}
				if name == "of the annotation" {
					if wantIdle(t, m); refused != 1 || said("refuses annotations of this version") != 1 || said("a step failed")+said("refuses the step") > 0 {
						t.Errorf("refused %d times", refused)
					}
					return
				}
				pass(10 * time.Minute)
				w.Admit(nil)
				pass(time.Hour)
				wantIdle(t, m)
				if n := len(historyOf(t, m).Operations); (n == 1) != (name == "of everything") {
					t.Errorf("%d operations", n)
				}
			})
		})
	}
}

// A record that nobody can read has no history of its own, and one of another Node is not
// taken over.
func TestHistoryOfNothing(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		rebootOnce(t, m, settings{})
		start(t, m, settings{})
		m.Annotate(api.OperationAnnotation, `{"v":2}`)
		pass(time.Minute)
		m.Annotate(api.AbortAnnotation, "downgraded")
		pass(time.Minute)
		if h := historyOf(t, m); len(h.Operations) != 1 || h.Operations[0].Result != api.ReasonRebootVerified {
			t.Errorf("%+v", h)
		}
		m.Leave()
		pass(time.Minute)
		m.Join()
		pass(time.Minute)
		m.Touch(sentinelPath, "")
		m.Annotate(api.HoldAnnotation, "people")
		pass(time.Minute)
		m.RemoveSentinel(sentinelPath)
		pass(5 * time.Minute)
		if h := historyOf(t, m); len(h.Operations) != 1 || h.Operations[0].Result != api.ReasonCancelled {
			t.Errorf("%+v", h)
		}
	})
}

// An older version has driven the operation halfway: it keeps what it does not know, and what
// it has not noted is not told.
func TestHistoryAfterAnOlderVersion(t *testing.T) {
	simulate(t, func(t *testing.T, w *sim.World) {
		m := w.AddMachine("a")
		p := bringTo(t, m, settings{}, api.PhaseDraining)
		p.Kill()
		var fields map[string]any
		if err := json.Unmarshal([]byte(m.Node().Annotations[api.OperationAnnotation]), &fields); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		// It fails, begins anew, and orders.
		now := time.Now().UTC()
		fields["phase"], fields["since"], fields["attempts"] = "Rebooting", now, 1
		fields["order"] = map[string]any{"at": now, "uptimeMillis": 3600_000, "by": "older", "try": 1, "accepted": true}
		data, _ := json.Marshal(fields)
		m.Annotate(api.OperationAnnotation, string(data))
		m.Boots()
		start(t, m, settings{})
		pass(10 * time.Second)
		m.KubeletReports(true, "")
		pass(time.Minute)
		h := historyOf(t, m)
		if diff := cmp.Diff("RebootVerified: requested queued ordered back ended; 1 attempts; boot-1-a, boot-2-a; of boot-1-a, of boot-2-a", inWords(h.Operations[0])); diff != "" {
			t.Error(diff)
		}
	})
}
