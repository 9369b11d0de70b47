package sim

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	// behind is how many events a watch may be behind before it is ended.
	behind = 1000
	// kept is how many changes are kept for watches to come.
	kept = 2000
)

// watcher is one watch.
type watcher struct {
	nodes     *Nodes
	only      string // the Node that is watched, "" for all
	bookmarks bool
	ch        chan watch.Event
}

// watch opens a watch. It ends when it is stopped, when it is too far behind, or when
// EndWatches ends it.
func (s *Nodes) watch(opts metav1.ListOptions) (watch.Interface, error) {
	only, err := selected(opts)
	if err != nil {
		return nil, err
	}
	from, err := strconv.Atoi(opts.ResourceVersion)
	if err != nil {
		return nil, apierrors.NewBadRequest("a watch without a version is not expected")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if from < s.forgotten {
		return nil, apierrors.NewResourceExpired("too old resource version: " + opts.ResourceVersion)
	}
	w := &watcher{nodes: s, only: only, bookmarks: opts.AllowWatchBookmarks, ch: make(chan watch.Event, behind)}
	s.watchers[w] = true
	for _, c := range s.history {
		if c.version > from {
			w.send(c.event)
		}
	}
	return w, nil
}

// Expire ends all watches with the error 410, as an API server does that has forgotten what
// they would have to be told next, and forgets.
func (s *Nodes) Expire() {
	s.Forget()
	s.mu.Lock()
	defer s.mu.Unlock()
	err := apierrors.NewResourceExpired("too old resource version")
	for w := range s.watchers {
		select {
		case w.ch <- watch.Event{Type: watch.Error, Object: &err.ErrStatus}:
		default:
		}
		w.end()
	}
}

// tell has those that watch know of a change.
func (s *Nodes) tell(kind watch.EventType, n *corev1.Node) {
	c := change{s.version, watch.Event{Type: kind, Object: n.DeepCopy()}}
	s.history = append(s.history, c)
	if n := len(s.history); n > kept {
		s.forgotten = s.history[n-kept-1].version
		s.history = append([]change(nil), s.history[n-kept:]...)
	}
	for w := range s.watchers {
		w.send(c.event)
	}
}

func (w *watcher) send(ev watch.Event) {
	n := ev.Object.(*corev1.Node)
	if !w.nodes.watchers[w] || w.only != "" && ev.Type != watch.Bookmark && n.Name != w.only {
		return
	}
	select {
	case w.ch <- watch.Event{Type: ev.Type, Object: n.DeepCopy()}:
	default:
		w.end()
	}
}

func (w *watcher) end() {
	if w.nodes.watchers[w] {
		delete(w.nodes.watchers, w)
		close(w.ch)
	}
}

// ResultChan implements watch.Interface.
func (w *watcher) ResultChan() <-chan watch.Event { return w.ch }

// Stop implements watch.Interface.
func (w *watcher) Stop() {
	w.nodes.mu.Lock()
	defer w.nodes.mu.Unlock()
	w.end()
}
