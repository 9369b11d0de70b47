package daemon

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/printable"
)

// maxStatus bounds systemd's status, in bytes.
const maxStatus = 2000

// voice is what people have been told.
type voice struct {
	status string      // systemd's status
	silent time.Time   // since when there is nothing to say but what is about to change; zero: there is
	told   decide.Step // in the log and as an Event
	events allowance
}

// hear notes whether there is something to say.
func (v *voice) hear(silent bool, now time.Time) {
	if !silent {
		v.silent = time.Time{}
	} else if v.silent.IsZero() {
		v.silent = now
	}
}

// isBrief says whether what was said before may stand, as there will be something to say in a
// moment.
func (v *voice) isBrief(now time.Time) bool {
	return v.silent.IsZero() || now.Sub(v.silent) < moreKept
}

// say brings what people see of the daemon itself up to date: systemd's status,
// the metrics, and, when a lasting state begins, the log and an Event.
func (d *Daemon) say(s decided) {
	step := s.step
	d.voice.hear(step.Silent, s.now)
	reason, message := step.Reason, shownMessage(step)
	if s.node != nil && !d.cfg.DryRun {
		if c := d.shown(step, s.record != nil, s.now); c != nil {
			reason, message = api.Reason(c.Reason), c.Message
		}
	}
	text := fmt.Sprintf("%s: %s", reason, message)
	if step.Detail != "" {
		text += " (" + step.Detail + ")"
	}
	if d.reach.err != nil && step.Reason != api.ReasonAPIUnreachable {
		text = fmt.Sprintf("%s: %v; meanwhile %s", api.ReasonAPIUnreachable, d.reach.err, text)
	}
	if text = printable.Line(text, maxStatus); text != d.voice.status {
		d.voice.status = text
		d.cfg.Status(text)
		d.cfg.Log.Debug().Str("status", text).Msg("status")
	}
	d.cfg.Metrics.observe(d.seen(s))
	if !step.Do.Lasts() || step.Silent || d.steps.busy {
		return // told when it is done, or not at all
	}
	if step.Reason == api.ReasonNotRequired && reason != step.Reason {
		if d.voice.told.Reason == "" { // by this start of the daemon; the Event is there
			d.voice.told = decide.Step{Reason: reason, Message: message}
			d.log(d.voice.told)
		}
		return // how the last operation has ended is shown, and was told then
	}
	if step.Reason == d.voice.told.Reason && step.Reason.Info().Quiet {
		return
	}
	d.tellOnce(step)
}

// shownMessage is what the Node's condition says of a step, and systemd's status.
func shownMessage(s decide.Step) string {
	if s.More == "" {
		return s.Message
	}
	return s.Message + "; " + s.More
}

// tellOnce tells what has not just been told.
func (d *Daemon) tellOnce(step decide.Step) {
	if told := d.voice.told; step.Reason != told.Reason || step.Message != told.Message {
		d.tell(step)
	}
}

// mention tells something in passing: what the node waits for has been told, and lasts.
func (d *Daemon) mention(step decide.Step) {
	before := d.voice.told
	d.tell(step)
	d.voice.told = before
}

// noteOnce tells something in passing that an earlier start of the daemon may have told.
func (d *Daemon) noteOnce(reason api.Reason, text string) {
	d.cfg.Log.Info().Str("reason", string(reason)).Msg(printable.Line(text, maxMessage))
	if !d.cfg.DryRun {
		d.events.once(corev1.EventTypeNormal, reason, text)
	}
}

// tell says once, in the log and as an Event, what has been done or what has
// begun.
func (d *Daemon) tell(step decide.Step) {
	d.voice.told = step
	d.log(step)
	if step.Reason == api.ReasonNotRequired || d.node.view == nil || d.cfg.DryRun {
		return
	}
	kind := corev1.EventTypeNormal
	if step.Reason.Info().Warning {
		kind = corev1.EventTypeWarning
	}
	now := d.clock.now()
	if now.Before(d.voice.events.due(d.node.record)) {
		return // the log has it
	}
	d.voice.events.spend(d.node.record, now)
	d.events.add(kind, step.Reason, step.Message)
}

// log says it in the log.
func (d *Daemon) log(step decide.Step) {
	line := d.cfg.Log.Info()
	if step.Reason.Info().Warning {
		line = d.cfg.Log.Warn()
	}
	line = line.Str("reason", string(step.Reason)).Str("phase", string(phaseOf(d.node.record)))
	if step.Detail != "" {
		line = line.Str("detail", printable.Line(step.Detail, maxMessage))
	}
	if d.node.record != nil {
		line = line.Str("operation", d.node.record.ID)
	}
	line.Msg(printable.Line(step.Message, maxMessage))
}
