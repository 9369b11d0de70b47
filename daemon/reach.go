package daemon

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/rs/zerolog"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"rebootd.dev/daemon/api"
)

// reach is whether the API server answers. It belongs to the loop.
type reach struct {
	err     error // why the last call failed; nil: the API server answers
	since   time.Time
	log     zerolog.Logger
	metrics *Metrics
}

// see notes how a call has ended, and says once that the API server is away, and that
// it is back.
func (r *reach) see(err error) {
	switch {
	case err == nil && r.err != nil:
		r.log.Info().Dur("after", time.Since(r.since)).Msg("the API server answers again")
	case err != nil && r.err == nil:
		r.since = time.Now()
		r.log.Warn().Err(err).Str("reason", string(api.ReasonAPIUnreachable)).
			Msg("the API server cannot be reached; continuing as far as possible and retrying")
	}
	r.err = err
	r.metrics.apiUp(err == nil)
}

// unreachable tells an API server that cannot be reached, or not just now, from
// one that refuses.
func unreachable(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		var netErr net.Error
		return errors.As(err, &netErr) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, net.ErrClosed)
	}
	return apierrors.IsServerTimeout(err) || apierrors.IsTimeout(err) || apierrors.IsTooManyRequests(err) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err)
}

// refusal is what the API server says when it refuses a write for good: by a policy or
// a webhook of the cluster's, for lack of a right, or because of what is written. That it
// does not know who asks (401) may pass: credentials expire, and are renewed.
func refusal(err error) (words string, is bool) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || unreachable(err) {
		return "", false
	}
	if apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsRequestEntityTooLargeError(err) {
		return status.Status().Message, true
	}
	return "", false
}
