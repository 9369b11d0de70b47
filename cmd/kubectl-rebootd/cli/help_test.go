package cli

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"rebootd.dev/cmd/kubectl-rebootd/client"
)

// real has the program connect as it does in fact, with a kubeconfig that is not there.
func real(e *env) { e.connect = nil }

// TestHelp shows the help of every command, with kubectl's flags out of the way.
func TestHelp(t *testing.T) {
	all := (&env{name: "kubectl rebootd"}).root().Commands()
	names := []string{""}
	for _, c := range all {
		names = append(names, c.Name())
	}
	for _, name := range names {
		line := strings.TrimSpace(name + " --help")
		r := runIn(nil, strings.Fields(line), real)
		if r.status != exitOK || r.err != "" {
			t.Errorf("%s: %+v", line, r)
		}
		file := name
		if file == "" {
			file = "kubectl-rebootd"
		}
		golden(t, filepath.Join("help", file+".txt"), r.out)
		if n := strings.Count(r.out, "--insecure-skip-tls-verify"); n > 0 {
			t.Errorf("%s shows all of kubectl's flags", line)
		}
		if name != "" {
			if same := runIn(nil, []string{"help", name}, real); same.out != r.out {
				t.Errorf("help %s says something else than %s", name, line)
			}
		}
		for _, l := range strings.Split(r.out, "\n") {
			if len(l) > 160 {
				t.Errorf("%s: a line of %d columns: %s", line, len(l), l)
			}
		}
	}
	if r := runIn(nil, []string{"help", "nonsense"}); r.status != exitUsage || !strings.Contains(r.err, `unknown command "nonsense"`) {
		t.Errorf("help nonsense: %+v", r)
	}
	if r := runIn(nil, []string{"options"}, real); !strings.Contains(r.out, "--insecure-skip-tls-verify") || !strings.Contains(r.out, "--kubeconfig") {
		t.Errorf("options: %+v", r)
	}
}

// TestSections has every command stand in the help once.
func TestSections(t *testing.T) {
	out := runIn(nil, []string{"--help"}).out
	for _, c := range (&env{name: "kubectl rebootd"}).root().Commands() {
		if n := strings.Count(out, "\n  "+c.Name()+" "); n != 1 {
			t.Errorf("%s stands in the help %d times", c.Name(), n)
		}
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: %q is not what a list of commands needs", c.Name(), c.Short)
		}
		simple := []string{"options", "version", "help", "resume", "completion"}
		if c.Example == "" && !strings.Contains(strings.Join(simple, " "), c.Name()) {
			t.Errorf("%s has no example", c.Name())
		}
	}
}

// TestComplete completes nodes, slots, holders and formats.
func TestComplete(t *testing.T) {
	var got strings.Builder
	for _, line := range []string{
		"h", "hold ", "hold dr", "hold idle ", "hold idle a", "request -l ", "release ", "release rebootd-0 --holder ", "release rebootd-0 ", "release --holder ",
		"request -o ", "request --color ", "pause ", "completion ", "help a", "version ",
	} {
		words := append([]string{"__complete"}, strings.Split(line, " ")...)
		f := acting()
		f.slot(1, "drains", time.Hour)
		r := runIn(f, words)
		got.WriteString("$ kubectl rebootd " + line + "<TAB>\n" + r.out + "\n")
		if r.status != exitOK {
			t.Errorf("%s: %+v", line, r)
		}
	}
	golden(t, "complete.txt", got.String())
}

// TestCompleteSilently says nothing, and nothing wrong, where the API cannot be asked.
func TestCompleteSilently(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", t.TempDir())
	f := acting()
	f.denied = map[string]bool{"EachNode": true, "Leases": true}
	for name, change := range map[string]func(*env){
		"no kubeconfig": real,
		"no rights":     func(e *env) { e.connect = func() (client.API, error) { return f, nil } },
	} {
		for _, line := range [][]string{{"hold", ""}, {"release", ""}, {"release", "--holder", ""}} {
			r := runIn(f, append([]string{"__complete"}, line...), change)
			if r.out != ":4\n" || strings.Contains(r.err, "kubeconfig") || strings.Contains(r.err, "eve") {
				t.Errorf("%s, %v: %+v", name, line, r)
			}
		}
	}
}

// TestCompletionScripts are for the program's file, never for kubectl.
func TestCompletionScripts(t *testing.T) {
	for shell, want := range map[string]string{
		"bash": "__start_kubectl-rebootd kubectl-rebootd", "zsh": "#compdef kubectl-rebootd\n",
		"fish": "complete -c kubectl-rebootd ", "powershell": "-CommandName 'kubectl-rebootd'",
	} {
		r := runIn(nil, []string{"completion", shell})
		if r.status != exitOK || !strings.Contains(r.out, want) || strings.Contains(r.out, "-c kubectl ") || strings.Contains(r.out, "kubectl rebootd") {
			t.Errorf("%s: status %d, %s", shell, r.status, r.err)
		}
	}
	if r := runIn(nil, []string{"completion", "bash"}, func(e *env) { e.name = "rebootctl" }); !strings.Contains(r.out, "__start_rebootctl rebootctl") {
		t.Error("rebootctl completes another program")
	}
	shipped, err := os.ReadFile("../../../systemd/kubectl_complete-rebootd")
	if err != nil {
		t.Fatal(err)
	}
	if r := runIn(nil, []string{"completion", "kubectl"}); r.out != string(shipped) {
		t.Errorf("systemd/kubectl_complete-rebootd is not what completion kubectl prints:\n%s", r.out)
	}
	if r := runIn(nil, []string{"completion", "tcsh"}); r.status != exitUsage {
		t.Errorf("tcsh: %+v", r)
	}
}

// slowAPI runs out of time in the middle of the nodes.
type slowAPI struct{ *fakeAPI }

func (s slowAPI) EachNode(ctx context.Context, selector string, each func(*corev1.Node)) (string, error) {
	n := 0
	_, _ = s.fakeAPI.EachNode(ctx, selector, func(node *corev1.Node) {
		if n++; n <= 2 {
			each(node)
		}
	})
	return "", context.DeadlineExceeded
}

// TestCompleteInTime gives the names that it has when the time is over: of thousands of
// nodes, some are better than none.
func TestCompleteInTime(t *testing.T) {
	f := newFake()
	for i := range 5 {
		f.idle(nodeName(i))
	}
	if r := runIn(slowAPI{f}, []string{"__complete", "hold", ""}); r.out != "node-00\tidle\nnode-01\tidle\n:4\n" {
		t.Errorf("%+v", r)
	}
}
