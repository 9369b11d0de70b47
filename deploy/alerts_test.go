package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

type rule struct {
	Alert       string
	Expr        string
	Annotations map[string]string
}

type ruleFile struct {
	Spec struct {
		Groups []struct{ Rules []rule }
	}
}

// The alerts are what Prometheus's own tests of them expect, each is tested, and
// each has a runbook.
func TestAlerts(t *testing.T) {
	data, err := os.ReadFile("monitoring/prometheusrule.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var whole map[string]any
	var rules ruleFile
	for _, into := range []any{&whole, &rules} {
		if err := yaml.Unmarshal(data, into); err != nil {
			t.Fatal(err)
		}
	}
	spec, err := yaml.Marshal(whole["spec"])
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("monitoring/testdata/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{"rules.yaml": spec, "alerts.yaml": tests} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("promtool", func(t *testing.T) {
		promtool, err := filepath.Abs("../bin/promtool")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(promtool); err != nil && testing.Short() {
			t.Skip("there is no promtool; `make test` brings it")
		}
		cmd := exec.Command(promtool, "test", "rules", "alerts.yaml")
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool test rules: %v\n%s", err, out)
		}
	})

	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	pages := map[string]bool{}
	for _, r := range rules.Spec.Groups[0].Rules {
		if !strings.Contains(string(tests), "alertname: "+r.Alert+"\n") {
			t.Errorf("no test has %s fire", r.Alert)
		}
		page := r.Annotations["runbook"]
		if !strings.Contains(string(readme), "[`"+r.Alert+"`]("+page+")") {
			t.Errorf("the README does not list %s with %s", r.Alert, page)
		}
		pages[filepath.Base(page)] = true
		if url := r.Annotations["runbook_url"]; url != "https://rebootd.dev/"+page {
			t.Errorf("the runbook_url of %s is %q, of the page %s", r.Alert, url, page)
		}
		// What it asks for is there: a name that is misspelt never fires.
		for _, metric := range regexp.MustCompile(`rebootd_\w+`).FindAllString(r.Expr, -1) {
			if !strings.Contains(string(readme), "\n| `"+metric+"`") && !strings.Contains(string(readme), "\n| `"+metric+"{") {
				t.Errorf("%s asks for %s, which is not one of the README's metrics", r.Alert, metric)
			}
		}
		for _, gate := range regexp.MustCompile(`gate!?="([^"]+)"`).FindAllStringSubmatch(r.Expr, -1) {
			if !strings.Contains(string(readme), "\n| `"+gate[1]+"` |") {
				t.Errorf("%s asks for the gate %s, which is not one of the README's", r.Alert, gate[1])
			}
		}
		text, err := os.ReadFile(filepath.Join("..", page))
		if err != nil {
			t.Errorf("the runbook of %s: %v", r.Alert, err)
		} else if !strings.HasPrefix(string(text), "# "+r.Alert+"\n") {
			t.Errorf("%s is not the runbook of %s", page, r.Alert)
		}
	}
	files, err := filepath.Glob("../docs/runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !pages[filepath.Base(f)] {
			t.Errorf("%s is the runbook of no alert", f)
		}
	}
}
