package daemon

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
)

// How the last operation has ended is what people are told first, for a while, and then
// what stands behind the rest, whatever is said in front and however often that changes.
func TestWhatAnIdleNodeSays(t *testing.T) {
	end := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	have := &corev1.NodeCondition{
		Type: api.RebootRequired, Status: corev1.ConditionFalse, Reason: string(api.ReasonCancelled), Message: "the reboot request was withdrawn",
		LastHeartbeatTime: metav1.NewTime(end), LastTransitionTime: metav1.NewTime(end),
	}
	says := func(message string, after time.Duration, want string) {
		t.Helper()
		reason, shown := idleWords(message, have, end.Add(after))
		if got := reason + ": " + shown; got != want {
			t.Errorf("after %s: %q, want %q", after, got, want)
		}
		have.Reason, have.Message = reason, shown
	}
	const nothing = "no reboot is requested"
	says(nothing, 0, "Cancelled: the reboot request was withdrawn")
	says(nothing, endShown-time.Second, "Cancelled: the reboot request was withdrawn")
	last := "; the last operation ended at 2026-05-04T12:00:00Z: Cancelled: the reboot request was withdrawn"
	says(nothing, endShown, "NotRequired: no reboot is requested"+last)
	says(nothing+"; /run/x is a directory", 24*time.Hour, "NotRequired: no reboot is requested; /run/x is a directory"+last)
	says(nothing, 48*time.Hour, "NotRequired: no reboot is requested"+last)
	have.Reason, have.Message = string(api.ReasonRebootVerified), strings.Repeat("x", maxMessage)
	if _, shown := idleWords(strings.Repeat("y", maxMessage), have, end.Add(time.Hour)); len(shown) > maxMessage || !strings.Contains(shown, "y"+"…"+lastEnded) {
		t.Errorf("%d bytes: %s", len(shown), shown)
	}
	have = nil
	reason, shown := idleWords(nothing, have, end)
	if reason != "NotRequired" || shown != nothing {
		t.Errorf("where there was nothing: %s: %s", reason, shown)
	}
}

// Words of others that look like the end of an operation are not taken for one, and what
// others have written into the condition is one bounded, printable line when it is repeated.
func TestWordsOfOthersInWhatAnIdleNodeSays(t *testing.T) {
	at := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	have := &corev1.NodeCondition{Type: api.RebootRequired, Status: corev1.ConditionFalse, Reason: string(api.ReasonNotRequired), Message: "no reboot is requested"}
	says := func(message string) string {
		t.Helper()
		have.Reason, have.Message = idleWords(message, have, at)
		if len(have.Message) > maxMessage || printable.Line(have.Message, maxMessage) != have.Message {
			t.Errorf("%d bytes: %q", len(have.Message), have.Message)
		}
		return have.Message
	}
	const nothing = "no reboot is requested"
	first := says(nothing + `; the annotation has the value "x` + lastEnded + `y"`)
	if again := says(nothing + `; the annotation has the value "x` + lastEnded + `y"`); again != first || strings.Count(again, "value") != 1 {
		t.Errorf("%q, and then %q", first, again)
	}
	if got := says(nothing); got != nothing {
		t.Errorf("the words are gone: %q", got)
	}
	have.Message = nothing + lastEnded + "\x1b[2J\n" + strings.Repeat("x", 10*maxMessage)
	says(nothing)
}
