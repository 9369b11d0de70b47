package lock

import (
	"sync"

	"rebootd.dev/lock"
	"rebootd.dev/lock/lease"
)

// ask waits for a slot in the background.
func (b *bed) ask(l *lease.Lock, ask lock.Claimant) (got <-chan string, waiting func() lock.Waiting) {
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
	b.Eventually(what, ok)
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
