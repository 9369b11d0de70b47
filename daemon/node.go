package daemon

import (
	"context"
	"fmt"
	"strings"
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
)

// nodeWorker knows the daemon's own Node, with the record of the operation.
type nodeWorker struct {
	bg      *background
	reach   *reach
	events  *events
	log     zerolog.Logger
	follows nodeFollower

	view      *nodeView // nil: not read yet, or there is none
	read      bool      // the API server has been asked once
	record    *api.Record
	recordErr error
	stored    *api.Record // as it stands on the Node; in a dry run record is another one
	served    *api.Served // nil: nothing, or nothing that can be read
	pretended bool        // the cordon of a dry run
	aborted   *string     // what a dry run has aborted: the annotation's value
}

func newNodeWorker(c Config, bg *background, r *reach, e *events) *nodeWorker {
	return &nodeWorker{bg: bg, reach: r, events: e, log: c.Log, follows: nodeFollower{api: c.API, name: c.NodeName}}
}

// watch begins to follow the Node, until the daemon stops.
func (w *nodeWorker) watch() {
	start(w.bg, w.follows.run, func(n nodeNews) {
		w.reach.see(n.err)
		if n.err == nil && !n.alive {
			w.see(n.node)
		}
	}, func(struct{}, bool) {})
}

// isGone says whether there is no Node, by the word of the API server.
func (w *nodeWorker) isGone() bool { return w.read && w.view == nil }

// see takes in the Node, nil when there is none. The answer to our own patch
// may overtake the watch, so an older state is not taken.
func (w *nodeWorker) see(n *corev1.Node) {
	w.read = true
	if n == nil {
		if w.view != nil {
			w.log.Warn().Str("node", w.follows.name).Msg("the Node is gone from the cluster; no longer renewing its slot and node lease, and waiting for a new Node")
		}
		w.view, w.record, w.recordErr, w.stored, w.served = nil, nil, nil, nil, nil
		return
	}
	v := viewOf(n)
	if v.older(w.view) {
		return
	}
	if w.view != nil && w.view.uid != v.uid {
		w.log.Warn().Str("node", w.follows.name).Msg("the Node was deleted and created again under the same name; starting over with the new one")
	}
	if w.view == nil || w.view.operation != v.operation {
		w.record, w.recordErr = nil, nil
		if v.operation != "" {
			w.record, w.recordErr = api.ParseRecord([]byte(v.operation))
		}
		w.stored = w.record
	}
	if w.view == nil || w.view.served != v.served {
		var err error
		if w.served, err = api.ParseServed(v.served); err != nil {
			w.log.Warn().Err(err).Str("annotation", api.ServedAnnotation).Msg("cannot tell from the Node which sentinels have been served; judging them by the clock")
		}
	}
	v.last = lastReportOf(v.report, w.view)
	w.view = v
	w.events.node(v.uid)
}

func (w *nodeWorker) follow(decided) bool { return true }

func (w *nodeWorker) facts(f *decide.Facts) {
	v := w.view
	f.Node = decide.Node{
		Unschedulable: v.unschedulable || w.pretended, Foreign: v.cordonForeign, Ours: v.cordonOurs, Unprotected: v.unprotected(),
		Ready: v.ready, ReadyMessage: v.readyMessage, Heartbeat: v.heartbeat, KubeletBoot: v.bootID, Kernel: v.kernel,
	}
	f.Abort = w.abort()
	if w.record != nil && v.last.id == w.record.ID {
		f.Pods = countWords(v.last.totals)
	}
}

// countWords are the outcomes of pods, in their order.
func countWords(totals map[api.Outcome]int) string {
	var parts []string
	for _, o := range api.Outcomes() {
		if n := totals[o]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, o))
		}
	}
	return strings.Join(parts, ", ")
}

// abort is whether people abort, and why. A dry run, which cannot remove the annotation,
// does what it asks for once.
func (w *nodeWorker) abort() decide.Abort {
	if w.view.abort == nil {
		w.aborted = nil
		return decide.Abort{}
	}
	if w.aborted != nil && *w.aborted == *w.view.abort {
		return decide.Abort{}
	}
	return decide.Abort{Asked: true, Why: *w.view.abort}
}

func (w *nodeWorker) holdVerdict() gate.Verdict {
	why := "held by the annotation " + api.HoldAnnotation + ", which gives no reason"
	if w.view.hold != "" {
		why = "held: " + w.view.hold
	}
	return verdictOf(why, w.view.held)
}

// othersVerdict rests on when the machine has booted, too.
func (w *nodeWorker) othersVerdict(booted time.Time) gate.Verdict {
	if w.view.others == nil {
		return gate.Verdict{State: gate.Open}
	}
	return verdictOf(w.view.others.Words(booted), true)
}

// nodeFollower follows one Node, in the background.
type nodeFollower struct {
	api  NodeAPI
	name string
}

// nodeNews is what it has to say.
type nodeNews struct {
	node  *corev1.Node // nil: there is none
	alive bool         // nothing of the Node: the API server has answered
	err   error        // or not
}

// run keeps the loop's view of the Node until ctx ends: a list, which is
// read from the newest state, since decisions after a start rest on it, and a
// watch from there. A watch that ends is taken up where it ended.
func (f nodeFollower) run(ctx context.Context, say func(nodeNews)) struct{} {
	opts := metav1.ListOptions{FieldSelector: "metadata.name=" + f.name}
	var pauses backoff.Pauses
	version := ""
	for ctx.Err() == nil {
		if version == "" {
			list, err := f.api.ListNodes(ctx, opts)
			if err != nil {
				say(nodeNews{err: fmt.Errorf("list the Node %s: %w", f.name, err)})
				pauses.Wait(ctx, err)
				continue
			}
			news := nodeNews{}
			if len(list.Items) > 0 {
				news.node = &list.Items[0]
			}
			version = list.ResourceVersion
			say(news)
		}
		wo := opts
		wo.ResourceVersion, wo.AllowWatchBookmarks = version, true
		w, err := f.api.WatchNodes(ctx, wo)
		if err == nil {
			say(nodeNews{alive: true})
			began := time.Now()
			version, err = f.read(ctx, w, version, say)
			if err == nil && time.Since(began) > time.Second {
				pauses.Reset()
				continue
			}
		}
		if apierrors.IsGone(err) || apierrors.IsResourceExpired(err) {
			version = ""
		} else if err != nil {
			say(nodeNews{err: fmt.Errorf("watch the Node %s: %w", f.name, err)})
		}
		pauses.Wait(ctx, err)
	}
	return struct{}{}
}

// read reads a watch to its end and returns the version that it came to.
func (f nodeFollower) read(ctx context.Context, w watch.Interface, version string, say func(nodeNews)) (string, error) {
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return version, nil
		case ev, ok := <-w.ResultChan():
			if !ok {
				return version, nil
			}
			if ev.Type == watch.Error {
				return version, apierrors.FromObject(ev.Object)
			}
			n, ok := ev.Object.(*corev1.Node)
			if !ok {
				continue
			}
			version = n.ResourceVersion
			switch ev.Type {
			case watch.Added, watch.Modified:
				say(nodeNews{node: n})
			case watch.Deleted:
				say(nodeNews{})
			}
		}
	}
}
