package drain

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"

	"rebootd.dev/daemon/api"
)

// Foretold is what a drain of a node would do with its pods, as far as pods and budgets
// tell.
type Foretold struct {
	// Rehearsal is what the status of the budgets says: pods that would be evicted, and those
	// of them that could not be.
	Rehearsal
	// Skipped counts those that are neither evicted nor waited for, by the reason why.
	Skipped map[api.PodReason]int
	// Waits are those that are left to finish by themselves.
	Waits []Blocker
	// Evicted names those that would be evicted, and Leaving those that are being deleted
	// already, as namespace/name, sorted.
	Evicted, Leaving []string
}

// Foretell says of pods and budgets that somebody has listed what [Drainer.Foresee] would
// say of them, and how a drain would treat the others. budgets may be of any namespaces. It
// asks nobody.
func Foretell(pods []corev1.Pod, budgets []policyv1.PodDisruptionBudget) Foretold {
	f := newForesight(viewer{})
	f.list(pods)
	for i := range budgets {
		f.budget(budgets[i].DeepCopy())
	}
	out := Foretold{Skipped: map[api.PodReason]int{}}
	out.Pods = len(f.pods)
	var waits blockers
	for i := range pods {
		switch info := f.view.info(&pods[i]); {
		case info.deleting():
			out.Leaving = append(out.Leaving, info.String())
		case info.skip != (note{}):
			out.Skipped[info.skip.reason]++
		case info.ended:
			out.Skipped[api.PodCompleted]++
		case info.wait != "":
			waits.add(info.String(), Blocker{Reason: info.wait, Message: "is left to finish by itself, or protected from disruption (" + info.waitWhy + ")"})
		}
	}
	out.Waits = waits.sorted()
	var stay, pass blockers
	for _, p := range f.pods {
		out.Evicted = append(out.Evicted, p.String())
		switch b, _ := f.foretell(p); b.Reason {
		case "":
		case api.PodUnhealthySiblings:
			pass.add(p.String(), b)
		default:
			stay.add(p.String(), b)
		}
	}
	slices.Sort(out.Evicted)
	slices.Sort(out.Leaving)
	out.Blockers, out.Passing = stay.sorted(), pass.sorted()
	return out
}

// Stay are those for which a node had better not be drained: no time would change that, and
// no operator makes room. That few pods of a budget are healthy passes with most rollouts:
// lasts says of such whether it has lasted.
func (r Rehearsal) Stay(lasts func(Blocker) bool) (out []Blocker) {
	for _, b := range r.Blockers {
		if !b.Managed {
			out = append(out, b)
		}
	}
	for _, b := range r.Passing {
		if b.Reason == api.PodUnhealthySiblings && !b.Managed && lasts(b) {
			out = append(out, b)
		}
	}
	return out
}
