package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/cmd/kubectl-rebootd/client"
	"rebootd.dev/cmd/kubectl-rebootd/fleet"
	"rebootd.dev/cmd/kubectl-rebootd/live"
	"rebootd.dev/daemon/api"
)

// verdict is what a node says of what is waited for.
type verdict struct {
	outcome string // done, failed or halted; "": it is not over
	said    string // in a sentence
}

// What a wait comes to.
const (
	outcomeDone   = "done"
	outcomeFailed = "failed"
	outcomeHalted = "halted"
	outcomeLate   = "late"
)

// waited is a node that is waited for.
type waited struct {
	*target // as it was after the write
	change  *change

	id      string          // of the operation that is waited for; "": not known yet
	known   map[string]bool // the IDs of the operations that are not waited for
	served  bool            // the request is gone: one that is there later is another
	told    string          // the sentence that was told last
	wrote   bool
	reacted bool // its daemon, since the write
	first   string
	ended   *verdict
}

func newWaited(t *target, c *change, wrote bool) *waited {
	w := &waited{target: t, change: c, known: map[string]bool{}, wrote: wrote, first: trace(&t.Node)}
	past, _ := t.History()
	for _, s := range past {
		w.known[s.ID] = true
	}
	if t.Record != nil {
		w.id = t.Record.ID
	}
	return w
}

// trace is what changes on a Node when its daemon does something.
func trace(n *fleet.Node) string {
	s := fmt.Sprint(n.Abort != nil, n.Request != nil, n.RecordErr)
	if n.Record != nil {
		s += n.Record.ID + string(n.Record.Phase)
	}
	if n.Condition != nil {
		s += n.Condition.Status + n.Condition.Reason + n.Condition.Message
	}
	return s
}

// seen is what was seen of a Node.
type seen struct {
	name string
	node *fleet.Node // nil: it is gone
	err  error       // nothing can be seen at present; nil: it can, or can again
}

// silence is after which time without a reaction of a node's daemon people are told.
const silence = time.Minute

// await waits until all is over, one has halted, or the time is up.
func (e *env) await(c *cobra.Command, api client.API, all []*waited, judge func(*waited, *fleet.Node) verdict) error {
	ctx, cancel := context.WithCancel(c.Context())
	defer cancel()
	var late <-chan time.Time
	if c.Flags().Changed("timeout") && e.flags.timeout > 0 {
		late = time.After(e.flags.timeout)
	}
	silent := time.After(silence)
	by := map[string]*waited{}
	for _, w := range all {
		by[w.Name] = w
	}
	events := make(chan seen)
	if len(all) <= many {
		for name := range by {
			go follow(ctx, oneNode{api, name}, []string{name}, events)
		}
	} else {
		go follow(ctx, api, slices.Collect(maps.Keys(by)), events)
	}
	left, status, away, heard := len(all), exitOK, false, false
	for left > 0 {
		select {
		case <-ctx.Done():
			return e.stillWaits(all, exitFailed, "interrupted")
		case <-late:
			return e.stillWaits(all, max(status, exitLate), "not in time")
		case <-silent:
			e.sayWhoIsSilent(all)
		case s := <-events:
			switch {
			case apierrors.IsForbidden(s.err) && !heard: // an API server that has just started may refuse for a moment
				return fmt.Errorf("wait: %w", explain(s.err))
			case s.err != nil:
				if !away {
					e.sayf("the API server does not answer, or refuses; still waiting: %v", s.err)
				}
				away = true
				continue
			case away:
				e.sayf("the API server answers again")
				away = false
			}
			w := by[s.name]
			if w == nil || w.ended != nil {
				continue
			}
			heard = true
			if s.node != nil {
				w.reacted = w.reacted || trace(s.node) != w.first
				e.progress(w, s.node)
			}
			v := judge(w, s.node)
			if v.outcome == "" {
				continue
			}
			e.overWith(w, v)
			left--
			if v.outcome != outcomeDone {
				status = exitHalted
			}
			if v.outcome == outcomeHalted {
				return e.stillWaits(all, status, "not waited for any longer, since a node has halted")
			}
		}
	}
	if status != exitOK {
		return &exit{status: status}
	}
	return nil
}

// progress tells what a node's daemon says, when it says something else.
func (e *env) progress(w *waited, n *fleet.Node) {
	s := sentenceOf(n)
	if s != w.told && (w.told != "" || n.Record != nil) {
		e.sayf("%s: %s", n.Name, s)
	}
	w.told = s
}

// overWith notes and tells what the wait for a node has come to.
func (e *env) overWith(w *waited, v verdict) {
	w.ended = &v
	w.change.Outcome, w.change.Message = v.outcome, v.said
	e.sayf("%s: %s: %s", w.Name, v.outcome, v.said)
}

// stillWaits ends the wait before all is over.
func (e *env) stillWaits(all []*waited, status int, why string) error {
	for _, w := range all {
		if w.ended == nil {
			w.change.Outcome, w.change.Message = outcomeLate, w.told
			e.sayf("%s: %s: %s", w.Name, why, w.told)
		}
	}
	return &exit{status: status}
}

// sayWhoIsSilent names the nodes whose daemons have not reacted.
func (e *env) sayWhoIsSilent(all []*waited) {
	for _, w := range all {
		if w.wrote && !w.reacted && w.ended == nil {
			e.sayf("%s: its daemon has not reacted for %s; does it run? kubectl -n %s get pods --field-selector spec.nodeName=%s", w.Name, ago(silence), e.flags.namespace, w.Name)
		}
	}
}

// readLimit is after which time a read is given up while something is waited for.
const readLimit = 30 * time.Second

// follow sends what is seen of these nodes until ctx ends.
func follow(ctx context.Context, nodes live.NodesAPI, names []string, out chan<- seen) {
	events := make(chan live.Event)
	go live.FollowNodes(ctx, nodes, readLimit, events)
	send := func(s seen) {
		select {
		case out <- s:
		case <-ctx.Done():
		}
	}
	for {
		var ev live.Event
		select {
		case ev = <-events:
		case <-ctx.Done():
			return
		}
		switch {
		case ev.Away != nil:
			send(seen{err: ev.Away})
		case ev.Back:
			send(seen{})
		case ev.Node != nil:
			send(seen{name: ev.Node.Name, node: ev.Node})
		case ev.GoneNode != "":
			send(seen{name: ev.GoneNode})
		}
		if ev.Nodes == nil {
			continue
		}
		for _, name := range names {
			s := seen{name: name}
			if i := slices.IndexFunc(ev.Nodes, func(n fleet.Node) bool { return n.Name == name }); i >= 0 {
				s.node = &ev.Nodes[i]
			}
			send(s)
		}
	}
}

// oneNode asks for one Node where all are asked for: in a large cluster those are much.
type oneNode struct {
	client.API
	name string
}

func (o oneNode) EachNode(ctx context.Context, _ string, each func(*corev1.Node)) (string, error) {
	n, err := o.Node(ctx, o.name)
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	each(n)
	return n.ResourceVersion, nil
}

func (o oneNode) WatchNodes(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
	opts.FieldSelector = "metadata.name=" + o.name
	return o.API.WatchNodes(ctx, opts)
}

// afterBoot says whether an operation is past its reboot: what is requested from then on
// is another one.
func afterBoot(r *api.Record) bool {
	return r != nil && (r.Phase == api.PhaseVerifying || r.Phase == api.PhaseHalted && r.Failure != nil && r.Failure.Reason == api.ReasonUnhealthy)
}
