package page

import (
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/cmd/kubectl-rebootd/roll"
	"rebootd.dev/daemon/api"
)

// now is a Saturday morning.
var now = time.Date(2026, 11, 28, 6, 0, 0, 0, time.UTC)

var berlin = func() *time.Location {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		panic(err)
	}
	return zone
}()

var options = Options{Title: "CHG-4711: kernel update of the production cluster", Version: "v1.2.0", Clock: roll.Clock{Zone: berlin}}

const (
	oldKernel = "6.12.48+deb13-amd64"
	newKernel = "6.12.57+deb13-amd64"
)

// night is a roll that is made up: nodes one after the other, slots at once.
type night struct {
	name   func(i int) string
	nodes  int // of which rebooted
	begun  int // have rebooted; the others wait
	slots  int
	from   time.Time
	change func(i int, s *api.Summary)
}

// dice are numbers that look like chance, and are always the same.
type dice uint32

func (d *dice) roll(n int) int {
	*d = *d*1664525 + 1013904223
	return int(uint32(*d)>>8) % n
}

func (n night) build() (out []fleet.Node) {
	d := dice(7)
	free := make([]time.Time, n.slots)
	for i := range free {
		free[i] = n.from.Add(time.Duration(i*20) * time.Second)
	}
	for i := range n.nodes {
		if i >= n.begun {
			out = append(out, nodeOf(n.name(i), nil, waiting(n.name(i), n.from)))
			continue
		}
		slot := i % n.slots
		s := api.Summary{
			ID: fmt.Sprintf("20261127T2100-%d", i), Request: "/run/reboot-needed since 2026-11-27T09:12:44Z", Result: api.ReasonRebootVerified,
			Requested: n.from.Add(-11*time.Hour - time.Duration(d.roll(3600))*time.Second), Queued: n.from.Add(time.Duration(d.roll(30)) * time.Second),
			Cordoned: free[slot].Add(4 * time.Second), BootID: "b1", NewBootID: "b2", Kernel: oldKernel, NewKernel: newKernel,
			Totals: map[api.Outcome]int{api.OutcomeDrained: 4 + d.roll(9), api.OutcomeRelocated: 6 + d.roll(14), api.OutcomeSkipped: 7},
		}
		if s.Queued.After(s.Cordoned) {
			s.Queued = s.Cordoned
		}
		s.Drained = s.Cordoned.Add(time.Duration(40+d.roll(150)) * time.Second)
		s.Ordered = s.Drained.Add(2 * time.Second)
		s.Back = s.Ordered.Add(time.Duration(55+d.roll(50)) * time.Second)
		s.Ended = s.Back.Add(time.Duration(8+d.roll(40)) * time.Second)
		if n.change != nil {
			n.change(i, &s)
		}
		free[slot] = s.Ended.Add(2 * time.Second)
		out = append(out, nodeOf(n.name(i), []api.Summary{s}))
	}
	return out
}

func short(i int) string { return fmt.Sprintf("worker-%02d", i+1) }

func long(i int) string {
	return fmt.Sprintf("ip-10-42-%d-%d.eu-central-1.compute.internal", i/100, 10+i%100)
}

func nodeOf(name string, summaries []api.Summary, change ...func(*corev1.Node)) fleet.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{}}}
	n.Status.NodeInfo = corev1.NodeSystemInfo{KernelVersion: newKernel, BootID: "b2"}
	if len(summaries) > 0 {
		annotate(n, api.HistoryAnnotation, api.History{V: api.HistorySchema, Operations: summaries})
	}
	for _, c := range change {
		c(n)
	}
	return fleet.NodeOf(n)
}

func annotate(n *corev1.Node, key string, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	n.Annotations[key] = string(data)
}

func recorded(r api.Record, message string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Status.NodeInfo = corev1.NodeSystemInfo{KernelVersion: oldKernel, BootID: "b1"}
		n.Status.Conditions = []corev1.NodeCondition{{Type: api.RebootRequired, Status: corev1.ConditionTrue, Reason: string(r.Phase), Message: message}}
		r.V, r.ID, r.BootID, r.Kernel = api.Schema, "now", "b1", oldKernel
		annotate(n, api.OperationAnnotation, &r)
	}
}

func waiting(name string, since time.Time) func(*corev1.Node) {
	return recorded(api.Record{Phase: api.PhaseQueued, Since: since, Requested: since.Add(-time.Hour)}, "waiting for a slot; "+name)
}

// samples are rolls to look at.
var samples = map[string]func() []fleet.Node{
	"empty": func() []fleet.Node { return night{name: short, nodes: 3, slots: 1}.none() },
	"three": func() []fleet.Node {
		return night{name: short, nodes: 3, begun: 3, slots: 1, from: time.Date(2026, 11, 27, 21, 0, 0, 0, time.UTC)}.build()
	},
	"forty": func() []fleet.Node {
		return night{name: short, nodes: 40, begun: 40, slots: 2, from: time.Date(2026, 11, 27, 21, 0, 0, 0, time.UTC), change: mishaps}.build()
	},
	"halted": func() []fleet.Node {
		from := time.Date(2026, 11, 28, 4, 0, 0, 0, time.UTC)
		nodes := night{name: short, nodes: 40, begun: 11, slots: 2, from: from}.build()
		cordoned := from.Add(27 * time.Minute)
		nodes[11] = nodeOf(short(11), nil, recorded(api.Record{
			Phase: api.PhaseHalted, Since: cordoned.Add(15 * time.Minute), Requested: from.Add(-9 * time.Hour), Cordoned: true,
			Times:   &api.Times{Queued: from, Cordoned: cordoned, Drained: cordoned.Add(2 * time.Minute), Back: cordoned.Add(4 * time.Minute), Halted: cordoned.Add(15 * time.Minute)},
			Order:   &api.Order{At: cordoned.Add(2*time.Minute + 3*time.Second)},
			Failure: &api.Failure{Reason: api.ReasonUnhealthy, Message: "the node is not Ready 10m0s after the boot: container runtime network not ready: cni plugin not initialized"},
		}, "halted"))
		nodes[12] = nodeOf(short(12), nil, recorded(api.Record{
			Phase: api.PhaseDraining, Since: now.Add(-41 * time.Minute), Requested: from.Add(-9 * time.Hour), Cordoned: true, Attempts: 1,
			Times:   &api.Times{Queued: from, Cordoned: now.Add(-41 * time.Minute)},
			Failure: &api.Failure{Reason: api.ReasonDrainTimedOut, Message: "2 pods were still there after 30m0s: shop/db-0, shop/db-1: their budget shop/db allows no eviction"},
		}, "2 pods cannot be evicted: shop/db-0: its budget allows no eviction"))
		return nodes
	},
	"large": func() []fleet.Node {
		return night{name: long, nodes: 300, begun: 300, slots: 5, from: time.Date(2026, 11, 27, 21, 0, 0, 0, time.UTC), change: mishaps}.build()
	},
	"nights": func() (nodes []fleet.Node) {
		for i := range 5 {
			nodes = append(nodes, night{
				name: func(j int) string { return fmt.Sprintf("rack-%d-%d", i+1, j+1) }, nodes: 4, begun: 4, slots: 1,
				from: time.Date(2026, 11, 23+i, 21, 0, 0, 0, time.UTC),
			}.build()...)
		}
		return append(nodes, nodeOf("rack-9-1", nil, func(n *corev1.Node) { // an older version
			annotate(n, api.ReportAnnotation, &api.Report{
				V: 1, ID: "old", Started: now.Add(-4 * time.Hour), Finished: now.Add(-4*time.Hour + 3*time.Minute), Totals: map[api.Outcome]int{api.OutcomeDrained: 9},
				Past: &api.Past{Verified: now.Add(-4*time.Hour + 6*time.Minute), DownSeconds: 75, Reboot: api.Durations{Last: 170, Sum: 170}},
			})
		}), nodeOf("rack-9-2", nil, func(n *corev1.Node) { n.Annotations[api.HistoryAnnotation] = `{"v":7}` }))
	},
	"hostile": func() []fleet.Node { return hostile(evil) },
}

func (n night) none() (out []fleet.Node) {
	for i := range n.nodes {
		out = append(out, nodeOf(n.name(i), nil))
	}
	return out
}

// mishaps happen in a night.
func mishaps(i int, s *api.Summary) {
	switch i {
	case 6: // slow
		s.Drained = s.Drained.Add(14 * time.Minute)
		s.Totals[api.OutcomeForceStopped] = 2
		s.Pods = []api.SummaryPod{
			{Namespace: "shop", Name: "db-0", Outcome: api.OutcomeForceStopped, Reason: api.PodBudgetNeverAllows},
			{Namespace: "shop", Name: "db-1", Outcome: api.OutcomeForceStopped, Reason: api.PodUnhealthySiblings},
		}
	case 13:
		s.Totals[api.OutcomeFailed] = 1
		s.Pods = []api.SummaryPod{{Namespace: "batch", Name: "nightly-report-28931-x7k2p", Outcome: api.OutcomeFailed, Reason: api.PodTerminating}}
	case 21:
		s.Attempts = 2
		s.Failure = &api.Failure{Reason: api.ReasonDrainTimedOut, Message: "1 pod was still there after 15m0s: logging/loki-0: its budget logging/loki allows no eviction"}
	case 25: // came back late
		s.Back = s.Back.Add(13 * time.Minute)
		s.Halted = s.Ordered.Add(10 * time.Minute)
		s.Failure = &api.Failure{Reason: api.ReasonRebootOverdue, Message: "the machine is still up 10m0s after the reboot was ordered"}
	case 30:
		s.Result, s.Message = api.ReasonCancelled, "the sentinel /run/reboot-needed was removed"
		s.Ordered, s.Back, s.NewBootID, s.NewKernel = time.Time{}, time.Time{}, "", ""
		s.Ended = s.Drained.Add(5 * time.Second)
	default:
		return
	}
	if !s.Back.IsZero() {
		s.Ordered = latest(s.Ordered, s.Drained.Add(2*time.Second))
		s.Back = latest(s.Back, s.Ordered.Add(70*time.Second))
		s.Ended = latest(s.Ended, s.Back.Add(20*time.Second))
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// evil is a word that does what words can do.
const evil = `</style></script><script>document.title="owned"</script><img src="http://192.0.2.1/x.png" onerror="document.title='owned'">"'&<!--` + "\x1b[2J\u202eDROP\u2066 {{.}} javascript:alert(1)"

// hostile is a roll with a word wherever somebody's words come in.
func hostile(word string) []fleet.Node {
	s := api.Summary{
		ID: word, Request: word, Result: api.Reason(word), Message: word, Requested: now.Add(-3 * time.Hour), Queued: now.Add(-2 * time.Hour),
		Cordoned: now.Add(-time.Hour), Drained: now.Add(-50 * time.Minute), Ordered: now.Add(-49 * time.Minute), Back: now.Add(-45 * time.Minute), Ended: now.Add(-44 * time.Minute),
		Failure: &api.Failure{Reason: api.Reason(word), Message: word}, Level: api.Level(word), BootID: word, NewBootID: word + "2", Kernel: word, NewKernel: word + "2",
		Halted: now.Add(-48 * time.Minute), Attempts: 3,
		Totals: map[api.Outcome]int{api.Outcome(word): 3, api.OutcomeForceStopped: 2, api.OutcomeFailed: 1, api.OutcomeDrained: 5},
		Pods: []api.SummaryPod{
			{Namespace: word, Name: word, Outcome: api.OutcomeForceStopped, Reason: api.PodReason(word)},
			{Namespace: word, Name: word, Outcome: api.OutcomeFailed, Reason: api.PodReason(word)},
			{Namespace: word, Name: word, Outcome: api.Outcome(word), Reason: api.PodReason(word)},
		},
	}
	verified := s
	verified.ID, verified.Result = word+"3", api.ReasonRebootVerified
	return []fleet.Node{
		nodeOf(word+".example", []api.Summary{s}, func(n *corev1.Node) { n.Status.NodeInfo = corev1.NodeSystemInfo{KernelVersion: word, BootID: word} }),
		nodeOf("b"+word+".example", []api.Summary{verified}),
		nodeOf("c"+word+".example", nil, recorded(api.Record{
			Phase: api.PhaseHalted, Since: now.Add(-time.Hour), Requested: now.Add(-2 * time.Hour), Request: word, Failure: &api.Failure{Reason: api.ReasonUnhealthy, Message: word},
			Order: &api.Order{At: now.Add(-90 * time.Minute), By: word}, Cordoned: true,
		}, word)),
		nodeOf(word, nil, func(n *corev1.Node) { n.Annotations[api.HistoryAnnotation] = word }),
	}
}

func sample(name string) roll.Roll {
	since := now.Add(-24 * time.Hour)
	if name == "nights" {
		since = now.Add(-7 * 24 * time.Hour)
	}
	return roll.Build(samples[name](), since, now)
}
