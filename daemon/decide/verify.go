package decide

import (
	"fmt"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/printable"
)

// minWatch is for how long a start of the daemon looks at a node's health at the least
// before it halts the rollout: it may have been away while the time ran out.
const minWatch = 2 * time.Minute

// Ailing is why the node does not count as healthy; "" when it does.
func Ailing(f Facts) string {
	u := f.Boot.Userspace
	g, isClosed := closed(f, gate.BeforeUncordon)
	asked, isUnknown := unknown(f, gate.BeforeUncordon)
	switch {
	case isClosed:
		return g.Why
	case isUnknown:
		return "waiting for the answer of gate " + asked.Name
	case f.Node.KubeletBoot != f.Boot.ID:
		return "the kubelet has not reported this boot yet"
	case u.SoftReboots > 0 && f.Node.Heartbeat.Before(u.Since.Truncate(time.Second)):
		// Within a boot the kubelet's last word may be from before.
		return "the kubelet has not reported since the soft reboot"
	case !f.Node.Ready:
		return "the Node is not Ready: " + f.Node.ReadyMessage
	default:
		return f.Node.Checks
	}
}

// verifyWords are what people are told until the node is healthy.
func verifyWords(r *api.Record, f Facts) string {
	how := "has booted"
	switch {
	case r.Soft:
		how = "has soft-rebooted"
	case r.Order == nil:
		how = "was rebooted during the drain"
	}
	return fmt.Sprintf("the machine %s: boot %s; waiting for the node to be healthy", how, f.Boot.ID)
}

// booted begins the verification: the boot ID of the record is no longer the
// machine's, or it has soft-rebooted. how says more of that, "" for nothing.
func booted(r *api.Record, f Facts, soft bool, how string) Step {
	n := in(api.PhaseVerifying, r, f)
	n.Failure, n.Annotated, n.Due, n.Undo = nil, false, time.Time{}, nil
	n.Soft = n.Soft || soft
	return tooLate(f, Step{
		Do: DoWrite, Reason: api.ReasonVerifying, Record: n, ClearRequest: r.Annotated, Asks: gate.BeforeUncordon,
		Message: verifyWords(n, f), Detail: how,
	})
}

func verifying(p Policy, r *api.Record, f Facts) Step {
	if s, ok := abortHeld(p, r, f); ok {
		return s
	}
	if !startedOver(r, f) {
		return sameBoot()
	}
	verify := Step{Do: DoWait, Reason: api.ReasonVerifying, Message: verifyWords(r, f), Detail: f.Ailing, Asks: gate.BeforeUncordon}
	if goingDown(f) {
		return awaitBoot(verify)
	}
	if s, ok := claimRest(f, verify, takeable); ok {
		return s
	}
	if s, ok := passed(p, r, f); ok {
		return s
	}
	if healthy(f) {
		// Healthy in time: the time to settle is not part of the time limit.
		verify.More, verify.Detail = fmt.Sprintf("it is healthy now, and has to stay so for %s", p.Settle), ""
		verify.Until = f.HealthySince.Add(p.Settle)
		return verify
	}
	remains := max(p.HealthTimeout-age(r, f), min(p.HealthTimeout, minWatch)-f.Running)
	if remains <= 0 {
		n := in(api.PhaseHalted, r, f)
		n.Failure = &api.Failure{Reason: api.ReasonUnhealthy, Message: fmt.Sprintf("not healthy within %s: %s", p.HealthTimeout, f.Ailing)}
		s := halts(p, f, *n.Failure)
		s.Do, s.Record, s.Asks = DoWrite, n, gate.BeforeUncordon
		return s
	}
	if g, is := closed(f, gate.BeforeUncordon); is {
		verify.More, verify.Detail = g.Why, ""
	}
	verify.Until = f.Now.Add(remains)
	return verify
}

// sameBoot is the step for a record of what comes after a boot, on the boot from
// before: only somebody's hand can have written it.
func sameBoot() Step {
	return Step{
		Do: DoWait, Reason: api.ReasonRecordInvalid,
		Message: "the record says that the machine has rebooted, but its boot ID is the same; no action until the annotation " + api.AbortAnnotation + " is set, which removes the record",
	}
}

// healthy says whether the node counts as healthy at present.
func healthy(f Facts) bool { return f.Ailing == "" && !f.HealthySince.IsZero() }

// passed ends the operation when the node is and stays healthy.
func passed(p Policy, r *api.Record, f Facts) (Step, bool) {
	if r.Cordoned && !ourCordon(r, f) {
		// The cordon is gone, so it is no longer ours to remove; one that comes
		// later is somebody else's.
		n := r.Clone()
		n.Cordoned = false
		return Step{Do: DoWrite, Reason: api.ReasonUncordoned, Message: "somebody uncordoned the node", Record: n, Asks: gate.BeforeUncordon}, true
	}
	if !healthy(f) || f.Now.Before(f.HealthySince.Add(p.Settle)) {
		return Step{}, false
	}
	last := Step{Reason: api.ReasonVerifying, Message: verifyWords(r, f), Asks: gate.BeforeUncordon}
	if s, ok := claimRest(f, last, notConfirmed); ok {
		return s, true
	}
	return Step{Do: DoRestore, Reason: api.ReasonRebootVerified, Message: verifiedWords(r, f), Uncordon: ourCordon(r, f), Served: servedBy(r, f, "operation "+r.ID+" has rebooted the machine since"), Asks: gate.BeforeUncordon}, true
}

// verifiedWords say that all is well: what has happened, how long it took, and what became
// of the pods and of the cordon.
func verifiedWords(r *api.Record, f Facts) string {
	message := fmt.Sprintf("rebooted: boot %s follows %s", f.Boot.ID, r.BootID)
	if f.Boot.ID == r.BootID {
		message = fmt.Sprintf("soft-rebooted within boot %s", r.BootID)
	}
	message += ", the node is healthy"
	if r.Cordoned || !f.Node.Unschedulable {
		message += " and back in service"
	} else {
		message += " and stays cordoned by somebody else"
	}
	if took := sinceOrder(r, f); took > 0 {
		message += fmt.Sprintf(", %s after the reboot was ordered", took.Round(time.Second))
	}
	if f.Pods != "" {
		message += "; pods: " + f.Pods
	}
	return message
}

// sinceOrder is how long ago the reboot was ordered; 0 if that is not known. Whether the clock
// was wrong when the daemon started, and has been set right, or was set wrong since, is not
// known: of the two readings the one that is longer has the setting in it.
func sinceOrder(r *api.Record, f Facts) time.Duration {
	if r.Order == nil {
		return 0
	}
	running, wall := f.Now.Sub(r.Order.At), f.Wall().Sub(r.Came().Ordered)
	if running > 0 && wall > 0 {
		return min(running, wall)
	}
	return max(0, running, wall)
}

// haltedRunbook is the page for people who find a rollout halted.
const haltedRunbook = "https://rebootd.dev/docs/runbooks/rollout-halted.md"

// halts is the step of a node that halts the rollout: what people are told lasts, and says
// what to do.
func halts(p Policy, f Facts, failed api.Failure) Step {
	until := "it is healthy"
	if failed.Reason == api.ReasonRebootOverdue {
		until = "the machine has rebooted: reboot it by hand"
	}
	s := Step{Do: DoWait, Reason: failed.Reason, Message: printable.Line(failed.Message, maxWhy) + "; the rollout is halted"}
	if p.Slots > 1 {
		s.Message += " under this slot"
	}
	switch mine := slot(f); {
	case mine.State == ClaimUnknown:
		return s // in a moment
	case mine.State == ClaimHeld && p.Slots > 1:
		others := "other nodes"
		if p.Same != "" { // its zone stays closed to the others until then
			others += " of the same zone"
		}
		s.More = fmt.Sprintf("this node keeps the %s of %d until %s; %s continue under the other slots", mine.Title, p.Slots, until, others)
	case mine.State == ClaimHeld:
		s.More = fmt.Sprintf("no other node reboots, since this node keeps the %s until %s", mine.Title, until)
	default:
		s.More = "this node waits until " + until
	}
	s.More += fmt.Sprintf("; to find out more: kubectl rebootd why %[1]s; to give the operation up: kubectl rebootd abort %[1]s, or kubectl annotate node %[1]s %[2]s=REASON; %[3]s",
		p.Node, api.AbortAnnotation, haltedRunbook)
	return s
}

func halted(p Policy, r *api.Record, f Facts) Step {
	if r.Failure.Reason == api.ReasonRebootOverdue {
		if f.Boot.ID != r.BootID {
			return booted(r, f, false, "it has booted after all")
		}
		if softRebooted(r, f) && ordered(r) == api.SoftReboot {
			return softBooted(r, f)
		}
	}
	if s, ok := abortHeld(p, r, f); ok {
		return s
	}
	if r.Failure.Reason == api.ReasonRebootOverdue {
		return halts(p, f, *r.Failure)
	}
	if !startedOver(r, f) {
		return sameBoot()
	}
	if s, ok := passed(p, r, f); ok && !goingDown(f) {
		return s
	}
	s := halts(p, f, *r.Failure)
	s.Detail, s.Asks = f.Ailing, gate.BeforeUncordon
	if settled := f.HealthySince.Add(p.Settle); healthy(f) && f.Now.Before(settled) {
		s.Until, s.Detail = settled, "healthy, but not for long enough"
	}
	return s
}
