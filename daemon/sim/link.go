package sim

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"

	"k8s.io/apimachinery/pkg/watch"
)

// Request is one request to the API server.
type Request struct {
	Verb        string // get, list, watch, patch, create, update, delete, apply
	Resource    string // nodes, leases, events
	Name        string
	Subresource string
	Body        string // of a patch
	DryRun      bool
}

// Fate is what becomes of a request. The zero Fate: it is carried out and answered.
type Fate struct {
	Delay       time.Duration // before it is carried out
	RequestLost bool          // never carried out
	Orphaned    bool          // carried out, though who has asked is dead by then
	AnswerLost  bool          // carried out, and who has asked does not learn of it
	Then        func()        // is called when it was carried out, before the answer
	AnswerDelay time.Duration // before the answer
	Refused     error         // answered with this error, and not carried out
}

// Link is the way of one process to the API server. All methods are safe for concurrent
// use.
type Link struct {
	mu       sync.Mutex
	meets    func(Request) Fate
	delay    func() time.Duration
	away     bool
	dead     bool
	broken   chan struct{}
	died     chan struct{}
	requests []Request
}

// NewLink makes one that works.
func NewLink() *Link { return &Link{broken: make(chan struct{}), died: make(chan struct{})} }

// Meet has f decide the fate of every request, and do what it likes before; nil ends that.
func (l *Link) Meet(f func(Request) Fate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.meets = f
}

// DelayEvents has each event of a watch arrive so much later; nil ends that.
func (l *Link) DelayEvents(f func() time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.delay = f
}

// Cut loses every request from now on, and ends all streams, until Mend.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.away {
		l.away = true
		close(l.broken)
	}
}

// Mend ends what Cut began.
func (l *Link) Mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.away && !l.dead {
		l.away, l.broken = false, make(chan struct{})
	}
}

// kill cuts it for ever.
func (l *Link) kill() {
	l.Cut()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.dead {
		l.dead = true
		close(l.died)
	}
}

// killed is closed when it was cut for ever.
func (l *Link) killed() <-chan struct{} { return l.died }

func (l *Link) isDead() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.dead
}

// Requests are those that were sent so far, in their order.
func (l *Link) Requests() []Request {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Request(nil), l.requests...)
}

func errCut(op string) error { return &net.OpError{Op: op, Net: "tcp", Err: syscall.ECONNRESET} }

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (l *Link) isAway() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.away
}

// ask sends one request and returns its answer, if there is one.
func ask[T any](ctx context.Context, l *Link, r Request, send func() (T, error)) (T, error) {
	var none T
	l.mu.Lock()
	l.requests = append(l.requests, r)
	meets := l.meets
	l.mu.Unlock()
	var fate Fate
	if meets != nil {
		fate = meets(r)
	}
	if fate.Orphaned {
		go func() {
			time.Sleep(fate.Delay)
			_, _ = send()
		}()
		return none, errCut("read")
	}
	sleep(ctx, fate.Delay)
	switch {
	case ctx.Err() != nil:
		return none, context.Cause(ctx)
	case l.isAway(), fate.RequestLost:
		return none, errCut("write")
	case fate.Refused != nil:
		return none, fate.Refused
	}
	out, err := send()
	if fate.Then != nil {
		fate.Then()
	}
	sleep(ctx, fate.AnswerDelay)
	switch {
	case ctx.Err() != nil:
		return none, context.Cause(ctx)
	case fate.AnswerLost, l.isAway():
		return none, errCut("read")
	}
	return out, err
}

// stream is a watch that ends when its link is cut.
type stream struct {
	from    watch.Interface
	ch      chan watch.Event
	once    sync.Once
	stopped chan struct{}
}

// open makes the stream of a watch that was opened.
func (l *Link) open(from watch.Interface) *stream {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &stream{from: from, ch: make(chan watch.Event), stopped: make(chan struct{})}
	go s.run(l.broken, l.delay)
	return s
}

// ResultChan implements watch.Interface.
func (s *stream) ResultChan() <-chan watch.Event { return s.ch }

// Stop implements watch.Interface.
func (s *stream) Stop() { s.once.Do(func() { close(s.stopped) }) }

func (s *stream) run(broken <-chan struct{}, delay func() time.Duration) {
	defer close(s.ch)
	defer s.from.Stop()
	for {
		var ev watch.Event
		var ok bool
		select {
		case <-broken:
			return
		case <-s.stopped:
			return
		case ev, ok = <-s.from.ResultChan():
			if !ok {
				return
			}
		}
		if delay != nil {
			t := time.NewTimer(delay())
			select {
			case <-t.C:
			case <-s.stopped:
				return
			case <-broken:
				return
			}
		}
		select {
		case s.ch <- ev:
		case <-s.stopped:
			return
		case <-broken:
			return
		}
	}
}
