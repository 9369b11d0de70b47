package backoff

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Pauses grow, and a server that asks for one gets it, with room for a crowd to
// spread.
func TestAfter(t *testing.T) {
	asks := fmt.Errorf("patch the Node: %w", apierrors.NewTooManyRequests("too many", 3))
	for range 1000 {
		for failed := range 20 {
			usual := min(lastBackoff, firstBackoff<<min(failed, 10))
			if p := After(failed, errors.New("refused")); p < usual/2 || p > usual {
				t.Fatalf("after %d failures: %s, want from %s to %s", failed, p, usual/2, usual)
			}
			if p := After(failed, asks); p < 3*time.Second || p > 3*time.Second+min(lastBackoff, 3*time.Second<<min(failed, 4)) {
				t.Fatalf("asked to wait 3s, after %d failures: %s", failed, p)
			}
		}
	}
}

// A server that asks for a day gets a minute, and what spares it a crowd.
func TestAfterIsBounded(t *testing.T) {
	asks := apierrors.NewTooManyRequests("too many", 86400)
	for range 1000 {
		if p := After(0, asks); p < longestAsked || p > longestAsked+lastBackoff {
			t.Fatalf("asked to wait a day: %s", p)
		}
	}
}

// A series of failures waits longer and longer; one success, and it starts over.
func TestPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p Pauses
		wait := func(from, to time.Duration) {
			t.Helper()
			began := time.Now()
			p.Wait(t.Context(), errors.New("refused"))
			if took := time.Since(began); took < from || took > to {
				t.Errorf("waited %s, want from %s to %s", took, from, to)
			}
		}
		for i := range 10 {
			usual := min(lastBackoff, firstBackoff<<i)
			wait(usual/2, usual)
			if p.Failed() != i+1 {
				t.Errorf("%d failures are counted after %d", p.Failed(), i+1)
			}
		}
		p.Reset()
		if p.Failed() != 0 {
			t.Errorf("%d failures are counted after a success", p.Failed())
		}
		wait(firstBackoff/2, firstBackoff)
	})
}

// Whoever is told to stop waits no longer.
func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var p Pauses
		began := time.Now()
		for range 100 {
			p.Wait(ctx, apierrors.NewTooManyRequests("too many", 60))
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("waited %s", took)
		}
	})
}
