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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// API is what the drain needs of the API server. Its calls must not retry by
// themselves, nor hold requests back: a 429 is an answer to be read.
type API interface {
	ListPods(ctx context.Context, opts metav1.ListOptions) (*corev1.PodList, error)
	WatchPods(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error)
	EvictPod(ctx context.Context, ev *policyv1.Eviction) error
	DeletePod(ctx context.Context, namespace, name string, opts metav1.DeleteOptions) error
	ListBudgets(ctx context.Context, namespace string, opts metav1.ListOptions) (*policyv1.PodDisruptionBudgetList, error)
	WatchBudgets(ctx context.Context, namespace string, opts metav1.ListOptions) (watch.Interface, error)
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
	// Previous is the report of an earlier run that was interrupted; one of
	// another ID is not regarded.
	Previous *Report
	// Force, when it is closed, has the pods that are left deleted, whatever their
	// budgets say, with their own grace period.
	Force <-chan struct{}
}

// Run drains the node and returns nil when it is drained, or ctx's error. It
// tells progress whenever that changes, the last time just before it returns.
// What the API server refuses, or that it cannot be reached, is tried again.
// The node must have been seen cordoned before.
func (d *Drainer) Run(ctx context.Context, opts Options, progress func(Progress)) error {
	ctx, cancel := context.WithCancel(ctx)
	r := &run{
		Drainer: d, opts: opts, inbox: make(chan func(now time.Time), 64), budgets: map[string]context.CancelFunc{},
		core: newCore(d.cfg.MinWait, time.Now(), jitter),
	}
	defer r.wg.Wait()
	defer cancel()
	r.wg.Go(func() { r.watchPods(ctx) })
	force := opts.Force
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			progress(r.progress(false))
			return context.Cause(ctx)
		case f := <-r.inbox:
			f(time.Now())
			r.drainInbox()
		case <-force:
			force = nil
			r.core.forceNow(time.Now())
		case <-timer.C:
		}
		now := time.Now()
		for _, req := range r.core.due(now) {
			r.ask(ctx, req)
		}
		r.watchBudgets(ctx)
		if r.core.drained(now) && r.confirmed(ctx) {
			progress(r.progress(true))
			return nil
		}
		progress(r.progress(false))
		wait := time.Hour
		if at := r.core.wake(now); !at.IsZero() {
			wait = max(time.Millisecond, time.Until(at))
		}
		if r.confirmAt.After(now) {
			wait = min(wait, time.Until(r.confirmAt))
		}
		timer.Reset(wait)
	}
}

// run is one call of Run.
type run struct {
	*Drainer
	opts      Options
	core      *core
	inbox     chan func(now time.Time)
	wg        sync.WaitGroup
	budgets   map[string]context.CancelFunc // watches by namespace
	confirmAt time.Time                     // when the last look failed: look again
	failed    int
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

func (r *run) progress(isDrained bool) Progress {
	p := r.core.progress(r.opts.ID, time.Now(), isDrained)
	p.Report.inherit(r.opts.Previous)
	if isDrained {
		p.Summary = "drained: " + totals(p.Report.Totals)
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
		if req.force {
			grace := max(1, int64(req.pod.grace/time.Second)) // 0 would leave the containers behind
			opts.GracePeriodSeconds = &grace
			err = r.cfg.API.DeletePod(ctx, req.pod.namespace, req.pod.name, opts)
		} else {
			err = r.cfg.API.EvictPod(ctx, &policyv1.Eviction{
				ObjectMeta:    metav1.ObjectMeta{Namespace: req.pod.namespace, Name: req.pod.name},
				DeleteOptions: &opts,
			})
		}
		if ctx.Err() != nil {
			return
		}
		v := judge(err)
		r.cfg.OnEviction(v.code)
		v.gone = v.gone || v.accepted && r.cfg.DryRun
		v.accepted = v.accepted && !r.cfg.DryRun
		r.post(ctx, func(now time.Time) { r.core.answered(req, v, now) })
	})
}

// confirmed looks once more, at the newest state, when the node seems drained: a
// watch may be behind.
func (r *run) confirmed(ctx context.Context) bool {
	if time.Now().Before(r.confirmAt) {
		return false
	}
	list, err := r.cfg.API.ListPods(ctx, r.podOptions())
	now := time.Now()
	if err != nil {
		r.cfg.OnError(fmt.Errorf("list the pods of the node %s once more: %w", r.cfg.Node, err))
		r.confirmAt = now.Add(min(lastRetry, growing(firstRetry, r.failed)))
		r.failed++
		return false
	}
	r.failed = 0
	if !r.cfg.DryRun { // where nothing is gone in truth
		r.core.list(r.infos(list), now)
	}
	return r.core.drained(now)
}

func (r *run) podOptions() metav1.ListOptions {
	return metav1.ListOptions{FieldSelector: "spec.nodeName=" + r.cfg.Node}
}

func (r *run) infos(list *corev1.PodList) []podInfo {
	out := make([]podInfo, 0, len(list.Items))
	for i := range list.Items {
		out = append(out, infoOf(&list.Items[i], r.cfg.SelfUID))
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
		list, err := r.cfg.API.ListPods(ctx, opts)
		if err != nil {
			return "", fmt.Errorf("list the pods of the node %s: %w", r.cfg.Node, err)
		}
		infos := r.infos(list)
		r.post(ctx, func(now time.Time) { r.core.list(infos, now) })
		return list.ResourceVersion, nil
	}, func(ctx context.Context, version string) (watch.Interface, error) {
		opts := r.podOptions()
		opts.ResourceVersion, opts.AllowWatchBookmarks = version, true
		return r.cfg.API.WatchPods(ctx, opts)
	}, func(ev watch.Event) {
		p, ok := ev.Object.(*corev1.Pod)
		if !ok {
			return
		}
		info := infoOf(p, r.cfg.SelfUID)
		r.post(ctx, func(now time.Time) {
			if ev.Type == watch.Deleted {
				r.core.gone(info.uid, now)
			} else {
				r.core.seen(info, now)
			}
		})
	})
}

// watchBudgets watches the budgets of the namespaces in which something is
// blocked, and of no others.
func (r *run) watchBudgets(ctx context.Context) {
	want := r.core.blockedNamespaces()
	for ns, cancel := range r.budgets {
		if !want[ns] {
			cancel()
			delete(r.budgets, ns)
		}
	}
	for ns := range want {
		if r.budgets[ns] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		r.budgets[ns] = cancel
		r.wg.Go(func() { r.watchBudget(ctx, ns) })
	}
}

func (r *run) watchBudget(ctx context.Context, namespace string) {
	known := map[string]bool{}
	see := func(b *policyv1.PodDisruptionBudget) {
		known[b.Name] = true
		r.post(ctx, func(now time.Time) { r.core.budget(namespace, b.Name, b, now) })
	}
	forget := func(name string) {
		delete(known, name)
		r.post(ctx, func(now time.Time) { r.core.budget(namespace, name, nil, now) })
	}
	keep(ctx, r.cfg.OnError, func(ctx context.Context) (string, error) {
		list, err := r.cfg.API.ListBudgets(ctx, namespace, metav1.ListOptions{})
		if err != nil {
			return "", fmt.Errorf("list the budgets of the namespace %s: %w", namespace, err)
		}
		there := map[string]bool{}
		for i := range list.Items {
			there[list.Items[i].Name] = true
			see(&list.Items[i])
		}
		for name := range known {
			if !there[name] {
				forget(name)
			}
		}
		return list.ResourceVersion, nil
	}, func(ctx context.Context, version string) (watch.Interface, error) {
		return r.cfg.API.WatchBudgets(ctx, namespace, metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true})
	}, func(ev watch.Event) {
		b, ok := ev.Object.(*policyv1.PodDisruptionBudget)
		switch {
		case !ok:
		case ev.Type == watch.Deleted:
			forget(b.Name)
		default:
			see(b)
		}
	})
}

// keep lists and watches until ctx ends. A watch that ends is taken up where it
// ended; one that fails is begun anew with a list.
func keep(
	ctx context.Context, onError func(error),
	list func(context.Context) (version string, err error),
	open func(ctx context.Context, version string) (watch.Interface, error),
	event func(watch.Event),
) {
	version, failed := "", 0
	for ctx.Err() == nil {
		var err error
		if version == "" {
			version, err = list(ctx)
		}
		began := time.Now()
		if err == nil {
			version, err = follow(ctx, version, open, event)
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			version = ""
			if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
				onError(err)
			}
		}
		if time.Since(began) > time.Second {
			failed = 0
		}
		t := time.NewTimer(min(lastRetry/2, growing(firstRetry/10, failed)))
		failed++
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

func follow(ctx context.Context, version string, open func(context.Context, string) (watch.Interface, error), event func(watch.Event)) (string, error) {
	w, err := open(ctx, version)
	if err != nil {
		return "", fmt.Errorf("open a watch: %w", err)
	}
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
				return "", apierrors.FromObject(ev.Object)
			}
			if m, ok := ev.Object.(metav1.Object); ok {
				version = m.GetResourceVersion()
			}
			if ev.Type != watch.Bookmark {
				event(ev)
			}
		}
	}
}
