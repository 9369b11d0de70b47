package decide

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
)

var rewrite = flag.Bool("rewrite", false, "write the files in testdata/steps again; read the difference before you keep it")

// steps are what the decision wants and says in the situations of a test, to the last
// field, as they stand in testdata/steps.
type steps map[string]string

// newSteps compares with the file when the test is over.
func newSteps(t *testing.T) steps {
	s := steps{}
	t.Cleanup(func() {
		var out strings.Builder
		for _, name := range sortedKeys(s) {
			fmt.Fprintf(&out, "%s\n%s\n", name, s[name])
		}
		path := filepath.Join("testdata", "steps", strings.TrimPrefix(t.Name(), "Test")+".txt")
		if *rewrite {
			if err := os.WriteFile(path, []byte(out.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(out.String(), "\n")); diff != "" {
			t.Errorf("the decision wants or says something else than in %s; go test -rewrite writes it again (-before +now):\n%s", path, diff)
		}
	})
	return s
}

// add takes a step down, but for what it writes only what has changed.
func (s steps) add(name string, from situation, step Step) {
	var out strings.Builder
	v := reflect.ValueOf(step)
	for i := range v.NumField() {
		field, value := v.Type().Field(i).Name, v.Field(i)
		if value.IsZero() || field == "Record" {
			continue
		}
		fmt.Fprintf(&out, "    %s: %v\n", strings.ToLower(field), shown(value.Interface()))
	}
	if step.Do.Writes() {
		before, after := fields(from.r), fields(step.Record)
		if len(after) == 0 {
			out.WriteString("    no record\n")
		}
		for _, k := range sortedKeys(after) {
			if before[k] != after[k] {
				fmt.Fprintf(&out, "    + %s: %s\n", k, after[k])
			}
		}
		for _, k := range sortedKeys(before) {
			if after[k] == "" && len(after) > 0 {
				fmt.Fprintf(&out, "    - %s\n", k)
			}
		}
	}
	s[name] = out.String()
}

func shown(v any) any {
	if sum, is := v.(*api.Summary); is {
		data, _ := json.Marshal(sum)
		return string(data)
	}
	p, ok := v.(gate.Points)
	if !ok {
		return v
	}
	var names []string
	for i, name := range []string{"before the queue", "in the queue", "with the slot", "on its turn", "while draining", "before the order", "before uncordoning"} {
		if p&points[i] != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ", ")
}

// fields are the JSON fields of a record.
func fields(r any) map[string]string {
	data, _ := json.Marshal(r)
	var raw map[string]json.RawMessage
	_ = json.Unmarshal(data, &raw)
	out := map[string]string{}
	for k, v := range raw {
		out[k] = string(v)
	}
	return out
}
