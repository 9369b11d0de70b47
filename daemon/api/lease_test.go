package api

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The admission policy lets a daemon write its own schema and no other: whoever raises
// the number raises it there, too.
func TestPolicyKnowsTheSchema(t *testing.T) {
	data, err := os.ReadFile("../../deploy/base/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("['%s', '%d']", LeaseSchemaAnnotation, LeaseSchema); !strings.Contains(string(data), want) {
		t.Errorf("deploy/base/policy.yaml does not have %s", want)
	}
}

// An older version names the next one and leaves the rest of the line as another holder
// has left it: that line is not this one's.
func TestLineOfAnotherNext(t *testing.T) {
	next, further, err := Line{Nodes: []string{"b", "c", "d"}, Turn: []string{"d"}}.Annotations()
	if err != nil {
		t.Fatal(err)
	}
	if l := ParseLine(next, further); len(l.Nodes) != 3 || len(l.Turn) != 1 {
		t.Errorf("%+v", l)
	}
	if l := ParseLine("e", further); len(l.Nodes) != 1 || l.Nodes[0] != "e" || len(l.Turn) != 0 {
		t.Errorf("of another: %+v", l)
	}
}
