package daemon

import (
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/printable"
)

// A daemon is made for settings that do not change. When those of its node do, since the
// configuration or the Node's labels have changed, its Run ends, and another daemon is
// made that takes its place in the same process.

// Standing is what the settings of a daemon may depend on, as it stands on its Node.
type Standing struct {
	Labels map[string]string
	// Lock is the name of the lock that the node is not done with: an operation that has
	// begun keeps the one under which it has, and a slot that is held is released first. ""
	// if any may be used.
	Lock string
}

// standing is what stands on the Node. It is known once the Node has been read.
func (d *Daemon) standing() Standing {
	s := Standing{Labels: d.node.view.labels}
	switch r := d.node.record; {
	case r != nil && begun(r) && r.Lock != "":
		s.Lock = r.Lock
	case r != nil && begun(r), d.slot.state == decide.ClaimHeld:
		s.Lock = d.policy.Lock
	}
	return s
}

// begun says whether something has been done to the node under a lock.
func begun(r *api.Record) bool { return r.Phase != api.PhaseWaiting && r.Phase != api.PhaseQueued }

// leaves says whether another daemon is to take this one's place, now. What that one could
// not take up is waited for: a step that is being done, an order whose command is not
// started yet, a program of an admin's that runs.
func (d *Daemon) leaves() bool {
	if d.cfg.Fits == nil || d.node.view == nil {
		return false
	}
	leaves := !d.cfg.Fits(d.standing())
	checking := d.checks.rest(leaves)
	return leaves && !checking && !d.steps.busy && !d.stages.runs() && !d.ordering()
}

// ordering says whether this start of the daemon has written an order, and has not started
// its command.
func (d *Daemon) ordering() bool {
	r := d.node.record
	return phaseOf(r) == api.PhaseRebooting && r.Order.By == d.instance && d.child.child.Key != r.OrderKey() && !d.cfg.DryRun
}

// Wake has the daemon look at once whether its settings are still those for its node.
func (d *Daemon) Wake() {
	select {
	case d.inbox <- func() {}:
	default: // it is about to look anyway
	}
}

// follows takes over from a daemon whose Run has returned, in the same process, what no
// other start of the daemon could know: this one counts as the same start.
func (d *Daemon) follows(before *Daemon) {
	d.voice, d.publish = before.voice, before.publish
	d.child.child, d.child.running = before.child.child, before.child.running
	d.events.waiting = before.events.waiting
	d.stages.follows(before.stages)
	d.gates.follows(before.gates)
}

// LockName is closed while the node stands in the queue of another lock than its own: the
// record says in which, and that must not be wrong once it has begun.
var LockName gate.Gate = ownGate{
	Name: "lock-name", Reason: api.ReasonQueued, Binds: gate.BeforeQueue | gate.InQueue,
	Meaning: "the node stands in the queue of a lock that is not its own any more; it leaves that queue and joins the right one. If another daemon on the node has it join the wrong one again, it waits there",
}

// leaveAgain is how soon a node leaves the queue of another lock for the second time: a
// daemon that has it join that one again and again runs beside this one.
const leaveAgain = 10 * time.Minute

const maxLockShown = 63 // as long as a lock's name may be

// wrongQueue is the stay in the queue of another lock that the node leaves, or has left last.
type wrongQueue struct {
	since, left time.Time
	told        bool // that another daemon runs beside this one
}

func (d *Daemon) lockNameVerdict() gate.Verdict {
	r := d.node.record
	if phaseOf(r) != api.PhaseQueued || r.Lock == "" || r.Lock == d.policy.Lock {
		return verdictOf("", false)
	}
	now := d.clock.now()
	if w := &d.wrong; !w.since.Equal(r.Since) && (w.left.IsZero() || now.Sub(w.left) >= leaveAgain) {
		w.since, w.left = r.Since, now
	}
	if !d.wrong.since.Equal(r.Since) {
		why := "another daemon on this node, whose lock is " + printable.Line(r.Lock, maxLockShown) + ", joins the queue of that lock again and again: run one daemon on a node"
		if !d.wrong.told {
			d.wrong.told = true
			d.noteOnce(api.ReasonQueued, why)
		}
		return gate.Verdict{State: gate.Closed, At: gate.InQueue, Why: why}
	}
	return verdictOf("leaving the queue of another lock for that of "+d.policy.Lock, true)
}
