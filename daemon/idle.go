package daemon

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
)

const (
	// endShown is for how long the condition of a node that has nothing to do shows first
	// of all how its last operation has ended.
	endShown = 10 * time.Minute
	// firstShown is within what time of the start the first condition is written: thousands
	// may be installed at once.
	firstShown = 10 * time.Second
	// lastEnded introduces how that was, from then on.
	lastEnded = "; the last operation ended at "
)

// idleWords are the reason and the message of the condition of a node without an operation,
// for which nobody asks. How the last one ended is taken from the condition that the Node
// has, so that the next start of the daemon says the same.
func idleWords(message string, have *corev1.NodeCondition, at time.Time) (reason, shown string) {
	end := ""
	switch {
	case have == nil || have.Status != corev1.ConditionFalse:
	case have.Reason == string(api.ReasonNotRequired):
		if i := strings.Index(have.Message, lastEnded); i >= 0 {
			end = printable.Line(have.Message[i:], maxMessage/2)
		}
	case at.Sub(have.LastHeartbeatTime.Time) < endShown:
		return have.Reason, have.Message
	default:
		end = printable.Line(fmt.Sprintf("%s%s: %s: %s", lastEnded, have.LastTransitionTime.UTC().Format(time.RFC3339), have.Reason, have.Message), maxMessage/2)
	}
	// What others have written must not be taken for the end of an operation the next time.
	message = strings.ReplaceAll(printable.Line(message, max(0, maxMessage-len(end))), lastEnded, ","+lastEnded[1:])
	return string(api.ReasonNotRequired), message + end
}
