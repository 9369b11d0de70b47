package drain

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/api"
)

const (
	// firstLook, and up to lookSpread more, is left before the node's pods are looked at: a
	// node that has its turn at once is asked about in earnest, and thousands whose packages
	// were upgraded in the same second do not list theirs in the next.
	firstLook, lookSpread = 5 * time.Second, time.Minute
	// lookPause lies between two lists of budgets.
	lookPause = 10 * time.Minute
	// sayPause lies between two changes of what people are told.
	sayPause = time.Minute
	// maxForeseen bounds the watches for budgets.
	maxForeseen = 8
)

// Foresee says, by the status of the budgets alone, what would keep pods on the node, at
// first and whenever that changes, until ctx ends. It costs one list and one watch of the
// node's pods, a list of the budgets of each of their namespaces, again when pods have come
// there, ten minutes apart at the least, and a watch of the budgets of each namespace in
// which something blocks. Those of the whole cluster would not fit into a daemon's memory
// everywhere. Errors are retried. say is called from one goroutine.
func (d *Drainer) Foresee(ctx context.Context, say func([]Blocker)) {
	ctx, cancel := context.WithCancel(ctx)
	r := &forerun{Drainer: d, inbox: make(chan func(), 64), watches: map[string]context.CancelFunc{}}
	r.foresight = newForesight(viewer{self: d.cfg.SelfUID, waitForJobs: d.cfg.WaitForJobs})
	defer r.wg.Wait()
	defer cancel()
	timer := time.NewTimer(firstLook + jitter(lookSpread))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return
	}
	r.wg.Go(func() { r.watchPods(ctx) })
	for {
		timer.Reset(time.Until(r.turn(ctx, say)))
		select {
		case <-ctx.Done():
			return
		case f := <-r.inbox:
			f()
			r.emptyInbox()
		case <-timer.C:
		}
	}
}

// forerun is one call of Foresee.
type forerun struct {
	*Drainer
	foresight *foresight
	inbox     chan func()
	wg        sync.WaitGroup
	watches   map[string]context.CancelFunc // of budgets, by namespace
	lookAt    time.Time                     // budgets are not listed before
	failed    int                           // such lists in a row
	said      []Blocker
	sayAt     time.Time
}

// turn does what is due, and returns when the next is.
func (r *forerun) turn(ctx context.Context, say func([]Blocker)) time.Time {
	now := time.Now()
	next := now.Add(24 * time.Hour)
	if len(r.foresight.news) > 0 && !now.Before(r.lookAt) {
		r.look(ctx, now)
	}
	if len(r.foresight.news) > 0 {
		next = r.lookAt
	}
	found, want, wake := r.foresight.blockers(now)
	r.watchBudgets(ctx, want)
	if !wake.IsZero() && wake.Before(next) {
		next = wake
	}
	if r.foresight.known() && (r.sayAt.IsZero() || !reflect.DeepEqual(found, r.said)) {
		if now.Before(r.sayAt) {
			return earlier(next, r.sayAt)
		}
		r.said, r.sayAt = found, now.Add(sayPause)
		say(found)
	}
	return next
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func (r *forerun) look(ctx context.Context, now time.Time) {
	for _, ns := range r.foresight.unlooked() {
		list, err := r.cfg.API.ListBudgets(ctx, ns, metav1.ListOptions{ResourceVersion: "0"})
		if err != nil {
			r.lookAt = now.Add(min(lookPause, backoff(lastRelist, r.failed)))
			if r.failed++; ctx.Err() == nil {
				r.cfg.OnError(fmt.Errorf("list the budgets of namespace %s, to foresee what would block the drain: %w; retrying", ns, err))
			}
			return
		}
		r.foresight.allBudgets(ns, list.Items)
	}
	r.failed, r.lookAt = 0, now.Add(lookPause)
}

func (r *forerun) post(ctx context.Context, f func()) {
	select {
	case r.inbox <- f:
	case <-ctx.Done():
	}
}

func (r *forerun) emptyInbox() {
	for {
		select {
		case f := <-r.inbox:
			f()
		default:
			return
		}
	}
}

func (r *forerun) watchPods(ctx context.Context) {
	followPods(ctx, r.cfg, func(list *corev1.PodList, err error) {
		if err == nil {
			r.post(ctx, func() { r.foresight.list(list.Items) })
		}
	}, func(gone bool, p *corev1.Pod) {
		r.post(ctx, func() {
			if gone {
				delete(r.foresight.pods, p.UID)
			} else {
				r.foresight.seen(p)
			}
		})
	})
}

func (r *forerun) watchBudgets(ctx context.Context, want map[string]bool) {
	for ns, cancel := range r.watches {
		if !want[ns] {
			cancel()
			delete(r.watches, ns)
		}
	}
	for ns := range want {
		if r.watches[ns] != nil || len(r.watches) >= maxForeseen {
			continue
		}
		ctx, cancel := context.WithCancel(ctx)
		r.watches[ns] = cancel
		r.wg.Go(func() {
			followBudgets(ctx, r.cfg, ns, func(b *policyv1.PodDisruptionBudget) {
				r.post(ctx, func() { r.foresight.budget(b) })
			}, func(name string) {
				r.post(ctx, func() { r.foresight.forget(ns, name) })
			}, func(there map[string]bool) {
				r.post(ctx, func() {
					for name := range r.foresight.budgets[ns] {
						if !there[name] {
							r.foresight.forget(ns, name)
						}
					}
				})
			})
		})
	}
}

// followPods lists the node's pods and watches them from there, until ctx ends. The list
// may come from the API server's cache, so that the daemons of 5,000 nodes cost it little.
func followPods(ctx context.Context, cfg Config, listed func(*corev1.PodList, error), event func(gone bool, p *corev1.Pod)) {
	opts := metav1.ListOptions{FieldSelector: "spec.nodeName=" + cfg.Node}
	listAndWatch(ctx, cfg.OnError, "the pods of node "+cfg.Node, func(ctx context.Context) (string, error) {
		opts := opts
		opts.ResourceVersion = "0"
		list, err := cfg.API.ListPods(ctx, "", opts)
		listed(list, err)
		if err != nil {
			return "", err
		}
		return list.ResourceVersion, nil
	}, func(ctx context.Context, version string) (watch.Interface, error) {
		opts := opts
		opts.ResourceVersion, opts.AllowWatchBookmarks = version, true
		return cfg.API.WatchPods(ctx, "", opts)
	}, func(ev watch.Event) {
		if p, ok := ev.Object.(*corev1.Pod); ok {
			event(ev.Type == watch.Deleted, p)
		}
	})
}

const (
	// maxRehearsed bounds the dry runs that are not answered yet.
	maxRehearsed = 10
	// sureAfter is after how long a refusal is asked for once more before it counts: an API
	// server that has just started knows no roles and no policies yet.
	sureAfter = 2 * time.Second
)

// Rehearsal is what the API server would answer to the evictions of a drain.
type Rehearsal struct {
	Pods     int       // that were asked about
	Blockers []Blocker // that will not pass by themselves
	Passing  []Blocker // that may
}

// Rehearse has the API server say what it would answer to the eviction of each pod of the
// node, with its UID, as dry runs, so that everything that has a word in it is asked and
// nothing is moved. It does not add up: each answer is for that pod alone. An error says
// that the pods or budgets could not be listed.
func (d *Drainer) Rehearse(ctx context.Context) (Rehearsal, error) {
	list, err := d.cfg.API.ListPods(ctx, "", metav1.ListOptions{FieldSelector: "spec.nodeName=" + d.cfg.Node, ResourceVersion: "0"})
	if err != nil {
		return Rehearsal{}, fmt.Errorf("list the pods of node %s, to ask whether they could be evicted: %w", d.cfg.Node, err)
	}
	f := newForesight(viewer{self: d.cfg.SelfUID, waitForJobs: d.cfg.WaitForJobs})
	f.list(list.Items)
	var pods []*foreseenPod
	for _, p := range f.pods {
		pods = append(pods, p)
	}
	answers := d.rehearse(ctx, pods)
	var again []*foreseenPod
	namespaces := map[string]bool{}
	for _, p := range pods {
		switch v := answers[p]; {
		case byBudgets(v):
			namespaces[p.namespace] = true
		case final(v):
			again = append(again, p)
		}
	}
	if len(again) > 0 {
		t := time.NewTimer(sureAfter)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		for p, v := range d.rehearse(ctx, again) {
			answers[p] = v
		}
	}
	for ns := range namespaces {
		list, err := d.cfg.API.ListBudgets(ctx, ns, metav1.ListOptions{})
		if err != nil {
			return Rehearsal{}, fmt.Errorf("list the budgets of namespace %s, to tell why evictions would be refused: %w", ns, err)
		}
		for i := range list.Items {
			f.budget(&list.Items[i])
		}
	}
	var stay, pass blockers
	for _, p := range pods {
		v := answers[p]
		if v.accepted || v.gone || v.reason == api.PodRelocating {
			continue
		}
		b := Blocker{Reason: v.reason, Message: v.message, Managed: p.managed && !beyondOperators(v)}
		if byBudgets(v) {
			if found, _ := f.foretell(p); found.Reason != "" {
				b = found
			}
		}
		if b.Reason == api.PodBudgetNeverAllows || b.Reason == api.PodMultipleBudgets || final(v) {
			stay.add(p.String(), b)
		} else {
			pass.add(p.String(), b)
		}
	}
	return Rehearsal{Pods: len(pods), Blockers: stay.sorted(), Passing: pass.sorted()}, nil
}

// rehearse asks about pods, a few at a time.
func (d *Drainer) rehearse(ctx context.Context, pods []*foreseenPod) map[*foreseenPod]verdict {
	out := make(map[*foreseenPod]verdict, len(pods))
	var mu sync.Mutex
	var wg sync.WaitGroup
	free := make(chan struct{}, maxRehearsed)
	for _, p := range pods {
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			uid := p.uid
			v := judge(d.cfg.API.EvictPod(ctx, &policyv1.Eviction{
				ObjectMeta:    metav1.ObjectMeta{Namespace: p.namespace, Name: p.name},
				DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}, DryRun: []string{metav1.DryRunAll}},
			}))
			mu.Lock()
			defer mu.Unlock()
			out[p] = v
		})
	}
	wg.Wait()
	return out
}

// byBudgets says whether it is for budgets that an eviction was refused.
func byBudgets(v verdict) bool {
	return v.reason == api.PodBudgetExhausted || v.reason == api.PodMultipleBudgets
}

// Words of webhooks about themselves, not about the pod, or that tell what they mean.
const (
	noDryRun  = "does not support dry run"
	hookAway  = "failed calling webhook"
	virtStays = "not live-migratable" // KubeVirt's pod-eviction-admitter, with a 429
	rolledBy  = "will be rolled by"   // Strimzi's drain cleaner, which rolls it when it is asked in earnest
)

// beyondOperators says of an answer that no operator makes room for the pod, whoever owns
// it: a machine that cannot be migrated, and a permission that lacks.
func beyondOperators(v verdict) bool {
	return v.reason == api.PodForbidden || v.reason == api.PodWebhookDenied && strings.Contains(v.message, virtStays)
}

// final says whether an answer, which is not by a budget, will stay the same. A webhook
// that answers 429 asks for another try.
func final(v verdict) bool {
	says := func(words string) bool { return strings.Contains(v.message, words) }
	switch v.reason {
	case api.PodForbidden:
		return true
	case api.PodWebhookDenied:
		return says(virtStays) || v.code != "429" && !says(noDryRun) && !says(hookAway) && !says(rolledBy)
	default:
		return false
	}
}
