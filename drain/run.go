package drain

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// API is what the drain needs of the API server. Its calls must not retry by
// themselves, nor hold requests back: a 429 is an answer to be read.
type API interface {
	ListPods(ctx context.Context, namespace string, opts metav1.ListOptions) (*corev1.PodList, error)
	WatchPods(ctx context.Context, namespace string, opts metav1.ListOptions) (watch.Interface, error)
	EvictPod(ctx context.Context, ev *policyv1.Eviction) error
	DeletePod(ctx context.Context, namespace, name string, opts metav1.DeleteOptions) error
	ListBudgets(ctx context.Context, namespace string, opts metav1.ListOptions) (*policyv1.PodDisruptionBudgetList, error)
	WatchBudgets(ctx context.Context, namespace string, opts metav1.ListOptions) (watch.Interface, error)
	volumeAPI
}

// DefaultMinWait is how long a scheduler with an old view of the cordon is waited
// for.
const DefaultMinWait = 5 * time.Second

// Config says which node is drained, and how.
type Config struct {
	API     API
	Node    string
	SelfUID types.UID // rebootd's own pod, "" if it is none
	// MinWait is the least time from the begin of Run until the node may count as
	// drained; the cordon must have been seen before that begin. 0 means
	// DefaultMinWait.
	MinWait time.Duration
	// WaitForJobs has the pods of Jobs waited for instead of evicted.
	WaitForJobs bool
	// CompletionTimeout is how long pods are waited for that are to end by
	// themselves or not to be disturbed, from the begin of the drain; then they are
	// evicted like others. 0: as long as the drain may take.
	CompletionTimeout time.Duration
	// VolumeTimeout is how long the volumes of the pods that have left are waited
	// for to be detached. 0: not at all.
	VolumeTimeout time.Duration
	// DryRun asks the API server what it would answer, and evicts nothing: pods
	// that would go count as gone.
	DryRun bool
	// OnEviction is told the code of each answer to an eviction or deletion,
	// "error" for none. It may be called from several goroutines.
	OnEviction func(code string)
	// OnError is told of what is tried again anyway; may be nil.
	OnError func(err error)
}

// Drainer drains one node.
type Drainer struct{ cfg Config }

// New makes a drainer. It sends nothing.
func New(c Config) (*Drainer, error) {
	if c.API == nil || c.Node == "" {
		return nil, errors.New("make a drainer: API and node must be given")
	}
	if c.MinWait == 0 {
		c.MinWait = DefaultMinWait
	}
	if c.OnEviction == nil {
		c.OnEviction = func(string) {}
	}
	if c.OnError == nil {
		c.OnError = func(error) {}
	}
	return &Drainer{cfg: c}, nil
}

// Options are about one drain.
type Options struct {
	ID string // of the operation, for the report
	// Since is when the drain began, perhaps before a restart; zero: now.
	Since time.Time
	// Deadline, unless it is zero, forces the drain: each pod that is left is
	// deleted, whatever its budget says, early enough for its own grace period to
	// end by then, and with less grace where it is too late for that.
	Deadline time.Time
	// Previous is the report of an earlier run that was interrupted; one of
	// another ID is not regarded.
	Previous *Report
}

// Run drains the node and keeps it drained until ctx ends, when it returns ctx's
// error: a pod that comes after the node was drained is seen, and goes like those
// before it. Progress says whether the node is drained at present; it is told
// whenever anything changes, and once more before Run returns. What the API server
// refuses, or that it cannot be reached, is tried again. The node must have been
// seen cordoned before.
func (d *Drainer) Run(ctx context.Context, opts Options, progress func(Progress)) error {
	ctx, cancel := context.WithCancel(ctx)
	now := time.Now()
	if opts.Since.IsZero() {
		opts.Since = now
	}
	r := &run{
		Drainer: d, opts: opts, inbox: make(chan func(now time.Time), 64),
		view:    viewer{self: d.cfg.SelfUID, waitForJobs: d.cfg.WaitForJobs},
		budgets: map[string]context.CancelFunc{}, moves: map[moveKey]context.CancelFunc{}, volumes: &volumes{},
		core: newCore(timing{
			minWait: d.cfg.MinWait, since: opts.Since, completion: d.cfg.CompletionTimeout, deadline: opts.Deadline, jitter: jitter,
		}, now),
	}
	defer r.wg.Wait()
	defer cancel()
	r.wg.Go(func() { r.watchPods(ctx) })
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			progress(r.progress())
			return context.Cause(ctx)
		case f := <-r.inbox:
			f(time.Now())
			r.drainInbox()
		case <-timer.C:
		}
		now := time.Now()
		for _, p := range r.core.problems {
			r.cfg.OnError(errors.New(p))
		}
		r.core.problems = nil
		for _, req := range r.core.due(now) {
			r.ask(ctx, req)
		}
		r.watchBudgets(ctx)
		r.watchMoves(ctx)
		for _, l := range r.core.lookups(now) {
			r.wg.Go(func() { r.lookUp(ctx, l) })
		}
		r.settleDoubts(ctx, now)
		switch {
		case !r.core.drained(now):
			r.finished = time.Time{}
			if r.core.open() > 0 {
				r.undetached()
			}
		case r.finished.IsZero() && r.detached(ctx, now) && r.confirmed(ctx):
			r.finished = time.Now()
		}
		progress(r.progress())
		timer.Reset(max(time.Millisecond, time.Until(r.wake(now))))
	}
}

// wake is when the loop turns next although nothing has happened.
func (r *run) wake(now time.Time) time.Time {
	at := now.Add(time.Hour)
	for _, t := range []time.Time{r.core.wake(now), r.lookAt, r.doubtsUntil(), r.volumesUntil()} {
		if t.After(now) && t.Before(at) {
			at = t
		}
	}
	if t := r.core.wake(now); !t.IsZero() && !t.After(now) && !r.core.drained(now) {
		return now
	}
	return at
}

// run is one call of Run.
type run struct {
	*Drainer
	opts     Options
	core     *core
	inbox    chan func(now time.Time)
	wg       sync.WaitGroup
	view     viewer
	volumes  *volumes
	budgets  map[string]context.CancelFunc // watches by namespace
	moves    map[moveKey]context.CancelFunc
	finished time.Time // since when the node is drained; zero: it is not
	lookAt   time.Time // not before then is the newest state looked at again
	failed   int       // looks in a row that failed, or contradicted
}

func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
}

func (r *run) post(ctx context.Context, f func(now time.Time)) {
	select {
	case r.inbox <- f:
	case <-ctx.Done():
	}
}

func (r *run) drainInbox() {
	for {
		select {
		case f := <-r.inbox:
			f(time.Now())
		default:
			return
		}
	}
}

func (r *run) progress() Progress {
	p := r.core.progress(r.opts.ID, time.Now(), r.finished)
	p.Report.inherit(r.opts.Previous)
	left := r.volumes.left()
	switch {
	case p.Drained:
		p.Summary = "drained: " + totals(p.Report.Totals)
		if len(left) > 0 {
			p.Summary += "; volumes still attached: " + shortList(left)
		}
	case r.core.drained(time.Now()) && len(left) > 0:
		p.Detail += "; waits for volumes to be detached: " + shortList(left)
	}
	return p
}

// ask sends one eviction or deletion in the background.
func (r *run) ask(ctx context.Context, req request) {
	r.wg.Go(func() {
		opts := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &req.pod.uid}}
		if r.cfg.DryRun {
			opts.DryRun = []string{metav1.DryRunAll}
		}
		var err error
		grace := req.grace
		if req.remove && req.pod.grace == 0 {
			grace = 1 // 0 would leave the containers behind
		}
		if grace > 0 {
			opts.GracePeriodSeconds = &grace
		}
		if req.remove {
			err = r.cfg.API.DeletePod(ctx, req.pod.namespace, req.pod.name, opts)
		} else {
			ctx, cancel := r.untilPressed(ctx, req.pod)
			err = r.cfg.API.EvictPod(ctx, &policyv1.Eviction{
				ObjectMeta:    metav1.ObjectMeta{Namespace: req.pod.namespace, Name: req.pod.name},
				DeleteOptions: &opts,
			})
			cancel()
		}
		if ctx.Err() != nil {
			return
		}
		v := judge(err)
		r.cfg.OnEviction(v.code)
		if r.cfg.DryRun {
			v.gone, v.accepted, v.pretended = v.gone || v.accepted, false, true
		}
		r.post(ctx, func(now time.Time) { r.core.answered(req, v, now) })
	})
}

// pressedPatience is how long an eviction is waited for that is asked for in the last
// moment.
const pressedPatience = 5 * time.Second

// untilPressed has an eviction that is not answered, since a webhook hangs, say, not
// take from the grace that the pod has before the deadline.
func (r *run) untilPressed(ctx context.Context, p podInfo) (context.Context, context.CancelFunc) {
	if r.opts.Deadline.IsZero() {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, later(r.opts.Deadline.Add(-p.grace), time.Now().Add(pressedPatience)))
}

func (r *run) podOptions() metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: "spec.nodeName=" + r.cfg.Node}
}

func (r *run) infos(list *corev1.PodList) []podInfo {
	out := make([]podInfo, 0, len(list.Items))
	for i := range list.Items {
		out = append(out, r.view.info(&list.Items[i]))
	}
	return out
}

// watchPods lists the node's pods and watches them from there. The list may come
// from the API server's cache, by which it costs 5,000 nodes' daemons little; the
// last look before the end does not.
func (r *run) watchPods(ctx context.Context) {
	keep(ctx, r.cfg.OnError, func(ctx context.Context) (string, error) {
		opts := r.podOptions()
		opts.ResourceVersion = "0"
		list, err := r.cfg.API.ListPods(ctx, "", opts)
		if err != nil {
			r.post(ctx, func(time.Time) { r.core.blind = true })
			return "", fmt.Errorf("list the pods of the node %s: %w", r.cfg.Node, err)
		}
		infos := r.infos(list)
		r.post(ctx, func(now time.Time) { r.core.list(infos, now) })
		return list.ResourceVersion, nil
	}, func(ctx context.Context, version string) (watch.Interface, error) {
		opts := r.podOptions()
		opts.ResourceVersion, opts.AllowWatchBookmarks = version, true
		return r.cfg.API.WatchPods(ctx, "", opts)
	}, func(ev watch.Event) {
		p, ok := ev.Object.(*corev1.Pod)
		if !ok {
			return
		}
		info := r.view.info(p)
		r.post(ctx, func(now time.Time) {
			if ev.Type == watch.Deleted {
				r.core.gone(info.uid, &info, now)
			} else {
				r.core.seen(info, now)
			}
		})
	})
}
