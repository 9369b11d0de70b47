package conditions

import (
	"strings"
	"testing"
	"time"

	"rebootd.dev/daemon/gate"
)

var since = time.Date(2026, 11, 27, 6, 0, 0, 0, time.UTC)

func rules(t *testing.T, all ...string) *Gate {
	t.Helper()
	g := new(Gate)
	for _, s := range all {
		r, err := ParseRule(s)
		if err != nil {
			t.Fatal(err)
		}
		if r.String() != s {
			t.Errorf("%q is read as %q", s, r)
		}
		g.Rules = append(g.Rules, r)
	}
	return g
}

// Which statuses block, by the rule: what is Unknown always, what is missing only where
// the condition must be there.
func TestWhatBlocks(t *testing.T) {
	const missing = "missing"
	for rule, blocks := range map[string][]string{
		"X=True":    {"True", "Unknown", "weird", ""},
		"X=False":   {"False", "Unknown", "weird", ""},
		"X=Unknown": {"Unknown", "weird", ""},
		"X!=True":   {"False", "Unknown", "weird", "", missing},
		"X!=False":  {"True", "Unknown", "weird", "", missing},
	} {
		g := rules(t, rule)
		for _, status := range []string{"True", "False", "Unknown", "weird", "", missing} {
			v := gate.View{Node: gate.Node{Conditions: []gate.Condition{{Type: "Y", Status: "True"}, {Type: "X", Status: status}}}}
			if status == missing {
				v.Node.Conditions = v.Node.Conditions[:1]
			}
			want := gate.Open
			for _, b := range blocks {
				if b == status {
					want = gate.Closed
				}
			}
			got := g.Look(v)
			if got.State != want || (got.Why == "") != (want == gate.Open) {
				t.Errorf("%s with %q: %+v, want %d", rule, status, got, want)
			}
		}
	}
}

// People are told which condition, how it is, why and since when; its words beside that,
// since these may change each minute.
func TestWhatIsTold(t *testing.T) {
	g := rules(t, "KernelDeadlock=True", "NetworkReady!=True", "KernelDeadlock!=False", "Disk=False")
	deadlock := gate.Condition{Type: "KernelDeadlock", Status: "True", Reason: "DockerHung", Message: "task docker:20744\nblocked for more than 120 seconds", Since: since}
	for name, tc := range map[string]struct {
		all       []gate.Condition
		why, note string
	}{
		"one": {
			[]gate.Condition{deadlock, {Type: "NetworkReady", Status: "True"}},
			"the condition KernelDeadlock of the Node is True since 2026-11-27T06:00:00Z (DockerHung)",
			"KernelDeadlock says: task docker:20744 blocked for more than 120 seconds",
		},
		"several": {
			[]gate.Condition{{Type: "Disk", Status: "False"}, deadlock},
			"the condition KernelDeadlock of the Node is True since 2026-11-27T06:00:00Z (DockerHung); also bad: NetworkReady, Disk",
			"KernelDeadlock says: task docker:20744 blocked for more than 120 seconds",
		},
		"unknown": {
			[]gate.Condition{{Type: "KernelDeadlock", Status: "Unknown", Since: since}, {Type: "NetworkReady", Status: "True"}},
			"the condition KernelDeadlock of the Node is Unknown since 2026-11-27T06:00:00Z, which counts as bad", "",
		},
		"missing": {
			[]gate.Condition{{Type: "KernelDeadlock", Status: "False"}},
			"the Node has no condition NetworkReady, which must be True", "",
		},
		"long": {
			[]gate.Condition{{Type: "KernelDeadlock", Status: "True", Reason: strings.Repeat("r", 500), Message: strings.Repeat("m", 500)}, {Type: "NetworkReady", Status: "True"}},
			"the condition KernelDeadlock of the Node is True (" + strings.Repeat("r", maxMessage-3) + "…)",
			"KernelDeadlock says: " + strings.Repeat("m", maxMessage-3) + "…",
		},
	} {
		v := g.Look(gate.View{Node: gate.Node{Conditions: tc.all}})
		if v.State != gate.Closed || v.Why != tc.why || v.Note != tc.note {
			t.Errorf("%s:\n%+v, want\n%s\n%s", name, v, tc.why, tc.note)
		}
	}
}

// What cannot be meant is refused, with what can.
func TestRefused(t *testing.T) {
	for s, why := range map[string]string{
		"":                                       "such as",
		"KernelDeadlock":                         "such as",
		"=True":                                  "such as",
		"!=True":                                 "such as",
		"A B=True":                               "such as",
		"X\n=True":                               "such as",
		"X=true":                                 "not one of",
		"X=":                                     "not one of",
		"X==True":                                "not one of",
		"X=True,Y=True":                          "not one of",
		"X!=Unknown":                             "always",
		"Ready=True":                             "after the boot",
		"Ready!=True":                            "after the boot",
		"RebootRequired=True":                    "itself",
		"MaintenancePlanned=True":                "itself",
		"DrainInProgress!=False":                 "itself",
		"Drained=True":                           "itself",
		"MaintenanceInProgress=True":             "itself",
		strings.Repeat("x", maxType+1) + "=True": "such as",
	} {
		if _, err := ParseRule(s); err == nil || !strings.Contains(err.Error(), why) || len(err.Error()) > 250 {
			t.Errorf("%q: %v, want %q", s, err, why)
		}
	}
	for _, s := range []string{"AlertManager_NodeHighCPU=True", "example.com/Disk-1!=False", "MemoryPressure=True"} {
		if _, err := ParseRule(s); err != nil {
			t.Error(err)
		}
	}
}

// It asks nobody while it waits, is about the node's health, and has no drain put back.
func TestKind(t *testing.T) {
	k := new(Gate).Kind()
	if k.Binds != gate.BeforeQueue|gate.BeforeUncordon || k.Soft || k.Name != "conditions" {
		t.Errorf("%+v", k)
	}
}
