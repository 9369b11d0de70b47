package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/test/cluster"
	"rebootd.dev/test/kit"
)

// reportOf reads the report on the Node.
func (b *bed) reportOf(n *corev1.Node) *api.Report {
	b.Helper()
	r, err := api.ParseReport([]byte(n.Annotations["rebootd.dev/report"]))
	b.must(err)
	return r
}

// After the reboot the report says of each pod what became of it: moved, and
// where to; ended by force; left alone.
func TestReportOfTheBlastRadius(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	m := b.machine("--drain-timeout=20s", "--drain-timeout-policy=force")
	ns, other := b.prefix, b.prefix+"-other"
	b.Namespace(ns)
	b.must(shared.AddNode(b.ctx, other))
	on := func(nodes ...string) func(*appsv1.Deployment) {
		return func(d *appsv1.Deployment) {
			grace := int64(5)
			d.Spec.Template.Spec.TerminationGracePeriodSeconds = &grace
			kit.On(nodes...)(d)
		}
	}
	b.cordon(other, true)
	b.must(shared.Deployment(b.ctx, ns, "moves", 2, nil, on(m.Name, other)))
	b.must(shared.Deployment(b.ctx, ns, "single", 1, nil, on(m.Name)))
	b.must(shared.Budget(b.ctx, ns, "single", 1))
	b.cordon(other, false)

	before := m.BootID()
	b.must(m.Touch("x"))
	blocked := condition(b.reason(m, "DrainBlocked"))
	for _, words := range []string{ns + "/single-", "budget single", "BudgetNeverAllows, needs manual action", "remaining pods are deleted so that they end when the drain has run for"} {
		if !strings.Contains(blocked.Message, words) {
			t.Errorf("the condition says %q, without %q", blocked.Message, words)
		}
	}
	n := b.rebooted(m, before)
	r := b.reportOf(n)
	// A scheduler that has not seen the cordon yet may send one of them back once.
	if r.Totals[api.OutcomeRelocated] < 2 || r.Totals[api.OutcomeForceStopped] != 1 || r.Totals[api.OutcomeDrained]+r.Totals[api.OutcomeFailed] != 0 {
		t.Errorf("totals %v", r.Totals)
	}
	for _, p := range r.Pods {
		if strings.HasPrefix(p.Name, "moves-") && p.To != other {
			t.Errorf("%s was relocated to %q", p.Name, p.To)
		}
	}
}

// Pods that come to a drained node while a hook holds the order up have left before the
// reboot is ordered.
func TestPodsThatComeBeforeTheOrder(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	dir := t.TempDir()
	runs, goes := filepath.Join(dir, "runs"), filepath.Join(dir, "goes")
	hooks := filepath.Join(dir, "pre-reboot.d")
	b.must(os.Mkdir(hooks, 0o755))
	b.must(os.WriteFile(filepath.Join(hooks, "10-waits"), fmt.Appendf(nil, "#!/bin/sh\n[ $1 = do ] || exit 0\ntouch %s\nuntil [ -e %s ]; do sleep 0.05; done\n", runs, goes), 0o755))
	m := b.machine("--hooks=" + dir)
	ns := b.prefix
	b.Namespace(ns)
	before := m.BootID()
	b.must(m.Touch("x"))
	b.eventually("the hook runs", func() bool { _, err := os.Stat(runs); return err == nil })
	spec := cluster.PodSpec()
	spec.NodeName = m.Name
	_, err := shared.Client.CoreV1().Pods(ns).Create(b.ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "late"}, Spec: spec}, metav1.CreateOptions{})
	b.must(err)
	b.eventually("the pod is gone", func() bool {
		_, err := shared.Client.CoreV1().Pods(ns).Get(b.ctx, "late", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	b.must(os.WriteFile(goes, nil, 0o644))
	r := b.reportOf(b.rebooted(m, before))
	if !slices.ContainsFunc(r.Pods, func(p api.PodReport) bool { return p.Name == "late" && p.Outcome == api.OutcomeDrained }) {
		t.Errorf("the report has %+v", r.Pods)
	}
}

func (b *bed) cordon(node string, on bool) {
	b.Helper()
	_, err := shared.Client.CoreV1().Nodes().Patch(b.ctx, node, "application/merge-patch+json", fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, on), metav1.PatchOptions{})
	b.must(err)
}
