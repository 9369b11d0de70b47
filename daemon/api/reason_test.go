package api

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"testing"
)

// Each constant of the vocabulary has its line in the table, and says what it is
// called.
func TestEveryReasonIsInTheTable(t *testing.T) {
	words := vocabulary(t, "reason.go", "Reason")
	for _, w := range words {
		if Reason(w).Info().Meaning == "" {
			t.Errorf("%s has no line in the table", w)
		}
	}
	if len(words) != len(Reasons()) {
		t.Errorf("%d constants and %d lines", len(words), len(Reasons()))
	}
}

// vocabulary reads the constants of a file, which are called as they say, after a prefix.
func vocabulary(t *testing.T, file, prefix string) (words []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(parsed, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		lit, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		word, _ := strconv.Unquote(lit.Value)
		if spec.Names[0].Name != prefix+word {
			t.Errorf("%s is %q", spec.Names[0].Name, word)
		}
		words = append(words, word)
		return true
	})
	if len(words) == 0 {
		t.Fatalf("no constants in %s", file)
	}
	return words
}
