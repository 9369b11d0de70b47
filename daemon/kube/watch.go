package kube

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

const (
	// openTimeout bounds the opening of a watch: until the server's answer begins.
	openTimeout = 30 * time.Second
	// staleAfter is how long nothing may be heard of a watch. Bookmarks come each
	// minute: without one, something between the API server and us is broken and
	// does not say so.
	staleAfter = 150 * time.Second
)

// watch opens a watch. It has no time limit, but one that is silent for longer
// than bookmarks are apart ends.
func (c *Client) watch(ctx context.Context, rc rest.Interface, resource, namespace string, opts metav1.ListOptions) (watch.Interface, error) {
	opts.Watch = true
	return open(ctx, func(ctx context.Context) (watch.Interface, error) {
		return rc.Get().NamespaceIfScoped(namespace, namespace != "").Resource(resource).VersionedParams(&opts, c.codec).
			UseProtobufAsDefault().MaxRetries(0).Watch(ctx)
	})
}

func open(ctx context.Context, watch func(context.Context) (watch.Interface, error)) (watch.Interface, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	limit := time.AfterFunc(openTimeout, func() { cancel(fmt.Errorf("no answer to the request for a watch in %s", openTimeout)) })
	w, err := watch(ctx)
	if !limit.Stop() && err == nil { // at the last moment: too late, its context has ended
		w.Stop()
		err = context.Cause(ctx)
	}
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		cancel(nil)
		return nil, err
	}
	return guard(w, func() { cancel(nil) }), nil
}

// guarded is a watch that ends when it has been silent for too long.
type guarded struct {
	watch.Interface
	events chan watch.Event
	done   chan struct{}
	stop   func()
}

func guard(inner watch.Interface, cancel func()) *guarded {
	ctx, stop := context.WithCancel(context.Background())
	g := &guarded{Interface: inner, events: make(chan watch.Event), done: make(chan struct{}), stop: stop}
	go func() {
		defer close(g.done)
		defer close(g.events)
		defer cancel()
		defer inner.Stop()
		g.forward(ctx)
	}()
	return g
}

func (g *guarded) forward(ctx context.Context) {
	silent := time.NewTimer(staleAfter)
	defer silent.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-silent.C:
			return
		case ev, ok := <-g.Interface.ResultChan():
			if !ok {
				return
			}
			select {
			case g.events <- ev:
			case <-ctx.Done():
				return
			}
			silent.Reset(staleAfter)
		}
	}
}

// ResultChan implements watch.Interface.
func (g *guarded) ResultChan() <-chan watch.Event { return g.events }

// Stop implements watch.Interface. It returns when nothing of the watch is left.
func (g *guarded) Stop() {
	g.stop()
	<-g.done
}
