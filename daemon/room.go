package daemon

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/decide"
)

const (
	// newHolder is for how long a holder of a slot counts every other one.
	newHolder = 5 * time.Second
	// holdersAgain is how often it is looked up who holds slots, while there is no room.
	// Whoever gives one up says so on its Node; this is for those that have lost theirs.
	holdersAgain = time.Minute
	// wayPause is how long a node to which this one has given way is not given way to
	// again: it may not have come.
	wayPause = 10 * time.Minute
)

// keepRoomTask watches for room while a slot is held and there is none.
func (d *Daemon) keepRoomTask(step decide.Step) (idle bool) {
	wanted := step.Do == decide.Count
	key := ""
	if wanted {
		key = d.record.DrainKey()
	}
	if d.roomTask != nil {
		if wanted && d.roomKey == key {
			return true
		}
		d.roomTask.cancel()
		return false
	}
	if wanted {
		r := &roomWatch{d: d, key: key, gaveWay: maps.Clone(d.gaveWay)}
		d.roomKey = key
		d.roomTask = d.begin(watchRoom, func(ctx context.Context) func() {
			r.run(ctx)
			return func() { d.roomTask = nil }
		})
	}
	return true
}

// giveWay is to whom the slot goes that this node can make no use of, "" for nobody.
func (d *Daemon) giveWay() string {
	if d.phase() != decide.Queued || d.room.Key != d.record.DrainKey() || d.room.OK || len(d.room.Way) == 0 {
		return ""
	}
	return d.room.Way[0]
}

// roomWatch watches all Nodes for room under the limit. It keeps of each what counts.
type roomWatch struct {
	d       *Daemon
	key     string
	gaveWay map[string]time.Time

	version string // up to which the Nodes are known; "" if a list is needed
	peers   map[string]decide.Peer
	holders map[string]decide.Holding
	looked  time.Time // when the holders were
	began   time.Time
}

// run ends when there is room, or somebody to give way to.
func (r *roomWatch) run(ctx context.Context) {
	var backoff backoff
	r.began = time.Now()
	for ctx.Err() == nil {
		began := time.Now()
		found, err := r.follow(ctx)
		switch {
		case found:
			return
		case ctx.Err() != nil:
			return
		case apierrors.IsGone(err) || apierrors.IsResourceExpired(err):
			r.version = ""
		case unreachable(err):
			r.d.post(ctx, func() { r.d.apiDown(err) })
		case err != nil:
			r.d.Log.Error().Err(err).Msg("counting the nodes that are unavailable failed; tries again")
		case time.Since(began) > time.Second:
			backoff.reset()
			continue
		}
		backoff.wait(ctx, err)
	}
}

// follow counts, and again whenever anything that counts has changed, until there is
// room or the watch ends. It begins with a list where it does not know how things
// stand.
func (r *roomWatch) follow(ctx context.Context) (found bool, err error) {
	// The holders first: who holds a slot has said before, on its Node, what it is about.
	if err := r.whoHolds(ctx); err != nil {
		return false, err
	}
	if r.version == "" {
		if err := r.list(ctx); err != nil {
			return false, err
		}
		r.d.post(ctx, r.d.apiUp)
	}
	if found, err := r.count(ctx); found || err != nil {
		return found, err
	}
	w, err := r.d.API.WatchNodes(ctx, metav1.ListOptions{ResourceVersion: r.version, AllowWatchBookmarks: true})
	if err != nil {
		return false, fmt.Errorf("watch the Nodes for those that are unavailable: %w", err)
	}
	defer w.Stop()
	again := time.NewTicker(holdersAgain)
	defer again.Stop()
	old := time.NewTimer(time.Until(r.began.Add(newHolder)))
	defer old.Stop()
	for {
		changed, phase := false, false
		select {
		case <-ctx.Done():
			return false, nil
		case <-old.C:
			changed = true
		case <-again.C:
			phase = true
		case ev, ok := <-w.ResultChan():
			switch {
			case !ok:
				return false, nil
			case ev.Type == watch.Error:
				return false, apierrors.FromObject(ev.Object)
			}
			if n, ok := ev.Object.(*corev1.Node); ok {
				r.version = n.ResourceVersion
				changed, phase = r.see(ev.Type, n)
			}
		}
		if phase {
			if err := r.whoHolds(ctx); err != nil {
				return false, err
			}
		}
		if changed || phase {
			if found, err := r.count(ctx); found || err != nil {
				return found, err
			}
		}
	}
}

func (r *roomWatch) whoHolds(ctx context.Context) error {
	holders, err := r.d.Lock.Holders(ctx)
	if err != nil {
		return err
	}
	r.holders, r.looked = map[string]decide.Holding{}, time.Now()
	for i, h := range holders {
		r.holders[h.Node] = decide.Holding{Index: i, Since: h.Since}
	}
	return nil
}

func (r *roomWatch) list(ctx context.Context) error {
	r.peers = map[string]decide.Peer{}
	opts := metav1.ListOptions{Limit: nodePage}
	for {
		list, err := r.d.API.ListNodes(ctx, opts)
		if err != nil {
			return fmt.Errorf("list the Nodes to count those that are unavailable: %w", err)
		}
		for i := range list.Items {
			r.see(watch.Added, &list.Items[i])
		}
		if opts.Continue = list.Continue; opts.Continue == "" {
			r.version = list.ResourceVersion
			return nil
		}
	}
}

// see takes in a Node, and says whether anything has changed that counts, and
// whether it was the phase of its operation.
func (r *roomWatch) see(kind watch.EventType, n *corev1.Node) (changed, phase bool) {
	if kind == watch.Bookmark {
		return false, false
	}
	was, there := r.peers[n.Name]
	if kind == watch.Deleted {
		delete(r.peers, n.Name)
		return there, was.Phase != decide.Idle
	}
	now := r.d.peerOf(n)
	r.peers[n.Name] = now
	return was != now, was.Phase != now.Phase
}

// holdersOld is how old what is known of the holders may be when there is room by it:
// one that has come since may be before this node by its clock, and count it no more.
const holdersOld = time.Second

// count tells the loop how things stand, and says whether that is an end of the wait.
func (r *roomWatch) count(ctx context.Context) (end bool, err error) {
	room := r.room()
	if room.OK && time.Since(r.looked) > holdersOld {
		if err := r.whoHolds(ctx); err != nil {
			return false, err
		}
		room = r.room()
	}
	now := r.d.now()
	room.Way = slices.DeleteFunc(room.Way, func(name string) bool {
		at, ok := r.gaveWay[name]
		return ok && now.Before(at.Add(wayPause))
	})
	room.Key, room.At = r.key, now
	r.d.post(ctx, func() { r.d.room = room })
	return room.OK || len(room.Way) > 0, nil
}

func (r *roomWatch) room() decide.Room {
	peers := make([]decide.Peer, 0, len(r.peers))
	for _, p := range r.peers {
		if h, ok := r.holders[p.Name]; ok {
			p.Slot = &h
		}
		peers = append(peers, p)
	}
	return decide.RoomFor(r.d.Policy.MaxUnavailable, r.d.NodeName, peers, time.Since(r.began) < newHolder)
}

func (d *Daemon) peerOf(n *corev1.Node) decide.Peer {
	p := decide.Peer{Name: n.Name, Unschedulable: n.Spec.Unschedulable}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			p.Ready = c.Status == corev1.ConditionTrue
		}
	}
	if s := n.Annotations[OperationAnnotation]; s != "" {
		r, err := decide.ParseRecord([]byte(s))
		switch {
		case err != nil:
			p.Phase = decide.Draining // whatever it says, it may be about to go
		case r.Lock == "" || r.Lock == d.Policy.Lock || r.Phase == decide.Halted:
			p.Phase = r.Phase
		}
	}
	if p.Phase == decide.Queued {
		_, p.Held = n.Annotations[HoldAnnotation]
		p.Zone = zoneOf(d.Same, n.Labels)
	}
	return p
}
