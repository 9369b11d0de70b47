package leasetest

import (
	"context"
	"strconv"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// watcher is one watch.
type watcher struct {
	api *API
	ch  chan watch.Event
}

// behind is how many events a watcher may be behind before its watch is ended.
const behind = 1000

// WatchLeases implements lease.API. A watch ends when it is stopped, when it is too far
// behind, or when EndWatches ends it.
func (a *API) WatchLeases(_ context.Context, _ string, opts metav1.ListOptions) (watch.Interface, error) {
	from, err := strconv.Atoi(opts.ResourceVersion)
	if err != nil {
		return nil, apierrors.NewBadRequest("a watch without a version is not expected")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.history) > 0 && from < a.history[0].version-1 {
		return nil, apierrors.NewResourceExpired("too old resource version: " + opts.ResourceVersion)
	}
	w := &watcher{api: a, ch: make(chan watch.Event, behind)}
	a.watchers[w] = true
	for _, c := range a.history {
		if c.version > from {
			w.send(c.event)
		}
	}
	return w, nil
}

// kept is how much of the history is kept.
const kept = 500

// tell has those that watch know of a change.
func (a *API) tell(kind watch.EventType, lease *coordinationv1.Lease) {
	c := change{a.version, watch.Event{Type: kind, Object: lease}}
	a.history = append(a.history, c)
	if len(a.history) > kept {
		a.history = a.history[len(a.history)-kept:]
	}
	for w := range a.watchers {
		w.send(c.event)
	}
}

func (w *watcher) send(ev watch.Event) {
	if !w.api.watchers[w] {
		return
	}
	select {
	case w.ch <- watch.Event{Type: ev.Type, Object: ev.Object.DeepCopyObject()}:
	default:
		w.end()
	}
}

func (w *watcher) end() {
	if w.api.watchers[w] {
		delete(w.api.watchers, w)
		close(w.ch)
	}
}

// ResultChan implements watch.Interface.
func (w *watcher) ResultChan() <-chan watch.Event { return w.ch }

// Stop implements watch.Interface.
func (w *watcher) Stop() {
	w.api.mu.Lock()
	defer w.api.mu.Unlock()
	w.end()
}

// EndWatches ends all watches, as an API server does from time to time.
func (a *API) EndWatches() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for w := range a.watchers {
		w.end()
	}
}
