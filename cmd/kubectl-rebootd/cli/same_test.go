package cli

import (
	"strings"
	"testing"
)

// TestSameCluster has what people are told to run be for the cluster and the namespace that
// they have asked about: a command that acts on another one is worse than none.
func TestSameCluster(t *testing.T) {
	f := acting()
	for _, line := range []string{"why held", "why held -o json", "why no-daemon", "why drains", "preflight drains", "request held --dry-run", "doctor"} {
		plain, there := runIn(f, strings.Fields(line)), runIn(f, strings.Fields(line+" -n infra"))
		if n, m := strings.Count(plain.out+plain.err, "kubectl rebootd "), strings.Count(there.out+there.err, "kubectl rebootd -n infra "); m < n {
			t.Errorf("%s: %d of %d commands are for the namespace:\n%s%s", line, m, n, there.out, there.err)
		}
		if strings.Contains(there.out, "-n rebootd ") || strings.Contains(there.out, "REBOOTD ") {
			t.Errorf("%s tells of another namespace:\n%s", line, there.out)
		}
	}
}

// TestAgain has a command line repeat the flags that say which cluster, and as whom, quoted,
// and no secret.
func TestAgain(t *testing.T) {
	e := &env{name: "rebootctl"}
	root := e.root()
	c, rest, err := root.Find(strings.Fields("why n -n infra --context prod --kubeconfig=/tmp/a&b --token secret --timeout 5s --as-group g --as-group h --color never"))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ParseFlags(rest); err != nil {
		t.Fatal(err)
	}
	const flags = " --as-group g --as-group h --context prod --kubeconfig '/tmp/a&b'"
	if got := e.sameCluster("it is held: kubectl -n a delete lease b, or kubectl rebootd x"); got != "it is held: kubectl"+flags+" -n a delete lease b, or kubectl rebootd x" {
		t.Errorf("%q", got)
	}
	for command, want := range map[string]string{
		"kubectl rebootd resume":            "rebootctl" + flags + " -n infra resume",
		"kubectl -n db get pdb":             "kubectl" + flags + " -n db get pdb",
		"kubectl -n REBOOTD get pods":       "kubectl" + flags + " -n infra get pods",
		"systemctl list-jobs":               "systemctl list-jobs",
		"kubectl get --raw '/readyz?a'":     "kubectl" + flags + " get --raw '/readyz?a'",
		"kubectl rebootd why kubectl-owner": "rebootctl" + flags + " -n infra why kubectl-owner",
	} {
		if got := e.again(command); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
