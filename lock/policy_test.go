package lock

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The admission policy lets a daemon write its own schema and no other: whoever raises
// the number raises it there, too.
func TestPolicyKnowsTheSchema(t *testing.T) {
	data, err := os.ReadFile("../deploy/base/policy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("['%s', '%d']", SchemaAnnotation, schema); !strings.Contains(string(data), want) {
		t.Errorf("deploy/base/policy.yaml does not have %s", want)
	}
}
