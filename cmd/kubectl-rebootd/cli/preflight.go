package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/cmd/kubectl-rebootd/client"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/printable"
	"rebootd.dev/drain"
)

// preflightOf is what -o json prints of one node.
type preflightOf struct {
	Node string `json:"node"`
	// WouldDrain says whether nothing is known that would keep pods on the node.
	WouldDrain bool `json:"wouldDrain"`
	// Rehearsed says that the API server was asked to evict each pod, as a dry run; if not,
	// NotRehearsed says why.
	Rehearsed    bool           `json:"rehearsed"`
	NotRehearsed string         `json:"notRehearsed,omitempty"`
	Evict        int            `json:"evict"` // how many pods a drain would evict
	Stay         []preflightPod `json:"stay,omitempty"`
	Operators    []preflightPod `json:"operators,omitempty"` // that an operator may make room for
	Passing      []preflightPod `json:"passing,omitempty"`   // that may pass by itself
	Waits        []preflightPod `json:"waits,omitempty"`     // left to finish by themselves
	Leaving      []string       `json:"leaving,omitempty"`   // being deleted already
	// Skipped counts the pods that a drain leaves where they are, by reason.
	Skipped map[api.PodReason]int `json:"skipped,omitempty"`
}

// preflightPod is what keeps some pods.
type preflightPod struct {
	Pods    []string      `json:"pods"`
	Reason  api.PodReason `json:"reason"`
	Message string        `json:"message"`
}

func newPreflight(e *env) *cobra.Command {
	var o output
	c := &cobra.Command{
		Use: "preflight NODE...", Short: "Say whether a node could be drained, without moving a pod", Args: e.args(cobra.MinimumNArgs(1)),
		Long: `Say whether a node could be drained, without moving a pod.

Pods and budgets are judged by the rules of the daemon's own drain, and the API server is asked
to evict each pod as a dry run, so that admission webhooks have their say. Without the right to
create pods/eviction, only the budgets are looked at. Each answer is for one pod alone: a budget
that lets one pod go at a time lets each of them go here.

Exit status 4 when a node would not drain at present.`,
		Example: "  " + e.name + " preflight node-7 node-8",
		RunE: func(c *cobra.Command, nodes []string) error {
			ctx, cancel := e.limited(c.Context())
			defer cancel()
			return e.preflight(ctx, nodes, o)
		},
	}
	outputFlag(c, &o, "json", "yaml")
	return c
}

func (e *env) preflight(ctx context.Context, nodes []string, o output) error {
	a, err := e.connect()
	if err != nil {
		return err
	}
	out := struct {
		object
		Nodes []preflightOf `json:"nodes"`
	}{object: kind("Preflight")}
	refused := false
	for _, arg := range nodes {
		name, err := nodeNamed(arg)
		if err != nil {
			return err
		}
		if _, err := a.Node(ctx, name); apierrors.IsNotFound(err) {
			return e.notFound(ctx, a, name)
		} else if err != nil {
			return fmt.Errorf("get node %s: %w", name, err)
		}
		p, err := preflightNode(ctx, a, name)
		if err != nil {
			return err
		}
		refused = refused || !p.WouldDrain
		out.Nodes = append(out.Nodes, p)
	}
	if o != "" {
		err = e.encode(o, out)
	} else {
		err = e.printPreflight(out.Nodes)
	}
	if err == nil && refused {
		return &exit{exitHalted, nil}
	}
	return err
}

// preflightNode asks about one node.
func preflightNode(ctx context.Context, a client.API, name string) (p preflightOf, err error) {
	pods, err := a.PodsOn(ctx, name)
	if err != nil {
		return p, lacks(err, "list pods in all namespaces")
	}
	budgets, err := a.Budgets(ctx)
	if err != nil {
		return p, lacks(err, "list poddisruptionbudgets in all namespaces")
	}
	f := drain.Foretell(pods, budgets)
	r := f.Rehearsal
	p = preflightOf{Node: name, Evict: r.Pods, Waits: preflightPods(f.Waits), Leaving: f.Leaving, Skipped: f.Skipped}
	may, err := a.Allowed(ctx, authorizationv1.ResourceAttributes{Verb: "create", Resource: "pods", Subresource: "eviction"})
	switch {
	case err != nil:
		p.NotRehearsed = "whether you may evict pods could not be found out: " + err.Error()
	case !may:
		p.NotRehearsed = "you may not create pods/eviction in all namespaces"
	default:
		d, err := drain.New(drain.Config{API: rehearser{api: a, pods: pods, budgets: budgets}, Node: name})
		if err != nil {
			return p, err
		}
		if r, err = d.Rehearse(ctx); err != nil {
			return p, err
		}
		if ctx.Err() != nil {
			return p, fmt.Errorf("ask whether the pods of %s could be evicted: %w", name, ctx.Err())
		}
		p.Rehearsed = true
	}
	// Since when few are healthy is not known here.
	stay := r.Stay(func(drain.Blocker) bool { return true })
	p.Stay, p.WouldDrain = preflightPods(stay), len(stay) == 0
	for _, b := range r.Blockers {
		if b.Managed {
			p.Operators = append(p.Operators, preflightPods([]drain.Blocker{b})...)
		}
	}
	for _, b := range r.Passing {
		if b.Managed || b.Reason != api.PodUnhealthySiblings {
			p.Passing = append(p.Passing, preflightPods([]drain.Blocker{b})...)
		}
	}
	return p, nil
}

func preflightPods(all []drain.Blocker) (out []preflightPod) {
	for _, b := range all {
		out = append(out, preflightPod{b.Pods, b.Reason, printable.Line(b.Message, maxSentence)})
	}
	return out
}

// lacks adds to a refusal which right it takes.
func lacks(err error, right string) error {
	if apierrors.IsForbidden(err) {
		return fmt.Errorf("%w\nthis needs the right to %s", err, right)
	}
	return err
}

// rehearser is the API server as package drain asks it for a rehearsal: what was listed, and
// evictions as dry runs. Nothing else is asked.
type rehearser struct {
	drain.API
	api     client.API
	pods    []corev1.Pod
	budgets []policyv1.PodDisruptionBudget
}

func (r rehearser) ListPods(context.Context, string, metav1.ListOptions) (*corev1.PodList, error) {
	return &corev1.PodList{Items: r.pods}, nil
}

func (r rehearser) ListBudgets(_ context.Context, namespace string, _ metav1.ListOptions) (*policyv1.PodDisruptionBudgetList, error) {
	list := &policyv1.PodDisruptionBudgetList{}
	for i := range r.budgets {
		if r.budgets[i].Namespace == namespace {
			list.Items = append(list.Items, *r.budgets[i].DeepCopy())
		}
	}
	return list, nil
}

func (r rehearser) EvictPod(ctx context.Context, ev *policyv1.Eviction) error {
	return r.api.Rehearse(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ev.Namespace, Name: ev.Name, UID: *ev.DeleteOptions.Preconditions.UID}})
}

func (e *env) printPreflight(nodes []preflightOf) error {
	for i, p := range nodes {
		if i > 0 {
			fmt.Fprintln(e.out)
		}
		e.printPreflightOf(p)
	}
	return nil
}

func (e *env) printPreflightOf(p preflightOf) {
	switch {
	case p.WouldDrain && len(p.Waits) > 0:
		n := 0
		for _, b := range p.Waits {
			n += len(b.Pods)
		}
		fmt.Fprintf(e.out, "%s: %s\n", p.Node, e.paint(yellow, "nothing is known that would keep it from being drained, but for "+count(n, "pod")+" that "+map[bool]string{true: "is", false: "are"}[n == 1]+" waited for."))
	case p.WouldDrain:
		fmt.Fprintf(e.out, "%s: %s\n", p.Node, e.paint(green, "nothing is known that would keep it from being drained."))
	default:
		n := 0
		for _, b := range p.Stay {
			n += len(b.Pods)
		}
		fmt.Fprintf(e.out, "%s: %s\n", p.Node, e.paint(red, fmt.Sprintf("would not drain at present: %d of %d pods cannot be evicted.", n, p.Evict)))
	}
	e.printPreflightPods("", p.Stay, true)
	e.printPreflightPods("An operator may make room for these once the node is cordoned:", p.Operators, false)
	e.printPreflightPods("These may pass by themselves:", p.Passing, false)
	e.printPreflightPods("These are waited for:", p.Waits, false)
	counts := []string{fmt.Sprintf("%d to be evicted", p.Evict)}
	if n := len(p.Leaving); n > 0 {
		counts = append(counts, fmt.Sprintf("%d being deleted already", n))
	}
	for _, reason := range slices.Sorted(maps.Keys(p.Skipped)) {
		counts = append(counts, fmt.Sprintf("%d not touched (%s)", p.Skipped[reason], reason))
	}
	fmt.Fprintf(e.out, "Pods: %s.\n", strings.Join(counts, ", "))
	if p.Rehearsed {
		fmt.Fprintln(e.out, "Asked: each pod alone, as a dry run, and the budgets.")
	} else {
		fmt.Fprintf(e.out, "Asked: the budgets only. %s, so webhooks and policies were not asked.\n", capital(p.NotRehearsed))
	}
}

func (e *env) printPreflightPods(title string, pods []preflightPod, advise bool) {
	if title != "" && len(pods) > 0 {
		fmt.Fprintln(e.out, title)
	}
	for _, p := range pods {
		fmt.Fprintf(e.out, "  %s: %s\n", p.Reason, p.Message)
		fmt.Fprintf(e.out, "    %s\n", some(p.Pods, 6))
		if advise {
			e.printAdvice("    ", e.here(podAdvice(p.Reason, p.Pods[0])))
		}
	}
}
