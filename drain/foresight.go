package drain

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"rebootd.dev/daemon/api"
)

// Blocker is why pods could not be evicted, however often that were tried.
type Blocker struct {
	Pods    []string // namespace/name, sorted
	Reason  api.PodReason
	Message string // a sentence whose subject is each of the pods, or their budget
	// Managed says that the pods or their budget belong to a custom resource, or to an operator
	// that is known: it may make room once the node is cordoned, as those of databases and of
	// storage do.
	Managed bool
}

// sickFor is for how long a budget must have lacked healthy pods to count as a blocker:
// every rollout has it lack some for a while.
const sickFor = 5 * time.Minute

// foresight knows, by the status of the budgets alone, which of the node's pods could not
// be evicted. Time is an argument; nothing here waits or sends.
type foresight struct {
	view    viewer
	pods    map[types.UID]*foreseenPod
	budgets map[string]map[string]*foreseenBudget // by namespace and name: of the namespaces of pods
	sick    map[string]time.Time                  // since when, by namespace/name of a budget
	news    map[string]bool                       // namespaces to which pods have come since their budgets were listed
	listed  bool                                  // the pods have been
	looked  bool                                  // the budgets of all their namespaces have been listed once
}

// foreseenPod is a pod of the node that a drain would evict.
type foreseenPod struct {
	podInfo
	labels  labels.Set
	pending bool
	managed bool
}

// foreseenBudget is a budget with its selector.
type foreseenBudget struct {
	is      *policyv1.PodDisruptionBudget
	selects labels.Selector
}

func newForesight(v viewer) *foresight {
	return &foresight{view: v, pods: map[types.UID]*foreseenPod{}, budgets: map[string]map[string]*foreseenBudget{}, sick: map[string]time.Time{}, news: map[string]bool{}}
}

// foreseen is a pod as it counts here, nil if a drain would not evict it.
func (v viewer) foreseen(p *corev1.Pod) *foreseenPod {
	info := v.info(p)
	if info.skip != (note{}) || info.wait != "" || info.ended || info.deleting() {
		return nil
	}
	return &foreseenPod{podInfo: info, labels: p.Labels, pending: p.Status.Phase == corev1.PodPending, managed: managed(p.OwnerReferences) || p.Labels[spiloLabel] == spilo}
}

// spiloLabel tells pods of Zalando's Postgres operator: it moves a primary away from a node
// that is cordoned, and by default owns neither its pods nor their budget.
const spiloLabel, spilo = "application", "spilo"

// managed says whether one of an object's owners is a custom resource: those of
// Kubernetes' own controllers are of these groups.
func managed(owners []metav1.OwnerReference) bool {
	return slices.ContainsFunc(owners, func(o metav1.OwnerReference) bool {
		group, _, grouped := strings.Cut(o.APIVersion, "/")
		return grouped && group != "apps" && group != "batch"
	})
}

// known says whether enough is known to say anything.
func (f *foresight) known() bool { return f.listed && (f.looked || len(f.news) == 0) }

// seen takes in a pod as it is now.
func (f *foresight) seen(p *corev1.Pod) {
	now := f.view.foreseen(p)
	if now == nil {
		delete(f.pods, p.UID)
		return
	}
	// Pods of Jobs come and go all the time.
	if f.pods[p.UID] == nil && now.kind != "Job" {
		f.news[now.namespace] = true
	}
	f.pods[p.UID] = now
}

// list takes in all pods of the node.
func (f *foresight) list(pods []corev1.Pod) {
	f.listed = true
	there := map[types.UID]bool{}
	for i := range pods {
		there[pods[i].UID] = true
		f.seen(&pods[i])
	}
	maps.DeleteFunc(f.pods, func(uid types.UID, _ *foreseenPod) bool { return !there[uid] })
}

// unlooked are the namespaces whose budgets are to be listed, in order. What is known of
// namespaces from which the pods have gone is forgotten.
func (f *foresight) unlooked() []string {
	there := map[string]bool{}
	for _, p := range f.pods {
		there[p.namespace] = true
	}
	maps.DeleteFunc(f.budgets, func(ns string, _ map[string]*foreseenBudget) bool { return !there[ns] })
	maps.DeleteFunc(f.news, func(ns string, _ bool) bool { return !there[ns] })
	return slices.Sorted(maps.Keys(f.news))
}

// allBudgets takes in all budgets of a namespace.
func (f *foresight) allBudgets(namespace string, list []policyv1.PodDisruptionBudget) {
	delete(f.news, namespace)
	f.looked = f.looked || len(f.news) == 0
	f.budgets[namespace] = map[string]*foreseenBudget{}
	for i := range list {
		f.budget(&list[i])
	}
}

// budget takes in a budget as it is now.
func (f *foresight) budget(b *policyv1.PodDisruptionBudget) {
	if f.budgets[b.Namespace] == nil {
		f.budgets[b.Namespace] = map[string]*foreseenBudget{}
	}
	delete(f.budgets[b.Namespace], b.Name)
	// What cannot be read selects nothing, by the API server's word as well.
	if s, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err == nil {
		b.ManagedFields = nil
		f.budgets[b.Namespace][b.Name] = &foreseenBudget{b, s}
	}
}

func (f *foresight) forget(namespace, name string) { delete(f.budgets[namespace], name) }

// of are the budgets that select a pod, by name. The API server asks none for a pod that
// is Pending.
func (f *foresight) of(p *foreseenPod) (out []*foreseenBudget) {
	if p.pending {
		return nil
	}
	for _, b := range f.budgets[p.namespace] {
		if b.selects.Matches(p.labels) {
			out = append(out, b)
		}
	}
	slices.SortFunc(out, func(a, b *foreseenBudget) int { return cmp.Compare(a.is.Name, b.is.Name) })
	return out
}

// blockers are what would keep pods on the node. watch are the namespaces whose budgets
// have to be watched to know when that changes, and wake is when it changes by itself,
// zero if it does not.
func (f *foresight) blockers(now time.Time) (out []Blocker, watch map[string]bool, wake time.Time) {
	watch = map[string]bool{}
	sick := map[string]time.Time{}
	var all blockers
	for _, p := range f.pods {
		b, budget := f.foretell(p)
		if b.Reason == "" {
			continue
		}
		watch[p.namespace] = true
		if b.Reason == api.PodUnhealthySiblings {
			key := p.namespace + "/" + budget
			since, known := f.sick[key]
			if !known {
				since = now
			}
			sick[key] = since
			if end := since.Add(sickFor); now.Before(end) {
				if wake.IsZero() || end.Before(wake) {
					wake = end
				}
				continue
			}
		}
		all.add(p.String(), b)
	}
	f.sick = sick
	return all.sorted(), watch, wake
}

// foretell is why a pod could not be evicted, without its name, and the budget, if there
// is one; the zero Blocker if it could be.
func (f *foresight) foretell(p *foreseenPod) (Blocker, string) {
	budgets := f.of(p)
	switch len(budgets) {
	case 0:
		return Blocker{}, ""
	case 1:
		b := budgets[0].is
		reason, message := lasting(b, p.ready)
		return Blocker{Reason: reason, Message: message, Managed: p.managed || managed(b.OwnerReferences)}, b.Name
	default:
		names, operators := []string{}, p.managed
		for _, b := range budgets {
			names, operators = append(names, b.is.Name), operators || managed(b.is.OwnerReferences)
		}
		return Blocker{
			Reason: api.PodMultipleBudgets, Managed: operators,
			Message: "more than one budget selects it, which the eviction API refuses: " + shortList(names),
		}, ""
	}
}

// lasting is why a budget would refuse the eviction of a pod for as long as nobody does
// anything about it; "" if it would not. A budget whose status is behind says nothing.
func lasting(b *policyv1.PodDisruptionBudget, ready bool) (api.PodReason, string) {
	s := b.Status
	if b.Generation != s.ObservedGeneration {
		return "", ""
	}
	if p := b.Spec.UnhealthyPodEvictionPolicy; !ready && (p != nil && *p == policyv1.AlwaysAllow || s.DesiredHealthy > 0 && s.CurrentHealthy >= s.DesiredHealthy) {
		return "", "" // it is evicted as if there were no budget
	}
	reason, message := explain(b)
	if reason != api.PodBudgetNeverAllows && s.ExpectedPods > 0 && allowsNone(b) {
		reason = api.PodBudgetNeverAllows
	}
	switch {
	case reason == api.PodBudgetNeverAllows && allowsNone(b) && s.ExpectedPods > 0:
		// The same sentence whether all are healthy or not.
		if s.ExpectedPods == 1 {
			return reason, fmt.Sprintf("the budget %s allows no eviction even if its only pod is healthy", b.Name)
		}
		return reason, fmt.Sprintf("the budget %s allows no eviction even if all of its %d pods are healthy (it needs %d)", b.Name, s.ExpectedPods, s.DesiredHealthy)
	case reason == api.PodBudgetNeverAllows, reason == api.PodUnhealthySiblings:
		return reason, message
	default:
		return "", ""
	}
}

// blockers groups pods by what blocks them.
type blockers struct{ groups []*Blocker }

func (g *blockers) add(pod string, b Blocker) {
	for _, x := range g.groups {
		if x.Reason == b.Reason && x.Message == b.Message && x.Managed == b.Managed {
			x.Pods = append(x.Pods, pod)
			return
		}
	}
	b.Pods = []string{pod}
	g.groups = append(g.groups, &b)
}

// sorted are the groups in an order that stays: those that no operator will mend first.
func (g *blockers) sorted() (out []Blocker) {
	slices.SortFunc(g.groups, func(a, b *Blocker) int {
		if a.Managed != b.Managed {
			if b.Managed {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.Reason, b.Reason), cmp.Compare(a.Message, b.Message))
	})
	for _, b := range g.groups {
		slices.Sort(b.Pods)
		out = append(out, *b)
	}
	return out
}
