package drain

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/api"
)

// API is what the drain needs of the API server. Its methods must neither retry nor
// throttle requests by themselves: the drain reads every 429. They are called from
// several goroutines.
type API interface {
	ListPods(ctx context.Context, namespace string, opts metav1.ListOptions) (*corev1.PodList, error)
	WatchPods(ctx context.Context, namespace string, opts metav1.ListOptions) (watch.Interface, error)
	EvictPod(ctx context.Context, ev *policyv1.Eviction) error
	DeletePod(ctx context.Context, namespace, name string, opts metav1.DeleteOptions) error
	ListBudgets(ctx context.Context, namespace string, opts metav1.ListOptions) (*policyv1.PodDisruptionBudgetList, error)
	WatchBudgets(ctx context.Context, namespace string, opts metav1.ListOptions) (watch.Interface, error)
	volumeAPI
}

// DefaultMinWait is how long a scheduler may take to see the cordon.
const DefaultMinWait = 5 * time.Second

// Config says which node is drained, and how.
type Config struct {
	API     API
	Node    string
	SelfUID types.UID // rebootd's own pod, "" if it is none
	// MinWait is the least time from the start of Run until the node may count as
	// drained; the cordon must have been seen before Run starts. 0 means
	// DefaultMinWait.
	MinWait time.Duration
	// WaitForJobs leaves the pods of Jobs to finish by themselves.
	WaitForJobs bool
	// CompletionTimeout is when, on the drain's own clock, pods are evicted that were
	// left to finish by themselves or are protected from disruption. 0: never.
	CompletionTimeout time.Duration
	// VolumeTimeout is how long the drain waits, when all pods have left, for their
	// volumes to be detached. 0: not at all.
	VolumeTimeout time.Duration
	// DryRun asks the API server what it would answer, and evicts nothing: pods whose
	// eviction would be accepted count as gone.
	DryRun bool
	// ClockSkew returns by how much this machine's clock is ahead of the API server's,
	// as far as that is known now. Timestamps of objects are compared with the API
	// server's clock. nil: the clocks agree.
	ClockSkew func() time.Duration
	// OnEviction is called with the HTTP status of each answer to an eviction or
	// deletion, or "error" where none came. nil: it is not called. It may be called from
	// several goroutines.
	OnEviction func(code string)
	// OnError is called with errors after which the drain continues: what failed, and
	// what the drain does now. nil: it is not called. It may be called from several
	// goroutines.
	OnError func(err error)
	// OnIgnored is called with a sentence about what people have written on a pod that is
	// not valid, once for each pod, from one goroutine. It may be nil.
	OnIgnored func(what string)
}

// Drainer drains one node.
type Drainer struct{ cfg Config }

// New makes a drainer. It sends nothing.
func New(c Config) (*Drainer, error) {
	if c.API == nil || c.Node == "" {
		return nil, errors.New("make a drainer: Config.API and Config.Node are required")
	}
	if c.MinWait == 0 {
		c.MinWait = DefaultMinWait
	}
	if c.OnEviction == nil {
		c.OnEviction = func(string) {}
	}
	if c.ClockSkew == nil {
		c.ClockSkew = func() time.Duration { return 0 }
	}
	if c.OnIgnored == nil {
		c.OnIgnored = func(string) {}
	}
	if c.OnError == nil {
		c.OnError = func(error) {}
	}
	return &Drainer{cfg: c}, nil
}

// Options are about one drain.
type Options struct {
	ID string // of the operation, for the report
	// Ran is for how long earlier runs of this drain have run. The drain's own clock
	// starts with this value when the node's pods have been listed for the first time,
	// and is monotonic: time before the list and changes of the machine's clock do not
	// count.
	Ran time.Duration
	// Limit, unless it is 0, forces the drain: each pod that is left is deleted,
	// whatever its budget says, early enough for its own grace period to end when the
	// drain's clock shows Limit, and with a shorter grace period where it is too late
	// for that.
	Limit time.Duration
	// Previous is the report of an earlier run that was interrupted. A report with
	// another ID is ignored.
	Previous *api.Report
}

// Run drains the node and keeps it drained until ctx ends, and then returns ctx's
// error: a pod that comes after the node was drained is evicted like those before it.
// progress is called from one goroutine whenever anything changes, and once more before
// Run returns; it says whether the node is drained at present. Requests that are refused
// or not answered are retried. The node must have been seen cordoned before.
func (d *Drainer) Run(ctx context.Context, opts Options, progress func(Progress)) error {
	ctx, cancel := context.WithCancel(ctx)
	now := time.Now()
	r := &run{
		Drainer: d, opts: opts, inbox: make(chan func(now time.Time), 64),
		view:    viewer{self: d.cfg.SelfUID, waitForJobs: d.cfg.WaitForJobs},
		budgets: map[string]context.CancelFunc{}, moves: map[moveKey]context.CancelFunc{}, volumes: &volumes{},
		core: newCore(timing{
			minWait: d.cfg.MinWait, ran: opts.Ran, limit: opts.Limit, completion: d.cfg.CompletionTimeout, jitter: jitter,
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
			r.readAPIClock()
			f(time.Now())
			r.drainInbox()
		case <-timer.C:
		}
		now := time.Now()
		for _, p := range r.core.problems {
			r.cfg.OnIgnored(p)
		}
		r.core.problems = nil
		for _, req := range r.core.due(now) {
			r.send(ctx, req)
		}
		r.watchBudgets(ctx)
		r.watchMoves(ctx)
		for _, l := range r.core.lookups(now) {
			r.wg.Go(func() { r.lookUp(ctx, l) })
		}
		r.confirmAnswers(ctx, now)
		switch {
		case !r.core.drained(now):
			r.finished = time.Time{}
			if r.core.remaining() > 0 {
				r.forgetVolumes()
			}
		case r.finished.IsZero() && r.volumesDetached(ctx, now) && r.confirmed(ctx):
			r.finished = time.Now()
		}
		progress(r.progress())
		timer.Reset(max(time.Millisecond, time.Until(r.nextWake(now))))
	}
}

// readAPIClock takes in what the API server's clock shows. Before the first list there
// may not have been an answer by which that is known.
func (r *run) readAPIClock() {
	if !r.core.listed {
		r.core.apiClock = apiClock{}
	}
	r.core.apiClock.read(time.Now(), r.cfg.ClockSkew())
}

// nextWake is when the loop turns next although nothing has happened.
func (r *run) nextWake(now time.Time) time.Time {
	at := now.Add(time.Hour)
	for _, t := range []time.Time{r.core.nextWake(now), r.listNewestAt, r.confirmAt(), r.volumesUntil()} {
		if t.After(now) && t.Before(at) {
			at = t
		}
	}
	if t := r.core.nextWake(now); !t.IsZero() && !t.After(now) && !r.core.drained(now) {
		return now
	}
	return at
}

// run is one call of Run.
type run struct {
	*Drainer
	opts               Options
	core               *core
	inbox              chan func(now time.Time)
	wg                 sync.WaitGroup
	view               viewer
	volumes            *volumes
	budgets            map[string]context.CancelFunc // watches by namespace
	moves              map[moveKey]context.CancelFunc
	finished           time.Time // since when the node is drained; zero: it is not
	listNewestAt       time.Time // the newest state is not listed again before
	listNewestFailures int       // such lists in a row that failed or contradicted an answer
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
	inherit(p.Report, r.opts.Previous)
	left := r.volumes.left()
	switch {
	case p.Drained:
		p.Summary = "drained: " + totals(p.Report.Totals)
		if len(left) > 0 {
			p.Summary += "; volumes still attached: " + shortList(left)
		}
	case r.core.drained(time.Now()) && len(left) > 0:
		p.Detail += "; waiting for volumes to be detached: " + shortList(left)
	}
	return p
}

// send sends one eviction or deletion in the background.
func (r *run) send(ctx context.Context, req request) {
	deadline := r.core.deadline
	r.wg.Go(func() {
		opts := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &req.pod.uid}}
		if r.cfg.DryRun {
			opts.DryRun = []string{metav1.DryRunAll}
		}
		var err error
		grace := req.grace
		if req.remove && req.pod.grace == 0 {
			grace = 1 // 0 would leave the containers running
		}
		if grace > 0 {
			opts.GracePeriodSeconds = &grace
		}
		if req.remove {
			err = r.cfg.API.DeletePod(ctx, req.pod.namespace, req.pod.name, opts)
		} else {
			ctx, cancel := untilDueByDeadline(ctx, req.pod, deadline)
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
			v.gone, v.accepted, v.dryRun = v.gone || v.accepted, false, true
		}
		r.post(ctx, func(now time.Time) { r.core.answered(req, v, now) })
	})
}

// lastEvictionPatience is how long the drain waits for the answer to an eviction that is
// sent when the pod is due by the deadline.
const lastEvictionPatience = 5 * time.Second

// untilDueByDeadline ends an eviction that is not answered, for example since a webhook
// hangs, so that it does not take from the grace that the pod has before the deadline.
func untilDueByDeadline(ctx context.Context, p podInfo, deadline time.Time) (context.Context, context.CancelFunc) {
	if deadline.IsZero() {
		return ctx, func() {}
	}
	return context.WithDeadline(ctx, later(deadline.Add(-p.grace), time.Now().Add(lastEvictionPatience)))
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

// watchPods follows the node's pods. Their list may be behind; the last list before the
// node counts as drained is not.
func (r *run) watchPods(ctx context.Context) {
	followPods(ctx, r.cfg, func(list *corev1.PodList, err error) {
		if err != nil {
			r.post(ctx, func(time.Time) { r.core.blind = true })
			return
		}
		infos := r.infos(list)
		r.post(ctx, func(now time.Time) { r.core.list(infos, now) })
	}, func(gone bool, p *corev1.Pod) {
		info := r.view.info(p)
		r.post(ctx, func(now time.Time) {
			if gone {
				r.core.gone(info.uid, &info, now)
			} else {
				r.core.seen(info, now)
			}
		})
	})
}
