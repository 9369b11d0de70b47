package leasetest

import (
	"context"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/lock/lease"
	"rebootd.dev/lock/locktest"
)

// linked is an API server behind a Link.
type linked struct {
	api     lease.API
	link    *locktest.Link
	latency time.Duration
}

// ask sends one request and returns its answer, if there is one.
func ask[T any](ctx context.Context, a *linked, send func() (T, error)) (T, error) {
	var out, none T
	pause(a.latency)
	err := a.link.Do(ctx, func() (err error) {
		out, err = send()
		return err
	})
	pause(a.latency)
	if err != nil {
		return none, err
	}
	return out, nil
}

func (a *linked) GetLease(ctx context.Context, namespace, name string) (*coordinationv1.Lease, error) {
	return ask(ctx, a, func() (*coordinationv1.Lease, error) { return a.api.GetLease(ctx, namespace, name) })
}

func (a *linked) ListLeases(ctx context.Context, namespace string, opts metav1.ListOptions) (*coordinationv1.LeaseList, error) {
	return ask(ctx, a, func() (*coordinationv1.LeaseList, error) { return a.api.ListLeases(ctx, namespace, opts) })
}

func (a *linked) ApplyLease(ctx context.Context, namespace, name string, body []byte, opts metav1.PatchOptions) (*coordinationv1.Lease, error) {
	return ask(ctx, a, func() (*coordinationv1.Lease, error) { return a.api.ApplyLease(ctx, namespace, name, body, opts) })
}

func (a *linked) MergePatchLease(ctx context.Context, namespace, name string, body []byte) (*coordinationv1.Lease, error) {
	return ask(ctx, a, func() (*coordinationv1.Lease, error) { return a.api.MergePatchLease(ctx, namespace, name, body) })
}

func (a *linked) WatchLeases(ctx context.Context, namespace string, opts metav1.ListOptions) (watch.Interface, error) {
	var opened watch.Interface
	broken := a.link.Broken()
	_, err := ask(ctx, a, func() (watch.Interface, error) {
		var err error
		opened, err = a.api.WatchLeases(ctx, namespace, opts)
		return opened, err
	})
	if err != nil {
		if opened != nil {
			opened.Stop()
		}
		return nil, err
	}
	w := &stream{from: opened, ch: make(chan watch.Event), stopped: make(chan struct{})}
	go w.run(broken, a.latency)
	return w, nil
}

// stream is a watch that ends when its link is broken.
type stream struct {
	from    watch.Interface
	ch      chan watch.Event
	once    sync.Once
	stopped chan struct{}
}

func (s *stream) ResultChan() <-chan watch.Event { return s.ch }
func (s *stream) Stop()                          { s.once.Do(func() { close(s.stopped) }) }

func (s *stream) run(broken <-chan struct{}, latency time.Duration) {
	defer close(s.ch)
	defer s.from.Stop()
	for {
		select {
		case <-broken:
			return
		case <-s.stopped:
			return
		case ev, ok := <-s.from.ResultChan():
			if !ok {
				return
			}
			pause(latency)
			select {
			case s.ch <- ev:
			case <-s.stopped:
				return
			case <-broken:
				return
			}
		}
	}
}
