package cli

import (
	"fmt"
	"slices"

	"rebootd.dev/daemon/printable"
)

// changeList is what -o json and -o yaml print of a command that writes.
type changeList struct {
	object
	DryRun  bool      `json:"dryRun,omitempty"`
	Changes []*change `json:"changes"`
}

// change is what became of one object.
type change struct {
	Target   string   `json:"target"` // node/NAME or lease/NAME
	Result   string   `json:"result,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
	Error    string   `json:"error,omitempty"`
	// Outcome is what --wait has come to: done, failed, halted or late; Message says it in a
	// sentence.
	Outcome string `json:"outcome,omitempty"`
	Message string `json:"message,omitempty"`
}

// changes collects them.
type changes struct {
	all    []*change
	warns  map[string][]string
	told   int
	failed bool
}

// maxWarnings bounds how many warnings are printed: above that they are counted.
const maxWarnings = 20

// warn tells people what they should know before something is written to a node, each
// word once.
func (cs *changes) warn(e *env, t *target, words []string) {
	was := cs.warns["node/"+t.Name]
	if len(words) == 0 && len(was) == 0 {
		return
	}
	if cs.warns == nil {
		cs.warns = map[string][]string{}
	}
	cs.warns["node/"+t.Name] = words
	for _, w := range words {
		if slices.Contains(was, w) {
			continue
		}
		if cs.told++; cs.told <= maxWarnings {
			e.sayf("warning: %s: %s", t.Name, w)
		}
	}
}

// warned says how many warnings were not printed.
func (cs *changes) warned(e *env) {
	if more := cs.told - maxWarnings; more > 0 {
		e.sayf("warning: %s more; -o json has them all", count(more, "warning"))
	}
}

// add notes what became of an object, and prints it unless it is printed in the end.
func (cs *changes) add(a *act, what string, d deed) *change {
	return cs.addTo(a.e, a.output, a.dryRun != "", what, d)
}

func (cs *changes) addTo(e *env, o output, dryRun bool, what string, d deed) *change {
	c := &change{Target: what, Result: d.result, Warnings: cs.warns[what]}
	cs.all = append(cs.all, c)
	switch {
	case d.err != nil:
		cs.failed = true
		c.Result, c.Error = "", printable.Line(d.err.Error(), 2000)
		e.sayf("%s", c.Error)
	case o == "name":
		fmt.Fprintln(e.out, what)
	case o == "":
		suffix := ""
		if dryRun && len(d.set) > 0 {
			suffix = " (server dry run)"
		}
		fmt.Fprintf(e.out, "%s %s%s\n", what, d.result, suffix)
	}
	return c
}

// end prints what is printed in the end, and is the command's error.
func (cs *changes) end(e *env, o output, dryRun bool, waited error) error {
	if o == "json" || o == "yaml" {
		if err := e.encode(o, changeList{object: kind("Changes"), DryRun: dryRun, Changes: cs.all}); err != nil {
			return err
		}
	}
	if waited == nil && cs.failed {
		return &exit{status: exitFailed}
	}
	return waited
}
