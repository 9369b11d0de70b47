package daemon

import (
	"time"

	"github.com/rs/zerolog"

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
