package lock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"rebootd.dev/lock"
)

// ask waits for a slot in the background.
func (b *bed) ask(l *lock.Lock, ask lock.Ask) (got <-chan string, waiting func() lock.Waiting) {
	b.Helper()
	ch := make(chan string, 1)
	var mu sync.Mutex
	var last lock.Waiting
	go func() {
		slot, err := l.Acquire(b.ctx, ask, func(w lock.Waiting) {
			mu.Lock()
			defer mu.Unlock()
			last = w
		})
		if err == nil {
			ch <- slot
		}
	}()
	return ch, func() lock.Waiting {
		mu.Lock()
		defer mu.Unlock()
		return last
	}
}

func (b *bed) eventually(what string, ok func() bool) {
	b.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-b.ctx.Done():
			b.Fatalf("waited until %s", what)
		case <-tick.C:
		}
	}
}

func (b *bed) gets(ch <-chan string) string {
	b.Helper()
	select {
	case slot := <-ch:
		return slot
	case <-b.ctx.Done():
		b.Fatal("got no slot")
		return ""
	}
}

// A slot goes at once to the first in the line; one that does not take it costs a
// second, and after the last it is anybody's.
func TestSuccession(t *testing.T) {
	b := newBed(t)
	a := b.lock("a", 1)
	b.acquire(a)
	var others []<-chan string
	for i := range 5 {
		ch, waiting := b.ask(b.lock(fmt.Sprintf("other%d", i), 1), lock.Ask{})
		b.eventually("it waits", func() bool { return len(waiting().Holders) == 1 })
		others = append(others, ch)
	}
	next := b.lock("next", 1)
	ch, waiting := b.ask(next, lock.Ask{})
	b.eventually("it waits", func() bool { return len(waiting().Holders) == 1 })
	released := time.Now()
	b.must(a.Release(b.ctx, lock.Line{Nodes: []string{"next"}}))
	b.gets(ch)
	if took := time.Since(released); took > time.Second {
		t.Errorf("handed over after %s", took)
	}
	for _, ch := range others {
		if len(ch) > 0 {
			t.Error("another got the slot, too")
		}
	}
	second := b.lock("second", 1)
	ch, waiting = b.ask(second, lock.Ask{})
	b.eventually("it waits", func() bool { return len(waiting().Holders) == 1 })
	released = time.Now()
	b.must(next.Release(b.ctx, lock.Line{Nodes: []string{"dead", "second", "third"}, At: released}))
	b.gets(ch)
	if took := time.Since(released); took < 900*time.Millisecond || took > 2*time.Second {
		t.Errorf("after a dead successor the slot went on after %s, want 1 s", took)
	}
	if line := second.Line(); !slices.Equal(line.Nodes, []string{"dead", "third"}) || !line.At.Equal(released) {
		t.Errorf("the line was %v", line)
	}
	released = time.Now()
	b.must(second.Release(b.ctx, lock.Line{Nodes: []string{"dead"}}))
	b.eventually("one of the others has it", func() bool {
		n := 0
		for _, ch := range others {
			n += len(ch)
		}
		return n > 0
	})
	if took := time.Since(released); took < 900*time.Millisecond || took > 3*time.Second {
		t.Errorf("after a dead successor the slot went on after %s, want 1 to 2 s", took)
	}
}

// Nobody takes a slot while the lock is paused; a holder is told, and may not go
// on.
func TestPause(t *testing.T) {
	b := newBed(t)
	a := b.lock("a", 2)
	slot := b.acquire(a)
	b.patch(slot, `{"metadata":{"annotations":{"rebootd.dev/paused":"an outage"}}}`)
	ch, waiting := b.ask(b.lock("b", 2), lock.Ask{})
	b.eventually("the waiter knows why", func() bool { return waiting().String() == "paused: an outage" })
	if err := a.Fence(b.ctx); !errors.Is(err, lock.ErrPaused) || !strings.Contains(err.Error(), "an outage") {
		t.Errorf("Fence: %v", err)
	}
	told := make(chan string, 8)
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	go func() { _ = a.Keep(ctx, func(why string) { told <- why }) }()
	if why := <-told; why != "an outage" {
		t.Errorf("the holder is told %q", why)
	}
	select {
	case <-ch:
		t.Fatal("a slot was taken during the pause")
	case <-time.After(time.Second): // ten times as long as it takes to try
	}
	b.patch(slot, `{"metadata":{"annotations":{"rebootd.dev/paused":null}}}`)
	b.gets(ch)
	for why := range told {
		if why == "" {
			break
		}
	}
	b.must(a.Fence(b.ctx))
}
