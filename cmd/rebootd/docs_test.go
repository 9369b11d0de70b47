package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

// The tests that the documentation names are there.
func TestDocumentedTests(t *testing.T) {
	there := map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		src, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllSubmatch(src, -1) {
			there[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for doc, least := range map[string]int{"drain.md": 30, "reliability.md": 35, "compatibility.md": 2, "gates/scale.md": 4, "gates/clock-changes.md": 1, "gates/admission.md": 2} {
		text, err := os.ReadFile(filepath.Join("../../docs", doc))
		if err != nil {
			t.Fatal(err)
		}
		named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllSubmatch(text, -1)
		if len(named) < least {
			t.Errorf("%s names only %d tests", doc, len(named))
		}
		for _, m := range named {
			if !there[string(m[1])] {
				t.Errorf("%s names %s, which is not there", doc, m[1])
			}
		}
	}
}

// What the documentation has people configure is valid, and comes to what it says there.
func TestDocumentedConfiguration(t *testing.T) {
	text := gatePages(t)
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) < 8 {
		t.Errorf("the pages of the gates have only %d configurations", len(blocks))
	}
	for _, b := range blocks {
		if bytes.HasPrefix(b[1], []byte("# kustomization.yaml")) || bytes.HasPrefix(b[1], []byte("- alert:")) {
			continue // of other programs
		}
		if _, _, err := load([]string{"--config=" + file(t, string(b[1]))}, env); err != nil {
			t.Errorf("%s: %v", b[1], err)
		}
	}
	flags := regexp.MustCompile("--window='([^']*)'").FindAllSubmatch(text, -1)
	for _, f := range flags {
		if _, _, err := load([]string{"--window=" + string(f[1])}, env); err != nil {
			t.Errorf("%s: %v", f[0], err)
		}
	}
	annotations := regexp.MustCompile("rebootd.dev/windows='([^']*)'").FindAllSubmatch(text, -1)
	if len(flags) < 1 || len(annotations) < 2 {
		t.Errorf("gates.md has only %d flags and %d annotations", len(flags), len(annotations))
	}
	for _, a := range annotations {
		w, _ := new(config).windowGates()
		if problem := w.Invalid(gate.Node{Annotations: map[string]string{api.WindowsAnnotation: string(a[1])}}); problem != "" {
			t.Errorf("%s: %s", a[0], problem)
		}
	}
}

// gatePages are docs/gates.md and the pages below it.
func gatePages(t *testing.T) (text []byte) {
	paths, err := filepath.Glob("../../docs/gates/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(paths, "../../docs/gates.md", "../../docs/pools.md") {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, page...)
	}
	return text
}

// The pages name every gate.
func TestEveryGateIsDocumented(t *testing.T) {
	pages := gatePages(t)
	for _, g := range gates(new(config), parts{}) {
		if name := g.gate.Kind().Name; !strings.Contains(string(pages), "`"+name+"`") {
			t.Errorf("docs/gates.md and the pages below it say nothing of the gate %s", name)
		}
	}
}

// The daemon writes no file: whether the host's disk is full or read-only is nothing
// to it. What it has in memory it tells the API server, and nobody else.
func TestNothingIsWrittenToTheHost(t *testing.T) {
	writes := regexp.MustCompile(`\bos\.(WriteFile|Create|CreateTemp|Mkdir\w*|Rename|Remove\w*|Truncate|Chmod|Chown|Symlink|Link)\(|O_(WRONLY|RDWR|CREATE|APPEND|TRUNC)\b`)
	files := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (path == "../../test" || path == "../../cmd/kubectl-rebootd" || strings.HasPrefix(d.Name(), ".git")) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files++
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if m := writes.Find(src); m != nil {
			t.Errorf("%s: %s", path, m)
		}
		return nil
	})
	if err != nil || files < 50 {
		t.Errorf("%d files: %v", files, err)
	}
}
