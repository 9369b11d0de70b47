// Package availability is the gate of the limit of unavailable nodes: a node that holds
// a slot waits with it until no more nodes than the limit would be unavailable, for
// whatever reason, this one included. It knows Nodes and who holds slots; it does not
// know what the daemon does meanwhile.
package availability

import (
	"context"
	"fmt"
	"time"

	"github.com/rs/zerolog"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/backoff"
	"rebootd.dev/daemon/decide"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/lock"
)

const (
	// newHolder is for how long a holder of a slot counts every other one.
	newHolder = 5 * time.Second
	// holdersAgain is how often it is looked up who holds slots, while there is no room.
	// Whoever gives one up says so on its Node; this is for those that have lost theirs.
	holdersAgain = time.Minute
	// holdersOld is how old what is known of the holders may be when there is room by it:
	// one that has come since may be before this node by its clock, and count it no more.
	holdersOld = time.Second
	// wayPause is how long a node to which this one has given way is not given way to
	// again: it may not have come.
	wayPause = 10 * time.Minute
	// nodePage is how many Nodes are asked for at a time.
	nodePage = 250
)

// NodeAPI is what the gate needs of the API server.
type NodeAPI interface {
	ListNodes(ctx context.Context, opts metav1.ListOptions) (*corev1.NodeList, error)
	WatchNodes(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
}

// Holders tells who holds slots of the lock; package lock implements it.
type Holders interface {
	Holders(ctx context.Context) ([]lock.Holder, error)
}

// Gate is the gate. It is made once for a daemon.
type Gate struct {
	API   NodeAPI
	Lock  Holders
	Node  string // this one
	Name  string // of the lock
	Same  string // the label whose value nodes that are down together share; "" is no rule
	Limit decide.Limit
	Log   zerolog.Logger

	gaveWay map[string]time.Time // to whom, though this node held a slot
}

// Kind is what is to be known of the gate.
func (*Gate) Kind() gate.Kind {
	return gate.Kind{
		Name: "availability", Reason: api.ReasonBlocked, Binds: gate.WithSlot,
		Meaning: "as many nodes as `--max-unavailable` allows are already unavailable",
	}
}

// Run counts the nodes that are unavailable, at first and whenever that changes.
func (g *Gate) Run(ctx context.Context, _ gate.View, say func(gate.Verdict)) {
	c := &counter{Gate: g, say: say, began: time.Now()}
	c.run(ctx)
	if c.last.GiveWay != "" {
		if g.gaveWay == nil {
			g.gaveWay = map[string]time.Time{}
		}
		g.gaveWay[c.last.GiveWay] = time.Now()
	}
}

// counter watches all Nodes for room under the limit. It keeps of each what counts.
type counter struct {
	*Gate
	say  func(gate.Verdict)
	last gate.Verdict

	version string // up to which the Nodes are known; "" if a list is needed
	peers   map[string]decide.Peer
	holders map[string]decide.Holding
	looked  time.Time // when the holders were
	began   time.Time
}

func (r *counter) run(ctx context.Context) {
	var pauses backoff.Pauses
	for ctx.Err() == nil {
		began := time.Now()
		err := r.follow(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case apierrors.IsGone(err) || apierrors.IsResourceExpired(err):
			r.version = ""
		case err != nil:
			r.Log.Warn().Err(err).Msg("counting the unavailable nodes failed; retrying")
			r.tell(gate.Verdict{}) // there may be none left by now
		case time.Since(began) > time.Second:
			pauses.Reset()
			continue
		}
		pauses.Wait(ctx, err)
	}
}

// follow counts, and again whenever anything that counts has changed, until the watch
// ends. It begins with a list where it does not know how things stand.
func (r *counter) follow(ctx context.Context) error {
	// The holders first: who holds a slot has said before, on its Node, what it is about.
	if err := r.whoHolds(ctx); err != nil {
		return err
	}
	if r.version == "" {
		if err := r.list(ctx); err != nil {
			return err
		}
	}
	if err := r.count(ctx); err != nil {
		return err
	}
	w, err := r.API.WatchNodes(ctx, metav1.ListOptions{ResourceVersion: r.version, AllowWatchBookmarks: true})
	if err != nil {
		return fmt.Errorf("watch the Nodes for unavailable ones: %w", err)
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
			return nil
		case <-old.C:
			changed = true
		case <-again.C:
			phase = true
		case ev, ok := <-w.ResultChan():
			switch {
			case !ok:
				return nil
			case ev.Type == watch.Error:
				return apierrors.FromObject(ev.Object)
			}
			if n, ok := ev.Object.(*corev1.Node); ok {
				r.version = n.ResourceVersion
				changed, phase = r.see(ev.Type, n)
			}
		}
		if phase {
			if err := r.whoHolds(ctx); err != nil {
				return err
			}
		}
		if changed || phase {
			if err := r.count(ctx); err != nil {
				return err
			}
		}
	}
}

func (r *counter) whoHolds(ctx context.Context) error {
	holders, err := r.Lock.Holders(ctx)
	if err != nil {
		return err
	}
	r.holders, r.looked = map[string]decide.Holding{}, time.Now()
	for i, h := range holders {
		r.holders[h.Node] = decide.Holding{Index: i, Since: h.Since}
	}
	return nil
}

func (r *counter) list(ctx context.Context) error {
	r.peers = map[string]decide.Peer{}
	opts := metav1.ListOptions{Limit: nodePage}
	for {
		list, err := r.API.ListNodes(ctx, opts)
		if err != nil {
			return fmt.Errorf("list the Nodes to count the unavailable ones: %w", err)
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
func (r *counter) see(kind watch.EventType, n *corev1.Node) (changed, phase bool) {
	if kind == watch.Bookmark {
		return false, false
	}
	was, there := r.peers[n.Name]
	if kind == watch.Deleted {
		delete(r.peers, n.Name)
		return there, was.Phase != api.PhaseIdle
	}
	now := r.peerOf(n)
	r.peers[n.Name] = now
	return was != now, was.Phase != now.Phase
}

// count says how things stand.
func (r *counter) count(ctx context.Context) error {
	room := r.room()
	if room.OK && time.Since(r.looked) > holdersOld {
		if err := r.whoHolds(ctx); err != nil {
			return err
		}
		room = r.room()
	}
	if room.OK {
		r.tell(gate.Verdict{State: gate.Open})
		return nil
	}
	v := gate.Verdict{State: gate.Closed, Why: room.Why}
	for _, name := range room.Way {
		if at, ok := r.gaveWay[name]; !ok || time.Since(at) >= wayPause {
			v.GiveWay = name
			break
		}
	}
	r.tell(v)
	return nil
}

func (r *counter) tell(v gate.Verdict) {
	if v != r.last || r.last.State == gate.Unknown {
		r.last = v
		r.say(v)
	}
}

func (r *counter) room() decide.Room {
	peers := make([]decide.Peer, 0, len(r.peers))
	for _, p := range r.peers {
		if h, ok := r.holders[p.Name]; ok {
			p.Slot = &h
		}
		peers = append(peers, p)
	}
	return decide.RoomFor(r.Limit, r.Node, peers, time.Since(r.began) < newHolder)
}

func (r *counter) peerOf(n *corev1.Node) decide.Peer {
	p := decide.Peer{Name: n.Name, Unschedulable: n.Spec.Unschedulable}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			p.Ready = c.Status == corev1.ConditionTrue
		}
	}
	if s := n.Annotations[api.OperationAnnotation]; s != "" {
		record, err := api.ParseRecord([]byte(s))
		switch {
		case err != nil:
			p.Phase = api.PhaseDraining // whatever it says, it may be about to go
		case record.Lock == "" || record.Lock == r.Name || record.Phase == api.PhaseHalted:
			p.Phase = record.Phase
		}
	}
	if p.Phase == api.PhaseQueued {
		_, p.Held = n.Annotations[api.HoldAnnotation]
		p.Zone = api.ZoneOf(r.Same, n.Labels)
	}
	return p
}
