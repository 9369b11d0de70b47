package daemon

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/printable"
	"rebootd.dev/daemon/reply"
)

// publishPause lies between two writes that only tell people something.
const publishPause = 5 * time.Second

// moreKept is for how long a start of the daemon leaves on the Node what an earlier one has
// told people besides, while it has nothing to say itself.
const moreKept = time.Minute

// publisher keeps what the Node tells people in step with what happens.
type publisher struct {
	at    time.Time   // of the last write
	ended decide.Step // the step that ended the last operation
	// reportWritten is the drain whose first report was written.
	reportWritten string
	refuses       int
	allowed       allowance
	marked        string // the annotation that this process has written, or could not
	plain         string // the operation in which the API server refuses what is optional in a patch; "": none
}

// keepPublished brings the Node's conditions, and the report of a drain that has just
// begun, up to date. It returns when it wants to be asked again.
func (d *Daemon) keepPublished(s decided) time.Time {
	later := s.now.Add(heartbeat)
	if d.cfg.DryRun {
		return later
	}
	var lifecycle []any
	if s.obeyed {
		lifecycle = lifecycleChanges(s.record, s.step, s.node.lifecycle, d.stages.drain != nil, s.now)
	}
	condition := d.conditionFor(s.step, s.record != nil, s.now)
	status := conditionsPatch(condition, lifecycle)
	report, key := "", d.stages.drainKey()
	if key != d.publish.reportWritten && d.stages.report(s.record) != nil {
		report = d.reportToWrite(s) // the pods seen, before any of them is gone
	}
	if status == nil && report == "" {
		return sooner(later, d.mark(s))
	}
	pause := publishPause
	if d.publish.refuses > 0 {
		pause = decide.Pause(d.publish.refuses)
	}
	if have := s.node.condition; have == nil && s.record == nil {
		if early := spread(d.cfg.NodeName, firstShown) - d.clock.running(); early > 0 {
			return s.now.Add(early)
		}
	} else if have != nil && have.Status == corev1.ConditionFalse {
		d.publish.ended = decide.Step{}
	}
	due := d.publish.at.Add(pause)
	if at := d.publish.allowed.due(s.record); report == "" && at.After(due) {
		due = at
	}
	if s.now.Before(due) && (s.node.condition != nil || d.publish.refuses > 0) {
		return due
	}
	p := statusPatch(s.node, status, report)
	switch {
	case condition == nil || d.publish.plain == operationOf(s):
	case s.record != nil:
		p.setStatus(d.status(s.step, s.record, s.now))
	case s.node.status != "" && s.obeyed: // an older version has removed the record
		p.setAnnotation(api.StatusAnnotation, nil)
	}
	data, err := p.encode()
	if err != nil {
		d.stepFailed(s.step, err)
		return later
	}
	d.publish.at = s.now
	d.publish.allowed.spend(s.record, s.now)
	work := publishing{nodePatcher{d.cfg.API, d.cfg.NodeName, data, []string{"status"}}}
	do(d, decide.Step{Do: decide.DoWait, Reason: s.step.Reason}, work.run, func(p published) {
		if p.refused != nil {
			if d.publish.refuses++; d.publish.refuses == 1 {
				d.cfg.Log.Error().Err(p.refused).Msg("the API server refuses the change of the Node's conditions; reporting by the log and the metrics only, and retrying")
			}
			return
		}
		d.publish.refuses = 0
		d.patched(s, p.patched)
		if report != "" {
			d.publish.reportWritten = key
		}
	})
	return later
}

// publishing writes what people are told, in the background. That it is refused keeps
// nothing from being done.
type publishing struct{ nodePatcher }

type published struct {
	patched
	refused error
}

// patched takes in the Node that a patch has led to. What was refused for one operation is
// tried again with the next: the policy may be replaced, and a webhook may deny for a moment.
func (d *Daemon) patched(s decided, p patched) {
	if id := operationOf(s); p.plain && d.publish.plain != id {
		d.publish.plain = id
		d.cfg.Log.Info().Strs("annotations", optional).Msg("the API server refuses annotations of this version; continuing this operation without them: apply the admission policy rebootd-own-node of this version")
	}
	d.node.see(p.node)
}

// statusPatch sets the conditions and, where it is due, the report.
func statusPatch(n *nodeView, status *patchStatus, report string) nodePatch {
	p := nodePatch{Status: status}
	if status != nil && len(status.Conditions) > 0 {
		// What is another's must not be taken for ours because it came just now.
		p.Metadata.ResourceVersion = n.resourceVersion
	}
	if report != "" {
		p.setAnnotation(api.ReportAnnotation, &report)
	}
	return p
}

// shown is what people are shown for a step, by the condition and by systemd's status; nil
// where that is about to change.
func (d *Daemon) shown(step decide.Step, hasRecord bool, at time.Time) *corev1.NodeCondition {
	have := d.node.view.condition
	want := &corev1.NodeCondition{Type: api.RebootRequired, Status: corev1.ConditionTrue, Reason: string(step.Reason), Message: printable.Line(shownMessage(step), maxMessage)}
	switch {
	case d.node.recordErr != nil:
		want.Status = corev1.ConditionUnknown
	case hasRecord && step.Silent && d.voice.isBrief(at) && have != nil && have.Status == want.Status:
		want.Reason, want.Message = have.Reason, have.Message
	case hasRecord && time.Since(d.made) < moreKept && saysMore(have, want):
		want.Message = have.Message
	case hasRecord:
	case have != nil && have.Status != corev1.ConditionFalse && d.publish.ended.Reason != "":
		want.Status = corev1.ConditionFalse
		want.Reason, want.Message = string(d.publish.ended.Reason), printable.Line(d.publish.ended.Message, maxMessage)
	case step.Reason == api.ReasonNotRequired:
		want.Status = corev1.ConditionFalse
		want.Reason, want.Message = idleWords(want.Message, have, at)
	case step.Reason == api.ReasonBlocked:
		want.Status = corev1.ConditionUnknown
	default:
		return nil
	}
	return want
}

// conditionFor is the condition that step calls for, nil when the Node's is right
// already.
func (d *Daemon) conditionFor(step decide.Step, hasRecord bool, at time.Time) *corev1.NodeCondition {
	have, want := d.node.view.condition, d.shown(step, hasRecord, at)
	if want == nil {
		return nil
	}
	now := metav1.NewTime(at.UTC().Truncate(time.Second))
	want.LastHeartbeatTime, want.LastTransitionTime = now, now
	if have != nil {
		if have.Status == want.Status && have.Reason == want.Reason && have.Message == want.Message {
			return nil
		}
		if have.Status == want.Status {
			want.LastTransitionTime = have.LastTransitionTime
		}
	}
	return want
}

// saysMore says whether a condition says what another does, and more.
func saysMore(have, want *corev1.NodeCondition) bool {
	if have == nil || have.Status != want.Status || have.Reason != want.Reason {
		return false
	}
	rest, is := strings.CutPrefix(have.Message, want.Message)
	return is && (strings.HasPrefix(rest, "; ") || strings.HasPrefix(rest, " under the slot "))
}

func (p publishing) run(ctx context.Context) (published, error) {
	n, err := p.nodePatcher.run(ctx)
	if _, is := reply.Refusal(err); is {
		return published{refused: err}, nil
	}
	return published{patched: n}, err
}
