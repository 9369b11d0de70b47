package lock

import (
	"context"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"rebootd.dev/daemon/kube"
	"rebootd.dev/lock"
	"rebootd.dev/test/proxy"
)

// Where every watch ends after its first event, those that wait and those that hold
// begin them anew where they have ended: one list each, few watches, and nothing is
// missed.
func TestWatchesThatEnd(t *testing.T) {
	b := newBedAlone(t)
	p, err := proxy.New(user)
	b.must(err)
	t.Cleanup(p.Close)
	var lists, watches, open atomic.Int64
	p.Faults(func(r *http.Request) proxy.Fault {
		switch {
		case proxy.IsWatch(r, "leases"):
			watches.Add(1)
			return proxy.Fault{CutAfter: 2}
		case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/leases"):
			lists.Add(1)
		}
		return proxy.Fault{}
	})
	through, err := kube.New(&rest.Config{Host: p.URL})
	b.must(err)
	holder := b.lockBy(through, "holder", 1)
	slot := b.acquire(holder)
	lists.Store(0)
	watches.Store(0)
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	kept := make(chan error, 1)
	go func() { kept <- holder.Keep(ctx, func(lock.Pause) { open.Add(1) }) }()
	ch, waiting := b.ask(b.lockBy(through, "waiter", 1), lock.Claimant{})
	b.eventually("it waits", func() bool { return len(waiting().Holders) == 1 && open.Load() > 0 })
	for range 5 { // events
		b.patch(slot, `{"metadata":{"annotations":{"x":"`+time.Now().String()+`"}}}`)
	}
	if l, w := lists.Load(), watches.Load(); l != 2 || w > 16 {
		t.Errorf("%d lists and %d watches in a second or two", l, w)
	}
	b.patch(slot, `{"spec":{"holderIdentity":null}}`)
	b.gets(ch)
	if err := <-kept; err == nil {
		t.Error("the holder has not learned that its slot was taken away")
	}
}
