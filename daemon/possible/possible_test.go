package possible

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"rebootd.dev/daemon/gate"
	"rebootd.dev/reboot"
)

var (
	refused = &reboot.ImpossibleError{Why: "polkit refuses"}
	gone    = &reboot.ImpossibleError{Why: "no bus", Passing: true}
)

// asked runs the gate, and keeps what it says, and when.
type asked struct {
	mu     sync.Mutex
	answer error
	takes  time.Duration
	times  int
	said   []gate.Verdict
}

func run(t *testing.T, a *asked) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	g := &Gate{Ask: func(context.Context) error {
		a.mu.Lock()
		a.times++
		err := a.answer
		a.mu.Unlock()
		time.Sleep(a.takes)
		return err
	}}
	go func() {
		defer close(done)
		g.Run(ctx, gate.View{}, func(v gate.Verdict) {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.said = append(a.said, v)
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	synctest.Wait()
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (a *asked) answers(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = err
}

// words is what was said until now.
func (a *asked) words() []gate.Verdict {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.said)
}

// count is how often it was asked until now.
func (a *asked) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.times
}

func (a *asked) last() gate.Verdict {
	said := a.words()
	if len(said) == 0 {
		return gate.Verdict{}
	}
	return said[len(said)-1]
}

var (
	open   = gate.Verdict{State: gate.Open}
	closed = func(err error) gate.Verdict { return gate.Verdict{State: gate.Closed, Why: err.Error()} }
)

// A refusal closes the gate at once, in its words, which are said once; it opens by itself
// soon after the refusal has ended.
func TestRefusal(t *testing.T) {
	for _, refusal := range []error{refused, errors.New("an error of another kind")} {
		synctest.Test(t, func(t *testing.T) {
			a := &asked{answer: refusal}
			run(t, a)
			if a.last() != closed(refusal) {
				t.Fatalf("at once: %+v", a.words())
			}
			pass(time.Hour)
			if len(a.words()) != 1 || a.count() < 3600/15 || a.count() > 3600/15+10 {
				t.Errorf("in an hour it was asked %d times, and has said %+v", a.count(), a.words())
			}
			a.answers(nil)
			pass(lastAgain)
			if a.last() != open {
				t.Errorf("it is possible: %+v", a.words())
			}
			a.answers(refusal)
			pass(openAgain)
			if a.last() != closed(refusal) {
				t.Errorf("it is refused again: %+v", a.words())
			}
			a.answers(nil)
			pass(firstAgain)
			if a.last() != open {
				t.Errorf("it is possible again, a second later: %+v", a.words())
			}
		})
	}
}

// The words change with what refuses.
func TestAnotherRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asked{answer: refused}
		run(t, a)
		other := &reboot.ImpossibleError{Why: "reboot.target is masked"}
		a.answers(other)
		pass(lastAgain)
		if len(a.words()) != 2 || a.last() != closed(other) {
			t.Errorf("%+v", a.words())
		}
	})
	// The bus is restarted with another policy: the gate stays closed meanwhile.
	synctest.Test(t, func(t *testing.T) {
		a := &asked{answer: refused}
		run(t, a)
		a.answers(gone)
		pass(firstAgain)
		if len(a.words()) != 2 || a.last() != closed(gone) {
			t.Errorf("%+v", a.words())
		}
	})
}

// A bus that is restarted neither closes the gate nor lets anybody pass; one that is gone
// closes it, before long.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asked{}
		run(t, a)
		if a.last() != open {
			t.Fatalf("%+v", a.words())
		}
		a.answers(gone)
		pass(openAgain)
		if a.last() != (gate.Verdict{}) {
			t.Fatalf("the bus is gone: %+v", a.words())
		}
		pass(3 * time.Second)
		a.answers(nil)
		pass(4 * time.Second)
		if a.last() != open || len(a.words()) != 3 {
			t.Fatalf("the bus is back: %+v", a.words())
		}
		a.answers(gone)
		pass(openAgain)
		down := time.Now()
		pass(passes - time.Second)
		if a.last() != (gate.Verdict{}) {
			t.Errorf("%s later: %+v", time.Since(down), a.words())
		}
		pass(lastAgain)
		if a.last() != closed(gone) {
			t.Errorf("%s later: %+v", time.Since(down), a.words())
		}
	})
}

// An answer that takes its time counts from when it was asked for.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &asked{answer: gone, takes: passes}
		run(t, a)
		pass(passes)
		if len(a.words()) != 1 || a.last() != closed(gone) {
			t.Errorf("%+v", a.words())
		}
	})
}
