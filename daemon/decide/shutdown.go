package decide

import (
	"fmt"
	"time"

	"rebootd.dev/daemon/api"
)

// goingDown says whether the machine has begun to go down.
func goingDown(f Facts) bool { return f.Shutdown.Preparing }

// awaitBoot is the step of a node whose machine goes down without an order of this
// operation's. Nothing is begun, undone or given back: after the boot there will be time
// for that, and until then others must not take the slot.
func awaitBoot(s Step) Step {
	s.Do, s.Reason, s.Detail = DoWait, api.ReasonBlocked, ""
	s.Message = "the machine is going down, but not by rebootd's order; waiting for the boot"
	return s
}

// askingLogind is what a node waits for while that is not known.
const askingLogind = "asking logind whether the machine is going down"

// askFirst has a step of an operation that undoes something or gives it back wait until it
// is known whether the machine is going down: an earlier start of the daemon may have known.
func askFirst(r *api.Record, f Facts, s Step) Step {
	if r == nil || !f.Shutdown.Pending || !turnsBack(s) && s.Do != DoRelease {
		return s
	}
	return Step{Do: DoWait, Silent: true, Reason: s.Reason, Message: s.Message, Detail: askingLogind, Asks: s.Asks}
}

// scheduled says whether the machine has a shutdown scheduled.
func scheduled(f Facts) bool { return f.Shutdown.Kind != "" }

// cancelMargin is how long before its time a scheduled reboot that is gone counts as
// cancelled: later it may be about to happen.
const cancelMargin = 10 * time.Second

// cancelled says whether a reboot that was scheduled is not any more.
func cancelled(r *api.Record, f Facts) bool {
	known := !f.Shutdown.Pending && f.Shutdown.Known
	return known && !scheduled(f) && !goingDown(f) && f.Now.Add(cancelMargin).Before(r.Due)
}

// underWay says what the machine makes of the order.
func underWay(r *api.Record, f Facts) string {
	switch {
	case goingDown(f):
		return "the machine is preparing to go down and is waiting for delay inhibitors"
	case scheduled(f):
		return fmt.Sprintf("its %s is scheduled for %s", f.Shutdown.Kind, f.Shutdown.At.Format(time.RFC3339))
	case mayBeSoftRebooted(r, f):
		return "cannot ask systemd whether the machine has soft-rebooted; retrying"
	case f.Shutdown.Known && r.Order.Accepted && r.Due.IsZero():
		return "logind has no reboot scheduled or under way"
	default:
		return ""
	}
}

// left is how much is left of the time within which the machine must go down.
func left(p Policy, r *api.Record, f Facts) time.Duration {
	ordered := time.Duration(r.Order.UptimeMillis) * time.Millisecond
	remains := min(p.RebootTimeout, ordered+p.RebootTimeout-f.Uptime)
	if r.Due.IsZero() {
		return remains
	}
	// Its own schedule is kept by the clock, which may have been set: as long as it is
	// there the machine has not forgotten it.
	return max(remains, r.Due.Sub(f.Now)+p.RebootTimeout)
}
