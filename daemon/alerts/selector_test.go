package alerts

import (
	"strings"
	"testing"

	"rebootd.dev/daemon/gate"
)

var aNode = gate.Node{Name: "node-1.example", Addresses: []string{"node-1", "10.0.0.1", "fd00::1", "node-1.example"}}

// What is accepted is put in canonical form, with what stands for the node in its place.
func TestSelector(t *testing.T) {
	for text, want := range map[string]string{
		`severity="critical"`:                     `severity="critical"`,
		` severity = "critical" , team != 'db', `: `severity="critical",team!="db"`,
		"severity=~`critical|page`":               `severity=~"critical|page"`,
		`a='it\'s "x"'`:                           `a="it's \"x\""`,
		`a='\\'`:                                  `a="\\"`,
		`a='\\"'`:                                 `a="\\\""`,
		`a="\n\u00e9"`:                            `a="\né"`,
		`a="x,b=\"y\"",c="}"`:                     `a="x,b=\"y\"",c="}"`,
		`node="$node"`:                            `node="node-1.example"`,
		`node=~"$node"`:                           `node=~"node-1\\.example"`,
		`node!~"x-$node-y"`:                       `node!~"x-node-1\\.example-y"`,
		`node=~"a$"`:                              `node=~"a$"`,
		`instance=~"$instance"`:                   `instance=~"(?:10\\.0\\.0\\.1|\\[fd00::1\\]|fd00::1|node-1|node-1\\.example)(?::[0-9]+)?"`,
		`severity="critical",node=~"(|$node)"`:    `severity="critical",node=~"(|node-1\\.example)"`,
		`alertname="KubeNodeNotReady",node!=""`:   `alertname="KubeNodeNotReady",node!=""`,
	} {
		s, err := ParseSelector(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got := s.of(aNode); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
		if got := s.OfNode(); got != (strings.Contains(text, "$node") || strings.Contains(text, "$instance")) {
			t.Errorf("%s: of the node: %t", text, got)
		}
	}
}

func TestBadSelectors(t *testing.T) {
	for text, want := range map[string]string{
		"":                              "must have a label matcher",
		" ":                             "must have a label matcher",
		",":                             "does not begin with a label matcher",
		`{severity="critical"}`:         "without the braces",
		`severity`:                      "does not begin with a label matcher",
		`KubeAPIDown`:                   "does not begin with a label matcher",
		`severity=critical`:             "not a string in quotes",
		`severity="critical`:            "not a string in quotes",
		`severity="critical\"`:          "not a string in quotes",
		`severity=='x'`:                 "not a string in quotes",
		`severity<"x"`:                  "does not begin with a label matcher",
		`7up="x"`:                       "does not begin with a label matcher",
		`a-b="x"`:                       "does not begin with a label matcher",
		`severity="a" team="b"`:         "a comma is missing",
		`severity="a"} or vector(1) # `: "a comma is missing",
		`severity="a",,team="b"`:        "does not begin with a label matcher",
		`severity="\q"`:                 "not a valid string",
		`severity=~"("`:                 "not a valid regular expression",
		`severity=~"a)|(b"`:             "not a valid regular expression",
		`severity=~"(?!x)"`:             "not a valid regular expression",
		`node="$nodename"`:              "$nodename is not a variable",
		`node=~"$host.*"`:               "$host is not a variable",
		`instance="$instance"`:          "use =~ or !~",
		`alertstate="pending"`:          "only alerts that fire",
		`__name__=~"up"`:                "only alerts that fire",
		"severity=\"a\nb\"":             "not a string in quotes",
	} {
		if _, err := ParseSelector(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
