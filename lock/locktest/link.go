package locktest

import (
	"context"
	"errors"
	"sync"
)

// Fate is what becomes of a request.
type Fate int

// The fates of a request.
const (
	Carried     Fate = iota // out, and answered
	RequestLost             // never carried out
	AnswerLost              // carried out, and the process does not learn of it
)

var errCut = errors.New("connection reset by peer")

// Link is what lies between a process and what stores the lock. A World passes all that
// a process asks for through its Link, one request at a time, so that the suite can lose
// it. All methods are safe for concurrent use.
type Link struct {
	mu     sync.Mutex
	n      int
	meets  func(n int) Fate
	then   func() // after the answer that is lost next
	away   bool
	broken chan struct{}
}

func newLink() *Link { return &Link{broken: make(chan struct{})} }

// Do sends a request. It returns an error of its own if the request or its answer is
// lost, and send's otherwise.
func (l *Link) Do(ctx context.Context, send func() error) error {
	l.mu.Lock()
	l.n++
	n, meets := l.n, l.meets
	l.mu.Unlock()
	fate := Carried
	if meets != nil {
		fate = meets(n)
	}
	l.mu.Lock()
	away := l.away
	l.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case away || fate == RequestLost:
		return errCut
	}
	err := send()
	if fate == AnswerLost {
		l.mu.Lock()
		then := l.then
		l.then = nil
		l.mu.Unlock()
		if then != nil {
			then()
		}
		return errCut
	}
	return err
}

// Broken is closed when the streams that are open now end.
func (l *Link) Broken() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

// requests is how many there were.
func (l *Link) requests() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

// meet has f decide the fate of every request, and do what it likes before.
func (l *Link) meet(f func(n int) Fate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.meets = f
}

// thenKill kills the process when the answer is lost that is lost next.
func (l *Link) thenKill(kill func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.then = kill
}

// once has f decide the fate of the k-th request from now on. met says whether there was
// one, and from then on it is too late for it.
func (l *Link) once(k int, f func() Fate) (met func() bool) {
	first := l.requests()
	var mu sync.Mutex
	done := false
	l.meet(func(n int) Fate {
		if n != first+k {
			return Carried
		}
		mu.Lock()
		done = true
		mu.Unlock()
		return f()
	})
	return func() bool {
		l.meet(nil)
		mu.Lock()
		defer mu.Unlock()
		return done
	}
}

// goAway loses every request from now on, and ends all streams.
func (l *Link) goAway() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.away {
		l.away = true
		close(l.broken)
	}
}

// comeBack ends that.
func (l *Link) comeBack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.away {
		l.away = false
		l.broken = make(chan struct{})
	}
}
