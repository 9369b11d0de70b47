// Package approval is the gate of --approval: no reboot begins that nobody has approved,
// by the annotation rebootd.dev/approval of the Node. Its value is the ID of the operation,
// so that yesterday's approval does not serve tomorrow's reboot, or "until" and a time,
// for every operation that begins before then. People, CI jobs and change management set
// it alike: whoever may patch Nodes may approve. The daemon itself never writes it, and
// the admission policies deny that.
package approval

import (
	"fmt"
	"strings"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/printable"
)

// maxValue is what is quoted of the annotation at most, in bytes.
const maxValue = 36

// Gate is the gate.
type Gate struct{}

// Kind is what is to be known of the gate.
func (Gate) Kind() gate.Kind {
	return gate.Kind{
		Name: "approval", Reason: api.ReasonAwaitingApproval, Opens: api.ReasonApproved, Binds: gate.BeforeQueue | gate.WhileDraining, Soft: true,
		Meaning: "`--approval`, and the annotation `rebootd.dev/approval` on the Node does not approve the operation, or no longer does",
	}
}

// Look says whether the operation is approved.
func (Gate) Look(v gate.View) gate.Verdict {
	value, there := v.Node.Annotations[api.ApprovalAnnotation]
	value = strings.TrimSpace(value)
	refusal := ""
	if there {
		if refusal = refused(value, v); refusal == "" {
			return approved(value, v)
		}
	}
	why := "this reboot needs approval"
	if begun(v.Record) {
		why = "the approval of this reboot was withdrawn"
	}
	if v.Record == nil {
		why += ", by the annotation " + api.ApprovalAnnotation
	} else {
		why += fmt.Sprintf(": kubectl annotate node %s %s=%s", v.Node.Name, api.ApprovalAnnotation, v.Record.ID)
		if there {
			why += " --overwrite"
		}
	}
	if refusal != "" {
		why += "; " + refusal
	}
	return gate.Verdict{State: gate.Closed, Why: why}
}

// Invalid says that the annotation could never approve anything: it may be set ahead, for a
// reboot that is requested when nobody is there to correct it.
func (Gate) Invalid(n gate.Node) string {
	value, there := n.Annotations[api.ApprovalAnnotation]
	value = strings.TrimSpace(value)
	quoted, why := printable.Line(value, maxValue), ""
	_, isUntil, err := parseUntil(value)
	switch {
	case !there:
	case isUntil && err != nil:
		why = notATime(quoted)
	case !isUntil && !isID(value):
		why = fmt.Sprintf("its value %q is neither an operation's ID nor \"until\" and a time", quoted)
	}
	if why == "" {
		return ""
	}
	return "the annotation " + api.ApprovalAnnotation + " approves nothing: " + why
}

// parseUntil reads "until" and a time.
func parseUntil(value string) (t time.Time, is bool, err error) {
	until, is := strings.CutPrefix(value, "until ")
	if is {
		t, err = time.Parse(time.RFC3339, strings.TrimSpace(until))
	}
	return t, is, err
}

func notATime(quoted string) string {
	return fmt.Sprintf("its value %q is not \"until\" and a time such as 2026-12-01T06:00:00Z", quoted)
}

// refused says why a value does not approve the operation, "" if it does.
func refused(value string, v gate.View) string {
	quoted := printable.Line(value, maxValue)
	if t, is, err := parseUntil(value); is {
		switch {
		case err != nil:
			return notATime(quoted)
		case !began(v).Before(t):
			return "the annotation approves what began before " + t.UTC().Format(time.RFC3339)
		}
		return ""
	}
	switch {
	case v.Record != nil && value == v.Record.ID:
		return ""
	case !isID(value):
		return fmt.Sprintf("its value %q is neither this operation's ID nor \"until\" and a time", quoted)
	case v.Record == nil:
		return "the annotation approves the operation " + quoted
	}
	return fmt.Sprintf("the annotation approves the operation %s, and this one is %s", quoted, v.Record.ID)
}

// isID says whether a value is like the ID of an operation.
func isID(s string) bool {
	at, _, ok := strings.Cut(s, "-")
	_, err := time.Parse("20060102T150405.000", at)
	return ok && err == nil
}

// begun says whether the node has been cordoned for the operation.
func begun(r *api.Record) bool {
	return r != nil && r.Phase != api.PhaseWaiting && r.Phase != api.PhaseQueued
}

// began is when the operation has begun: now, as long as the node is not cordoned. That
// an approval runs out later withdraws nothing.
func began(v gate.View) time.Time {
	r := v.Record
	if !begun(r) {
		return v.Now
	}
	t := r.DrainBegan()
	if r.Order != nil && r.Order.At.Before(t) { // its command failed, and the node is drained again
		t = r.Order.At
	}
	return t
}

// approved says by whom, as far as the API server knows it.
func approved(value string, v gate.View) gate.Verdict {
	out := gate.Verdict{State: gate.Open, Note: "approved"}
	if v.Record == nil {
		return out
	}
	out.Opened = fmt.Sprintf("the operation %s is approved by the annotation %s=%s", v.Record.ID, api.ApprovalAnnotation, printable.Line(value, maxValue))
	if by, known := v.Node.SetBy[api.ApprovalAnnotation]; known {
		who := printable.Line(by.Manager, maxValue)
		out.Note += " by " + who
		out.Opened += ", which " + who + " set"
		if !by.At.IsZero() {
			out.Opened += " at " + by.At.UTC().Format(time.RFC3339)
		}
	}
	return out
}

var _ gate.Reader = Gate{}
