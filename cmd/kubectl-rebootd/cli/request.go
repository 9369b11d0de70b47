package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/daemon/api"
)

func newRequest(e *env) *cobra.Command {
	var until string
	var deadline time.Time
	var pauses []fleet.Pause
	a := &act{e: e, doing: "request a reboot of", verdict: func(w *waited, n *fleet.Node) verdict { return rebooted(w, n, true) }}
	a.judge = func(t *target) deed { return request(t, deadline, pauses) }
	c := &cobra.Command{
		Use: "request NODE... | -l SELECTOR | --all", Short: "Request a reboot of nodes, without a sentinel on their hosts",
		Long: `Request a reboot of nodes: sets the annotation ` + api.RequestAnnotation + `. Each node waits for its gates and for
a slot, as it does with a sentinel, is drained and rebooted, and removes the annotation when that is done.

With --wait the command ends when all have rebooted and are back: exit status 0, 3 if --timeout has
passed before, 4 if a node halts or its reboot came to nothing.`,
		Example: "  " + e.name + " request node-7 --wait --timeout 2h\n  " + e.name + " request -l pool=db --deadline 2d",
	}
	a.flags(c)
	c.Flags().StringVar(&until, "deadline", "", "from then on soft gates such as windows are not waited for: a duration such as 2d, or a time by RFC 3339")
	prepare(c, func() (err error) {
		if until != "" {
			deadline, err = e.future("deadline", until)
		}
		return err
	}, func(c *cobra.Command) { pauses = e.pauses(c) })
	return c
}

// prepare adds to a command what is checked before anything is asked of the API server,
// and what is read then.
func prepare(c *cobra.Command, check func() error, read func(*cobra.Command)) {
	pre := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) error {
		if err := pre(c, args); err != nil {
			return err
		}
		if err := check(); err != nil {
			return err
		}
		if read != nil {
			read(c)
		}
		return nil
	}
}

// pauses are those that are in force, as far as they can be read.
func (e *env) pauses(c *cobra.Command) (out []fleet.Pause) {
	api, err := e.connect()
	if err != nil {
		return nil // the command will say so
	}
	ctx, cancel := e.limited(c.Context())
	defer cancel()
	leases, _, err := api.Leases(ctx)
	if err != nil {
		e.sayf("warning: whether the lock is paused is not known: %v", err)
	}
	for _, p := range fleet.Build(nil, leases, err, e.now()).Pauses {
		if !p.Over(e.now()) {
			out = append(out, p)
		}
	}
	return out
}

func request(t *target, deadline time.Time, pauses []fleet.Pause) deed {
	d := deed{set: map[string]any{}, result: "requested", warn: obeys(t)}
	warn := func(format string, args ...any) { d.warn = append(d.warn, fmt.Sprintf(format, args...)) }
	if t.Request == nil || *t.Request != api.RequestReboot {
		d.set[api.RequestAnnotation] = api.RequestReboot
	}
	if text := deadline.Format(time.RFC3339); !deadline.IsZero() && (t.Deadline == nil || *t.Deadline != text) {
		d.set[api.DeadlineAnnotation] = text
		if t.Deadline != nil {
			warn("this replaces its deadline %s", *t.Deadline)
		}
	}
	switch {
	case len(d.set) == 0:
		d.result = "is requested already"
	case t.Request != nil && *t.Request != api.RequestReboot:
		warn("the annotation %s has the value %q, which requests nothing; it is replaced", api.RequestAnnotation, *t.Request)
	}
	if t.Hold != nil {
		warn("it is held (%s), and is not rebooted until that ends: %s unhold %s", orNone(*t.Hold), t.program, t.Name)
	}
	for _, words := range t.others {
		warn("it is under maintenance, and is not rebooted until that ends: %s", words)
	}
	for _, p := range pauses {
		if t.Record == nil || t.Record.Lock == "" || t.Record.Lock == p.Lock {
			warn("the lock %s is paused (%s), and no node reboots until that ends", p.Lock, orNone(p.Why))
		}
	}
	switch undo := undoingOf(t.Record); {
	case t.Abort != nil:
		warn("it is being aborted (%s), and this request is given up with that, unless the abort comes too late: request it again when the annotation %s is gone", orNone(*t.Abort), api.AbortAnnotation)
	case undo.Reason == api.ReasonAborted:
		warn("its reboot is being aborted, and this request is given up with that: request it again when that is done")
	case undo.Ends:
		warn("its last reboot is being given up; this requests another one after that")
	case afterBoot(t.Record):
		warn("it has just rebooted and is %s; this requests another reboot after that", t.Record.Phase)
	case t.Record != nil && t.Record.Order != nil && len(d.set) > 0:
		warn("its reboot was ordered, and this may request another one after that: %s", t.sentence())
	case t.Record != nil && len(d.set) > 0:
		warn("a reboot is under way there, which serves this request, too: %s", t.sentence())
	}
	return d
}

// undoingOf is how an operation is being put back, zero if it is not.
func undoingOf(r *api.Record) (out api.Undo) {
	if r != nil && r.Undoing() != nil {
		out = *r.Undoing()
	}
	return out
}

// obeys warns where nobody, or not everybody, will obey what is written.
func obeys(t *target) (out []string) {
	switch {
	case t.Going:
		out = append(out, "the Node is being deleted")
	case t.RecordErr != nil:
		out = append(out, fmt.Sprintf("its record cannot be read, and its daemon takes no action until people give it up (%s abort %s): %v", t.program, t.Name, t.RecordErr))
	case t.State() == fleet.NoDaemon:
		out = append(out, "no daemon of rebootd has run there yet: nobody obeys until one does")
	}
	return out
}

func orNone(why string) string {
	if why == "" {
		return "no reason is given"
	}
	return why
}

func newCancel(e *env) *cobra.Command {
	a := &act{e: e, doing: "cancel the request of", judge: cancelled, same: sameOperation}
	c := &cobra.Command{
		Use: "cancel NODE... | -l SELECTOR | --all", Short: "Withdraw what request has asked for",
		Long: `Withdraw what request has asked for: removes the annotation ` + api.RequestAnnotation + `. A node that waits or drains is put back.

What a sentinel on the host requests is not withdrawn by this: remove the file there, or abort, which gives up an operation
whatever has requested it. A reboot that was ordered is not stopped.`,
		Example: "  " + e.name + " cancel node-7",
	}
	a.flags(c)
	return c
}

func cancelled(t *target) deed {
	d := deed{set: map[string]any{api.RequestAnnotation: nil}, result: "request cancelled", warn: obeys(t)}
	r := t.Record
	by := sentinels(t)
	switch {
	case t.Request == nil && by != "":
		d.set = nil
		d.err = fmt.Errorf("%s: nothing was cancelled: its reboot is requested by %s, which this command cannot withdraw; remove that on the host, or give the reboot up: %s abort %s", t.Name, by, t.program, t.Name)
		return d
	case t.Request == nil:
		d.set, d.warn, d.idle, d.result = nil, nil, true, "unchanged: nothing is requested"
		return d
	case by != "":
		d.warn = append(d.warn, fmt.Sprintf("its reboot is also requested by %s, and continues; remove that on the host, or give the reboot up: %s abort %s", by, t.program, t.Name))
	}
	switch {
	case r == nil:
	case afterBoot(r):
		d.warn = append(d.warn, fmt.Sprintf("it has rebooted already, and is %s", r.Phase))
	case r.Order != nil:
		d.warn = append(d.warn, "its reboot was ordered, which is too late to cancel: "+t.sentence())
	}
	if t.Deadline != nil {
		d.warn = append(d.warn, fmt.Sprintf("its deadline %s stays, for later requests; to remove it: kubectl annotate node %s %s-", *t.Deadline, t.Name, api.DeadlineAnnotation))
	}
	return d
}

// sentinels are what has requested the operation besides the annotation, as far as the
// record says that.
func sentinels(t *target) string {
	switch r := t.Record; {
	case r != nil && len(r.Files) > 0:
		s := r.Files[0].Path
		if n := len(r.Files) - 1; n > 0 {
			s += fmt.Sprintf(" and %s", count(n, "other sentinel"))
		}
		return s
	case r != nil && !r.Annotated && t.Request == nil && r.Request != "":
		return r.Request
	}
	return ""
}

// sameOperation says whether a request has not become another operation's: it may have become
// one where there was none yet.
func sameOperation(was, is *target) bool {
	return recordID(was) == recordID(is) || was.Record == nil && was.RecordErr == nil
}

func recordID(t *target) string {
	if t.Record == nil {
		return ""
	}
	return t.Record.ID
}

// rebooted says whether a node has rebooted: by the operation that is waited for, or, asked,
// by the one that serves the request.
func rebooted(w *waited, n *fleet.Node, asked bool) verdict {
	switch {
	case n == nil:
		return verdict{outcomeFailed, "the Node is gone"}
	case n.UID != w.UID:
		return verdict{outcomeFailed, "the Node was deleted and created again"}
	case n.RecordErr != nil:
		return verdict{outcomeFailed, sentenceOf(n)}
	}
	w.served = w.served || n.Request == nil || *n.Request != api.RequestReboot
	if r := n.Record; r != nil && r.Phase == api.PhaseHalted && (w.id == "" || w.id == r.ID || asked && !w.served) {
		return verdict{outcomeHalted, sentenceOf(n)}
	}
	if asked && w.id != "" && afterBoot(w.Record) && w.Record.ID == w.id && w.wrote { // the next is meant
		w.known[w.id], w.id = true, ""
	}
	if r := n.Record; r != nil && !w.known[r.ID] && (w.id == "" || w.id == r.ID) {
		w.id = r.ID
		return verdict{}
	}
	if asked && !w.served {
		if w.id != "" {
			w.known[w.id], w.id = true, "" // the operation that serves it comes after that
		}
		return verdict{}
	}
	if s, ok := ended(w, n); ok {
		return judged(s)
	}
	switch {
	case n.Record != nil && w.id == "":
		return verdict{} // that of before
	case n.Condition != nil && n.Condition.Status == "True" && n.Record == nil:
		return verdict{} // what it says is from before
	case n.BootID != w.BootID && n.BootID != "" && n.Record != nil:
		return verdict{outcomeDone, "it has rebooted; another operation has begun since"}
	case n.BootID != w.BootID && n.BootID != "":
		return verdict{outcomeDone, "it has rebooted: " + sentenceOf(n)}
	case w.id != "" && n.Condition != nil && n.Condition.Reason == string(api.ReasonRebootVerified):
		return verdict{outcomeDone, sentenceOf(n)}
	case w.id == "":
		return verdict{outcomeFailed, "the request was withdrawn: " + sentenceOf(n)}
	default:
		return verdict{outcomeFailed, "it was not rebooted: " + sentenceOf(n)}
	}
}

// ended is the summary of the operation that is waited for, if its node's history has it: of
// several that nobody has seen, one that has rebooted the node.
func ended(w *waited, n *fleet.Node) (out api.Summary, ok bool) {
	past, _ := n.History()
	for _, s := range past {
		is := w.id != "" && s.ID == w.id || w.id == "" && !w.known[s.ID]
		if is && (!ok || out.Result != api.ReasonRebootVerified) {
			out, ok = s, true
		}
	}
	return out, ok
}

// judged is what became of an operation, of which a reboot was wanted.
func judged(s api.Summary) verdict {
	said := string(s.Result)
	if s.Message != "" {
		said += ": " + s.Message
	}
	switch {
	case s.Result == api.ReasonRebootVerified:
		return verdict{outcomeDone, said}
	case s.Result == api.ReasonCancelled && s.NewBootID != "":
		return verdict{outcomeDone, "it has rebooted, and was not verified: " + said}
	default:
		return verdict{outcomeFailed, said}
	}
}
