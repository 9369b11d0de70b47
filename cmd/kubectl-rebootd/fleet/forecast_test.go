package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/window/zones"
)

// now is a Saturday night; in Berlin it is 2:30, an hour and a half before windows close.
var now = time.Date(2026, 11, 28, 1, 30, 0, 0, time.UTC)

// node is a Node with a record, a status and a past, which options change.
type node struct {
	corev1.Node
	record *api.Record
	status *api.Status
	past   *api.Past
}

func newNode(name string, phase api.Phase, since time.Duration, change ...func(*node)) *node {
	n := &node{
		Node:   corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "u", Annotations: map[string]string{}}},
		record: &api.Record{V: 1, ID: "op-" + name, Phase: phase, Since: now.Add(-since), BootID: "b", Requested: now.Add(-since - time.Minute), Lock: "rebootd"},
		past:   &api.Past{},
	}
	n.status = &api.Status{V: 1, ID: n.record.ID, Phase: phase, Reason: api.ReasonQueued, Slots: 1}
	n.Status.Conditions = []corev1.NodeCondition{{Type: api.RebootRequired, Status: "True", Reason: "Reason", Message: "the message of " + name}}
	for range 3 {
		n.past.Drain.Add(6 * time.Minute)
		n.past.Reboot.Add(4 * time.Minute)
	}
	switch phase {
	case api.PhaseHalted:
		n.record.Failure = &api.Failure{Reason: api.ReasonUnhealthy, Message: "not healthy"}
	case api.PhaseRebooting, api.PhaseVerifying:
		n.record.Order = &api.Order{At: n.record.Since}
	}
	for _, c := range change {
		c(n)
	}
	return n
}

func (n *node) build() Node {
	set := func(key string, v any) {
		data, err := json.Marshal(v)
		if err != nil {
			panic(err)
		}
		n.Annotations[key] = string(data)
	}
	if n.record != nil {
		set(api.OperationAnnotation, n.record)
	}
	if n.status != nil {
		set(api.StatusAnnotation, n.status)
	}
	if n.past != nil {
		set(api.ReportAnnotation, &api.Report{V: 1, ID: "old", Past: n.past})
	}
	return NodeOf(&n.Node)
}

// unreadable has a record that its daemon cannot read.
func unreadable(n *node) { n.record.V, n.Status.Conditions[0].Status = 99, "Unknown" }

func windows(specs ...string) func(*node) { return func(n *node) { n.status.Windows = specs } }

func closed(name string, why string, until time.Time, soft bool) func(*node) {
	return func(n *node) {
		n.status.Reason = api.ReasonBlocked
		n.status.Gates = append(n.status.Gates, api.GateStatus{Name: name, State: api.GateClosed, Why: why, Until: until, Soft: soft})
	}
}

func annotated(key, value string) func(*node) { return func(n *node) { n.Annotations[key] = value } }
func slotsAre(k int) func(*node)              { return func(n *node) { n.status.Slots = k } }
func zoneIs(z string) func(*node)             { return func(n *node) { n.status.Zone = z } }
func controlPlane(n *node)                    { n.Labels = map[string]string{api.ControlPlaneLabel: ""} }
func neverRebooted(n *node)                   { n.past = nil }
func older(n *node)                           { n.status = nil }
func due(in time.Duration) func(*node)        { return func(n *node) { n.record.Deadline = now.Add(in) } }

func notBefore(in time.Duration) func(*node) {
	return func(n *node) { n.record.NotBefore = now.Add(in); n.status.Reason = api.ReasonDrainTimedOut }
}

func slower(n *node) {
	n.past = &api.Past{}
	n.past.Drain.Add(40 * time.Minute)
	n.past.Reboot.Add(20 * time.Minute)
}

func held(i int, by string) coordinationv1.Lease {
	l := coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: api.SlotName("rebootd", i), Annotations: map[string]string{api.LeaseSchemaAnnotation: "1"}}}
	if by != "" {
		l.Spec.HolderIdentity = &by
	}
	return l
}

func pausedLease(until string) coordinationv1.Lease {
	a := map[string]string{api.PausedAnnotation: "incident 4711"}
	if until != "" {
		a[api.PausedUntilAnnotation] = until
	}
	return coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: api.PauseName("rebootd"), Annotations: a}}
}

// text is a forecast to be read.
func (f Forecast) text() string {
	var b strings.Builder
	clock := func(t time.Time) string {
		if t.IsZero() {
			return "?"
		}
		return t.UTC().Format("2 15:04")
	}
	for _, s := range f.Steps {
		b.WriteString(strings.TrimSpace(fmt.Sprintf("%s %s-%s %s", s.Node, clock(s.Begin), clock(s.End), s.Why)) + "\n")
	}
	for _, name := range slices.Sorted(maps.Keys(f.Unknown)) {
		fmt.Fprintf(&b, "%s: %s\n", name, f.Unknown[name])
	}
	for _, n := range slices.Concat(f.Halts, f.Notes) {
		fmt.Fprintf(&b, "(%s)\n", n)
	}
	if len(f.Steps) > 0 {
		fmt.Fprintf(&b, "done %s\n", clock(f.Done))
	}
	return strings.TrimSpace(b.String())
}

func TestForecast(t *testing.T) {
	const berlin = "Mon-Fri 22:00-04:00 Europe/Berlin" // until 3:00 UTC, from 21:00 on
	queued := func(name string, since time.Duration, change ...func(*node)) *node {
		return newNode(name, api.PhaseQueued, since, change...)
	}
	waiting := func(name string, change ...func(*node)) *node {
		return newNode(name, api.PhaseWaiting, time.Hour, change...)
	}
	holding := newNode("a", api.PhaseDraining, 4*time.Minute)
	for name, c := range map[string]struct {
		nodes  []*node
		leases []coordinationv1.Lease
		unread error
		want   string
	}{
		"nothing": {},
		"one drains, two wait": {
			nodes:  []*node{holding, queued("b", 3*time.Hour), queued("c", 5*time.Hour)},
			leases: []coordinationv1.Lease{held(0, "a")},
			want: `
a 28 01:26-28 01:36 draining
c 28 01:36-28 01:46 after a
b 28 01:46-28 01:56 after c
done 28 01:56`,
		},
		"no rights on Leases: the phases say who holds slots": {
			nodes: []*node{holding, queued("b", 3*time.Hour)}, unread: errors.New("forbidden"),
			want: `
a 28 01:26-28 01:36 draining
b 28 01:36-28 01:46 after a
done 28 01:46`,
		},
		"two slots": {
			nodes:  []*node{newNode("a", api.PhaseDraining, 4*time.Minute, slotsAre(2)), queued("b", 3*time.Hour, slotsAre(2), slower), queued("c", 2*time.Hour, slotsAre(2)), queued("d", time.Minute, slotsAre(2))},
			leases: []coordinationv1.Lease{held(0, "a"), held(1, "")},
			want: `
a 28 01:26-28 01:36 draining
b 28 01:30-28 02:30
c 28 01:36-28 01:46 after a
d 28 01:46-28 01:56 after c
done 28 02:30`,
		},
		"rebooting, verified, and longer than ever": {
			nodes: []*node{newNode("a", api.PhaseRebooting, time.Minute, slotsAre(3)), newNode("b", api.PhaseVerifying, 7*time.Minute), newNode("c", api.PhaseDraining, 21*time.Minute), queued("d", time.Hour)},
			want: `
b 28 01:23-28 01:31 being verified
a 28 01:29-28 01:33 rebooting
d 28 01:31-28 01:41 after b
c: it takes longer than reboots did before
done 28 01:41`,
		},
		"halted: nothing proceeds": {
			nodes:  []*node{newNode("node-3", api.PhaseHalted, time.Hour), queued("b", 3*time.Hour)},
			leases: []coordinationv1.Lease{held(0, "node-3")},
			want: `
b: halted; nothing proceeds until node-3 is resolved
node-3: it has halted, and keeps its slot until that is resolved: Reason: the message of node-3
(halted; nothing proceeds until node-3 is resolved)`,
		},
		"one of two halted: the other slot goes on": {
			nodes:  []*node{newNode("a", api.PhaseHalted, time.Hour), queued("b", 3*time.Hour, slotsAre(2)), queued("c", 2*time.Hour)},
			leases: []coordinationv1.Lease{held(0, "a"), held(1, "")},
			want: `
b 28 01:30-28 01:40
c 28 01:40-28 01:50 after b
a: it has halted, and keeps its slot until that is resolved: Reason: the message of a
done 28 01:50`,
		},
		"blocked": {
			nodes: []*node{newNode("a", api.PhaseDraining, time.Minute, func(n *node) { n.status.Drain = &api.DrainStatus{BlockedTotal: 1} }), queued("b", time.Hour)},
			want: `
a: it is draining, and pods cannot be evicted: Reason: the message of a
b: waits for a slot: a is draining, and pods cannot be evicted: Reason: the message of a`,
		},
		"approval, hold, abort, alerts": {
			nodes: []*node{
				waiting("a", closed("approval", "nobody has approved it", time.Time{}, true)), queued("b", time.Hour, annotated(api.HoldAnnotation, "disk is being replaced")),
				queued("c", time.Hour, annotated(api.AbortAnnotation, "not tonight")), waiting("d", closed("inhibitors", "dpkg runs", time.Time{}, false)), queued("e", time.Hour),
			},
			want: `
e 28 01:30-28 01:40
a: waits for the gate approval, and when that opens is not known: nobody has approved it
b: it is held: disk is being replaced
c: its operation is being given up: not tonight
d: waits for the gate inhibitors, and when that opens is not known: dpkg runs
done 28 01:40`,
		},
		"gates that say until when, and a deadline that passes soft ones over": {
			nodes: []*node{
				waiting("a", closed("interval", "cooling down", now.Add(time.Hour), false)), waiting("b", closed("approval", "nobody", time.Time{}, true), due(2*time.Hour)),
				waiting("c", closed("inhibitors", "dpkg", time.Time{}, false), due(time.Hour)), waiting("d", notBefore(30*time.Minute)),
			},
			want: `
d 28 02:00-28 02:10 its pause ends
a 28 02:30-28 02:40 the gate interval opens
b 28 03:30-28 03:40 its deadline passes
c: waits for the gate inhibitors, and when that opens is not known: dpkg
done 28 03:40`,
		},
		"a queue that is split over two nights": {
			nodes: []*node{
				queued("a", 9*time.Hour, windows(berlin), slower), queued("b", 8*time.Hour, windows(berlin)), queued("c", 7*time.Hour, windows(berlin), slower),
				queued("d", 6*time.Hour, windows(berlin)), waiting("e", closed("window", "outside", time.Date(2026, 11, 30, 21, 3, 0, 0, time.UTC), true), windows(berlin)),
			},
			want: `
a 28 01:30-28 02:30
b 28 02:30-28 02:40 after a
d 28 02:40-28 02:50 after b
c 30 21:00-30 22:00 window opens
e 30 22:00-30 22:10 after c
done 30 22:10`,
		},
		"a deadline before the next window, and a freeze that no deadline passes over": {
			nodes: []*node{
				queued("a", 9*time.Hour, windows(berlin, "freeze: 2026-11-27..2026-12-01 UTC"), due(time.Hour)), queued("b", 9*time.Hour, windows("Sun 10:00-12:00 UTC"), due(5*time.Hour)),
			},
			want: `
b 28 06:30-28 06:40 its deadline passes
a 2 00:00-2 00:10 freeze ends
done 2 00:10`,
		},
		"no window is long enough": {
			nodes: []*node{queued("a", time.Hour, windows("01:00-01:05 UTC")), queued("b", time.Hour, windows("01:00-01:05 UTC"), neverRebooted)},
			want: `
b 29 01:00-29 01:10 window opens
a: no maintenance window opens, or none is long enough
done 29 01:10`,
		},
		"zones follow each other": {
			nodes: []*node{
				newNode("a", api.PhaseDraining, 4*time.Minute, zoneIs("z=1"), slotsAre(2)), queued("b", 2*time.Hour, zoneIs("z=2"), slotsAre(2)), queued("c", 2*time.Hour, zoneIs("z=2")),
				queued("d", 100*time.Minute, zoneIs("z=1"), slower),
			},
			want: `
a 28 01:26-28 01:36 draining
d 28 01:30-28 02:30
b 28 02:30-28 02:40 after d
c 28 02:30-28 02:40 after d
done 28 02:40`,
		},
		"control-plane nodes one at a time": {
			nodes: []*node{queued("a", time.Hour, controlPlane, slotsAre(3)), queued("b", time.Hour, controlPlane), queued("c", time.Hour)},
			want: `
c 28 01:30-28 01:40
a 28 01:30-28 01:40
b 28 01:40-28 01:50 after a
done 28 01:50`,
		},
		"a pause that ends": {
			nodes: []*node{queued("a", time.Hour), queued("b", time.Hour, windows(berlin))}, leases: []coordinationv1.Lease{held(0, ""), pausedLease("2026-11-28T06:00:00Z")},
			want: `
a 28 06:00-28 06:10 the pause of the lock ends
b 30 21:00-30 21:10 window opens
done 30 21:10`,
		},
		"a pause that does not end": {
			nodes: []*node{queued("a", time.Hour)}, leases: []coordinationv1.Lease{held(0, ""), pausedLease("on Monday")},
			want: `
a: the lock rebootd is paused, and nothing ends that by itself: incident 4711
(the lock rebootd is paused, and nothing ends that by itself: incident 4711)`,
		},
		"nobody has ever rebooted": {
			nodes: []*node{queued("a", 2*time.Hour, neverRebooted), queued("b", time.Hour, neverRebooted)},
			want: `
a 28 01:30-?
b: waits for a slot: a is under way, and how long that takes is not known
(how long a reboot takes is not known, since no node remembers one)
done ?`,
		},
		"older daemons": {
			nodes: []*node{queued("a", 2*time.Hour, older), waiting("b", older)},
			want: `
a 28 01:30-28 01:40
b: it waits: Reason: the message of b
(how many slots the lock rebootd has is not known; one is assumed)
done 28 01:40`,
		},
		"one zone after the other under one slot": {
			nodes: []*node{
				newNode("a", api.PhaseDraining, 4*time.Minute, zoneIs("z=1")), queued("b", 2*time.Hour, zoneIs("z=2")), queued("c", 119*time.Minute, zoneIs("z=2")),
				queued("d", 100*time.Minute, zoneIs("z=1")),
			},
			want: `
a 28 01:26-28 01:36 draining
d 28 01:36-28 01:46 after a
b 28 01:46-28 01:56 after d
c 28 01:56-28 02:06 after b
done 28 02:06`,
		},
		"a Node that is being deleted, and one without a record": {
			nodes: []*node{
				queued("a", time.Hour, func(n *node) { n.DeletionTimestamp = &metav1.Time{Time: now} }), queued("b", time.Hour, func(n *node) { n.record = nil }),
				queued("c", time.Hour, unreadable),
			},
			want: `
b: no operation has begun there: Reason: the message of b
c: it has a record that cannot be read, and its daemon takes no action`,
		},
		"a slot that is kept by a record that cannot be read": {
			nodes:  []*node{queued("a", time.Hour), queued("b", time.Hour, unreadable)},
			leases: []coordinationv1.Lease{held(0, "b")},
			want: `
a: waits for a slot: b has a record that cannot be read, and its daemon takes no action
b: it has a record that cannot be read, and its daemon takes no action`,
		},
		"slots that are kept by a Node that is gone, one that is being deleted, and one with nothing to do": {
			nodes: []*node{queued("a", time.Hour, slotsAre(3)), queued("b", time.Hour), queued("c", time.Hour, func(n *node) { n.DeletionTimestamp = &metav1.Time{Time: now} }), queued("d", time.Hour, func(n *node) {
				n.record, n.status = nil, nil
				n.Status.Conditions[0].Status, n.Status.Conditions[0].LastTransitionTime = "False", metav1.NewTime(now.Add(-time.Minute))
			}), queued("e", time.Minute)},
			leases: []coordinationv1.Lease{held(0, "gone"), held(1, "c"), held(2, "d")},
			want: `
a 28 01:30-28 01:40
b 28 01:30-28 01:40
e 28 01:40-28 01:50 after b
done 28 01:50`,
		},
		"slots that are kept by a Node that has ended long ago, and one without a daemon": {
			nodes: []*node{
				queued("a", time.Hour, slotsAre(2)),
				queued("b", time.Hour, func(n *node) {
					n.record, n.status = nil, nil
					n.Status.Conditions[0].Status, n.Status.Conditions[0].LastTransitionTime = "False", metav1.NewTime(now.Add(-time.Hour))
				}),
				queued("c", time.Hour, func(n *node) { n.record, n.status = nil, nil; n.Status.Conditions = nil }),
			},
			leases: []coordinationv1.Lease{held(0, "b"), held(1, "c")},
			want:   "\na: waits for a slot: b keeps one: it has nothing to do, and has not released it",
		},
		"a slot that is not used any more is kept by a Node that has ended long ago": {
			nodes: []*node{
				queued("a", time.Hour),
				queued("b", time.Hour, func(n *node) { n.record, n.status = nil, nil; n.Status.Conditions[0].Status = "False" }),
			},
			leases: []coordinationv1.Lease{held(1, "b")},
			want:   "\na 28 01:30-28 01:40\ndone 28 01:40",
		},
		"a record that only this program cannot read": {
			nodes:  []*node{queued("a", time.Hour), queued("b", time.Hour, func(n *node) { n.record.V = 99 })},
			leases: []coordinationv1.Lease{held(0, "b")},
			want: `
a: waits for a slot: b has a record of a newer version, which this program cannot read
b: it has a record of a newer version, which this program cannot read`,
		},
		"a pause of another lock": {
			nodes:  []*node{queued("a", time.Hour)},
			leases: []coordinationv1.Lease{held(0, ""), func() coordinationv1.Lease { l := pausedLease(""); l.Name = api.PauseName("pool-b"); return l }()},
			want: `
a 28 01:30-28 01:40
done 28 01:40`,
		},
		"the gate that is behind the Leases": {
			nodes: []*node{queued("a", time.Hour, closed("paused", "incident", time.Time{}, false))},
			want: `
a 28 01:30-28 01:40
done 28 01:40`,
		},
		"the gate alone tells of a pause": {
			nodes: []*node{queued("a", time.Hour, closed("paused", "incident", time.Time{}, false))}, unread: errors.New("forbidden"),
			want: `
a: waits for the gate paused, and when that opens is not known: incident`,
		},
		"a deadline comes before a soft gate opens": {
			nodes: []*node{waiting("a", closed("window", "outside", now.Add(5*time.Hour), true), due(2*time.Hour)), waiting("b", closed("window", "outside", now.Add(time.Hour), true), due(2*time.Hour))},
			want: `
b 28 02:30-28 02:40 window opens
a 28 03:30-28 03:40 its deadline passes
done 28 03:40`,
		},
		"a window that is too short is left out": {
			nodes: []*node{queued("a", time.Hour, windows("02:00-02:05 UTC", "04:00-05:00 UTC"))},
			want: `
a 28 04:00-28 04:10 window opens
done 28 04:10`,
		},
		"a freeze in the middle of a window": {
			nodes: []*node{queued("a", 3*time.Hour, windows("00:00-06:00 UTC", "freeze: 2026-11-28T01:45..2026-11-28T02:45 UTC")), queued("b", 2*time.Hour, windows("00:00-06:00 UTC", "freeze: 2026-11-28T01:45..2026-11-28T02:45 UTC"))},
			want: `
a 28 01:30-28 01:40
b 28 02:45-28 02:55 freeze ends
done 28 02:55`,
		},
		"the daemon's own word of its next try, and who comes to the queue now goes to its end": {
			nodes: []*node{
				waiting("a", notBefore(30*time.Minute), func(n *node) {
					n.record.Failure = &api.Failure{Reason: api.ReasonHookFailed}
					n.status.Next = now.Add(10 * time.Minute)
				}),
				waiting("b", func(n *node) { n.record.Since, n.status.Reason = now.Add(-5*time.Hour), api.ReasonRebootRequested }), queued("c", 3*time.Hour),
			},
			want: `
c 28 01:30-28 01:40
a 28 01:40-28 01:50 its pause after HookFailed ends
b 28 01:50-28 02:00 after a
done 28 02:00`,
		},
		"what is under way counts from when it began": {
			nodes: []*node{
				newNode("a", api.PhaseDraining, 4*time.Minute, slotsAre(3), func(n *node) { n.record.Times = &api.Times{Cordoned: now.Add(-5 * time.Minute)} }),
				newNode("b", api.PhaseRebooting, 3*time.Minute, func(n *node) { n.record.Order.At = now.Add(-time.Minute) }),
				newNode("c", api.PhaseDraining, time.Minute, func(n *node) {
					n.record.Undo = &api.Undo{Since: n.record.Since, Reason: api.ReasonHeld, Message: "held"}
				}),
				queued("d", time.Hour),
			},
			want: `
a 28 01:25-28 01:35 draining
b 28 01:27-28 01:33 rebooting
d 28 01:33-28 01:43 after b
c: it is being put back: Held: held
done 28 01:43`,
		},
		"slot in hand, and a gate": {
			nodes:  []*node{queued("a", 2*time.Hour, closed("availability", "2 nodes are unavailable", time.Time{}, false)), queued("b", time.Hour)},
			leases: []coordinationv1.Lease{held(0, "a")},
			want: `
a: it waits with its slot in hand: waits for the gate availability, and when that opens is not known: 2 nodes are unavailable
b: waits for a slot: a waits with its slot in hand: waits for the gate availability, and when that opens is not known: 2 nodes are unavailable`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var nodes []Node
			for _, n := range c.nodes {
				nodes = append(nodes, n.build())
			}
			f := Build(nodes, c.leases, c.unread, now)
			f.Zones = zones.Load
			if got := f.Forecast().text(); got != strings.TrimSpace(c.want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, strings.TrimSpace(c.want))
			}
		})
	}
}

// On the nights of a clock change a window is longer, shorter or another one, as package
// window says.
func TestForecastOnClockChanges(t *testing.T) {
	for name, c := range map[string]struct {
		at   time.Time
		spec string
		want string
	}{
		"spring: half past two does not come": {time.Date(2027, 3, 28, 0, 40, 0, 0, time.UTC), "Sat 22:00-02:30 Europe/Berlin", `
a 28 00:40-28 00:50
b 28 00:50-28 01:00 after a
c 3 20:00-3 20:10 window opens
done 3 20:10`},
		"autumn: two comes twice, and the first counts": {time.Date(2027, 10, 30, 23, 50, 0, 0, time.UTC), "Sun 02:00-02:20 Europe/Berlin", `
a 31 00:00-31 00:10 window opens
b 31 00:10-31 00:20 after a
c 7 01:00-7 01:10 window opens
done 7 01:10`},
	} {
		t.Run(name, func(t *testing.T) {
			var nodes []Node
			for i, name := range []string{"a", "b", "c"} {
				nodes = append(nodes, newNode(name, api.PhaseQueued, time.Duration(9-i)*time.Hour, windows(c.spec)).build())
			}
			f := Build(nodes, nil, nil, c.at)
			f.Zones = zones.Load
			if got := f.Forecast().text(); got != strings.TrimSpace(c.want) {
				t.Errorf("got:\n%s\nwant:\n%s", got, strings.TrimSpace(c.want))
			}
		})
	}
}

// How long reboots take is the history's word, then the report's; what did not end well does
// not count.
func TestTook(t *testing.T) {
	at := func(m int) time.Time { return now.Add(time.Duration(m) * time.Minute) }
	op := func(result api.Reason, cordoned, ordered, ended int) api.Summary {
		return api.Summary{ID: "x", Result: result, Cordoned: at(cordoned), Ordered: at(ordered), Ended: at(ended)}
	}
	history := func(ops ...api.Summary) func(*node) {
		return func(n *node) {
			data, _ := json.Marshal(api.History{V: 1, Operations: ops})
			n.Annotations[api.HistoryAnnotation] = string(data)
		}
	}
	for name, c := range map[string]struct {
		change func(*node)
		want   spell
	}{
		"the report": {func(*node) {}, spell{6 * time.Minute, 4 * time.Minute, 10 * time.Minute}},
		"nothing":    {neverRebooted, spell{}},
		"the history, by the one in the middle": {
			history(op(api.ReasonRebootVerified, 0, 8, 11), op(api.ReasonUnhealthy, 0, 500, 900), op(api.ReasonRebootVerified, 0, 10, 14), op(api.ReasonRebootVerified, 0, 300, 900)),
			spell{10 * time.Minute, 4 * time.Minute, 11 * time.Minute},
		},
		"no reboot in the history":       {history(op(api.ReasonCancelled, 0, 1, 2)), spell{6 * time.Minute, 4 * time.Minute, 10 * time.Minute}},
		"years, by a clock that was set": {history(op(api.ReasonRebootVerified, 0, 1, 9_000_000)), spell{time.Minute, longest, longest}},
	} {
		if got := newNode("a", api.PhaseQueued, time.Hour, c.change).build().took(); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// What is far away is not foreseen, and not more is read than has to be.
func TestForecastOfMany(t *testing.T) {
	var nodes []Node
	for i := range maxRead + 100 {
		nodes = append(nodes, newNode(fmt.Sprintf("n%04d", i), api.PhaseQueued, time.Hour).build())
	}
	f := Build(nodes, nil, nil, now)
	out := f.Forecast()
	if len(out.Steps) != maxSteps || len(out.Unknown) != len(nodes)-maxSteps || out.Unknown["n1050"] != "more than 500 nodes go before it" {
		t.Errorf("%d steps, %d unknown, %q", len(out.Steps), len(out.Unknown), out.Unknown["n1050"])
	}
	if took := f.took(); took.nodes != maxRead {
		t.Errorf("%d nodes were read", took.nodes)
	}
}
