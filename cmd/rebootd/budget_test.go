package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What the daemon may never link, and why. It runs on every node: what it weighs
// is a feature.
var banned = map[string]string{
	"k8s.io/client-go/kubernetes":  "a clientset registers every API group: 10 MB and 7 MiB of memory",
	"k8s.io/client-go/informers":   "keeps whole objects in memory",
	"k8s.io/client-go/tools/cache": "keeps whole objects in memory",
	"k8s.io/client-go/dynamic":     "needs more memory than typed objects",
	"k8s.io/kubectl":               "a command-line program",
	"k8s.io/apiserver":             "a server",
	"text/template":                "calls methods by name, which keeps the linker from leaving out what is not called: 6 MB",
	"html/template":                "as text/template",
	"net/http/pprof":               "not in production",
	"github.com/spf13/cobra":       "not needed by a daemon",
}

func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range strings.Lines(string(out)) {
		pkg = strings.TrimSpace(pkg)
		for bad, why := range banned {
			if pkg == bad || strings.HasPrefix(pkg, bad+"/") {
				t.Errorf("the daemon links %s: %s", pkg, why)
			}
		}
	}
}

// The linker leaves out methods that nobody calls only as long as nobody calls
// one by its name.
func TestNoMethodByName(t *testing.T) {
	cmd := exec.Command("go", "build", "-tags=nethttpomithttp2", "-ldflags=-dumpdep", "-o", filepath.Join(t.TempDir(), "rebootd"), ".")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out[max(0, len(out)-2000):])
	}
	if len(out) < 1000 {
		t.Fatalf("the linker has said next to nothing: %s", out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "<ReflectMethod>") {
			t.Errorf("calls a method by name: %s", line)
		}
	}
}

// Whoever builds the program builds the same one.
func TestTags(t *testing.T) {
	const tags = "nethttpomithttp2"
	for path, want := range map[string]string{"../../Makefile": "\nTAGS := " + tags + "\n", "../../Dockerfile": " -tags " + tags + " ", "../../test/cluster/build.go": `"-tags", "` + tags + `",`} {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(data), want) {
			t.Errorf("%s does not have %q", path, want)
		}
	}
}
