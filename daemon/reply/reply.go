// Package reply is what an error of a call of the API server says: that nobody answers,
// that it would not do so for long, or that it refuses for good. It knows neither what
// was called nor what is done now.
package reply

import (
	"context"
	"errors"
	"net"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Unreachable tells an API server that cannot be reached, or not just now, from one that
// refuses.
func Unreachable(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return NoAnswer(err)
	}
	if _, denied := Denial(err); denied { // in whatever code: the API server is there
		return false
	}
	return Busy(err) || apierrors.IsInternalError(err)
}

// Busy says that the API server has too much to do to answer just now.
func Busy(err error) bool {
	return apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) || apierrors.IsServiceUnavailable(err)
}

// NoAnswer says that a call has failed without any answer.
func NoAnswer(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, net.ErrClosed)
}

// Refusal is what the API server says when it refuses a write for good: by a policy or
// a webhook of the cluster's, for lack of a right, or because of what is written. That it
// does not know who asks (401) may pass: credentials expire, and are renewed.
func Refusal(err error) (words string, is bool) {
	var status apierrors.APIStatus
	if words, denied := Denial(err); denied {
		return words, true
	}
	if !errors.As(err, &status) || Unreachable(err) {
		return "", false
	}
	if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsRequestEntityTooLargeError(err) {
		return status.Status().Message, true
	}
	return "", false
}

// Denial is what an admission webhook or an admission policy says when it denies a
// request, in whatever code it does: the words that the API server puts around it
// (k8s.io/apiserver, admission/plugin/webhook/errors and admission/plugin/policy/validating)
// tell it from other refusals.
func Denial(err error) (words string, is bool) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return "", false
	}
	words = status.Status().Message
	webhook := strings.Contains(words, `admission webhook "`) && strings.Contains(words, " denied the request")
	policy := strings.Contains(words, "olicy '") && strings.Contains(words, " denied request: ")
	return words, webhook || policy
}

// NoDryRun says that an admission webhook refuses dry runs: it has said nothing of the
// request itself.
func NoDryRun(err error) bool {
	return apierrors.IsBadRequest(err) && strings.Contains(err.Error(), "does not support dry run")
}
