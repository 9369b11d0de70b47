package pods

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/backoff"
	"rebootd.dev/daemon/gate"
)

// openAgain is how often it is looked while nothing blocks and the node is not cordoned
// yet, since it waits for something else.
const openAgain = 30 * time.Second

// Blocking is the gate of pods that block the reboot of the node that they are on: what
// kured has --blocking-pod-selector for.
type Blocking struct {
	API       API
	Node      string
	Selectors []Selector // any of them
}

// Kind is what is to be known of the gate.
func (*Blocking) Kind() gate.Kind {
	return gate.Kind{
		Name: "pods", Reason: api.ReasonPodsBlock, Binds: gate.OnTurn, Soft: true,
		Meaning: "a pod on the node is selected by `--blocking-pods`, or the pods cannot be listed",
	}
}

// Run looks for such pods, by one list.
func (g *Blocking) Run(ctx context.Context, _ gate.View, say func(gate.Verdict)) {
	var pauses backoff.Pauses
	var last gate.Verdict
	failing := time.Now() // since when, if it fails
	for ctx.Err() == nil {
		list, err := g.API.ListPods(ctx, "", onNode(g.Node, "0"))
		v := last
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			v = g.verdict(list.Items)
			pauses.Reset()
		case apierrors.IsForbidden(err) || time.Since(failing) >= patience:
			v = gate.Verdict{State: gate.Closed, Why: cannot(err, "one of them blocks the reboot")}
		}
		if v != last {
			last = v
			say(v)
		}
		if err != nil {
			pauses.Wait(ctx, err)
			continue
		}
		select {
		case <-time.After(openAgain):
		case <-ctx.Done():
		}
		failing = time.Now()
	}
}

func (g *Blocking) verdict(all []corev1.Pod) gate.Verdict {
	var found []string
	for i := range all {
		if p := &all[i]; g.blocks(p) {
			found = append(found, p.Namespace+"/"+p.Name)
		}
	}
	if len(found) == 0 {
		return gate.Verdict{State: gate.Open}
	}
	slices.Sort(found)
	verb := "blocks"
	if len(found) > 1 {
		verb = "block"
	}
	return gate.Verdict{State: gate.Closed, Why: fmt.Sprintf("%s on this node %s the reboot: %s", counted(len(found), "pod"), verb, names(found))}
}

// blocks says whether a pod does: one that has finished, or is about to be gone, does not.
func (g *Blocking) blocks(p *corev1.Pod) bool {
	if p.Spec.NodeName != g.Node || p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		return false
	}
	return slices.ContainsFunc(g.Selectors, func(s Selector) bool { return s.selects(p) })
}
