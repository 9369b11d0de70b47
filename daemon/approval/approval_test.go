package approval

import (
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

var now = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

const (
	id        = "20261127T110000.000-abcdef01"
	anotherID = "20261126T110000.000-abcdef01"
	command   = "kubectl annotate node n rebootd.dev/approval=" + id
)

// view is that of a node whose operation is in a phase since a while ago; "" is no record.
func view(phase api.Phase, ago time.Duration, value string) gate.View {
	v := gate.View{Now: now, Node: gate.Node{Name: "n"}}
	if phase != "" {
		since := now.Add(-ago)
		v.Record = &api.Record{ID: id, Phase: phase, Since: since, Began: &api.Began{Since: since}}
	}
	if value != "-" {
		v.Node.Annotations = map[string]string{api.ApprovalAnnotation: value}
	}
	return v
}

func TestApproval(t *testing.T) {
	failed := view(api.PhaseDraining, time.Minute, "until 2026-11-27T11:30:00Z")
	failed.Record.Order = &api.Order{At: now.Add(-40 * time.Minute)}
	ordered := view(api.PhaseRebooting, time.Minute, "until 2026-11-27T11:30:00Z")
	ordered.Record.DrainSince = now.Add(-time.Hour)
	for name, tc := range map[string]struct {
		v    gate.View
		want string // why it is closed, exactly; "" if it is open
	}{
		"nothing is on record":          {view("", 0, "-"), "this reboot needs approval, by the annotation rebootd.dev/approval"},
		"and an ID":                     {view("", 0, anotherID), "this reboot needs approval, by the annotation rebootd.dev/approval; the annotation approves the operation " + anotherID},
		"and a time":                    {view("", 0, "until 2026-11-27T12:00:01Z"), ""},
		"waiting":                       {view(api.PhaseWaiting, 0, "-"), "this reboot needs approval: " + command},
		"this operation":                {view(api.PhaseWaiting, 0, id), ""},
		"with spaces":                   {view(api.PhaseWaiting, 0, " "+id+"\n"), ""},
		"another operation":             {view(api.PhaseWaiting, 0, anotherID), "this reboot needs approval: " + command + " --overwrite; the annotation approves the operation " + anotherID + ", and this one is " + id},
		"nothing":                       {view(api.PhaseWaiting, 0, ""), "this reboot needs approval: " + command + ` --overwrite; its value "" is neither this operation's ID nor "until" and a time`},
		"a word":                        {view(api.PhaseWaiting, 0, "yes\x1b, I do"), "this reboot needs approval: " + command + ` --overwrite; its value "yes, I do" is neither this operation's ID nor "until" and a time`},
		"a part of the ID":              {view(api.PhaseWaiting, 0, id[:20]), "this reboot needs approval: " + command + ` --overwrite; the annotation approves the operation ` + id[:20] + ", and this one is " + id},
		"until a time":                  {view(api.PhaseQueued, 0, "until 2026-11-27T13:00:01+01:00"), ""},
		"until just now":                {view(api.PhaseQueued, 0, "until 2026-11-27T13:00:00+01:00"), "this reboot needs approval: " + command + " --overwrite; the annotation approves what began before 2026-11-27T12:00:00Z"},
		"until whenever":                {view(api.PhaseQueued, 0, "until tomorrow"), "this reboot needs approval: " + command + ` --overwrite; its value "until tomorrow" is not "until" and a time such as 2026-12-01T06:00:00Z`},
		"until a day":                   {view(api.PhaseQueued, 0, "until 2026-12-01"), "this reboot needs approval: " + command + ` --overwrite; its value "until 2026-12-01" is not "until" and a time such as 2026-12-01T06:00:00Z`},
		"withdrawn":                     {view(api.PhaseDraining, time.Hour, "-"), "the approval of this reboot was withdrawn: " + command},
		"withdrawn before the order":    {view(api.PhaseRebooting, time.Hour, "-"), "the approval of this reboot was withdrawn: " + command},
		"it ran out while draining":     {view(api.PhaseDraining, time.Hour, "until 2026-11-27T11:30:00Z"), ""},
		"made to run out before":        {view(api.PhaseDraining, time.Hour, "until 2026-11-27T10:30:00Z"), "the approval of this reboot was withdrawn: " + command + " --overwrite; the annotation approves what began before 2026-11-27T10:30:00Z"},
		"it ran out before the order":   {ordered, ""},
		"it ran out, the command fails": {failed, ""},
		"a new drain":                   {view(api.PhaseDraining, time.Minute, "until 2026-11-27T11:30:00Z"), "the approval of this reboot was withdrawn: " + command + " --overwrite; the annotation approves what began before 2026-11-27T11:30:00Z"},
	} {
		got := Gate{}.Look(tc.v)
		if got.Why != tc.want || (got.State == gate.Closed) != (tc.want != "") {
			t.Errorf("%s:\ngot  %+v\nwant %s", name, got, tc.want)
		}
		if !got.Until.IsZero() {
			t.Errorf("%s: it opens by itself at %s", name, got.Until)
		}
	}
}

// However long the name and the value are, the command fits into what people are shown.
func TestTheCommandIsShown(t *testing.T) {
	for _, value := range []string{strings.Repeat("x", 500), "until " + strings.Repeat("x", 500), "20261126T110000.000-" + strings.Repeat("x", 500)} {
		v := view(api.PhaseWaiting, 0, value)
		v.Node.Name = strings.Repeat("n", 63)
		if got := (Gate{}).Look(v).Why; len(got) > 300 || !strings.Contains(got, "kubectl annotate node "+v.Node.Name+" rebootd.dev/approval="+id+" --overwrite") {
			t.Errorf("%d bytes: %s", len(got), got)
		}
	}
}

// Who has approved is told, as far as it is known: in passing while the node waits, and
// for the record.
func TestWhoHasApproved(t *testing.T) {
	at := time.Date(2026, 11, 27, 11, 59, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		by           *gate.Setter
		note, opened string
	}{
		"nobody knows": {nil, "approved", "the operation " + id + " is approved by the annotation rebootd.dev/approval=" + id},
		"by":           {&gate.Setter{Manager: "kubectl-annotate"}, "approved by kubectl-annotate", "the operation " + id + " is approved by the annotation rebootd.dev/approval=" + id + ", which kubectl-annotate set"},
		"by, and when": {&gate.Setter{Manager: "kubectl\x1b-annotate", At: at}, "approved by kubectl-annotate", "the operation " + id + " is approved by the annotation rebootd.dev/approval=" + id + ", which kubectl-annotate set at 2026-11-27T11:59:00Z"},
	} {
		v := view(api.PhaseWaiting, 0, id)
		if tc.by != nil {
			v.Node.SetBy = map[string]gate.Setter{api.ApprovalAnnotation: *tc.by}
		}
		if got := (Gate{}).Look(v); got.State != gate.Open || got.Note != tc.note || got.Opened != tc.opened {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := (Gate{}).Look(view("", 0, "until 2026-12-01T06:00:00Z")); got.Opened != "" {
		t.Errorf("there is no operation yet: %+v", got)
	}
}

// It asks nobody, is passed over after the deadline, and has the node put back.
func TestKind(t *testing.T) {
	k := Gate{}.Kind()
	if k.Binds != gate.BeforeQueue|gate.WhileDraining || !k.Soft || k.Opens != api.ReasonApproved {
		t.Errorf("%+v", k)
	}
}

// What is set ahead and can never approve anything is told before a reboot is requested, at
// night, when nobody is there to correct it. What is left from an earlier reboot is not.
func TestInvalid(t *testing.T) {
	for value, want := range map[string]string{
		"-":                            "",
		id:                             "",
		"until 2020-01-01T00:00:00Z":   "",
		"until 2030-01-01T00:00+01:00": `the annotation rebootd.dev/approval approves nothing: its value "until 2030-01-01T00:00+01:00" is not "until" and a time such as 2026-12-01T06:00:00Z`,
		"true":                         `the annotation rebootd.dev/approval approves nothing: its value "true" is neither an operation's ID nor "until" and a time`,
	} {
		if got := (Gate{}).Invalid(view("", 0, value).Node); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}
