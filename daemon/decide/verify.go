package decide

import (
	"fmt"
	"time"
)

// booted begins the verification: the boot ID of the record is no longer the
// machine's.
func booted(r *Record, f Facts, message string) Step {
	n := r.in(Verifying, f.Now)
	n.Failure, n.Annotated, n.Due = nil, false, time.Time{}
	return Step{
		Do: Write, Reason: VerifyStarted, Record: n, ClearRequest: r.Annotated,
		Message: fmt.Sprintf("%s: boot %s; waits for the node to be healthy", message, f.Boot.ID),
	}
}

func verifying(p Policy, r *Record, f Facts) Step {
	if !anew(r, f) {
		return sameBoot()
	}
	verify := Step{Do: Wait, Reason: VerifyStarted, Message: "waits for the node to be healthy", Detail: ailing(f)}
	if s, ok := takeLease(p, f, verify, false); ok {
		return s
	}
	if s, ok := passed(p, r, f); ok {
		return s
	}
	limit := bootTime(r, f).Add(p.HealthTimeout)
	if !f.Now.Before(limit) {
		n := r.in(Halted, f.Now)
		n.Failure = &Failure{Reason: Unhealthy, Message: fmt.Sprintf("not healthy %s after the boot: %s", p.HealthTimeout, ailing(f))}
		return Step{Do: Write, Reason: Unhealthy, Message: n.Failure.Message, Record: n}
	}
	s := verify
	s.Until = limit
	switch {
	case foreignLease(p, f):
		s.Message = "rebooted; " + f.NodeLease.Why
		s = lookAgain(f, s)
		s.Until = earlier(limit, s.Until)
	case !f.HealthySince.IsZero():
		s.Message = fmt.Sprintf("healthy; must stay so for %s", p.Settle)
		s.Until = earlier(limit, f.HealthySince.Add(p.Settle))
	}
	return s
}

// sameBoot is the step for a record of what comes after a boot, on the boot from
// before: only somebody's hand can have written it.
func sameBoot() Step {
	return Step{Do: Wait, Reason: RecordInvalid, Message: "the record says that the machine has been rebooted, and its boot ID says that it has not: hands off"}
}

// passed ends the operation when the node is and stays healthy.
func passed(p Policy, r *Record, f Facts) (Step, bool) {
	if r.Cordoned && !ourCordon(r, f) {
		// The cordon is gone, so it is no longer ours to remove; one that comes
		// later is somebody else's.
		n := *r
		n.Cordoned = false
		return Step{Do: Write, Reason: Uncordoned, Message: "somebody uncordoned the node", Record: &n}, true
	}
	// Not from under the hands of an operator that has the node now.
	if f.HealthySince.IsZero() || f.Now.Before(f.HealthySince.Add(p.Settle)) || foreignLease(p, f) {
		return Step{}, false
	}
	if s, ok := takeLease(p, f, Step{Reason: VerifyStarted, Message: "healthy"}, true); ok {
		return s, true
	}
	message := fmt.Sprintf("rebooted: boot %s follows %s, the node is healthy", f.Boot.ID, r.BootID)
	if f.Boot.ID == r.BootID {
		message = fmt.Sprintf("soft-rebooted within boot %s, the node is healthy", r.BootID)
	}
	return Step{Do: Restore, Reason: RebootVerified, Message: message}, true
}

// bootTime is when the boot that is verified began; the clock may have been
// wrong then, and in that case it is when we noticed.
func bootTime(r *Record, f Facts) time.Time {
	if f.Boot.ID == r.BootID {
		return r.Since
	}
	if f.Boot.Time.After(f.Now) || r.Order != nil && f.Boot.Time.Before(r.Order.At.Truncate(time.Second)) {
		return r.Since
	}
	return f.Boot.Time
}

func ailing(f Facts) string {
	if f.HealthySince.IsZero() {
		return f.Ailing
	}
	return "healthy, but not for long enough"
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func halted(p Policy, r *Record, f Facts) Step {
	if r.Failure.Reason == RebootOverdue {
		if f.Boot.ID != r.BootID {
			return booted(r, f, "the machine has booted at last")
		}
		if softRebooted(r, f) && ordered(r) == SoftReboot {
			return softBooted(r, f)
		}
		return Step{Do: Wait, Reason: RebootOverdue, Message: r.Failure.Message}
	}
	if !anew(r, f) {
		return sameBoot()
	}
	if s, ok := passed(p, r, f); ok {
		return s
	}
	s := Step{Do: Wait, Reason: Unhealthy, Message: r.Failure.Message, Detail: ailing(f)}
	if foreignLease(p, f) {
		return lookAgain(f, s)
	}
	if !f.HealthySince.IsZero() {
		s.Until = f.HealthySince.Add(p.Settle)
	}
	return s
}
