package locktest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// promise is one test of the suite.
type promise struct {
	name string
	keep func(b *bed)
}

// promises are all of them.
func promises(b Backend) []promise {
	var out []promise
	for _, group := range [][]promise{
		exclusion(), recovery(), takenAway(), atWork(), queue(), pauses(), vacated(), zones(), nodes(), outages(), crashes(), races(b), storms(b),
	} {
		out = append(out, group...)
	}
	return out
}

// Run checks every promise of the contract, each in a subtest of its own, in parallel.
func Run(t *testing.T, b Backend) {
	for _, p := range promises(b) {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			b.run(t, func(t *testing.T) { p.keep(newBed(t, b)) })
		})
	}
}

// Broken names the first promise that a backend does not keep, and says how, "" if it
// keeps them all. It is for backends that are known to be faulty, which show what the
// suite is worth.
func Broken(t *testing.T, b Backend) string {
	for _, p := range promises(b) {
		r := &recorder{}
		b.run(t, func(t *testing.T) {
			r.TB = t
			done := make(chan struct{})
			go func() {
				defer close(done)
				p.keep(newBed(r, b))
			}()
			<-done
		})
		if why := r.failure(); why != "" {
			return p.name + ": " + why
		}
	}
	return ""
}

func (b Backend) run(t *testing.T, f func(*testing.T)) {
	if b.FakeTime {
		synctest.Test(t, f)
	} else {
		f(t)
	}
}

// recorder keeps a test's failures to itself.
type recorder struct {
	testing.TB
	mu  sync.Mutex
	why string
}

func (r *recorder) failure() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.why
}

func (r *recorder) fail(why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.why == "" {
		r.why = why
	}
}

func (r *recorder) Helper()                      {}
func (r *recorder) Log(...any)                   {}
func (r *recorder) Logf(string, ...any)          {}
func (r *recorder) Fail()                        { r.fail("failed") }
func (r *recorder) Failed() bool                 { return r.failure() != "" }
func (r *recorder) Error(args ...any)            { r.fail(fmt.Sprint(args...)) }
func (r *recorder) Errorf(f string, args ...any) { r.fail(fmt.Sprintf(f, args...)) }

func (r *recorder) FailNow() {
	r.Fail()
	runtime.Goexit()
}

func (r *recorder) Fatal(args ...any) {
	r.Error(args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(f string, args ...any) {
	r.Errorf(f, args...)
	runtime.Goexit()
}

var errLimit = errors.New("the test's time limit has passed")

// newBed makes the bed of one test. Where time is fake it is exact, and hours cost nothing;
// where it is not, the machine may be under load.
func newBed(t testing.TB, backend Backend) *bed {
	limit, while, late := time.Minute, 1500*time.Millisecond, 10*time.Second
	if backend.FakeTime {
		limit, while, late = 12*time.Hour, 5*time.Minute, 0
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), limit, errLimit)
	t.Cleanup(func() {
		cancel()
		if backend.FakeTime {
			time.Sleep(time.Minute) // in which all that still runs comes to its end
		}
	})
	return &bed{TB: t, World: backend.New(t), ctx: ctx, while: while, late: late, fakeTime: backend.FakeTime, down: map[string]*member{}, atWork: map[string]bool{}}
}
