package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"rebootd.dev/cmd/kubectl-rebootd/client"
	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/daemon/api"
	"rebootd.dev/drain"
)

// whyPods are the pods that are left on a node that drains, each with its sentence: by its
// daemon, and by the pods that are there now, where these may be read; and on one whose
// drain has failed those that were left then.
func (e *env) whyPods(ctx context.Context, a client.API, n fleet.Node, w *whyView) (out []whyPod) {
	if n.Record == nil || n.Record.Undoing() != nil {
		return nil
	}
	if n.Record.Phase != api.PhaseDraining {
		return leftBefore(n)
	}
	told := map[string]bool{}
	add := func(p whyPod) {
		if !told[p.Pod] {
			told[p.Pod] = true
			p.Message = line(p.Message)
			out = append(out, p)
		}
	}
	ending := map[string]time.Time{}
	there := func(string) bool { return true }
	pods, err := a.PodsOn(ctx, n.Name)
	if err != nil {
		w.Unknown = append(w.Unknown, "which pods are on the node now: "+line(err.Error()))
	} else {
		now := map[string]bool{}
		for _, p := range pods {
			now[p.Namespace+"/"+p.Name] = true
			if t := p.DeletionTimestamp; t != nil {
				ending[p.Namespace+"/"+p.Name] = t.Time
			}
		}
		there = func(pod string) bool { return now[pod] }
	}
	if n.Status != nil && n.Status.Drain != nil {
		for _, b := range n.Status.Drain.Blocked {
			pod := line(b.Namespace + "/" + b.Name)
			// What kept it before its deletion is no news any more.
			if _, ends := ending[pod]; there(pod) && (!ends || b.Reason == api.PodTerminating) {
				add(whyPod{pod, b.Reason, b.Message, b.Since})
			}
		}
	}
	f := drain.Foretell(pods, nil)
	for _, pod := range f.Leaving {
		add(whyPod{Pod: pod, Message: "is terminating; its grace period ends at " + e.clock(ending[pod])})
	}
	for _, b := range f.Waits {
		for _, pod := range b.Pods {
			add(whyPod{Pod: pod, Reason: b.Reason, Message: b.Message})
		}
	}
	for _, pod := range f.Evicted {
		add(whyPod{Pod: pod, Message: "its eviction is under way, or follows"})
	}
	return out
}

// leftBefore are the pods that the last drain of the operation has left.
func leftBefore(n fleet.Node) (out []whyPod) {
	r := n.Report()
	if r == nil || r.ID != n.Record.ID || n.Record.Failure == nil || n.Record.Failure.Reason != api.ReasonDrainTimedOut {
		return nil
	}
	for _, p := range r.Pods {
		if p.Outcome == api.OutcomeFailed {
			out = append(out, whyPod{Pod: line(p.Namespace + "/" + p.Name), Reason: p.Reason, Message: line(cmp.Or(p.Message, "was still there"))})
		}
	}
	return out
}

// verdict is where the node stands, in a sentence, and what happens next.
func (e *env) verdict(f fleet.Fleet, n fleet.Node, w whyView) (is, next string) {
	// does is what a node does, and since when.
	does := func(what string) string {
		if w.Since.IsZero() {
			return "is " + what
		}
		return fmt.Sprintf("has been %s since %s (%s)", what, e.clock(w.Since), ago(f.At.Sub(w.Since)))
	}
	says := joinIf(": ", w.Message)
	switch n.State() {
	case fleet.NoDaemon:
		return n.Name + " has no daemon: nothing reboots it, and nobody looks at its sentinels.", "Nothing, until a daemon runs there."
	case fleet.Unreadable:
		if n.Newer() {
			return fmt.Sprintf("this program is older than the daemon of %s: %s. The daemon says: %s%s.", n.Name, line(n.RecordErr.Error()), w.Reason, says),
				"The daemon continues by itself; what it does next is not known here."
		}
		return fmt.Sprintf("%s is left as it is: the record of its operation cannot be read: %s.", n.Name, line(n.RecordErr.Error())), "Nothing, until a person acts. If it holds a slot, other nodes wait for it."
	case fleet.Unknown:
		return fmt.Sprintf("%s: whether it needs a reboot is not known%s.", n.Name, says), "The daemon finds out by itself, once it can."
	case fleet.Idle:
		return fmt.Sprintf("%s needs no reboot%s.", n.Name, says), "Nothing, until a sentinel or the annotation " + api.RequestAnnotation + " requests a reboot."
	case fleet.Needed:
		return fmt.Sprintf("%s %s, and no operation has begun: %s%s.", n.Name, does("in need of a reboot"), w.Reason, says), "The daemon begins an operation by itself, once nothing keeps it from that."
	case fleet.Halted:
		return fmt.Sprintf("%s %s: %s%s.", n.Name, does("halted"), w.Reason, says), "It keeps its slot and its cordon, and no other node goes under that slot, until it is healthy, has booted, or a person gives it up."
	case fleet.Blocked:
		return fmt.Sprintf("%s %s, and pods cannot be evicted%s.", n.Name, does("draining"), drained(n)), "Each pod is evicted as soon as that is possible. When the drain has lasted for --drain-timeout, the node is put back and tried again later, unless --drain-timeout-policy says otherwise."
	case fleet.UnderWay:
		return underWay(n, does), e.nextOf(f, n)
	case fleet.Queued:
		if s, holds := f.SlotOf(n.Name); holds {
			return fmt.Sprintf("%s holds %s, and %s: %s%s.", n.Name, s.Name, does("waiting"), w.Reason, says), e.nextOf(f, n)
		}
		place := ""
		if w.Queue != nil {
			place = fmt.Sprintf(", place %d of %d in the queue", w.Queue.Place, w.Queue.Of)
		}
		return fmt.Sprintf("%s %s%s.", n.Name, does("waiting for a slot"), place), e.nextOf(f, n)
	default:
		return fmt.Sprintf("%s %s: %s%s.", n.Name, does("waiting"), w.Reason, says), e.nextOf(f, n)
	}
}

// drained is how far a drain has come.
func drained(n fleet.Node) string {
	if n.Status == nil || n.Status.Drain == nil {
		return ""
	}
	d := n.Status.Drain
	text := fmt.Sprintf(": %d of %d pods have left", d.Total-d.Left, d.Total)
	switch d.BlockedTotal {
	case 0:
		return text
	case 1:
		return text + ", 1 is blocked"
	}
	return fmt.Sprintf("%s, %d are blocked", text, d.BlockedTotal)
}

func underWay(n fleet.Node, does func(string) string) string {
	r := n.Record
	if u := r.Undoing(); u != nil {
		return fmt.Sprintf("%s is being put back: %s: %s.", n.Name, u.Reason, line(u.Message))
	}
	switch r.Phase {
	case api.PhaseDraining:
		return fmt.Sprintf("%s %s%s.", n.Name, does("draining"), drained(n))
	case api.PhaseRebooting:
		if n.Ready {
			return fmt.Sprintf("%s %s: the machine is still up, by its kubelet.", n.Name, does("rebooting"))
		}
		return fmt.Sprintf("%s %s: the machine is down, or is booting; its kubelet is not Ready.", n.Name, does("rebooting"))
	default:
		return fmt.Sprintf("%s has rebooted, and %s.", n.Name, does("in verification"))
	}
}

// nextOf is what happens next, by the forecast.
func (e *env) nextOf(f fleet.Fleet, n fleet.Node) string {
	if u := n.Record.Undoing(); u != nil && u.Ends {
		return "Its operation ends, and its slot is released."
	} else if u != nil {
		return "Its slot is released, and it tries again later, unless a gate is closed."
	}
	out := f.Forecast()
	if why, unknown := out.Unknown[n.Name]; unknown {
		return capital(why) + "."
	}
	for _, s := range out.Steps {
		if s.Node != n.Name {
			continue
		}
		switch {
		case !s.Begin.After(f.At) && !waitsYet(n) && !s.End.IsZero():
			return fmt.Sprintf("It should be done at about %s, in %s.", e.clock(s.End), ago(s.End.Sub(f.At)))
		case !waitsYet(n):
			return "It continues by itself; how long that takes is not known."
		case !s.Begin.After(f.At):
			return "It begins at once, as soon as it has its slot."
		default:
			begins := "begins"
			if nextTry(n).After(f.At) {
				begins = "tries again"
			}
			return fmt.Sprintf("It %s at about %s, in %s%s.", begins, e.clock(s.Begin), ago(s.Begin.Sub(f.At)), joinIf(": ", s.Why))
		}
	}
	return ""
}

func waitsYet(n fleet.Node) bool {
	return n.Record.Phase == api.PhaseWaiting || n.Record.Phase == api.PhaseQueued
}

func (e *env) printWhy(f fleet.Fleet, w whyView) error {
	fmt.Fprintln(e.out, e.paint(bold, w.Verdict))
	if w.Next != "" {
		fmt.Fprintln(e.out, "Next: "+w.Next)
	}
	var sections []struct {
		title string
		rows  [][]string
	}
	section := func(title string, rows [][]string) {
		if len(rows) > 0 {
			sections = append(sections, struct {
				title string
				rows  [][]string
			}{title, rows})
		}
	}
	section("Gates", e.gateRows(f, w.Node, w.Gates))
	if q := w.Queue; q != nil {
		before := "nobody"
		if len(q.Before) > 0 {
			before = some(q.Before, 8)
		}
		section("Queue", [][]string{{fmt.Sprintf("place %d of %d; before it: %s", q.Place, q.Of, before)}})
	}
	var rows [][]string
	for _, s := range w.Slots {
		rows = append(rows, []string{s.Slot, e.slotWords(f, s)})
	}
	section("Slots", rows)
	rows = nil
	for _, p := range w.Pauses {
		rows = append(rows, []string{p})
	}
	section("Pauses", rows)
	rows = nil
	for _, p := range w.Pods {
		since := ""
		if !p.Since.IsZero() {
			since = fmt.Sprintf(" (%s)", ago(f.At.Sub(p.Since)))
		}
		rows = append(rows, []string{p.Pod, strings.TrimPrefix(joinIf("", string(p.Reason))+since+": ", ": ") + p.Message})
	}
	title := fmt.Sprintf("Pods that are left (%d)", len(w.Pods))
	if n, there := f.Node(w.Node); there && n.Status != nil && n.Status.Drain != nil && n.Status.Drain.Left > len(w.Pods) {
		title = fmt.Sprintf("Pods that are left (%d, of which %d are known)", n.Status.Drain.Left, len(w.Pods))
	}
	if w.Phase != api.PhaseDraining {
		title = fmt.Sprintf("Pods that the last drain has left (%d)", len(w.Pods))
	}
	section(title, rows)
	rows = nil
	for _, x := range w.Facts {
		rows = append(rows, []string{x.What, x.Is})
	}
	section("Details", rows)
	rows = nil
	for _, u := range w.Unknown {
		rows = append(rows, []string{u})
	}
	section("Not found out", rows)
	for _, s := range sections {
		fmt.Fprintf(e.out, "\n%s\n", e.paint(bold, s.title))
		for i := range s.rows {
			s.rows[i][0] = "  " + s.rows[i][0]
		}
		if err := table(e.out, s.rows); err != nil {
			return err
		}
	}
	if len(w.Do) > 0 {
		fmt.Fprintf(e.out, "\n%s\n", e.paint(bold, "What you can do"))
	}
	for _, a := range w.Do {
		e.printAdvice("  ", a)
		if a.Runbook != "" {
			fmt.Fprintf(e.out, "    See docs/runbooks/%s.\n", a.Runbook)
		}
	}
	return nil
}

// gateRows are the gates, those that are closed first.
func (e *env) gateRows(f fleet.Fleet, node string, gates []whyGate) (rows [][]string) {
	for _, state := range []api.GateState{api.GateClosed, api.GateUnknown, api.GateOpen} {
		for _, g := range gates {
			if g.State != state {
				continue
			}
			text, h := string(state), green
			switch {
			case g.PassedOver:
				text, h = "closed, passed over", yellow
			case state == api.GateClosed:
				h = yellow
			case state == api.GateUnknown:
				text, h = "not known yet", yellow
			}
			why := g.Why
			switch {
			case g.Until.IsZero():
			case g.Until.Before(f.At):
				why = joinNotes(why, fmt.Sprintf("was to open %s, %s ago", e.clock(g.Until), ago(f.At.Sub(g.Until))))
			default:
				why = strings.TrimPrefix(fmt.Sprintf("%s; opens %s, in %s", why, e.clock(g.Until), ago(g.Until.Sub(f.At))), "; ")
			}
			if n, there := f.Node(node); there && state == api.GateClosed && g.Soft && !g.PassedOver && n.Record != nil && !n.Record.Deadline.IsZero() {
				why = joinNotes(why, "does not count from the deadline on")
			}
			row := []string{g.Name, e.paint(h, text)}
			if why != "" {
				row = append(row, why)
			}
			rows = append(rows, row)
		}
	}
	return rows
}
