package kit

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
)

// What the daemon says on its Node is read here by the names that the README gives to
// people, and not by the daemon's own code.

// Record is what the tests look at of a Node's record.
type Record struct {
	Phase    string `json:"phase"`
	ID       string `json:"id"`
	Cordoned bool   `json:"cordoned"`
	Attempts int    `json:"attempts"`
}

// RecordOf is the record of a Node, empty if there is none.
func RecordOf(n *corev1.Node) (r Record) {
	if s := n.Annotations["rebootd.dev/operation"]; s != "" {
		_ = json.Unmarshal([]byte(s), &r)
	}
	return r
}

// Condition is what the daemon says of a Node, empty if it has not said anything.
func Condition(n *corev1.Node) corev1.NodeCondition {
	for _, c := range n.Status.Conditions {
		if c.Type == "RebootRequired" {
			return c
		}
	}
	return corev1.NodeCondition{}
}

// Idle says that the Node has no record and that its condition says so.
func Idle(n *corev1.Node) bool {
	return n.Annotations["rebootd.dev/operation"] == "" && Condition(n).Status != corev1.ConditionTrue
}
