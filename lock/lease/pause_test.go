package lease_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/lock"
	"rebootd.dev/lock/lease"
)

// A pause is over when both the machine's clock and the API server's say so: one of the
// two may be wrong, or be set meanwhile.
func TestPauseEndsByBothClocks(t *testing.T) {
	for name, tc := range map[string]struct {
		ahead func(passed time.Duration) time.Duration // the machine's clock, of the API server's
		ends  time.Duration                            // by the machine's clock, of a pause of an hour by it
	}{
		"the same":                    {nil, time.Hour},
		"the machine's is ahead":      {func(time.Duration) time.Duration { return 20 * time.Minute }, 80 * time.Minute},
		"the machine's is behind":     {func(time.Duration) time.Duration { return -20 * time.Minute }, time.Hour},
		"it turns out to be ahead":    {setAt(0, 10*time.Minute), 70 * time.Minute},
		"it turns out not to be":      {setAt(10*time.Minute, 0), time.Hour},
		"it was ahead, and is behind": {setAt(5*time.Hour, -time.Hour), time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(s *stored) {
				began := time.Now()
				l := s.lock("a", func(c *lease.Config) {
					if tc.ahead != nil {
						c.ClockSkew = func() time.Duration { return tc.ahead(time.Since(began)) }
					}
				})
				s.must(s.api.Create(s.Context(), "l-pause"))
				s.must(s.api.Patch(s.Context(), "l-pause", fmt.Sprintf(`{"metadata":{"annotations":{%q:"x",%q:%q}}}`,
					api.PausedAnnotation, api.PausedUntilAnnotation, began.Add(time.Hour).Format(time.RFC3339))))
				ctx, cancel := context.WithTimeout(s.Context(), 24*time.Hour)
				defer cancel()
				if _, err := l.Acquire(ctx, lock.Claimant{}, func(lock.Waiting) {}); err != nil {
					s.Fatal(err)
				}
				if passed := time.Since(began); passed < tc.ends || passed > tc.ends+2*time.Second {
					s.Errorf("ended after %s, want %s", passed, tc.ends)
				}
			})
		})
	}
}

// setAt is a clock that is found to be right, or wrong, after half an hour.
func setAt(before, then time.Duration) func(time.Duration) time.Duration {
	return func(passed time.Duration) time.Duration {
		if passed < 30*time.Minute {
			return before
		}
		return then
	}
}

// Nobody looks more often than once a minute whether a pause is over, and nobody asks.
func TestPauseIsNotPolled(t *testing.T) {
	inBubble(t, func(s *stored) {
		s.must(s.api.Create(s.Context(), "l-pause"))
		s.must(s.api.Patch(s.Context(), "l-pause", fmt.Sprintf(`{"metadata":{"annotations":{%q:"x",%q:%q}}}`,
			api.PausedAnnotation, api.PausedUntilAnnotation, time.Now().Add(48*time.Hour).Format(time.RFC3339))))
		looks := 0
		l := s.lock("a", func(c *lease.Config) { c.ClockSkew = func() time.Duration { looks++; return 0 } })
		ctx, cancel := context.WithTimeout(s.Context(), 24*time.Hour)
		defer cancel()
		_, err := l.Acquire(ctx, lock.Claimant{}, func(lock.Waiting) {})
		if err == nil {
			s.Error("took a slot during the pause")
		}
		if most := 5 * 24 * 60; looks > most {
			s.Errorf("looked at the clocks %d times in a day, want at most %d", looks, most)
		}
		synctest.Wait()
	})
}

// The pause ends between any two looks at the clock: whoever waits for a slot, or holds one,
// knows it a minute later at the latest.
func TestPauseEndsBetweenTwoLooks(t *testing.T) {
	for k := 1; k <= 12; k++ {
		for _, holds := range []bool{false, true} {
			t.Run(fmt.Sprintf("after look %d, holds %t", k, holds), func(t *testing.T) {
				inBubble(t, func(s *stored) {
					end, looks, paused := time.Now().Add(time.Hour).Truncate(time.Second), 0, false
					l := s.lock("a", func(c *lease.Config) {
						c.Duration = time.Hour // so that no renewal has it look
						c.Now = func() time.Time {
							if !paused {
								return time.Now()
							}
							if looks++; looks <= k {
								return end.Add(-time.Microsecond)
							}
							return end.Add(time.Microsecond)
						}
					})
					ctx, cancel := context.WithTimeout(s.Context(), 3*time.Minute)
					defer cancel()
					if holds {
						_, err := l.Acquire(ctx, lock.Claimant{}, func(lock.Waiting) {})
						s.must(err)
					}
					s.must(s.api.Create(s.Context(), "l-pause"))
					s.must(s.api.Patch(s.Context(), "l-pause", fmt.Sprintf(`{"metadata":{"annotations":{%q:"x",%q:%q}}}`,
						api.PausedAnnotation, api.PausedUntilAnnotation, end.Format(time.RFC3339))))
					paused = true
					if !holds {
						if _, err := l.Acquire(ctx, lock.Claimant{}, func(lock.Waiting) {}); err != nil {
							s.Error(err)
						}
						return
					}
					last := lock.Pause{Why: "nobody has said"}
					s.must(l.Keep(ctx, func(p lock.Pause) { last = p }))
					if last != (lock.Pause{}) {
						s.Errorf("the last word is %v", last)
					}
				})
			})
		}
	}
}
