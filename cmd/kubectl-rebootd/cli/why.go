package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/cmd/kubectl-rebootd/client"
	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/daemon/api"
)

// whyView is what -o json prints.
type whyView struct {
	object
	Node    string `json:"node"`
	Verdict string `json:"verdict"`        // the state of the node, in a sentence
	Next    string `json:"next,omitempty"` // what happens next
	// Reason, Message and Since are those of the condition RebootRequired.
	Reason  string    `json:"reason,omitempty"`
	Message string    `json:"message,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Phase   api.Phase `json:"phase,omitempty"`

	Gates   []whyGate  `json:"gates,omitempty"`
	Queue   *whyQueue  `json:"queue,omitempty"`
	Slots   []slotView `json:"slots,omitempty"`
	Pauses  []string   `json:"pauses,omitempty"`
	Pods    []whyPod   `json:"pods,omitempty"`
	Facts   []whyFact  `json:"facts,omitempty"`
	Unknown []string   `json:"unknown,omitempty"` // what could not be found out, and why
	Do      []advice   `json:"do,omitempty"`
}

// whyGate is a gate.
type whyGate struct {
	Name   string        `json:"name"`
	State  api.GateState `json:"state"`
	Reason api.Reason    `json:"reason,omitempty"`
	Why    string        `json:"why,omitempty"`
	Until  time.Time     `json:"until,omitzero"`
	// PassedOver says that the gate is closed and does not count any more, since the deadline
	// has passed.
	PassedOver bool `json:"passedOver,omitempty"`
	// Soft says that it does not count once the deadline has passed.
	Soft bool `json:"soft,omitempty"`
}

// whyQueue is the node's place in the queue.
type whyQueue struct {
	Lock   string   `json:"lock"`
	Place  int      `json:"place"`
	Of     int      `json:"of"`
	Before []string `json:"before,omitempty"`
}

// whyPod is a pod that is left.
type whyPod struct {
	Pod     string        `json:"pod"` // namespace/name
	Reason  api.PodReason `json:"reason,omitempty"`
	Message string        `json:"message"`
	Since   time.Time     `json:"since,omitzero"`
}

// whyFact is something else that is to be known.
type whyFact struct {
	What string `json:"what"`
	Is   string `json:"is"`
}

func newWhy(e *env) *cobra.Command {
	var o output
	c := &cobra.Command{
		Use: "why NODE", Short: "Say why a node does not reboot, what happens next, and what can be done", Args: e.args(cobra.ExactArgs(1)),
		Long: `Say why a node does not reboot, what happens next, and what can be done.

The first line is the verdict. Then follow the gates, the queue, the slots, the pods that are left
and, at the end, the steps of the runbooks as commands, none of which is run. Without rights on
Leases or pods there is less to say, and it is said what could not be found out.`,
		Example: "  " + e.name + " why node-7",
		RunE: func(c *cobra.Command, args []string) error {
			name, err := nodeNamed(args[0])
			if err != nil {
				return err
			}
			ctx, cancel := e.limited(c.Context())
			defer cancel()
			a, err := e.connect()
			if err != nil {
				return err
			}
			f, err := e.read(ctx, a, "")
			if err != nil {
				return err
			}
			n, there := f.Node(name)
			if !there {
				return unknownNode(f, name)
			}
			w := e.whyOf(ctx, a, f, n)
			if o != "" {
				return e.encode(o, w)
			}
			return e.printWhy(f, w)
		},
	}
	outputFlag(c, &o, "json", "yaml")
	return c
}

// whyOf finds out about one node.
func (e *env) whyOf(ctx context.Context, a client.API, f fleet.Fleet, n fleet.Node) whyView {
	w := whyView{object: kind("Why"), Node: n.Name}
	if c := n.Condition; c != nil {
		w.Reason, w.Message, w.Since = c.Reason, c.Message, c.Since
	}
	if n.Record != nil {
		w.Phase = n.Record.Phase
		w.Since = n.Record.Since
	}
	w.Gates = whyGates(f, n)
	lock := whyLock(f, n)
	if n.Record != nil || n.RecordErr != nil {
		if line := f.Queue(lock); slices.Contains(line, n.Name) {
			i := slices.Index(line, n.Name)
			w.Queue = &whyQueue{Lock: lock, Place: i + 1, Of: len(line), Before: line[:i]}
		}
		v := lockOf(f, lock)
		if f.Unread == nil {
			w.Slots = v.Slots
		} else {
			w.Slots = presumed(f, lock)
			w.Unknown = append(w.Unknown, "Leases cannot be read, so slots are taken from what the nodes say, and pauses are not known: "+line(f.Unread.Error()))
		}
		for _, p := range v.Pauses {
			w.Pauses = append(w.Pauses, e.pauseWords(p))
		}
	}
	w.Pods = e.whyPods(ctx, a, n, &w)
	w.Facts = e.whyFacts(f, n)
	w.Verdict, w.Next = e.verdict(f, n, w)
	for _, a := range whyAdvice(f, n, w) {
		w.Do = append(w.Do, e.here(a))
	}
	return w
}

// whyLock is the lock of a node.
func whyLock(f fleet.Fleet, n fleet.Node) string {
	if n.Record != nil && n.Record.Lock != "" {
		return n.Record.Lock
	}
	slot, _ := f.SlotOf(n.Name)
	return cmp.Or(slot.Lock, fleet.DefaultLock)
}

// whyGates are the gates by the node's daemon.
func whyGates(f fleet.Fleet, n fleet.Node) (out []whyGate) {
	if n.Status == nil {
		return nil
	}
	late := n.Record != nil && !n.Record.Deadline.IsZero() && !f.At.Before(n.Record.Deadline)
	for _, g := range n.Status.Gates {
		out = append(out, whyGate{
			Name: line(g.Name), State: g.State, Reason: g.Reason, Why: line(g.Why), Until: g.Until, Soft: g.Soft,
			PassedOver: g.State == api.GateClosed && g.Soft && late,
		})
	}
	return out
}

// presumed are the holders of slots by the nodes' phases alone.
func presumed(f fleet.Fleet, lock string) (out []slotView) {
	for _, n := range f.Nodes {
		if n.Record == nil || whyLock(f, n) != lock || n.Record.Phase == api.PhaseWaiting || n.Record.Phase == api.PhaseQueued {
			continue
		}
		v := slotView{Slot: "a slot", Holder: n.Name, Since: n.Record.Since, Phase: n.Record.Phase}
		if n.Record.Phase == api.PhaseHalted {
			v.Note = "it keeps the slot until that is resolved"
		}
		out = append(out, v)
	}
	return out
}

// whyFacts is what else is to be known of a node.
func (e *env) whyFacts(f fleet.Fleet, n fleet.Node) (out []whyFact) {
	fact := func(what, format string, args ...any) {
		out = append(out, whyFact{what, line(fmt.Sprintf(format, args...))})
	}
	r := n.Record
	if r != nil && r.Request != "" {
		fact("request", "%s (first seen %s)", r.Request, e.clock(r.Requested))
	} else if n.Request != nil {
		fact("request", "the annotation %s: %s", api.RequestAnnotation, *n.Request)
	}
	if n.Status != nil && len(n.Status.Windows) > 0 {
		fact("windows in force", "%s", strings.Join(n.Status.Windows, "; "))
	}
	for _, a := range []struct {
		what  string
		value *string
	}{{"hold", n.Hold}, {"abort", n.Abort}, {"approval", n.Approval}, {"its own windows", n.Windows}, {"priority", n.Priority}} {
		if a.value != nil {
			fact(a.what, "%s", *a.value)
		}
	}
	switch {
	case r != nil && !r.Deadline.IsZero() && f.At.Before(r.Deadline):
		fact("deadline", "%s, in %s: from then on soft gates do not count", e.clock(r.Deadline), ago(r.Deadline.Sub(f.At)))
	case r != nil && !r.Deadline.IsZero():
		fact("deadline", "%s, passed %s ago: soft gates do not count any more", e.clock(r.Deadline), ago(f.At.Sub(r.Deadline)))
	case n.Deadline != nil:
		fact("deadline", "%s, by the annotation %s", *n.Deadline, api.DeadlineAnnotation)
	}
	if r != nil && r.Attempts > 0 {
		fact("failed attempts", "%d", r.Attempts)
	}
	if r != nil && r.Deferrals > 0 {
		fact("turns given up", "%d in a row, since a gate was closed on the node's turn", r.Deferrals)
	}
	if r != nil && r.Failure != nil {
		fact("last failure", "%s: %s", r.Failure.Reason, r.Failure.Message)
	}
	if next := nextTry(n); next.After(f.At) {
		fact("next try", "%s, in %s", e.clock(next), ago(next.Sub(f.At)))
	}
	if r == nil {
		out = append(out, e.idleFacts(n)...)
	}
	if n.Daemon != nil {
		fact("daemon", "%s", n.Daemon.Version)
	}
	return out
}

// nextTry is when the daemon tries again by itself, zero if it does not wait for that.
func nextTry(n fleet.Node) time.Time {
	switch {
	case n.Status != nil && !n.Status.Next.IsZero():
		return n.Status.Next
	case n.Record != nil && n.Record.Phase == api.PhaseWaiting:
		return n.Record.NotBefore
	}
	return time.Time{}
}

// idleFacts are why a node without an operation does nothing.
func (e *env) idleFacts(n fleet.Node) (out []whyFact) {
	served, err := n.Served()
	switch {
	case err != nil:
		out = append(out, whyFact{"served sentinels", line("cannot be read: " + err.Error())})
	case served != nil:
		for _, s := range served.Files {
			out = append(out, whyFact{"served sentinel", line(s.Path + " requests nothing until it is changed: " + s.Because)})
		}
	}
	ops, err := n.History()
	switch {
	case err != nil:
		out = append(out, whyFact{"last operation", line("cannot be read: " + err.Error())})
	case len(ops) > 0:
		o := ops[0]
		out = append(out, whyFact{"last operation", line(fmt.Sprintf("%s at %s%s", o.Result, e.clock(o.Ended), joinIf(": ", o.Message)))})
	default:
		if r := n.Report(); r != nil && r.Past != nil && !r.Past.Verified.IsZero() {
			out = append(out, whyFact{"last reboot", "verified " + e.clock(r.Past.Verified)})
		}
	}
	return out
}

// stands are the states from which a node does not proceed by itself, or may not.
var stands = []fleet.State{fleet.Halted, fleet.Unreadable, fleet.Blocked}

// whyAdvice is what a person could do, the pods' first.
func whyAdvice(f fleet.Fleet, n fleet.Node, w whyView) (out []advice) {
	add := func(a advice) {
		same := func(b advice) bool { return b.What == a.What && slices.Equal(b.Commands, a.Commands) }
		if a.What != "" && !slices.ContainsFunc(out, same) {
			out = append(out, a)
		}
	}
	for _, p := range w.Pods {
		add(podAdvice(p.Reason, p.Pod))
	}
	for _, g := range w.Gates {
		if g.State == api.GateClosed && !g.PassedOver {
			add(nodeAdvice(g.Reason, n.Name))
		}
	}
	stuck := false
	for _, s := range w.Slots {
		if holder, there := f.Node(s.Holder); there && n.State() == fleet.Queued && slices.Contains(stands, holder.State()) {
			stuck = true
			add(advice{What: s.Holder + " holds " + s.Slot + " and does not proceed by itself. To see why, and what can be done:", Commands: []string{"kubectl rebootd why NODE"}}.with("NODE", s.Holder))
		}
	}
	if n.Record != nil && slices.ContainsFunc(f.Pauses, func(p fleet.Pause) bool { return p.Lock == whyLock(f, n) && !p.Over(f.At) }) {
		stuck = true
		add(nodeAdvice(api.ReasonPaused, n.Name))
	}
	switch {
	case n.Newer():
		add(advice{What: "Use the kubectl rebootd of that daemon's version. To see that version:", Commands: []string{"kubectl rebootd doctor"}})
	case errors.Is(n.RecordErr, api.ErrTooNew):
		add(nodeAdvice(api.ReasonRecordTooNew, n.Name))
	case n.RecordErr != nil:
		add(nodeAdvice(api.ReasonRecordInvalid, n.Name))
	case n.State() == fleet.Queued && stuck: // that it is in the queue is not the point
	case n.State() == fleet.NoDaemon:
		add(advice{What: "Find out why no daemon runs there: see the DaemonSet, or the unit on the machine:", Commands: []string{"kubectl -n REBOOTD get pods -o wide"}, Runbook: "absent.md"})
	default:
		add(nodeAdvice(api.Reason(w.Reason), n.Name))
	}
	return out
}

// notFound is the error of a node that is not there, with names that are close.
func (e *env) notFound(ctx context.Context, a client.API, name string) error {
	var nodes []fleet.Node
	if _, err := a.EachNode(ctx, "", func(n *corev1.Node) { nodes = append(nodes, fleet.NodeOf(n)) }); err != nil {
		return fmt.Errorf("node %q not found", name)
	}
	return unknownNode(fleet.Build(nodes, nil, nil, e.now()), name)
}

// unknownNode is the error of a node that is not there, with names that are close.
func unknownNode(f fleet.Fleet, name string) error {
	type match struct {
		name string
		far  int
	}
	var close []match
	for _, n := range f.Nodes {
		d := distance(name, n.Name)
		if strings.HasPrefix(n.Name, name+".") {
			d = 0 // the host's name for the whole one
		}
		if d <= max(2, len(name)/4) {
			close = append(close, match{n.Name, d})
		}
	}
	slices.SortStableFunc(close, func(a, b match) int { return cmp.Compare(a.far, b.far) })
	if len(close) == 0 {
		return fmt.Errorf("node %q not found", name)
	}
	var names []string
	for _, m := range close[:min(3, len(close))] {
		if m.far == close[0].far {
			names = append(names, m.name)
		}
	}
	return fmt.Errorf("node %q not found; did you mean %s?", name, strings.Join(names, " or "))
}

// distance is by how many letters two words differ (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := before
			if a[i] != b[j] {
				d = 1 + min(before, row[j], row[j+1])
			}
			before, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}
