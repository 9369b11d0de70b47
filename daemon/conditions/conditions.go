// Package conditions is the gate of conditions of the Node: node-problem-detector
// (KernelDeadlock=True) and cloudflare/sciuro, which turns alerts into conditions of the
// Node that they are about, say by them that a node is not well. The daemon watches its
// Node anyway, so the gate makes no request.
package conditions

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"rebootd.dev/daemon/api"
	"rebootd.dev/daemon/gate"
	"rebootd.dev/daemon/printable"
)

const (
	maxType    = 316 // of a condition, in bytes: that of a qualified name of the API
	maxMessage = 120 // of what is quoted of a condition's words, in bytes
)

// Rule is a condition that blocks. By [ParseRule].
type Rule struct {
	kind, status string
	unless       bool // it blocks unless the condition has the status
}

// ParseRule reads Type=Status or Type!=Status, where Status is True, False or Unknown.
func ParseRule(s string) (Rule, error) {
	kind, status, ok := strings.Cut(s, "=")
	kind, unless := strings.CutSuffix(kind, "!")
	r := Rule{kind, status, unless}
	switch {
	case !ok || !validType(kind):
		return Rule{}, fmt.Errorf("%.60q is not a condition such as KernelDeadlock=True or NetworkReady!=True", s)
	case status != "True" && status != "False" && status != "Unknown":
		return Rule{}, fmt.Errorf("%.60q: the status %.60q is not one of True, False, Unknown", s, status)
	case unless && status == "Unknown":
		return Rule{}, fmt.Errorf("%.60q would block always: a condition that is Unknown blocks, whatever else is given", s)
	case kind == "Ready":
		return Rule{}, fmt.Errorf("%.60q: Ready is always checked after the boot; before it, it must not block: a reboot may be what repairs the node", s)
	case slices.Contains(ours, kind):
		return Rule{}, fmt.Errorf("%.60q: rebootd sets %s itself; what other programs say by it is always respected", s, kind)
	}
	return r, nil
}

// ours are the conditions that rebootd sets.
var ours = []string{api.RebootRequired, "MaintenancePlanned", "DrainInProgress", "Drained", "MaintenanceInProgress"}

func validType(s string) bool {
	const others = "-_./"
	return s != "" && len(s) <= maxType && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune(others, c)
	})
}

// String is the rule as it is written.
func (r Rule) String() string {
	if r.unless {
		return r.kind + "!=" + r.status
	}
	return r.kind + "=" + r.status
}

// Gate is the gate.
type Gate struct{ Rules []Rule }

// Kind is what is to be known of the gate. It does not bind while draining: a node that is
// about to reboot is not put back for what that may mend. It is not soft, since it speaks
// of the node's health and not of a good moment.
func (*Gate) Kind() gate.Kind {
	return gate.Kind{
		Name: "conditions", Reason: api.ReasonConditionBlocks, Binds: gate.BeforeQueue | gate.BeforeUncordon,
		Meaning: "a condition of the Node is as `--blocking-conditions` says, or Unknown",
	}
}

// Look says whether one of the conditions blocks. Of several, the first rule's is told,
// and the others by name.
func (g *Gate) Look(v gate.View) gate.Verdict {
	var found []string // by name
	out := gate.Verdict{State: gate.Open}
	for _, r := range g.Rules {
		why, note, blocks := r.look(v.Node.Conditions)
		if !blocks || slices.Contains(found, r.kind) {
			continue
		}
		if found = append(found, r.kind); len(found) == 1 {
			out = gate.Verdict{State: gate.Closed, Why: why, Note: note}
		}
	}
	if len(found) > 1 {
		out.Why += "; also bad: " + strings.Join(found[1:], ", ")
	}
	return out
}

// look says why the rule blocks, and in which words of the condition. Those are no part of
// why: they may have numbers in them that change each minute.
func (r Rule) look(all []gate.Condition) (why, note string, blocks bool) {
	i := slices.IndexFunc(all, func(c gate.Condition) bool { return c.Type == r.kind })
	if i < 0 {
		return fmt.Sprintf("the Node has no condition %s, which must be %s", r.kind, r.status), "", r.unless
	}
	c := all[i]
	if known(c.Status) && (c.Status == r.status) == r.unless {
		return "", "", false
	}
	why = fmt.Sprintf("the condition %s of the Node is %s", r.kind, printable.Line(c.Status, len("Unknown")))
	if !c.Since.IsZero() {
		why += " since " + c.Since.UTC().Format(time.RFC3339)
	}
	if reason := printable.Line(c.Reason, maxMessage); reason != "" {
		why += " (" + reason + ")"
	}
	if !known(c.Status) {
		why += ", which counts as bad"
	}
	if message := printable.Line(c.Message, maxMessage); message != "" {
		note = r.kind + " says: " + message
	}
	return why, note, true
}

func known(status string) bool { return status == "True" || status == "False" }
