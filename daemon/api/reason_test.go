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
	file, err := parser.ParseFile(token.NewFileSet(), "reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		lit, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		n++
		value, _ := strconv.Unquote(lit.Value)
		if spec.Names[0].Name != "Reason"+value {
			t.Errorf("%s is %q", spec.Names[0].Name, value)
		}
		if Reason(value).Info().Meaning == "" {
			t.Errorf("%s has no line in the table", value)
		}
		return true
	})
	if n != len(Reasons()) || n == 0 {
		t.Errorf("%d constants and %d lines", n, len(Reasons()))
	}
}
