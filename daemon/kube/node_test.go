package kube

import (
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Only who may not take on the node's name asks in the daemon's own: another answer
// is about the pod, whatever the pod is called and a webhook has to say.
func TestMayNotImpersonate(t *testing.T) {
	for message, want := range map[string]bool{
		`users "system:node:a" is forbidden: User "system:serviceaccount:rebootd:rebootd" cannot impersonate resource "users" in API group "" at the cluster scope`:                                                true,
		`nodes.authentication.k8s.io "a" is forbidden: User "system:serviceaccount:rebootd:rebootd" cannot impersonate:associated-node resource "nodes" in API group "authentication.k8s.io" at the cluster scope`: true,
		`pods "impersonate" is forbidden: node a can only evict pods with spec.nodeName set to itself`:                                                                                                             false,
		`admission webhook "w" denied the request: a node cannot impersonate a person`:                                                                                                                             false,
	} {
		err := &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: message}}
		if got := mayNotImpersonate(err); got != want {
			t.Errorf("%s: %t, want %t", message, got, want)
		}
	}
	if mayNotImpersonate(nil) {
		t.Error("no error is a refusal")
	}
}
