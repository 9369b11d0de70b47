package drain

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
)

// watchBudgets watches the budgets of the namespaces in which something is
// blocked, and of no others.
func (r *run) watchBudgets(ctx context.Context) {
	want := r.core.blockedNamespaces()
	for ns, cancel := range r.budgets {
		if !want[ns] {
			cancel()
			delete(r.budgets, ns)
			r.core.allBudgets(ns, nil, time.Now())
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
	followBudgets(ctx, r.cfg, namespace, func(b *policyv1.PodDisruptionBudget) {
		r.post(ctx, func(now time.Time) { r.core.budget(namespace, b.Name, b, now) })
	}, func(name string) {
		r.post(ctx, func(now time.Time) { r.core.budget(namespace, name, nil, now) })
	}, func(there map[string]bool) {
		r.post(ctx, func(now time.Time) { r.core.allBudgets(namespace, there, now) })
	})
}

// followBudgets follows the budgets of a namespace until ctx ends: see is called with each
// as it is now, forget with the name of one that is gone, and all with the names of all
// whenever they have been listed.
func followBudgets(ctx context.Context, cfg Config, namespace string, see func(*policyv1.PodDisruptionBudget), forget func(name string), all func(map[string]bool)) {
	known := map[string]bool{}
	listAndWatch(ctx, cfg.OnError, "the budgets of namespace "+namespace, func(ctx context.Context) (string, error) {
		list, err := cfg.API.ListBudgets(ctx, namespace, metav1.ListOptions{})
		if err != nil {
			return "", err
		}
		there := map[string]bool{}
		for i := range list.Items {
			there[list.Items[i].Name], known[list.Items[i].Name] = true, true
			see(&list.Items[i])
		}
		for name := range known {
			if !there[name] {
				delete(known, name)
				forget(name)
			}
		}
		all(there)
		return list.ResourceVersion, nil
	}, func(ctx context.Context, version string) (watch.Interface, error) {
		return cfg.API.WatchBudgets(ctx, namespace, metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true})
	}, func(ev watch.Event) {
		b, ok := ev.Object.(*policyv1.PodDisruptionBudget)
		switch {
		case !ok:
		case ev.Type == watch.Deleted:
			delete(known, b.Name)
			forget(b.Name)
		default:
			known[b.Name] = true
			see(b)
		}
	})
}

// maxMoves bounds the watches for replacements. Where there are more controllers than
// that, the others follow as watches end.
const maxMoves = 32

// watchMoves watches for the replacements of the pods that leave, one watch for each
// controller. A watch from any version is enough: it matters which pods come, not when
// all of them have come.
func (r *run) watchMoves(ctx context.Context) {
	if r.cfg.DryRun {
		return
	}
	want := r.core.wantedMoves()
	for key, cancel := range r.moves {
		if !want[key] {
			cancel()
			delete(r.moves, key)
		}
	}
	for key := range want {
		if r.moves[key] != nil {
			continue
		}
		if len(r.moves) >= maxMoves {
			return
		}
		ctx, cancel := context.WithCancel(ctx)
		r.moves[key] = cancel
		r.wg.Go(func() { r.watchMove(ctx, key) })
	}
}

func (r *run) watchMove(ctx context.Context, key moveKey) {
	what := "the replacements of evicted pods in namespace " + key.namespace
	listAndWatch(ctx, r.cfg.OnError, what, func(context.Context) (string, error) { return "0", nil }, func(ctx context.Context, version string) (watch.Interface, error) {
		return r.cfg.API.WatchPods(ctx, key.namespace, metav1.ListOptions{
			LabelSelector: key.selector, FieldSelector: "spec.nodeName!=" + r.cfg.Node, ResourceVersion: version, AllowWatchBookmarks: true,
		})
	}, func(ev watch.Event) {
		p, ok := ev.Object.(*corev1.Pod)
		if !ok || metav1.GetControllerOf(p) == nil || metav1.GetControllerOf(p).UID != key.owner {
			return
		}
		uid := p.UID
		var c *candidate
		if ev.Type != watch.Deleted && p.DeletionTimestamp == nil && p.Spec.NodeName != "" {
			c = &candidate{
				uid: uid, name: strings.Clone(p.Name), node: strings.Clone(p.Spec.NodeName),
				created: p.CreationTimestamp.Time, ready: isReady(p),
			}
		}
		r.post(ctx, func(time.Time) { r.core.seenElsewhere(key, uid, c) })
	})
}

// podPage is how many pods are listed at a time where there may be thousands.
const podPage = 500

// lookUp finds out which pods of a budget are not Ready.
func (r *run) lookUp(ctx context.Context, l lookup) {
	var names []string
	opts := metav1.ListOptions{LabelSelector: l.selector, Limit: podPage}
	for {
		list, err := r.cfg.API.ListPods(ctx, l.namespace, opts)
		if err != nil {
			if ctx.Err() == nil {
				r.cfg.OnError(fmt.Errorf("list the pods of the budget %s/%s, to name those that are not Ready: %w; retrying", l.namespace, l.budget, err))
			}
			r.post(ctx, func(time.Time) { r.core.notLookedUp(l) })
			return
		}
		for i := range list.Items {
			p := &list.Items[i]
			ended := p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
			if !isReady(p) && p.DeletionTimestamp == nil && !ended {
				names = append(names, strings.Clone(p.Name)+notReadyBecause(p))
			}
		}
		if opts.Continue = list.Continue; opts.Continue == "" {
			break
		}
	}
	r.post(ctx, func(time.Time) { r.core.unhealthy(l, names) })
}
