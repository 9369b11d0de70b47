package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
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
	for doc, least := range map[string]int{"drain.md": 30, "reliability.md": 35, "compatibility.md": 2} {
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

// The daemon writes no file: whether the host's disk is full or read-only is nothing
// to it. What it has in memory it tells the API server, and nobody else.
func TestNothingIsWrittenToTheHost(t *testing.T) {
	writes := regexp.MustCompile(`\bos\.(WriteFile|Create|CreateTemp|Mkdir\w*|Rename|Remove\w*|Truncate|Chmod|Chown|Symlink|Link)\(|O_(WRONLY|RDWR|CREATE|APPEND|TRUNC)\b`)
	files := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (path == "../../test" || strings.HasPrefix(d.Name(), ".git")) {
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
