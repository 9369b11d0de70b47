package policy

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"
)

// The objects for kube-prometheus-stack have the label by which its Prometheus selects
// them, and are the same ones otherwise: the label selects no pods.
func TestMonitoringForKubePrometheusStack(t *testing.T) {
	plain, stack := rendered(t, "monitoring"), rendered(t, "kube-prometheus-stack")
	if len(plain) != 2 || len(stack) != 2 {
		t.Fatalf("%d and %d objects", len(plain), len(stack))
	}
	for i, o := range stack {
		meta := o["metadata"].(map[string]any)
		labels, _ := meta["labels"].(map[string]any)
		if len(labels) != 1 || labels["release"] != "kube-prometheus-stack" {
			t.Errorf("the %s has the labels %v", o["kind"], labels)
		}
		delete(meta, "labels")
		a, err := yaml.Marshal(plain[i])
		if err != nil {
			t.Fatal(err)
		}
		b, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("the %s is\n%s\nand without the stack\n%s", o["kind"], b, a)
		}
	}
}

// rendered are the objects that kubectl makes of a directory of deploy.
func rendered(t *testing.T, dir string) (out []map[string]any) {
	t.Helper()
	kubectl, err := shared.Kubectl()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), kubectl, "kustomize", filepath.Join(root(), "deploy", dir))
	cmd.Stderr = t.Output()
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, doc := range bytes.Split(text, []byte("\n---\n")) {
		var o map[string]any
		if err := yaml.Unmarshal(doc, &o); err != nil {
			t.Fatal(err)
		}
		out = append(out, o)
	}
	return out
}
