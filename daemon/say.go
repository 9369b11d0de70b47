package daemon

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon/decide"
)

// troubles are the reasons that somebody should look at: Warning Events, and a
// log line at level warn.
var troubles = []decide.Reason{
	decide.Blocked, decide.SlotLost, decide.NodeLeaseLost, decide.CordonLost, decide.DrainBlocked, decide.DrainTimedOut, decide.HookFailed,
	decide.RebootFailed, decide.RebootOverdue, decide.Unhealthy, decide.RecordTooNew, decide.RecordInvalid,
	decide.APIUnreachable,
}

// progress are the reasons whose later messages say nothing new to people.
var progress = []decide.Reason{decide.InQueue, decide.DrainStarted, decide.RebootOrdered, decide.VerifyStarted}

// say brings what people see of the daemon itself up to date: systemd's status,
// the metrics, and, when a lasting state begins, the log and an Event.
func (d *Daemon) say(step decide.Step) {
	text := fmt.Sprintf("%s: %s", step.Reason, step.Message)
	if step.Detail != "" {
		text += " (" + step.Detail + ")"
	}
	if d.apiErr != nil && step.Reason != decide.APIUnreachable {
		text = fmt.Sprintf("%s: %v; meanwhile %s", decide.APIUnreachable, d.apiErr, text)
	}
	if text != d.reported {
		d.reported = text
		d.Status(text)
		d.Log.Debug().Str("status", text).Msg("status")
	}
	d.Metrics.observe(d, step)

	switch step.Do {
	case decide.Wait, decide.Acquire, decide.Evict, decide.Count, decide.Hook:
	default:
		return // told when it is done
	}
	quiet := slices.Contains(progress, step.Reason) || step.Do == decide.Count // the names change with each reboot
	if d.busy || step.Reason == d.told.Reason && (step.Message == d.told.Message || quiet) {
		return
	}
	d.tell(step)
}

// tell says once, in the log and as an Event, what has been done or what has
// begun.
func (d *Daemon) tell(step decide.Step) {
	d.told = step
	trouble := slices.Contains(troubles, step.Reason)
	line := d.Log.Info()
	if trouble {
		line = d.Log.Warn()
	}
	line = line.Str("reason", string(step.Reason)).Str("phase", string(d.phase()))
	if step.Detail != "" {
		line = line.Str("detail", step.Detail)
	}
	if d.record != nil {
		line = line.Str("operation", d.record.ID)
	}
	line.Msg(step.Message)

	if step.Reason == decide.NotRequired || d.node == nil || d.DryRun {
		return
	}
	kind := corev1.EventTypeNormal
	if trouble {
		kind = corev1.EventTypeWarning
	}
	d.events.add(kind, step.Reason, step.Message)
}

func (d *Daemon) phase() decide.Phase {
	if d.record == nil {
		return decide.Idle
	}
	return d.record.Phase
}
