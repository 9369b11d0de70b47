package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"rebootd.dev/daemon/api"
)

// allAdvice is all advice by the name of its reason.
func allAdvice() map[string]advice {
	all := map[string]advice{}
	for r, a := range advices {
		all["node: "+string(r)] = a
	}
	for r, a := range podAdvices {
		all["pod: "+string(r)] = a
	}
	return all
}

// Every reason has advice, or is said to need none; none is left over.
func TestEveryReasonHasAdvice(t *testing.T) {
	known := map[string]bool{}
	for _, r := range api.Reasons() {
		known["node: "+string(r.Reason)] = true
	}
	for _, r := range api.PodReasons() {
		known["pod: "+string(r.Reason)] = true
		if a := podAdvices[r.Reason]; r.Permanent && a.What == "" {
			t.Errorf("%s lasts until a person acts, and there is no advice", r.Reason)
		}
	}
	all := allAdvice()
	for r := range known {
		if a, there := all[r]; !there || (a.None == "") == (a.What == "") {
			t.Errorf("%s: %+v", r, a)
		}
	}
	for r, a := range all {
		if !known[r] {
			t.Errorf("%s is not a reason", r)
		}
		if a.None != "" && len(a.Commands) > 0 || a.None == "" && a.Runbook == "" {
			t.Errorf("%s: %+v", r, a)
		}
	}
}

// Every command of this program that advice names can be typed, and the runbook has it, too.
func TestAdviceIsTheRunbooks(t *testing.T) {
	for r, a := range allAdvice() {
		runbook := ""
		if a.Runbook != "" {
			data, err := os.ReadFile(filepath.Join("../../../docs/runbooks", a.Runbook))
			if err != nil {
				t.Fatal(err)
			}
			runbook = string(data)
		}
		for _, c := range a.Commands {
			own, is := strings.CutPrefix(c, "kubectl rebootd ")
			if !is {
				if !strings.HasPrefix(c, "kubectl ") {
					t.Errorf("%s: %s is not a command of kubectl", r, c)
				}
				continue
			}
			if !strings.Contains(runbook, c) {
				t.Errorf("%s: %s does not have %s", r, a.Runbook, c)
			}
			var words []string
			for _, w := range strings.Fields(own) {
				words = append(words, strings.Replace(strings.Trim(w, "'"), "NODE", "node-7", 1))
			}
			root := (&env{name: "kubectl rebootd", connect: nil}).root()
			command, rest, err := root.Find(words)
			if err != nil || command == root {
				t.Errorf("%s: %s: %v", r, c, err)
				continue
			}
			if err := command.ParseFlags(rest); err != nil {
				t.Errorf("%s: %s: %v", r, c, err)
			} else if err := command.ValidateArgs(command.Flags().Args()); err != nil {
				t.Errorf("%s: %s: %v", r, c, err)
			}
		}
	}
}

// What stands on a Node may be anybody's: it does not get into a command that people paste.
func TestAdviceIsNotToBePastedBlindly(t *testing.T) {
	for _, pod := range []string{"db/x; rm -rf ~", "$(reboot)/db-0", "db", "/", "db/-x", "db/--all"} {
		for _, c := range podAdvice(api.PodBudgetNeverAllows, pod).Commands {
			if strings.Contains(c, "POD") || strings.ContainsAny(c, ";$()~") || strings.Contains(c, "--all") || strings.HasSuffix(c, "-x") {
				t.Errorf("%s: %s", pod, c)
			}
		}
	}
	if got := podAdvice(api.PodBudgetNeverAllows, "db/db-0").Commands; !slices.Equal(got, []string{"kubectl -n db get pdb", "kubectl -n db delete pod db-0"}) {
		t.Errorf("%q", got)
	}
	if got := nodeAdvice(api.ReasonHeld, "node-7").Commands; !slices.Equal(got, []string{"kubectl rebootd unhold node-7"}) {
		t.Errorf("%q", got)
	}
}

func TestClosestNames(t *testing.T) {
	f := newFake()
	for _, n := range []string{"node-07", "node-17", "worker-a.example.org", "worker-b.example.org"} {
		f.idle(n)
	}
	for typed, want := range map[string]string{
		"nod-07":   `node "nod-07" not found; did you mean node-07?`,
		"node-7":   `node "node-7" not found; did you mean node-07 or node-17?`,
		"worker-a": `node "worker-a" not found; did you mean worker-a.example.org?`,
		"database": `node "database" not found`,
	} {
		if r := runIn(f, []string{"why", typed}); r.status != exitFailed || r.err != "kubectl rebootd: "+want+"\n" {
			t.Errorf("%s: %+v", typed, r)
		}
	}
}
