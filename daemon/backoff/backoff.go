// Package backoff makes the growing, jittered pauses between calls of the API server that
// fail. It knows what a server may ask for in its answer; it knows neither what is called
// nor why.
package backoff

import (
	"context"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Pauses makes the pauses of one series of calls. It is not safe for concurrent use.
type Pauses struct{ failed int }

const (
	firstBackoff = 250 * time.Millisecond
	lastBackoff  = 15 * time.Second
	// longestAsked bounds the pause that a server, or what stands before it, may ask
	// for.
	longestAsked = time.Minute
)

// Reset is for a call that has succeeded.
func (b *Pauses) Reset() { b.failed = 0 }

// Failed is how many calls in a row have failed.
func (b *Pauses) Failed() int { return b.failed }

// Wait waits after err, which may be nil.
func (b *Pauses) Wait(ctx context.Context, err error) {
	t := time.NewTimer(After(b.failed, err))
	defer t.Stop()
	b.failed++
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// After is the pause after err and the given number of earlier failures:
// doubled each time up to lastBackoff, and cut by up to a half at random so that
// nodes do not come back all at once after an outage. A server that asks for
// another pause gets that one at the least, and is spared the crowd the longer the
// more often it has asked.
func After(failed int, err error) time.Duration {
	p := lastBackoff
	if failed < 10 {
		p = min(lastBackoff, firstBackoff<<failed)
	}
	if seconds, ok := apierrors.SuggestsClientDelay(err); ok && seconds > 0 {
		asked := min(time.Duration(seconds)*time.Second, longestAsked)
		return asked + rand.N(min(lastBackoff, asked<<min(failed, 4))+1)
	}
	return p/2 + rand.N(p/2)
}
