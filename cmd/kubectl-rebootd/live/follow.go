// Package live keeps what is shown of a fleet up to date: [Follow] lists Nodes and Leases
// and watches them from there, [Model] is the fleet that follows from its events, and
// [Screen] shows lines on a terminal in place.
package live

import (
	"context"
	"errors"
	"fmt"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/cmd/kubectl-rebootd/fleet"
)

// API is what is asked of the API server.
type API interface {
	NodesAPI
	Leases(ctx context.Context) (leases []coordinationv1.Lease, version string, err error)
	WatchLeases(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
}

// Event is a change of Nodes or of Leases: all of them, or one.
type Event struct {
	// Nodes are all there are now; nil: the event is another.
	Nodes []fleet.Node
	Node  *fleet.Node // one that is new or has changed
	// GoneNode and GoneLease are names of what was deleted.
	GoneNode, GoneLease string

	Leases []coordinationv1.Lease // all there are now; nil: the event is another
	Lease  *coordinationv1.Lease
	// Unread is why Leases may not be read: what was known of them is not any more.
	Unread error

	// Away is why Nodes, or with OfLeases the Leases, cannot be had at present; Back says
	// that they can again.
	Away     error
	Back     bool
	OfLeases bool
}

const (
	firstPause, lastPause = time.Second, 15 * time.Second
	// unreadPause is the time between two attempts at what is forbidden.
	unreadPause = time.Minute
	// pollPause is the time between two lists where watching is forbidden.
	pollPause = 10 * time.Second
)

// Follow sends what there is, and then each change, until ctx ends; a list is given up after
// limit. It returns an error if the first list of Nodes fails, and retries whatever fails
// later, as events say. It starts a goroutine, which has ended when it returns.
func Follow(ctx context.Context, api API, limit time.Duration, events chan<- Event) error {
	ctx, cancel := context.WithCancel(ctx)
	send := func(e Event) {
		select {
		case events <- e:
		case <-ctx.Done():
		}
	}
	leases := &stream{
		list: func(ctx context.Context) (string, error) {
			all, version, err := api.Leases(ctx)
			if err == nil {
				send(Event{Leases: append([]coordinationv1.Lease{}, all...), OfLeases: true})
			}
			return version, err
		},
		watch: api.WatchLeases, limit: limit, send: send, leases: true,
	}
	nodes := nodesOf(api, limit, send)
	nodes.strict = true
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = leases.run(ctx)
	}()
	err := nodes.run(ctx)
	cancel()
	<-done
	return err
}

// NodesAPI is what is asked of the API server for Nodes.
type NodesAPI interface {
	EachNode(ctx context.Context, selector string, each func(*corev1.Node)) (version string, err error)
	WatchNodes(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
}

// FollowNodes is [Follow] without the Leases, and retries the first list, too.
func FollowNodes(ctx context.Context, api NodesAPI, limit time.Duration, events chan<- Event) {
	_ = nodesOf(api, limit, func(e Event) { // an error is of a strict one
		select {
		case events <- e:
		case <-ctx.Done():
		}
	}).run(ctx)
}

func nodesOf(api NodesAPI, limit time.Duration, send func(Event)) *stream {
	return &stream{
		list: func(ctx context.Context) (string, error) {
			all := []fleet.Node{}
			version, err := api.EachNode(ctx, "", func(n *corev1.Node) { all = append(all, fleet.NodeOf(n)) })
			if err == nil {
				send(Event{Nodes: all})
			}
			return version, err
		},
		watch: api.WatchNodes, limit: limit, send: send,
	}
}

// stream lists objects of one kind and watches them from there.
type stream struct {
	list   func(context.Context) (version string, err error)
	watch  func(context.Context, metav1.ListOptions) (watch.Interface, error)
	limit  time.Duration
	send   func(Event)
	leases bool
	strict bool // the first list must succeed

	away  bool
	pause time.Duration
}

func (s *stream) run(ctx context.Context) error {
	for first := true; ctx.Err() == nil; first = false {
		version, err := s.listed(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && first && s.strict:
			return err
		case err != nil && s.leases && apierrors.IsForbidden(err):
			s.send(Event{Unread: err, OfLeases: true})
			s.wait(ctx, unreadPause)
			continue
		case err != nil:
			s.retry(ctx, err)
			continue
		}
		s.back()
		s.follow(ctx, version)
	}
	return nil
}

func (s *stream) listed(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	return s.list(ctx)
}

// errExpired says that the version from which to watch on is not known any more.
var errExpired = errors.New("the version to watch from has expired")

// follow watches from a version on, and returns when all must be listed again.
func (s *stream) follow(ctx context.Context, version string) {
	for ctx.Err() == nil {
		began := time.Now()
		err := s.watched(ctx, &version)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errExpired):
			s.calm(ctx, began)
			return
		case apierrors.IsForbidden(err):
			s.wait(ctx, pollPause)
			return
		case err != nil:
			s.retry(ctx, err)
		default:
			s.calm(ctx, began)
		}
	}
}

// watched follows one watch to its end.
func (s *stream) watched(ctx context.Context, version *string) error {
	w, err := s.watch(ctx, metav1.ListOptions{ResourceVersion: *version, AllowWatchBookmarks: true})
	if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
		return errExpired
	}
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	defer w.Stop()
	s.back()
	for {
		select {
		case <-ctx.Done():
			return nil
		case ev, ok := <-w.ResultChan():
			if !ok {
				return nil
			}
			if ev.Type == watch.Error {
				if err := apierrors.FromObject(ev.Object); !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
					return fmt.Errorf("watch: %w", err)
				}
				return errExpired
			}
			if m, ok := ev.Object.(metav1.Object); ok {
				*version = m.GetResourceVersion()
			}
			if ev.Type != watch.Bookmark {
				s.changed(ev.Object, ev.Type == watch.Deleted)
			}
		}
	}
}

func (s *stream) changed(object runtime.Object, gone bool) {
	switch o := object.(type) {
	case *corev1.Node:
		if gone {
			s.send(Event{GoneNode: o.Name})
			return
		}
		n := fleet.NodeOf(o)
		s.send(Event{Node: &n})
	case *coordinationv1.Lease:
		if gone {
			s.send(Event{GoneLease: o.Name, OfLeases: true})
			return
		}
		s.send(Event{Lease: o, OfLeases: true})
	}
}

// retry says why what is followed cannot be had, and waits, longer each time.
func (s *stream) retry(ctx context.Context, err error) {
	s.away = true
	s.send(Event{Away: err, OfLeases: s.leases})
	s.pause = min(max(2*s.pause, firstPause), lastPause)
	s.wait(ctx, s.pause)
}

func (s *stream) back() {
	if s.away {
		s.away = false
		s.send(Event{Back: true, OfLeases: s.leases})
	}
	s.pause = 0
}

// calm waits where a watch has ended at once, so that nothing is asked in a circle.
func (s *stream) calm(ctx context.Context, began time.Time) {
	if time.Since(began) < firstPause {
		s.wait(ctx, firstPause)
	}
}

func (s *stream) wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
