package pods

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/printable"
)

// readiness watches the pods of DaemonSets on a node. It keeps of each what counts.
type readiness struct {
	*DaemonSets
	say    func(gate.Verdict)
	last   gate.Verdict
	before time.Time // what was started until then was started by the boot before

	settled time.Time // from then on it is believed nevertheless
	known   time.Time // until then how things stand
	version string    // up to which the pods are known; "" if a list is needed
	pods    map[types.UID]state
}

// state is a pod of a DaemonSet.
type state struct {
	name    string
	owner   types.UID
	created time.Time
	ready   bool
	old     bool   // started before the boot, by what is known
	why     string // it is not Ready
}

// follow watches until the watch ends. It begins with a list where it does not know how
// things stand.
func (r *readiness) follow(ctx context.Context) error {
	if r.version == "" {
		list, err := r.API.ListPods(ctx, "", onNode(r.Node, "0"))
		if err != nil {
			return fmt.Errorf("list the pods: %w", err)
		}
		r.pods, r.version, r.known = map[types.UID]state{}, list.ResourceVersion, time.Now()
		for i := range list.Items {
			r.see(watch.Added, &list.Items[i])
		}
	}
	opts := onNode(r.Node, r.version)
	opts.AllowWatchBookmarks = true
	w, err := r.API.WatchPods(ctx, "", opts)
	if err != nil {
		return fmt.Errorf("watch the pods: %w", err)
	}
	defer func() {
		w.Stop()
		r.known = time.Now()
	}()
	settled := time.NewTimer(time.Until(r.settled))
	defer settled.Stop()
	for {
		r.judge()
		select {
		case <-ctx.Done():
			return nil
		case <-settled.C:
		case ev, ok := <-w.ResultChan():
			switch {
			case !ok:
				return nil
			case ev.Type == watch.Error:
				return apierrors.FromObject(ev.Object)
			}
			if p, ok := ev.Object.(*corev1.Pod); ok {
				r.version = p.ResourceVersion
				r.see(ev.Type, p)
			}
		}
	}
}

// see takes in a pod. One that is being deleted is not waited for: who deletes it knows
// why, and whoever takes its place is.
func (r *readiness) see(kind watch.EventType, p *corev1.Pod) {
	owner := metav1.GetControllerOf(p)
	if kind == watch.Deleted || p.DeletionTimestamp != nil || p.Spec.NodeName != r.Node || owner == nil || owner.Kind != "DaemonSet" || r.Which != nil && !r.Which.selects(p) {
		delete(r.pods, p.UID)
		return
	}
	s := state{name: p.Namespace + "/" + p.Name, owner: owner.UID, created: p.CreationTimestamp.Time}
	s.ready, s.old, s.why = r.isReady(p)
	r.pods[p.UID] = s
}

// judge says how things stand. Of a DaemonSet that has several pods here, since it replaces
// one by another, one that is Ready is enough.
func (r *readiness) judge() {
	newest := map[types.UID]state{}
	for _, s := range r.pods {
		if s.old && time.Now().Before(r.settled) {
			s.ready, s.why = false, "not started since the boot"
		}
		if n, there := newest[s.owner]; !there || better(s, n) {
			newest[s.owner] = s
		}
	}
	var found []string
	for _, s := range newest {
		if !s.ready {
			found = append(found, fmt.Sprintf("%s (%s)", s.name, s.why))
		}
	}
	if len(found) == 0 {
		r.tell(gate.Verdict{State: gate.Open})
		return
	}
	slices.Sort(found)
	verb := "is"
	if len(found) > 1 {
		verb = "are"
	}
	r.tell(gate.Verdict{State: gate.Closed, Why: fmt.Sprintf("%s %s not Ready: %s", counted(len(found), "DaemonSet pod"), verb, names(found))})
}

// better says whether a speaks for a DaemonSet rather than b.
func better(a, b state) bool {
	if a.ready != b.ready {
		return a.ready
	}
	return cmp.Or(a.created.Compare(b.created), cmp.Compare(a.name, b.name)) > 0
}

func (r *readiness) tell(v gate.Verdict) {
	if v != r.last {
		r.last = v
		r.say(v)
	}
}

// isReady says whether a pod is Ready, or why it is not, and whether it was started before
// the boot.
func (r *readiness) isReady(p *corev1.Pod) (ready, old bool, why string) {
	if r.SelfUID != "" && p.UID == r.SelfUID {
		return true, false, ""
	}
	for _, c := range p.Status.Conditions {
		if c.Type != corev1.PodReady || c.Status != corev1.ConditionTrue {
			continue
		}
		for _, s := range p.Status.ContainerStatuses {
			old = old || s.State.Running != nil && s.State.Running.StartedAt.Time.Before(r.before)
		}
		return true, old, ""
	}
	return false, false, printable.Line(whyNot(p), maxError/2)
}

// whyNot is why a pod is not Ready, in the kubelet's word and for the container that it is
// about.
func whyNot(p *corev1.Pod) string {
	if p.Status.Phase == corev1.PodFailed {
		return cmp.Or(p.Status.Reason, "Failed")
	}
	for _, s := range p.Status.InitContainerStatuses {
		if w := s.State.Waiting; w != nil && w.Reason != "" {
			return w.Reason + " in the container " + s.Name
		}
	}
	for _, s := range p.Status.ContainerStatuses {
		switch t, w := s.State.Terminated, s.State.Waiting; {
		case w != nil && w.Reason != "":
			return w.Reason + " in the container " + s.Name
		case t != nil:
			return cmp.Or(t.Reason, "terminated") + " in the container " + s.Name
		case !s.Ready:
			return "the container " + s.Name + " is not Ready"
		}
	}
	return cmp.Or(string(p.Status.Phase), "Pending")
}
