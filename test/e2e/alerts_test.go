package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"rebootd.dev/test/cluster"
	"rebootd.dev/test/proc"
)

// A real Prometheus scrapes a daemon whose drain is really stuck, and the shipped
// alerts fire; only their patience is shortened.
func TestStuckDrainPagesSomeone(t *testing.T) {
	t.Parallel()
	b := newBed(t, 2*time.Minute)
	m := b.machine("--preflight=tell")
	ns := b.prefix
	b.Namespace(ns)
	b.must(shared.Deployment(b.ctx, ns, "single", 1, nil, func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.NodeSelector = map[string]string{corev1.LabelHostname: m.Name}
	}))
	b.must(shared.Budget(b.ctx, ns, "single", 1))

	dir := t.TempDir()
	rules := shippedRules(t)
	for old, short := range map[string]string{"for: 5m": "for: 2s", "15 * 60": "5"} {
		if !bytes.Contains(rules, []byte(old)) {
			t.Fatalf("the rules have no %q any more", old)
		}
		rules = bytes.ReplaceAll(rules, []byte(old), []byte(short))
	}
	b.must(os.WriteFile(filepath.Join(dir, "rules.yaml"), rules, 0o644))
	b.must(os.WriteFile(filepath.Join(dir, "prometheus.yaml"), fmt.Appendf(nil, `
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yaml]
scrape_configs:
- job_name: rebootd
  static_configs: [{targets: ["127.0.0.1:%d"], labels: {node: %s}}]
`, m.MetricsPort, m.Name), 0o644))
	ports, err := cluster.FreePorts(1)
	b.must(err)
	binary := filepath.Join(cluster.SourceDir(), "..", "bin", "prometheus") // make deps brings it
	p, err := proc.Start(filepath.Join(dir, "log"), nil, binary, "--config.file="+filepath.Join(dir, "prometheus.yaml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), fmt.Sprintf("--web.listen-address=127.0.0.1:%d", ports[0]))
	b.must(err)
	t.Cleanup(p.Kill)

	t.Cleanup(func() {
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Logf("Prometheus: %s", tail(string(log), 3000))
		}
	})

	b.must(m.Touch("x"))
	b.reason(m, "DrainBlocked")
	for _, alert := range []string{"RebootdBudgetNeverAllows", "RebootdDrainStuck"} {
		b.eventually(alert+" fires", func() bool { return firing(fmt.Sprintf("http://127.0.0.1:%d/api/v1/alerts", ports[0]), alert, m.Name) })
	}
}

// shippedRules is what is under spec of the manifest: a rule file.
func shippedRules(t *testing.T) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(cluster.SourceDir(), "..", "deploy", "monitoring", "prometheusrule.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var m struct{ Spec any }
	if err := yaml.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	out, err := yaml.Marshal(m.Spec)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// firing asks Prometheus whether an alert fires for a node.
func firing(url, alert, node string) bool {
	resp, err := http.Get(url)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return false
	}
	var answer struct {
		Data struct {
			Alerts []struct {
				State  string
				Labels map[string]string
			}
		}
	}
	if json.Unmarshal(data, &answer) != nil {
		return false
	}
	for _, a := range answer.Data.Alerts {
		if a.Labels["alertname"] == alert && a.Labels["node"] == node && a.State == "firing" {
			return true
		}
	}
	return false
}
