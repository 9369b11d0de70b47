package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"rebootd.dev/daemon"
	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/others"
)

var rewrite = flag.Bool("rewrite-readme", false, "write the README's reference anew")

// The README's reference is what the code says. `go test ./cmd/rebootd -run
// README -rewrite-readme` writes it anew.
func TestREADME(t *testing.T) {
	const path = "../../README.md"
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	for name, want := range map[string]string{"flags": flagTable(), "reasons": reasonTable(reasons()), "pod reasons": reasonTable(podMeanings(true)), "report reasons": reasonTable(podMeanings(false)), "metrics": metricTable(t), "others": othersTable(), "gates": gateTable()} {
		block := regexp.MustCompile(`(?s)<!-- ` + name + ` -->\n(.*?)<!-- end -->`)
		got := block.FindStringSubmatch(text)
		if got == nil {
			t.Fatalf("the README has no part %s", name)
		}
		if got[1] != want && *rewrite {
			text = strings.Replace(text, got[0], "<!-- "+name+" -->\n"+want+"<!-- end -->", 1)
		} else if diff := cmp.Diff(got[1], want); diff != "" {
			t.Errorf("%s (-README +code)\n%s", name, diff)
		}
	}
	if *rewrite {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range api.Outcomes() {
		if !strings.Contains(text, "`"+string(o)+"`") {
			t.Errorf("the README does not name the outcome %s", o)
		}
	}
}

func flagTable() string {
	var b strings.Builder
	b.WriteString("| flag | default | meaning |\n|---|---|---|\n| `--config` | none | a YAML file with these settings |\n")
	for _, o := range options() {
		fmt.Fprintf(&b, "| `--%s` | %s | %s |\n", o.flag, defaultWords(o), o.usage)
	}
	return b.String()
}

func reasons() map[api.Reason]string {
	out := map[api.Reason]string{}
	for _, r := range api.Reasons() {
		out[r.Reason] = r.Meaning
	}
	return out
}

func reasonTable[R ~string](meanings map[R]string) string {
	var b strings.Builder
	b.WriteString("| reason | meaning |\n|---|---|\n")
	for _, r := range slices.Sorted(maps.Keys(meanings)) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", r, meanings[r])
	}
	return b.String()
}

// podMeanings are those of the reasons that keep a pod on the node, or of the others.
func podMeanings(blocks bool) map[api.PodReason]string {
	out := map[api.PodReason]string{}
	for _, i := range api.PodReasons() {
		if i.Blocks == blocks {
			out[i.Reason] = i.Meaning
		}
	}
	return out
}

// gateTable has the gates in the order of their precedence.
func gateTable() string {
	var b strings.Builder
	b.WriteString("| gate | closed while | the node | after the deadline |\n|---|---|---|---|\n")
	for _, g := range gates(new(config), parts{}) {
		k := g.gate.Kind()
		after := ""
		if k.Soft {
			after = "is passed over"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Name, k.Meaning, k.Binds, after)
	}
	return b.String()
}

// A gate that has a drained node put back is a result of operations, which the metrics
// know beforehand.
func TestGatesAreResults(t *testing.T) {
	for _, g := range gates(new(config), parts{}) {
		if k := g.gate.Kind(); k.Binds&(gate.WhileDraining|gate.BeforeOrder) != 0 && !slices.Contains(api.Results(), k.Reason) {
			t.Errorf("%s, of the gate %s, is not one of the results", k.Reason, k.Name)
		}
	}
}

func othersTable() string {
	var b strings.Builder
	b.WriteString("| who | by | is |\n|---|---|---|\n")
	for _, s := range others.Signals() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", s[0], s[1], s[2])
	}
	return b.String()
}

func metricTable(t *testing.T) string {
	t.Helper()
	descs := &described{}
	daemon.NewMetrics(descs, "v")
	line := regexp.MustCompile(`fqName: "([^"]+)", help: "([^"]*)", unit: "[^"]*", constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}`)
	var rows []string
	for _, d := range descs.all {
		m := line.FindStringSubmatch(d)
		if m == nil {
			t.Fatalf("cannot read the description %s", d)
		}
		labels := m[4]
		if m[3] != "" {
			labels, _, _ = strings.Cut(m[3], "=")
		}
		name := m[1]
		if labels != "" {
			name += "{" + labels + "}"
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s |\n", name, m[2]))
	}
	slices.Sort(rows)
	return "| metric | meaning |\n|---|---|\n" + strings.Join(rows, "")
}

// described keeps what is registered with it.
type described struct{ all []string }

func (d *described) Register(c prometheus.Collector) error {
	ch := make(chan *prometheus.Desc, 16)
	c.Describe(ch)
	close(ch)
	for x := range ch {
		d.all = append(d.all, x.String())
	}
	return nil
}

func (d *described) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		_ = d.Register(c)
	}
}

func (*described) Unregister(prometheus.Collector) bool { return false }
