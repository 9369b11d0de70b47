package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/daemon/api"
	"rebootd.dev/test/kit"
)

// With the directories of the hooks as the package makes them, empty, a drain that takes
// too long is told as that, in the condition, the record and the report, and no hook is
// told of.
func TestDrainTimesOutWithEmptyHookDirectories(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	dir := t.TempDir()
	for _, stage := range []string{"pre-drain.d", "pre-reboot.d", "post-boot.d"} {
		b.must(os.Mkdir(filepath.Join(dir, stage), 0o755))
	}
	m := b.machine("--hooks="+dir, "--drain-timeout=15s", "--preflight=tell")
	ns := b.prefix
	b.Namespace(ns)
	b.must(shared.Deployment(b.ctx, ns, "single", 1, nil, kit.On(m.Name)))
	b.must(shared.Budget(b.ctx, ns, "single", 1))
	b.must(m.Touch("x"))
	n := b.node(m, "put back", func(n *corev1.Node) bool {
		var r api.Record
		_ = json.Unmarshal([]byte(n.Annotations[api.OperationAnnotation]), &r)
		return r.Failure != nil
	})
	var r api.Record
	b.must(json.Unmarshal([]byte(n.Annotations[api.OperationAnnotation]), &r))
	if r.Failure == nil || r.Failure.Reason != api.ReasonDrainTimedOut || !strings.Contains(r.Failure.Message, ns+"/single-") {
		t.Errorf("the record says %+v", r.Failure)
	}
	c := condition(b.reason(m, string(api.ReasonDrainTimedOut)))
	if !strings.Contains(c.Message, ns+"/single-") || strings.Contains(c.Message, "hook") {
		t.Errorf("the condition says %q", c.Message)
	}
	report := b.reportOf(n)
	if !slices.ContainsFunc(report.Pods, func(p api.PodReport) bool {
		return strings.HasPrefix(p.Name, "single-") && p.Outcome == api.OutcomeFailed && p.Reason == "BudgetNeverAllows"
	}) || len(report.Hooks) != 0 {
		t.Errorf("the report has %+v", report)
	}
	if slices.Contains(b.events(m), string(api.ReasonHookFailed)) || strings.Contains(m.Log(), "hook") {
		t.Errorf("hooks are told of: %s", m.Log())
	}
}
